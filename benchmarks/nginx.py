"""nginx on loopback, with one worker and a folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_CONFIG = """
worker_processes 1;
daemon off;
pid {home}/pid;
error_log {home}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000000;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location /files/ {{ root {home}; }}
        location / {{ default_type text/plain; return 200 '{text}'; }}
        location /v1/chat/completions {{ default_type application/json; return 200 '{completion}'; }}
    }}
}}
"""

_COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1700000000,
    "model": "mock",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "x" * 600}, "finish_reason": "stop"},
    ],
    "usage": {"prompt_tokens": 20, "completion_tokens": 100, "total_tokens": 120},
}


@contextlib.contextmanager
def nginx(prefix: tuple[str, ...] = ()) -> Iterator[str]:
    """Serve 1 KiB at every path, a chat completion at its own, 1 MiB at /files/mib and 1 GiB at /files/gib.

    Yields the base URL.

    ``prefix`` goes before the command, for instance ``("taskset", "-c", "0")``.
    """
    binary = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if binary is None:
        raise SystemExit("nginx is not installed; on Debian: apt-get install nginx-light")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="offgil-bench-") as home:
        config = Path(home, "nginx.conf")
        config.write_text(_CONFIG.format(home=home, port=port, text="x" * 1024, completion=json.dumps(_COMPLETION)))
        Path(home).chmod(0o755)  # nginx's worker has a user of its own if started by root
        files = Path(home, "files")
        files.mkdir()
        (files / "mib").write_bytes(os.urandom(1 << 20))
        with open(files / "gib", "wb") as gib:
            gib.truncate(1 << 30)
        server = subprocess.Popen([*prefix, binary, "-e", f"{home}/error.log", "-p", home, "-c", str(config)])
        try:
            deadline = time.monotonic() + 10
            while True:
                with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                    break
                if server.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("nginx did not start")
                time.sleep(0.02)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()
