"""ci/soak: what the test suite does to the managed-dict store in seconds, for as long as it takes to trust it.

Random kills and kills at every fault point run in the C++ tests, damaged memory in the Python ones: the same tests,
with other numbers.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable

from offgil_ci import environments, interpreters, packages, suites
from offgil_ci.paths import BUILD, LOGS, ROOT
from offgil_ci.process import StepFailed, Words, run, tail

HOUR = 3600


def kills(count: int) -> None:
    """Kill `count` random processes; fail if anything was lost, or a survivor paused for a second."""
    suites.build_cpp_tests("plain")
    binary, log = BUILD / "cpp-plain/tests/cpp/test_store", LOGS / "soak-kills.log"
    command: Words = [binary, "--test-case=managed kill: survivors*", "--no-skipped-summary"]
    run(command, log=log, timeout=HOUR, env={"OFFGIL_KILLS": str(count)})
    print(tail(log, 8))


def faults() -> None:
    """Kill at every fault point."""
    log = LOGS / "soak-faults.log"
    run([BUILD / "cpp-plain/tests/cpp/test_store_faults"], log=log, timeout=HOUR)
    print(tail(log, 3))


def damage(rounds: int, seed: int) -> None:
    """Damage as many stores, each in a process of its own."""
    found = interpreters.reference()
    wheel = environments.build_wheel(found, found.series)
    python = environments.install(wheel, "soak", found, extras="test", reuse=True)
    log = LOGS / "soak-damage.log"
    variables = {"OFFGIL_FUZZ_ROUNDS": str(rounds), "OFFGIL_FUZZ_SEED": str(seed)}
    # No bound for one test: it has all the rounds.
    command: Words = [python, "-m", "pytest", "-q", "-o", "faulthandler_timeout=0", "tests/store/test_managed_fuzz.py"]
    run(command, log=log, timeout=HOUR, cwd=ROOT, env=variables)
    print(tail(log, 1))


def main(arguments: list[str] | None = None) -> int:
    """The command ci/soak: exit 0 where nothing was lost, torn, leaked or stuck."""
    parser = argparse.ArgumentParser(prog="ci/soak", description="Kill and damage managed-dict stores.")
    parser.add_argument("--kills", type=int, default=10_000, help="random kills (default: %(default)s)")
    parser.add_argument("--damage", type=int, default=2_000, help="damaged stores (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30), help="of the damage (default: random)")
    options = parser.parse_args(arguments)
    LOGS.mkdir(parents=True, exist_ok=True)
    for old in LOGS.glob("soak-*.log"):
        old.unlink()
    steps: dict[str, Callable[[], None]] = {
        f"{options.kills} random kills": lambda: kills(options.kills),
        "a kill at every fault point": faults,
        f"{options.damage} damaged stores, seed {options.seed}": lambda: damage(options.damage, options.seed),
    }
    try:
        packages.ensure(packages.EXTENSION, packages.CPP_TESTS)
        for title, step in steps.items():
            started = time.monotonic()
            print(f"{title} ...", flush=True)
            step()
            print(f"ok ({time.monotonic() - started:.0f} s)", flush=True)
    except StepFailed as error:
        print(f"ci/soak: {error}", file=sys.stderr)
        return 1
    return 0
