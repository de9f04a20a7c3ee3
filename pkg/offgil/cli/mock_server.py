"""``offgil mock-server``: an LLM API without a model."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from offgil.mock.faults import Settings
from offgil.mock.server import serve, write_ready_file

__all__ = ["mock_server"]


@click.command("mock-server")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0 picks a free one.")
@click.option("--latency", type=click.FloatRange(min=0), default=0.0, metavar="SECONDS", help="Delay of each answer.")
@click.option("--jitter", type=click.FloatRange(min=0), default=0.0, metavar="SECONDS", help="Up to so much more.")
@click.option(
    "--error-rate",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="FRACTION",
    help="Share of requests answered with 429, 500 and 503 in turn.",
)
@click.option(
    "--retry-after",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="What a 429 asks for.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the errors and the jitter.")
@click.option(
    "--ready-file", type=click.Path(dir_okay=False, path_type=Path), help="Gets the base URL once it listens."
)
def mock_server(
    *,
    host: str,
    port: int,
    latency: float,
    jitter: float,
    error_rate: float,
    retry_after: float,
    seed: int,
    ready_file: Path | None,
) -> None:
    """Serve OpenAI's and Anthropic's APIs without a model, until SIGTERM or Ctrl-C.

    \b
    POST /v1/chat/completions  OpenAI's, also streamed
    POST /v1/embeddings        OpenAI's
    POST /v1/messages          Anthropic's, also streamed; wants a key, any
    GET  /v1/models, GET /health

    The answer echoes the last user message; with tools it calls one, and structured output fits its schema.
    Prints the base URL once connections are accepted.

    \b
    Headers ask for faults of one request:
    x-mock-status: 429 500       errors of its first attempts (as x-stainless-retry-count counts them)
    x-mock-delay: SECONDS        before the answer
    x-mock-first-token: SECONDS  before a stream's first event
    x-mock-interval: SECONDS     between a stream's events
    x-mock-break: COUNT          the connection ends after so many events
    """

    def ready(url: str) -> None:
        if ready_file is not None:
            write_ready_file(ready_file, url)
        click.echo(url)

    settings = Settings(latency, jitter, error_rate, retry_after, seed)
    try:
        asyncio.run(serve(settings, host, port, ready))
    except OSError as exc:
        raise click.ClickException(f"cannot listen on {host}:{port}: {exc.strerror}") from exc
