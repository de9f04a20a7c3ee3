"""What goes out on the wire, and what comes back in a Response."""

import json

import pytest

import offgil


def headers_of(response):
    return {name.lower(): value for name, value in response.json()["headers"]}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_every_method_reaches_the_server(echo, method):
    with offgil.Client(base_url=echo.url) as client:
        response = getattr(client, method.lower())("/path")
        assert response.status_code == 200
        assert response.json()["method"] == method
        assert client.request(method, "/path").json()["method"] == method


def test_head_has_headers_and_no_body(echo):
    with offgil.Client(base_url=echo.url) as client:
        response = client.head("/")
        assert int(response.headers["content-length"]) > 0
        assert response.content == b""
        assert client.get("/").json()["method"] == "GET"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_a_method_with_a_body_announces_an_empty_one(echo, method):
    with offgil.Client(base_url=echo.url) as client:
        headers = headers_of(client.request(method, "/"))
        assert headers["content-length"] == "0"
        assert "content-type" not in headers
        assert "content-length" not in headers_of(client.get("/"))


@pytest.mark.parametrize("body", [b"", b"x", b"\0binary\r\n\r\n", b"large" * 500_000])
def test_content_arrives_as_it_is(echo, body):
    with offgil.Client(base_url=echo.url) as client:
        response = client.put("/", content=body)
        assert response.json()["body"].encode("utf-8", "surrogateescape") == body
        assert "expect" not in headers_of(response)


@pytest.mark.parametrize("content", ["tëxt", bytearray(b"abc"), memoryview(b"abc")])
def test_content_takes_text_and_buffers(echo, content):
    wanted = content if isinstance(content, str) else bytes(content).decode()
    with offgil.Client() as client:
        assert client.post(echo.url, content=content).json()["body"] == wanted


def test_json_is_encoded_with_its_content_type(echo):
    document = {"text": "naïve", "numbers": [1, 2.5, None]}
    with offgil.Client() as client:
        response = client.post(echo.url, json=document)
        assert json.loads(response.json()["body"]) == document
        assert headers_of(response)["content-type"] == "application/json"
        own = client.post(echo.url, json=document, headers={"content-type": "application/vnd.api+json"})
        assert headers_of(own)["content-type"] == "application/vnd.api+json"


def test_json_and_content_together_are_refused(echo):
    with offgil.Client() as client, pytest.raises(TypeError, match="either json= or content="):
        client.post(echo.url, json={}, content=b"")
    assert echo.requests == 0


def test_params_are_encoded_and_added_to_the_query(echo):
    with offgil.Client(base_url=echo.url, params={"key": "k"}) as client:
        response = client.get("/p?a=1#part", params={"b": ["x y", "ä"], "flag": True, "none": None})
        assert response.json()["target"] == "/p?a=1&key=k&b=x%20y&b=%C3%A4&flag=true&none="


@pytest.mark.parametrize(
    ("base", "url", "target"),
    [
        ("/v1", "chat", "/v1/chat"),
        ("/v1/", "/chat", "/v1/chat"),
        ("/v1", "", "/v1"),
        ("", "/a/../b/./c", "/a/../b/./c"),
        ("", "/naïve path?q=ä b", "/na%C3%AFve%20path?q=%C3%A4%20b"),
        ("", "/already%20encoded?x=%41", "/already%20encoded?x=%41"),
    ],
)
def test_urls(echo, base, url, target):
    with offgil.Client(base_url=echo.url + base) as client:
        assert client.get(url).json()["target"] == target


def test_an_absolute_url_ignores_the_base(echo):
    with offgil.Client(base_url="http://127.0.0.1:1/") as client:
        assert client.get(echo.url + "/here").json()["target"] == "/here"


def test_request_headers_replace_the_clients_by_name(echo):
    with offgil.Client(headers={"X-One": "client", "X-Two": "client"}) as client:
        headers = headers_of(client.get(echo.url, headers={"x-one": "call", "X-Empty": ""}))
        assert headers["x-one"] == "call"
        assert headers["x-two"] == "client"
        assert headers["x-empty"] == ""
        assert headers["user-agent"] == f"offgil/{offgil.__version__}"
        assert headers["accept"] == "*/*"
        assert "x-empty" not in headers_of(client.get(echo.url))


def test_a_header_may_repeat(echo):
    with offgil.Client() as client:
        sent = client.get(echo.url, headers=[("X-Many", "1"), ("X-Many", "2")]).json()["headers"]
        assert [value for name, value in sent if name == "X-Many"] == ["1", "2"]


@pytest.mark.parametrize(
    "header", [("X", "a\r\nY: b"), ("X", "a\nb"), ("X", "a\0b"), ("X: y", "z"), ("", "v"), ("A B", "v")]
)
def test_header_injection_is_refused_before_sending(echo, header):
    with offgil.Client() as client:
        with pytest.raises(offgil.LocalProtocolError, match="nothing was sent"):
            client.get(echo.url, headers=[header])
        with pytest.raises(offgil.LocalProtocolError):
            offgil.Client(headers=[header])
    assert echo.requests == 0


@pytest.mark.parametrize("path", ["/\r\nX: y", "/\0", "/\x7f"])
def test_url_injection_is_refused_before_sending(echo, path):
    with offgil.Client() as client, pytest.raises(offgil.InvalidURL, match="nothing was sent"):
        client.get(echo.url + path)
    assert echo.requests == 0


@pytest.mark.parametrize("method", ["", "GET /", "G\r\nX:"])
def test_a_method_must_be_a_token(echo, method):
    with offgil.Client() as client, pytest.raises(offgil.LocalProtocolError):
        client.request(method, echo.url)
    assert echo.requests == 0


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "/relative", "127.0.0.1", "file:///etc/hostname", ""])
def test_only_http_urls(url):
    with offgil.Client() as client, pytest.raises(offgil.UnsupportedProtocol):
        client.get(url)


@pytest.mark.parametrize("url", ["http://", "http://:80/", "http://[::1/", "http://127.0.0.1:99999/"])
def test_malformed_urls(url):
    with offgil.Client() as client, pytest.raises(offgil.InvalidURL):
        client.get(url)


def test_response_headers(echo):
    with offgil.Client() as client:
        headers = client.get(echo.url).headers
        assert headers["CONTENT-type"] == "application/json"
        assert headers["x-twice"] == "one, two"
        assert headers.get_list("X-Twice") == ["one", "two"]
        assert "X-Nothing" not in headers
        assert headers.get("X-Nothing") is None
        assert dict(headers)["x-twice"] == "one, two"
        assert (b"x-twice", b"two") in headers.raw


def test_response_attributes(echo):
    with offgil.Client() as client:
        response = client.get(echo.url + "/x?y=z")
        assert response.url == echo.url + "/x?y=z"
        assert response.http_version == "HTTP/1.1"
        assert response.reason_phrase == "OK"
        assert response.elapsed.total_seconds() > 0
        assert response.content is response.content
        assert response.is_success
        assert response.raise_for_status() is response
        assert repr(response) == "<Response [200 OK]>"


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        (b"text/plain; charset=iso-8859-1", "né".encode("latin-1"), "né"),
        (b"text/plain", "né".encode(), "né"),
        (b'text/plain; charset="utf-16"', "né".encode("utf-16"), "né"),
        (b"text/plain; charset=no-such", "né".encode(), "né"),
        (b"text/plain", b"\xff", "\ufffd"),
    ],
)
def test_text_follows_the_charset(serve, content_type, body, text):
    def script(peer, _):
        peer.read_request()
        peer.answer(body, head=b"Content-Type: " + content_type + b"\r\n")

    with offgil.Client() as client:
        assert client.get(serve(script).url).text == text


@pytest.mark.parametrize(("status", "whose"), [(404, "client"), (503, "server")])
def test_raise_for_status(serve, status, whose):
    def script(peer, _):
        peer.read_request()
        peer.send(b"HTTP/1.1 %d Some Reason\r\nContent-Length: 4\r\n\r\nbody" % status)

    with offgil.Client() as client:
        response = client.get(serve(script).url)
        with pytest.raises(offgil.HTTPStatusError, match=f"{whose} error {status} Some Reason") as caught:
            response.raise_for_status()
        assert caught.value.response is response


def test_only_the_final_answer_counts(serve):
    def script(peer, _):
        peer.read_request()
        peer.send(b"HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\n")
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Final: 1\r\n\r\n")
        peer.send(b"3\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n")

    with offgil.Client() as client:
        response = client.get(serve(script).url)
        assert response.content == b"abcde"
        assert set(response.headers) == {"transfer-encoding", "x-final"}


def test_gzip_is_decoded(serve):
    import gzip

    def script(peer, _):
        peer.read_request()
        peer.answer(gzip.compress(b"plain" * 100), head=b"Content-Encoding: gzip\r\n")

    with offgil.Client() as client:
        assert client.get(serve(script).url).content == b"plain" * 100
