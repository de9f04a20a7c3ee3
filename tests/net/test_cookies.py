"""The opt-in cookie jar."""

import pickle
from http.cookiejar import CookieJar

import pytest

from offgil import Client
from site_pages import page, redirect, visit

SETS = {"/": {"Set_Cookie": "taste=sweet; Path=/"}, "/deep/in": {"Set_Cookie": "depth=3; Path=/deep"}}


def sets_cookies(asked):
    return page(**SETS.get(asked.target, {}))


def cookies_of(site):
    return [asked.headers.get("cookie") for asked in site.asked]


def test_off_unless_asked_for(serve):
    url, site = visit(serve, sets_cookies)
    with Client() as client:
        client.get(url)
        client.get(url)
        assert client.cookies is None
    assert cookies_of(site) == [None, None]


def test_what_is_set_comes_back(serve):
    url, site = visit(serve, sets_cookies)
    with Client(cookies=True, base_url=url) as client:
        client.get("/")
        with client.stream("GET", "/deep/in") as response:
            response.read()
        list(client.map(["/deep/in", "/elsewhere"], concurrency=1))
        assert {cookie.name for cookie in client.cookies} == {"taste", "depth"}
    assert cookies_of(site) == [None, "taste=sweet", "depth=3; taste=sweet", "taste=sweet"]


def test_a_jar_can_be_shared_and_filled_before(serve):
    url, site = visit(serve, sets_cookies)
    jar = CookieJar()
    with Client(cookies=jar) as first, Client(cookies=jar) as second:
        first.get(url)
        second.get(url)
    assert cookies_of(site) == [None, "taste=sweet"]


def test_a_cookie_header_of_the_request_wins(serve):
    url, site = visit(serve, sets_cookies)
    with Client(cookies=True) as client:
        client.get(url)
        client.get(url, headers={"Cookie": "mine=1"})
    assert cookies_of(site) == [None, "mine=1"]


def test_another_host_gets_its_own_cookies_only(serve):
    other, other_site = visit(serve, lambda asked: page(Set_Cookie="theirs=1"))
    url, site = visit(serve, lambda asked: redirect(other.replace("127.0.0.1", "localhost")))
    with Client(cookies=True, follow_redirects=True) as client:
        client.cookies.set_cookie(_cookie("ours", "127.0.0.1"))
        client.get(url)
        client.get(url)
    assert cookies_of(site) == ["ours=1", "ours=1"]
    assert cookies_of(other_site) == [None, "theirs=1"]


def test_a_redirect_on_the_way_sets_cookies_for_the_next_step(serve):
    def answer(asked):
        if asked.target == "/":
            return page(status=302, Location="/in", Set_Cookie="session=1")
        return page()

    url, site = visit(serve, answer)
    with Client(cookies=True, follow_redirects=True) as client:
        client.get(f"{url}/")
    assert cookies_of(site) == [None, "session=1"]


def test_threads_share_a_jar(serve, barrier_threads):
    url, _ = visit(serve, lambda asked: page(Set_Cookie=f"c{asked.target[1:]}=1"))
    with Client(cookies=True) as client:

        def work(index):
            for i in range(20):
                client.get(f"{url}/{index}-{i}")

        barrier_threads(8, work)
        assert len(client.cookies) == 160


def test_a_pickled_client_starts_with_an_empty_jar(serve):
    url, _ = visit(serve, sets_cookies)
    with Client(cookies=True) as client:
        client.get(url)
        with pickle.loads(pickle.dumps(client)) as copy:
            assert len(copy.cookies) == 0
    with Client(cookies=CookieJar()) as client, pytest.raises(TypeError, match="pickle"):
        pickle.dumps(client)


def _cookie(name, domain):
    from http.cookiejar import Cookie

    return Cookie(0, name, "1", None, False, domain, False, False, "/", True, False, None, True, None, None, {})
