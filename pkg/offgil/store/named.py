"""Where named stores live: one file each, in a folder of the user's on a file system in memory.

A file gets its name only when it is a complete store, and by one atomic step, so nobody finds half of one, and a
process that is killed on the way leaves nothing behind.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from offgil import _core
from offgil.errors import StoreCorrupted, StoreUnavailable

__all__ = ["folder", "names", "open_existing", "open_or_create", "remove"]

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")

_Make = Callable[[int], _core.ManagedStore]


def folder() -> str:
    """The path of this user's folder: below ``OFFGIL_STORE_DIR``, or ``/dev/shm``."""
    return os.path.join(os.environ.get("OFFGIL_STORE_DIR", "/dev/shm"), f"offgil-{os.geteuid()}")


def names() -> list[str]:
    """The names of all stores of this user, sorted.

    Thread-safety: safe on shared objects, as all functions here.
    """
    with _opened_folder() as home:
        return sorted(name for name in os.listdir(home) if _NAME.fullmatch(name))


def open_or_create(name: str, create: _Make, attach: _Make) -> _core.ManagedStore:
    """Attach to the store of that name, or make it.

    Args:
        create: makes a store of an empty file; either takes over the descriptor.

    Raises:
        StoreUnavailable: the folder is not there or not safe, or its file system has no room.
        StoreCorrupted: the file is not a store that can be used.
        ValueError: the name has characters that a name may not have.
    """
    _check(name)
    with _opened_folder() as home:
        while True:
            try:
                return _attach(home, name, attach)
            except FileNotFoundError:
                pass
            fd = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=home)
            path = f"/proc/self/fd/{fd}"
            table = create(fd)  # and with it goes the descriptor, not before
            try:
                os.link(path, name, dst_dir_fd=home, follow_symlinks=True)
            except FileExistsError:
                continue  # somebody was faster
            return table


def open_existing(name: str, attach: _Make) -> _core.ManagedStore:
    """Attach to the store of that name.

    Raises:
        StoreUnavailable: there is none.
        StoreCorrupted: the file is not a store that can be used.
    """
    _check(name)
    with _opened_folder() as home:
        try:
            return _attach(home, name, attach)
        except FileNotFoundError:
            raise StoreUnavailable(f"there is no store named {name!r} in {folder()}") from None


def remove(name: str) -> None:
    """Close the store of that name for all processes, and remove it.

    Raises:
        StoreUnavailable: there is none.
    """
    with suppress(StoreCorrupted):  # a file that is no store has no waiters either
        open_existing(name, lambda fd: _core.ManagedStore.attach(fd, _unused, _unused)).shut_down()
    with _opened_folder() as home:
        os.unlink(name, dir_fd=home)


def _unused(*_: object) -> object:
    raise AssertionError("no value is read or written")


def _check(name: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"a store's name is 1 to 100 letters, digits, '.', '_' and '-', not {name!r}")


def _attach(home: int, name: str, attach: _Make) -> _core.ManagedStore:
    try:
        fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=home)
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise StoreCorrupted(f"the store {name!r} in {folder()} cannot be opened ({exc}); remove that file") from exc
    try:
        table = attach(fd)
    except StoreCorrupted as exc:
        raise StoreCorrupted(f"the store {name!r} cannot be used: {exc}; 'offgil store rm {name}' removes it") from exc
    if table.closed:
        # Whoever was removing it did not come to the end.
        if os.fstat(table.fileno()).st_ino == os.stat(name, dir_fd=home, follow_symlinks=False).st_ino:
            os.unlink(name, dir_fd=home)
        raise FileNotFoundError(name)
    return table


@contextmanager
def _opened_folder() -> Iterator[int]:
    path = folder()
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as exc:
        raise StoreUnavailable(
            f"named stores need a writable file system in memory: {exc}; set OFFGIL_STORE_DIR to one"
        ) from exc
    try:
        home = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as exc:
        raise StoreUnavailable(f"{path} is not a folder that can be used for named stores: {exc}") from exc
    try:
        seen = os.fstat(home)
        if seen.st_uid != os.geteuid() or stat.S_IMODE(seen.st_mode) & 0o077:
            raise StoreUnavailable(
                f"{path} must belong to this user and be closed to all others (mode 0700), "
                f"not to user {seen.st_uid} with mode {stat.S_IMODE(seen.st_mode):04o}: have it removed"
            )
        yield home
    finally:
        os.close(home)
