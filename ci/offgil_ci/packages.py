"""What must come from the system before anything else works: compilers, headers, ensurepip."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable

from offgil_ci.paths import LOGS
from offgil_ci.process import StepFailed, run

# Debian's package names, each with its reason.
EXTENSION = {
    "g++": "C++20 compiler",
    "ninja-build": "build tool",
    "libcurl4-openssl-dev": "libcurl's headers, the network core",
    "libssl-dev": "OpenSSL's headers, one certificate store for all handles",
    "python3-venv": "virtual environments of the system's Python",
    "python3-dev": "headers of the system's Python",
}
CPP_TESTS = {
    "ccache": "compiles nothing twice",
    "cmake": "build of the C++ tests",
    "doctest-dev": "framework of the C++ tests",
    "openssl": "throw-away certificates of the TLS tests",
}
# What pip, ssl, sqlite3, ctypes and the compressors need when CPython is built from source.
INTERPRETER = {
    "gcc": "C compiler",
    "make": "CPython's build tool",
    "pkg-config": "finds the libraries below",
    "libssl-dev": "ssl",
    "zlib1g-dev": "zlib",
    "libbz2-dev": "bz2",
    "liblzma-dev": "lzma",
    "libffi-dev": "ctypes",
    "libsqlite3-dev": "sqlite3",
}

APT_TIMEOUT = 900
_QUIETLY = ("env", "DEBIAN_FRONTEND=noninteractive")


def ensure(*groups: dict[str, str]) -> None:
    """Install what is missing of `groups` with apt; raise StepFailed with the remedy where that cannot be.

    Set OFFGIL_BOOTSTRAP=skip where the same things were installed in another way.
    """
    wanted = {name: reason for group in groups for name, reason in group.items()}
    if os.environ.get("OFFGIL_BOOTSTRAP") == "skip":
        return
    if shutil.which("apt-get") is None or shutil.which("dpkg-query") is None:
        reasons = "\n".join(f"  {name}: {reason}" for name, reason in sorted(wanted.items()))
        raise StepFailed(
            "this system has no apt.  Install the equivalents of these Debian packages, then run again "
            f"with OFFGIL_BOOTSTRAP=skip:\n{reasons}"
        )
    missing = sorted(set(wanted) - _installed(wanted))
    if missing:
        _install(missing)


def _installed(names: Iterable[str]) -> set[str]:
    query = ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *names]
    lines = subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()
    return {line.split()[0] for line in lines if line.endswith(" installed")}


def _install(missing: list[str]) -> None:
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    log = LOGS / "apt.log"
    root = _become_root(" ".join(install))
    print(f"installing with apt: {' '.join(missing)}", file=sys.stderr, flush=True)
    try:
        run([*root, *install], log=log, timeout=APT_TIMEOUT)
    except StepFailed:
        # No list of packages yet, or an old one.
        run([*root, "apt-get", "update"], log=log, timeout=APT_TIMEOUT)
        run([*root, *install], log=log, timeout=APT_TIMEOUT)


def _become_root(command: str) -> list[str]:
    if os.geteuid() == 0:
        return list(_QUIETLY)
    if shutil.which("sudo") is None:
        raise StepFailed(f"this needs root, and there is no sudo.  As root: apt-get update && {command}")
    # `run` gives no terminal to its child, so the password is asked for here, where there is one.
    ask = ["sudo", "--validate"] if sys.stdin.isatty() else ["sudo", "--non-interactive", "true"]
    if subprocess.run(ask, check=False).returncode != 0:
        raise StepFailed(f"sudo was refused.  As root: apt-get update && {command}")
    return ["sudo", "--non-interactive", *_QUIETLY]


def main() -> int:
    """The command ci/bootstrap: install all that the other commands need from the system."""
    try:
        ensure(EXTENSION, CPP_TESTS, INTERPRETER)
    except StepFailed as error:
        print(f"ci/bootstrap: {error}", file=sys.stderr)
        return 1
    return 0
