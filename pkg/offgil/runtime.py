"""What this interpreter is, and what follows from it: which store and which workers are the faster choice here.

Both stores and both kinds of workers are *safe* everywhere, so nothing here is about safety.  Every function reads the
interpreter's state anew: on a free-threaded build one import can turn the GIL on, for good, at any time.
"""

from __future__ import annotations

import importlib.machinery
import os
import platform
import sys
import sysconfig
from dataclasses import dataclass

from offgil.errors import UnknownKind

__all__ = ["Decision", "Interpreter", "decide_store", "decide_workers", "interpreter"]


@dataclass(frozen=True, slots=True)
class Decision:
    """A choice and why it was made; ``str(decision)`` is one sentence for people.

    Attributes:
        kind: what was chosen: ``"shared"`` or ``"managed"``, ``"threads"`` or ``"processes"``.
        reason: why, for people.
        forced: whether someone asked for it, so that the interpreter was not looked at.
    """

    kind: str
    reason: str
    forced: bool = False

    def __str__(self) -> str:
        return f"{_TITLES.get(self.kind, self.kind)}: {self.reason}"


_TITLES = {"shared": "shared-state", "managed": "managed-dict"}


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What this interpreter is and how its GIL stands now.

    Attributes:
        version: ``"3.13.2"``.
        implementation: ``"CPython"``.
        free_threaded_build: whether it was built so that it can run without a GIL.
        gil_enabled: whether the GIL is on at this moment.
        gil_cause: why the GIL is on, as far as the interpreter tells; empty while it is off.
        suspects: imported extension modules that may have turned the GIL on.  Where some of them did not declare that
            they need no GIL, these ones; else those whose declaration cannot be read.
    """

    version: str
    implementation: str
    free_threaded_build: bool
    gil_enabled: bool
    gil_cause: str
    suspects: tuple[str, ...] = ()


def interpreter() -> Interpreter:
    """Describe the running interpreter as it is now.

    Thread-safety: safe on shared objects.  An import in another thread turns the GIL on for a moment, so one answer is
    a reading, not a promise.
    """
    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    # Absent before 3.13, where there is always a GIL.
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    suspects = _suspects() if free_threaded and gil and _forced_gil() is None else ()
    return Interpreter(
        version=platform.python_version(),
        implementation=platform.python_implementation(),
        free_threaded_build=free_threaded,
        gil_enabled=gil,
        gil_cause=_gil_cause(free_threaded, suspects) if gil else "",
        suspects=suspects,
    )


def decide_store(kind: str = "auto", *, managed_available: bool = sys.platform == "linux") -> Decision:
    """Choose between the shared-state and the managed-dict store.

    Args:
        kind: ``"shared"`` or ``"managed"`` to force one; with ``"auto"`` the environment variable ``OFFGIL_STORE`` may
            force one, else the interpreter decides.
        managed_available: whether this platform has the managed-dict store.

    Raises:
        UnknownKind: ``kind`` or ``OFFGIL_STORE`` names no store.

    Thread-safety: safe on shared objects.
    """
    if (forced := _forced(kind, "OFFGIL_STORE", ("shared", "managed"))) is not None:
        return forced
    now = interpreter()
    if not now.gil_enabled:
        return Decision("shared", "this interpreter was built without a GIL and it is off now")
    if not managed_available:
        return Decision("shared", f"the managed-dict store needs Linux, and this is {sys.platform}")
    if now.free_threaded_build:
        return Decision("managed", now.gil_cause)
    return Decision(
        "managed", "this interpreter has a GIL, so results cross process borders through shared memory"
    )


def decide_workers(kind: str = "auto") -> Decision:
    """Choose between worker threads and worker processes.

    Args:
        kind: ``"threads"`` or ``"processes"`` to force one; with ``"auto"`` the environment variable
            ``OFFGIL_WORKERS`` may force one, else the interpreter decides.

    Raises:
        UnknownKind: ``kind`` or ``OFFGIL_WORKERS`` names no kind of workers.

    Thread-safety: safe on shared objects.
    """
    if (forced := _forced(kind, "OFFGIL_WORKERS", ("threads", "processes"))) is not None:
        return forced
    now = interpreter()
    if not now.gil_enabled:
        return Decision("threads", "this interpreter was built without a GIL and it is off now")
    if now.free_threaded_build:
        return Decision("processes", now.gil_cause)
    return Decision("processes", "this interpreter has a GIL, so only processes run Python code in parallel")


def _forced(kind: str, variable: str, known: tuple[str, ...]) -> Decision | None:
    """The decision that an argument or the environment makes, else ``None``."""
    if kind != "auto":
        if kind not in known:
            raise UnknownKind(f"unknown kind {kind!r}: known are 'auto', {', '.join(map(repr, known))}")
        return Decision(kind, "the caller asked for it", forced=True)
    wish = os.environ.get(variable) or "auto"
    if wish == "auto":
        return None
    if wish not in known:
        raise UnknownKind(f"{variable} is {wish!r}: known are 'auto', {', '.join(map(repr, known))}")
    return Decision(wish, f"{variable} asked for it", forced=True)


def _forced_gil() -> str | None:
    """Who switched the GIL on by hand.  ``-X gil`` wins over ``PYTHON_GIL``, as in CPython."""
    option = sys._xoptions.get("gil")
    if option is not None:
        return "-X gil=1" if option == "1" else None
    if os.environ.get("PYTHON_GIL") == "1" and not sys.flags.ignore_environment:
        return "PYTHON_GIL=1"
    return None


def _gil_cause(free_threaded: bool, suspects: tuple[str, ...]) -> str:
    if not free_threaded:
        return "this interpreter was built with a GIL"
    if (switch := _forced_gil()) is not None:
        return f"the GIL was turned on by {switch}"
    if not suspects:
        return "the GIL was turned on by an extension module that is no longer in sys.modules"
    if len(suspects) == 1:
        return f"the GIL was turned on by importing `{suspects[0]}`"
    names = ", ".join(f"`{name}`" for name in suspects)
    return f"the GIL was turned on by importing one of {names}"


def _suspects() -> tuple[str, ...]:
    """Extension modules that may have turned the GIL on, in order of import.

    CPython names the first culprit in a warning at its import and keeps no record of it.  What can still be read is
    what each module with multi-phase initialisation declared.
    """
    from offgil import _core

    guilty, unknown = [], []
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if not isinstance(path, str) or not path.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES)):
            continue
        declared = _core.declares_free_threading(module)
        if declared is None:
            unknown.append(name)
        elif not declared:
            guilty.append(name)
    return tuple(guilty or unknown)
