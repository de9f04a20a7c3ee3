"""Request bodies from files and iterables: what arrives, and what is refused."""

import gzip
import io
import itertools
import os
import tempfile
import threading

import pytest

import offgil
from offgil import Client, Request, Retry

BIG = bytes(range(256)) * 4096  # 1 MiB
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "body"
    path.write_bytes(BIG)
    return path


@pytest.mark.parametrize("buffering", [0, -1], ids=["raw", "buffered"])
@pytest.mark.parametrize("start", [0, 1, 100_000, len(BIG), len(BIG) + 5])
def test_a_file_is_sent_from_its_position_which_stays(url, recorder, path, start, buffering):
    with Client() as client, open(path, "rb", buffering=buffering) as file:
        file.seek(start)
        assert client.post(url, content=file).status_code == 200
        assert file.tell() == start
    [(head, body)] = recorder.requests
    assert body == BIG[start:]
    assert b"\r\ncontent-length: %d\r\n" % len(BIG[start:]) in head + b"\r\n"
    assert b"transfer-encoding" not in head
    assert b"content-type" not in head
    assert b"expect" not in head


def test_one_file_in_several_requests(url, recorder, path):
    with Client() as client, open(path, "rb") as file:
        for outcome in client.map([Request("PUT", url, content=file)] * 5, concurrency=3):
            assert outcome.status_code == 200
    assert recorder.bodies == [BIG] * 5


def test_a_file_may_be_closed_once_its_request_is_queued(url, recorder, path):
    with Client() as client, client.batch(1) as batch:
        with open(path, "rb") as file:
            batch.add(Request("POST", url, content=file))
        [(_, response)] = batch.wait()
        assert response.status_code == 200
    assert recorder.bodies == [BIG]


def test_what_was_written_to_a_file_is_sent(url, recorder):
    with Client() as client, tempfile.NamedTemporaryFile() as file:
        file.write(b"still buffered")
        file.seek(6)
        client.post(url, content=file)
    assert recorder.bodies == [b"buffered"]


def test_files_that_tell_no_size(url, recorder, tmp_path):
    empty = tmp_path / "empty"
    empty.touch()
    with Client() as client, open(empty, "rb") as nothing:
        client.post(url, content=nothing)
        if os.path.exists("/proc/self/cmdline"):
            with open("/proc/self/cmdline", "rb") as told:
                client.post(url, content=told)
    assert recorder.bodies[0] == b""
    assert b"\r\ncontent-length: 0" in recorder.requests[0][0]
    assert all(recorder.bodies[1:])


def test_files_that_only_python_can_read(url, recorder, tmp_path):
    packed = tmp_path / "packed.gz"
    packed.write_bytes(gzip.compress(BIG))
    with Client() as client:
        with gzip.open(packed) as file:
            client.post(url, content=file)
        client.post(url, content=io.BytesIO(BIG))
        reader, writer = os.pipe()

        def feed():
            with open(writer, "wb") as file:
                file.write(BIG)

        feeder = threading.Thread(target=feed)
        feeder.start()
        with open(reader, "rb") as file:
            client.post(url, content=file)
        feeder.join()
    assert recorder.bodies == [BIG] * 3
    assert all(b"\r\ntransfer-encoding: chunked" in head for head, _ in recorder.requests)


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [b""],
        [b"one"],
        [b"one", b"", b"", b"two"],
        [bytearray(b"one"), memoryview(b"two"), memoryview(b"t-h-r-e-e")[::2]],
        [BIG, b"x", BIG],
        [b"%d," % n for n in range(2000)],
    ],
    ids=["nothing", "empty", "one", "with empty ones", "kinds of bytes", "large", "many"],
)
@pytest.mark.parametrize("as_iterator", [False, True], ids=["list", "iterator"])
@pytest.mark.parametrize("announced", [False, True], ids=["chunked", "Content-Length"])
def test_an_iterable_is_sent_as_it_is(url, recorder, pieces, as_iterator, announced):
    whole = b"".join(map(bytes, pieces))
    headers = {"Content-Length": str(len(whole))} if announced else {}
    with Client() as client:
        for _ in range(2):
            response = client.post(url, content=iter(pieces) if as_iterator else pieces, headers=headers)
            assert response.content == b"ok"
        assert client.stats().connections_opened == 1
    for head, body in recorder.requests:
        assert body == whole
        assert (b"\r\ntransfer-encoding: chunked" in head) is not announced
        assert (b"\r\ncontent-length: %d" % len(whole) in head) is announced


def test_pieces_go_out_as_they_come_and_on_the_calling_thread(serve):
    came = threading.Semaphore(0)

    def script(peer, _):
        data = b""
        for number in range(5):
            while b"piece %d" % number not in data:
                data += peer.more()
            came.release()
        while b"\r\n0\r\n\r\n" not in data:
            data += peer.more()
        peer.answer()

    threads = set()

    def pieces():
        for number in range(5):
            threads.add(threading.get_ident())
            yield b"piece %d" % number
            assert came.acquire(timeout=30)

    with Client() as client:
        assert client.post(serve(script).url, content=pieces()).content == b"ok"
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("length", [5, 6, 7, 8, 0], ids=str)
@pytest.mark.parametrize("pieces", [[b"abc", b"def"], [b"abcdef"], [b"abcdef", b""]], ids=["two", "one", "and empty"])
def test_an_announced_length_is_checked(url, recorder, pieces, length):
    with Client() as client:
        request = {"content": iter(pieces), "headers": {"content-length": str(length)}}
        if length == 6:
            assert client.post(url, **request).content == b"ok"
        else:
            wanted = "longer than its Content-Length" if length < 6 else "ended after 6 of its"
            with pytest.raises(offgil.LocalProtocolError, match=wanted):
                client.post(url, **request)
        assert client.post(url, content=b"next").content == b"ok"
    assert recorder.bodies == [b"abcdef"] * (length == 6) + [b"next"]


@pytest.mark.parametrize("length", ["", "x", "-1", "+6", "6, 6", "٦", "9" * 19])
def test_an_announced_length_is_a_number(url, length):
    with Client() as client, pytest.raises(offgil.LocalProtocolError, match="Content-Length"):
        client.post(url, content=iter([b"abcdef"]), headers={"Content-Length": length})


def test_what_an_iterable_raises_ends_the_request_and_is_raised(url, recorder):
    class MineError(Exception):
        pass

    error = MineError("mine")

    def pieces(before):
        yield from before
        raise error

    with Client() as client:
        for before in ([], [b"some"], [BIG]):
            with pytest.raises(MineError) as caught:
                client.post(url, content=pieces(before))
            assert caught.value is error
            with pytest.raises(MineError), client.stream("PUT", url, content=pieces(before)):
                pass
        assert client.post(url, content=b"next").content == b"ok"
        stats = client.stats()
        assert stats.errors == {"Exception": 6}
        assert stats.in_flight == 0
    assert recorder.bodies == [b"next"]


def test_what_cannot_be_sent_is_refused(url, tmp_path):
    async def asynchronous():
        yield b"piece"

    with Client() as client:
        for content, wanted in (
            ({"a": "b"}, "not dict"),
            (5, "not int"),
            (io.StringIO("text"), "binary mode"),
            (asynchronous(), "asynchronous"),
            (["text"], "not str"),
            ([1], "not int"),
        ):
            with pytest.raises(TypeError, match=wanted):
                client.post(url, content=content)
        with pytest.raises(TypeError, match="either"):
            client.post(url, content=[b"piece"], json=1)
        with pytest.raises(TypeError, match="iterable body"):
            list(client.map([Request("POST", url, content=iter([b"piece"]))]))


def test_a_file_that_cannot_be_read(url, path):
    with Client() as client, open(path, "r+b", buffering=0) as writable:
        with open(path, "ab", buffering=0) as file:  # its descriptor is not for reading
            file.seek(0)
            with pytest.raises(offgil.FileError) as caught:
                client.post(url, content=file)
        assert isinstance(caught.value, OSError)
        assert caught.value.filename == str(path)
        assert caught.value.errno
        assert url in str(caught.value)

        announced = writable.seek(0, os.SEEK_END)
        writable.seek(0)
        with client.batch(1) as batch:
            batch.add(Request("POST", url, content=writable), "shrunk")
            writable.truncate(1000)
            [(_, error)] = batch.wait()
        assert isinstance(error, offgil.LocalProtocolError)
        assert f"1000 of its {announced}" in str(error)


def failing_first(peer, number):
    """Refuses the first request, on whatever connection."""
    while request := peer.read_request():
        failing_first.bodies.append(request.partition(b"\r\n\r\n")[2])
        if len(failing_first.bodies) == 1:
            peer.send(b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n")
        else:
            peer.answer()


@pytest.mark.parametrize("kind", ["file", "list", "iterator", "gzip"])
def test_retries_send_again_what_can_be_read_again(serve, path, tmp_path, kind):
    failing_first.bodies = []
    packed = tmp_path / "packed.gz"
    packed.write_bytes(gzip.compress(BIG))
    with (
        Client(base_url=serve(failing_first).url, retry=Retry(backoff=0)) as client,
        open(path, "rb") as file,
        gzip.open(packed) as unpacking,
    ):
        content = {"file": file, "list": [BIG], "iterator": iter([BIG]), "gzip": unpacking}[kind]
        response = client.put("/", content=content)
    again = kind in {"file", "list"}
    assert response.status_code == (200 if again else 503)
    assert failing_first.bodies == [BIG] * (2 if again else 1)


@pytest.mark.parametrize("kind", ["file", "iterator"])
def test_a_kept_connection_that_dies_under_an_upload(serve, path, kind):
    bodies = []

    def script(peer, number):
        if number == 0:
            peer.read_request()
            peer.answer()
            bodies.append(peer.read_request().partition(b"\r\n\r\n")[2])
            return  # without an answer
        while request := peer.read_request():
            bodies.append(request.partition(b"\r\n\r\n")[2])
            peer.answer()

    with Client(base_url=serve(script).url) as client, open(path, "rb") as file:
        client.get("/")
        if kind == "file":
            assert client.put("/", content=file).content == b"ok"
            assert bodies == [BIG, BIG]
        else:
            with pytest.raises(offgil.RemoteProtocolError, match="not sent again"):
                client.put("/", content=itertools.repeat(BIG, 1))
            assert bodies == [BIG]


def test_both_ways_at_once(serve):
    """An answer that streams back what the request brings."""

    def script(peer, _):
        data = b""
        while b"\r\n\r\n" not in data:
            data += peer.more()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(20):
            while b"<%d>" % number not in data:
                data += peer.more()
            peer.send(b"4\r\n%04d\r\n" % number)
        while not data.endswith(b"\r\n0\r\n\r\n"):  # what is unread when a socket closes resets the connection
            data += peer.more()
        peer.send(b"0\r\n\r\n")

    def pieces():
        for number in range(20):
            yield b"<%d>" % number

    with Client() as client, client.stream("POST", serve(script).url, content=pieces()) as response:
        assert response.read() == b"".join(b"%04d" % number for number in range(20))


def moved_first(status):
    def script(peer, _):
        while request := peer.read_request():
            moved_first.bodies.append(request.partition(b"\r\n\r\n")[2])
            if request.split()[1] == b"/old":
                peer.send(b"HTTP/1.1 %d Moved\r\nLocation: /new\r\nContent-Length: 0\r\n\r\n" % status)
            else:
                peer.answer()

    moved_first.bodies = []
    return script


@pytest.mark.parametrize("status", [303, 307])
@pytest.mark.parametrize("kind", ["file", "list", "iterator"])
@pytest.mark.parametrize("announced", [False, True], ids=["chunked", "Content-Length"])
def test_redirects_send_again_what_can_be_read_again(serve, path, status, kind, announced):
    headers = {"Content-Length": str(len(BIG))} if announced else {}
    with (
        Client(base_url=serve(moved_first(status)).url, follow_redirects=True) as client,
        open(path, "rb") as file,
    ):
        content = {"file": file, "list": [BIG], "iterator": iter([BIG])}[kind]
        if status == 307 and kind == "iterator":
            with pytest.raises(offgil.StreamConsumed, match="iterator"):
                client.post("/old", content=content, headers=headers)
            assert moved_first.bodies == [BIG]
        else:
            assert client.post("/old", content=content, headers=headers).content == b"ok"
            assert moved_first.bodies == [BIG, BIG if status == 307 else b""]
