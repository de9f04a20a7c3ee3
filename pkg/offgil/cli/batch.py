"""``offgil batch``: a file of requests in, a file of results out."""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import click

from offgil.batch import BatchRun, Summary
from offgil.cli.progress import progress
from offgil.client import Client
from offgil.errors import OffgilError
from offgil.retry import Retry
from offgil.runtime import decide_store, decide_workers, interpreter

__all__ = ["batch"]

#: Seconds that answers in flight get to arrive after the first Ctrl-C.
GRACE = 5.0

_FILE = click.Path(dir_okay=False, path_type=Path)


class NothingSent(click.ClickException):
    """An error before the first request."""

    exit_code = 2


class Stop:
    """Turns SIGINT and SIGTERM into an orderly end: the first waits for answers, the second does not.

    As a handler that only sets a flag, it cannot cut the run off between receiving an answer and writing it.
    """

    def __init__(self, run: BatchRun) -> None:
        self._run = run
        self.signal: int | None = None

    def __call__(self, signum: int, _: FrameType | None) -> None:
        self._run.stop(GRACE if self.signal is None else 0)
        self.signal = signum


@contextmanager
def _stop_on_signals(run: BatchRun) -> Iterator[Stop]:
    stop = Stop(run)
    previous = {signum: signal.signal(signum, stop) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def _check_base_url(_: click.Context, __: click.Parameter, value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise click.BadParameter(f"{value!r} is not like https://host or https://host/v1")
    return value


def _headers(lines: tuple[str, ...], api_key_env: str | None) -> dict[str, str]:
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise click.BadParameter(f"{line!r} is not like 'Name: value'", param_hint="--header")
        headers[name.strip()] = value.strip()
    if api_key_env is not None:
        key = os.environ.get(api_key_env)
        if not key:
            raise click.BadParameter(f"the environment variable {api_key_env} is not set", param_hint="--api-key-env")
        headers["Authorization"] = f"Bearer {key}"
    return headers


def _allow_open_files(connections: int) -> None:
    """Raise the limit on open files, often 1,024, as far as needed and allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 64
    if soft != resource.RLIM_INFINITY and soft < wanted:
        wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _report(summary: Summary) -> str:
    latency = summary.latency
    earlier = f" ({summary.skipped_failed:,} of them failed)" if summary.skipped_failed else ""
    quantiles = "   ".join(
        f"{name} {1000 * seconds:,.1f} ms"
        for name, seconds in (
            ("p50", latency.p50),
            ("p90", latency.p90),
            ("p99", latency.p99),
            ("max", latency.max),
        )
    )
    rate = summary.requests_per_second
    return "\n".join(
        [
            f"{summary.requests:,} requests in {summary.seconds:,.2f} s, {rate:,.0f} a second",
            f"  answered   {summary.ok:,} ok, {summary.failed:,} failed, {summary.retried:,} sent again",
            f"  skipped    {summary.skipped:,} answered by an earlier run{earlier}",
            f"  latency    {quantiles}",
            f"  runtime    {interpreter()}",
            f"  store      {decide_store()}",
            f"  workers    {decide_workers()}",
            f"  results    {summary.results}",
        ]
    )


@click.command()
@click.argument("requests", type=_FILE)
@click.argument("results", type=_FILE)
@click.option("--base-url", required=True, callback=_check_base_url, help="Where the requests' url begins.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 10_000),
    default=256,
    show_default=True,
    help="Requests in flight.",
)
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Sent with each request; repeatable.")
@click.option("--api-key-env", metavar="VARIABLE", help="Environment variable with the key to send as bearer token.")
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="Further attempts per request.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a server may take to accept a connection or to send the next byte.",
)
@click.option("--resume", is_flag=True, help="Go on where an earlier run with these results ended.")
@click.option("--retry-failed", is_flag=True, help="With --resume: send the failed requests again.")
@click.option("--overwrite", is_flag=True, help="Replace the results file.")
@click.option(
    "--requests-per-minute",
    type=click.FloatRange(min=0, min_open=True),
    default=math.inf,
    metavar="N",
    help="Limit, further attempts included.",
)
@click.option(
    "--tokens-per-minute",
    type=click.FloatRange(min=0, min_open=True),
    default=math.inf,
    metavar="N",
    help="Limit; estimated first, then corrected by each answer's usage.",
)
@click.option("--max-errors", type=click.IntRange(min=1), metavar="N", help="Stop after so many failed requests.")
@click.option(
    "--process",
    metavar="MODULE:FUNCTION",
    help="Called with each request and its response on worker threads or processes; what it returns is written, too.",
)
@click.option("--summary-json", type=_FILE, help="Write the closing figures to this file, too.")
def batch(
    *,
    requests: Path,
    results: Path,
    base_url: str,
    concurrency: int,
    headers: tuple[str, ...],
    api_key_env: str | None,
    retries: int,
    timeout: float,
    resume: bool,
    retry_failed: bool,
    overwrite: bool,
    requests_per_minute: float,
    tokens_per_minute: float,
    max_errors: int | None,
    process: str | None,
    summary_json: Path | None,
) -> None:
    """Send the REQUESTS of a JSONL file in OpenAI's Batch format, and append each answer to RESULTS.

    Failed requests (429, 5xx, 408, broken connections, timeouts) are sent again with growing, jittered delays
    and no earlier than Retry-After asks for.  That includes POST: where a connection broke before the answer,
    the model may run twice.  Use --retries 0 where that matters.

    Exit code: 0 everything was answered with success; 1 some requests failed, or the run stopped early; 2
    nothing was sent; 130 or 143 interrupted by Ctrl-C or SIGTERM.
    """
    if resume and overwrite:
        raise click.UsageError("--resume keeps the results and --overwrite discards them; give one of them")
    if retry_failed and not resume:
        raise click.UsageError("--retry-failed works on the results of an earlier run; add --resume")
    _allow_open_files(concurrency)
    with ExitStack() as stack:
        try:
            client = stack.enter_context(Client(headers=_headers(headers, api_key_env), timeout=timeout))
            report = stack.enter_context(progress())
            run = BatchRun(
                client,
                requests,
                results,
                base_url=base_url,
                concurrency=concurrency,
                retry=Retry(attempts=retries + 1),
                resume=resume,
                retry_failed=retry_failed,
                overwrite=overwrite,
                requests_per_minute=requests_per_minute,
                tokens_per_minute=tokens_per_minute,
                max_errors=math.inf if max_errors is None else max_errors,
                process=process,
                on_progress=report,
            )
        except (OffgilError, OSError, ValueError) as exc:
            raise NothingSent(str(exc)) from exc
        with _stop_on_signals(run) as stop:
            try:
                summary = run.run()
            except OSError as exc:
                raise click.ClickException(f"{exc}; the answers so far are in {results}, go on with --resume") from exc
    click.echo(_report(summary))
    if summary_json is not None:
        try:
            summary_json.write_text(json.dumps(asdict(summary), indent=2) + "\n")
        except OSError as exc:
            raise click.ClickException(f"the run ended, but its figures cannot be written: {exc}") from exc
    if not summary.complete:
        click.echo("stopped before the end; run the same command with --resume to go on", err=True)
    if stop.signal is not None:
        sys.exit(128 + stop.signal)
    sys.exit(0 if summary.complete and not summary.failed and not summary.skipped_failed else 1)
