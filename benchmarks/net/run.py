"""CPU and wall time a request against nginx on loopback, beside peers and a C loop over libcurl.

    benchmarks/prepare
    python3 benchmarks/net/run.py

Every client runs in a process of its own.  Rounds are interleaved (each client once a round), so that a machine that
slows down slows all of them; the table gives medians over the rounds, and ratios of CPU time to the C loop.

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

from nginx import nginx  # noqa: E402
from pythons import add_option, versions  # noqa: E402


@dataclass(frozen=True)
class Scenario:
    name: str
    kind: str
    threads: int
    peers: tuple[str, ...]
    one_core: bool = False  # client and server share a core


GET_PEERS = ("offgil", "primp", "pycurl", "httpx")
SCENARIOS = (
    Scenario("1 thread", "get", 1, GET_PEERS),
    Scenario("1 thread, one core", "get", 1, GET_PEERS, one_core=True),
    Scenario("16 threads", "get", 16, GET_PEERS),
    Scenario("64 in flight", "map", 1, ("offgil", "httpx")),
)
ONE_CORE = ("taskset", "-c", "0")

# httpx is slow enough to need fewer requests for a stable figure.
COUNTS = {"httpx": 3_200}
COUNT = 16_000

Figures = list[tuple[float, float]]


def compile_floor(folder: str) -> str:
    floor = f"{folder}/floor"
    subprocess.run(["cc", "-O2", "-o", floor, str(HERE / "floor.c"), "-lcurl"], check=True)
    return floor


def measure(command: list[str]) -> tuple[float, float] | None:
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    if done.stdout.strip() == "not installed":
        return None
    cpu, wall = done.stdout.split()
    return float(cpu), float(wall)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_option(parser)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    floors: dict[bool, Figures] = {False: [], True: []}
    figures: dict[tuple[str, Scenario, str], Figures] = {}
    with tempfile.TemporaryDirectory() as folder, nginx() as url, nginx(ONE_CORE) as url_on_one_core:
        floor = compile_floor(folder)
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            for one_core, rows in floors.items():
                prefix, base = (ONE_CORE, url_on_one_core) if one_core else ((), url)
                if (found := measure([*prefix, floor, base + "/", str(COUNT)])) is not None:
                    rows.append(found)
            for python in options.python:
                for scenario in SCENARIOS:
                    prefix, base = (ONE_CORE, url_on_one_core) if scenario.one_core else ((), url)
                    for peer in scenario.peers:
                        count = str(COUNTS.get(peer, COUNT))
                        loop = [python, str(HERE / "client_loop.py"), peer, scenario.kind, base + "/", count]
                        if (found := measure([*prefix, *loop, str(scenario.threads)])) is not None:
                            figures.setdefault((python, scenario, peer), []).append(found)

    print(f"{platform.machine()}, Linux {platform.release()}; {options.rounds} rounds", end=" ")
    print(f"of {COUNT} requests (httpx: {COUNTS['httpx']})\n")
    for one_core, rows in floors.items():
        cpu, wall = medians(rows)
        where = ", client and server on one core" if one_core else ""
        print(f"C loop over libcurl{where}: {cpu:.1f} µs CPU, {wall:.1f} µs wall a request\n")
    for python in options.python:
        print(f"Python {versions(python, ('offgil', 'httpx', 'primp', 'pycurl'))}\n")
        print("| scenario | client | CPU µs | wall µs | CPU / C loop | httpx CPU / this |")
        print("|---|---|---|---|---|---|")
        for scenario in SCENARIOS:
            floor_cpu, _ = medians(floors[scenario.one_core])
            reference, _ = medians(figures[python, scenario, "httpx"])
            for peer in scenario.peers:
                if (python, scenario, peer) not in figures:
                    print(f"| {scenario.name} | {peer} | no wheel | | | |")
                    continue
                cpu, wall = medians(figures[python, scenario, peer])
                ratios = f"{cpu / floor_cpu:.2f} | {reference / cpu:.1f}"
                print(f"| {scenario.name} | {peer} | {cpu:.1f} | {wall:.1f} | {ratios} |")
        print()


def medians(rows: Figures) -> tuple[float, float]:
    return statistics.median(cpu for cpu, _ in rows), statistics.median(wall for _, wall in rows)


if __name__ == "__main__":
    main()
