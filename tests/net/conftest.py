"""Suites that hold for both clients run with each."""

import pytest

import offgil
from blocking_async import BlockingAsyncClient

BOTH = {"test_cookies", "test_hooks", "test_hostile", "test_map", "test_redirects", "test_requests", "test_stream"}

# Of those: a Batch, and a close() from a thread without an event loop.
BLOCKING_ONLY = {"test_a_batch_belongs_to_one_thread_at_a_time", "test_close_from_another_thread_ends_a_map"}


def pytest_generate_tests(metafunc):
    both = metafunc.module.__name__.rpartition(".")[2] in BOTH
    if both and metafunc.function.__name__ not in BLOCKING_ONLY:
        metafunc.parametrize("client_class", ["Client", "AsyncClient"], indirect=True)


@pytest.fixture(autouse=True)
def client_class(request, monkeypatch):
    """What ``offgil.Client`` is for the test; the asyncio client wears its face."""
    if getattr(request, "param", "Client") == "AsyncClient":
        monkeypatch.setattr(offgil, "Client", BlockingAsyncClient)
