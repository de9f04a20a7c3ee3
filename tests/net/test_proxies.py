"""Requests through proxies, and whose credentials go where."""

import functools
import json
import re
import socket
import ssl

import pytest

import offgil
from offgil.auth import basic_header
from offgil.route import parse_proxy, proxies_of
from proxies import HttpProxy, SocksProxy
from socket_servers import Peer
from tls_servers import over_tls

VARIABLES = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"]


@pytest.fixture(autouse=True)
def no_proxies_around(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def fields_of(head):
    return dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])


def through(server, credentials="", scheme="http"):
    at = server.url.replace("http://", credentials and f"{credentials}@")
    return f"{scheme}://{at}"


def test_plain_requests_are_passed_on(serve, echo):
    proxy = HttpProxy(credentials="us er:pä:ss")
    server = serve(proxy)
    with offgil.Client(proxy=through(server, "us%20er:p%C3%A4%3Ass"), auth=("a", "b")) as client:
        answer = client.post(f"{echo.url}/x", content=b"body")
        assert answer.headers["via"] == "test"
        seen = json.loads(answer.content)
        assert (seen["target"], seen["body"]) == ("/x", "body")
        assert dict(seen["headers"])["Authorization"] == basic_header(("a", "b"))[1]
        assert "Proxy-Authorization" not in dict(seen["headers"])
        assert [outcome.status_code for outcome in client.map([echo.url] * 5, concurrency=1)] == [200] * 5
    assert proxy.heads[0].startswith(f"POST {echo.url}/x HTTP/1.1\r\n".encode())
    assert server.connections == 2  # kept between requests


def test_credentials_that_the_proxy_refuses(serve, echo):
    with offgil.Client(proxy=through(serve(HttpProxy(credentials="a:b")))) as client:
        assert client.get(echo.url).status_code == 407  # of a plain request, an answer like any other


def test_a_tunnel_shows_the_server_nothing_of_the_proxy(serve, serve_tls, authority):
    heads = []

    def script(peer, _):
        while request := peer.read_request():
            heads.append(request)
            peer.answer()

    proxy = HttpProxy(credentials="user:password")
    url = serve_tls(script=script).url
    with offgil.Client(
        proxy=through(serve(proxy), "user:password"), verify=str(authority / "ca.pem"), auth=("a", "b")
    ) as client:
        answer = client.get(url)
        assert answer.content == b"ok"
        assert "x-proxy" not in answer.headers
        assert client.post(url, content=b"x", headers={"X-Secret": "1"}).content == b"ok"
        assert [outcome.content for outcome in client.map([url] * 3, concurrency=1)] == [b"ok"] * 3
    assert len(proxy.heads) == 2  # one tunnel for calls, one for map
    for head in proxy.heads:
        assert head.startswith(b"CONNECT 127.0.0.1:")
        assert set(fields_of(head)) == {b"Host", b"Proxy-Authorization", b"Proxy-Connection"}
    assert len(heads) == 5
    for head in heads:
        assert b"Proxy-" not in head
        assert b"Authorization: Basic YTpi\r\n" in head


def test_a_tunnel_does_not_vouch_for_the_server(serve, serve_tls):
    url = serve_tls("self-signed.pem").url
    with offgil.Client(proxy=through(serve(HttpProxy()))) as client, pytest.raises(offgil.ConnectError, match="self"):
        client.get(url)


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize(
    ("proxy", "given", "reason"),
    [
        (HttpProxy(credentials="a:b"), "", "407.*it wants credentials"),
        (HttpProxy(credentials="a:b"), "a:WRONG", "407.*does not accept"),
        (HttpProxy(refusal=b"502 Bad Gateway"), "a:WRONG", "502"),
        (lambda peer, _: peer.read_request(), "a:WRONG", "CONNECT"),
        (lambda peer, _: (peer.read_request(), peer.send(b"garbage\r\n\r\n")), "a:WRONG", ""),
    ],
    ids=["no credentials", "wrong credentials", "bad gateway", "closed", "garbage"],
)
def test_a_refused_tunnel(serve, proxy, given, reason, many):
    server = serve(proxy)
    with offgil.Client(proxy=through(server, given)) as client:
        if many:
            [outcome] = client.map(["https://127.0.0.1:1/"])
        else:
            with pytest.raises(offgil.ProxyError) as caught:
                client.post("https://127.0.0.1:1/", content=b"x")
            outcome = caught.value
    assert type(outcome) is offgil.ProxyError
    assert f"https://127.0.0.1:1/: the proxy {server.url}: " in str(outcome)
    assert "WRONG" not in repr(outcome)
    assert re.search(reason, str(outcome))


def stall(peer, _):
    peer.read_request()
    peer.stall()


def drip(peer, _):
    peer.read_request()
    peer.send(b"HTTP/1.1 200 Go on\r\n")
    while not peer.stop.wait(0.01):
        peer.send(b"X-Drip: 1\r\n")


def endless_refusal(peer, _):
    peer.read_request()
    peer.send(b"HTTP/1.1 502 Bad\r\nContent-Length: 1000000000\r\n\r\n")
    peer.stall()


@pytest.mark.parametrize(
    ("scheme", "script"), [("http", stall), ("http", drip), ("http", endless_refusal), ("socks5h", Peer.stall)]
)
def test_a_proxy_that_takes_its_time(serve, scheme, script):
    server = serve(script if scheme == "http" else lambda peer, _: script(peer))
    with offgil.Client(proxy=through(server, scheme=scheme), timeout=offgil.Timeout(connect=0.3)) as client:
        with pytest.raises((offgil.ConnectTimeout, offgil.ProxyError)):
            client.get("https://127.0.0.1:1/")
        [outcome] = client.map(["https://127.0.0.1:1/"])
        assert isinstance(outcome, offgil.ConnectTimeout | offgil.ProxyError)


@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks5h"])
@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "https://127.0.0.1:1/"])
def test_nobody_listens_where_the_proxy_should_be(scheme, url):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    said = rf"the proxy {scheme}://127\.0\.0\.1:{port}: "
    proxy = f"{scheme}://u:SECRET@127.0.0.1:{port}"
    with offgil.Client(proxy=proxy) as client, pytest.raises(offgil.ProxyError, match=said) as caught:
        client.get(url)
    assert "SECRET" not in repr(caught.value)


def test_a_proxy_without_a_name():
    with (
        offgil.Client(proxy="http://nobody.invalid") as client,
        pytest.raises(offgil.ProxyError, match=r":80: .*proxy"),
    ):
        client.get("http://127.0.0.1:1/")


def test_a_proxy_behind_tls(serve, serve_tls, authority, echo):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem", authority / "server.key")
    proxy = HttpProxy()
    url = through(serve(functools.partial(over_tls, context, proxy)), scheme="https")
    with offgil.Client(proxy=url, verify=str(authority / "ca.pem")) as client:
        assert client.get(echo.url).headers["via"] == "test"
        assert client.get(serve_tls().url).content == b"ok"
    with offgil.Client(proxy=url) as client:
        for target in (echo.url, serve_tls().url):
            with pytest.raises(offgil.ProxyError, match="certificate"):
                client.get(target)
    assert [head.split(b" ")[0] for head in proxy.heads] == [b"GET", b"CONNECT"]


@pytest.mark.parametrize("credentials", [None, (b"user", "pä:ss".encode())])
@pytest.mark.parametrize(("scheme", "kind"), [("socks5", "address"), ("socks5h", "name")])
def test_socks(serve, echo, serve_tls, authority, credentials, scheme, kind):
    proxy = SocksProxy(credentials=credentials)
    url = through(serve(proxy), "user:p%C3%A4%3Ass" if credentials else "", scheme)
    with offgil.Client(proxy=url, verify=str(authority / "ca.pem")) as client:
        for _ in range(2):
            assert client.get(echo.url.replace("127.0.0.1", "localhost")).status_code == 200
        assert client.get(serve_tls().url).content == b"ok"
    assert [asked[0] for asked in proxy.asked] == [kind, "address"]


@pytest.mark.parametrize(
    ("proxy", "credentials"),
    [
        (SocksProxy(refusal=2), ""),
        (SocksProxy(refusal=5), ""),
        (SocksProxy(credentials=(b"a", b"b")), ""),
        (SocksProxy(credentials=(b"a", b"b")), "a:WRONG"),
        (lambda peer, _: peer.sock.recv(3), ""),
    ],
)
def test_a_socks_proxy_refuses(serve, proxy, credentials):
    url = through(serve(proxy), credentials, "socks5h")
    with offgil.Client(proxy=url) as client, pytest.raises(offgil.ProxyError, match="the proxy socks5h://") as caught:
        client.get("http://127.0.0.1:1/")
    assert "WRONG" not in repr(caught.value)


def test_the_proxy_s_credentials_are_no_request_header(echo):
    with offgil.Client() as client, pytest.raises(offgil.LocalProtocolError, match="proxy="):
        client.get(echo.url, headers={"proxy-authorization": "Basic YTpi"})
    with pytest.raises(offgil.LocalProtocolError):
        offgil.Client(headers={"Proxy-Authorization": "Basic YTpi"})


@pytest.mark.parametrize(
    ("no_proxy", "direct"),
    [
        ("127.0.0.1", True),
        (["other.test", "127.0.0.1"], True),
        ("other.test 127.0.0.0/8", True),
        ("127.0.0.0/33,127.0.0/8", False),
        ("::ffff:127.0.0.1", True),
        ("128.0.0.0/8", False),
        ("0.0.0.0/0", True),
        ("*", True),
        ("0.0.1", False),
        ("127.0.0.1:1", False),
        ("127.0.0.1:{port}", True),
        (" ,, ", False),
        ([], False),
    ],
)
def test_exceptions(serve, echo, no_proxy, direct):
    if isinstance(no_proxy, str):
        no_proxy = no_proxy.replace("{port}", echo.url.rsplit(":", 1)[1])
    with offgil.Client(proxy=through(serve(HttpProxy())), no_proxy=no_proxy) as client:
        assert ("via" not in client.get(echo.url).headers) is direct


@pytest.mark.parametrize(
    ("name", "direct"),
    [("localhost", True), (".localhost", True), ("*.localhost", True), ("LOCALHOST.", True), ("host", False)],
)
def test_exceptions_by_name(serve, echo, name, direct):
    with offgil.Client(proxy=through(serve(HttpProxy())), no_proxy=name) as client:
        answer = client.get(echo.url.replace("127.0.0.1", "localhost"))
        assert ("via" not in answer.headers) is direct


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, False),
        ({"http_proxy": "P"}, True),
        ({"HTTP_PROXY": "P"}, False),
        ({"all_proxy": "P"}, True),
        ({"ALL_PROXY": "P"}, True),
        ({"https_proxy": "P"}, False),
        ({"http_proxy": "", "all_proxy": "P"}, True),
        ({"http_proxy": "P", "no_proxy": "127.0.0.1"}, False),
        ({"http_proxy": "P", "NO_PROXY": "127.0.0.1"}, False),
        ({"http_proxy": "P", "no_proxy": "other.test", "NO_PROXY": "127.0.0.1"}, True),
    ],
)
def test_the_environment(serve, echo, monkeypatch, variables, expected):
    server = serve(HttpProxy())
    for name, value in variables.items():
        monkeypatch.setenv(name, value.replace("P", server.url.removeprefix("http://")))
    with offgil.Client() as client:
        assert ("via" in client.get(echo.url).headers) is expected
        for name in variables:  # counts when the client is made, not later
            monkeypatch.delenv(name)
        assert ("via" in client.get(echo.url).headers) is expected


def test_the_environment_does_not_count_where_it_is_not_wanted(serve, echo, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with offgil.Client(trust_env=False) as client:
        assert client.get(echo.url).status_code == 200
    with offgil.Client(no_proxy="127.0.0.1") as client:
        assert client.get(echo.url).status_code == 200
    monkeypatch.setenv("no_proxy", "*")
    with offgil.Client(proxy=through(serve(HttpProxy()))) as client:
        assert client.get(echo.url).headers["via"] == "test"


def test_one_proxy_for_each_scheme():
    environment = {"http_proxy": "a:b@one", "HTTPS_PROXY": "socks5://two:3"}
    assert proxies_of(environment) == (("http://one:80", "a", "b"), ("socks5://two:3", "", ""))


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("http://h", ("http://h:80", "", "")),
        ("https://h/", ("https://h:443", "", "")),
        ("socks5://H", ("socks5://h:1080", "", "")),
        ("http://[::1]:8080", ("http://[::1]:8080", "", "")),
        ("http://a%40b:c%2Fd@h:1", ("http://h:1", "a@b", "c/d")),
    ],
)
def test_a_proxy_s_url(url, parsed):
    assert parse_proxy(url, "proxy") == parsed


@pytest.mark.parametrize(
    "url",
    ["h:1", "ftp://h", "http://", "http://u:SECRET@", "http://u:SECRET@h:x", "http://u:SECRET@h:99999",
     "http://u:SECRET@h/path", "http://u:SECRET%0A@h", "http://u:SEC/RET@h", "http://u:SECRET@h h"],
)  # fmt: skip
def test_a_proxy_that_is_none(url):
    with pytest.raises(ValueError, match="proxy: ") as caught:
        offgil.Client(proxy=url)
    assert "SEC" not in repr(caught.value)


def test_a_socket_and_a_proxy_contradict_each_other(tmp_path):
    with pytest.raises(ValueError, match="either uds= or proxy="):
        offgil.Client(proxy="http://h", uds=tmp_path / "socket")
