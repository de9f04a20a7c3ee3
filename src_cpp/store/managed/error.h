// The errors of the managed-dict store; the binding turns each kind into the class of offgil.errors
// it is named after.
#pragma once

#include <stdexcept>
#include <string>

namespace offgil::store::managed {

enum class ErrorKind { Closed, Full, Corrupted, Unavailable, KeyTooLong };

class Error : public std::runtime_error {
  public:
    Error(ErrorKind kind, const std::string &message) : std::runtime_error(message), kind_(kind) {}
    ErrorKind kind() const { return kind_; }

  private:
    ErrorKind kind_;
};

[[noreturn]] inline void fail_corrupted(const char *what) {
    throw Error(ErrorKind::Corrupted,
                std::string("the store's shared memory is damaged: ") + what + "; make a new store");
}

}  // namespace offgil::store::managed
