"""The executor beside its peers.

    benchmarks/prepare
    python3 benchmarks/executor/run.py

Every figure is taken in a process of its own.  Rounds are interleaved (each peer once a round), so that a machine that
slows down slows all of them; the tables give medians over the rounds, and each peer's figure divided by offgil's.
"copies alone" is what the memory costs: one process that copies arguments and results as an executor has to.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from pythons import add_option, figures, versions  # noqa: E402


@dataclass(frozen=True)
class Scenario:
    name: str
    unit: str
    peers: tuple[str, ...]  # the first one is what the others are compared with


OURS = "offgil, processes", "offgil, threads"
PROCESSES = (OURS[0], "ProcessPoolExecutor", "multiprocessing.Pool", "loky")
THREADS = (OURS[1], "ThreadPoolExecutor")
PACKAGES = ("offgil", "numpy", "loky", "joblib", "free-threading")


def scenarios(gil: bool) -> list[Scenario]:
    # The package free-threading chooses by itself.
    processes, threads = ((*PROCESSES, "free-threading"), THREADS) if gil else (PROCESSES, (*THREADS, "free-threading"))
    return [
        *(Scenario(name, "µs", peers) for name in ("no-op", "no-op, one by one") for peers in (processes, threads)),
        Scenario("1 MiB bytes, echo", "µs", (*processes, "copies alone")),
        Scenario("8 MiB numpy array, sum", "µs", (*processes, "joblib, memmap", "copies alone")),
        *(Scenario(f"start-up, {context}", "ms", PROCESSES[:2]) for context in ("fork", "forkserver", "spawn")),
        *(Scenario("2 workers / 1 worker, CPU-bound", "", peers) for peers in (PROCESSES[:2], THREADS)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_option(parser)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="only rows with this in their name")
    options = parser.parse_args()

    print(f"{platform.machine()}, Linux {platform.release()}, {os.cpu_count()} cores; {options.rounds} rounds\n")
    for python in options.python:
        version = versions(python, PACKAGES)
        rows = [
            scenario
            for scenario in scenarios("without GIL" not in version)
            if not options.only or any(text in scenario.name for text in options.only)
        ]
        found: dict[tuple[Scenario, str], list[float]] = {}
        for _ in range(options.rounds):
            for scenario in rows:
                for peer in scenario.peers:
                    figure = figures([python, str(HERE / "executor_loop.py"), scenario.name, peer])
                    if figure is not None:
                        found.setdefault((scenario, peer), []).extend(figure)
        print(f"Python {version}\n\n| what | executor | median | / offgil |\n|---|---|---:|---:|")
        for scenario in rows:
            ours = statistics.median(found[scenario, scenario.peers[0]])
            for peer in scenario.peers:
                if (scenario, peer) not in found:
                    print(f"| {scenario.name} | {peer} | no wheel | |")
                    continue
                figure_ = statistics.median(found[scenario, peer])
                print(f"| {scenario.name} | {peer} | {figure_:,.4g} {scenario.unit} | {figure_ / ours:.2f} |")
        print(flush=True)


if __name__ == "__main__":
    main()
