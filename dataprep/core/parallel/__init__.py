"""Runs a row operator over blocks of lines: inline, or on several processes.

The engine knows no room. An operator (any picklable callable from a parsed row to the bytes of an
output row) and the blocks are handed to it; outcomes come back in the blocks' order, so that the same
bytes come out whatever the number of workers.
"""

from dataprep.core.parallel.operators import Failure, Outcome, RowOperator, apply
from dataprep.core.parallel.pool import AUTO_WORKERS_BYTES, Pool, available_cores
from dataprep.core.parallel.runner import run

__all__ = [
    "AUTO_WORKERS_BYTES",
    "Failure",
    "Outcome",
    "Pool",
    "RowOperator",
    "apply",
    "available_cores",
    "run",
]
