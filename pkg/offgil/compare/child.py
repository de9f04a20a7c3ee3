"""One process of a comparison: runs a workload whenever it is told to, and says in JSON what came of it.

``python -m offgil.compare.child WORKLOAD``: says what it is in one line, then answers each line of its input with one.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import traceback
from typing import Any

from offgil.compare.workloads import find
from offgil.runtime import decide_store, decide_workers, interpreter

__all__ = ["main"]


def _hello() -> dict[str, Any]:
    now = interpreter()
    forced = {name: os.environ.pop(name, None) for name in ("OFFGIL_WORKERS", "OFFGIL_STORE")}
    # What the runtime would choose by itself.
    workers, store = decide_workers(), decide_store()
    os.environ.update({name: value for name, value in forced.items() if value})
    return {
        "version": now.version,
        "free_threaded": now.free_threaded_build,
        "interpreter": str(now),
        "workers": [workers.kind, workers.reason],
        "store": [store.kind, store.reason],
    }


def _round(run: Any) -> dict[str, Any]:
    started = time.perf_counter()
    try:
        results = run()
    except BaseException:
        return {"error": traceback.format_exc()}
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "items": len(results) if isinstance(results, list) and results else 1,
        "digest": hashlib.sha256(repr(results).encode()).hexdigest(),
    }


def main() -> None:
    """Run rounds until the input ends."""
    # What the workload itself prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    workload = find(sys.argv[1])
    print(json.dumps(_hello()), file=answers, flush=True)
    for _ in sys.stdin:
        print(json.dumps(_round(workload.run)), file=answers, flush=True)


if __name__ == "__main__":
    main()
