"""Lines of text out of bytes that are cut anywhere."""

from __future__ import annotations

import codecs
import re

__all__ = ["LineDecoder"]

# str.splitlines would also split at a form feed, U+2028 and more.
_LINE_END = re.compile("\r\n|\r|\n")


class LineDecoder:
    """Splits at LF, CR and CRLF, and returns each line as soon as its end is there.

    A CR ends its line at once; whether an LF follows is settled when the next bytes come.

    Args:
        charset: how the bytes are decoded; what cannot be becomes U+FFFD.
    """

    def __init__(self, charset: str) -> None:
        self._decoder = codecs.getincrementaldecoder(charset)(errors="replace")
        self._partial: list[str] = []  # pieces of the line that has not ended; joined once
        self._after_cr = False

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that ``data`` ends, without their ends."""
        return self._split(self._decoder.decode(data))

    def finish(self) -> list[str]:
        """Return the last line if it has no end of its own."""
        lines = self._split(self._decoder.decode(b"", final=True))
        last = "".join(self._partial)
        self._partial.clear()
        return [*lines, last] if last else lines

    def _split(self, text: str) -> list[str]:
        if not text:
            return []
        if self._after_cr:
            text = text.removeprefix("\n")
        self._after_cr = text.endswith("\r")
        *lines, rest = _LINE_END.split(text)
        if lines:
            lines[0] = "".join((*self._partial, lines[0]))
            self._partial.clear()
        if rest:
            self._partial.append(rest)
        return lines
