"""LitServe's streams by transport: its default, raw pipes, offgil's store; CPU and wall time a token.

    benchmarks/prepare
    python3 benchmarks/adapters/litserve_stream.py

Each measurement starts a server of its own, with one API server process, and a model that makes tokens of 8 bytes as
fast as they are taken.  "CPU" is that of all of the server's processes, LitServe's own work for a token (its buffers,
uvicorn, the socket) included; the client is another process.  "offgil, results only" leaves requests to LitServe's
queue.  "Transport alone" is one process sending to the event loop of another, without LitServe.  Rounds are
interleaved; the table gives medians over the rounds.
"""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from pythons import add_option, figures, medians, versions  # noqa: E402

PEERS = ("offgil", "offgil, results only", "LitServe's default", "pipes")
#: Scenario -> what its wall time is.
SCENARIOS = {
    "1 stream": "token",
    "8 streams, 2 workers": "token",
    "first token": "request of one token",
    "transport alone": "message",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_option(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="scenarios whose name contains this")
    options = parser.parse_args()
    scenarios = [scenario for scenario in SCENARIOS if options.only in scenario]

    found: dict[tuple[str, str, str], list[tuple[float, ...]]] = {}
    for number in range(options.rounds):
        for scenario in scenarios:
            print(f"round {number + 1} of {options.rounds}: {scenario}", file=sys.stderr)
            for python in options.python:
                for peer in PEERS:
                    row = figures([python, str(HERE / "litserve_loop.py"), peer, scenario])
                    if row is not None:
                        found.setdefault((python, scenario, peer), []).append(row)

    print(f"{platform.machine()}, Linux {platform.release()}; medians of {options.rounds} rounds\n")
    for python in options.python:
        print(f"Python {versions(python, ('offgil', 'litserve', 'uvicorn', 'uvloop'))}\n")
        if (python, scenarios[0], "offgil") not in found:
            print("LitServe is not installed\n")
            continue
        print("| scenario | transport | CPU µs | wall µs | a second | CPU / offgil's | wall / offgil's |")
        print("|---|---|---|---|---|---|---|")
        for scenario in scenarios:
            own_cpu, own_wall = medians(found[python, scenario, "offgil"])
            for peer in PEERS:
                cpu, wall = medians(found[python, scenario, peer])
                what = f"{scenario} ({SCENARIOS[scenario]})"
                ratios = f"{cpu / own_cpu:.1f} | {wall / own_wall:.1f}"
                print(f"| {what} | {peer} | {cpu:.0f} | {wall:.0f} | {1e6 / wall:,.0f} | {ratios} |")
        print()


if __name__ == "__main__":
    main()
