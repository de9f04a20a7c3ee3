"""What a client and a response tell about themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["ClientStats", "Timings"]


@dataclass(frozen=True, slots=True)
class ClientStats:
    """Counters of one client since it was made, in this process.

    Attributes:
        requests: attempts that ended, with an answer or an error.
        errors: how many of them ended in an error, by the name of its class; what the iterable of a request's body
            raised counts as ``Exception``.
        retries: attempts beyond the first one of a request, made because of a :class:`~offgil.Retry`.
        connections_opened: connections made.
        connections_reused: attempts that went over a kept connection.
        bytes_sent: bytes of bodies sent.
        bytes_received: bytes of bodies received, before decoding.
        in_flight: requests that run or wait for a connection now.

    Thread-safety: safe on shared objects; it never changes.
    """

    requests: int
    errors: Mapping[str, int]
    retries: int
    connections_opened: int
    connections_reused: int
    bytes_sent: int
    bytes_received: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class Timings:
    """When each phase of a request was over, in seconds from its start.

    The first three are 0.0 where the connection stood already.

    Attributes:
        dns: the name was looked up.
        connect: the TCP connection stood.
        tls: the TLS session stood; 0.0 for plain HTTP.
        first_byte: the first byte of the answer came.
        total: the last byte came; with the wait for a free connection, which the others leave out.

    Thread-safety: safe on shared objects; it never changes.
    """

    dns: float
    connect: float
    tls: float
    first_byte: float
    total: float
