"""``offgil compare``: the same workload on several interpreters."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from offgil.compare.report import disagreements, table
from offgil.compare.run import compare as run_comparison
from offgil.compare.workloads import BUILT_IN

__all__ = ["compare"]


@click.command()
@click.argument("workloads", nargs=-1, metavar="[WORKLOAD]...")
@click.option("--python", "pythons", multiple=True, metavar="PATH", help="An interpreter that has offgil; repeatable.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Measured runs of each.")
@click.option("--quick", is_flag=True, help="One round at a tenth of the size: for the answers, not for the times.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Also write the rows here.")
def compare(
    *, workloads: tuple[str, ...], pythons: tuple[str, ...], rounds: int, quick: bool, json_file: Path | None
) -> None:
    """Run workloads on several interpreters, with threads and processes and with each store.

    WORKLOAD is fetch, fetch+compute, store, executor, or your own as file.py:function: a function without arguments
    whose result is compared by its repr().  Without --python, this interpreter.

    Exit status 1 where something failed or answers differ.
    """
    names = workloads or tuple(workload.name for workload in BUILT_IN)
    try:
        rows = run_comparison(
            pythons or (sys.executable,),
            names,
            rounds=1 if quick else rounds,
            scale=0.1 if quick else 1.0,
            progress=lambda line: click.echo(line, err=True),
        )
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    click.echo(table(rows))
    if json_file is not None:
        json_file.write_text(json.dumps([row.as_json() for row in rows], indent=2) + "\n")
    problems = disagreements(rows)
    for line in problems:
        click.echo(line, err=True)
    if problems:
        sys.exit(1)
    click.echo("all answers are the same")
