"""An answer's body as a file."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from offgil.errors import FileError
from offgil.headers import Headers
from offgil.response import Response, status_error
from offgil.stats import Timings

__all__ = ["Download", "PartialFile"]


@dataclass(frozen=True, slots=True)
class Download:
    """An answer whose body is in a file; made by :meth:`Client.download`.

    Attributes:
        path: the file.
        size: its bytes: the body, decoded.
        status_code: always 2xx.
        http_version: ``"HTTP/1.1"`` or the like.
        url: where the body came from.
        headers: the header fields.
        timings: when each phase was over.
        history: the answers that redirected here.

    Thread-safety: safe on shared objects (immutable).
    """

    path: Path
    size: int
    status_code: int
    http_version: str
    url: str
    headers: Headers
    timings: Timings
    history: tuple[Response, ...]


class PartialFile:
    """A file beside ``path`` that takes its place once it is complete, and is gone if it never is.

    Thread-safety: compatible.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a directory; name a file in it", str(self.path))
        if self.path.exists() and not self.path.is_file():  # root could replace /dev/null
            raise FileExistsError(errno.EEXIST, "is no regular file, and would be replaced by one", str(self.path))
        # In the same folder: a rename is atomic within one file system only.
        self._partial = self.path.parent / f".offgil-{secrets.token_hex(8)}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self.descriptor = os.open(self._partial, flags, 0o666)

    def keep(self, response: Response) -> Download:
        """Return what became of ``response``, whose body was written to the descriptor.

        Raises:
            HTTPStatusError: the answer is not 2xx, so its body was not written.
        """
        if not response.is_success:
            raise status_error(response, response.text, "the whole answer is in .response; no file was written")
        size = os.fstat(self.descriptor).st_size
        self._close()  # where a network's file system says that something could not be written
        os.replace(self._partial, self.path)
        return Download(
            self.path,
            size,
            response.status_code,
            response.http_version,
            response.url,
            response.headers,
            response.timings,
            response.history,
        )

    def _close(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()
        with contextlib.suppress(FileNotFoundError):  # it was kept
            os.unlink(self._partial)
        if isinstance(exc, FileError) and exc.filename is None:
            exc.filename = str(self.path)
