"""What holds for every LLM SDK over offgil's transports, blocking and under asyncio."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import offgil
from sdk_clients import KINDS, NAMES, Sdk, faults

httpx2 = pytest.importorskip("httpx2", reason="the SDKs stand on httpx2")

STATUSES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    409: "ConflictError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
    500: "InternalServerError",
    503: "InternalServerError",
}

Open = Callable[..., Sdk]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param, reason=f"the SDK {request.param} is not installed")
    return str(request.param)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def connect(name: str, llm: str) -> Iterator[Open]:
    opened = []

    def connect(kind: str, url: str = llm, **options: Any) -> Sdk:
        opened.append(Sdk(name, kind, url, **options))
        return opened[-1]

    yield connect
    for sdk in opened:
        sdk.close()


@pytest.fixture
def sdk(connect: Open, kind: str) -> Sdk:
    return connect(kind)


def test_completion(sdk: Sdk) -> None:
    assert sdk.ask("one two") == "echo: one two"
    assert sdk.ask("one \u00e9\u20ac" * 10_000) == "echo: " + "one \u00e9\u20ac" * 10_000


def test_streamed_completion(sdk: Sdk) -> None:
    pieces = [piece for piece in map(sdk.piece_of, sdk.events(sdk.stream("one two  three"))) if piece]
    assert pieces == ["echo:", " one", " two", " ", " three"]
    assert sdk.read(sdk.stream("word " * 5000)) == "echo: " + "word " * 5000


def test_connections_are_kept(sdk: Sdk) -> None:
    # OpenAI's SDK closes a stream at "[DONE]", and the end of the body, a packet of its own, may come after that.
    ports = set()
    for number in range(20):
        stream = sdk.stream(f"stream {number}")
        ports.add(stream.response.extensions["network_stream"].get_extra_info("client_addr"))
        assert sdk.read(stream) == f"echo: stream {number}"
    assert len(ports) <= (10 if sdk.name == "openai" else 1)


def test_errors_are_the_sdks_own(sdk: Sdk) -> None:
    for status, name in STATUSES.items():
        for options in ({}, {"stream": True}):
            with pytest.raises(getattr(sdk.module, name), match="was asked for this error") as raised:
                sdk.wait(sdk.create("x", **options, **faults(status=status)))
            assert raised.value.status_code == status
    assert sdk.ask("and on") == "echo: and on"


def test_retries_are_the_sdks_own_and_heed_retry_after(connect: Open, kind: str) -> None:
    sdk = connect(kind, max_retries=2)
    start = time.monotonic()
    assert sdk.ask("x", **faults(status="429 500")) == "echo: x"
    assert time.monotonic() - start >= 0.1
    with pytest.raises(sdk.module.RateLimitError) as raised:
        sdk.ask("x", **faults(status="429 429 429"))
    assert raised.value.response.headers["retry-after"] == "0.1"
    assert raised.value.response.request.headers["x-stainless-retry-count"] == "2"


@pytest.mark.parametrize("options", [{}, {"stream": True}])
def test_time_limit_of_a_call(sdk: Sdk, options: dict[str, bool]) -> None:
    start = time.monotonic()
    with pytest.raises(sdk.module.APITimeoutError):
        sdk.wait(sdk.create("x", timeout=0.2, **options, **faults(delay=30)))
    assert 0.2 <= time.monotonic() - start < 15
    assert sdk.ask("and on") == "echo: and on"


@pytest.mark.parametrize(
    ("fault", "error"),
    [({"first_token": 30}, "ReadTimeout"), ({"interval": 30}, "ReadTimeout"), ({"break": 2}, "RemoteProtocolError")],
)
def test_a_stream_that_fails_midway(sdk: Sdk, fault: dict[str, object], error: str) -> None:
    stream = sdk.stream("one two three", timeout=0.2, **faults(**fault))
    # Some versions of the SDKs wrap what the transport raises while a stream is read, and some do not.
    with pytest.raises((sdk.module.APIConnectionError, getattr(httpx2, error))) as raised:
        sdk.read(stream)
    cause = raised.value.__cause__ if isinstance(raised.value, sdk.module.APIError) else raised.value
    assert isinstance(cause, getattr(httpx2, error))
    assert sdk.ask("and on") == "echo: and on"


def test_no_server_is_a_connection_error(connect: Open, kind: str) -> None:
    sdk = connect(kind, "http://127.0.0.1:9")
    with pytest.raises(sdk.module.APIConnectionError) as raised:
        sdk.ask("x")
    assert isinstance(raised.value.__cause__, httpx2.ConnectError)


def test_a_stream_that_is_closed_early_costs_no_connection(connect: Open, kind: str) -> None:
    # Were one closed stream's connection not given back, the next call would wait for it.  And were an event held back,
    # the first would come with the second.
    sdk = connect(kind, limits=httpx2.Limits(max_connections=1), timeout=20)
    for _ in range(10):
        stream = sdk.stream("one two three", **faults(interval=30))
        next(sdk.events(stream))
        sdk.wait(stream.close())
        assert sdk.ask("and on") == "echo: and on"
        stream = sdk.stream("word " * 1000)
        next(sdk.events(stream))
        sdk.wait(stream.close())
    assert sdk.read(sdk.stream("the end")) == "echo: the end"


def test_closing_the_client_ends_a_call_in_another_thread(connect: Open) -> None:
    sdk = connect("blocking")
    waiting = threading.Thread(target=lambda: (time.sleep(0.2), sdk.client.close()))
    waiting.start()
    start = time.monotonic()
    with pytest.raises((sdk.module.APIConnectionError, offgil.Closed)) as raised:
        sdk.ask("x", **faults(delay=30))
    assert offgil.Closed in {type(raised.value), type(raised.value.__cause__)}
    assert time.monotonic() - start < 15
    waiting.join()


def test_cancelling_a_task_ends_its_call(connect: Open) -> None:
    sdk = connect("asyncio", limits=httpx2.Limits(max_connections=1), timeout=20)

    async def first_piece() -> None:
        async for _ in await sdk.create("x", stream=True, **faults(interval=30)):
            pass

    async def body() -> None:
        for call in (lambda: sdk.create("x", **faults(delay=30)), first_piece):
            task = asyncio.ensure_future(call())
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert sdk.text_of(await sdk.create("and on")) == "echo: and on"

    sdk.wait(body())


def test_32_threads_share_a_client(connect: Open, barrier_threads: Callable[..., list[object]]) -> None:
    sdk = connect("blocking")
    # The SDK's pydantic models are built when they are first used; on free-threaded 3.13 threads that race for it fail,
    # whatever the transport (pydantic 2.12, openai 3.3: "BaseModel cannot be instantiated directly").
    sdk.ask("x")
    sdk.read(sdk.stream("x"))

    def work(thread: int) -> None:
        for number in range(4):
            text = f"thread {thread} call {number} " + "word " * thread
            assert sdk.read(sdk.stream(text)) == f"echo: {text}"
            assert sdk.ask(text) == f"echo: {text}"
            stream = sdk.stream(text)
            next(sdk.events(stream))
            stream.close()
            with pytest.raises(sdk.module.RateLimitError):
                sdk.ask(text, **faults(status=429))

    barrier_threads(32, work)


def test_64_tasks_share_a_client(connect: Open) -> None:
    sdk = connect("asyncio")

    async def work(task: int) -> None:
        text = f"task {task} " + "word " * task
        assert sdk.text_of(await sdk.create(text)) == f"echo: {text}"
        pieces = [sdk.piece_of(event) async for event in await sdk.create(text, stream=True)]
        assert "".join(pieces) == f"echo: {text}"

    async def body() -> None:
        await asyncio.gather(*map(work, range(64)))

    sdk.wait(body())


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this interpreter cannot run without its GIL"
)
def test_importing_the_sdks_leaves_the_gil_off() -> None:
    sdks = [name for name in NAMES if importlib.util.find_spec(name)]
    if not sdks:
        pytest.skip("no SDK is installed")
    code = (
        "import sys, offgil.adapters.httpx2\n"
        f"for module in {['pydantic_core', 'jiter', 'pydantic', *sdks]!r}:\n"
        "    __import__(module)\n"
        "    assert not sys._is_gil_enabled(), f'{module} turned the GIL on'\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHON_GIL"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
