// Arguments that more than one binding takes, converted alike.
#pragma once

#include <nanobind/nanobind.h>

#include <atomic>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace offgil::binding {

namespace nb = nanobind;

/// Raises the class of that name in offgil.errors.
[[noreturn]] void raise(const char *type, const std::string &message);

/// The UTF-8 form of a str, or of a subclass's str value; borrowed from the str where it can be.  A lone
/// surrogate has no UTF-8 form, yet it is a str like any other: it passes as the three bytes that it would
/// have.
class Utf8 {
  public:
    /// `what` names the argument in the TypeError for anything but a str.
    Utf8(nb::handle text, const char *what) {
        PyObject *const object = text.ptr();
        if (PyUnicode_Check(object) && PyUnicode_IS_COMPACT_ASCII(object)) [[likely]]
            view_ = {static_cast<const char *>(PyUnicode_DATA(object)),
                     static_cast<std::size_t>(PyUnicode_GET_LENGTH(object))};
        else
            encode(text, what);
    }
    operator std::string_view() const { return view_; }

  private:
    void encode(nb::handle text, const char *what);

    nb::object own_;
    std::string_view view_;
};

/// The str of what Utf8 made.
nb::object str_of(std::string_view utf8);

/// The name of a topic, or nothing for None.
class TopicName {
  public:
    explicit TopicName(nb::handle topic) {
        if (!topic.is_none()) name_.emplace(topic, "a topic");
    }
    operator std::optional<std::string_view>() const {
        return name_ ? std::optional<std::string_view>(*name_) : std::nullopt;
    }

  private:
    std::optional<Utf8> name_;
};

/// For the slots that nanobind does not stand before: the object, or null with an exception set if its
/// __init__ was not called.
template <typename T>
T *initialised(PyObject *self) {
    if (nb::inst_ready(self)) return nb::inst_ptr<T>(self);
    PyErr_Format(PyExc_TypeError, "this %s was not initialised: call its __init__", Py_TYPE(self)->tp_name);
    return nullptr;
}

/// Counts the buffers that Python has of memory that is to be published, after which there are none.
///
/// Locking: one atomic.  What was written through a buffer comes before the publication.
class Exports {
  public:
    /// False, with an exception set, once closed.
    bool add() {
        for (std::uint32_t seen = count_.load(std::memory_order_relaxed); seen != kClosed;)
            if (count_.compare_exchange_weak(seen, seen + 1, std::memory_order_acquire)) return true;
        PyErr_SetString(PyExc_BufferError, "the reserved memory was published or given up");
        return false;
    }
    void remove() { count_.fetch_sub(1, std::memory_order_release); }

    /// False if there are some.
    bool close() {
        std::uint32_t none = 0;
        return count_.compare_exchange_strong(none, kClosed, std::memory_order_acquire);
    }

  private:
    static constexpr std::uint32_t kClosed = std::numeric_limits<std::uint32_t>::max();
    std::atomic<std::uint32_t> count_{0};
};

inline constexpr std::int64_t kForever = std::numeric_limits<std::int64_t>::max();

/// Seconds to nanoseconds, rounded up; kForever for None, and for more than thirty years, so that adding the
/// result to the clock cannot overflow.
std::int64_t timeout_ns(nb::handle timeout);

/// The same for how long an entry lives, which is more than 0.
std::int64_t ttl_ns(nb::handle ttl);

}  // namespace offgil::binding
