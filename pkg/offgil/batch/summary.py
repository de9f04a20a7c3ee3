"""Figures of a run, in constant memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Counts", "Histogram", "Latency", "Summary"]

_PER_OCTAVE = 32  # neighbouring buckets differ by 2 %
_SHORTEST = 1e-6
_OCTAVES = 36  # from a microsecond to nineteen hours


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from sending a request to its answer's last byte, retries and their pauses not included.

    Thread-safety: safe on shared objects; it never changes.
    """

    p50: float
    p90: float
    p99: float
    max: float


class Histogram:
    """Durations in logarithmic buckets: quantiles to within 2 %, whatever their number.

    Thread-safety: compatible.
    """

    __slots__ = ("_buckets", "_count", "_max")

    def __init__(self) -> None:
        self._buckets = [0] * (_OCTAVES * _PER_OCTAVE)
        self._count = 0
        self._max = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        bucket = int(math.log2(seconds / _SHORTEST) * _PER_OCTAVE) if seconds > _SHORTEST else 0
        self._buckets[min(bucket, len(self._buckets) - 1)] += 1
        self._count += 1
        self._max = max(self._max, seconds)

    def quantile(self, share: float) -> float:
        """The duration that ``share`` (0 to 1) of all do not exceed, to within a bucket; 0 if empty."""
        rank = math.ceil(share * self._count)
        below = 0
        for bucket, count in enumerate(self._buckets):
            below += count
            if count and below >= rank:
                return min(self._max, _SHORTEST * math.exp2((bucket + 1) / _PER_OCTAVE))
        return self._max

    def latency(self) -> Latency:
        """The usual quantiles."""
        return Latency(self.quantile(0.5), self.quantile(0.9), self.quantile(0.99), self._max)


@dataclass(slots=True)
class Counts:
    """What happened to the input's lines so far.

    Attributes:
        ok: answered with a 2xx status and JSON, in this run.
        failed: given an error line or another status, in this run.
        rejected: those of ``failed`` that were not sent, since their line is not a valid request.
        skipped: lines that the results file answered already.
        retried: requests sent once more after a failure.

    Thread-safety: compatible; the run writes, others may read single members.
    """

    ok: int = 0
    failed: int = 0
    rejected: int = 0
    skipped: int = 0
    retried: int = 0

    @property
    def done(self) -> int:
        """Lines that have their result."""
        return self.ok + self.failed + self.skipped


@dataclass(frozen=True, slots=True)
class Summary:
    """The outcome of a run.

    Attributes:
        requests: lines of the input that have their result now.
        ok: of those, in this run, answered with a 2xx status and JSON.
        failed: of those, in this run, all others.
        rejected: of ``failed``, not sent, since the line is not a valid request.
        skipped: answered by an earlier run.
        skipped_failed: failed lines that the earlier run left in the results.
        retried: requests sent once more after a failure.
        seconds: duration of this run.
        requests_per_second: results of this run by its duration.
        latency: of the answers of this run.
        complete: every line of the input has its result.
        results: path of the results file.

    Thread-safety: safe on shared objects; it never changes.
    """

    requests: int
    ok: int
    failed: int
    rejected: int
    skipped: int
    skipped_failed: int
    retried: int
    seconds: float
    requests_per_second: float
    latency: Latency
    complete: bool
    results: str
