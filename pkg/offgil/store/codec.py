"""How a value becomes bytes in shared memory, and a value again.

One byte in each entry says which of these forms it has.  The extension itself encodes ``None``, ``bool``,
``int`` of 64 bits, ``float``, ``bytes`` and ``str``; everything else comes here:

=============  ==============================================  =====================
codec          for                                             read back as
=============  ==============================================  =====================
``BYTES``      ``bytearray``, ``memoryview``                   ``bytes``
``INT``        larger ``int``                                  ``int``
``ARRAY``      ``numpy.ndarray`` without Python objects in it  read-only ``numpy.ndarray``
``PICKLE``     all else, where pickle is on                    an equal object
``BUFFERS``    the same, if it has buffers (arrays)            the same; its arrays are read-only
``JSON``       ``dict``, ``list``, where pickle is off         an equal object
``EXCEPTION``  what ``put_exception`` is given                 an exception; see below
=============  ==============================================  =====================

Arrays and buffers are not copied out: what is read looks at the store's memory, which stays in place as long as
anything does.

Reading a pickle runs what it says, so the memory must come from processes that are trusted.  A private store's can only
be reached by processes that were handed it, as with :mod:`multiprocessing` itself; a named store's by every
process of the user, which is why pickle is off there unless asked for.

An exception goes by pickle, and beside it as a description.  Where the pickle cannot be read, or pickle is off,
built-in exceptions and offgil's own are made anew from their arguments, and all others become a
:class:`~offgil.errors.RemoteError` that says what they were.
"""

from __future__ import annotations

import builtins
import json
import os
import pickle
import struct
import sys
import traceback
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from offgil import errors
from offgil.errors import CodecError, RemoteError, StoreCorrupted

if TYPE_CHECKING:
    import numpy as np

__all__ = ["BYTES", "NAMES", "STR", "Codec", "flat_bytes"]

BYTES, STR = 5, 6  # the extension's
INT, ARRAY, PICKLE, BUFFERS, JSON, EXCEPTION = range(16, 22)

#: Codec -> what a snapshot calls it.
NAMES = dict(enumerate(("none", "bool", "bool", "int", "float", "bytes", "str")))
NAMES |= {INT: "int", ARRAY: "array", PICKLE: "pickle", BUFFERS: "pickle", JSON: "json", EXCEPTION: "exception"}

_Encoded = tuple[int, list[Any]]
_Buffer = bytes | memoryview

_COUNT = struct.Struct("<I")
#: Data of an array starts at a multiple of this, as numpy itself aligns it at best.
_ALIGNMENT = 64


class Codec:
    """The two directions, with pickle on or off.

    Thread-safety: safe on shared objects; a value must not change while it is encoded.
    """

    def __init__(self, *, pickle: bool) -> None:
        self._pickle = pickle

    def encode(self, key: str, value: Any) -> _Encoded:
        """Encode ``value``: the codec, and buffers whose bytes follow each other in the store.

        Args:
            key: only for messages.

        Raises:
            CodecError: there is no form for the value.
        """
        kind = type(value)
        if kind is int:
            return INT, [value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)]
        if kind is bytearray:
            return BYTES, [value]
        if kind is memoryview:
            return BYTES, [value if value.c_contiguous else value.tobytes()]
        # Threads without the GIL take turns at sys.modules: it is looked into for numpy's own only.
        if kind.__module__ == "numpy" and kind is getattr(sys.modules.get("numpy"), "ndarray", None):
            array: np.ndarray[Any, Any] = value
            # Structured types do not fit into the one string of a head; pickle knows them.
            if not array.dtype.hasobject and array.dtype.names is None:
                return _encode_array(array)
        try:
            return _encode_pickle(value) if self._pickle else _encode_json(value)
        except Exception as exc:
            how = "that pickle refuses" if self._pickle else "that JSON has no form for; pickle=True may"
            raise CodecError(f"the value of key {key!r} cannot be stored: a {kind.__qualname__} {how} ({exc})") from exc

    def encode_exception(self, exc: BaseException) -> _Encoded:
        """Encode what ``put_exception`` was given.

        Raises:
            TypeError: it is no exception object.
        """
        if not isinstance(exc, BaseException):
            raise TypeError(f"put_exception needs an exception object, not {exc!r}")
        kind = type(exc)
        text = "".join(traceback.format_exception(exc)) if exc.__traceback__ else None
        description = {"module": kind.__module__, "name": kind.__qualname__, "text": _text(exc), "pid": os.getpid()}
        description |= {"traceback": text, "args": list(exc.args) if _is_json(list(exc.args)) else None}
        head = json.dumps(description).encode()
        try:
            body = pickle.dumps(exc, protocol=5) if self._pickle else b""
        except Exception:
            body = b""  # the description does
        return EXCEPTION, [_COUNT.pack(len(head)), head, body]

    def decode(self, key: str, codec: int, data: _Buffer) -> Any:
        """Make the value that :meth:`encode` was given.

        Args:
            key: only for messages.
            data: all that was stored; arrays keep using it.

        Raises:
            CodecError: the value cannot be read here, for instance because a class is missing or pickle is off.
            StoreCorrupted: the bytes are not what that codec writes.
        """
        if codec in (PICKLE, BUFFERS):
            return self._decode_pickle(key, codec, data)
        try:
            if codec == INT:
                return int.from_bytes(data, "little", signed=True)
            if codec == ARRAY:
                return _decode_array(data)
            if codec == JSON:
                return json.loads(bytes(data))
            if codec == EXCEPTION:
                return self._decode_exception(data)
        except (ValueError, TypeError, KeyError, struct.error) as exc:
            raise StoreCorrupted(f"the value of key {key!r} is damaged ({exc}): make a new store") from exc
        raise StoreCorrupted(f"the value of key {key!r} has the unknown codec {codec}: use one version of offgil only")

    def _decode_pickle(self, key: str, codec: int, data: _Buffer) -> Any:
        if not self._pickle:
            raise CodecError(
                f"the value of key {key!r} is a pickle, and reading one runs what it says: "
                "open the store with pickle=True if all who write to it are trusted"
            )
        try:
            if codec == PICKLE:
                return pickle.loads(data)
            body, *buffers = _split(data)
            return pickle.loads(body, buffers=buffers)
        except Exception as exc:
            raise CodecError(f"the value of key {key!r} cannot be unpickled here: {type(exc).__name__}: {exc}") from exc

    def _decode_exception(self, data: _Buffer) -> BaseException:
        (length,) = _COUNT.unpack_from(data)
        start = _COUNT.size
        description = json.loads(bytes(data[start : start + length]))
        exc = self._load_exception(data[start + length :]) or _make_exception(description)
        if description["traceback"]:
            exc.add_note(f"\nRaised in process {description['pid']}:\n\n{description['traceback']}")
        return exc

    def _load_exception(self, body: _Buffer) -> BaseException | None:
        if not self._pickle or not body:
            return None
        try:
            exc = pickle.loads(body)
        except Exception:
            return None  # many exceptions cannot be made anew from their args
        return exc if isinstance(exc, BaseException) else None


def flat_bytes(codec: int, data: memoryview) -> memoryview | None:
    """The bytes of a value as a view has them; ``None`` if it has none."""
    if codec in (BYTES, STR):
        return data
    if codec != ARRAY:
        return None
    array = _decode_array(data)
    if array.flags.c_contiguous:
        return data[len(data) - array.nbytes :]
    return memoryview(array.tobytes())


def _encode_pickle(value: Any) -> _Encoded:
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    if not buffers:
        return PICKLE, [body]
    parts = [memoryview(body), *(buffer.raw() for buffer in buffers)]
    sizes = [part.nbytes for part in parts]
    head = struct.pack(f"<{1 + len(sizes)}Q", len(sizes), *sizes)
    encoded: list[Any] = [head, _padding(len(head))]
    for part, size in zip(parts, sizes, strict=True):
        encoded += [part, _padding(size)]
    return BUFFERS, encoded


def _split(data: _Buffer) -> list[memoryview]:
    view = memoryview(data)
    (count,) = struct.unpack_from("<Q", view)
    sizes = struct.unpack_from(f"<{count}Q", view, 8)
    offset = 8 * (1 + count)
    parts = []
    for size in sizes:
        offset += -offset % _ALIGNMENT
        parts.append(view[offset : offset + size])
        offset += size
    return parts


def _padding(size: int) -> bytes:
    return bytes(-size % _ALIGNMENT)


def _encode_json(value: Any) -> _Encoded:
    if type(value) not in (dict, list) or not _is_json(value):
        raise TypeError("only dict and list of str, int, float, bool and None, with str for keys")
    return JSON, [json.dumps(value, separators=(",", ":")).encode()]


def _text(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception:
        return "<exception str() failed>"  # in the words of the traceback module


def _is_json(value: Any) -> bool:
    """Whether JSON gives back what it is given, down to the types."""
    kind = type(value)
    if kind is list:
        return all(map(_is_json, value))
    if kind is dict:
        return all(type(key) is str for key in value) and all(map(_is_json, value.values()))
    # Python refuses to read numbers of more than 4300 digits.
    return value is None or kind in (str, float, bool) or (kind is int and value.bit_length() < 14000)


def _make_exception(description: dict[str, Any]) -> BaseException:
    home = {"builtins": builtins, "offgil.errors": errors}.get(description["module"])
    kind = getattr(home, description["name"], None)
    if isinstance(kind, type) and issubclass(kind, Exception) and description["args"] is not None:
        with suppress(Exception):  # its arguments may be others
            return kind(*description["args"])
    return RemoteError(f"{description['module']}.{description['name']}: {description['text']}")


# Whoever hands an array over or waits for one has slept, and with cold caches this takes ten times as long as in a
# loop: so there are few calls, and texts are made once.


def _encode_array(array: np.ndarray[Any, Any]) -> _Encoded:
    flags, dtype = array.flags, array.dtype
    if flags.c_contiguous:
        head = _array_head(dtype, "C", array.shape)
        if dtype.kind in "biufc":
            return ARRAY, [head, array]
        flat = array.reshape(-1)
    else:
        order: Literal["C", "F"] = "F" if flags.fnc else "C"
        head = _array_head(dtype, order, array.shape)
        flat = array.reshape(-1, order=order)
        if not flat.flags.c_contiguous:
            flat = flat.copy()
    # As bytes: some types, dates for one, have no buffer of their own.
    return ARRAY, [head, flat.view("u1")]


@lru_cache(maxsize=256)
def _array_head(dtype: np.dtype[Any], order: str, shape: tuple[int, ...]) -> bytes:
    text = f"{dtype.str} {order} {' '.join(map(str, shape))}".encode()
    head = _COUNT.pack(len(text)) + text
    return head + _padding(len(head))


def _decode_array(data: _Buffer) -> np.ndarray[Any, Any]:
    (length,) = _COUNT.unpack_from(data)
    make, dtype, order, shape, offset = _array_form(bytes(data[_COUNT.size : _COUNT.size + length]))
    return make(shape, dtype, data, offset, None, order)


@lru_cache(maxsize=256)
def _array_form(
    text: bytes,
) -> tuple[type[np.ndarray[Any, Any]], np.dtype[Any], Literal["C", "F"], tuple[int, ...], int]:
    import numpy as np

    name, order, *shape = text.decode().split(" ")
    dtype = np.dtype(name)
    if dtype.hasobject:
        raise ValueError("an array of Python objects")
    used = _COUNT.size + len(text)
    return np.ndarray, dtype, "F" if order == "F" else "C", tuple(int(n) for n in shape if n), used + -used % _ALIGNMENT
