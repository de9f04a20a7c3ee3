"""CPU and wall time a request against nginx on loopback, beside peers and a C loop over libcurl.

    benchmarks/prepare
    python3 benchmarks/net/run.py

Every client runs in a process of its own.  Rounds are interleaved (each client once a round), so that a machine that
slows down slows all of them; the table gives medians over the rounds, and ratios of CPU time to the C loop.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from nginx import nginx  # noqa: E402
from pythons import add_option  # noqa: E402

PEERS = {
    "1 thread": ("offgil", "primp", "pycurl", "httpx"),
    "16 threads": ("offgil", "primp", "pycurl", "httpx"),
    "64 in flight": ("offgil", "httpx"),
}
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


def versions(python: str) -> str:
    code = (
        "import sys, importlib.metadata as m\n"
        "gil = getattr(sys, '_is_gil_enabled', lambda: True)()\n"
        "print(sys.version.split()[0] + ('' if gil else ' without GIL'), end='')\n"
        "for p in ('offgil', 'httpx', 'primp', 'pycurl'):\n"
        "    try: print(f', {p} {m.version(p)}', end='')\n"
        "    except m.PackageNotFoundError: pass\n"
    )
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_option(parser)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    floor_figures: Figures = []
    figures: dict[tuple[str, str, str], Figures] = {}
    with tempfile.TemporaryDirectory() as folder, nginx() as url:
        floor = compile_floor(folder)
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            floor_figures.append(measure([floor, url + "/", str(COUNT)]) or (0, 0))
            for python in options.python:
                for scenario, peers in PEERS.items():
                    for peer in peers:
                        count = str(COUNTS.get(peer, COUNT))
                        command = [python, str(HERE / "client_loop.py"), peer, scenario, url + "/", count]
                        if (found := measure(command)) is not None:
                            figures.setdefault((python, scenario, peer), []).append(found)

    def medians(rows: Figures) -> tuple[float, float]:
        return statistics.median(cpu for cpu, _ in rows), statistics.median(wall for _, wall in rows)

    floor_cpu, floor_wall = medians(floor_figures)
    print(f"{platform.machine()}, Linux {platform.release()}; {options.rounds} rounds", end=" ")
    print(f"of {COUNT} requests (httpx: {COUNTS['httpx']})\n")
    print(f"C loop over libcurl: {floor_cpu:.1f} µs CPU, {floor_wall:.1f} µs wall a request\n")
    for python in options.python:
        print(f"Python {versions(python)}\n")
        print("| scenario | client | CPU µs | wall µs | CPU / C loop | httpx CPU / this |")
        print("|---|---|---|---|---|---|")
        for scenario, peers in PEERS.items():
            reference, _ = (
                medians(figures[python, scenario, "httpx"]) if (python, scenario, "httpx") in figures else (0, 0)
            )
            for peer in peers:
                rows = figures.get((python, scenario, peer))
                if not rows:
                    print(f"| {scenario} | {peer} | not installed | | | |")
                    continue
                cpu, wall = medians(rows)
                times = f"{reference / cpu:.1f}" if reference else ""
                print(f"| {scenario} | {peer} | {cpu:.1f} | {wall:.1f} | {cpu / floor_cpu:.2f} | {times} |")
        print()


if __name__ == "__main__":
    main()
