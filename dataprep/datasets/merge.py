"""Merge files: find the rows, shuffle their numbers, gather their bytes in the new order."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from dataprep.core import io as files
from dataprep.core.errors import UsageError
from dataprep.core.io import Output, PartsOutput, Rejects
from dataprep.core.ledger import Ledger
from dataprep.core.options import check_whole
from dataprep.core.parallel import current, run_into, workers_for
from dataprep.core.sampling import shuffled_order
from dataprep.datasets.merge_inputs import (
    CopyRows,
    Progress,
    Scanner,
    expand,
    find_rows,
    has_lines,
    plain_lines,
    watched,
)
from dataprep.datasets.merge_rows import Index, Part, gather_in_memory, gather_on_disk


def merge_files(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    seed: int = 42,
    shuffle: bool = True,
    check: bool = True,
    memory: int = 2 << 30,
    workers: int | None = 1,
    rejects: str | Path | Rejects | None = None,
    progress: Callable[[int], None] | None = None,
) -> Ledger:
    """Merge files of rows into one, in shuffled order.

    The order is that of ``random.seed(seed); random.shuffle(rows)`` over the rows of all files, the files
    sorted by path. Rows of JSON Lines keep their bytes; blank lines are no rows.

    Args:
        inputs: files in any format that dataprep reads, directories of ``*.jsonl``, or ``-``.
        output: file to write; ``-`` is standard output.
        seed: seed of the shuffle.
        shuffle: ``False`` keeps the input order.
        check: check that every row is a JSON object; ``False`` takes lines as they are.
        memory: maximum number of bytes of rows to hold. Larger inputs go through the disk, in the same order.
        workers: number of processes; ``None`` decides by the input's size.
        rejects: file for rows that are not JSON objects. Without it the first one raises.
        progress: called with the bytes read or written since the last call; each row counts twice.

    Returns:
        The number of rows that came in, went out and failed.

    Raises:
        InputError: a row is not a JSON object, or a file holds no rows.
    """
    paths, target = expand(inputs), str(output)
    if not isinstance(rejects, Rejects):
        files.check_distinct(rejects, [target], paths)
    if memory < 1:
        raise UsageError("--memory must be more than 0")
    ledger, unchanged = Ledger(), files.Unchanged(watched(paths))
    engine = current()
    on_cluster = engine is not None and engine.cluster is not None
    with ExitStack() as stack:
        bad = stack.enter_context(files.open_rejects(rejects))
        with files.writing(target):
            scratch = stack.enter_context(files.new_folder(files.scratch_beside(target)))
        try:
            if not shuffle and (on_cluster or files.is_parts(target)):
                out = _opened(target, ledger, stack)
                _copy(paths, CopyRows(check), workers, out, bad, ledger, progress)
            elif on_cluster:
                from dataprep.datasets.merge_exchange import Exchange  # most merges do without it

                out = _opened(target, ledger, stack)
                exchange = Exchange(paths, unchanged.state(), seed, check, memory, workers, progress)
                _write(out, exchange.run(out, scratch, bad, ledger), ledger)
            else:
                with files.writing(target):
                    lines = [plain_lines(path, scratch) for path in paths]
                index = find_rows(lines, Scanner(check), workers, bad, ledger, progress)
                order = shuffled_order(index.rows, seed) if shuffle else None
                out = _opened(target, ledger, stack)
                _write(out, gather(index, order, memory, workers, out, scratch), ledger, progress)
        except Exception:
            unchanged.check()  # it can be the reason
            raise
        # The rows were found in one pass over the inputs, and copied in another.
        unchanged.check()
        ledger.check()
    return ledger


def _opened(path: str, ledger: Ledger, stack: ExitStack) -> Output:
    out = stack.enter_context(files.open_output(path))
    if isinstance(out, PartsOutput):
        out.ledger = ledger
    return out


def _write(
    out: Output, parts: Generator[Part, None, None], ledger: Ledger, progress: Progress | None = None
) -> None:
    with closing(parts), files.writing(out.path):
        for part in parts:
            write_part(out, part)
            ledger.rows_out += part.rows
            if progress is not None:
                progress(part.size)


def _copy(
    paths: Sequence[str],
    operator: CopyRows,
    workers: int | None,
    out: Output,
    bad: Rejects,
    ledger: Ledger,
    progress: Progress | None,
) -> None:
    """Write the rows in input order, each part of the output out of a chunk of the inputs."""

    def twice(size: int) -> None:
        if progress is not None:
            progress(2 * size)  # read and written

    count = workers_for([part for path in paths for part in files.files_of(path)], workers)
    blocks = (
        block
        for path in paths
        for block in (files.read_blocks(path) if has_lines(path) else files.read_row_blocks(path))
    )
    run_into(blocks, operator, out, ledger, bad, paths=paths, workers=count, progress=twice)


def write_part(out: Output, part: Part) -> None:
    """Write rows that were gathered."""
    if part.data is not None and not isinstance(part.data, bytes):
        out.write_pieces(part.data, part.size)
    # Without data a worker has written them.
    out.write(part.data if isinstance(part.data, bytes) else b"", part.rows)


def merge(
    *sources: str | Path | Iterable[Mapping[str, Any]], seed: int = 42, shuffle: bool = True
) -> list[Any]:
    """Merge rows in memory, in the order of ``random.seed(seed); random.shuffle(rows)``.

    Args:
        sources: files in any format that dataprep reads, or iterables of rows, in the order to merge them.
        seed: seed of the shuffle.
        shuffle: ``False`` keeps the input order.

    >>> merge([{"n": 1}, {"n": 2}], [{"n": 3}], seed=1)
    [{'n': 2}, {'n': 3}, {'n': 1}]
    """
    rows: list[Any] = []
    for source in sources:
        if isinstance(source, str | Path):
            rows.extend(row for _, row in files.read_rows(str(source)))
        else:
            rows.extend(source)
    # The published order: merge_files computes the same one without holding the rows.
    if shuffle:
        # A text would be a seed too, of another order than the number in it.
        check_whole("--seed", seed)
        random.Random(seed).shuffle(rows)
    return rows


def gather(
    index: Index,
    order: np.ndarray[Any, np.dtype[np.int64]] | None,
    memory: int,
    workers: int | None,
    out: Output,
    scratch: Path,
) -> Generator[Part, None, None]:
    """Yield the rows of an index in the given order, through the folder ``scratch`` if they are many."""
    # In input order the rows are read from beginning to end, whatever their size.
    if order is None:
        return gather_in_memory(index, 1, out.direct, out.path)
    if index.size > memory:
        return gather_on_disk(index, order, scratch, memory, out.direct, out.path)
    return gather_in_memory(index.ordered(order), workers_for(index.paths, workers), out.direct, out.path)
