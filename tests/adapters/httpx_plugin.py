"""Runs httpx's own tests over offgil's transports: ``pytest -p httpx_plugin`` in the folder of its tests.

Whatever makes a client without a transport gets ours.  ``EXPECTED`` names the tests that look inside httpx's own
transports, each with its reason; every other one has to pass.
"""

import importlib.util
import sys
import types

import pytest


class _Missing(types.ModuleType):
    """A module that skips the test that calls anything in it."""

    def __getattr__(self, name):
        def skip(*_, **__):
            pytest.skip(f"{self.__name__} is not installed: it has no wheel for this interpreter")

        return skip


# Before httpx, which looks for the decoders.
for package, modules in {
    "brotli": ["brotli"],
    "trustme": ["trustme", "cryptography.hazmat.backends", "cryptography.hazmat.primitives.serialization"],
    "zstandard": ["zstandard"],
}.items():
    if importlib.util.find_spec(package) is None:
        sys.modules |= {module: _Missing(module) for module in modules}

import httpx  # noqa: E402
import httpx._client  # noqa: E402

from offgil.adapters.httpx import AsyncHTTPTransport, HTTPTransport  # noqa: E402

for module in (httpx, httpx._client):
    module.HTTPTransport = HTTPTransport
    module.AsyncHTTPTransport = AsyncHTTPTransport

_POOL = "asserts the class, or the proxy URL, of httpcore's pool, transport._pool"

EXPECTED = {
    "tests/client/test_proxies.py::test_socks_proxy": _POOL,
    "tests/client/test_proxies.py::test_transport_for_request": _POOL,
    "tests/client/test_proxies.py::test_proxies_environ": _POOL,
    "tests/test_api.py::test_httpcore_lazy_loading": "asserts that a request imports httpcore",
    "tests/test_exceptions.py::test_httpcore_exception_mapping": "replaces httpcore's connection by one that raises",
    "tests/test_main.py::test_errors": "asserts the wording of httpcore's message",
}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Count a failure that is expected as such; a parametrised test passes where there is no proxy to look at."""
    outcome = yield
    report = outcome.get_result()
    reason = EXPECTED.get(item.nodeid.partition("[")[0])
    if reason and report.when == "call" and report.failed:
        report.outcome = "skipped"
        report.wasxfail = reason
