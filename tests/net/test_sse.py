"""Lines and server-sent events, wherever the bytes are cut."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offgil import ServerSentEvent
from offgil.lines import LineDecoder
from offgil.sse import EventParser


def events_of(*pieces):
    parser = EventParser()
    return [event for piece in pieces for event in parser.feed(piece)] + parser.finish()


def lines_of(*pieces, charset="utf-8"):
    decoder = LineDecoder(charset)
    return [line for piece in pieces for line in decoder.feed(piece)] + decoder.finish()


def cut(data, places):
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: one\n\ndata:two\n\n", [ServerSentEvent(data="one"), ServerSentEvent(data="two")]),
        (b"data: a\r\rdata: b\r\n\r\n", [ServerSentEvent(data="a"), ServerSentEvent(data="b")]),
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [ServerSentEvent(data="YHOO\n+2\n10")]),
        (b"\xef\xbb\xbfdata: after a mark\n\n", [ServerSentEvent(data="after a mark")]),
        (b"data: \xef\xbb\xbfkept\n\n", [ServerSentEvent(data="\ufeffkept")]),
        (b": comment\n:\n\ndata\n\ndata\ndata\n\ndata:", [ServerSentEvent(data=""), ServerSentEvent(data="\n")]),
        (b"data:  two blanks\n\n", [ServerSentEvent(data=" two blanks")]),
        (b"event: add\ndata: 7\n\ndata: 8\n\n", [ServerSentEvent("add", "7"), ServerSentEvent(data="8")]),
        (b"event: add\n\ndata: 8\n\n", [ServerSentEvent(data="8")]),
        (
            b"id: 1\ndata: a\n\ndata: b\n\nid: 2\n\ndata: c\n\nid\ndata: d\n\n",
            [
                ServerSentEvent(data="a", id="1"),
                ServerSentEvent(data="b", id="1"),
                ServerSentEvent(data="c", id="2"),
                ServerSentEvent(data="d", id=""),
            ],
        ),
        (b"id: 1\nid: a\x00b\ndata: a\n\n", [ServerSentEvent(data="a", id="1")]),
        (b"retry: 250\ndata: a\n\nretry: 1s\ndata: b\n\n", [ServerSentEvent(data=x, retry=250) for x in "ab"]),
        (b"retry: " + b"9" * 5000 + b"\ndata: a\n\n", [ServerSentEvent(data="a")]),
        ("retry: ²\ndata: ü€😀\n\n".encode(), [ServerSentEvent(data="ü€😀")]),
        (b"data: \xff\xe2\x82\n\n", [ServerSentEvent(data="\ufffd\ufffd")]),
        (b"other: x\ndata : x\nDATA: x\ndata: a: b\n\n", [ServerSentEvent(data="a: b")]),
        ("data: a\u2028b\x0bc\x85\n\n".encode(), [ServerSentEvent(data="a\u2028b\x0bc\x85")]),
        (b"data: cut off\n", []),
        (b"", []),
    ],
)
def test_events(stream, expected):
    assert events_of(stream) == expected
    assert events_of(*(stream[i : i + 1] for i in range(len(stream)))) == expected


# Mostly what means something to a parser, so that cuts fall in the middle of it.
tokens = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b"data", b"event", b"id", b"retry", b":", b" ", b"7", b"x", b"\0", "é€😀\u2028".encode()]
)
streams = st.builds(b"".join, st.lists(tokens | st.binary(max_size=3), max_size=60))
cuts = st.lists(st.integers(min_value=0, max_value=400), max_size=12)


@given(streams, cuts)
def test_cuts_change_no_event(stream, places):
    assert events_of(*cut(stream, places)) == events_of(stream)


@given(streams, cuts, st.sampled_from(["utf-8", "latin-1", "utf-16-le", "shift_jis"]))
def test_lines_are_those_of_the_whole(stream, places, charset):
    expected = re.split("\r\n|\r|\n", stream.decode(charset, errors="replace"))
    if not expected[-1]:
        expected.pop()
    assert lines_of(*cut(stream, places), charset=charset) == expected


@given(
    st.lists(st.builds(ServerSentEvent, st.just("message"), st.text(st.characters(exclude_categories=["Cs"])))), cuts
)
def test_data_comes_back(sent, places):
    def encoded(event):
        lines = re.split("\r\n|\r|\n", event.data)
        return "".join(f"data: {line}\n" for line in lines) + "\n"

    stream = "".join(map(encoded, sent)).encode()
    received = [event.data for event in events_of(*cut(stream, places))]
    assert received == [re.sub("\r\n|\r", "\n", event.data) for event in sent]


def test_a_line_comes_as_soon_as_its_end_is_there():
    decoder = LineDecoder("utf-8")
    assert decoder.feed(b"one\r") == ["one"]
    assert decoder.feed(b"\n") == []
    assert decoder.feed(b"\n") == [""]
    assert decoder.feed(b"a") == []
    assert decoder.feed(b"b\nc") == ["ab"]
    assert decoder.finish() == ["c"]
    assert decoder.finish() == []
