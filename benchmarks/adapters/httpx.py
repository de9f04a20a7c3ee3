"""httpx and httpx2 over offgil's transport, beside their own and pyreqwest's, against nginx on loopback.

    benchmarks/prepare
    python3 benchmarks/adapters/httpx.py

Each measurement has a process of its own; rounds are interleaved, and the table gives medians over them.  The transport
"null" answers by itself: it is the floor that the package sets, whatever is below it.  On "one core" the server shares
the client's, which then never idles: waking it would cost every transport the same; see benchmarks/net/run.py.
"""

from __future__ import annotations

import argparse
import itertools
import math
import platform
import subprocess
import sys
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from nginx import nginx  # noqa: E402
from pythons import add_option, figures, medians, versions  # noqa: E402

TRANSPORTS = {"httpx": ("null", "offgil", "own", "pyreqwest"), "httpx2": ("null", "offgil", "own")}
#: Name -> what makes requests, how many of them, and whether on the server's core.
SCENARIOS = {
    "1 thread": ("threads", 1, False),
    "1 thread, one core": ("threads", 1, True),
    "16 threads": ("threads", 16, False),
    "1 task of asyncio": ("tasks", 1, False),
    "16 tasks of asyncio": ("tasks", 16, False),
}
ONE_CORE = ("taskset", "-c", "0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_option(parser)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=4_000, help="requests in each measurement")
    parser.add_argument("--only", default="", help="scenarios whose name contains this")
    options = parser.parse_args()
    scenarios = [name for name in SCENARIOS if options.only in name]
    found: dict[tuple[str, str, str, str], list[tuple[float, ...]]] = {}
    failed: Counter[tuple[str, str, str, str]] = Counter()
    with nginx() as server, nginx(ONE_CORE) as server_on_one_core:
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            for python, package, scenario in itertools.product(options.python, TRANSPORTS, scenarios):
                kind, concurrency, one_core = SCENARIOS[scenario]
                url = (server_on_one_core if one_core else server).http + "/"
                loop = [*(ONE_CORE if one_core else ()), python, str(HERE / "httpx_loop.py"), package]
                for transport in TRANSPORTS[package]:
                    place = python, package, scenario, transport
                    words = [*loop, transport, url, str(options.count), kind, str(concurrency)]
                    try:
                        measured = figures(words, timeout=60)
                    except subprocess.SubprocessError:  # without the GIL, httpx's own fails in threads at times
                        if transport == "offgil":
                            raise
                        failed[place] += 1
                        continue
                    if measured is not None:
                        found.setdefault(place, []).append(measured)
    print(f"{platform.machine()}, Linux {platform.release()}; medians of {options.rounds} rounds")
    for python in options.python:
        print(f"\nPython {versions(python, ('offgil', 'httpx', 'httpx2', 'pyreqwest'))}\n")
        print("| package | scenario | transport | CPU µs | wall µs | own CPU / this | own wall / this |")
        print("|---|---|---|---|---|---|---|")
        for package, scenario in itertools.product(TRANSPORTS, scenarios):
            own = medians(found.get((python, package, scenario, "own"), [(math.nan, math.nan)]))
            for transport in TRANSPORTS[package]:
                place = python, package, scenario, transport
                times = failed[place]
                name = f"{transport}, failed {times}x" if times else transport
                if place in found:
                    cpu, wall = medians(found[place])
                    ratios = f"{own[0] / cpu:.1f} | {own[1] / wall:.1f}"
                    print(f"| {package} | {scenario} | {name} | {cpu:.0f} | {wall:.0f} | {ratios} |")
                elif times:
                    print(f"| {package} | {scenario} | {name} | | | | |")


if __name__ == "__main__":
    main()
