"""Blocks through a row operator, in order, on one process or several."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from functools import partial
from typing import TypeVar

from dataprep.core.jsonl import too_long
from dataprep.core.parallel.operators import LineBlock, Outcome, RowOperator, apply, rows_in
from dataprep.core.parallel.pool import Pool

B = TypeVar("B", bound=LineBlock)


def run(
    operator: RowOperator,
    blocks: Iterable[B],
    *,
    workers: int = 1,
    output: str | None = None,
    name: str = "",
) -> Generator[tuple[B, Outcome], None, None]:
    """Each block with its outcome, in the blocks' order; failures carry their line in the file.

    With several workers and an ``output``, the workers write the rows into that file themselves, one
    outcome after the other; the outcomes then come without ``data``. Messages call it ``name``.

    Raises:
        InputError: a line is longer than any line should be.
        FileError: a block cannot be read, or ``output`` cannot be written.
        WorkerError: a worker died.
    """
    before = 0
    for block, outcome in _outcomes(operator, iter(blocks), workers, output, name):
        if block.first:
            before = 0
        if outcome.too_long:
            raise too_long(block.path, before + outcome.too_long)
        for failure in outcome.failures:
            failure.line += before
        before += outcome.lines
        yield block, outcome


def _outcomes(
    operator: RowOperator, blocks: Iterator[B], workers: int, output: str | None, name: str
) -> Iterator[tuple[B, Outcome]]:
    rows = 0
    if workers == 1:
        for block in blocks:
            if block.first:
                rows = 0
            outcome = apply(operator, block, rows)
            rows += outcome.rows_in
            yield block, outcome
        return
    given = deque[B]()

    def tasks() -> Iterator[tuple[B, int]]:
        """The blocks as they are asked for, with the rows before each where the operator wants them."""
        placed, before = getattr(operator, "placed", False), 0
        for block in blocks:
            given.append(block)
            if block.first:
                before = 0
            yield block, before
            if placed and not block.array:
                before += rows_in(block)

    with Pool(partial(_apply_to, operator), workers, output=output, name=name) as pool:
        for outcome in pool.map(tasks(), heavy=_carries_bytes):
            yield given.popleft(), outcome


def _carries_bytes(task: tuple[LineBlock, int]) -> bool:
    return task[0].data is not None


def _apply_to(operator: RowOperator, task: tuple[LineBlock, int]) -> Outcome:
    return apply(operator, *task)
