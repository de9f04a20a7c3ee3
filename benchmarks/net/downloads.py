"""1 GiB from nginx on loopback to a file.

    benchmarks/prepare
    python3 benchmarks/net/downloads.py --folder /dev/shm

Every client runs in a process of its own.  Rounds are interleaved, and the table gives medians over the rounds.  In a
folder on a disk, wall times are mostly the disk's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from nginx import nginx  # noqa: E402
from pythons import add_option, figures, medians, versions  # noqa: E402

PEERS = ("offgil", "pyreqwest", "httpx")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_option(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where downloads go; a temporary one by default")
    options = parser.parse_args()

    rows: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, nginx() as server:
        for _ in range(options.rounds):
            for python in options.python:
                for peer in PEERS:
                    command = [python, str(HERE / "download_loop.py"), peer, f"{server.http}/1GiB"]
                    command += [f"{server.http}/1MiB", f"{folder}/target"]
                    if (found := figures(command)) is not None:
                        rows.setdefault((python, peer), []).append(found)

    print(f"{options.rounds} rounds\n")
    for python in options.python:
        print(f"Python {versions(python, PEERS)}\n")
        print("| client | CPU ms | wall ms | peak of memory, + KiB |")
        print("|---|---|---|---|")
        for peer in PEERS:
            if (python, peer) not in rows:
                print(f"| {peer} | no wheel | | |")
                continue
            cpu, wall, peak = medians(rows[python, peer])
            print(f"| {peer} | {cpu:.0f} | {wall:.0f} | {peak:.0f} |")
        print()


if __name__ == "__main__":
    main()
