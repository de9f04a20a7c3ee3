"""nginx on loopback, with one worker and a folder of its own."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_CONFIG = """
worker_processes 1;
daemon off;
pid {home}/pid;
error_log {home}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    sendfile on;
    ssl_certificate {home}/cert.pem;
    ssl_certificate_key {home}/key.pem;
    ssl_protocols TLSv1.3;
    server {{
        listen 127.0.0.1:{ports[0]} backlog=4096;
        listen 127.0.0.1:{ports[1]} backlog=4096 ssl;
        listen 127.0.0.1:{ports[2]} backlog=4096 ssl http2;
        root {home};
        location = /1MiB {{ default_type application/octet-stream; }}
        location = /1GiB {{ default_type application/octet-stream; }}
        location / {{ default_type text/plain; return 200 '{text}'; }}
        location /backend/ {{
            proxy_pass {backend}/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
        location /v1/chat/completions {{ default_type application/json; return 200 '{completion}'; }}
    }}
}}
"""

# Some clients do not take a certificate for a server that is its own authority.
_CERTIFICATES = """
key="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
openssl req -x509 $key -keyout ca-key.pem -out ca.pem -days 2 -subj /CN=benchmark -addext keyUsage=keyCertSign
openssl req $key -keyout key.pem -out request.pem -subj /CN=127.0.0.1
echo subjectAltName=IP:127.0.0.1 > names
openssl x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -days 2 -extfile names -out cert.pem
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


@dataclass(frozen=True)
class Nginx:
    """A running server: a base URL for each protocol, and the authority that vouches for it."""

    http: str
    https: str  # HTTP/1.1 over TLS 1.3
    http2: str
    ca: str


@contextlib.contextmanager
def nginx(prefix: tuple[str, ...] = (), backend: str = "http://127.0.0.1:9") -> Iterator[Nginx]:
    """Serve 1 KiB at every path, a chat completion, ``/1MiB`` and ``/1GiB`` (of zeros) at their own.

    ``/backend/`` is passed on to ``backend``, and its answers come piece by piece.
    ``prefix`` goes before the command, for instance ``("taskset", "-c", "0")``.
    """
    binary = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if binary is None:
        raise SystemExit("nginx is not installed; on Debian: apt-get install nginx-light")
    with contextlib.ExitStack() as probes:
        sockets = [probes.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        ports = [probe.getsockname()[1] for probe in sockets]
    with tempfile.TemporaryDirectory(prefix="offgil-bench-") as home:
        config = Path(home, "nginx.conf")
        texts = {"text": "x" * 1024, "completion": json.dumps(_COMPLETION)}
        config.write_text(_CONFIG.format(home=home, ports=ports, backend=backend, **texts))
        Path(home).chmod(0o755)  # its worker is another user
        subprocess.run(["sh", "-ec", _CERTIFICATES], cwd=home, check=True, stderr=subprocess.DEVNULL)
        for name, size in (("1MiB", 1 << 20), ("1GiB", 1 << 30)):
            with Path(home, name).open("wb") as file:
                file.truncate(size)
        server = subprocess.Popen([*prefix, binary, "-e", f"{home}/error.log", "-p", home, "-c", str(config)])
        try:
            deadline = time.monotonic() + 10
            while True:
                with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", ports[0])):
                    break
                if server.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("nginx did not start")
                time.sleep(0.02)
            http, https, http2 = (f"127.0.0.1:{port}" for port in ports)
            yield Nginx(f"http://{http}", f"https://{https}", f"https://{http2}", f"{home}/ca.pem")
        finally:
            server.terminate()
            server.wait()
