"""The trace extension: httpcore's events, as far as they can be told."""

import socket

import pytest

from hostile_answers import OK


def refused():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def short(peer, _):
    peer.read_request()
    peer.send(OK + b"Content-Length: 10\r\n\r\nhello")


def test_trace(package, echo):
    with package.client() as client:
        events, record = client.recorder()
        client.request("POST", f"{echo.url}/x", content=b"body", extensions={"trace": record})
        client.get(f"{echo.url}/y", extensions={"trace": record})
    steps = ["send_request_headers", "send_request_body", "receive_response_headers", "receive_response_body"]
    steps.append("response_closed")
    request = [f"http11.{step}.{when}" for step in steps for when in ("started", "complete")]
    connect = ["connection.connect_tcp.started", "connection.connect_tcp.complete"]
    assert [name for name, _ in events] == [*connect, *request, *request]
    info = dict(events[: len(connect + request)])
    assert info["connection.connect_tcp.started"]["host"] == "127.0.0.1"
    stream = info["connection.connect_tcp.complete"]["return_value"]
    assert stream.get_extra_info("server_addr")[1] == echo.server_address[1]
    asked = info["http11.send_request_headers.started"]["request"]
    assert (asked.method, asked.url.target) == (b"POST", b"/x")
    version, status, reason, headers = info["http11.receive_response_headers.complete"]["return_value"]
    assert (version, status, reason) == (b"HTTP/1.1", 200, b"OK")
    assert (b"X-Twice", b"one") in headers


def test_trace_of_a_failure(package, serve):
    with package.client() as client:
        events, record = client.recorder()
        with pytest.raises(package.module.ConnectError) as caught:
            client.get(refused(), extensions={"trace": record})
        assert [name for name, _ in events] == ["connection.connect_tcp.started", "connection.connect_tcp.failed"]
        assert events[1][1]["exception"] is caught.value
        del events[:]
        server = serve(short)
        with pytest.raises(package.module.RemoteProtocolError):
            client.get(server.url, extensions={"trace": record})
        assert "http11.receive_response_body.failed" in [name for name, _ in events]


def test_trace_callbacks_of_the_wrong_kind(package, echo):
    async def waits(*_):
        pass

    def returns(*_):
        pass

    wrong = waits if package.way == "sync" else returns
    with package.client() as client:
        with pytest.raises(TypeError, match="trace"):
            client.get(echo.url, extensions={"trace": wrong})
        assert client.get(echo.url).status_code == 200
