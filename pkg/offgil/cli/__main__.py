"""Entry point of ``offgil`` and of ``python -m offgil.cli``."""

from __future__ import annotations

import sys

__all__ = ["main"]

_EXTRA = {"click", "rich", "h11"}


def main() -> None:
    """Run the command line; its subcommands' exit codes are documented in their help."""
    try:
        from offgil.cli.group import cli

        cli(prog_name="offgil")
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] not in _EXTRA:
            raise
        print(
            f"offgil: the command line needs {exc.name}; install it with: pip install 'offgil[cli]'",
            file=sys.stderr,
        )
        sys.exit(2)


if __name__ == "__main__":
    main()
