"""The examples run as they stand, against the mock server."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
SQUARES = [f"echo: What is {n} times {n}?" for n in range(100)]
TICKETS = ["The printer is on fire.", "Where do I find the manual of the kettle?"]


@pytest.mark.parametrize(
    ("name", "needs", "lines"),
    [
        ("openai_threads", "openai", ["echo: What is a square?", *SQUARES]),
        ("anthropic_asyncio", "anthropic", [*SQUARES, "echo: Count to twenty."]),
        ("structured_output", "openai", [f"low ['{text}'] {text}" for text in TICKETS]),
    ],
)
def test_example(llm, name, needs, lines):
    pytest.importorskip(needs, reason=f"the SDK {needs} is not installed")
    servers = {"OPENAI_BASE_URL": f"{llm}/v1", "ANTHROPIC_BASE_URL": llm}
    environment = os.environ | servers | {"OPENAI_API_KEY": "any", "ANTHROPIC_API_KEY": "any"}
    command = [sys.executable, EXAMPLES / f"{name}.py"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout.splitlines() == lines
