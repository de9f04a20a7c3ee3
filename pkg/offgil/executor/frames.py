"""Tasks and results as bytes.

A task is a *record*: how its function is called, and its arguments::

    flags (1 byte) | size of the function's pickle (4) | pickle of the function | pickle of the arguments

A function that pickle sends by its name has the same bytes each time, so both sides keep what they made of them; one
that goes by value (cloudpickle) may have changed in between and is sent anew.

Buffers of ``OUT_OF_BAND`` bytes and more leave the pickle (protocol 5) and lie behind it, each at a multiple of 64::

    number of parts | size of each part | record | buffer | ...         (all sizes 8 bytes)

Whoever reads such a frame gets views of the store's memory in place of the buffers: nothing is copied unless the type
of the object demands it, as ``bytes`` does.
"""

from __future__ import annotations

import importlib
import pickle
import struct
import traceback
import types
from collections.abc import Callable
from typing import Any

from offgil.errors import CodecError, RemoteError, RemoteTraceback
from offgil.executor.tasks import name_of

__all__ = [
    "Frame",
    "Functions",
    "Parts",
    "function_head",
    "read_exception",
    "read_pickle",
    "read_task",
    "write_exception",
    "write_pickle",
    "write_task",
]

#: Smaller buffers are cheaper to copy than to pin, and the object that is made of the copy is writable.
OUT_OF_BAND = 64 * 1024
_ALIGNMENT = 64
_HEAD = struct.Struct("<BI")
_KWARGS, _BY_NAME = 1, 2
_FUNCTIONS_KEPT = 1024
_BY_NAME_TYPES = (types.FunctionType, types.BuiltinFunctionType, type)


class Parts(list[Any]):
    """Buffers whose bytes follow each other in the store; what a frame with buffers is written as."""


#: What goes into the store: bytes, or parts with large buffers among them.
Frame = bytes | Parts
#: Pickle of a function -> the function, as a worker keeps them.
Functions = dict[bytes, Callable[..., Any]]


class _Bytes:
    """Large ``bytes`` on their way: pickle itself never puts them out of band."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def __reduce__(self) -> tuple[type[bytes], tuple[pickle.PickleBuffer]]:
        return bytes, (pickle.PickleBuffer(self._value),)


def write_pickle(value: Any, before: bytes = b"", dumps: Callable[..., bytes] = pickle.dumps) -> Frame:
    """Pickle ``value`` into a frame whose record begins with ``before``."""
    buffers: list[memoryview] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < OUT_OF_BAND:
            return True  # in band
        buffers.append(raw)
        return False

    record = before + dumps(value, protocol=5, buffer_callback=keep)
    if not buffers:
        return record
    sizes = [len(record), *(buffer.nbytes for buffer in buffers)]
    head = struct.pack(f"<{1 + len(sizes)}Q", len(sizes), *sizes)
    frame = Parts([head, bytes(-len(head) % _ALIGNMENT)])
    for part, size in zip([record, *buffers], sizes, strict=True):
        frame += [part, bytes(-size % _ALIGNMENT)]
    return frame


def read_pickle(frame: bytes | memoryview, start: int = 0) -> Any:
    """The value of a frame whose pickle begins at ``start`` of its record."""
    record, buffers = _split(frame)
    return pickle.loads(record[start:] if start else record, buffers=buffers)


def _split(frame: bytes | memoryview) -> tuple[bytes | memoryview, list[memoryview]]:
    if type(frame) is bytes:
        return frame, []
    view = memoryview(frame)
    (count,) = struct.unpack_from("<Q", view)
    sizes = struct.unpack_from(f"<{count}Q", view, 8)
    offset = 8 * (1 + count)
    parts = []
    for size in sizes:
        offset += -offset % _ALIGNMENT
        parts.append(view[offset : offset + size])
        offset += size
    return parts[0], parts[1:]


# --- tasks ----------------------------------------------------------------------------------------


def function_head(fn: Callable[..., Any], known: dict[Any, bytes]) -> bytes:
    """The part of a record that says which function it calls.

    Raises:
        CodecError: neither pickle nor cloudpickle can send it.
    """
    head = known.get(fn) if type(fn) in _BY_NAME_TYPES else None
    if head is not None:
        return head
    try:
        body = pickle.dumps(fn, protocol=5)
        by_name = type(fn) in _BY_NAME_TYPES
    except Exception as exc:
        body, by_name = _cloudpickle(fn, exc)(fn, protocol=5), False
    head = _HEAD.pack(_BY_NAME if by_name else 0, len(body)) + body
    if by_name:
        if len(known) >= _FUNCTIONS_KEPT:
            known.clear()
        known[fn] = head
    return head


def write_task(head: bytes, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Frame:
    """The frame of a task; ``head`` is its function's, and ``fn`` only for messages.

    Raises:
        CodecError: an argument cannot be sent.
    """
    for arg in args:
        if type(arg) is bytes and len(arg) >= OUT_OF_BAND:
            args = tuple(_Bytes(arg) if type(arg) is bytes and len(arg) >= OUT_OF_BAND else arg for arg in args)
            break
    value: Any = args
    if kwargs:
        head = bytes([head[0] | _KWARGS]) + head[1:]
        value = args, kwargs
    try:
        return write_pickle(value, head)
    except Exception as exc:
        return write_pickle(value, head, _cloudpickle(fn, exc, "an argument of "))


def _cloudpickle(fn: Callable[..., Any], refusal: Exception, what: str = "") -> Callable[..., bytes]:
    """cloudpickle's ``dumps``, wrapped so that its errors are ours too."""
    name = name_of(fn)
    try:
        cloudpickle = importlib.import_module("cloudpickle")
    except ImportError:
        raise CodecError(
            f"{what}{name} cannot be sent to a worker process: {refusal}; define it at the top of a module, or install "
            "cloudpickle"
        ) from refusal

    def dumps(*args: Any, **kwargs: Any) -> bytes:
        try:
            return bytes(cloudpickle.dumps(*args, **kwargs))
        except Exception as exc:
            raise CodecError(f"{what}{name} cannot be sent to a worker process, even by cloudpickle: {exc}") from exc

    return dumps


def read_task(
    frame: bytes | memoryview, functions: Functions
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """The function and the arguments of a task.

    Raises:
        CodecError: one of them cannot be made in this process.
    """
    record, buffers = _split(frame)
    flags, size = _HEAD.unpack_from(record)
    start = _HEAD.size + size
    blob = bytes(record[_HEAD.size : start])
    fn = functions.get(blob)
    what = "its function"
    try:
        if fn is None:
            fn = pickle.loads(blob)
            if flags & _BY_NAME:
                functions[blob] = fn
        what = f"an argument of {name_of(fn)}"
        value = pickle.loads(record[start:], buffers=buffers)
    except Exception as exc:
        raise CodecError(f"{what} cannot be made in the worker process: {type(exc).__name__}: {exc}") from exc
    return (fn, *value) if flags & _KWARGS else (fn, value, {})


# --- exceptions -----------------------------------------------------------------------------------


def write_exception(exc: BaseException) -> Frame:
    """The frame of an exception that a task raised, with its traceback as text."""
    text = "".join(traceback.format_exception(exc))
    # Not str(exc), which may raise.
    description = "".join(traceback.format_exception_only(exc)).strip()
    try:
        body = pickle.dumps(exc, protocol=5)
    except Exception:
        body = b""  # the description does
    return pickle.dumps((body, description, text), protocol=5)


def read_exception(frame: bytes | memoryview) -> BaseException:
    """The exception, with a :class:`~offgil.errors.RemoteTraceback` as its cause.

    One that cannot be made anew here becomes a :class:`~offgil.errors.RemoteError` that says what it was.
    """
    body, description, text = pickle.loads(frame)
    exc: Any = None
    if body:
        try:
            exc = pickle.loads(body)
        except Exception:
            exc = None  # many exceptions cannot be made anew from their args
    if not isinstance(exc, BaseException):
        exc = RemoteError(description)
    made: BaseException = exc
    made.__cause__ = RemoteTraceback(f'\n"""\n{text}"""')
    return made
