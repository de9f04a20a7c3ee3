"""The suites of the matrix.  Each one raises StepFailed, or returns its counts where it counts tests."""

from __future__ import annotations

import difflib
import json
import platform
import shutil
import subprocess

from offgil_ci import environments, results
from offgil_ci.paths import BUILD, LOGS, ROOT
from offgil_ci.probe import Interpreter
from offgil_ci.process import StepFailed, Words, run
from offgil_ci.results import Counts, TestsFailed

# Seconds.  A suite that needs longer hangs; the pytest run has a shorter bound per test (pyproject.toml).
TESTS_TIMEOUT = 900
CPP_TIMEOUT = 900

# LitServe is tested on the pair.  It requires uvicorn[standard], whose uvloop has no wheel for 3.13t; it runs without.
LITSERVE = "3.13"
LITSERVE_BY_PARTS = {"3.13t": (("fastapi", "uvicorn", "pyzmq"), ("--no-deps", "litserve>=0.2.17"))}

SANITIZERS = {"plain": "", "thread": "thread", "address": "address"}


def wheel(interpreter: Interpreter, name: str, *, reuse: bool) -> None:
    """Build the wheel and install it with the tests' dependencies."""
    built = environments.build_wheel(interpreter, name)
    extras = "cli,test,litserve" if name == LITSERVE else "cli,test"
    python = environments.install(built, name, interpreter, extras=extras, reuse=reuse)
    for words in LITSERVE_BY_PARTS.get(name, ()):
        environments.install_wheels(python, *words, log=LOGS / f"{name}-litserve.log")


def python_tests(name: str, *, stop_at_first: bool) -> Counts:
    """Run tests/ against the wheel that is installed in `build/venvs/name`."""
    log, report = LOGS / f"{name}-tests.log", LOGS / f"{name}-tests.xml"
    log.unlink(missing_ok=True)
    report.unlink(missing_ok=True)
    command: Words = [environments.python_of(name), "-m", "pytest", f"--junitxml={report}"]
    if stop_at_first:
        command.append("-x")
    failure = None
    try:
        run(command, log=log, timeout=TESTS_TIMEOUT, cwd=ROOT)
    except StepFailed as error:
        failure = error
    counts = results.from_junit(report)
    if failure is not None:
        raise TestsFailed(str(failure), counts)
    if counts is None or counts.passed == 0:
        raise TestsFailed(f"pytest ran no test ({log})", counts)
    return counts


def parity(names: list[str]) -> Counts:
    """Run the programs of tests/parity on the wheels in `build/venvs`; what they print must be equal, byte for byte."""
    log = LOGS / "parity.log"
    log.unlink(missing_ok=True)
    outputs: dict[str, str] = {}
    for name in names:
        report = LOGS / f"{name}-parity.json"
        command: Words = [environments.python_of(name), ROOT / "tests" / "parity" / "outputs.py", report]
        run(command, log=log, timeout=TESTS_TIMEOUT, cwd=ROOT)
        outputs |= {f"{label} on {name}": text for label, text in json.loads(report.read_text()).items()}
    differences: list[str] = []
    first: dict[str, str] = {}  # for each program the run that the others are compared with
    failed = 0
    for label, text in outputs.items():
        reference = first.setdefault(label.partition(" ")[0], label)
        if text != outputs[reference] or "exit status" in text:
            failed += 1
            there, here = outputs[reference].splitlines(), text.splitlines()
            differences += [f"{label}:", *difflib.unified_diff(there, here, reference, label, n=1, lineterm="")]
    counts = Counts(passed=len(outputs) - failed, failed=failed)
    if failed:
        raise TestsFailed("\n".join(["programs print different things", *differences]), counts)
    return counts


def compare(names: list[str], *arguments: str) -> Counts:
    """Run `offgil compare` on the wheels in `build/venvs`; all must give the same answers."""
    log, report = LOGS / "compare.log", LOGS / "compare.json"
    log.unlink(missing_ok=True)
    report.unlink(missing_ok=True)
    pythons = [environments.python_of(name) for name in names]
    command: Words = [pythons[0], "-m", "offgil.cli", "compare", "--json", report, *arguments]
    for python in pythons:
        command += ["--python", python]
    failure = None
    try:
        # Not the checkout: `-m` would find the sources before the wheel.
        run(command, log=log, timeout=TESTS_TIMEOUT, cwd=LOGS)
    except StepFailed as error:
        failure = error
    rows = json.loads(report.read_text()) if report.exists() else []
    wrong = sum(bool(row["error"]) or len(row["digests"]) != 1 for row in rows)
    counts = Counts(passed=len(rows) - wrong, failed=wrong)
    if failure is not None:
        raise TestsFailed(str(failure), counts)
    return counts


def build_cpp_tests(variant: str) -> None:
    """Build the C++ tests; `variant` is a key of SANITIZERS."""
    log, folder = LOGS / f"cpp-{variant}.log", BUILD / f"cpp-{variant}"
    log.unlink(missing_ok=True)
    configure: Words = ["cmake", "-G", "Ninja", "-S", ROOT, "-B", folder]
    options = ["-DOFFGIL_CPP_TESTS=ON", f"-DOFFGIL_SANITIZE={SANITIZERS[variant]}"]
    run([*configure, *options], log=log, timeout=CPP_TIMEOUT)
    run(["cmake", "--build", folder], log=log, timeout=CPP_TIMEOUT)


def cpp_tests(variant: str) -> Counts:
    """Build and run the C++ tests."""
    build_cpp_tests(variant)
    log, folder = LOGS / f"cpp-{variant}.log", BUILD / f"cpp-{variant}"
    ctest = ["ctest", "--verbose", "--no-tests=error", "--timeout", str(CPP_TIMEOUT // 3)]
    try:
        run([*_without_aslr(variant), *ctest], log=log, timeout=CPP_TIMEOUT, cwd=folder)
    except StepFailed as error:
        raise TestsFailed(str(error), results.from_doctest(log)) from error
    counts = results.from_doctest(log)
    if counts.passed == 0:
        raise TestsFailed(f"the C++ tests ran no test case ({log})", counts)
    return counts


def _without_aslr(variant: str) -> list[str]:
    """GCC 12's ThreadSanitizer does not start where the kernel randomises more than 28 bits of addresses."""
    setarch = ["setarch", platform.machine(), "-R"]
    if variant != "thread" or shutil.which("setarch") is None:
        return []
    # Containers may forbid it.
    allowed = subprocess.run([*setarch, "true"], capture_output=True, check=False).returncode == 0
    return setarch if allowed else []
