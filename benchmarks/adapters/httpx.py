"""httpx and httpx2 over offgil's transport, beside their own and pyreqwest's, against nginx on loopback.

    benchmarks/prepare
    python3 benchmarks/adapters/httpx.py

Each measurement has a process of its own; rounds are interleaved, and the table gives medians over them.  The transport
"null" answers by itself: it is the floor that the package sets, whatever is below it.
"""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from nginx import nginx  # noqa: E402
from pythons import add_option, figures, medians, versions  # noqa: E402

TRANSPORTS = {"httpx": ("null", "offgil", "own", "pyreqwest"), "httpx2": ("null", "offgil", "own")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_option(parser)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=4_000, help="requests in each measurement")
    options = parser.parse_args()
    found: dict[tuple[str, str, int, str], list[tuple[float, ...]]] = {}
    with nginx() as server:
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            for python in options.python:
                for package, transports in TRANSPORTS.items():
                    for threads in (1, 16):
                        for transport in transports:
                            loop = [python, str(HERE / "httpx_loop.py"), package, transport, server.http + "/"]
                            measured = figures([*loop, str(options.count), str(threads)])
                            if measured is not None:
                                found.setdefault((python, package, threads, transport), []).append(measured)
    print(f"{platform.machine()}, Linux {platform.release()}; medians of {options.rounds} rounds")
    for python in options.python:
        print(f"\nPython {versions(python, ('offgil', 'httpx', 'httpx2', 'pyreqwest'))}\n")
        print("| package | threads | transport | CPU µs | wall µs | own CPU / this | own wall / this |")
        print("|---|---|---|---|---|---|---|")
        for (of, package, threads, transport), rows in found.items():
            if of == python:
                cpu, wall = medians(rows)
                own_cpu, own_wall = medians(found[python, package, threads, "own"])
                ratios = f"{own_cpu / cpu:.1f} | {own_wall / wall:.1f}"
                print(f"| {package} | {threads} | {transport} | {cpu:.0f} | {wall:.0f} | {ratios} |")


if __name__ == "__main__":
    main()
