"""One measurement in a process of its own; prints CPU and wall µs a request, or "not installed".

The CPU is the whole process's, all threads; importing, connecting and a warm-up are not counted.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import threading
import time

from clients import MAKERS, Target, Work


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def give_up(what: threading.ExceptHookArgs) -> None:
    """A client that fails in one thread has no figures, and the other threads may wait for ever."""
    sys.excepthook(what.exc_type, what.exc_value or what.exc_type(), what.exc_traceback)
    os._exit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer")
    parser.add_argument("kind", choices=MAKERS)
    parser.add_argument("url")
    parser.add_argument("count", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tasks", type=int, default=64)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--ca")
    parser.add_argument("--http2", action="store_true")
    options = parser.parse_args()

    target = Target(options.url, options.size, options.tasks, options.ca, options.http2)
    try:
        make = MAKERS[options.kind][options.peer](target)
    except ImportError:
        print("not installed")
        return
    works = [make() for _ in range(options.threads)]
    share = options.count // options.threads
    barrier = threading.Barrier(options.threads + 1)
    threading.excepthook = give_up

    def body(work: Work) -> None:
        work(min(share, max(50, options.tasks if options.kind != "get" else 0)))
        barrier.wait()
        work(share)

    runners = [threading.Thread(target=body, args=(work,), daemon=True) for work in works]
    for runner in runners:
        runner.start()
    barrier.wait()
    cpu, wall = cpu_seconds(), time.perf_counter()
    for runner in runners:
        runner.join()
    cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
    print(cpu / (share * options.threads) * 1e6, wall / (share * options.threads) * 1e6, flush=True)
    os._exit(0)  # some clients complain at length that nobody closed them


main()
