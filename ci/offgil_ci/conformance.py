"""httpx's own tests over offgil's transports.  They come from httpx's source distribution and are never kept here."""

from __future__ import annotations

import shutil
from pathlib import Path

from offgil_ci import environments, results
from offgil_ci.archives import unpack
from offgil_ci.paths import BUILD, LOGS, ROOT, cache
from offgil_ci.probe import Interpreter
from offgil_ci.process import StepFailed, Words, run
from offgil_ci.results import Counts

VERSION = "0.28.1"
# As that version's own list: newer ones say other things in logs, warnings and guesses.
REQUIREMENTS: tuple[str, ...] = (
    f"httpx[cli,http2,socks]=={VERSION}",
    "pytest==8.3.4",
    "trio==0.27.0",
    "uvicorn==0.32.1",
)
REQUIREMENTS += ("anyio==4.7.0", "chardet==5.2.0", "click==8.1.7", "rich==13.9.4")
# These are compiled, and have no wheels for 3.13t: there the tests that need them are skipped.
COMPILED = ("trustme==1.2.0", "brotli==1.1.0", "zstandard==0.23.0")
TIMEOUT = 300


def run_httpx(interpreter: Interpreter, name: str) -> Counts:
    """Run the suite against the wheel that was built for `interpreter`; raise StepFailed where a test fails."""
    environment = f"{name}-httpx"
    wheel = next((BUILD / "wheels" / name).glob("offgil-*.whl"))
    environments.install(wheel, environment, interpreter, extras="httpx", reuse=True)
    log, report = LOGS / f"{name}-httpx.log", LOGS / f"{name}-httpx.xml"
    log.unlink(missing_ok=True)
    report.unlink(missing_ok=True)
    python = environments.python_of(environment)
    wanted = REQUIREMENTS if name.endswith("t") else REQUIREMENTS + COMPILED
    environments.install_wheels(python, *wanted, log=log)
    command: Words = [python, "-m", "pytest", "-p", "httpx_plugin", "-m", "not network", f"--junitxml={report}"]
    folder = _tests(python, BUILD / "conformance" / name, log)
    try:
        run(command, log=log, timeout=TIMEOUT, cwd=folder, env={"PYTHONPATH": str(ROOT / "tests" / "adapters")})
    except StepFailed as error:
        raise results.TestsFailed(str(error), results.from_junit(report)) from error
    counts = results.from_junit(report)
    if counts is None or counts.passed < 1000:
        raise results.TestsFailed(f"most of httpx's tests did not run ({log})", counts)
    return counts


def _tests(python: Path, folder: Path, log: Path) -> Path:
    """The tests and their configuration, without the package itself, somewhere in `folder`."""
    archive = cache() / "sources" / f"httpx-{VERSION}.tar.gz"
    if not archive.exists():
        download: Words = [python, "-m", "pip", "download", "--no-deps", "--no-binary=httpx", "-d", archive.parent]
        run([*download, f"httpx=={VERSION}"], log=log, timeout=TIMEOUT)
    shutil.rmtree(folder, ignore_errors=True)
    unpack(archive, folder, lambda name: name.split("/")[1] in ("tests", "pyproject.toml"))
    return folder / f"httpx-{VERSION}"
