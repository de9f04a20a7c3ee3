"""One client, many threads; and Ctrl-C on the main one."""

import signal
import subprocess
import sys
import threading
import time

import pytest

import offgil


@pytest.fixture(autouse=True)
def tiny_switch_interval():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def run_in_threads(count, target):
    barrier = threading.Barrier(count)
    failures = []

    def body(number):
        barrier.wait()
        try:
            target(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=body, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def test_answers_go_to_the_thread_that_asked(echo):
    with offgil.Client(base_url=echo.url) as client:

        def work(number):
            for i in range(25):
                body = f"{number}-{i}"
                response = client.post("/", content=body, headers={"X-Id": body})
                assert response.json()["body"] == body
                assert ["X-Id", body] in response.json()["headers"]

        run_in_threads(8, work)
    assert len(echo.ports) <= 8


def test_threads_race_to_read_one_response(echo):
    with offgil.Client() as client:
        for _ in range(20):
            response = client.get(echo.url)
            seen = []

            def work(_, response=response, seen=seen):
                seen.append((response.content, response.headers["x-twice"], response.json()["method"]))

            run_in_threads(4, work)
            assert len({id(content) for content, _, _ in seen}) == 1
            assert {rest for _, *rest in map(tuple, seen) for rest in [tuple(rest)]} == {("one, two", "GET")}


def test_threads_race_with_close(echo):
    for _ in range(10):
        client = offgil.Client(base_url=echo.url)

        def work(number, client=client):
            if number == 0:
                client.close()
                return
            try:
                for _ in range(50):
                    client.get("/")
            except offgil.Closed:
                return

        run_in_threads(4, work)


def test_other_threads_run_while_a_call_waits(serve):
    finished = threading.Event()

    def script(peer, _):
        peer.read_request()
        finished.wait()
        peer.answer()

    server = serve(script)
    with offgil.Client() as client:
        caller = threading.Thread(target=client.get, args=(server.url,))
        caller.start()
        # Were the interpreter held by the call, this thread could not let the server answer.
        finished.set()
        caller.join()


CHILD = """
import sys, offgil
client = offgil.Client()
print("ready", flush=True)
try:
    {call}
except KeyboardInterrupt:
    print("interrupted", flush=True)
assert client.get(sys.argv[1] + "/quick").status_code == 200
"""


@pytest.mark.parametrize("call", ["client.get(sys.argv[1])", "list(client.map([sys.argv[1]]))"], ids=["get", "map"])
def test_ctrl_c_ends_a_call_at_once(serve, call):
    entered = threading.Event()

    def script(peer, _):
        if b"/quick" in peer.read_request():
            peer.answer()
        else:
            entered.set()
            peer.stall()

    server = serve(script)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD.format(call=call), server.url], stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout.readline() == "ready\n"
        entered.wait()
        time.sleep(0.05)
        sent = time.monotonic()
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "interrupted\n"
        # 100 ms is promised; a busy machine may add to what is seen from outside.
        assert time.monotonic() - sent < 2
        assert child.wait(timeout=30) == 0
