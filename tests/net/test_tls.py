"""Certificates are checked, against one store of authorities per client."""

import functools
import re
import ssl
import subprocess
import threading

import pytest

import offgil


def tls_script(context, peer, _):
    try:
        peer.sock = context.wrap_socket(peer.sock, server_side=True)
    except (ssl.SSLError, OSError):
        return  # the client did not like the certificate
    with peer.sock:
        while peer.read_request():
            peer.answer()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A CA, certificates of it for 127.0.0.1, one of them expired, and a self-signed one; by the openssl command."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test CA")
    openssl("req", *new_key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=server")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
    openssl("x509", "-req", "-in", "server.csr", *signing, "-out", "server.pem", "-days", "2")
    openssl("x509", "-req", "-in", "server.csr", *signing, "-out", "expired.pem", "-days", "-1")
    own_key = ("-signkey", "server.key", "-extfile", "names")
    openssl("x509", "-req", "-in", "server.csr", *own_key, "-out", "self-signed.pem", "-days", "2")
    return folder


@pytest.fixture
def serve_tls(serve, authority):
    """Start a server that shows a certificate of ``authority`` and answers every request."""

    def start(certificate):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority / certificate, authority / "server.key")
        server = serve(functools.partial(tls_script, context))
        server.url = server.url.replace("http://", "https://")
        return server

    return start


@pytest.fixture
def tls_server(serve_tls):
    """The URL of a server whose certificate is in order."""
    return serve_tls("server.pem").url


@pytest.mark.parametrize(("certificate", "reason"), [("expired.pem", "expired"), ("self-signed.pem", "self.signed")])
@pytest.mark.parametrize("many", [False, True])
def test_a_certificate_in_disorder_is_refused(serve_tls, authority, certificate, reason, many):
    url = serve_tls(certificate).url
    with offgil.Client(verify=str(authority / "ca.pem")) as client:
        for _ in range(2):  # what failed once is not trusted the second time
            if many:
                [outcome] = client.map([url])
                assert type(outcome) is offgil.ConnectError
                assert re.search(reason, str(outcome))
            else:
                with pytest.raises(offgil.ConnectError, match=reason):
                    client.get(url)
        assert client.get(serve_tls("server.pem").url).content == b"ok"


def test_session_tickets_do_not_spoil_a_kept_connection(serve_tls, authority):
    server = serve_tls("server.pem")
    with offgil.Client(verify=str(authority / "ca.pem")) as client:
        for _ in range(5):
            client.get(server.url)
    assert server.connections == 1


def test_an_unknown_authority_is_refused(tls_server):
    with offgil.Client() as client, pytest.raises(offgil.ConnectError, match="certificate"):
        client.get(tls_server)


def test_a_wrong_host_name_is_refused(tls_server, authority):
    with offgil.Client(verify=str(authority / "ca.pem")) as client, pytest.raises(offgil.ConnectError):
        client.get(tls_server.replace("127.0.0.1", "localhost"))


def test_a_bundle_of_ones_own(tls_server, authority):
    with offgil.Client(verify=str(authority / "ca.pem")) as client:
        assert client.get(tls_server).content == b"ok"
        assert [outcome.content for outcome in client.map([tls_server] * 5, concurrency=2)] == [b"ok"] * 5


def test_no_verification(tls_server):
    with offgil.Client(verify=False) as client:
        assert client.get(tls_server).content == b"ok"


def test_a_bundle_that_is_not_there(tls_server, tmp_path):
    with offgil.Client(verify=str(tmp_path / "nothing.pem")) as client, pytest.raises(offgil.ConnectError):
        client.get(tls_server)


def test_the_bundle_is_parsed_once_for_all_threads(tls_server, authority, tmp_path, barrier_threads):
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes((authority / "ca.pem").read_bytes())
    with offgil.Client(verify=str(bundle)) as client:
        client.get(tls_server)
        bundle.unlink()
        inside = threading.Barrier(4)

        def work(_):
            inside.wait()  # all at once, so that each thread needs a connection of its own
            return client.get(tls_server).content

        assert barrier_threads(4, work) == [b"ok"] * 4
