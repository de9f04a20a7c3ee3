"""Redirects: opt-in, with httpx's methods, and credentials that stay at home."""

import base64

import pytest

import offgil
from offgil import Client, Request
from site_pages import page, redirect, visit


def by_request(client, method, url, **options):
    return client.request(method, url, **options)


def by_stream(client, method, url, **options):
    with client.stream(method, url, **options) as response:
        response.read()
        return response


def by_map(client, method, url, **options):
    [outcome] = client.map([Request(method, url, **options)])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


@pytest.fixture(params=[by_request, by_stream, by_map])
def fetch(request):
    return request.param


def test_off_unless_asked_for(serve, fetch):
    url, site = visit(serve, lambda asked: redirect("/there"))
    with Client() as client:
        response = fetch(client, "GET", url)
        assert (response.status_code, response.headers["location"], response.history) == (302, "/there", ())
    assert len(site.asked) == 1


def test_one_call_may_ask_for_it_or_decline(serve, fetch):
    url, _ = visit(serve, lambda asked: page() if asked.target == "/there" else redirect("/there"))
    with Client() as client, Client(follow_redirects=True) as follower:
        assert fetch(client, "GET", url, follow_redirects=True).status_code == 200
        assert fetch(follower, "GET", url, follow_redirects=False).status_code == 302


def test_the_answers_on_the_way_are_the_history(serve, fetch):
    def answer(asked):
        number = int(asked.target[1:])
        return redirect(f"/{number + 1}") if number < 3 else page(b"here")

    url, _ = visit(serve, answer)
    with Client(follow_redirects=True) as client:
        response = fetch(client, "GET", f"{url}/0")
        assert response.url == f"{url}/3"
        assert [step.url for step in response.history] == [f"{url}/{n}" for n in range(3)]
        assert client.stats().connections_opened == 1


# Table: the status, the method sent, the method and whether the body is expected at the new place.
@pytest.mark.parametrize(
    ("status", "method", "expected", "with_body"),
    [
        (301, "POST", "GET", False),
        (301, "PUT", "PUT", True),
        (302, "POST", "GET", False),
        (302, "PUT", "GET", False),
        (302, "HEAD", "HEAD", False),
        (303, "POST", "GET", False),
        (303, "DELETE", "GET", False),
        (303, "HEAD", "HEAD", False),
        (307, "POST", "POST", True),
        (308, "PATCH", "PATCH", True),
    ],
)
def test_the_method_follows_httpx(serve, fetch, status, method, expected, with_body):
    def answer(asked):
        if asked.target == "/there":
            return page(b"" if asked.method == "HEAD" else b"ok")
        return f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\nLocation: /there\r\n\r\n".encode()

    url, site = visit(serve, answer)
    content = None if method == "HEAD" else b"payload"
    with Client(follow_redirects=True) as client:
        assert fetch(client, method, url, content=content, headers={"Content-Type": "a/b"}).status_code == 200
    there = site.asked[1]
    assert there.method == expected
    assert there.body == (b"payload" if with_body else b"")
    assert ("content-type" in there.headers) == (expected == method)


CREDENTIALS = {"Authorization": "Bearer s3cret", "Cookie": "session=s3cret", "X-API-Key": "s3cret"}


@pytest.mark.parametrize("where", ["client", "request"])
def test_another_origin_sees_no_credentials(serve, fetch, where):
    other, other_site = visit(serve, lambda asked: page())
    url, site = visit(serve, lambda asked: redirect(f"{other}/there"))
    headers = CREDENTIALS | {"X-Plain": "fine"}
    with Client(follow_redirects=True, headers=headers if where == "client" else None) as client:
        fetch(client, "GET", url, headers=headers if where == "request" else None)
    assert site.asked[0].headers["authorization"] == "Bearer s3cret"
    there = other_site.asked[0].headers
    assert "s3cret" not in str(there)
    assert there["x-plain"] == "fine"
    assert there["host"] == other.removeprefix("http://")


def test_the_same_origin_sees_them_again(serve, fetch):
    url, site = visit(serve, lambda asked: page() if asked.target == "/there" else redirect("/there"))
    with Client(follow_redirects=True, headers=CREDENTIALS) as client:
        fetch(client, "GET", url)
    assert [asked.headers["authorization"] for asked in site.asked] == ["Bearer s3cret"] * 2


def test_no_credentials_on_the_way_back_either(serve, fetch):
    home = []
    other, _ = visit(serve, lambda asked: redirect(f"{home[0]}/back"))
    url, site = visit(serve, lambda asked: page() if asked.target == "/back" else redirect(other))
    home.append(url)
    with Client(follow_redirects=True) as client:
        fetch(client, "GET", url, headers=CREDENTIALS)
    assert "s3cret" in str(site.asked[0].headers)
    assert "s3cret" not in str(site.asked[1].headers)


def test_user_and_password_of_the_url_stay_with_their_origin(serve, fetch):
    other, other_site = visit(serve, lambda asked: page())
    answers = {"/": "/here", "/here": f"{other}/there"}
    url, site = visit(serve, lambda asked: redirect(answers[asked.target]))
    with Client(follow_redirects=True) as client:
        fetch(client, "GET", url.replace("http://", "http://me:pw@") + "/")
    basic = "Basic " + base64.b64encode(b"me:pw").decode()
    assert [asked.headers.get("authorization") for asked in site.asked] == [basic] * 2
    assert "authorization" not in other_site.asked[0].headers


def test_credentials_in_a_location_are_not_sent(serve, fetch):
    def answer(asked):
        return page() if asked.target == "/there" else redirect(f"http://you:chose@{asked.headers['host']}/there")

    url, site = visit(serve, answer)
    with Client(follow_redirects=True) as client:
        fetch(client, "GET", url)
    assert "authorization" not in site.asked[1].headers


def test_a_circle_ends(serve, fetch):
    url, site = visit(serve, lambda asked: redirect("/again"))
    with Client(follow_redirects=True, max_redirects=5) as client:
        with pytest.raises(offgil.TooManyRedirects, match="max_redirects is 5"):
            fetch(client, "GET", url)
        assert len(site.asked) == 6
        assert fetch(client, "GET", url, follow_redirects=False).status_code == 302


@pytest.mark.parametrize("location", ["http://[::1", "http://a\x7fb/", "http://host:port/"])
def test_a_location_that_is_no_url(serve, fetch, location):
    url, _ = visit(serve, lambda asked: redirect(location))
    with Client(follow_redirects=True) as client, pytest.raises(offgil.RemoteProtocolError):
        fetch(client, "GET", url)


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/file", "file:///etc/hostname", "gopher://127.0.0.1/"])
def test_a_location_of_another_protocol(serve, fetch, location):
    url, _ = visit(serve, lambda asked: redirect(location))
    with Client(follow_redirects=True) as client, pytest.raises(offgil.RequestError) as caught:
        fetch(client, "GET", url)
    assert isinstance(caught.value, offgil.UnsupportedProtocol | offgil.RemoteProtocolError)


def test_locations_are_resolved_and_quoted(serve, fetch):
    answers = {"/a/b?x=1": "../c d", "/c%20d": "?q=ä", "/c%20d?q=%C3%A4": "//HOST/end"}

    def answer(asked):
        location = answers.get(asked.target)
        return (
            page(asked.target.encode())
            if location is None
            else redirect(location.replace("HOST", asked.headers["host"]))
        )

    url, site = visit(serve, answer)
    with Client(follow_redirects=True) as client:
        response = fetch(client, "GET", f"{url}/a/b?x=1#part")
        assert response.url.endswith("/end#part")
    assert [asked.target for asked in site.asked] == ["/a/b?x=1", "/c%20d", "/c%20d?q=%C3%A4", "/end"]


def test_the_deadline_covers_all_hops(serve, fetch):
    def script(peer, _):
        while peer.read_request():
            peer.stop.wait(0.05)
            peer.send(redirect("/again"))

    server = serve(script)
    options = {"follow_redirects": True, "max_redirects": 1000, "deadline": 0.4}
    with Client(**options) as client, pytest.raises(offgil.DeadlineExceeded):
        fetch(client, "GET", server.url)
