"""Real servers that tests talk to, each in a child process on 127.0.0.1."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def mock_server(*options: str) -> Iterator[str]:
    """Run ``offgil mock-server`` with ``options`` and yield its base URL."""
    with TemporaryDirectory() as folder:
        ready = Path(folder, "url")
        command = [sys.executable, "-m", "offgil.cli", "mock-server", "--ready-file", str(ready), *options]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            for _ in range(600):
                if ready.exists() or server.poll() is not None:
                    break
                time.sleep(0.05)
            assert ready.exists(), f"the mock server did not start (exit code {server.poll()})"
            yield ready.read_text().strip()
        finally:
            server.terminate()
            assert server.wait(30) == 0
