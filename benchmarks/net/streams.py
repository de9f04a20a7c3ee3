"""Blocking streams in threads of one process, and what is left for another thread meanwhile.

    benchmarks/prepare
    python3 benchmarks/net/streams.py

Eight threads each read an answer that a server paces to one second: 100 events, 10 ms apart.  Every client runs in a
process of its own; rounds are interleaved and the table gives medians.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from pythons import add_option, figures, medians, versions  # noqa: E402

PEERS = ("offgil", "httpx", "baml")
STREAMS, EVENTS, INTERVAL = 8, 100, 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_option(parser)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    rows: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    server = subprocess.Popen(
        [sys.executable, HERE / "sse_server.py", str(EVENTS), str(INTERVAL)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        for _ in range(options.rounds):
            for python in options.python:
                for peer in PEERS:
                    command = [python, str(HERE / "stream_loop.py"), peer, url, str(STREAMS)]
                    if (found := figures(command)) is not None:
                        rows.setdefault((python, peer), []).append(found)
    finally:
        server.terminate()
        server.wait()

    ideal = EVENTS * INTERVAL
    print(f"{options.rounds} rounds of {STREAMS} streams at once, {ideal:g} s each\n")
    for python in options.python:
        print(f"Python {versions(python, ('offgil', 'httpx', 'baml-py'))}\n")
        print("| client | wall / ideal | CPU ms a stream | ticks of another thread / ideal |")
        print("|---|---|---|---|")
        for peer in PEERS:
            if (python, peer) not in rows:
                print(f"| {peer} | no wheel | | |")
                continue
            wall, cpu, ticks = medians(rows[python, peer])
            print(f"| {peer} | {wall / ideal:.2f} | {cpu:.1f} | {ticks:.0%} |")
        print()


if __name__ == "__main__":
    main()
