"""Virtual environments and the wheel.

Two environments per interpreter, both in `build/venvs`: NAME-build has the build tools and is kept, so that
the second build of a wheel is incremental; NAME has the wheel and what its tests need, and nothing else,
so that a forgotten dependency shows.
"""

from __future__ import annotations

import hashlib
import shutil
import tomllib
from pathlib import Path

from offgil_ci.paths import BUILD, LOGS, ROOT, VENVS
from offgil_ci.probe import Interpreter
from offgil_ci.process import StepFailed, Words, run

TIMEOUT = 900
# Beside pyproject.toml's [build-system] these two: without build isolation nobody else installs them.
_BUILD_TOOLS = ("cmake>=3.30", "ninja")


def python_of(environment: str) -> Path:
    """The interpreter of `build/venvs/environment`."""
    return VENVS / environment / "bin" / "python"


def create(environment: str, interpreter: Interpreter, *, reuse: bool) -> Path:
    """Make an environment; with reuse=True keep one of the same interpreter.  Returns its python."""
    home = VENVS / environment
    stamp = home / "offgil-interpreter"
    identity = f"{interpreter.path} {interpreter.version}\n"
    if not (reuse and stamp.exists() and stamp.read_text() == identity):
        shutil.rmtree(home, ignore_errors=True)
        run([interpreter.path, "-m", "venv", home], log=LOGS / f"{environment}-venv.log", timeout=TIMEOUT)
        stamp.write_text(identity)
    return python_of(environment)


def build_wheel(interpreter: Interpreter, name: str) -> Path:
    """Build the wheel for `interpreter`; raise StepFailed with the compiler's output."""
    log = LOGS / f"{name}-wheel.log"
    log.unlink(missing_ok=True)
    python = create(f"{name}-build", interpreter, reuse=True)
    _install_build_tools(python, log)
    folder = BUILD / "wheels" / name
    shutil.rmtree(folder, ignore_errors=True)
    # A build folder of its own per interpreter: two of one wheel tag (3.13.0 and 3.13.15) must not share one.
    build_folder = f"--config-settings=build-dir={BUILD / f'extension-{name}'}"
    command: Words = [python, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    run([*command, build_folder, "-w", folder, ROOT], log=log, timeout=TIMEOUT)
    wheels = list(folder.glob("offgil-*.whl"))
    if len(wheels) != 1:
        raise StepFailed(f"expected one wheel in {folder}, found {len(wheels)} ({log})")
    return wheels[0]


def _install_build_tools(python: Path, log: Path) -> None:
    """Install pyproject.toml's build requirements, unless this environment has these very ones."""
    project = ROOT / "pyproject.toml"
    stamp = python.parent.parent / "offgil-build-tools"
    identity = hashlib.sha256(project.read_bytes() + repr(_BUILD_TOOLS).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == identity:
        return
    requires = tomllib.loads(project.read_text())["build-system"]["requires"]
    run([python, "-m", "pip", "install", *_BUILD_TOOLS, *requires], log=log, timeout=TIMEOUT)
    stamp.write_text(identity)


def install(wheel: Path, environment: str, interpreter: Interpreter, *, extras: str, reuse: bool) -> Path:
    """Install the wheel with `extras` into an environment and prove that it is what gets imported."""
    log = LOGS / f"{environment}-install.log"
    log.unlink(missing_ok=True)
    python = create(environment, interpreter, reuse=reuse)
    install_wheels(python, f"{wheel}[{extras}]", log=log)
    if reuse:
        # pip takes a wheel of the same version for installed.
        install_wheels(python, "--no-deps", "--force-reinstall", wheel, log=log)
    check = "import sys, offgil._core; sys.exit(not offgil._core.__file__.startswith(sys.prefix))"
    run([python, "-c", check], log=log, timeout=60, cwd=ROOT)
    return python


def install_wheels(python: Path, *words: str | Path, log: Path) -> None:
    """Let pip install what `words` say, from wheels only: an old interpreter (3.13t) gets the last version that has
    one, not a new one to compile.
    """
    run([python, "-m", "pip", "install", "--only-binary=:all:", *words], log=log, timeout=TIMEOUT)
