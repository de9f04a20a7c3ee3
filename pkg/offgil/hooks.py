"""Looking at what a client sends and gets, attempt by attempt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from offgil.response import Head

__all__ = ["Attempt", "Hook"]


@dataclass(slots=True, eq=False)
class Attempt:
    """One request as it goes to the core: a call makes more of them where it is retried or redirected.

    Attributes:
        method: of this attempt; a redirect may have changed it.
        url: absolute, without credentials.
        headers: what the request adds to the client's defaults, which are not listed.  A hook may append to it.
        number: 1 for the first time that this URL is asked.
        redirects: how many redirects led here.
        notes: what hooks want to remember until the end of the attempt; a hook uses itself as its key.

    Thread-safety: compatible; it belongs to the thread that makes the call.
    """

    method: str
    url: str
    headers: list[tuple[str, str | None]]
    number: int
    redirects: int
    notes: dict[object, Any] = field(default_factory=dict)


class Hook:
    """What a client calls around each attempt; override what you need.

    Called on the thread (or in the task) that makes the request, so it must be as safe to share as the client is, and
    in an event loop it must not block.  What it raises ends the call.  Every :meth:`on_request` is followed by one
    :meth:`on_response` or :meth:`on_error`.

    Thread-safety: safe on shared objects, and to be kept so by who derives from it.
    """

    def on_request(self, attempt: Attempt) -> None:
        """An attempt is about to be made."""

    def on_response(self, attempt: Attempt, response: Head) -> None:
        """Its answer came, whatever its status; of a stream the head."""

    def on_error(self, attempt: Attempt, error: BaseException) -> None:
        """It failed, or was given up: a KeyboardInterrupt, the end of a task or of the client end it, too."""
