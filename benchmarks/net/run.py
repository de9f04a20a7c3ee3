"""CPU and wall time a request against nginx on loopback, beside peers and a C loop over libcurl.

    benchmarks/prepare
    python3 benchmarks/net/run.py

Every client runs in a process of its own.  Rounds are interleaved (each client once a round), so that a machine that
slows down slows all of them; the table gives medians over the rounds, and ratios of CPU time.

A client that waits for each answer lets its core go idle, and on a virtual machine waking an idle core can cost more
than the request, in every client alike.  The scenario "one core" puts client and server on the same core, which then
never idles: what is left is the client's own work.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from nginx import Nginx, nginx  # noqa: E402
from pythons import add_option, medians, versions  # noqa: E402
from pythons import figures as measured  # noqa: E402


@dataclass(frozen=True)
class Scenario:
    name: str
    kind: str
    peers: tuple[str, ...]
    count: int
    threads: int = 1
    tasks: int = 64
    path: str = "/"
    size: int = 1024
    server: str = "http"  # which of Nginx's URLs
    one_core: bool = False  # client and server share a core
    floor: bool = False  # compared with the C loop

    def url(self, server: Nginx) -> str:
        return str(getattr(server, self.server)) + self.path

    def command(self, server: Nginx) -> list[str]:
        """The words after the client's name."""
        words = [self.kind, self.url(server), str(self.count)]
        words += ["--threads", str(self.threads), "--tasks", str(self.tasks), "--size", str(self.size)]
        if self.server != "http":
            words += ["--ca", server.ca]
        return [*words, "--http2"] if self.server == "http2" else words

    def floor_command(self, server: Nginx) -> list[str]:
        words = [self.url(server), str(self.count), str(self.threads)]
        if self.server != "http":
            words.append(server.ca)
        return [*words, "--http2"] if self.server == "http2" else words


SYNC = ("offgil", "primp", "pycurl", "pyreqwest", "httpx", "httpx2")
THREADED = ("offgil", "wreq", "pyreqwest", "pycurl", "primp", "httpx", "httpx2")
ASYNC = ("offgil", "wreq", "pyreqwest", "aiohttp")
SECURE = ("offgil", "pyreqwest", "httpx")
# About half a second for a fast client: with its start, a measurement then takes a second.
SCENARIOS = (
    Scenario("1 thread", "get", SYNC, 5_000, floor=True),
    Scenario("1 thread, one core", "get", SYNC, 16_000, one_core=True, floor=True),
    Scenario("16 threads", "get", THREADED, 16_000, threads=16, floor=True),
    Scenario("asyncio, 64 in flight", "asyncio", (*ASYNC, "httpx"), 10_000),
    Scenario("asyncio, 1,000 in flight", "asyncio", ASYNC, 10_000, tasks=1000),
    Scenario("map, 64 in flight", "map", ("offgil", "offgil, async"), 5_000),
    Scenario("1 MiB", "get", ("offgil, memoryview", *SYNC), 800, path="/1MiB", size=1 << 20, floor=True),
    Scenario("TLS 1.3, 16 threads", "get", SECURE, 8_000, threads=16, server="https", floor=True),
    Scenario("HTTP/2, 16 threads", "get", SECURE, 8_000, threads=16, server="http2", floor=True),
)
ONE_CORE = ("taskset", "-c", "0")

# httpx is slow enough to need fewer requests for a stable figure.
SLOW = {"httpx": 10, "httpx2": 10}

Figures = list[tuple[float, ...]]


def compile_floor(folder: str) -> str:
    floor = f"{folder}/floor"
    subprocess.run(["cc", "-O2", "-o", floor, str(HERE / "floor.c"), "-lcurl", "-pthread"], check=True)
    return floor


@dataclass
class Column:
    """What one interpreter's measurements gave."""

    python: str
    figures: dict[tuple[Scenario, str], Figures] = field(default_factory=dict)
    failures: Counter[tuple[Scenario, str]] = field(default_factory=Counter)

    def measure(self, scenario: Scenario, peer: str, prefix: tuple[str, ...], server: Nginx) -> None:
        command = scenario.command(server)
        command[2] = str(scenario.count // SLOW.get(peer, 1))
        loop = [self.python, str(HERE / "client_loop.py"), peer, *command]
        try:
            found = measured([*prefix, *loop], timeout=60)
        except subprocess.SubprocessError:  # it crashed, or hung
            if peer == "offgil":
                raise
            self.failures[scenario, peer] += 1
            return
        if found is not None:
            self.figures.setdefault((scenario, peer), []).append(found)

    def row(self, scenario: Scenario, peer: str, own: float) -> str:
        times = self.failures[scenario, peer]
        name = f"{peer}, failed {times}x" if times else peer
        if (scenario, peer) in self.figures:
            return f"{name} | {row(self.figures[scenario, peer], own)}"
        return f"{name} | | | |" if times else f"{name} | no wheel | | |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_option(parser)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="scenarios whose name contains this")
    options = parser.parse_args()
    scenarios = [scenario for scenario in SCENARIOS if options.only in scenario.name]

    floors: dict[Scenario, Figures] = {scenario: [] for scenario in scenarios if scenario.floor}
    columns = [Column(python) for python in options.python]
    with tempfile.TemporaryDirectory() as folder, nginx() as server, nginx(ONE_CORE) as server_on_one_core:
        floor = compile_floor(folder)
        for number in range(options.rounds):
            for scenario in scenarios:
                print(f"round {number + 1} of {options.rounds}: {scenario.name}", file=sys.stderr)
                prefix, its_server = (ONE_CORE, server_on_one_core) if scenario.one_core else ((), server)
                if scenario.floor:
                    found = measured([*prefix, floor, *scenario.floor_command(its_server)])
                    assert found is not None
                    floors[scenario].append(found)
                for column in columns:
                    for peer in scenario.peers:
                        column.measure(scenario, peer, prefix, its_server)

    print(f"{platform.machine()}, Linux {platform.release()}; medians of {options.rounds} rounds\n")
    for column in columns:
        packages = ("offgil", "primp", "pycurl", "pyreqwest", "wreq", "aiohttp", "httpx", "httpx2")
        print(f"Python {versions(column.python, packages)}\n")
        print("| scenario | client | CPU µs | wall µs | CPU / offgil's |")
        print("|---|---|---|---|---|")
        for scenario in scenarios:
            own, _ = medians(column.figures[scenario, "offgil"])
            if scenario.floor:
                print(f"| {scenario.name} | C loop over libcurl | {row(floors[scenario], own)}")
            for peer in scenario.peers:
                print(f"| {scenario.name} | {column.row(scenario, peer, own)}")
        print()


def row(figures: Figures, own: float) -> str:
    cpu, wall = medians(figures)
    return f"{cpu:.1f} | {wall:.1f} | {cpu / own:.2f} |"


if __name__ == "__main__":
    main()
