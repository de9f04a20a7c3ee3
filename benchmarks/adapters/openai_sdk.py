"""Streamed chat completions by OpenAI's SDK in threads that share a client: over offgil, and over its default.

    benchmarks/prepare
    python3 benchmarks/adapters/openai_sdk.py

The server is ``offgil mock-server``, in a process of its own, which needs CPU as well; every event of a stream is a
packet of its own.  TLS is nginx's, between the two.  "No network" is the SDK over a transport that has the answer in
memory: what the SDK itself costs, and thus the floor of any transport.  Every measurement runs in a process of its own;
rounds are interleaved, and the table gives medians.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import ssl
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nginx import nginx
from pythons import add_option, figures, medians, versions

TRANSPORTS = ("offgil", "default", "no network")
COLUMNS = ("requests/s", "CPU µs a request", "first token ms, p50", "p99")


@dataclass(frozen=True)
class Scenario:
    words: int  # of an answer
    requests: int
    pause: int = 0  # milliseconds between words
    tls: bool = False  # nginx in between
    threads: int = 32

    @property
    def name(self) -> str:
        pace = f"{self.pause} ms apart" if self.pause else "at once"
        crowd = f"{self.threads} threads" if self.threads > 1 else "1 thread"
        return f"{self.words} words, {pace}{', TLS' if self.tls else ''}, {crowd}"

    @property
    def text(self) -> str:
        return " ".join(f"word{number}" for number in range(self.words))


SCENARIOS = (
    Scenario(4, 800, threads=1),
    Scenario(4, 1600),
    Scenario(4, 1600, tls=True),
    Scenario(50, 640),
    Scenario(20, 640, pause=10, tls=True),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_option(parser)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rows: dict[tuple[str, Scenario, str], list[tuple[float, ...]]] = {}
    with mock_server(options.python[0]) as url, nginx(backend=url) as proxy:
        for number in range(options.rounds):
            for place, scenario in enumerate(SCENARIOS):
                print(f"round {number + 1} of {options.rounds}: {scenario.name}", file=sys.stderr)
                server = [f"{proxy.https}/backend", proxy.ca] if scenario.tls else [url, ""]
                for python in options.python:
                    for transport in TRANSPORTS:
                        if transport == "no network" and (scenario.pause or scenario.tls):
                            continue
                        found = figures([python, __file__, "measure", str(place), transport, *server])
                        if found is not None:
                            rows.setdefault((python, scenario, transport), []).append(found)

    print(f"medians of {options.rounds} rounds\n")
    for python in options.python:
        print(f"Python {versions(python, ('offgil', 'openai', 'httpx2', 'pydantic'))}\n")
        print(f"| answer | transport | {' | '.join(COLUMNS)} | requests/s, offgil's / its | CPU, its / offgil's |")
        print(f"|---|---|{'---|' * len(COLUMNS)}---|---|")
        for scenario in SCENARIOS:
            own = rows[python, scenario, "offgil"]
            for transport in TRANSPORTS:
                if measured := rows.get((python, scenario, transport)):
                    rate, cpu, p50, p99 = medians(measured)
                    # Of one round each: the machine's speed changes between rounds.
                    pairs = list(zip(own, measured, strict=True))
                    rates = statistics.median(ours[0] / its[0] for ours, its in pairs)
                    cpus = statistics.median(its[1] / ours[1] for ours, its in pairs)
                    cells = (scenario.name, transport, f"{rate:.0f}", f"{cpu:.0f}", f"{p50:.1f}", f"{p99:.1f}")
                    print(f"| {' | '.join(cells)} | {rates:.2f} | {cpus:.2f} |")
        print()


@contextmanager
def mock_server(python: str) -> Iterator[str]:
    server = subprocess.Popen([python, "-m", "offgil.cli", "mock-server"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait()


def measure(place: str, transport: str, url: str, ca: str) -> None:
    """One measurement, in this process: prints the figures of COLUMNS."""
    scenario = SCENARIOS[int(place)]
    try:
        import openai

        http = http_client(scenario, transport, url, ca)
    except ImportError:
        print("not installed")
        return
    headers = {"x-mock-interval": str(scenario.pause / 1000)} if scenario.pause else {}
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="any", http_client=http, default_headers=headers)
    messages: Any = [{"role": "user", "content": scenario.text}]

    def ask() -> float:
        """Seconds to the first token."""
        start = time.perf_counter()
        first = 0.0
        text = ""
        for chunk in client.chat.completions.create(model="mock", messages=messages, stream=True):
            if piece := chunk.choices[0].delta.content:
                first = first or time.perf_counter() - start
                text += piece
        assert text == f"echo: {scenario.text}", text
        return first

    ask()  # builds the SDK's pydantic models, for which threads must not race
    in_threads(scenario.threads, 2 * scenario.threads, ask)  # connects, and warms up
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    firsts = sorted(in_threads(scenario.threads, scenario.requests, ask))
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    requests = len(firsts)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    p50, p99 = firsts[requests // 2], firsts[requests * 99 // 100]
    print(requests / wall, cpu / requests * 1e6, p50 * 1e3, p99 * 1e3)


def in_threads(count: int, requests: int, work: Callable[[], float]) -> list[float]:
    """Call ``work`` so many times in all, in threads that start together."""
    results: list[float] = []
    barrier = threading.Barrier(count)
    numbers = itertools.count()  # its next() is atomic with the GIL, and takes a lock without

    def body() -> None:
        barrier.wait()
        while next(numbers) < requests:
            results.append(work())

    threads = [threading.Thread(target=body) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == requests
    return results


def http_client(scenario: Scenario, transport: str, url: str, ca: str) -> Any:
    """What the SDK is to use."""
    import httpx2
    import openai

    if transport == "default":
        return openai.DefaultHttpxClient(verify=ssl.create_default_context(cafile=ca) if ca else True)
    if transport == "offgil":
        from offgil.adapters.httpx2 import HTTPTransport

        return openai.DefaultHttpxClient(transport=HTTPTransport(verify=ca or True))

    body = {"model": "mock", "stream": True, "messages": [{"role": "user", "content": scenario.text}]}
    with httpx2.Client() as client, client.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
        events = [event + b"\n\n" for event in b"".join(response.iter_raw()).split(b"\n\n")[:-1]]

    class Events(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            return iter(events)

    class NoNetwork(httpx2.BaseTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=Events())

    return openai.DefaultHttpxClient(transport=NoNetwork())


if sys.argv[1:2] == ["measure"]:
    measure(*sys.argv[2:])
else:
    main()
