"""Build CPython, and keep the builds in the user's cache folder.

Both interpreters of a pair come from one tarball with equal flags, so that a comparison of the two
compares the GIL and nothing else.  They are built as releases, but without profile-guided optimisation,
which runs CPython's test suite on the way: two and a half minutes each on two cores would become many.

A build is made under a temporary name and renamed when it is whole, so a folder that has its final
name is complete, whatever was killed when.  One lock keeps concurrent runs from building twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from offgil_ci import debian_source, packages, paths
from offgil_ci.archives import unpack
from offgil_ci.probe import Interpreter, probe
from offgil_ci.process import StepFailed, run

FLAGS = ("--disable-test-modules", "--with-ensurepip=install")
FREE_THREADED = "--disable-gil"
# Of the standard library's test package only what our own tests run; the whole would double the build.
TEST_PARTS = ("__init__.py", "mapping_tests.py", "support", "test_concurrent_futures")
STEP_TIMEOUT = 2400
_KEY = hashlib.sha256(" ".join(FLAGS + TEST_PARTS).encode()).hexdigest()[:8]


def folder() -> Path:
    """Where the builds are."""
    return paths.cache() / "interpreters"


def cached(series: str) -> list[Interpreter]:
    """The builds of `series` ("3.13t"), newest first."""
    found = []
    suffix = "t" if series.endswith("t") else "[0-9]"
    for home in folder().glob(f"{series.rstrip('t')}.*{suffix}-{_KEY}"):
        interpreter = probe(home / "bin" / f"python{series}", "cached build")
        if interpreter and interpreter.series == series:
            found.append(interpreter)
    return sorted(found, key=lambda build: [int(part) for part in build.version.split(".")], reverse=True)


def build(series: list[str], *, believe_refusal: bool = False) -> list[Interpreter]:
    """Build what is asked for (all of one minor version: ["3.13", "3.13t"]) from one tarball."""
    with _lock():
        package = f"python{series[0].rstrip('t')}"
        log = folder() / "logs" / f"{package}-source.log"
        tarball = debian_source.fetch(package, folder() / "source", log, believe_refusal=believe_refusal)
        match = re.search(r"_([\d.]+)\.orig", tarball.name)
        if match is None or not tarball.exists():
            raise StepFailed(f"apt downloaded {package}, but not as {tarball.name} ({log})")
        packages.ensure(packages.INTERPRETER)
        return [_build_one(tarball, match.group(1), name.endswith("t")) for name in series]


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    folder().mkdir(parents=True, exist_ok=True)
    with (folder() / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another run builds an interpreter; waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        # We hold the lock, so what a killed run left half-made is nobody's.
        for rest in folder().glob(".building-*"):
            # Its make may still be at it.
            shutil.rmtree(rest, ignore_errors=True)
        yield


def _build_one(tarball: Path, version: str, free_threaded: bool) -> Interpreter:
    name = version + ("t" if free_threaded else "")
    series = ".".join(version.split(".")[:2]) + ("t" if free_threaded else "")
    home = folder() / f"{name}-{_KEY}"
    executable = home / "bin" / f"python{series}"
    if not executable.exists():
        _make(tarball, name, home, free_threaded)
    interpreter = probe(executable, "built from Debian's source package")
    if interpreter is None or interpreter.free_threaded != free_threaded:
        raise StepFailed(
            f"{executable} does not work, or lacks ssl, sqlite3, ctypes or zlib.  Look at the logs in "
            f"{folder() / 'logs'}, remove {home} and run ci/interpreters again"
        )
    return interpreter


def _make(tarball: Path, name: str, home: Path, free_threaded: bool) -> None:
    work = Path(tempfile.mkdtemp(prefix=".building-", dir=folder()))
    log = folder() / "logs" / f"{name}.log"
    started = time.monotonic()
    print(f"building CPython {name} (some minutes, once; log: {log})", file=sys.stderr, flush=True)
    unpack(tarball, work)
    (source,) = work.iterdir()
    flags = [*FLAGS, FREE_THREADED] if free_threaded else list(FLAGS)
    log.unlink(missing_ok=True)
    run(["./configure", f"--prefix={home}", *flags], log=log, timeout=STEP_TIMEOUT, cwd=source)
    run(["make", f"-j{os.cpu_count() or 1}"], log=log, timeout=STEP_TIMEOUT, cwd=source)
    staging = work / "staging"
    run(["make", "install", f"DESTDIR={staging}"], log=log, timeout=STEP_TIMEOUT, cwd=source)
    _install_tests(source, staging / home.relative_to("/"))
    shutil.rmtree(home, ignore_errors=True)
    (staging / home.relative_to("/")).rename(home)
    shutil.rmtree(work)
    print(f"built {home} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def _install_tests(source: Path, prefix: Path) -> None:
    (library,) = (prefix / "lib").glob("python3.*")
    (library / "test").mkdir(exist_ok=True)
    for part in TEST_PARTS:
        origin, target = source / "Lib" / "test" / part, library / "test" / part
        if origin.is_dir():
            shutil.copytree(origin, target, dirs_exist_ok=True)
        else:
            shutil.copy(origin, target)
