"""Real servers on loopback: one that answers anything, and one that plays a script byte by byte."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class EchoHandler(BaseHTTPRequestHandler):
    """Answers any request with what it was, as JSON."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one write

    def answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        self.server.note_request(self.client_address)
        document = {
            "method": self.command,
            "target": self.path,
            "headers": [list(item) for item in self.headers.items()],
            "body": body.decode("utf-8", "surrogateescape"),
            "port": self.client_address[1],
        }
        payload = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.send_header("X-Twice", "one")
        self.send_header("x-twice", "two")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_HEAD = answer

    def log_message(self, *_: object) -> None:
        pass


class EchoServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), EchoHandler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.ports: set[int] = set()
        self.requests = 0
        self._lock = threading.Lock()

    def note_request(self, client: tuple[str, int]) -> None:
        with self._lock:
            self.ports.add(client[1])
            self.requests += 1


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    server = EchoServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class Peer:
    """One accepted connection in the hands of a script."""

    def __init__(self, sock: socket.socket, stop: threading.Event) -> None:
        self.sock = sock
        self.stop = stop

    def read_request(self) -> bytes:
        """Read one head and its body; empty bytes if the client went away."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self.sock.recv(65536)
            if not piece:
                return b""
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        fields = head.lower()
        if b"\r\ntransfer-encoding: chunked" in fields:
            body = self._read_chunks(body)
        elif (at := fields.find(b"\r\ncontent-length:")) >= 0:
            size = int(fields[at:].split(b"\r\n")[1].split(b":")[1])
            while len(body) < size:
                body += self.more()
        return head + b"\r\n\r\n" + body

    def _read_chunks(self, data: bytes) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in data:
                data += self.more()
            size, _, data = data.partition(b"\r\n")
            end = int(size, 16)
            while len(data) < end + 2:
                data += self.more()
            body, data = body + data[:end], data[end + 2 :]
            if not end:
                return body

    def more(self) -> bytes:
        """Read what is there of a request that has begun."""
        piece = self.sock.recv(1 << 18)
        if not piece:
            raise ConnectionResetError("the client left within a body")
        return piece

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self, body: bytes = b"ok", *, head: bytes = b"") -> None:
        self.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s" % (len(body), head, body))

    def stall(self) -> None:
        """Say nothing until the test is over."""
        self.stop.wait()


class ScenarioServer:
    """Runs ``script(peer, number)`` on a thread for each connection; numbers count from 0."""

    def __init__(self, script: Callable[[Peer, int], None], listener: socket.socket | None = None) -> None:
        self.script = script
        self.connections = 0
        self.stop = threading.Event()
        self.listener = listener or socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = "" if listener else f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.threads: list[threading.Thread] = []
        self.acceptor = threading.Thread(target=self._accept)
        self.acceptor.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            number = self.connections
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(sock, number))
            self.threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        # The client may hang up first, as some tests want.
        with sock, contextlib.suppress(ConnectionError):
            self.script(Peer(sock, self.stop), number)

    def close(self) -> None:
        self.stop.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.acceptor.join()
        for thread in self.threads:
            thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[Peer, int], None]], ScenarioServer]]:
    servers: list[ScenarioServer] = []

    def start(script: Callable[[Peer, int], None]) -> ScenarioServer:
        servers.append(ScenarioServer(script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
