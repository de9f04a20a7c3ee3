"""The README's Python runs as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
NEEDS_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="worker processes need Linux")
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("kind", ["shared", "managed"])
def test_store(kind, monkeypatch, capsys):
    monkeypatch.setenv("OFFGIL_STORE", kind)
    [code] = [block for block in BLOCKS if "open_store" in block]
    exec(compile(code, str(README), "exec"), {})
    assert "('b', 'sooner')" in capsys.readouterr().out


def test_client(serve, capsys):
    def script(peer, _):
        while peer.read_request():
            peer.answer(b'{"ok": true}')

    [code] = [block for block in BLOCKS if "client.map" in block]
    code = code.replace("https://api.example.com", serve(script).url).replace("10_000", "10").replace("…", "key")
    exec(compile(code, str(README), "exec"), {})
    assert capsys.readouterr().out == "200 {'ok': True}\n" * 10


def test_bodies(serve, tmp_path, monkeypatch):
    received = []

    def script(peer, _):
        while request := peer.read_request():
            received.append(request.partition(b"\r\n\r\n")[2])
            peer.answer(b"weights")

    monkeypatch.chdir(tmp_path)
    [code] = [block for block in BLOCKS if "client.download" in block]
    names = {}
    exec(compile(code.replace("https://files.example.com", serve(script).url), str(README), "exec"), names)
    assert received == [b"", b"weights", b"", b"weights", b""]
    assert names["view"] == b"weights"


def test_stream(serve, capsys):
    def script(peer, _):
        peer.read_request()
        peer.answer(b"data: one\n\ndata: two\n\n")

    [code] = [block for block in BLOCKS if "response.raise_for_status().iter_sse" in block]
    exec(compile(code.replace("https://api.example.com", serve(script).url), str(README), "exec"), {})
    assert capsys.readouterr().out == "one\ntwo\n"


def test_asyncio(serve, capsys):
    def script(peer, _):
        while request := peer.read_request():
            peer.answer(b"data: one\n\n" if b"stream" in request else b"{}")

    [code] = [block for block in BLOCKS if "AsyncClient" in block]
    code = code.replace("https://api.example.com", serve(script).url).replace("1000", "20").replace("256", "8")
    exec(compile(code, str(README), "exec"), {})
    assert capsys.readouterr().out == "20\none\n" + "<Response [200 OK]>\n" * 10


def test_sdk(llm, capsys):
    pytest.importorskip("openai", reason="the SDK openai is not installed")
    [code] = [block for block in BLOCKS if "openai.OpenAI" in block]
    code = code.replace("https://api.example.com", llm).replace("1000", "40").replace("…", "key")
    exec(compile(code, str(README), "exec"), {})
    questions = ["What is a square?", *(f"What is {n} times {n}?" for n in range(40))]
    assert capsys.readouterr().out.splitlines() == [f"echo: {question}" for question in questions]


@pytest.mark.parametrize("kind", ["threads", pytest.param("processes", marks=NEEDS_LINUX)])
def test_executor(kind, tmp_path):
    [code] = [block for block in BLOCKS if "offgil.Executor" in block]
    script = tmp_path / "script.py"
    script.write_text(code)
    environment = os.environ | {"OFFGIL_WORKERS": kind}
    done = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout == f"{kind}: OFFGIL_WORKERS asked for it\n45 161700\n45\n"
