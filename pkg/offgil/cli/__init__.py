"""The command ``offgil`` and its subcommands, one module each.  Needs the extra ``cli``."""
