"""A small model served by LitServe, its tokens streamed through shared memory.

    pip install '.[litserve]'
    python examples/litserve_stream.py            # serves on port 8000
    curl -N localhost:8000/predict -H 'content-type: application/json' -d '{"prompt": "the ", "tokens": 200}'

The model is a Markov chain over characters: the next one depends on the last three.  It learns from Python's own
``this`` module.
"""

import argparse
import codecs
import contextlib
import io
import random
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import litserve

from offgil.adapters.litserve import install

ORDER = 3


def text() -> str:
    """The Zen of Python."""
    with contextlib.redirect_stdout(io.StringIO()):
        import this

    return codecs.decode(this.s, "rot13").lower()


class Markov(litserve.LitAPI):
    """Goes on from the prompt, one character after the other."""

    def setup(self, device: str) -> None:
        self.following = defaultdict(list)
        corpus = text()
        for i in range(len(corpus) - ORDER):
            self.following[corpus[i : i + ORDER]].append(corpus[i + ORDER])

    def decode_request(self, request: dict[str, Any]) -> dict[str, Any]:
        return request

    def predict(self, x: dict[str, Any]) -> Iterator[str]:
        draw = random.Random(x.get("seed"))
        state = x["prompt"].lower()[-ORDER:]
        for _ in range(x["tokens"]):
            if state not in self.following:
                state = draw.choice(list(self.following))
            token = draw.choice(self.following[state])
            state = state[1:] + token
            yield token

    # Without the type of what it returns, which would be checked as the answer's own.
    def encode_response(self, output):
        yield from output


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a Markov chain of characters.")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    server = litserve.LitServer(Markov(stream=True), accelerator="cpu", workers_per_device=options.workers)
    install(server)
    server.run(host="127.0.0.1", port=options.port, num_api_servers=1, generate_client_file=False)


if __name__ == "__main__":
    main()
