"""The shared-state store beside what else threads can share results through.

    benchmarks/prepare
    python3 benchmarks/store/shared.py

Every measurement runs in a process of its own.  Rounds are interleaved (each peer once a round), so that a machine that
slows down slows all of them; the tables give medians over the rounds, and each peer's figure divided by offgil's.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from pythons import add_option, figures, medians, versions  # noqa: E402


@dataclass(frozen=True)
class Scenario:
    title: str
    name: str
    unit: str
    peers: tuple[str, ...]


MAPS = ("dict", "locked dict", "cereggii", "ft_utils")
SCENARIOS = (
    Scenario("put + get, 1 thread", "map:1", "ns", MAPS),
    Scenario("put + get, 2 threads, disjoint keys", "map:2", "ns", MAPS),
    Scenario("hand-off to a parked thread, p50", "hand-off", "µs", ("SimpleQueue", "condition", "Future")),
    Scenario("10,000 keys by as_completed", "many", "ms", ("futures",)),
    Scenario("10,000 tasks wait", "async", "ms", ("asyncio.Queue",)),
)


def scenarios() -> list[Scenario]:
    """The fixed ones, and how far the cores of this machine carry."""
    cores = len(os.sched_getaffinity(0))
    wide = [Scenario(f"put + get, {n} threads, disjoint keys", f"map:{n}", "ns", MAPS) for n in (4, 8) if n <= cores]
    return [*SCENARIOS[:2], *wide, *SCENARIOS[2:]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_option(parser)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    rows: dict[tuple[str, str, str], list[tuple[float, ...]]] = {}
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
        for python in options.python:
            for scenario in scenarios():
                for peer in ("offgil", *scenario.peers):
                    loop = [python, "-W", "ignore", str(HERE / "shared_loop.py"), peer, scenario.name]
                    if (found := figures(loop)) is not None:
                        rows.setdefault((python, scenario.name, peer), []).append(found)

    print(f"{platform.machine()}, Linux {platform.release()}, {os.cpu_count()} cores; {options.rounds} rounds\n")
    for python in options.python:
        print(f"Python {versions(python, ('offgil', 'cereggii', 'ft_utils'))}\n")
        print("| scenario | peer | median | p99 | peer / offgil |")
        print("|---|---|---|---|---|")
        alone = medians(rows[python, "map:1", "offgil"])[0]
        for scenario in scenarios():
            ours = medians(rows[python, scenario.name, "offgil"])
            for peer in ("offgil", *scenario.peers):
                if (python, scenario.name, peer) not in rows:
                    print(f"| {scenario.title} | {peer} | no wheel | | |")
                    continue
                median, *rest = medians(rows[python, scenario.name, peer])
                tail = f"{rest[0]:.1f}" if rest else ""
                print(f"| {scenario.title} | {peer} | {median:.1f} {scenario.unit} | {tail} | {median / ours[0]:.2f} |")
            if scenario.name.startswith("map:") and scenario.name != "map:1":
                # ns a pair, over all threads: ideal is that of one thread divided by their number.
                print(f"| | scaling of offgil | {alone / ours[0] / int(scenario.name[4:]):.2f} of ideal | | |")
        print()


if __name__ == "__main__":
    main()
