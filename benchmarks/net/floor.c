/* The floor of the network benchmark: a plain C loop over libcurl's easy interface, one kept connection.
 *
 * floor URL COUNT prints CPU and wall microseconds a request.  The handle is set up for each request, as any client
 * must that sends different ones.
 */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct body {
    char *data;
    size_t size, capacity;
};

static size_t on_body(char *data, size_t size, size_t count, void *context) {
    struct body *body = context;
    if (body->size + size * count > body->capacity) {
        body->capacity = 2 * (body->size + size * count);
        body->data = realloc(body->data, body->capacity);
        if (!body->data) return 0;
    }
    memcpy(body->data + body->size, data, size * count);
    body->size += size * count;
    return size * count;
}

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int main(int argc, char **argv) {
    if (argc != 3) return fprintf(stderr, "usage: floor URL COUNT\n"), 2;
    long count = strtol(argv[2], NULL, 10);
    struct body body = {NULL, 0, 0};
    curl_global_init(CURL_GLOBAL_DEFAULT);
    CURL *easy = curl_easy_init();
    double cpu = 0, wall = 0;
    for (long i = -1; i < count; ++i) {
        if (i == 0) cpu = seconds(CLOCK_PROCESS_CPUTIME_ID), wall = seconds(CLOCK_MONOTONIC);
        long status = 0;
        body.size = 0;
        curl_easy_reset(easy);
        curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(easy, CURLOPT_URL, argv[1]);
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, &body);
        if (curl_easy_perform(easy) != CURLE_OK) return fprintf(stderr, "request failed\n"), 1;
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
        if (status != 200) return fprintf(stderr, "status %ld\n", status), 1;
    }
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    wall = seconds(CLOCK_MONOTONIC) - wall;
    printf("%.2f %.2f\n", cpu / (double)count * 1e6, wall / (double)count * 1e6);
    curl_easy_cleanup(easy);
    free(body.data);
    return 0;
}
