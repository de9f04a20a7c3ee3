"""Where things lie: the checkout, what is built in it, and what outlives it in the user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
LOGS = BUILD / "ci-logs"
# Environments belong to the checkout: two checkouts never install into one another's, and deleting
# the folder deletes them.  Interpreters cost minutes, so they are shared by all checkouts.
VENVS = BUILD / "venvs"


def cache() -> Path:
    """The user's cache folder of this project."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "offgil"
