"""The same workload on several interpreters, with threads or processes and with each store.

Are the answers the same, and how fast do they come?  ``workloads.py`` has the built-in workloads, ``child.py`` runs one
of them in a process of its own, ``run.py`` drives those processes, and ``report.py`` makes the table.
"""

from offgil.compare.report import Row, table
from offgil.compare.run import compare

__all__ = ["Row", "compare", "table"]
