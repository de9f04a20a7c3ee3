from __future__ import annotations

import http.client
import time
from contextlib import closing

import pytest

from mock_calls import ANTHROPIC, CHAT, begin, chat, connect, post, send

WORDS = "one two three four"
STREAM = chat(WORDS, stream=True)  # role, "echo:", four words, the end, [DONE]


def test_a_request_asks_for_the_errors_of_its_attempts(llm: str) -> None:
    with closing(connect(llm)) as connection:

        def attempt(number: int) -> int:
            headers = {"x-mock-status": "429 500", "x-stainless-retry-count": str(number)}
            response = begin(connection, chat("x"), CHAT, headers)
            response.read()
            assert (response.headers["retry-after"] is not None) == (response.status == 429)
            return response.status

        assert [attempt(number) for number in (0, 1, 2, 0)] == [429, 500, 200, 429]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "200"),
        ("status", "many"),
        ("delay", "-1"),
        ("delay", "nan"),
        ("first-token", "1e9"),
        ("interval", "x"),
        ("break", "-1"),
    ],
)
@pytest.mark.parametrize("path", [CHAT, ANTHROPIC])
def test_a_fault_that_makes_no_sense_is_refused(llm: str, name: str, value: str, path: str) -> None:
    status, answer = send(llm, chat("x", max_tokens=1), path, {f"x-mock-{name}": value})
    assert status == 400
    assert answer["error"]["message"]


def test_pauses_before_the_answer_the_first_event_and_between_events(llm: str) -> None:
    pauses = {"x-mock-delay": "0.2", "x-mock-first-token": "0.3", "x-mock-interval": "0.05"}
    with closing(connect(llm)) as connection:
        start = time.monotonic()
        response = begin(connection, STREAM, CHAT, pauses)
        times = [time.monotonic() - start]
        while line := response.readline():
            if line.startswith(b"data: "):
                times.append(time.monotonic() - start)
        assert post(connection, chat("still open"))[0] == 200
    assert len(times) == 1 + 8
    # Later is a matter of the machine, earlier is an error.
    assert times[0] >= 0.2
    assert times[1] >= 0.2 + 0.3
    assert times[-1] >= 0.2 + 0.3 + 7 * 0.05


def test_others_are_served_while_a_stream_pauses_and_after_its_client_has_gone(llm: str) -> None:
    with closing(connect(llm)) as connection, begin(connection, STREAM, CHAT, {"x-mock-interval": "0.05"}) as response:
        assert response.readline().startswith(b"data: ")
        assert send(llm, chat("meanwhile"))[0] == 200
    assert send(llm, chat("after"))[0] == 200


@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.parametrize("pauses", [{}, {"x-mock-interval": "0.01"}])
def test_a_broken_stream_ends_early(llm: str, count: int, pauses: dict[str, str]) -> None:
    faults = {"x-mock-break": str(count), **pauses}
    with closing(connect(llm)) as connection, begin(connection, STREAM, CHAT, faults) as response:
        with pytest.raises(http.client.IncompleteRead) as raised:
            response.read()
        assert raised.value.partial.count(b"data: ") == count
