"""What the commands of ci/ share.  Standard library only: it runs before anything is installed."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  (whoever runs this has not installed offgil yet)
    sys.exit(f"offgil's commands need Python 3.11 or newer as python3, this is {sys.version.split()[0]}")
