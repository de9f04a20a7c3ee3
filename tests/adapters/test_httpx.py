"""What transports promise, over real servers; httpx's own tests run over them, too (ci/offgil_ci/conformance.py)."""

import asyncio
import functools
import gzip
import socket
import time

import pytest

import offgil
from hostile_answers import CHUNKED, OK, SCENARIOS
from http2_servers import Http2Script
from proxies import HttpProxy
from socket_servers import ScenarioServer


def answering(*answers):
    def script(peer, _):
        for answer in answers:
            if not peer.read_request():
                return
            peer.send(answer)

    return script


def endless(peer, _):
    while peer.read_request():
        peer.send(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        peer.stall()


def test_a_request_arrives_as_it_is(package, echo):
    with package.client() as client:
        headers = {"X-Case": "kept", "x-two": "2"}
        seen = client.request("POST", f"{echo.url}/a|b?q=%20x", content=b"body", headers=headers).json()
    assert (seen["method"], seen["target"], seen["body"]) == ("POST", "/a|b?q=%20x", "body")
    headers = dict(seen["headers"])
    assert (headers["X-Case"], headers["x-two"], headers["Content-Length"]) == ("kept", "2", "4")
    assert "Expect" not in headers
    assert "Content-Type" not in headers


def test_what_the_caller_does_not_send_is_not_sent(blocking, echo):
    request = blocking.module.Request("GET", echo.url)
    for name in list(request.headers):
        del request.headers[name]
    with blocking.transport() as transport:
        response = transport.handle_request(request)
        response.read()
    assert [name for name, _ in response.json()["headers"]] == ["Host"]


def test_an_answer_arrives_as_it_is(package, serve):
    head = b"HTTP/1.1 299 A \xe4 reason\r\nX-Case: one\r\nx-CASE: \xe4\r\nContent-Encoding: gzip\r\n"
    body = gzip.compress(b"text")
    server = serve(answering(head + b"Content-Length: %d\r\n\r\n" % len(body) + body))
    with package.client() as client:
        response = client.get(server.url)
    assert response.status_code == 299
    assert response.headers.raw[:2] == [(b"X-Case", b"one"), (b"x-CASE", b"\xe4")]
    assert response.extensions["http_version"] == b"HTTP/1.1"
    assert response.extensions["reason_phrase"] == b"A \xe4 reason"
    assert response.text == "text"


def test_no_redirect_is_followed(package, serve):
    server = serve(answering(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"))
    with package.client() as client:
        assert client.get(server.url).status_code == 302


def test_targets(package, echo):
    with package.client() as client:
        assert client.get(f"{echo.url}/x?").json()["target"] == "/x?"
        seen = client.request("OPTIONS", echo.url, extensions={"target": b"*"}).json()
        assert seen["target"] == "*"
        assert client.get(f"{echo.url}/after").json()["target"] == "/after"
        with pytest.raises(package.module.LocalProtocolError):
            client.get(echo.url, extensions={"target": b"/a b"})


def test_credentials_of_the_url_go_into_a_header_only(package, echo):
    with package.client() as client:
        seen = client.get(echo.url.replace("//", "//user:secret@")).json()
    assert seen["target"] == "/"
    assert dict(seen["headers"])["Authorization"].startswith("Basic ")


@pytest.mark.parametrize("size", [None, 11])
def test_a_body_is_streamed(package, serve, size):
    asked = []

    def script(peer, _):
        asked.append(peer.read_request())
        peer.answer()

    headers = {} if size is None else {"Content-Length": str(size)}
    with package.client() as client:
        client.request("PUT", serve(script).url, content=client.body([b"hello ", b"", b"world"]), headers=headers)
    head, _, body = asked[0].partition(b"\r\n\r\n")
    assert body == b"hello world"
    assert (b"Transfer-Encoding: chunked" in head) is (size is None)


def test_a_large_body_is_streamed(package, echo):
    with package.client() as client:
        content = client.body([b"x" * 70_000] * 30)
        seen = client.request("PUT", echo.url, content=content, headers={"Content-Length": "2100000"})
    assert len(seen.json()["body"]) == 2_100_000


@pytest.mark.parametrize("pieces", [[b"abc", b"def"], [b"abc"], []])
def test_a_streamed_body_keeps_to_its_length(package, echo, pieces):
    with package.client() as client, pytest.raises(package.module.LocalProtocolError):
        client.request("PUT", echo.url, content=client.body(pieces), headers={"Content-Length": "4"})


def test_what_the_body_raises_is_raised(package, serve):
    class Strange(Exception):
        pass

    def script(peer, _):
        while peer.read_request():  # to its end: an answer before that would be returned
            peer.answer()

    def pieces():
        yield b"some"
        raise Strange

    url = serve(script).url
    with package.client() as client:
        with pytest.raises(Strange):
            client.request("PUT", url, content=client.body(pieces()))
        assert client.get(url).status_code == 200


def test_an_answer_may_come_before_the_body_is_over(package, serve):
    def script(peer, _):
        peer.sock.recv(65536)
        peer.answer(b"enough")

    with package.client() as client:
        response = client.request("POST", serve(script).url, content=client.body([b"one", b"two", b"three"]))
    assert response.content == b"enough"


# The packages' own generators are left to the collector, of which trio warns.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_early_end_leaves_a_healthy_pool(package, serve):
    server = serve(endless)
    limits = package.module.Limits(max_connections=1, max_keepalive_connections=1)
    with package.client(limits=limits) as client:
        for _ in range(20):
            assert client.pieces(server.url, 1) == [b"first"]
    assert server.connections == 20


def test_connections_are_kept(package, echo):
    with package.client() as client:
        assert len({client.get(echo.url).json()["port"] for _ in range(5)}) == 1


@pytest.mark.parametrize("limits", [{"keepalive_expiry": 0}, {"max_keepalive_connections": 0}])
def test_connections_that_are_not_to_be_kept(package, echo, limits):
    with package.client(limits=package.module.Limits(**limits)) as client:
        assert len({client.get(echo.url).json()["port"] for _ in range(3)}) == 3


def test_a_connection_is_kept_for_so_long(blocking, echo):
    with blocking.client(limits=blocking.module.Limits(keepalive_expiry=1.0)) as client:
        first = client.get(echo.url).json()["port"]
        time.sleep(1.1)
        assert client.get(echo.url).json()["port"] != first


def test_an_answer_that_is_not_read_counts_as_a_connection(package, echo):
    limits = package.module.Limits(max_connections=1)
    with package.client(limits=limits) as client:
        if package.way == "sync":
            with client._client.stream("GET", echo.url), pytest.raises(package.module.PoolTimeout):
                client.get(echo.url, timeout=package.module.Timeout(30, pool=0.05))
        else:

            async def overlap():
                async with client._client.stream("GET", echo.url):
                    with pytest.raises(package.module.PoolTimeout):
                        await client._client.get(echo.url, timeout=package.module.Timeout(30, pool=0.05))

            client._run(overlap)
        assert client.get(echo.url).status_code == 200


# The package unpacks bodies by itself, and asks for as much as it is sent.
HOSTILE = [name for name, it in SCENARIOS.items() if it.outcome is not offgil.ResponseTooLarge or "line" in name]


def send(client, module, url):
    try:
        return client.get(url)
    except module.HTTPError as error:
        return error


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers(blocking, serve, name):
    scenario = SCENARIOS[name]

    def script(peer, _):
        if peer.read_request() and scenario.play(peer):
            peer.stall()

    module = blocking.module
    with blocking.client(timeout=module.Timeout(30, read=scenario.read_timeout)) as client:
        found = send(client, module, serve(script).url)
    if isinstance(found, module.Response):
        if isinstance(scenario.outcome, bytes):
            assert found.content == scenario.outcome or "content-encoding" in found.headers
        else:
            assert scenario.outcome is offgil.DecodingError
        return
    assert not isinstance(scenario.outcome, bytes), found
    if scenario.outcome is not offgil.DecodingError:
        assert found.request.method == "GET"
    if scenario.outcome is offgil.ResponseTooLarge:
        assert type(found) is module.RemoteProtocolError
    elif scenario.outcome is not offgil.DecodingError:
        assert type(found) is getattr(module, scenario.outcome.__name__)


def test_errors_of_the_body_come_from_iteration(package, serve):
    server = serve(answering(OK + b"Content-Length: 10\r\n\r\nhello"))
    with package.client() as client, pytest.raises(package.module.RemoteProtocolError):
        client.pieces(server.url)


def test_limits_by_phase(package, serve):
    module = package.module

    def silent(peer, _):
        peer.read_request()
        peer.stall()

    def deaf(peer, _):
        peer.stall()

    def half(peer, _):
        peer.read_request()
        peer.send(CHUNKED + b"5\r\nhello\r\n")
        peer.stall()

    with package.client() as client:
        for script in (silent, half):
            with pytest.raises(module.ReadTimeout):
                client.get(serve(script).url, timeout=module.Timeout(30, read=0.05))
        with pytest.raises(module.WriteTimeout):
            client.request("POST", serve(deaf).url, content=b"x" * 50_000_000, timeout=module.Timeout(30, write=0.05))
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
            held = [socket.socket() for _ in range(8)]
            for sock in held:
                sock.setblocking(False)
                sock.connect_ex(full.getsockname())
            with pytest.raises(module.ConnectTimeout):
                client.get(f"http://127.0.0.1:{full.getsockname()[1]}", timeout=module.Timeout(30, connect=0.1))
            for sock in held:
                sock.close()


def test_urls_that_lead_nowhere(package):
    module = package.module
    with package.client() as client:
        with pytest.raises(module.UnsupportedProtocol):
            client.get("ftp://127.0.0.1/")
        with pytest.raises(module.ConnectError, match="no-such-host"):
            client.get("http://no-such-host.invalid/")


def refused():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def test_only_connects_are_tried_again(package, serve):
    module = package.module
    with package.client(retries=2) as client:
        events, record = client.recorder()
        started = time.monotonic()
        with pytest.raises(module.ConnectError):
            client.request("POST", refused(), content=client.body([b"x"]), extensions={"trace": record})
        assert time.monotonic() - started >= 0.5
        assert [name for name, _ in events].count("connection.retry.started") == 2
        server = serve(lambda peer, _: peer.read_request() and None)
        with pytest.raises(module.RemoteProtocolError):
            client.get(server.url)
        assert server.connections == 1


def test_addresses(package, echo):
    with package.client(local_address="127.0.0.1") as client:
        response = client.get(echo.url)
    stream = response.extensions["network_stream"]
    assert stream.get_extra_info("server_addr") == echo.server_address
    assert stream.get_extra_info("client_addr") == ("127.0.0.1", response.json()["port"])
    assert stream.get_extra_info("ssl_object") is None
    assert stream.get_extra_info("socket") is None


def test_a_local_address_that_is_not_ours(package, echo):
    with package.client(local_address="203.0.113.1") as client, pytest.raises(package.module.ConnectError):
        client.get(echo.url)
    with pytest.raises(ValueError, match="name"):
        package.transport(local_address="name")


def test_socket_options(package, echo):
    with package.client(socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)]) as client:
        assert client.get(echo.url).status_code == 200
    unknown = (socket.IPPROTO_TCP, 0x7FFF, 1)
    wrong = pytest.raises(package.module.ConnectError, match="socket option")
    with package.client(socket_options=[unknown]) as client, wrong:
        client.get(echo.url)


def test_unix_socket(package, tmp_path, serve):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        server = ScenarioServer(lambda peer, _: peer.read_request() and peer.answer(b"unix"), listener)
        with package.client(uds=path) as client:
            events, record = client.recorder()
            assert client.get("http://anything/", extensions={"trace": record}).content == b"unix"
            assert dict(events)["connection.connect_unix_socket.started"]["path"] == path
        server.close()


def test_proxy(package, serve, echo):
    proxy = HttpProxy(credentials="user:secret")
    url = serve(proxy).url
    module = package.module
    given = module.Proxy(url, auth=("user", "secret"), headers={"X-To-Proxy": "yes"})
    for way in (given, url.replace("//", "//user:secret@")):
        with package.client(proxy=way) as client:
            assert client.get(f"{echo.url}/x").json()["target"] == "/x"
    assert b"X-To-Proxy: yes" in proxy.heads[0]
    with package.client(proxy=url) as client:
        assert client.get(echo.url).status_code == 407
    with package.client(proxy=refused()) as client, pytest.raises(module.ProxyError):
        client.get(echo.url)


def test_http2(package, serve):
    script = Http2Script(lambda stream: stream.answer(stream["x-me"].encode()))
    with package.client(http1=False, http2=True) as client:
        events, record = client.recorder()
        response = client.get(serve(script).url, headers={"X-Me": "there"}, extensions={"trace": record})
    assert (response.content, response.extensions["http_version"]) == (b"there", b"HTTP/2")
    assert "reason_phrase" not in response.extensions
    assert "http2.receive_response_headers.complete" in dict(events)


def test_threads_share_a_transport_over_http2(package, serve, barrier_threads):
    server = serve(Http2Script(lambda stream: stream.answer(stream["x-me"].encode())))
    if package.way == "sync":
        with package.client(http1=False, http2=True) as client:

            def work(index):
                return [client.get(server.url, headers={"X-Me": f"{index}"}).content for _ in range(10)]

            assert barrier_threads(32, work) == [[b"%d" % index] * 10 for index in range(32)]
        return
    transport = package.transport(http1=False, http2=True)

    def loop(index):
        async def many():
            request = functools.partial(package.module.Request, "GET", server.url, headers={"X-Me": f"{index}"})
            answers = [await transport.handle_async_request(request()) for _ in range(5)]
            return [await answer.aread() for answer in answers]

        if package.way == "trio":
            import trio

            return trio.run(many)
        return asyncio.run(many())

    assert barrier_threads(8, loop) == [[b"%d" % index] * 5 for index in range(8)]


def test_a_closed_transport(package, echo):
    client = package.client()
    with client:
        client.get(echo.url)
    transport = client._client._transport
    request = package.module.Request("GET", echo.url)
    if package.way == "sync":
        with pytest.raises(offgil.Closed):
            transport.handle_request(request)
    else:
        with pytest.raises(offgil.Closed):
            asyncio.run(transport.handle_async_request(request))


def test_an_asynchronous_transport_needs_a_loop(asynchronous):
    call = asynchronous.transport().handle_async_request(asynchronous.module.Request("GET", "http://127.0.0.1/"))
    with pytest.raises(offgil.errors.NoEventLoop):
        call.send(None)
