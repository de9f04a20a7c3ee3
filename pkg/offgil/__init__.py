"""Network calls off the GIL, and their results where they are needed."""

__version__ = "0.1.0"

from offgil.client import Batch, Client
from offgil.errors import *  # noqa: F403
from offgil.headers import Headers
from offgil.request import Request
from offgil.response import Response
from offgil.timeouts import Timeout

__all__ = ["Batch", "Client", "Headers", "Request", "Response", "Timeout"]
