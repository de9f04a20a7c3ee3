"""An exception as a result: what a store that keeps references holds in its place."""

from __future__ import annotations

import copy
from typing import final

__all__ = ["Failure"]


@final
class Failure:
    """An exception, and its traceback as it was when it was put.

    Thread-safety: safe on shared objects; it never changes.
    """

    __slots__ = ("exception", "traceback")

    def __init__(self, exception: BaseException) -> None:
        self.exception = exception
        self.traceback = exception.__traceback__

    def fresh(self) -> BaseException:
        """A copy to raise, whose traceback goes on from where the original was put.

        Raising one object in several threads would mix their tracebacks, each raise making it longer, and on 3.13t it
        is a race on the object's memory.
        """
        original = self.exception
        try:
            made = copy.copy(original)
        except Exception:
            made = None
        if type(made) is not type(original):
            # Its __init__ does not take what it gave to Exception.__init__.  What __new__ and the attributes hold is
            # all that a reader can see of most exceptions.
            try:
                made = type(original).__new__(type(original), *original.args)
            except Exception:
                return original  # better than to raise something else
            made.__dict__.update(original.__dict__)
        if hasattr(original, "__notes__"):
            made.__notes__ = list(original.__notes__)
        made.__cause__ = original.__cause__
        made.__context__ = original.__context__
        made.__suppress_context__ = original.__suppress_context__
        return made.with_traceback(self.traceback)
