"""The loop of a batch: keep so many transfers in flight, write what completes.

One thread does everything.  It sits in ``transfers.wait()``, which drives all transfers without the GIL and
returns with whatever has completed; each group of completions costs one ``write``, and the places they leave
are filled at once.  Requests that failed and are worth another attempt wait in a heap, by the time when they
are due.

Memory is bounded by the number of requests in hand, in flight or waiting, and 12 to 24 bytes for each
``custom_id`` seen.
"""

from __future__ import annotations

import heapq
import math
import re
import time
from collections.abc import Callable
from functools import lru_cache
from itertools import count
from json.encoder import encode_basestring_ascii as quote
from os import urandom
from pathlib import Path
from typing import Any

from offgil.batch.process import Processor
from offgil.batch.rate import TokenBucket
from offgil.batch.results import LINE_START, ResultsFile
from offgil.batch.source import Job, Rejected, RequestFile, strict_json
from offgil.batch.summary import Counts, Histogram, Summary
from offgil.client import Batch, Client
from offgil.errors import BatchError, InvalidURL, RequestError
from offgil.map import Outcome
from offgil.retry import Retry

__all__ = ["BatchRun"]

#: Longest time in seconds that the loop does not look at ``stop()`` or report progress.
TICK = 0.1
#: Lines read between two looks at the transfers, so that a stretch of skipped lines does not starve them.
LINES_PER_TURN = 1000
#: Requests that may wait for another attempt, per place in flight.  Beyond it nothing new is sent: that keeps
#: memory bounded, and spares a server that refuses everything.
WAITING_PER_PLACE = 4


class BatchRun:
    """One run over a file of requests.

    Opening it checks everything that can be checked before something is sent.

    Args:
        client: sends the requests; its headers carry the credentials.
        requests: the JSONL file of requests, in OpenAI's Batch format.
        results: the JSONL file of results.
        base_url: what the requests' ``url`` is appended to.
        concurrency: transfers in flight at most.
        retry: when a failed request is sent again.  That includes POST: a request that failed without an
            answer may have reached the model all the same.
        resume: go on where an earlier run with this results file ended.
        retry_failed: with ``resume``, send the failed requests again.
        overwrite: discard the results file's content.
        requests_per_minute: limit on requests sent, retries included.
        tokens_per_minute: limit on tokens, estimated before a request and corrected by its answer's
            ``usage``.
        max_errors: stop sending after so many failed requests.
        process: ``"module:function"``: called with each request and its response, as dicts, on the workers of an
            :class:`offgil.Executor`.  What it returns becomes the result line's ``processed``.
        on_progress: called with this object about ten times a second.

    Raises:
        BatchError: the results file exists or is no results file, see
            :class:`~offgil.batch.results.ResultsFile`; or there is no function ``process``.
        OSError: a file cannot be opened.

    Thread-safety: compatible, but :meth:`stop` may be called from anywhere.
    """

    def __init__(
        self,
        client: Client,
        requests: Path,
        results: Path,
        *,
        base_url: str,
        concurrency: int = 256,
        retry: Retry | None = None,
        resume: bool = False,
        retry_failed: bool = False,
        overwrite: bool = False,
        requests_per_minute: float = math.inf,
        tokens_per_minute: float = math.inf,
        max_errors: float = math.inf,
        process: str | None = None,
        on_progress: Callable[[BatchRun], None] | None = None,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, not {concurrency}")
        self.total_bytes = requests.stat().st_size
        if results.exists() and results.samefile(requests):
            raise BatchError(f"{results} is the file of requests; name another file for the results")
        self._client = client
        self._concurrency = concurrency
        self._retry = retry if retry is not None else Retry()
        self._max_errors = max_errors
        self._on_progress = on_progress
        self._limits_tokens = tokens_per_minute != math.inf
        now = time.monotonic()
        self._request_rate = TokenBucket(requests_per_minute, now)
        self._token_rate = TokenBucket(tokens_per_minute, now)

        # So many that no worker runs dry while answers arrive.
        self._processor = None if process is None else Processor(process, limit=4 * concurrency)
        self._source = RequestFile(requests, base_url, count_tokens=self._limits_tokens)
        try:
            self._results = ResultsFile(results, resume=resume, retry_failed=retry_failed, overwrite=overwrite)
        except BaseException:
            self._source.close()
            if self._processor is not None:
                self._processor.close()
            raise
        self._lines = self._source.read(self._results.answered)
        self._exhausted = False
        self._waiting: list[tuple[float, int, Job]] = []  # (due, tie-breaker, job)
        self._numbers = count()
        self._in_hand_bytes = 0
        self._stop_at: float | None = None
        self._out: list[bytes] = []
        # Unique among runs, so that ids stay unique in a resumed results file.
        self._line_start = LINE_START.decode() + urandom(4).hex()
        self.counts = Counts()
        self._latency = Histogram()
        self._started = now

    def stop(self, grace: float = math.inf) -> None:
        """Send nothing more, and end when what is in flight has completed or ``grace`` seconds are over.

        What is then still in flight is dropped, without a result.  From any thread or signal handler.
        """
        self._stop_at = time.monotonic() + grace

    @property
    def done_bytes(self) -> int:
        """Bytes of the input whose lines have their result; compare with ``total_bytes``."""
        return self._source.position - self._in_hand_bytes

    @property
    def elapsed(self) -> float:
        """Seconds since the run was opened."""
        return time.monotonic() - self._started

    def run(self) -> Summary:
        """Send everything and close the files.

        Returns:
            What happened; :attr:`Summary.complete` is false if the run was stopped.

        Raises:
            OSError: the input cannot be read or the results cannot be written.  Resuming is possible.
            KeyboardInterrupt: the results file is whole, but answers that arrived at that very moment may be
                missing from it.  A signal handler that calls :meth:`stop` loses none.
        """
        try:
            with self._client.batch(self._concurrency) as transfers:
                try:
                    self._loop(transfers)
                finally:
                    self._take_processed(0)
                    self._write_out()
        finally:
            self._source.close()
            self._results.close()
            if self._processor is not None:
                self._processor.close()
        return self._summary()

    def _loop(self, transfers: Batch) -> None:
        next_report = 0.0
        while True:
            pause = self._fill(transfers)
            self._write_out()
            if transfers.in_flight:
                if self._stop_at is not None and time.monotonic() >= self._stop_at:
                    return
                for job, outcome in transfers.wait(min(pause, TICK)):
                    self._complete(job, outcome)
                self._take_processed(0)
                self._write_out()
            elif self._processor is not None and self._processor.pending:
                if self._stop_at is not None and time.monotonic() >= self._stop_at:
                    return
                self._take_processed(min(pause, TICK))
            elif self._stop_at is not None or (self._exhausted and not self._waiting):
                return
            else:
                time.sleep(min(pause, TICK))
            if self._on_progress is not None and (now := time.monotonic()) >= next_report:
                next_report = now + TICK
                self._on_progress(self)

    def _fill(self, transfers: Batch) -> float:
        """Send what may be sent; return the seconds until more may be, ``inf`` for after a completion."""
        now = time.monotonic()
        for _ in range(LINES_PER_TURN):
            if self._stop_at is not None or transfers.in_flight >= self._concurrency:
                return math.inf
            if self._processor is not None and self._processor.full:
                return math.inf
            if pause := max(self._request_rate.pause(now), self._token_rate.pause(now)):
                return pause
            if self._waiting and self._waiting[0][0] <= now:
                job = heapq.heappop(self._waiting)[2]
            elif self._exhausted or len(self._waiting) >= WAITING_PER_PLACE * self._concurrency:
                return self._waiting[0][0] - now if self._waiting else math.inf
            else:
                fresh = self._next_line()
                if fresh is None:
                    continue
                job = fresh
            try:
                transfers.add(job.request, job)
            except (InvalidURL, RequestError) as exc:  # not sent
                self.counts.rejected += 1
                self._result(job, "null", _error("invalid_request", str(exc)), ok=False)
                continue
            job.attempts += 1
            self._request_rate.take(1)
            self._token_rate.take(job.tokens)
        return 0.0

    def _next_line(self) -> Job | None:
        """Take one line of the input; ``None`` if it leaves nothing to send."""
        try:
            line = next(self._lines)
        except StopIteration:
            self._exhausted = True
            return None
        if line is None:
            self.counts.skipped += 1
            return None
        self._in_hand_bytes += line.size
        if isinstance(line, Job):
            return line
        self.counts.rejected += 1
        self._result(line, "null", _error(line.code, line.message, line.line), ok=False)
        return None

    def _complete(self, job: Job, outcome: Outcome) -> None:
        """Write the result of one transfer, or put the request back for another attempt."""
        pause = self._retry.pause_after(job.attempts, outcome)
        if pause is not None:
            self._try_again(job, pause)
            return
        if isinstance(outcome, Exception):
            attempt = f" (attempt {job.attempts})" if job.attempts > 1 else ""
            error = _error(_code(type(outcome).__name__), f"{outcome}{attempt}")
            self._result(job, "null", error, ok=False)
            return
        status, headers = outcome.status_code, outcome.headers
        self._latency.add(outcome.elapsed_seconds)
        body, error = self._answer(job, outcome.content)
        request_id = quote(headers.get("x-request-id") or headers.get("request-id") or "")
        response = f'{{"status_code":{status},"request_id":{request_id},"body":{body}}}'
        if self._processor is not None and error == "null":
            self._processor.submit((job, response, 200 <= status < 300), _request_line(job), response)
            return
        self._result(job, response, error, ok=error == "null" and 200 <= status < 300)

    def _take_processed(self, timeout: float) -> None:
        """Write the results whose function has returned; wait for one if there is none."""
        if self._processor is None:
            return
        for (job, response, ok), text, failure in self._processor.done(timeout):
            error = _error("process_failed", failure) if failure else "null"
            self._result(job, response, error, ok=ok and not failure, processed=text)

    def _answer(self, job: Job, content: bytes) -> tuple[str, str]:
        """The answer's body and the line's error, both as JSON text."""
        try:
            text = content.decode()
            parsed = strict_json(text)
        except (ValueError, RecursionError):
            # Kept as a string, so that nothing that was paid for is lost.
            text = content.decode(errors="replace")
            return quote(text), _error("answer_not_json", "the answer is not JSON")
        if self._limits_tokens and (used := _tokens_used(parsed)) is not None:
            self._token_rate.take(used - job.tokens)
        # Valid JSON has line breaks only between its tokens, so the text itself fits on a line without them.
        return text.replace("\n", "").replace("\r", ""), "null"

    def _try_again(self, job: Job, pause: float) -> None:
        if self._stop_at is not None:
            return  # no attempt now and no result either, so that a resumed run makes it
        self.counts.retried += 1
        heapq.heappush(self._waiting, (time.monotonic() + pause, next(self._numbers), job))

    def _result(self, line: Job | Rejected, response: str, error: str, *, ok: bool, processed: str = "null") -> None:
        custom_id = "null" if line.custom_id is None else quote(line.custom_id)
        number = next(self._numbers)
        extra = "" if self._processor is None else f',"processed":{processed}'
        self._out.append(
            f'{self._line_start}{number:08x}","custom_id":{custom_id},"response":{response},"error":{error}{extra}}}\n'.encode()
        )
        self._in_hand_bytes -= line.size
        if ok:
            self.counts.ok += 1
            return
        self.counts.failed += 1
        if self.counts.failed >= self._max_errors and self._stop_at is None:
            self.stop()

    def _write_out(self) -> None:
        if self._out:
            lines, self._out = b"".join(self._out), []
            self._results.append(lines)

    def _summary(self) -> Summary:
        counts, seconds = self.counts, self.elapsed
        return Summary(
            requests=counts.done,
            ok=counts.ok,
            failed=counts.failed,
            rejected=counts.rejected,
            skipped=counts.skipped,
            skipped_failed=self._results.answered.failed,
            retried=counts.retried,
            seconds=seconds,
            requests_per_second=(counts.ok + counts.failed) / seconds,
            latency=self._latency.latency(),
            complete=self._exhausted and not self._in_hand_bytes,
            results=str(self._results.path.resolve()),
        )


def _request_line(job: Job) -> str:
    """The request as its line had it."""
    request = job.request
    body = request.content.decode() if isinstance(request.content, bytes) else "null"
    start = f'"custom_id":{quote(job.custom_id)},"method":"{request.method}","url":{quote(job.path)}'
    return f'{{{start},"body":{body}}}'


def _tokens_used(answer: Any) -> int | None:
    usage = answer.get("usage") if isinstance(answer, dict) else None
    used = usage.get("total_tokens") if isinstance(usage, dict) else None
    return used if isinstance(used, int) else None


def _error(code: str, message: str, line: int | None = None) -> str:
    number = "" if line is None else f',"line":{line}'
    return f'{{"code":{quote(code)},"message":{quote(message)}{number}}}'


@lru_cache
def _code(name: str) -> str:
    """``ReadTimeout`` -> ``read_timeout``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
