"""Run an operator over blocks, in order, in this process or on several."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from dataprep.core.errors import InputError, Location
from dataprep.core.io import Block, Output, PartsOutput, Rejects, is_shared, size_of
from dataprep.core.ledger import Ledger
from dataprep.core.options import check_whole
from dataprep.core.parallel.engines import backend_for, current
from dataprep.core.parallel.folding import Fold, LineNumbers, Progress, Sink, refuse_empty
from dataprep.core.parallel.operators import Noted, Operator, Outcome, rows_in
from dataprep.core.parallel.pool import Pool, available_cores

# Below this much input, starting processes costs more than they save.
AUTO_WORKERS_BYTES = 32 << 20


def workers_for(paths: Iterable[str | Path], workers: int | None = None) -> int:
    """Return the number of processes: ``workers`` if given, else every core if the input is large enough."""
    if workers is not None:
        check_whole("--workers", workers, 1)
    paths = [*paths]
    # `memory://` is of this process alone.
    if not all(map(is_shared, map(str, paths))):
        return 1
    if workers is not None:
        return workers
    size = sum(map(size_of, paths))
    return available_cores() if size > AUTO_WORKERS_BYTES else 1


def on_cluster() -> bool:
    """Return whether the present engine is a cluster."""
    present = current()
    return present is not None and present.cluster is not None


def by_chunks(outputs: Iterable[object]) -> bool:
    """Return whether work for these outputs goes chunk by chunk: on a cluster, or for a folder of parts."""
    return on_cluster() or any(isinstance(output, PartsOutput) for output in outputs)


def run_operator(
    operator: Operator | Noted,
    blocks: Iterable[Block],
    *,
    workers: int = 1,
    numbered: bool = False,
    output: Sink | None = None,
    sides: Sequence[Output | None] = (),
    stop: bool = False,
) -> Generator[tuple[Block, Outcome], None, None]:
    """Yield each block with its outcome, in the order of the blocks.

    The same blocks give the same outcomes for any number of workers. The lines of failures are counted from
    the beginning of the file.

    Args:
        operator: picklable if there are several workers; ``Noted`` only if ``by_chunks(outputs)``.
        blocks: of one file after another.
        workers: number of processes; 1 runs the operator in this one.
        numbered: give each block ``rows_before``, for an operator made with ``with_place``.
        output: where workers may write; outcomes that were written come without ``data``.
        sides: where they may write what is in ``Outcome.sides``.
        stop: the first bad row ends the run, so later ones need not be looked for.
    """
    lines = LineNumbers()
    for block, outcome in _outcomes(operator, iter(blocks), workers, numbered, (output, *sides), stop):
        lines.settle(block, outcome)
        yield block, outcome


def run_into(
    blocks: Iterable[Block],
    operator: Operator | Noted,
    output: Sink | None,
    ledger: Ledger,
    rejects: Rejects,
    *,
    paths: Sequence[str],
    workers: int = 1,
    numbered: bool = False,
    sides: Sequence[Output | None] = (),
    take: Callable[[Block, Outcome], None] | None = None,
    progress: Progress | None = None,
    expected: str = "rows",
) -> Counter[Any]:
    """Run an operator over blocks, write its output, and put every row into the ledger.

    Args:
        blocks: the rows of ``paths``.
        operator: as for ``run_operator``.
        output: where its output goes; ``None`` leaves output and ``ledger.rows_out`` to ``take``.
        ledger: takes the rows that came in, went out, were dropped or failed.
        rejects: takes bad rows; without a file of rejects the first one raises.
        paths: the files; each must have a row.
        workers: as for ``run_operator``.
        numbered: as for ``run_operator``.
        sides: outputs for what is in ``Outcome.sides``; ``None`` in place of one that is not wanted.
        take: called with each block and its outcome, after its output was written.
        progress: called after each block.
        expected: what the files hold, for messages.

    Returns:
        The sum of what the operator counted (``Outcome.counts``).

    Raises:
        InputError: a row is bad and there is no file of rejects, or a file has no rows.
    """
    fold = Fold(output, ledger, rejects, paths, sides=sides, progress=progress, expected=expected)
    outcomes = run_operator(
        operator, blocks, workers=workers, numbered=numbered, output=output, sides=sides, stop=rejects.raises
    )
    with closing(outcomes):  # ends the workers when a bad row ends the command
        for block, outcome in outcomes:
            fold.add(block, outcome)
            if take is not None:
                take(block, outcome)
            fold.count(block)
    fold.finish()
    return fold.counts


def rows_of(
    blocks: Iterable[Block], operator: Operator, path: str | None = None, *, numbered: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield the rows that an operator makes, for a library's caller; the first bad row raises ``InputError``.

    A file named by ``path`` must have rows. ``numbered`` is as for ``run_operator``.
    """
    count = 0
    for block, outcome in run_operator(operator, blocks, numbered=numbered):
        count += outcome.rows_in
        for failure in outcome.failures:
            raise InputError(Location(block.path, failure.line, block.unit), failure.message)
        yield from map(orjson.loads, (outcome.data or b"").split(b"\n")[:-1])
    if path is not None:
        refuse_empty({path: count})


def _outcomes(
    operator: Operator | Noted,
    blocks: Iterator[Block],
    workers: int,
    numbered: bool,
    outputs: Sequence[Sink | None],
    stop: bool,
) -> Iterator[tuple[Block, Outcome]]:
    if by_chunks(outputs):
        # Not at the top: it imports numpy, which most commands do without.
        from dataprep.core.parallel.chunks import run_chunks

        taking = [output if isinstance(output, Output) else None for output in outputs]
        backend = backend_for(workers)
        yield from run_chunks(operator, blocks, backend=backend, outputs=taking, numbered=numbered, stop=stop)
        return
    assert not isinstance(operator, Noted), "only chunks have notes"
    if workers == 1:
        rows = 0
        for block in blocks:
            rows = 0 if block.first else rows
            outcome = operator(replace(block, rows_before=rows) if numbered else block)
            rows += outcome.rows_in
            yield block, outcome
        return
    given = deque[Block]()

    def tasks() -> Iterator[Block]:
        rows = 0
        for block in blocks:
            given.append(block)
            rows = 0 if block.first else rows
            yield replace(block, rows_before=rows) if numbered else block
            # The next block is cut before this one is worked on, so its rows are counted here: a second look
            # at the bytes, which only operators that need numbers pay for.
            if numbered and not block.array:
                rows += rows_in(block)

    direct, name = (None, "") if outputs[0] is None else (outputs[0].direct, outputs[0].path)
    with Pool(operator, workers, output=direct, name=name) as pool:
        for outcome in pool.map(tasks(), heavy=lambda block: block.data is not None):
            yield given.popleft(), outcome
