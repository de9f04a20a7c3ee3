"""The file of results: appended line by line, and read again to resume.

What makes a run resumable is that the file is its only state.  A line is final once it ends in a newline; a
process killed in the middle of a write leaves at most one line without one, at the end, and resuming cuts
that off.  Lines are written in one ``write`` per group of completions, to a file opened for appending and
locked against a second run.

Nothing is flushed to the disk before the end of the run: the kernel keeps what was written when the process
is killed, and an ``fsync`` per group would cost more than the requests.  After a power cut the answers of the
last seconds may be missing; resuming sends their requests again.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from offgil.batch.ids import IdSet
from offgil.errors import BatchError

__all__ = ["LINE_START", "Answered", "ResultsFile"]

#: What every line begins with; OpenAI's ids have the same prefix.
LINE_START = b'{"id":"batch_req_'


@dataclass(slots=True)
class Answered:
    """What the results file held when it was opened.

    Attributes:
        ids: every ``custom_id`` that has its line.
        lines: numbers of the input lines that have an error line but no ``custom_id``.
        ok: lines with a 2xx status and no error.
        failed: the others.
    """

    ids: IdSet = field(default_factory=IdSet)
    lines: set[int] = field(default_factory=set)
    ok: int = 0
    failed: int = 0


class _Entry(NamedTuple):
    """What resuming needs of one line; ``line`` counts where there is no ``custom_id``."""

    custom_id: str | None
    line: int
    ok: bool


class ResultsFile:
    """A results file, open and locked.

    Args:
        path: a regular file.
        resume: keep the answers that ``path`` holds, if it exists.
        retry_failed: with ``resume``, drop the failed ones, so that their requests are sent again.
        overwrite: discard what ``path`` holds.

    Raises:
        BatchError: the file exists and neither ``resume`` nor ``overwrite`` is given, is no results file, or
            another run writes to it.  It is left as it was.
        OSError: the file cannot be opened.

    Thread-safety: compatible.
    """

    def __init__(
        self, path: Path, *, resume: bool = False, retry_failed: bool = False, overwrite: bool = False
    ) -> None:
        self.path = path
        self.answered = Answered()
        try:
            self._file: BinaryIO = path.open("a+b" if resume or overwrite else "xb", buffering=0)
        except FileExistsError as exc:
            raise BatchError(
                f"{path} exists; go on with it (--resume), replace it (--overwrite) or name another file"
            ) from exc
        try:
            self._lock()
            if overwrite:
                self._file.truncate(0)
            elif resume:
                self._file.truncate(self._scan())
                if retry_failed and self.answered.failed:
                    self._drop_failed()
        except BaseException:
            self._file.close()
            raise

    def append(self, lines: bytes) -> None:
        """Write whole lines.

        Raises:
            OSError: the disk is full, for instance.  The file may end in a torn line; resuming cuts it off.
        """
        rest = memoryview(lines)
        while rest:
            rest = rest[self._file.write(rest) :]

    def close(self) -> None:
        """Bring everything to the disk and close the file."""
        if not self._file.closed:
            os.fsync(self._file)
            self._file.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise BatchError(f"another run is writing to {self.path}; wait for it or name another file") from exc

    def _scan(self) -> int:
        """Fill in ``answered`` and return the length of the whole lines."""
        end = 0
        with self.path.open("rb") as lines:
            for number, raw in enumerate(lines, 1):
                if not raw.endswith(b"\n"):
                    if not _is_torn(raw):
                        raise _no_result(self.path, number)
                    break
                self._note(_entry(raw, self.path, number))
                end += len(raw)
        return end

    def _note(self, entry: _Entry) -> None:
        if entry.custom_id is not None:
            self.answered.ids.add(entry.custom_id)
        else:
            self.answered.lines.add(entry.line)
        if entry.ok:
            self.answered.ok += 1
        else:
            self.answered.failed += 1

    def _drop_failed(self) -> None:
        """Replace the file by one without the failed lines, in one step."""
        temporary = self.path.with_name(self.path.name + ".tmp")
        temporary.unlink(missing_ok=True)
        self.answered = Answered()
        with self._file, self.path.open("rb") as lines:  # the old lock is held until the new file is in place
            self._file = temporary.open("a+b", buffering=0)
            self._lock()
            for number, raw in enumerate(lines, 1):
                entry = _entry(raw, self.path, number)
                if entry.ok:
                    self.append(raw)
                    self._note(entry)
            os.fsync(self._file)
            temporary.replace(self.path)


def _entry(raw: bytes, path: Path, number: int) -> _Entry:
    try:
        result = json.loads(raw)
        custom_id, response, error = result["custom_id"], result["response"], result["error"]
        line = error["line"] if custom_id is None else 0
        ok = error is None and 200 <= response["status_code"] < 300
    except (ValueError, RecursionError, LookupError, TypeError) as exc:
        raise _no_result(path, number) from exc
    if not isinstance(custom_id, str | None) or not isinstance(line, int):
        raise _no_result(path, number)
    return _Entry(custom_id, line, ok)


def _no_result(path: Path, number: int) -> BatchError:
    return BatchError(f"{path}, line {number} is not a result of a batch; nothing was changed or sent")


def _is_torn(raw: bytes) -> bool:
    """Whether an unfinished line is ours to cut off, and not the end of somebody's other file.

    A power cut can leave zeros where the end of a write was to be.
    """
    written = raw.rstrip(b"\0")
    return written.startswith(LINE_START) or LINE_START.startswith(written)
