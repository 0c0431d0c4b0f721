"""Blocks through a row operator, in order, on one process or several."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import TypeVar

from dataprep.engine.outcome import LineBlock, Outcome, RowOperator, apply
from dataprep.engine.pool import Pool
from dataprep.lines import too_long

B = TypeVar("B", bound=LineBlock)


def run(
    operator: RowOperator, blocks: Iterable[B], *, workers: int = 1, output: str | None = None
) -> Generator[tuple[B, Outcome], None, None]:
    """Each block with its outcome, in the blocks' order; failures carry their line in the file.

    With several workers and an ``output``, the workers write the rows into that file themselves, one
    outcome after the other; the outcomes then come without ``data``.

    Raises:
        InputError: a line is longer than any line should be.
        FileError: a block cannot be read, or ``output`` cannot be written.
        WorkerError: a worker died.
    """
    path, before = None, 0
    for block, outcome in _outcomes(operator, iter(blocks), workers, output):
        if block.path != path:
            path, before = block.path, 0
        if block.too_long:
            raise too_long(block.path, before + outcome.lines)
        for failure in outcome.failures:
            failure.line += before
        before += outcome.lines
        yield block, outcome


def _outcomes(
    operator: RowOperator, blocks: Iterator[B], workers: int, output: str | None
) -> Iterator[tuple[B, Outcome]]:
    work = partial(_apply_to, operator)
    if workers == 1:
        for block in blocks:
            yield block, work(block)
        return
    given: list[B] = []
    first = next(blocks, None)
    if first is None:
        return

    def remembered() -> Iterator[B]:
        for block in chain([first], blocks):
            given.append(block)
            yield block

    with Pool(work, workers, output=output) as pool:
        # Blocks that carry their bytes are larger than a pipe's buffer: one at a time.
        for outcome in pool.map(remembered(), ahead=1 if first.data is not None else 2):
            yield given.pop(0), outcome


def _apply_to(operator: RowOperator, block: LineBlock) -> Outcome:
    return apply(operator, block)
