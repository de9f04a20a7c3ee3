"""The group of subcommands, each imported only when it is used."""

from __future__ import annotations

from importlib import import_module

import click

from offgil import __version__

__all__ = ["cli"]

#: Subcommand -> "module:attribute".  Lazy, so that ``offgil batch`` starts fast and needs only what it uses.
COMMANDS = {
    "batch": "offgil.cli.batch:batch",
    "compare": "offgil.cli.compare:compare",
    "doctor": "offgil.cli.doctor:doctor",
    "mock-server": "offgil.cli.mock_server:mock_server",
    "store": "offgil.cli.store:store",
}


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports them on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup)
@click.version_option(__version__, prog_name="offgil")
def cli() -> None:
    """Network calls off the GIL, and their results where they are needed."""
