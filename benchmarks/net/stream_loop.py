"""One measurement in a process of its own: ``stream_loop.py PEER URL STREAMS`` prints wall seconds, CPU
milliseconds a stream, and what share of its ticks another thread got meanwhile.

The other thread sleeps 5 ms, counts, and sleeps again; its share is measured against the same thread in the same
process while nothing else ran.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

Stream = Callable[[], int]
BODY = {"model": "mock", "stream": True, "messages": [{"role": "user", "content": "x"}]}


def offgil_stream(url: str) -> Stream:
    import offgil

    client = offgil.Client()

    def stream() -> int:
        with client.stream("POST", f"{url}/v1/chat/completions", json=BODY) as response:
            return sum(1 for _ in response.iter_sse())

    return stream


def httpx_stream(url: str) -> Stream:
    import httpx

    client = httpx.Client(timeout=60)

    def stream() -> int:
        with client.stream("POST", f"{url}/v1/chat/completions", json=BODY) as response:
            return sum(line.startswith("data:") for line in response.iter_lines())

    return stream


BAML = """
generator target {{
  output_type "python/pydantic"
  output_dir ".."
  version "{version}"
  default_client_mode sync
}}
client<llm> Mock {{
  provider "openai-generic"
  options {{
    base_url "{url}/v1"
    api_key "x"
    model "mock"
  }}
}}
function Ask(text: string) -> string {{
  client Mock
  prompt #"{{{{ text }}}}"#
}}
"""


def baml_stream(url: str) -> Stream:
    import baml_py  # noqa: F401  (is it there?)

    os.environ["BAML_LOG"] = "off"
    folder = Path(tempfile.mkdtemp())
    (folder / "baml_src").mkdir()
    (folder / "baml_src" / "main.baml").write_text(BAML.format(version=metadata.version("baml-py"), url=url))
    cli = Path(sys.executable).with_name("baml-cli")
    subprocess.run([cli, "generate", "--from", folder / "baml_src"], check=True, capture_output=True)
    sys.path.insert(0, str(folder))
    from baml_client.sync_client import b

    def stream() -> int:
        answer = b.stream.Ask("x")
        count = sum(1 for _ in answer)
        assert "word word" in answer.get_final_response()
        return count

    return stream


PEERS = {"offgil": offgil_stream, "httpx": httpx_stream, "baml": baml_stream}


class Ticker:
    def __init__(self) -> None:
        self.ticks = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.is_set():
            time.sleep(0.005)
            self.ticks += 1

    def during(self, work: Callable[[], None]) -> float:
        """Ticks a second while ``work`` runs."""
        self._thread.start()
        start = time.perf_counter()
        work()
        rate = self.ticks / (time.perf_counter() - start)
        self._stop.set()
        self._thread.join()
        return rate


def main() -> None:
    peer, url, streams = sys.argv[1], sys.argv[2], int(sys.argv[3])
    try:
        stream = PEERS[peer](url)
    except ImportError:
        print("not installed")
        return
    stream()  # connects, and warms up
    idle = Ticker().during(lambda: time.sleep(1))
    counts: list[int] = []

    def all_streams() -> None:
        threads = [threading.Thread(target=lambda: counts.append(stream())) for _ in range(streams)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    rate = Ticker().during(all_streams)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    assert len(counts) == streams
    assert min(counts) > 0
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(wall, cpu / streams * 1e3, rate / idle)


main()
