"""OpenTelemetry spans of a client's requests; needs the ``otel`` extra.

Names and attributes are those of OpenTelemetry's semantic conventions for HTTP clients (stable since 1.23).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from offgil.hooks import Attempt, Hook

try:
    from opentelemetry import propagate, trace
except ImportError as error:
    raise ImportError("offgil.telemetry needs OpenTelemetry's API: pip install 'offgil[otel]'") from error

if TYPE_CHECKING:
    from opentelemetry.trace import Span, TracerProvider

    from offgil.response import Head

__all__ = ["OpenTelemetry"]

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_DEFAULT_PORTS = {"http": 80, "https": 443}


class OpenTelemetry(Hook):
    """Makes a client span of each attempt, child of the current one, and tells the server of it.

    A call that is retried or redirected has several spans; the later ones say so in ``http.request.resend_count``.
    The span of a stream ends with its head.

    Args:
        tracer_provider: where spans go; the global one by default.

    Thread-safety: safe on shared objects.
    """

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("offgil", tracer_provider=tracer_provider)

    def on_request(self, attempt: Attempt) -> None:
        url = urlsplit(attempt.url)
        known = attempt.method in _METHODS
        attributes: dict[str, str | int] = {
            "http.request.method": attempt.method if known else "_OTHER",
            "server.address": url.hostname or "",
            "server.port": url.port or _DEFAULT_PORTS.get(url.scheme, 0),
            "url.full": attempt.url,
        }
        if not known:
            attributes["http.request.method_original"] = attempt.method
        if resent := attempt.number - 1 + attempt.redirects:
            attributes["http.request.resend_count"] = resent
        span = self._tracer.start_span(
            attempt.method if known else "HTTP", kind=trace.SpanKind.CLIENT, attributes=attributes
        )
        attempt.notes[self] = span
        carrier: dict[str, str] = {}
        propagate.inject(carrier, trace.set_span_in_context(span))
        attempt.headers += carrier.items()

    def on_response(self, attempt: Attempt, response: Head) -> None:
        span: Span = attempt.notes[self]
        span.set_attribute("http.response.status_code", response.status_code)
        span.set_attribute("network.protocol.version", response.http_version.removeprefix("HTTP/"))
        if response.status_code >= 400:
            span.set_attribute("error.type", str(response.status_code))
            span.set_status(trace.StatusCode.ERROR)
        span.end()

    def on_error(self, attempt: Attempt, error: BaseException) -> None:
        span: Span = attempt.notes[self]
        span.set_attribute("error.type", type(error).__qualname__)
        span.set_status(trace.StatusCode.ERROR, str(error))
        span.end()
