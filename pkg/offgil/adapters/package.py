"""What the adapters of httpx and httpx2, two packages of one shape, know of theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from offgil.errors import InvalidURL, OffgilError, RequestError, ResponseTooLarge

__all__ = ["Package"]

#: Where the package has no class of the name, or means something else by it.
_NAMES: dict[type[OffgilError], str] = {
    InvalidURL: "LocalProtocolError",  # its own is about URLs that it could not parse
    ResponseTooLarge: "RemoteProtocolError",
}


@dataclass(frozen=True)
class Package:
    """One of the packages.

    Attributes:
        module: the package.
        stream: the class of blocking answers' bodies.
        async_stream: the class of asynchronous answers' bodies.
        ca_file: returns the bundle that it trusts by default; ``""`` for the system's.

    Thread-safety: safe on shared objects (immutable).
    """

    module: Any
    stream: Any
    async_stream: Any
    ca_file: Callable[[], str]

    def error(self, error: RequestError | InvalidURL) -> Exception:
        """Return the package's exception for one of ours."""
        name = _NAMES.get(type(error), type(error).__name__)
        translated: Exception = getattr(self.module, name)(str(error))
        return translated
