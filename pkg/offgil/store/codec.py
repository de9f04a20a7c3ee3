"""How a value becomes bytes in shared memory, and a value again.

One byte in each entry says which of these forms it has.  The extension itself encodes ``None``, ``bool``,
``int`` of 64 bits, ``float``, ``bytes`` and ``str``; everything else comes here:

==========  ==============================================  =====================
codec       for                                             read back as
==========  ==============================================  =====================
``BYTES``   ``bytearray``, ``memoryview``                   ``bytes``
``INT``     larger ``int``                                  ``int``
``ARRAY``   ``numpy.ndarray`` without Python objects in it  ``numpy.ndarray``, a copy
``PICKLE``  all else, exceptions included                   an equal object
==========  ==============================================  =====================

Reading a pickle runs what it says, so the memory must come from processes that are trusted: a private
store's can only be reached by processes that were handed it, as with :mod:`multiprocessing` itself.
"""

from __future__ import annotations

import pickle
import struct
import sys
from typing import TYPE_CHECKING, Any, Literal

from offgil.errors import CodecError, StoreCorrupted

if TYPE_CHECKING:
    import numpy as np

__all__ = ["decode", "encode"]

BYTES = 5  # the extension's
INT, ARRAY, PICKLE = 16, 17, 18

_HEAD = struct.Struct("<I")
#: Data of an array starts at a multiple of this, as numpy itself aligns it at best.
_ALIGNMENT = 64


def encode(key: str, value: Any) -> tuple[int, Any, Any]:
    """Encode ``value``: the codec and two buffers whose bytes follow each other in the store.

    Args:
        key: only for messages.

    Raises:
        CodecError: the value cannot be pickled.

    Thread-safety: safe on distinct objects; ``value`` must not change meanwhile.
    """
    if isinstance(value, int) and type(value) is int:
        return INT, value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True), b""
    if type(value) is bytearray:
        return BYTES, b"", value
    if type(value) is memoryview:
        return BYTES, b"", value if value.c_contiguous else value.tobytes()
    # An array proves that numpy was imported; without it there is nothing to look for.
    numpy = sys.modules.get("numpy")
    if type(value) is getattr(numpy, "ndarray", None):
        array: np.ndarray[Any, Any] = value
        # Structured types do not fit into the one string of a head; pickle knows them.
        if not array.dtype.hasobject and array.dtype.names is None:
            return _encode_array(array)
    try:
        return PICKLE, pickle.dumps(value, protocol=5), b""
    except Exception as exc:
        raise CodecError(
            f"the value of key {key!r} cannot be stored: a {type(value).__qualname__} that pickle refuses ({exc})"
        ) from exc


def decode(key: str, codec: int, data: bytearray) -> Any:
    """Make the value that :func:`encode` was given.

    Args:
        key: only for messages.
        data: both buffers; an array keeps using it.

    Raises:
        CodecError: the pickle cannot be read here, for instance because a class is missing.
        StoreCorrupted: no such codec.

    Thread-safety: safe on distinct objects.
    """
    if codec == INT:
        return int.from_bytes(data, "little", signed=True)
    if codec == ARRAY:
        return _decode_array(data)
    if codec != PICKLE:
        raise StoreCorrupted(f"the value of key {key!r} has the unknown codec {codec}: use one version of offgil only")
    try:
        return pickle.loads(data)
    except Exception as exc:
        raise CodecError(f"the value of key {key!r} cannot be unpickled here: {type(exc).__name__}: {exc}") from exc


def _encode_array(array: np.ndarray[Any, Any]) -> tuple[int, Any, Any]:
    order: Literal["C", "F"] = "F" if array.flags.fnc else "C"
    text = f"{array.dtype.str} {order} {' '.join(map(str, array.shape))}".encode()
    used = _HEAD.size + len(text)
    head = _HEAD.pack(len(text)) + text + bytes(-used % _ALIGNMENT)
    flat = array.reshape(-1, order=order)
    if not flat.flags.c_contiguous:
        flat = flat.copy()
    # As bytes: some types, dates for one, have no buffer of their own.
    return ARRAY, head, flat.view("u1")


def _decode_array(data: bytearray) -> np.ndarray[Any, Any]:
    import numpy as np

    (length,) = _HEAD.unpack_from(data)
    dtype, order, *shape = bytes(data[_HEAD.size : _HEAD.size + length]).decode().split(" ")
    offset = -(-(_HEAD.size + length) // _ALIGNMENT) * _ALIGNMENT
    dimensions = tuple(int(n) for n in shape if n)
    return np.ndarray(dimensions, dtype, buffer=data, offset=offset, order="F" if order == "F" else "C")
