"""verify=, cert= and what is read of an SSLContext."""

import ssl
import subprocess

import pytest

import offgil


@pytest.fixture
def context(authority):
    context = ssl.create_default_context(cafile=str(authority / "ca.pem"))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # which the test's authority does not stand
    return context


def test_a_file_and_a_context(package, serve_tls, authority, context):
    server = serve_tls()
    for verify in (str(authority / "ca.pem"), context, False):
        with package.client(verify=verify) as client:
            assert client.get(server.url).content == b"ok"
    with package.client() as client, pytest.raises(package.module.ConnectError):
        client.get(server.url)


def test_the_environment_names_authorities(blocking, serve_tls, authority, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))
    server = serve_tls()
    with blocking.client() as client:
        assert client.get(server.url).content == b"ok"
    with blocking.client(trust_env=False) as client, pytest.raises(blocking.module.ConnectError):
        client.get(server.url)


def test_a_folder_of_authorities(blocking, serve_tls, authority, tmp_path):
    (tmp_path / "ca.pem").write_bytes((authority / "ca.pem").read_bytes())
    subprocess.run(["openssl", "rehash", str(tmp_path)], check=True, capture_output=True)
    with blocking.client(verify=str(tmp_path)) as client:
        assert client.get(serve_tls().url).content == b"ok"


def test_flags_are_taken_over(blocking, serve_tls, context):
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with blocking.client(verify=context) as client, pytest.raises(blocking.module.ConnectError, match="key usage"):
        client.get(serve_tls().url)


def test_a_single_certificate_is_no_authority(blocking, authority):
    context = ssl.create_default_context(cafile=str(authority / "self-signed.pem"))
    with pytest.raises(offgil.errors.UnusableSSLContext, match="no authorities"):
        blocking.transport(verify=context)


def test_another_authority(blocking, serve_tls):
    context = ssl.create_default_context()
    with blocking.client(verify=context) as client, pytest.raises(blocking.module.ConnectError):
        client.get(serve_tls().url)


def test_the_host_name_is_checked_unless_the_context_says_otherwise(blocking, serve_tls, context):
    url = serve_tls().url.replace("127.0.0.1", "localhost")
    with blocking.client(verify=context) as client, pytest.raises(blocking.module.ConnectError):
        client.get(url)
    context.check_hostname = False
    with blocking.client(verify=context) as client:
        assert client.get(url).content == b"ok"
        with pytest.raises(blocking.module.ConnectError):
            client.get(serve_tls("expired.pem").url)
    context.verify_mode = ssl.CERT_NONE
    with blocking.client(verify=context) as client:
        assert client.get(serve_tls("expired.pem").url).content == b"ok"


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_versions(package, serve_tls, context, version):
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with package.client(verify=context) as client:
        stream = client.get(serve_tls().url).extensions["network_stream"]
    session = stream.get_extra_info("ssl_object")
    assert session.version() == version.replace("_", ".")
    assert session.cipher()[2] >= 128


def test_the_session(blocking, serve_tls, context, authority):
    with blocking.client(verify=context) as client:
        session = client.get(serve_tls().url).extensions["network_stream"].get_extra_info("ssl_object")
    assert session.selected_alpn_protocol() is None
    der = ssl.PEM_cert_to_DER_cert((authority / "server.pem").read_text())
    assert session.getpeercert(binary_form=True) == der
    with pytest.raises(NotImplementedError, match="binary_form"):
        session.getpeercert()


def test_a_certificate_of_the_client(package, serve_tls, authority, context):
    def demand(server):
        server.verify_mode = ssl.CERT_REQUIRED
        server.load_verify_locations(authority / "ca.pem")

    server = serve_tls(prepare=demand)
    both = (str(authority / "client.pem"), str(authority / "client.key"))
    with package.client(verify=context, cert=both) as client:
        assert client.get(server.url).content == b"ok"
    with package.client(verify=context) as client, pytest.raises(package.module.TransportError):
        client.get(server.url)


def test_another_name_for_tls(package, serve_tls, context):
    names = []

    def listen(server):
        server.sni_callback = lambda _, name, __: names.append(name)

    context.check_hostname = False
    url = serve_tls(prepare=listen).url
    with package.client(verify=context) as client:
        response = client.get(url, extensions={"sni_hostname": "other.example"})
    assert names == ["other.example"]
    assert response.url == url


def test_a_truststore_context_stands_for_the_system(blocking, serve_tls):
    truststore = pytest.importorskip("truststore", reason="truststore is not installed")
    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with blocking.client(verify=context) as client, pytest.raises(blocking.module.ConnectError):
        client.get(serve_tls().url)


def empty(_):
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def servers(context):
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


def ciphers(context):
    context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")


def revocation(context):
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def handshake(context):
    context.post_handshake_auth = True


def gap(context):
    context.minimum_version = ssl.TLSVersion.TLSv1_1
    context.options |= ssl.OP_NO_TLSv1_2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("change", [empty, servers, ciphers, revocation, handshake, gap])
def test_what_cannot_be_honoured(blocking, context, change):
    context = change(context) or context
    with pytest.raises(offgil.errors.UnusableSSLContext, match="SSLContext"):
        blocking.transport(verify=context)


def test_a_key_log(blocking, context, tmp_path):
    context.keylog_filename = str(tmp_path / "keys")
    with pytest.raises(offgil.errors.UnusableSSLContext, match="SSLKEYLOGFILE"):
        blocking.transport(verify=context)


def test_a_proxy_with_a_context_of_its_own(blocking, context):
    proxy = blocking.module.Proxy("https://127.0.0.1:1", ssl_context=context)
    with pytest.raises(ValueError, match="ssl_context"):
        blocking.transport(proxy=proxy)
