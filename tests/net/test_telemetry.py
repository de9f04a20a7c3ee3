"""OpenTelemetry spans, seen by the SDK's own exporter."""

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import offgil
from offgil import Client, Retry
from offgil.telemetry import OpenTelemetry
from site_pages import page, redirect, visit


@pytest.fixture
def spans():
    return InMemorySpanExporter()


@pytest.fixture
def provider(spans):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    yield provider
    provider.shutdown()


def test_a_request_is_a_client_span(serve, provider, spans):
    url, site = visit(serve, lambda asked: page())
    with Client(hooks=[OpenTelemetry(provider)]) as client:
        client.get(f"{url}/path?q=1".replace("://", "://me:pw@"))
    [span] = spans.get_finished_spans()
    port = int(url.rpartition(":")[2])
    assert (span.name, span.kind) == ("GET", SpanKind.CLIENT)
    assert dict(span.attributes) == {
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "server.port": port,
        "url.full": f"{url}/path?q=1",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
    }
    assert span.status.status_code == StatusCode.UNSET
    trace, parent = site.asked[0].headers["traceparent"].split("-")[1:3]
    assert (int(trace, 16), int(parent, 16)) == (span.context.trace_id, span.context.span_id)


def test_it_is_a_child_of_the_current_span(serve, provider, spans):
    url, _ = visit(serve, lambda asked: page())
    outer = provider.get_tracer("test").start_as_current_span("outer")
    with Client(hooks=[OpenTelemetry(provider)]) as client, outer as current:
        client.get(url)
        list(client.map([url, url]))
    assert [span.parent and span.parent.span_id for span in spans.get_finished_spans()] == [
        *[current.get_span_context().span_id] * 3,
        None,
    ]


def test_each_attempt_has_its_own(serve, provider, spans):
    answers = iter([page(status=503), redirect("/next"), page(status=404)])
    url, _ = visit(serve, lambda asked: next(answers))
    with Client(hooks=[OpenTelemetry(provider)], retry=Retry(backoff=0), follow_redirects=True) as client:
        client.get(url)
    seen = [
        (span.attributes["http.response.status_code"], span.attributes.get("http.request.resend_count"))
        for span in spans.get_finished_spans()
    ]
    assert seen == [(503, None), (302, 1), (404, 1)]
    assert [span.attributes.get("error.type") for span in spans.get_finished_spans()] == ["503", None, "404"]


def test_a_failure_says_what_it_was(serve, provider, spans):
    def script(peer, _):
        peer.read_request()

    server = serve(script)
    with Client(hooks=[OpenTelemetry(provider)]) as client, pytest.raises(offgil.RemoteProtocolError):
        client.request("BREW", server.url)
    [span] = spans.get_finished_spans()
    assert span.name == "HTTP"
    assert span.attributes["http.request.method_original"] == "BREW"
    assert span.attributes["error.type"] == "RemoteProtocolError"
    assert span.status.status_code == StatusCode.ERROR
