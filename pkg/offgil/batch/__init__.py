"""JSONL in, JSONL out: thousands of HTTP requests from a file, with retries, rate limits and resume.

``offgil batch`` is this module on the command line; ``docs/batch.md`` describes the files.  From Python::

    from pathlib import Path
    from offgil import Client
    from offgil.batch import BatchRun

    with Client(headers={"authorization": f"Bearer {key}"}) as client:
        run = BatchRun(client, Path("requests.jsonl"), Path("results.jsonl"), base_url="https://api.openai.com")
        summary = run.run()
"""

from __future__ import annotations

from offgil.batch.run import BatchRun
from offgil.batch.summary import Counts, Latency, Summary

__all__ = ["BatchRun", "Counts", "Latency", "Summary"]
