/* The floor of the network benchmark: a plain C loop over libcurl's easy interface, one kept connection a thread.
 *
 * floor URL COUNT THREADS [CA] [--http2] prints CPU and wall microseconds a request.  The handle is set up for each
 * request, as any client must that sends different ones.  The first requests, which connect, are not counted.
 */
#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct body {
    char *data;
    size_t size, capacity;
};

static const char *url, *ca;
static long share;
static int http2;
static pthread_barrier_t warm;

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

static void request(CURL *easy, struct body *body) {
    long status = 0;
    body->size = 0;
    curl_easy_reset(easy);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)(http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
    if (ca) curl_easy_setopt(easy, CURLOPT_CAINFO, ca);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, body);
    CURLcode code = curl_easy_perform(easy);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK || status != 200) {
        fprintf(stderr, "%s, status %ld\n", curl_easy_strerror(code), status);
        exit(1);
    }
}

static void *work(void *unused) {
    struct body body = {NULL, 0, 0};
    CURL *easy = curl_easy_init();
    for (int i = 0; i < 20; ++i) request(easy, &body);
    pthread_barrier_wait(&warm); /* all are connected */
    pthread_barrier_wait(&warm); /* the clocks are read */
    for (long i = 0; i < share; ++i) request(easy, &body);
    pthread_barrier_wait(&warm);
    curl_easy_cleanup(easy);
    free(body.data);
    return unused;
}

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int main(int argc, char **argv) {
    if (argc > 4 && strcmp(argv[argc - 1], "--http2") == 0) http2 = 1, --argc;
    if (argc < 4 || argc > 5) return fprintf(stderr, "usage: floor URL COUNT THREADS [CA] [--http2]\n"), 2;
    url = argv[1];
    ca = argc == 5 ? argv[4] : NULL;
    long threads = strtol(argv[3], NULL, 10);
    share = strtol(argv[2], NULL, 10) / threads;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    pthread_barrier_init(&warm, NULL, (unsigned)threads + 1);
    for (long i = 0; i < threads; ++i) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, NULL) != 0) return fprintf(stderr, "no thread\n"), 1;
        pthread_detach(thread);
    }
    pthread_barrier_wait(&warm);
    double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID), wall = seconds(CLOCK_MONOTONIC);
    pthread_barrier_wait(&warm);
    pthread_barrier_wait(&warm);
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    wall = seconds(CLOCK_MONOTONIC) - wall;
    printf("%.2f %.2f\n", cpu / (double)(share * threads) * 1e6, wall / (double)(share * threads) * 1e6);
    return 0;
}
