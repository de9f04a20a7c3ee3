"""``offgil store``: looks at the named stores of this user, and removes them."""

from __future__ import annotations

import sys
from typing import Any

import click

from offgil.errors import StoreCorrupted, StoreError, StoreUnavailable

__all__ = ["store"]


@click.group()
def store() -> None:
    """The named stores of this user: list, inspect, remove."""
    if sys.platform != "linux":
        raise click.ClickException(f"named stores need Linux, this is {sys.platform}")


@store.command("ls")
def list_stores() -> None:
    """List all stores."""
    from offgil.store import named

    rows: list[tuple[str, ...]] = []
    for name in _or_fail(named.names):
        try:
            opened = _open(name)
        except StoreCorrupted as exc:
            rows.append((name, "damaged", str(exc)))
            continue
        except StoreUnavailable:
            continue  # removed since
        stats, attached = opened.stats(), opened._table.processes()
        sizes = f"{stats.entries} results", f"{_size(stats.bytes_used)} of {_size(stats.bytes_limit)}"
        # One of the processes is this command.
        rows.append((name, *sizes, f"{len(attached) - 1} processes"))
        opened.close()
    _table(rows)


@store.command()
@click.argument("name")
@click.option("--limit", default=50, show_default=True, help="Show at most so many results.")
def inspect(name: str, limit: int) -> None:
    """Show what the store NAME holds: its counters, its processes, and its results without their values."""
    opened = _or_fail(_open, name)
    stats, native = opened.stats(), opened._table.stats()
    counters = {field: getattr(stats, field) for field in stats.__slots__} | {"repairs": native.repairs}
    click.echo("  ".join(f"{field}={number}" for field, number in counters.items()))
    click.echo(f"processes: {' '.join(map(str, opened._table.processes()))}")
    entries = opened.snapshot()
    _table(
        [
            (
                repr(entry.key),
                entry.state,
                entry.codec,
                _size(entry.nbytes),
                f"priority {entry.priority}",
                f"topic {entry.topic!r}",
                f"{entry.age:.1f} s old",
                "" if entry.ttl is None else f"{entry.ttl:.1f} s left",
                f"from {entry.producer}",
                f"{entry.pins} pins",
            )
            for entry in entries[:limit]
        ]
    )
    if len(entries) > limit:
        click.echo(f"… and {len(entries) - limit} more; --limit shows them")
    opened.close()


@store.command("rm")
@click.argument("names", nargs=-1, required=True)
def remove(names: tuple[str, ...]) -> None:
    """Close the stores NAMES for all processes, whose waiters get Closed, and remove them."""
    from offgil.store import named

    for name in names:
        _or_fail(named.remove, name)


def _open(name: str) -> Any:
    from offgil.store.managed import ManagedDictStore

    return ManagedDictStore._existing(name)


def _or_fail(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except (StoreError, ValueError) as exc:
        raise click.ClickException(str(exc)) from exc


def _size(number: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def _table(rows: list[tuple[str, ...]]) -> None:
    columns = max(map(len, rows), default=0)
    widths = [max((len(row[i]) for row in rows if i < len(row) - 1), default=0) for i in range(columns)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip())
