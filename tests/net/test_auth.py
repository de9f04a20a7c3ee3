"""Basic authentication, by argument and with the URL."""

import json
from base64 import b64encode

import pytest

import offgil
from offgil.auth import split_userinfo


def basic(text):
    return "Basic " + b64encode(text.encode()).decode()


def shown(answer):
    return dict(json.loads(answer.content)["headers"]).get("Authorization")


def by_call(client, request):
    return client.request(request.method, request.url, headers=request.headers, auth=request.auth)


def by_map(client, request):
    return next(client.map([request]))


@pytest.mark.parametrize("send", [by_call, by_map])
def test_the_nearest_wins(echo, send):
    in_url = echo.url.replace("http://", "http://u:rl@")
    header = {"authorization": "Bearer token"}
    with offgil.Client() as client:
        assert shown(send(client, offgil.Request("GET", echo.url))) is None
        assert shown(send(client, offgil.Request("GET", in_url))) == basic("u:rl")
        assert shown(send(client, offgil.Request("GET", echo.url, auth=("a", "b")))) == basic("a:b")
        assert shown(send(client, offgil.Request("GET", in_url, auth=("a", "b")))) == basic("a:b")
    with offgil.Client(headers={"AUTHORIZATION": "x"}, auth=("jürgen", "pä:ß")) as client:
        assert shown(send(client, offgil.Request("GET", echo.url))) == basic("jürgen:pä:ß")
        assert shown(send(client, offgil.Request("GET", in_url))) == basic("u:rl")
        assert shown(send(client, offgil.Request("GET", echo.url, auth=("a", "b")))) == basic("a:b")
        for url in (echo.url, in_url):
            answer = send(client, offgil.Request("GET", url, headers=header))
            assert dict(json.loads(answer.content)["headers"])["authorization"] == "Bearer token"
        request = offgil.Request("GET", echo.url, headers=header, auth=("a", "b"))
        assert shown(send(client, request)) == basic("a:b")


def test_a_url_s_credentials_are_shown_nowhere(echo):
    url = echo.url.replace("http://", "http://us%20er:SECRET%40@")
    with offgil.Client() as client:
        answer = client.get(url)
        assert shown(answer) == basic("us er:SECRET@")
        assert answer.url == echo.url
        with client.stream("GET", url) as stream:
            assert stream.url == echo.url
            assert shown(type("", (), {"content": stream.read()})) == basic("us er:SECRET@")
        [answer] = client.map([url])
        assert answer.url == echo.url
        with pytest.raises(offgil.ConnectError, match=r"GET http://127\.0\.0\.1:1/x: ") as caught:
            client.get("http://user:SECRET@127.0.0.1:1/x")
        assert "SECRET" not in repr(caught.value)
        with pytest.raises(offgil.InvalidURL) as refused:
            client.get("http://user:SECRET@h/\n")
        assert "SECRET" not in repr(refused.value)
        with pytest.raises(offgil.InvalidURL):
            client.get("http:///user:SECRET@127.0.0.1:1/")  # libcurl is more generous about slashes


def test_a_base_url_s_credentials_stay_with_it(echo, serve):
    def script(peer, _):
        request = peer.read_request()
        peer.answer(b"leaked" if b"authorization" in request.lower() else b"ok")

    with offgil.Client(base_url=echo.url.replace("http://", "http://u:p@")) as client:
        assert shown(client.get("/x")) == basic("u:p")
        assert [shown(answer) for answer in client.map(["/x", "y"])] == [basic("u:p")] * 2
        assert client.get(serve(script).url).content == b"ok"


@pytest.mark.parametrize("auth", [("a:b", "c"), ("a\n", "b"), ("a", "b\0"), ("a", "\x7f")])
def test_credentials_that_cannot_be_sent(echo, auth):
    with pytest.raises(ValueError, match="auth: "):
        offgil.Client(auth=auth)
    with offgil.Client() as client, pytest.raises(ValueError, match="auth: "):
        client.get(echo.url, auth=auth)


@pytest.mark.parametrize(
    ("url", "shown", "auth"),
    [
        ("http://h/a@b", "http://h/a@b", None),
        ("http://h?a@b", "http://h?a@b", None),
        ("http://h#a@b", "http://h#a@b", None),
        ("http://@h", "http://h", None),
        ("http://a@h", "http://h", ("a", "")),
        ("http://a:b:c@h/x@y", "http://h/x@y", ("a", "b:c")),
        ("http://a@b@h", "http://h", ("a@b", "")),
        ("/relative@x", "/relative@x", None),
    ],
)
def test_the_userinfo_of_a_url(url, shown, auth):
    assert split_userinfo(url) == (shown, auth)
