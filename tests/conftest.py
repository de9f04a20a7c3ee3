"""What several folders of tests use."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

# An extension module of today's shape that says nothing about the GIL, as most written before 3.13.
NEEDS_GIL = """
#include <Python.h>
static PyModuleDef_Slot slots[] = {{0, NULL}};
static struct PyModuleDef def = {PyModuleDef_HEAD_INIT, "needs_gil", NULL, 0, NULL, slots, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_needs_gil(void) { return PyModuleDef_Init(&def); }
"""


@pytest.fixture(scope="session")
def gil_module(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of an extension module, ``needs_gil``, that turns the GIL on where it is off."""
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")
    headers = Path(sysconfig.get_path("include"))
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"no C compiler: {compiler[0]} is not on PATH")
    if not (headers / "Python.h").exists():
        pytest.skip(f"this interpreter has no headers in {headers}")
    folder = tmp_path_factory.mktemp("extension")
    source = folder / "needs_gil.c"
    source.write_text(NEEDS_GIL)
    target = folder / f"needs_gil{sysconfig.get_config_var('EXT_SUFFIX')}"
    subprocess.run(
        [*compiler, "-shared", "-fPIC", f"-I{headers}", str(source), "-o", str(target)], check=True, timeout=120
    )
    return str(target)
