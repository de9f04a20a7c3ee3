"""The managed-dict store beside what else moves or keeps bytes between processes of one machine.

    benchmarks/prepare
    python3 benchmarks/store/managed.py

Every figure is taken in a process of its own.  Rounds are interleaved (each peer once a round), so that a machine that
slows down slows all of them; the table gives medians over the rounds, and ratios to the first line: how many times as
long a peer takes, or how many times as much the first one gets done.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from pythons import add_option, versions  # noqa: E402

TIMEOUT = 300
PACKAGES = ("offgil", "lmdb", "pyzmq", "faster-fifo", "iceoryx2", "redis", "numpy")


@dataclass(frozen=True)
class Scenario:
    name: str
    unit: str
    peers: tuple[str, ...]  # the first one is what the others are compared with


CHANNELS = ("offgil", "offgil, array", "Manager().dict(), polls", "lmdb, polls", "Queue", "Pipe", "pyzmq")
CHANNELS += ("faster-fifo", "iceoryx2", "Redis")
IN_PLACE = ("offgil view", "offgil array", "offgil reserve + commit", "lmdb view")
TOGETHER = ("offgil", "lmdb", "Manager().dict()")
SCENARIOS = (
    Scenario("put + get, 100 B", "µs", ("offgil", "Manager().dict()", "UltraDict", "lmdb")),
    *(Scenario(f"hand-off, {size}", "µs", CHANNELS) for size in ("100 B", "10 KiB", "1 MiB", "8 MiB")),
    Scenario("1 MiB, copied", "µs", ("memcpy", "memcpy, 2 targets in turn", "offgil put", "offgil get")),
    *(Scenario(f"{size}, in place", "µs", IN_PLACE) for size in ("100 B", "8 MiB")),
    *(Scenario(name, "/s", TOGETHER) for name in ("4 writers", "1 writer, 4 readers")),
    *(Scenario(f"{name}, threads", "/s", TOGETHER) for name in ("4 writers", "1 writer, 4 readers")),
    Scenario("a million entries of 100 B", "B each", ("offgil",)),
)


def measure(python: str, scenario: Scenario, peer: str) -> float | str:
    """One figure, or why there is none."""
    command = [python, str(HERE / "managed_loop.py"), scenario.name, peer]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return f"left out: not done in {TIMEOUT} s"
    if done.returncode:
        return f"left out: {' '.join(done.stderr.strip().splitlines()[-1:])}"
    line = done.stdout.strip()
    if line.startswith("left out"):
        return line
    return float(line) or f"left out: it got nothing done ({' '.join(done.stderr.strip().splitlines()[-1:])})"


def run(python: str, scenario: Scenario, rounds: int) -> None:
    figures: dict[str, list[float]] = {peer: [] for peer in scenario.peers}
    reasons: dict[str, str] = {}
    for _ in range(1 if scenario.unit == "B each" else rounds):  # that one does not vary
        for peer in scenario.peers:
            if peer in reasons:
                continue
            figure = measure(python, scenario, peer)
            if isinstance(figure, str):
                reasons[peer] = figure
            else:
                figures[peer].append(figure)
    base = statistics.median(figures[scenario.peers[0]] or [float("nan")])
    for peer in scenario.peers:
        if peer in reasons:
            print(f"| {scenario.name} | {peer} | {reasons[peer]} | |", flush=True)
            continue
        figure = statistics.median(figures[peer])
        ratio = base / figure if scenario.unit == "/s" else figure / base
        print(f"| {scenario.name} | {peer} | {figure:,.4g} {scenario.unit} | {ratio:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_option(parser)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", action="append", help="a scenario, by its name (can be repeated)")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()}")
    for python in options.python:
        print(f"\nPython {versions(python, PACKAGES)}\n\n| what | peer | median | ratio |\n|---|---|---:|---:|")
        for scenario in SCENARIOS:
            if not options.only or scenario.name in options.only:
                run(python, scenario, options.rounds)


if __name__ == "__main__":
    main()
