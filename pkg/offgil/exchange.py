"""What a call does besides sending one request: retries, redirects, cookies, hooks.

There is no I/O here: :func:`exchange` is a generator that says what to send or how long to pause, and is told what
became of it.  The blocking client, the asyncio client, streams and batches each drive it in their own way, so a
policy is written once.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, TypeVar

from offgil.content import replayable
from offgil.cookies import keep_cookies, with_cookies
from offgil.errors import Cancelled, InvalidURL, RemoteProtocolError, RequestError, TooManyRedirects
from offgil.hooks import Attempt
from offgil.redirects import redirected
from offgil.request import Encoded
from offgil.response import Head
from offgil.retry import Retry

if TYPE_CHECKING:
    from offgil.client_base import BaseClient

__all__ = ["Exchange", "advance", "exchange"]

R = TypeVar("R", bound=Head)

#: Yields a request to send, or seconds to pause.  Is sent the answer to the former, or thrown its exception, and
#: ``None`` after the latter.  Returns the final answer.
Exchange = Generator[Encoded | float, R | None, R]


def exchange(client: BaseClient, request: Encoded, *, retry: Retry | None, follow: bool) -> Exchange[R]:
    """Carry one call out.

    Args:
        client: whose jar, hooks and bounds apply.
        request: as the caller wants it.
        retry: when to send it again.
        follow: whether to go where an answer redirects.

    Thread-safety: compatible, as any generator.
    """
    *_, deadline = request.limits
    end = None if deadline is None else time.monotonic() + deadline
    history: list[R] = []
    while True:
        try:
            response: R = yield from _answer(client, request, retry, end, len(history))
        except InvalidURL as error:
            if not history:
                raise
            raise RemoteProtocolError(f"the server redirects to what is no URL: {error}") from error
        following = redirected(request, response, client._default_headers) if follow else None
        if following is None:
            response._history = tuple(history)
            return response
        if len(history) == client._max_redirects:
            raise TooManyRedirects(
                f"{request.method} {response.url}: redirected {len(history) + 1} times, and max_redirects is "
                f"{client._max_redirects}; the server may be sending you in a circle"
            )
        history.append(response)
        request = following


def advance(steps: Exchange[R], outcome: R | Exception | None, submit: Callable[[Encoded], object]) -> float | None:
    """Tell an exchange what became of its last step and go on: for those who drive many at once.

    Args:
        steps: the exchange.
        outcome: the answer, the exception, or ``None`` at the start and after a pause.
        submit: sends a request, or raises what is wrong with it.

    Returns:
        Seconds to pause; ``None`` if a request was submitted.

    Raises:
        StopIteration: the exchange is over; its value is the answer.
        RequestError, InvalidURL: it failed.
    """
    step = steps.throw(outcome) if isinstance(outcome, Exception) else steps.send(outcome)
    while not isinstance(step, float):
        try:
            submit(step)
        except (RequestError, InvalidURL) as error:
            step = steps.throw(error)
        else:
            return None
    return step


def _answer(
    client: BaseClient, request: Encoded, retry: Retry | None, end: float | None, redirects: int
) -> Exchange[R]:
    """One URL, asked as often as ``retry`` says."""
    *phases, _ = request.limits
    for number in itertools.count(1):
        outcome: R | RequestError
        try:
            left = None if end is None else max(0.0, end - time.monotonic())
            outcome = yield from _attempt(client, request._replace(limits=(*phases, left)), number, redirects)
        except RequestError as error:
            outcome = error
        delay = None
        if retry is not None and request.method in retry.methods and replayable(request.body):
            delay = retry.pause_after(number, outcome)
        # A pause that outlasts the deadline helps nobody: the caller gets what there is, now.
        if delay is None or (end is not None and time.monotonic() + delay >= end):
            break
        yield delay
        client._count_retry()
    if isinstance(outcome, RequestError):
        raise outcome
    return outcome


def _attempt(client: BaseClient, request: Encoded, number: int, redirects: int) -> Exchange[R]:
    if client._cookies is not None:
        request = with_cookies(client._cookies, request)
    attempt = None
    if client._hooks:
        attempt = Attempt(request.method, request.url, list(request.headers or ()), number, redirects)
        for hook in client._hooks:
            hook.on_request(attempt)
        request = request._replace(headers=attempt.headers)
    try:
        response = yield request
    except BaseException as error:
        if attempt is not None:
            # A driver that is dropped half-way closes this generator.
            reason = (
                Cancelled(f"{request.method} {attempt.url}: dropped") if isinstance(error, GeneratorExit) else error
            )
            for hook in client._hooks:
                hook.on_error(attempt, reason)
        raise
    assert response is not None, "a request is answered with a response or by throwing"
    if client._cookies is not None:
        keep_cookies(client._cookies, request, response)
    if attempt is not None:
        for hook in client._hooks:
            hook.on_response(attempt, response)
    return response
