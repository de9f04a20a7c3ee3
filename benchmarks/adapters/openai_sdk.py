"""Streamed chat completions by OpenAI's SDK in 32 threads that share a client: over offgil, and over its default.

    benchmarks/prepare
    python3 benchmarks/adapters/openai_sdk.py

The server is ``offgil mock-server``, in a process of its own, which needs CPU as well; every event of a stream is a
packet of its own.  "No network" is the SDK over a transport that has the answer in memory: what the SDK itself costs,
and thus the floor of any transport.  Every measurement runs in a process of its own; rounds are interleaved, and the
table gives medians.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pythons import add_option, figures, versions

THREADS = 32
TRANSPORTS = ("offgil", "default", "no network")
COLUMNS = ("requests/s", "CPU µs a request", "first token ms, p50", "p99")
# Words of an answer, milliseconds between them, requests.
SCENARIOS = ((4, 0, 3200), (50, 0, 960), (20, 10, 640))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_option(parser)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rows: dict[tuple[str, tuple[int, int, int], str], list[tuple[float, ...]]] = {}
    command = [options.python[0], "-m", "offgil.cli", "mock-server"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        for number in range(options.rounds):
            for scenario in SCENARIOS:
                print(f"round {number + 1} of {options.rounds}: {name_of(scenario)}", file=sys.stderr)
                for python in options.python:
                    for transport in TRANSPORTS:
                        if transport == "no network" and scenario[1]:
                            continue
                        found = figures([python, __file__, "measure", transport, url, *map(str, scenario)])
                        if found is not None:
                            rows.setdefault((python, scenario, transport), []).append(found)
    finally:
        server.terminate()
        server.wait()

    print(f"{THREADS} threads; medians of {options.rounds} rounds\n")
    for python in options.python:
        print(f"Python {versions(python, ('offgil', 'openai', 'httpx2', 'pydantic'))}\n")
        print(f"| answer | transport | {' | '.join(COLUMNS)} | requests/s, offgil's / its |")
        print(f"|---|---|{'---|' * len(COLUMNS)}---|")
        for scenario in SCENARIOS:
            own = rows[python, scenario, "offgil"]
            for transport in TRANSPORTS:
                if measured := rows.get((python, scenario, transport)):
                    rate, cpu, p50, p99 = map(statistics.median, zip(*measured, strict=True))
                    # Of one round each: the machine's speed changes between rounds.
                    ratio = statistics.median(a[0] / b[0] for a, b in zip(own, measured, strict=True))
                    cells = (name_of(scenario), transport, f"{rate:.0f}", f"{cpu:.0f}", f"{p50:.1f}", f"{p99:.1f}")
                    print(f"| {' | '.join(cells)} | {ratio:.2f} |")
        print()


def name_of(scenario: tuple[int, int, int]) -> str:
    words, pause, _ = scenario
    return f"{words} words, {f'{pause} ms apart' if pause else 'at once'}"


def measure(transport: str, url: str, words: int, pause: int, requests: int) -> None:
    """One measurement, in this process: prints the figures of COLUMNS."""
    try:
        import openai

        http = http_client(transport, url, words)
    except ImportError:
        print("not installed")
        return
    headers = {"x-mock-interval": str(pause / 1000)} if pause else {}
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="any", http_client=http, default_headers=headers)
    messages: Any = [{"role": "user", "content": text_of(words)}]

    def ask() -> float:
        """Seconds to the first token."""
        start = time.perf_counter()
        first = 0.0
        text = ""
        for chunk in client.chat.completions.create(model="mock", messages=messages, stream=True):
            if piece := chunk.choices[0].delta.content:
                first = first or time.perf_counter() - start
                text += piece
        assert text == f"echo: {text_of(words)}", text
        return first

    ask()  # builds the SDK's pydantic models, for which threads must not race
    in_threads(THREADS, ask)  # connects, and warms up
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    firsts = sorted(in_threads(requests, ask))
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    p50, p99 = firsts[requests // 2], firsts[requests * 99 // 100]
    print(requests / wall, cpu / requests * 1e6, p50 * 1e3, p99 * 1e3)


def in_threads(requests: int, work: Callable[[], float]) -> list[float]:
    """Call ``work`` so many times in all, in threads that start together."""
    results: list[float] = []
    barrier = threading.Barrier(THREADS)
    numbers = count()  # its next() is atomic with the GIL, and takes a lock without

    def body() -> None:
        barrier.wait()
        while next(numbers) < requests:
            results.append(work())

    threads = [threading.Thread(target=body) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == requests
    return results


def http_client(transport: str, url: str, words: int) -> Any:
    """What the SDK is to use; None for its default."""
    import httpx2
    import openai

    if transport == "default":
        return None
    if transport == "offgil":
        from offgil.adapters.httpx2 import HTTPTransport

        return openai.DefaultHttpxClient(transport=HTTPTransport())

    body = {"model": "mock", "stream": True, "messages": [{"role": "user", "content": text_of(words)}]}
    with httpx2.Client() as client, client.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
        events = [event + b"\n\n" for event in b"".join(response.iter_raw()).split(b"\n\n")[:-1]]

    class Events(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            return iter(events)

    class NoNetwork(httpx2.BaseTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=Events())

    return openai.DefaultHttpxClient(transport=NoNetwork())


def text_of(words: int) -> str:
    return " ".join(f"word{number}" for number in range(words))


if sys.argv[1:2] == ["measure"]:
    measure(*sys.argv[2:4], *map(int, sys.argv[4:]))  # type: ignore[call-arg]
else:
    main()
