"""Time limits of a request."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits", "Timeout", "limits_of"]

#: (connect, read, write, pool) in seconds, as the native core takes them.
Limits = tuple[float | None, float | None, float | None, float | None]


@dataclass(frozen=True, slots=True)
class Timeout:
    """Limits in seconds for each phase of a request; ``None`` is no limit.

    ``read`` and ``write`` bound inactivity, not the whole phase: a long answer that keeps coming is never cut off.
    A header is different: what drips in line by line must be complete within ``read`` of its first line.

    Attributes:
        connect: name look-up, TCP and TLS together.
        read: the time without a byte from the server, the wait for the first one included.
        write: the time in which the server accepts no byte.
        pool: the wait for one of the client's ``max_connections``.

    Thread-safety: safe on shared objects (immutable).
    """

    connect: float | None = 10.0
    read: float | None = 60.0
    write: float | None = 60.0
    pool: float | None = 60.0

    def __post_init__(self) -> None:
        for phase in ("connect", "read", "write", "pool"):
            seconds = getattr(self, phase)
            check_seconds(f"timeout {phase}", seconds)


def limits_of(timeout: Timeout | float | None) -> Limits:
    """Return what the core takes for ``timeout``; one number stands for every phase."""
    if isinstance(timeout, Timeout):
        return (timeout.connect, timeout.read, timeout.write, timeout.pool)
    check_seconds("timeout", timeout)
    return (timeout, timeout, timeout, timeout)


def check_seconds(name: str, seconds: float | None) -> None:
    """Raise :class:`ValueError` unless ``seconds`` can be a limit."""
    if seconds is not None and not seconds >= 0:
        raise ValueError(f"{name}={seconds!r}: must be seconds >= 0, or None for no limit")
