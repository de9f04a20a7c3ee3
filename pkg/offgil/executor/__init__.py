"""The executor: :class:`Executor`, and what it tells about its tasks."""

import sys

from offgil.executor.executor import Executor, Submitter
from offgil.executor.tasks import ExecutorStats, TaskReport

if sys.platform == "linux":
    # The fork server imports the main module, and so this one: then none of its workers has to.
    import offgil.executor.worker  # noqa: F401

__all__ = ["Executor", "ExecutorStats", "Submitter", "TaskReport"]
