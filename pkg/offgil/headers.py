"""Response headers: case-insensitive, several values a name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Headers"]


class Headers(Mapping[str, str]):
    """The header fields of a response, in the order in which they came.

    As a mapping it is case-insensitive and joins repeated fields with ``", "`` (RFC 9110, section 5.2); use
    :meth:`get_list` where that is wrong, as for ``Set-Cookie``.

    Thread-safety: safe on shared objects (immutable).
    """

    __slots__ = ("_fields", "raw")

    def __init__(self, raw: Sequence[tuple[bytes, bytes]]) -> None:
        #: The fields as they came: (name, value) in bytes.
        self.raw = tuple(raw)
        self._fields: dict[str, list[str]] = {}
        for name, value in self.raw:
            # Latin-1 decodes any byte; RFC 9110 calls what is not ASCII opaque.
            self._fields.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._fields[name.lower()])

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def get_list(self, name: str) -> list[str]:
        """Return every value of ``name``, in order; an empty list if there is none."""
        return list(self._fields.get(name.lower(), ()))

    def multi_items(self) -> list[tuple[str, str]]:
        """Return every field as (lower-case name, value), repeated names included."""
        return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in self.raw]

    def __repr__(self) -> str:
        return f"Headers({self.multi_items()!r})"
