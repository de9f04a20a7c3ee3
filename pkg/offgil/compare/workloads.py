"""The built-in workloads.

A workload is a function without arguments that returns its results, as the user's own are.  Which workers and which
store it gets is told by ``OFFGIL_WORKERS`` and ``OFFGIL_STORE``, as everywhere; ``OFFGIL_COMPARE_SIZE`` says how many
items it makes, and ``OFFGIL_COMPARE_URL`` where the mock server is.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offgil import Client, Executor, Request, open_store

__all__ = ["BUILT_IN", "SIZE", "URL", "Workload", "find"]

SIZE, URL = "OFFGIL_COMPARE_SIZE", "OFFGIL_COMPARE_URL"
_CONCURRENCY = 32


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload and what may make a difference to it.

    Attributes:
        name: for people.
        run: makes the results; with a list, each item of it counts.
        workers: whether it uses an executor.
        store: whether it uses a store.
        fetches: whether it needs the mock server.
        items: how many it makes at full size.
    """

    name: str
    run: Callable[[], Any]
    workers: bool = True
    store: bool = True
    fetches: bool = False
    items: int = 1


def find(name: str) -> Workload:
    """The built-in workload of that name, or the user's, ``file.py:function``.

    Raises:
        ValueError: there is none.
    """
    for workload in BUILT_IN:
        if workload.name == name:
            return workload
    path, _, function = name.rpartition(":")
    if not path.endswith(".py"):
        known = ", ".join(workload.name for workload in BUILT_IN)
        raise ValueError(f"unknown workload {name!r}: known are {known}, and your own as file.py:function")
    file = Path(path).resolve()
    if not file.exists():
        raise ValueError(f"there is no file {path}")
    # By its name, so that worker processes of any start method can import it.
    sys.path.insert(0, str(file.parent))
    run = getattr(importlib.import_module(file.stem), function, None)
    if not callable(run):
        raise ValueError(f"{path} has no function {function!r}")
    return Workload(name, run)


def _size() -> int:
    return int(os.environ[SIZE])


def _requests() -> list[Request]:
    body = {"model": "mock", "messages": [{"role": "user", "content": ""}]}
    requests = []
    for number in range(_size()):
        body["messages"] = [{"role": "user", "content": f"item {number}"}]
        requests.append(Request("POST", f"{os.environ[URL]}/v1/chat/completions", json=body))
    return requests


def _answer(response: Any) -> str:
    """What the server made of the request, and nothing that differs from run to run."""
    return f"{response.status_code} {response.json()['choices'][0]['message']['content']}"


def _fetch() -> list[str]:
    with Client() as client:
        return [_answer(response) for response in client.map(_requests(), concurrency=_CONCURRENCY)]


def _compute(text: str) -> int:
    """A little work on an answer, all of it Python."""
    value = 0
    for _ in range(100):
        for character in text:
            value = (value * 31 + ord(character)) % 1_000_003
    return value


def _fetch_and_compute() -> list[int]:
    with Client() as client, Executor() as executor:
        responses = client.map(_requests(), concurrency=_CONCURRENCY)
        futures = [executor.submit(_compute, _answer(response)) for response in responses]
        return [future.result() for future in futures]


def _store() -> list[Any]:
    size = _size()
    results = []
    with open_store() as store:

        def produce() -> None:
            for number in range(size):
                store.put(f"item {number}", {"number": number, "text": "x" * 100}, priority=number % 3, topic="items")

        producer = threading.Thread(target=produce)
        producer.start()
        for _ in range(size):
            key, value = store.take("items", timeout=60)
            results.append((key, value["number"]))
        producer.join()
    return sorted(results)


def _executor() -> list[int]:
    with Executor() as executor:
        return list(executor.map(_compute, (f"item {number}" for number in range(_size()))))


BUILT_IN = (
    Workload("fetch", _fetch, workers=False, store=False, fetches=True, items=2000),
    Workload("fetch+compute", _fetch_and_compute, store=False, fetches=True, items=2000),
    Workload("store", _store, workers=False, items=5000),
    Workload("executor", _executor, store=False, items=2000),
)
