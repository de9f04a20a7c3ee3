"""A set of strings that remembers only their hashes."""

from __future__ import annotations

from array import array

__all__ = ["IdSet"]

_SHARDS = 64


class IdSet:
    """Which ids were seen, in 12 to 24 bytes each, whatever their length.

    A ``set`` of the strings themselves costs 100 bytes and more apiece.  Open addressing in arrays of 64-bit
    hashes; 64 small tables instead of one large, so that growing one never stalls the caller for long.  Two
    ids are taken for one with a chance of n² / 2^65: one in 37 million for a million ids. :func:`hash` of a
    ``str`` is keyed per process, so nobody can prepare such a pair.

    Thread-safety: compatible.
    """

    __slots__ = ("_counts", "_tables")

    def __init__(self) -> None:
        self._tables = [array("q", bytes(8 * 16)) for _ in range(_SHARDS)]
        self._counts = [0] * _SHARDS

    def __len__(self) -> int:
        return sum(self._counts)

    def add(self, key: str) -> bool:
        """Remember ``key``; ``False`` if it was there already."""
        value = hash(key) or 1  # 0 marks a free place
        shard = value % _SHARDS
        table = self._tables[shard]
        place = _find(table, value)
        if table[place]:
            return False
        table[place] = value
        self._counts[shard] += 1
        if 3 * self._counts[shard] > 2 * len(table):
            self._tables[shard] = _grown(table)
        return True

    def __contains__(self, key: str) -> bool:
        value = hash(key) or 1
        table = self._tables[value % _SHARDS]
        return table[_find(table, value)] != 0


def _find(table: array[int], value: int) -> int:
    """The place of ``value``, or the free one where it belongs."""
    mask = len(table) - 1
    place = (value >> 6) & mask  # the low bits chose the shard
    while (found := table[place]) and found != value:
        place = (place + 1) & mask
    return place


def _grown(table: array[int]) -> array[int]:
    larger = array("q", bytes(8 * 2 * len(table)))
    for value in table:
        if value:
            larger[_find(larger, value)] = value
    return larger
