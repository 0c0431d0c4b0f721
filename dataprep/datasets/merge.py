"""Merge files: find the rows, shuffle their numbers, gather their bytes in the new order."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dataprep.core import io as files
from dataprep.core import provenance
from dataprep.core.errors import FileError, Location, UsageError
from dataprep.core.io import Block, Output, Rejects
from dataprep.core.jsonl import MAX_LINE, UNREADABLE, too_long
from dataprep.core.ledger import Ledger
from dataprep.core.options import check_whole
from dataprep.core.parallel import Operator, refuse_empty, refuse_unreadable, run_operator, workers_for
from dataprep.core.sampling import shuffled_order
from dataprep.datasets.merge_rows import Index, Part, Scanner, build_index, gather_in_memory, gather_on_disk

SCAN_BYTES = 4 << 20
Unit = Literal["line", "row"]


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
    paths = expand(inputs)
    if not isinstance(rejects, Rejects):
        files.check_distinct(rejects, [output], paths)
    if memory < 1:
        raise UsageError("--memory must be more than 0")
    ledger, unchanged = Ledger(), files.Unchanged(paths)
    with ExitStack() as stack:
        bad = stack.enter_context(files.open_rejects(rejects))
        with files.writing(str(output)):
            scratch = stack.enter_context(files.new_folder(files.scratch_beside(str(output))))
            plain = [(path, *plain_lines(path, scratch)) for path in paths]
        index = find_rows(plain, Scanner(check), workers, bad, ledger, progress)
        order = shuffled_order(index.rows, seed) if shuffle else None
        out = stack.enter_context(files.open_output(str(output)))
        parts = gather(index, order, memory, workers, out, scratch)
        stack.enter_context(closing(parts))
        try:
            with files.writing(str(output)):
                for part in parts:
                    write_part(out, part)
                    ledger.rows_out += part.rows
                    if progress is not None:
                        progress(part.size)
        except Exception:
            unchanged.check()  # it can be the reason
            raise
        # The rows were found in one pass over the inputs, and copied in another.
        unchanged.check()
        ledger.check()
    return ledger


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


def expand(inputs: str | Path | Sequence[str | Path]) -> list[str]:
    """Return the files that inputs name, sorted by path; a directory stands for its ``*.jsonl``."""
    paths: list[str] = []
    for given in [str(inputs)] if isinstance(inputs, str | Path) else map(str, inputs):
        if files.is_folder(given):
            inside = [path for path in files.files_in(given) if path.endswith(".jsonl")]
            if not inside:
                raise FileError(given, "the directory holds no *.jsonl file")
            paths += inside
        else:
            paths.append(given)
    if not paths:
        raise UsageError("there is nothing to merge: give at least one file")
    for path in paths:
        files.check_input(path)
    # Sorted, so that the order does not depend on the shell or the file system.
    return sorted(paths)


def plain_lines(path: str, scratch: Path) -> tuple[str, Unit]:
    """Return a file of JSON Lines, the path or a copy in ``scratch``, and what its lines are to the user."""
    # An object is copied: rows are gathered from mapped files.
    if files.format_of(path).is_plain_lines and not files.is_url(path) and files.is_file(path):
        return path, "line"
    spool = scratch / f"input{sum(1 for _ in scratch.iterdir())}.jsonl"
    unit: Unit = "line"
    before = 0
    with spool.open("wb") as out:
        # Rows are not checked here: one that is not an object is found by the scan, as in JSON Lines.
        for block in files.read_row_blocks(path):
            unit, data = block.unit, block.read()
            data = data if data.endswith(b"\n") else data + b"\n"
            # The scan of the copy would find the line too, but only after it was written.
            if len(data) > MAX_LINE:
                for number, line in enumerate(data.split(b"\n"), before + 1):
                    if len(line) > MAX_LINE:
                        raise too_long(path, number)
            before += data.count(b"\n")
            out.write(data)
    return str(spool), unit


def find_rows(
    plain: Sequence[tuple[str, str, Unit]],
    scanner: Operator,
    workers: int | None,
    bad: Rejects,
    ledger: Ledger,
    progress: Callable[[int], None] | None,
    take: Callable[[Any], None] | None = None,
) -> Index:
    """Return the index of all sound rows.

    Args:
        plain: each path with its file of plain lines.
        scanner: a ``Scanner``, or an operator whose payload begins as a scanner's does.
        workers: number of processes; ``None`` decides by the input's size.
        bad: file for bad rows.
        ledger: the counts to add to.
        progress: called with the bytes read since the last call.
        take: called with the payload of each block.
    """
    spools = [spool for _, spool, _ in plain]
    given = {spool: (path, unit) for path, spool, unit in plain}
    scans: list[tuple[Block, Any]] = []
    rows_of, unreadable = dict.fromkeys(spools, 0), Counter[str]()
    blocks = (block for spool in spools for block in files.read_blocks(spool, SCAN_BYTES))
    # Not `run_into`, which would name the file of plain lines in its messages.
    with closing(run_operator(scanner, blocks, workers=workers_for(spools, workers))) as outcomes:
        for block, outcome in outcomes:
            path, unit = given[block.path]
            for failure in outcome.failures:
                bad.add(Location(path, failure.line, unit), failure.message, failure.row)
                ledger.fail(failure.reason)
                unreadable[block.path] += failure.reason in UNREADABLE
            ledger.rows_in += outcome.rows_in
            rows_of[block.path] += outcome.rows_in
            # Only the offsets are kept: failures hold the bytes of bad rows, which may be many.
            scans.append((block, outcome.payload[:2]))
            if take is not None:
                take(outcome.payload)
            if progress is not None:
                progress(block.end - block.start)
    refuse_empty({given[spool][0]: rows for spool, rows in rows_of.items()})
    for spool, rows in rows_of.items():
        provenance.count(given[spool][0], rows)
    for spool, rows in rows_of.items():
        refuse_unreadable({given[spool][0]: rows}, {given[spool][0]: unreadable[spool]})
    return build_index(spools, scans)


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
