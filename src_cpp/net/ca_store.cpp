#include "net/ca_store.h"

#include <curl/curl.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <sys/stat.h>

#include <array>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "net/per_process.h"

namespace offgil::net {

namespace {

/// What tells one content of a file from another without reading it.
struct Version {
    dev_t device;
    ino_t inode;
    off_t size;
    std::int64_t seconds, nanoseconds;

    bool operator==(const Version &) const = default;
};

std::optional<Version> version_of(const std::string &file) {
    const char *built_in = curl_version_info(CURLVERSION_NOW)->cainfo;
    const char *path = file.empty() ? built_in : file.c_str();
    struct stat found;
    if (!path || ::stat(path, &found) != 0) return std::nullopt;
    return Version{found.st_dev, found.st_ino, found.st_size, found.st_mtim.tv_sec, found.st_mtim.tv_nsec};
}

/// The stores that clients share, as long as they are among the latest.
///
/// Locking: `mutex` guards the rest.
struct Registry {
    struct Entry {
        std::string file;
        Version version;
        std::shared_ptr<CaStore> store;
    };
    std::mutex mutex;
    std::array<Entry, 8> entries;
    std::size_t next = 0;  ///< the oldest entry
};

/// Adds each certificate of a bundle; false if there is none.
bool add_pem(X509_STORE *store, const std::string &pem) {
    std::unique_ptr<BIO, int (*)(BIO *)> bytes(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())),
                                               &BIO_free);
    bool any = false;
    while (X509 *certificate = bytes ? PEM_read_bio_X509(bytes.get(), nullptr, nullptr, nullptr) : nullptr) {
        any |= X509_STORE_add_cert(store, certificate) == 1;
        X509_free(certificate);
    }
    ERR_clear_error();  // of the end
    return any;
}

Registry &registry() {
    // Never destroyed: threads may use it until the process is gone.
    static auto &each = *new PerProcess<Registry>;
    return each.get();
}

}  // namespace

std::shared_ptr<CaStore> CaStore::shared(const std::string &file) {
    const std::optional<Version> version = version_of(file);
    if (!version) return std::make_shared<CaStore>(file);
    std::shared_ptr<CaStore> replaced;  // freed after the lock
    Registry &known = registry();
    std::lock_guard lock(known.mutex);
    Registry::Entry *entry = nullptr;
    for (Registry::Entry &one : known.entries)
        if (one.store && one.file == file) entry = &one;
    if (entry && entry->version == *version) return entry->store;
    if (!entry) {
        entry = &known.entries[known.next];
        known.next = (known.next + 1) % known.entries.size();
    }
    replaced = std::exchange(entry->store, std::make_shared<CaStore>(file));
    entry->file = file;
    entry->version = *version;
    return entry->store;
}

void CaStore::Free::operator()(X509_STORE *store) const {
    X509_STORE_free(store);
}

X509_STORE *CaStore::get() {
    std::lock_guard lock(mutex_);
    if (!std::exchange(tried_, true)) store_.reset(load());
    return store_.get();
}

/// With `mutex_` held.
X509_STORE *CaStore::load() {
    std::unique_ptr<X509_STORE, Free> store(X509_STORE_new());
    if (!store) return nullptr;
    const curl_version_info_data *curl = curl_version_info(CURLVERSION_NOW);
    bool loaded = false;
    std::error_code unreadable;  // without it, what cannot be looked at would throw through libcurl
    if (!pem_.empty()) {
        loaded = add_pem(store.get(), pem_);
    } else if (std::filesystem::is_directory(file_, unreadable)) {
        loaded = X509_STORE_load_path(store.get(), file_.c_str()) == 1;
    } else if (!file_.empty()) {
        loaded = X509_STORE_load_file(store.get(), file_.c_str()) == 1;
    } else {
        if (curl->cainfo) loaded = X509_STORE_load_file(store.get(), curl->cainfo) == 1;
        if (!loaded) loaded = X509_STORE_set_default_paths(store.get()) == 1;
    }
    if (!loaded) return nullptr;
    // As libcurl's own store: a certificate in the bundle is trusted even if its issuer is not.
    X509_STORE_set_flags(store.get(), X509_V_FLAG_PARTIAL_CHAIN | flags_);
    return store.release();
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
