"""Certificates are checked, against one store of authorities per client."""

import re
import ssl
import threading

import pytest

import offgil


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
    said = "subject name matches target host ?name 'localhost'"
    with offgil.Client(verify=str(authority / "ca.pem")) as client, pytest.raises(offgil.ConnectError, match=said):
        client.get(tls_server.replace("127.0.0.1", "localhost"))


def test_a_bundle_of_ones_own(tls_server, authority):
    with offgil.Client(verify=str(authority / "ca.pem")) as client:
        assert client.get(tls_server).content == b"ok"
        assert [outcome.content for outcome in client.map([tls_server] * 5, concurrency=2)] == [b"ok"] * 5


def test_one_certificate_that_is_trusted_for_itself(tls_server, authority):
    with offgil.Client(verify=authority / "server.pem") as client:
        assert client.get(tls_server).content == b"ok"


def test_a_bundle_that_is_replaced(tls_server, authority, tmp_path):
    bundle = tmp_path / "bundle.pem"
    for name, good in (("ca.pem", True), ("client.pem", False), ("ca.pem", True)):
        bundle.write_bytes((authority / name).read_bytes())
        with offgil.Client(verify=bundle) as client:
            if good:
                assert client.get(tls_server).content == b"ok"
            else:
                with pytest.raises(offgil.ConnectError, match="certificate"):
                    client.get(tls_server)


def test_no_verification(tls_server):
    with offgil.Client(verify=False) as client:
        assert client.get(tls_server).content == b"ok"


def test_a_bundle_that_is_not_there(tls_server, tmp_path):
    for name, reason in (("nothing.pem", "No such file"), ("x" * 300, "too long")):
        with pytest.raises(offgil.UnusableCertificate, match=f"{name}': .*{reason}"):
            offgil.Client(verify=tmp_path / name)


def test_a_bundle_that_is_there_no_longer(tls_server, tmp_path):
    bundle = tmp_path / "bundle.pem"
    for name in ("empty", "nothing", "bundle.pem"):  # a link to itself, in the end
        bundle.touch()
        with offgil.Client(verify=bundle) as client:
            bundle.unlink()
            if name == "empty":
                bundle.touch()
            elif name == "bundle.pem":
                bundle.symlink_to(name)
            with pytest.raises(offgil.ConnectError, match=r"bundle\.pem"):
                client.get(tls_server)
        bundle.unlink(missing_ok=True)


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


@pytest.mark.parametrize(
    "cert",
    [("client.pem", "client.key"), ("client.pem", "locked.key", "secret"), "client-both.pem"],
    ids=["chain and key", "locked key", "one file"],
)
def test_a_certificate_of_the_client(serve_tls, authority, cert):
    shown = []

    def script(peer, _):
        shown.append(peer.sock.getpeercert())
        while peer.read_request():
            peer.answer()

    def ask(context):
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority / "ca.pem")

    url = serve_tls(script=script, prepare=ask).url
    path, *password = ([cert], "") if isinstance(cert, str) else (cert[:2], *cert[2:])
    paths = [authority / name for name in path]
    given = paths[0] if isinstance(cert, str) else (*paths, *password)
    with offgil.Client(verify=authority / "ca.pem", cert=given) as client:
        assert client.get(url).content == b"ok"
        assert [answer.content for answer in client.map([url])] == [b"ok"]
    assert [certificate["subject"] for certificate in shown] == [((("commonName", "client"),),)] * 2


def test_a_server_that_wants_a_certificate_says_so(serve_tls, authority):
    def ask(context):
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority / "ca.pem")

    url = serve_tls(prepare=ask).url
    with offgil.Client(verify=str(authority / "ca.pem")) as client:
        with pytest.raises(offgil.NetworkError, match="certificate required"):
            client.get(url)
        with pytest.raises(offgil.NetworkError, match="certificate required"):
            client.post(url, content=b"x")


@pytest.mark.parametrize(
    ("cert", "reason"),
    [
        (("nothing.pem", "client.key"), r"nothing\.pem: No such file"),
        (("client.pem", "nothing.key"), r"nothing\.key: No such file"),
        (("names", "client.key"), "names: no start line"),
        (("client.pem", "client.pem"), "client.pem: "),
        (("client.pem", "server.key"), "server.key: key values mismatch"),
        (("client.pem", "locked.key"), "locked.key: "),
        (("client.pem", "locked.key", "wrong"), "locked.key: "),
    ],
)
def test_an_unusable_certificate_is_refused_at_once(authority, cert, reason):
    with pytest.raises(offgil.UnusableCertificate, match=reason) as caught:
        offgil.Client(cert=(str(authority / cert[0]), str(authority / cert[1]), *cert[2:]))
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize("cert", [b"client.pem", ("client.pem",), ("a", "b", "c", "d"), 1])
def test_a_certificate_of_another_shape(cert):
    with pytest.raises(TypeError):
        offgil.Client(cert=cert)


@pytest.mark.parametrize(
    ("server", "bounds", "fits"),
    [
        (("TLSv1_2", "TLSv1_2"), {}, True),
        (("TLSv1_2", "TLSv1_2"), {"tls_min": "1.3"}, False),
        (("TLSv1_3", "TLSv1_3"), {"tls_max": "1.2"}, False),
        (("TLSv1_3", "TLSv1_3"), {"tls_min": "1.3", "tls_max": "1.3"}, True),
    ],
)
def test_versions_of_tls(serve_tls, authority, server, bounds, fits):
    spoken = []

    def script(peer, _):
        spoken.append(peer.sock.version())
        peer.read_request()
        peer.answer()

    def limit(context):
        context.minimum_version, context.maximum_version = (ssl.TLSVersion[name] for name in server)

    url = serve_tls(script=script, prepare=limit).url
    with offgil.Client(verify=str(authority / "ca.pem"), **bounds) as client:
        if fits:
            assert client.get(url).content == b"ok"
            assert spoken == [server[0].replace("_", ".")]
        else:
            with pytest.raises(offgil.ConnectError, match="version"):
                client.get(url)


@pytest.mark.parametrize(
    "bounds", [{"tls_min": "1.4"}, {"tls_min": None}, {"tls_max": 1.2}, {"tls_min": "1.3", "tls_max": "1.2"}]
)
def test_versions_that_do_not_exist(bounds):
    with pytest.raises(ValueError, match="tls_m"):
        offgil.Client(**bounds)
