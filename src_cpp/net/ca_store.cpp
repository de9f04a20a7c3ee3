#include "net/ca_store.h"

#include <curl/curl.h>
#include <openssl/crypto.h>
#include <openssl/x509_vfy.h>

#include <string_view>

namespace offgil::net {

void CaStore::Free::operator()(X509_STORE *store) const {
    X509_STORE_free(store);
}

X509_STORE *CaStore::get() {
    std::lock_guard lock(mutex_);
    if (tried_) return store_.get();
    tried_ = true;
    std::unique_ptr<X509_STORE, Free> store(X509_STORE_new());
    if (!store) return nullptr;
    const curl_version_info_data *curl = curl_version_info(CURLVERSION_NOW);
    bool loaded = false;
    if (!file_.empty()) {
        loaded = X509_STORE_load_file(store.get(), file_.c_str()) == 1;
    } else {
        if (curl->cainfo) loaded = X509_STORE_load_file(store.get(), curl->cainfo) == 1;
        if (!loaded) loaded = X509_STORE_set_default_paths(store.get()) == 1;
    }
    if (loaded) store_ = std::move(store);
    return store_.get();
}

bool CaStore::usable() {
    const curl_version_info_data *curl = curl_version_info(CURLVERSION_NOW);
    if (!curl->ssl_version) return false;
    // "OpenSSL/3.0.17" or, with several backends, "(GnuTLS/3.7.9) OpenSSL/3.0.17": the one without brackets
    // is in use.
    std::string_view backends = curl->ssl_version;
    std::string ours = std::string("OpenSSL/") + std::to_string(OPENSSL_version_major()) + "." +
                       std::to_string(OPENSSL_version_minor()) + ".";
    return backends.find("(OpenSSL") == std::string_view::npos &&
           backends.find(ours) != std::string_view::npos;
}

}  // namespace offgil::net
