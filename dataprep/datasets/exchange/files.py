"""Import and export files of rows: the library behind ``dataprep import`` and ``dataprep export``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.errors import InputError, RowError
from dataprep.core.jsonl import parse_line
from dataprep.datasets.exchange import registry
from dataprep.datasets.exchange.hub_directory import export_directory
from dataprep.datasets.exchange.rewriting import Exchange, Rewriter, check_paths, rewrite

_GUESSED = 50  # rows that are looked at for a guess


def import_files(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    format: str | None = None,
    split_thinking: bool = False,
    lossy: bool = False,
    workers: int | None = 1,
    rejects: str | Path | files.Rejects | None = None,
    progress: engine.Progress | None = None,
) -> Exchange:
    """Read files of another tool's rows, one after the other, and write chat rows.

    Args:
        inputs: a file or several, in any file format that dataprep reads; ``-`` is standard input.
        output: file to write, in the format of its suffix; ``-`` is standard output.
        format: the format of the rows, one of ``registry.names("read")``; ``None`` guesses it from the first
            rows of the first file.
        split_thinking: make ``<think>…</think>`` at the beginning of an answer its ``reasoning_content``.
        lossy: leave out what a chat row cannot carry, and count it. Otherwise it is an error.
        workers: number of processes; ``None`` decides by the input's size. The output does not depend on it.
        rejects: file for bad rows, each with its place and reason. Without it the first bad row raises.
        progress: called with the bytes of input worked off since the last call.

    Returns:
        The format, the ledger, and what was lost or changed.

    Raises:
        InputError: a row is not of the format, or the format cannot be guessed.
        UsageError: an unknown format, or the output would replace an input.
    """
    paths = check_paths(inputs, output, rejects)
    blocks: Iterator[files.Block] = chain.from_iterable(map(files.read_row_blocks, paths))
    guessed = format is None
    if format is None:
        first = list(islice(blocks, 1))
        format = registry.guess(_rows_in(first, paths[0]), paths[0])
        if first[0].data is not None:
            blocks = chain(first, blocks)
        else:  # a range of a file, which the engine may want to be cut otherwise
            blocks = chain.from_iterable(map(files.read_row_blocks, paths))
    rewriter = Rewriter(format, "read", lossy=lossy, think=split_thinking)
    try:
        return rewrite(rewriter, Exchange(format), paths, blocks, str(output), workers, rejects, progress)
    except InputError as error:
        if not guessed:
            raise
        # The row may be sound, and the guess wrong.
        note = f"the rows are read as {format}, by a guess: --from FORMAT names another"
        raise InputError(error.where, f"{error.message}; {note}") from error


def export_files(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    format: str,
    think_tags: bool = False,
    lossy: bool = False,
    workers: int | None = 1,
    rejects: str | Path | files.Rejects | None = None,
    progress: engine.Progress | None = None,
) -> Exchange:
    """Read files of chat rows, one after the other, and write them as another tool reads them.

    Args:
        inputs: a file or several; ``-`` is standard input. For ``hub-dir`` each is a split, named by its file
            or as ``NAME=FILE``; for ``preference`` they hold pairs.
        output: file to write, or for ``hub-dir`` a directory that does not exist yet.
        format: one of ``registry.names("write")``.
        think_tags: write reasoning into the content, between ``<think>`` and ``</think>``.
        lossy: leave out what the format cannot carry, and count it. Otherwise it is an error.
        workers: number of processes; ``None`` decides by the input's size. The output does not depend on it.
        rejects: file for bad rows, each with its place and reason. Without it the first bad row raises.
        progress: called with the bytes of input worked off since the last call.

    Returns:
        The ledger, what was lost or changed, and further files that were written.

    Raises:
        InputError: a row is not a chat row, or has something that the format cannot carry.
        UsageError: an unknown format, or the output would replace an input.
    """
    module = registry.load(format, "write")
    if getattr(module, "DIRECTORY", False):
        given = [inputs] if isinstance(inputs, str | Path) else inputs
        make = partial(Rewriter, format, "write", lossy=lossy, think=think_tags)
        return export_directory(
            make, format, given, output, workers=workers, rejects=rejects, progress=progress
        )
    paths = check_paths(inputs, output, rejects)
    if hasattr(module, "check_output"):
        module.check_output(str(output))
    blocks = chain.from_iterable(map(files.read_row_blocks, paths))
    rewriter = Rewriter(format, "write", lossy=lossy, think=think_tags)
    result = rewrite(rewriter, Exchange(format), paths, blocks, str(output), workers, rejects, progress)
    if hasattr(module, "finish"):
        result.files.append(module.finish(str(output)))
    return result


def _rows_in(blocks: Iterable[files.Block], path: str) -> list[dict[str, Any]]:
    lines = (line for block in blocks for line in block.read().split(b"\n"))
    rows, problems = list[dict[str, Any]](), list[RowError]()
    for line in islice(filter(bytes.strip, lines), _GUESSED):
        try:
            rows.append(parse_line(line))
        except RowError as error:  # a bad row has its place and message when it is read
            problems.append(error)
    if problems and not rows:
        found = f"none of the first rows can be read; the first is {problems[0]}"
        raise InputError(path, f"{found}; correct it, or give --from")
    if not rows:
        raise InputError(path, "the file is empty; expected rows")
    return rows
