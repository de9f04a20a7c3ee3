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
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from nginx import Nginx, nginx  # noqa: E402
from pythons import add_option, versions  # noqa: E402
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

    def command(self, server: Nginx) -> list[str]:
        """The words after the client's name."""
        words = [self.kind, getattr(server, self.server) + self.path, str(self.count)]
        words += ["--threads", str(self.threads), "--tasks", str(self.tasks), "--size", str(self.size)]
        if self.server != "http":
            words += ["--ca", server.ca]
        return [*words, "--http2"] if self.server == "http2" else words


SYNC = ("offgil", "primp", "pycurl", "pyreqwest", "httpx", "httpx2")
THREADED = ("offgil", "wreq", "pyreqwest", "pycurl", "primp", "httpx", "httpx2")
ASYNC = ("offgil", "wreq", "pyreqwest", "aiohttp", "httpx")
SECURE = ("offgil", "pyreqwest", "httpx")
MANY, FEW = 16_000, 4_800
SCENARIOS = (
    Scenario("1 thread", "get", SYNC, MANY, floor=True),
    Scenario("1 thread, one core", "get", SYNC, MANY, one_core=True, floor=True),
    Scenario("16 threads", "get", THREADED, MANY, threads=16),
    Scenario("asyncio, 64 in flight", "asyncio", ASYNC, MANY),
    Scenario("asyncio, 1,000 in flight", "asyncio", ASYNC, MANY, tasks=1000),
    Scenario("map, 64 in flight", "map", ("offgil", "offgil, async"), 5_000),
    Scenario("1 MiB", "get", ("offgil, memoryview", *SYNC), 1_600, path="/1MiB", size=1 << 20),
    Scenario("TLS 1.3, 16 threads", "get", SECURE, FEW, threads=16, server="https"),
    Scenario("HTTP/2, 16 threads", "get", SECURE, FEW, threads=16, server="http2"),
)
ONE_CORE = ("taskset", "-c", "0")

# httpx is slow enough to need fewer requests for a stable figure.
SLOW = {"httpx": 5, "httpx2": 5}

Figures = list[tuple[float, ...]]


def compile_floor(folder: str) -> str:
    floor = f"{folder}/floor"
    subprocess.run(["cc", "-O2", "-o", floor, str(HERE / "floor.c"), "-lcurl"], check=True)
    return floor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_option(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="scenarios whose name contains this")
    options = parser.parse_args()
    scenarios = [scenario for scenario in SCENARIOS if options.only in scenario.name]

    floors: dict[Scenario, Figures] = {scenario: [] for scenario in scenarios if scenario.floor}
    figures: dict[tuple[str, Scenario, str], Figures] = {}
    with tempfile.TemporaryDirectory() as folder, nginx() as server, nginx(ONE_CORE) as server_on_one_core:
        floor = compile_floor(folder)
        for number in range(options.rounds):
            for scenario in scenarios:
                print(f"round {number + 1} of {options.rounds}: {scenario.name}", file=sys.stderr)
                prefix, its_server = (ONE_CORE, server_on_one_core) if scenario.one_core else ((), server)
                if scenario.floor:
                    found = measured([*prefix, floor, its_server.http + "/", str(scenario.count)])
                    assert found is not None
                    floors[scenario].append(found)
                for python in options.python:
                    for peer in scenario.peers:
                        command = scenario.command(its_server)
                        command[2] = str(scenario.count // SLOW.get(peer, 1))
                        loop = [python, str(HERE / "client_loop.py"), peer, *command]
                        if (found := measured([*prefix, *loop])) is not None:
                            figures.setdefault((python, scenario, peer), []).append(found)

    print(f"{platform.machine()}, Linux {platform.release()}; medians of {options.rounds} rounds\n")
    for python in options.python:
        packages = ("offgil", "primp", "pycurl", "pyreqwest", "wreq", "aiohttp", "httpx", "httpx2")
        print(f"Python {versions(python, packages)}\n")
        print("| scenario | client | CPU µs | wall µs | CPU / offgil's |")
        print("|---|---|---|---|---|")
        for scenario in scenarios:
            own, _ = medians(figures[python, scenario, "offgil"])
            if scenario.floor:
                cpu, wall = medians(floors[scenario])
                print(f"| {scenario.name} | C loop over libcurl | {cpu:.1f} | {wall:.1f} | {cpu / own:.2f} |")
            for peer in scenario.peers:
                if (python, scenario, peer) not in figures:
                    print(f"| {scenario.name} | {peer} | no wheel | | |")
                    continue
                cpu, wall = medians(figures[python, scenario, peer])
                print(f"| {scenario.name} | {peer} | {cpu:.1f} | {wall:.1f} | {cpu / own:.2f} |")
        print()


def medians(rows: Figures) -> tuple[float, float]:
    return statistics.median(cpu for cpu, *_ in rows), statistics.median(wall for _, wall, *_ in rows)


if __name__ == "__main__":
    main()
