// Values as bytes: what the extension encodes itself, and what it leaves to offgil.store.codec.
#pragma once

#include <nanobind/nanobind.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "binding/convert.h"
#include "store/managed/store.h"

namespace offgil::binding {

namespace nb = nanobind;

/// Codecs below kFirstPythonCodec are ours, the rest are those of offgil.store.codec.
enum Codec : std::uint8_t { kNone, kFalse, kTrue, kInt, kFloat, kBytes, kStr, kFirstPythonCodec = 16 };

/// A value as bytes, which stay valid as long as this does.
class Encoded {
  public:
    /// Calls `encode(key, value)` for what is not ours.
    Encoded(nb::handle key, nb::handle value, nb::handle encode);
    /// What `encode(key, value)` returned: a codec and a list of buffers.
    explicit Encoded(nb::handle encoded) { set_other(encoded); }
    ~Encoded();
    Encoded(const Encoded &) = delete;
    Encoded &operator=(const Encoded &) = delete;

    std::uint8_t codec = kNone;
    store::managed::Parts parts() const { return parts_; }

  private:
    void set(std::uint8_t own, const void *data, Py_ssize_t size);
    bool set_str(PyObject *value);
    bool set_int(PyObject *value);
    bool set_float(PyObject *value);
    void set_other(nb::handle encoded);

    std::span<const std::byte> single_;
    store::managed::Parts parts_;
    std::vector<Py_buffer> buffers_;
    std::vector<std::span<const std::byte>> many_;
    char scratch_[8];
};

/// The value that was found, by `decode(key, codec, buffer)` for what is not ours.
nb::object decode_value(nb::handle key, store::managed::Fetched &out, nb::handle decode);

/// Exports shared memory.
///
/// Locking: `held` changes only while `exports` is closed.
struct HeldMemory {
    explicit HeldMemory(store::managed::HeldPointer pointer) : held(std::move(pointer)) {}
    store::managed::HeldPointer held;
    Exports exports;
};

nb::object held_memory(store::managed::HeldPointer held);
/// A memoryview of it.
nb::object memory_view(store::managed::HeldPointer held);

void bind_held(nb::module_ &m);

}  // namespace offgil::binding
