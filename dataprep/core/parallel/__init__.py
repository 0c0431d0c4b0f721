"""Run an operator over blocks of lines: in this process, or on several.

The engine depends on no package above it. It takes blocks and an operator, a picklable callable from a block
to an outcome. Outcomes come back in the order of the blocks, so the same bytes come out for any number of
workers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dataprep.core.parallel.engines import LOCAL, Engine, backend_for, cluster, current, engine
from dataprep.core.parallel.folding import (
    Fold,
    LineNumbers,
    Progress,
    Sink,
    refuse_empty,
    refuse_unreadable,
)
from dataprep.core.parallel.operators import (
    UNPARSED,
    Failure,
    Noted,
    Operator,
    Outcome,
    ReadRows,
    count_lines,
    lines_of,
    per_row,
    read_block,
    rows_in,
    values_of,
    without_output,
)
from dataprep.core.parallel.pool import Pool, available_cores, in_threads
from dataprep.core.parallel.runner import (
    AUTO_WORKERS_BYTES,
    by_chunks,
    on_cluster,
    rows_of,
    run_into,
    run_operator,
    workers_for,
)

if TYPE_CHECKING:
    from dataprep.core.parallel.backends import Backend, Inline, Processes
    from dataprep.core.parallel.exchanging import exchange
    from dataprep.core.parallel.nodes import check_nodes
    from dataprep.core.parallel.tasks import Bisection, run

# Imported when they are first used: a run in one process starts without them.
_HOMES = {
    "Backend": "backends",
    "Bisection": "tasks",
    "Inline": "backends",
    "Processes": "backends",
    "check_nodes": "nodes",
    "exchange": "exchanging",
    "run": "tasks",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
