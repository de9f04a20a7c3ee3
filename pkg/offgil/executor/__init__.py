"""The executor: :class:`Executor`, and what it tells about its tasks."""

from offgil.executor.executor import Executor, Submitter
from offgil.executor.tasks import ExecutorStats, TaskReport

__all__ = ["Executor", "ExecutorStats", "Submitter", "TaskReport"]
