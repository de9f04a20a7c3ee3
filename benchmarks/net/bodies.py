"""Large bodies from nginx on loopback: 1 MiB in memory, 1 GiB to a file.

    benchmarks/prepare
    python3 benchmarks/net/bodies.py

Every client runs in a process of its own.  Rounds are interleaved, and the tables give medians over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from nginx import nginx  # noqa: E402
from pythons import add_option, versions  # noqa: E402

GET_PEERS = ("offgil", "pyreqwest", "primp", "httpx", "offgil view", "pyreqwest view")
DOWNLOAD_PEERS = ("offgil", "pyreqwest", "httpx")
FLOOR = "C loop over libcurl"
COUNT = 1000


def measure(command: list[str]) -> tuple[float, ...] | None:
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout
    return None if printed.strip() == "not installed" else tuple(map(float, printed.split()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_option(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where downloads go; a temporary one by default")
    options = parser.parse_args()

    rows: dict[tuple[str, str, str], list[tuple[float, ...]]] = {}

    def note(python: str, kind: str, peer: str, command: list[str]) -> None:
        if (figures := measure(command)) is not None:
            rows.setdefault((python, kind, peer), []).append(figures)

    with tempfile.TemporaryDirectory(dir=options.folder) as folder, nginx() as url:
        floor, target = f"{folder}/floor", f"{folder}/target"
        subprocess.run(["cc", "-O2", "-o", floor, str(HERE / "floor.c"), "-lcurl"], check=True)
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            for python in options.python:
                loop = [python, str(HERE / "body_loop.py")]
                note(python, "get", FLOOR, [floor, f"{url}/files/mib", str(COUNT)])
                for peer in GET_PEERS:
                    note(python, "get", peer, [*loop, peer, "get", f"{url}/files/mib", str(COUNT)])
                for peer in DOWNLOAD_PEERS:
                    note(python, "download", peer, [*loop, peer, "download", f"{url}/files/gib", target])

    for python in options.python:
        print(f"Python {versions(python, ('offgil', 'pyreqwest', 'primp', 'httpx'))}\n")
        print("| 1 MiB | CPU µs | wall µs |\n|---|---|---|")
        for peer in (FLOOR, *GET_PEERS):
            print(row(peer, rows.get((python, "get", peer)), 2))
        print("\n| 1 GiB to a file | CPU ms | wall ms | peak + KiB |\n|---|---|---|---|")
        for peer in DOWNLOAD_PEERS:
            print(row(peer, rows.get((python, "download", peer)), 3))
        print()


def row(peer: str, figures: list[tuple[float, ...]] | None, columns: int) -> str:
    if figures is None:
        return f"| {peer} | no wheel {'| ' * columns}"
    medians = (statistics.median(column) for column in zip(*figures, strict=True))
    return f"| {peer} | {' | '.join(f'{median:.0f}' for median in medians)} |"


if __name__ == "__main__":
    main()
