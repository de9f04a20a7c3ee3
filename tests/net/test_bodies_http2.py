"""Bodies over HTTP/2: uploads without a length, with one, from a file, and downloads."""

import pytest

import offgil
from http2_servers import Http2Script
from offgil import CancelToken, Client, Request, Timeout

BIG = bytes(range(256)) * 4096  # 1 MiB: more than the server's windows


@pytest.fixture
def script():
    return Http2Script(lambda stream: stream.answer(stream.body))


@pytest.fixture
def client(serve, script):
    with Client(base_url=serve(script).url, http2="prior-knowledge") as client:
        yield client


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "body"
    path.write_bytes(BIG)
    return path


@pytest.mark.parametrize("pieces", [[], [b"one", b"", b"two"], [BIG, b"x", BIG]], ids=["nothing", "small", "large"])
@pytest.mark.parametrize("announced", [False, True])
def test_an_iterable(client, script, pieces, announced):
    whole = b"".join(pieces)
    headers = {"Content-Length": str(len(whole))} if announced else {}
    response = client.post("/", content=iter(pieces), headers=headers)
    assert response.http_version == "HTTP/2"
    assert response.content == whole
    [request] = script.requests
    assert dict(request.headers).get("content-length") == (str(len(whole)) if announced else None)
    assert "transfer-encoding" not in dict(request.headers)


def test_files_of_many_requests(client, path):
    with open(path, "rb") as file:
        answers = list(client.map([Request("POST", "/", content=file)] * 8, concurrency=8))
    assert [answer.content for answer in answers] == [BIG] * 8


def test_what_ends_an_upload_leaves_the_client_healthy(client):
    token = CancelToken()

    def raising():
        yield b"some"
        raise LookupError("mine")

    def cancelling():
        yield b"some"
        token.cancel()
        yield b"more"

    with pytest.raises(LookupError):
        client.post("/", content=raising())
    with pytest.raises(offgil.Cancelled):
        client.post("/", content=cancelling(), cancel=token)
    for length in (3, 5):
        with pytest.raises(offgil.LocalProtocolError):
            client.post("/", content=iter([b"some"]), headers={"Content-Length": str(length)})
    assert client.post("/", content=iter([b"next"])).content == b"next"


def test_write_timeout(serve):
    # It takes what the first window allows, and opens no other.
    script = Http2Script(lambda stream: stream.answer())
    script.take = lambda talk, streams, event: None
    with (
        Client(base_url=serve(script).url, http2="prior-knowledge", timeout=Timeout(write=0.3)) as client,
        pytest.raises(offgil.WriteTimeout),
    ):
        client.post("/", content=iter([BIG]))


def test_download(client, tmp_path):
    done = client.download("/", tmp_path / "file", method="POST", content=iter([BIG]))
    assert done.http_version == "HTTP/2"
    assert (tmp_path / "file").read_bytes() == BIG
