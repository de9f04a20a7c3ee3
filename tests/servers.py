"""Real servers on 127.0.0.1 that tests talk to."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def mock_server(*options: str) -> Iterator[str]:
    """Run ``offgil mock-server`` with ``options`` in a child process and yield its base URL."""
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
            exit_code = server.wait(30)
        assert exit_code == 0


@dataclass(frozen=True)
class Received:
    path: str
    headers: Message
    body: bytes
    at: float


@dataclass(frozen=True)
class Reply:
    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class ScriptedServer:
    url: str
    received: list[Received]


@contextmanager
def scripted_server(answer: Callable[[Received, int], Reply]) -> Iterator[ScriptedServer]:
    """Answer each POST with ``answer(request, how many came before)``, in a thread of this process."""
    received: list[Received] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one write: no Nagle delay

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            request = Received(self.path, self.headers, body, time.monotonic())
            with lock:
                received.append(request)
                number = len(received) - 1
            reply = answer(request, number)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield ScriptedServer(f"http://127.0.0.1:{server.server_port}", received)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
