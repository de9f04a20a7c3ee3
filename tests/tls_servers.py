"""Certificates made for the run, and servers on loopback that show them."""

from __future__ import annotations

import contextlib
import functools
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from socket_servers import Peer, ScenarioServer

Script = Callable[[Peer, int], None]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder, filled by the openssl command.

    ``ca.pem`` signed ``server.pem`` and ``expired.pem``, both for 127.0.0.1 with the key ``server.key``; so is
    ``self-signed.pem``.  It also signed ``client.pem`` with ``client.key``, which ``locked.key`` is, too, under the
    password "secret"; ``client-both.pem`` holds certificate and key.
    """
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test CA")
    for name in ("server", "client"):
        openssl("req", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
    for_server = ("x509", "-req", "-in", "server.csr", "-extfile", "names")
    openssl(*for_server, *signing, "-out", "server.pem", "-days", "2")
    openssl(*for_server, *signing, "-out", "expired.pem", "-days", "-1")
    openssl(*for_server, "-signkey", "server.key", "-out", "self-signed.pem", "-days", "2")
    openssl("x509", "-req", "-in", "client.csr", *signing, "-out", "client.pem", "-days", "2")
    openssl("pkey", "-in", "client.key", "-aes256", "-passout", "pass:secret", "-out", "locked.key")
    both = (folder / "client.pem").read_bytes() + (folder / "client.key").read_bytes()
    (folder / "client-both.pem").write_bytes(both)
    return folder


def answer_all(peer: Peer, _: int) -> None:
    while peer.read_request():
        peer.answer()


def over_tls(context: ssl.SSLContext, script: Script, peer: Peer, number: int) -> None:
    """Run ``script`` behind a TLS handshake."""
    plain = peer.sock.dup()
    try:
        peer.sock = context.wrap_socket(peer.sock, server_side=True)
    except (ssl.SSLError, OSError):
        # One side did not like the other.  Closing now, with unread bytes, could overtake the alert that says so.
        with plain, contextlib.suppress(OSError):
            while plain.recv(65536):
                pass
        return
    plain.close()
    with peer.sock:
        script(peer, number)


@pytest.fixture
def serve_tls(serve: Callable[[Script], ScenarioServer], authority: Path) -> Callable[..., ScenarioServer]:
    """Start a server that shows a certificate of ``authority``; by default it answers every request.

    ``prepare`` may change its context before the first connection.
    """

    def start(
        certificate: str = "server.pem",
        script: Script = answer_all,
        prepare: Callable[[ssl.SSLContext], object] = lambda _: None,
    ) -> ScenarioServer:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority / certificate, authority / "server.key")
        prepare(context)
        server = serve(functools.partial(over_tls, context, script))
        server.url = server.url.replace("http://", "https://")
        return server

    return start
