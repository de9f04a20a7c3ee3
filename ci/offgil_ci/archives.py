"""Unpacking source archives, with interpreters of any age."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path


def unpack(archive: Path, folder: Path, wanted: Callable[[str], bool] = lambda _: True) -> None:
    """Extract the members of `archive` whose names are `wanted` into `folder`."""
    with tarfile.open(archive) as source:
        members = [member for member in source if wanted(member.name)]
        # What was downloaded is verified; the filter is for Python's own warning about extracting without one.
        if hasattr(tarfile, "data_filter"):
            source.extractall(folder, members, filter="data")
        else:
            source.extractall(folder, members)
