"""How a batch shows where it is: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from offgil.batch import BatchRun

__all__ = ["progress"]

#: Seconds between two redraws; each costs milliseconds, which the transfers wait for.
REDRAW = 0.25
#: Seconds between two lines in a log.
LOG = 5.0


@contextmanager
def progress() -> Iterator[Callable[[BatchRun], None]]:
    """The function to call with the run now and then; the bar is there while the context is."""
    if not sys.stderr.isatty():
        yield _every(LOG, lambda run: click.echo(_text(run), err=True))
        return
    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    console = Console(stderr=True)
    # No refresh thread: it would compete with the run for the GIL.
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
        task = bar.add_task("", total=None)

        def draw(run: BatchRun) -> None:
            bar.update(task, description=_text(run), total=run.total_bytes, completed=run.done_bytes, refresh=True)

        yield _every(REDRAW, draw)


def _every(seconds: float, show: Callable[[BatchRun], None]) -> Callable[[BatchRun], None]:
    due = seconds

    def report(run: BatchRun) -> None:
        nonlocal due
        if run.elapsed >= due:
            due = run.elapsed + seconds
            show(run)

    return report


def _text(run: BatchRun) -> str:
    counts = run.counts
    rate = (counts.ok + counts.failed) / run.elapsed
    return f"{counts.done:,} done, {counts.failed:,} failed, {counts.retried:,} retried, {rate:,.0f}/s"
