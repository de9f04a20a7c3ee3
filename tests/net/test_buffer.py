"""A response as a buffer: the block that was received, without a copy."""

import gc
import threading

import numpy
import pytest

import offgil

BODY = bytes(range(256)) * 4096


@pytest.fixture
def response(serve):
    def script(peer, _):
        while peer.read_request():
            peer.answer(BODY)

    with offgil.Client() as client:
        yield client.get(serve(script).url)


def test_a_view_is_the_body_and_read_only(response):
    view = memoryview(response)
    assert view == BODY
    assert view.readonly
    assert view.contiguous
    assert (view.format, view.ndim, view.nbytes) == ("B", 1, len(BODY))
    with pytest.raises(TypeError):
        view[0] = 1
    assert response.content == BODY


def test_views_share_one_block(response):
    arrays = [numpy.frombuffer(response, numpy.uint8) for _ in range(2)]
    assert arrays[0].__array_interface__["data"] == arrays[1].__array_interface__["data"]
    assert not arrays[0].flags.writeable
    assert arrays[0][300] == BODY[300]


def test_a_view_keeps_the_body_and_nothing_else_is_needed(serve):
    with offgil.Client() as client:
        view = memoryview(client.get(serve(lambda peer, _: (peer.read_request(), peer.answer(BODY))).url))
    del client
    gc.collect()
    assert view == BODY


def test_an_empty_body(serve):
    with offgil.Client() as client:
        view = memoryview(client.get(serve(lambda peer, _: (peer.read_request(), peer.answer(b""))).url))
    assert view.nbytes == 0
    assert bytes(view) == b""


def test_what_takes_a_buffer_takes_a_response(response, tmp_path):
    assert bytes(response) == BODY
    assert bytearray(response) == BODY
    assert b"".join([response, b"!"]) == BODY + b"!"
    with open(tmp_path / "file", "w+b") as file:
        file.write(response)
        file.seek(0)
        assert file.read() == BODY


def test_in_many_threads(response, barrier_threads):
    lock = threading.Lock()
    contents = set()

    def work(index):
        for _ in range(50):
            view = memoryview(response)
            assert view[index] == BODY[index]
            with lock:
                contents.add(id(response.content))
            view.release()

    barrier_threads(8, work)
    assert len(contents) == 1
