"""The merge: find the rows, shuffle their numbers, gather their bytes."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson

from dataprep.core import io as files
from dataprep.core.errors import FileError, InputError, Location, UsageError
from dataprep.core.io import Block, Output, Rejects
from dataprep.core.jsonl import MAX_LINE, too_long
from dataprep.core.ledger import Ledger
from dataprep.core.parallel import AUTO_WORKERS_BYTES, Pool, available_cores
from dataprep.core.shuffle import shuffled_order
from dataprep.datasets.merge.gather import Part, gather_in_memory, gather_on_disk
from dataprep.datasets.merge.index import Index, Scan, build_index, numbered, scan

SCAN_BYTES = 4 << 20


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
        output: where the rows go; ``-`` is standard output.
        seed: of the shuffle.
        shuffle: ``False`` keeps the input order.
        check: every row must be a JSON object; ``False`` takes lines as they are.
        memory: bytes of rows to hold at most; larger inputs go through the disk, in the same order.
        workers: processes; ``None`` takes every core where the input is large enough to gain by it.
        rejects: where rows go that are no JSON objects; without it the first one raises.
        progress: called with the bytes that were read or written since the last call; each row is
            read once and written once.

    Raises:
        InputError: a row is no JSON object, or a file holds no rows.
        FileError: a file cannot be read or written.
    """
    paths = expand(inputs)
    if not isinstance(rejects, Rejects):
        files.check_distinct(rejects, [output], paths)
    if memory < 1:
        raise UsageError("--memory must be more than 0")
    ledger = Ledger()
    with ExitStack() as stack:
        bad = stack.enter_context(files.open_rejects(rejects))
        scratch = stack.enter_context(_scratch_beside(str(output)))
        with files.writing(str(output)):
            plain = [(path, _plain_lines(path, scratch)) for path in paths]
        index = _find_rows(plain, check, workers, bad, ledger, progress)
        order = shuffled_order(index.rows, seed) if shuffle else None
        out = stack.enter_context(files.open_output(str(output)))
        parts = _gather(index, order, memory, workers, out, scratch)
        stack.enter_context(closing(parts))
        for part in parts:
            ledger.rows_out += part.rows
            if part.data is not None:
                out.write(part.data)
            if progress is not None:
                progress(part.size)
        ledger.check()
    return ledger


def merge(
    *sources: str | Path | Iterable[Mapping[str, Any]], seed: int = 42, shuffle: bool = True
) -> list[Any]:
    """Merge rows in memory: the order of ``random.seed(seed); random.shuffle(rows)``.

    Args:
        sources: files in any format that dataprep reads, or iterables of rows, taken as they are given.
        seed: of the shuffle.
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
    if shuffle:
        random.Random(seed).shuffle(rows)
    return rows


def expand(inputs: str | Path | Sequence[str | Path]) -> list[str]:
    """The files that inputs name, sorted by path; a directory stands for its ``*.jsonl``.

    Raises:
        FileError: a file is missing or cannot be opened, or a directory holds no ``*.jsonl``.
    """
    paths: list[str] = []
    for given in [str(inputs)] if isinstance(inputs, str | Path) else map(str, inputs):
        if given != "-" and Path(given).is_dir():
            inside = [str(path) for path in Path(given).glob("[!.]*.jsonl")]
            if not inside:
                raise FileError(given, "the directory holds no *.jsonl file")
            paths += inside
        else:
            paths.append(given)
    if not paths:
        raise UsageError("there is nothing to merge: give at least one file")
    for path in paths:
        files.check_input(path)
    return sorted(paths)


@contextmanager
def _scratch_beside(output: str) -> Iterator[Path]:
    """A hidden folder for intermediate files, on the disk that the output goes to anyway."""
    parent = Path(output).parent if output != "-" and not Path(output).is_char_device() else None
    with files.writing(output):
        folder = Path(tempfile.mkdtemp(prefix=".merge-", suffix=".partial", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _plain_lines(path: str, scratch: Path) -> str:
    """The path itself where it holds plain JSON Lines; else a file in ``scratch`` with its rows so."""
    form = files.format_of(path)
    if path != "-" and form.is_plain_lines and Path(path).is_file():
        return path
    spool = scratch / f"input{sum(1 for _ in scratch.iterdir())}.jsonl"
    with spool.open("wb") as out:
        if form.kind == "jsonl":
            before = 0
            for block in files.read_blocks(path):
                data = block.read()
                if (
                    len(data) > MAX_LINE
                    and (longest := max(data.split(b"\n"), key=len))
                    and len(longest) > MAX_LINE
                ):
                    raise too_long(path, before + data.count(b"\n", 0, data.find(longest)) + 1)
                before += data.count(b"\n")
                out.write(data if data.endswith(b"\n") else data + b"\n")
        else:
            for row in _values(path):
                out.write(orjson.dumps(row, default=str, option=orjson.OPT_APPEND_NEWLINE))
    return str(spool)


def _refuse_too_long(path: str, data: bytes, before: int) -> None:
    if len(data) > MAX_LINE:
        for number, line in enumerate(data.split(b"\n"), before + 1):
            if len(line) > MAX_LINE:
                raise too_long(path, number)


def _values(path: str) -> Iterator[Any]:
    """The rows of a document or table; what is no object is found by the check, as in JSON Lines."""
    document = files.read_document(path) if files.format_of(path).kind == "json" else None
    if document is not None:
        yield from document if isinstance(document, list) else [document]
    else:
        yield from (row for _, row in files.read_rows(path))


def _find_rows(
    plain: Sequence[tuple[str, str]],
    check: bool,
    workers: int | None,
    bad: Rejects,
    ledger: Ledger,
    progress: Callable[[int], None] | None,
) -> Index:
    """The index of all rows; bad ones are set aside. ``plain`` pairs the given paths with plain files."""
    given = {spool: path for path, spool in plain}
    spools = [spool for _, spool in plain]
    found: list[tuple[Block, Scan]] = []
    rows_of = dict.fromkeys(spools, 0)
    for block, result in numbered(_scans(spools, check, _count(workers, spools))):
        path = given[block.path]
        if result.too_long:
            raise too_long(path, result.too_long)
        for failure in result.failures:
            bad.add(Location(path, failure.line, _unit(path)), failure.message, failure.row)
            ledger.fail(failure.reason)
        rows = result.starts.size + len(result.failures)
        ledger.rows_in += rows
        rows_of[block.path] += rows
        found.append((block, replace(result, failures=[])))
        if progress is not None:
            progress(block.end - block.start)
    for spool, rows in rows_of.items():
        if not rows:
            raise InputError(given[spool], "the file is empty; expected rows")
    return build_index(spools, found)


def _unit(path: str) -> Literal["line", "row"]:
    return "line" if files.format_of(path).kind == "jsonl" else "row"


def _scans(paths: Sequence[str], check: bool, workers: int) -> Iterator[tuple[Block, Scan]]:
    blocks = [block for path in paths for block in files.read_blocks(path, SCAN_BYTES)]
    work = partial(scan, check=check)
    if workers == 1:
        yield from ((block, work(block)) for block in blocks)
        return
    with Pool(work, workers) as pool:
        yield from zip(blocks, pool.map(blocks), strict=True)


def _count(workers: int | None, paths: Iterable[str]) -> int:
    if workers is not None:
        return workers
    large = sum(Path(path).stat().st_size for path in paths) > AUTO_WORKERS_BYTES
    return available_cores() if large else 1


def _gather(
    index: Index,
    order: np.ndarray[Any, np.dtype[np.int64]] | None,
    memory: int,
    workers: int | None,
    out: Output,
    scratch: Path,
) -> Generator[Part, None, None]:
    if order is None:
        return gather_in_memory(index)
    if index.size > memory:
        return gather_on_disk(index, order, scratch, memory, out.path)
    return gather_in_memory(index.ordered(order), _count(workers, index.paths), out.direct, out.path)
