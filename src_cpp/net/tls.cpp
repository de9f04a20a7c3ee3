#include "net/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "net/easy.h"

namespace offgil::net {

namespace {

CURLcode on_ssl_context(CURL *, void *ssl_context, void *ca_store) {
    X509_STORE *store = static_cast<CaStore *>(ca_store)->get();
    if (!store) return CURLE_SSL_CACERT_BADFILE;
    SSL_CTX_set1_cert_store(static_cast<SSL_CTX *>(ssl_context), store);
    return CURLE_OK;
}

void set_authorities(CURL *easy, const Tls &tls) {
    if (!tls.verify) {
        for (CURLoption option : {CURLOPT_SSL_VERIFYPEER, CURLOPT_SSL_VERIFYHOST,
                                  CURLOPT_PROXY_SSL_VERIFYPEER, CURLOPT_PROXY_SSL_VERIFYHOST})
            set(easy, option, 0L);
        return;
    }
    if (!tls.check_hostname)
        for (CURLoption option : {CURLOPT_SSL_VERIFYHOST, CURLOPT_PROXY_SSL_VERIFYHOST})
            set(easy, option, 0L);
    if (tls.ca_store) {
        for (CURLoption option : {CURLOPT_CAINFO, CURLOPT_CAPATH, CURLOPT_PROXY_CAINFO, CURLOPT_PROXY_CAPATH})
            set(easy, option, static_cast<char *>(nullptr));
        set(easy, CURLOPT_SSL_CTX_FUNCTION, &on_ssl_context);
        set(easy, CURLOPT_SSL_CTX_DATA, tls.ca_store.get());
    } else if (!tls.ca_pem.empty()) {
        curl_blob bundle{const_cast<char *>(tls.ca_pem.data()), tls.ca_pem.size(), CURL_BLOB_NOCOPY};
        set(easy, CURLOPT_CAINFO_BLOB, &bundle);
        set(easy, CURLOPT_PROXY_CAINFO_BLOB, &bundle);
    } else if (!tls.ca_file.empty()) {
        std::error_code unreadable;  // libcurl will say so
        const bool folder = std::filesystem::is_directory(tls.ca_file, unreadable);
        set(easy, folder ? CURLOPT_CAPATH : CURLOPT_CAINFO, tls.ca_file.c_str());
        set(easy, folder ? CURLOPT_PROXY_CAPATH : CURLOPT_PROXY_CAINFO, tls.ca_file.c_str());
    }
}

long version_range(const Tls &tls) {
    auto lowest = [&]() -> long {
        switch (tls.lowest) {
            case 10:
                return CURL_SSLVERSION_TLSv1_0;
            case 11:
                return CURL_SSLVERSION_TLSv1_1;
            case 13:
                return CURL_SSLVERSION_TLSv1_3;
            default:
                return CURL_SSLVERSION_TLSv1_2;
        }
    };
    auto highest = [&]() -> long {
        switch (tls.highest) {
            case 10:
                return CURL_SSLVERSION_MAX_TLSv1_0;
            case 11:
                return CURL_SSLVERSION_MAX_TLSv1_1;
            case 12:
                return CURL_SSLVERSION_MAX_TLSv1_2;
            case 13:
                return CURL_SSLVERSION_MAX_TLSv1_3;
            default:
                return CURL_SSLVERSION_MAX_NONE;
        }
    };
    return lowest() | highest();
}

/// Without it, OpenSSL asks for the password of an encrypted key on the terminal.
int give_password(char *buffer, int size, int, void *password) {
    const auto &text = *static_cast<const std::string *>(password);
    const int length = std::min(static_cast<int>(text.size()), size);
    std::memcpy(buffer, text.data(), static_cast<std::size_t>(length));
    return length;
}

std::string openssl_reason() {
    const unsigned long code = ERR_peek_error();  // the first: later ones only say who passed it on
    ERR_clear_error();
    if (ERR_SYSTEM_ERROR(code)) return std::generic_category().message(ERR_GET_REASON(code));
    const char *reason = ERR_reason_error_string(code);
    return reason ? reason : "not usable";
}

struct FreeContext {
    void operator()(SSL_CTX *context) const { SSL_CTX_free(context); }
};

}  // namespace

void set_tls(CURL *easy, const Tls &tls) {
    set_authorities(easy, tls);
    set(easy, CURLOPT_SSLVERSION, version_range(tls));
    set(easy, CURLOPT_PROXY_SSLVERSION, version_range(tls));
    if (tls.cert_file.empty()) return;
    // To the server only: a proxy is told who one is by its URL.
    set(easy, CURLOPT_SSLCERT, tls.cert_file.c_str());
    set(easy, CURLOPT_SSLKEY, tls.key_file.c_str());
    set(easy, CURLOPT_KEYPASSWD, tls.key_password.c_str());
}

TlsSession describe_tls(CURL *easy) {
    TlsSession session;
    curl_tlssessioninfo *info = nullptr;
    curl_easy_getinfo(easy, CURLINFO_TLS_SSL_PTR, &info);
    if (!info || info->backend != CURLSSLBACKEND_OPENSSL || !info->internals || !CaStore::usable())
        return session;
    const SSL *ssl = static_cast<const SSL *>(info->internals);
    session.version = SSL_get_version(ssl);
    if (const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl)) {
        session.cipher = SSL_CIPHER_get_name(cipher);
        session.cipher_protocol = SSL_CIPHER_get_version(cipher);
        session.cipher_bits = SSL_CIPHER_get_bits(cipher, nullptr);
    }
    const unsigned char *alpn = nullptr;
    unsigned int alpn_size = 0;
    SSL_get0_alpn_selected(ssl, &alpn, &alpn_size);
    session.alpn.assign(reinterpret_cast<const char *>(alpn), alpn_size);
    if (X509 *certificate = SSL_get0_peer_certificate(ssl)) {
        unsigned char *der = nullptr;
        const int size = i2d_X509(certificate, &der);
        if (size > 0)
            session.certificate.assign(reinterpret_cast<char *>(der), static_cast<std::size_t>(size));
        OPENSSL_free(der);
    }
    return session;
}

std::optional<std::string> certificate_problem(const Tls &tls) {
    ERR_clear_error();
    std::unique_ptr<SSL_CTX, FreeContext> context(SSL_CTX_new(TLS_client_method()));
    if (!context) return "OpenSSL: " + openssl_reason();
    SSL_CTX_set_default_passwd_cb(context.get(), &give_password);
    SSL_CTX_set_default_passwd_cb_userdata(context.get(), const_cast<std::string *>(&tls.key_password));
    if (SSL_CTX_use_certificate_chain_file(context.get(), tls.cert_file.c_str()) != 1)
        return tls.cert_file + ": " + openssl_reason();
    if (SSL_CTX_use_PrivateKey_file(context.get(), tls.key_file.c_str(), SSL_FILETYPE_PEM) != 1)
        return tls.key_file + ": " + openssl_reason();
    return std::nullopt;
}

}  // namespace offgil::net
