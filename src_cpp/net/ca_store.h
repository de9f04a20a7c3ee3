// Trusted certificates, parsed once.
#pragma once

#include <memory>
#include <mutex>
#include <string>

typedef struct x509_store_st X509_STORE;

namespace offgil::net {

/// libcurl parses the CA bundle per easy handle: 140 roots cost 21 ms of CPU with OpenSSL 3.0, so 64 handles
/// cost more than a second.  This parses it once, on the first TLS connection, and hands the same X509_STORE
/// to every SSL_CTX. OpenSSL counts references to the store and locks it inside, so sharing it across threads
/// is safe.
class CaStore {
  public:
    /// `file` is a PEM bundle or a folder of hashed names; empty for what libcurl was built to use, else
    /// OpenSSL's default paths.
    explicit CaStore(std::string file) : file_(std::move(file)) {}

    /// `pem` is the bundle itself; `flags` are OpenSSL's X509_V_FLAG_*.
    CaStore(std::string pem, unsigned long flags) : pem_(std::move(pem)), flags_(flags) {}

    /// The store that all clients of this process share that trust `file`; another one once the file has
    /// changed.  From any thread.
    static std::shared_ptr<CaStore> shared(const std::string &file);

    /// The parsed store (borrowed), or null if nothing could be loaded.  Parses under the lock on the first
    /// call; called detached, from libcurl's SSL_CTX callback.
    X509_STORE *get();

    /// Whether the linked libcurl uses the OpenSSL that this file was compiled against.  If not, libcurl
    /// loads CA bundles itself: slower, and as correct.
    static bool usable();

  private:
    struct Free {
        void operator()(X509_STORE *store) const;
    };
    X509_STORE *load();

    std::string file_;
    std::string pem_;
    unsigned long flags_ = 0;
    std::mutex mutex_;                         // guards store_ and tried_ until the first get() is over
    std::unique_ptr<X509_STORE, Free> store_;  // written once, under mutex_
    bool tried_ = false;
};

}  // namespace offgil::net
