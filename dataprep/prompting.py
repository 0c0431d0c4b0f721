"""Files of Examples, or of a set's raw rows, to files of requests to teachers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from dataprep import converters, engine, files, raw_rows
from dataprep.errors import RowDropped
from dataprep.ledger import Ledger
from dataprep.prompts import Prompter, Shot, ShotPool, dump, shot_of
from dataprep.records import Example

Reader = Callable[[Mapping[str, Any]], Example]
"""Makes an Example of a row."""

NO_RATIONALE = "no rationale or solution"


def prompt_file(
    source: str | Path,
    output: str | Path,
    *,
    dataset: str | None = None,
    pool: str | Path | None = None,
    shots: int | None = None,
    seed: int = 42,
    forcing: bool = True,
    system: str | None = None,
    user: str | None = None,
    rejects: str | Path | None = None,
    warn: Callable[[str], None] | None = None,
) -> Ledger:
    """Make requests to a teacher out of a file of Examples.

    Args:
        source: Examples (of ``convert --to example`` or ``parse-rationales``), or raw rows of ``dataset``.
        output: where the requests go, one JSON object a row.
        dataset: the converter that reads raw rows, as ``convert`` does.
        pool: Examples to draw worked examples from; without it, those of ``source``.
        shots: worked examples a request; by default 2 with teacher forcing, and none without.
        seed: of the draw.
        forcing: show the gold answer and ask for the way to it.
        system: the system prompt in place of the default one.
        user: a template in place of the default wording.
        rejects: where bad rows go; without it the first one raises.
        warn: told of rows in ``pool`` that are no Examples.

    Raises:
        InputError: a row is no Example, or lacks what the prompt needs.
        UsageError: more shots than the pool has, or an output that would replace raw rows.
        FileError: a file cannot be read or written.
    """
    path, pool = str(source), None if pool is None else str(pool)
    files.check_distinct(rejects, [output], [path] if pool is None else [path, pool])
    if dataset is not None:
        files.check_apart([output], [path])
    files.check_input(path)
    read, converter = _reader(dataset, forcing), None if dataset is None else converters.load(dataset)
    blocks: Iterable[files.Block] = raw_rows.blocks(path, converter)
    count = (2 if forcing else 0) if shots is None else shots
    worked = ShotPool([], 0, seed)
    if count and pool is None:  # the rows are their own pool: a stream can be read only once
        blocks = list(blocks)
        worked = _pool(blocks, path, read, count, seed)
    elif count and pool is not None:
        worked = _pool(raw_rows.blocks(pool), pool, Example.from_json, count, seed, warn)
    operator = Requests(Prompter(worked, forcing=forcing, system=system, user=user), read)
    return _write(operator, blocks, path, str(output), rejects)


def _write(
    operator: Requests,
    blocks: Iterable[files.Block],
    path: str,
    output: str,
    rejects: str | Path | None,
) -> Ledger:
    ledger = Ledger()
    with (
        files.open_rejects(rejects) as bad,
        files.open_output(output) as out,
        closing(raw_rows.run(operator, blocks, [path], ledger, bad)) as outcomes,
    ):
        for outcome in outcomes:
            ledger.rows_out += outcome.rows_out
            if outcome.data is not None:
                out.write(outcome.data)
        ledger.check()
    return ledger


class Requests:
    """The row operator of ``prompt``: a row in, the bytes of a request out."""

    def __init__(self, prompter: Prompter, read: Reader) -> None:
        self._prompter = prompter
        self._read = read

    def __call__(self, row: Mapping[str, Any]) -> bytes:
        """The request as one line of JSON, without its newline.

        Raises:
            RowError: the row is no Example, or lacks what the prompt needs.
            RowDropped: the converter leaves the row out.
            UsageError: the pool has too few shots.
        """
        return dump(self._prompter(self._read(row)))


class Worked:
    """The row operator that gathers worked examples; nothing comes out of it."""

    def __init__(self, read: Reader) -> None:
        self.shots: list[Shot] = []
        self._read = read

    def __call__(self, row: Mapping[str, Any]) -> bytes:
        """Keep the row's worked example.

        Raises:
            RowError: the row is no Example.
            RowDropped: it has neither rationale nor solution, or no answer.
        """
        shot = shot_of(row, self._read(row))
        if shot is None:
            raise RowDropped(NO_RATIONALE)
        self.shots.append(shot)
        return b""


def _pool(
    blocks: Iterable[files.Block],
    path: str,
    read: Reader,
    count: int,
    seed: int,
    warn: Callable[[str], None] | None = None,
) -> ShotPool:
    """The worked examples among rows, with an account of the rows for messages.

    A bad row is none. Where the rows are also those to make requests of, it is reported there.
    """
    operator, rows, bad, first = Worked(read), 0, 0, ""
    for block, outcome in engine.run(operator, blocks):
        rows += outcome.rows_in
        bad += len(outcome.failures)
        if outcome.failures and not first:
            failure = outcome.failures[0]
            first = f" (the first is {block.unit} {failure.line}: {failure.message})"
    raw_rows.refuse_empty({path: rows})
    found = len(operator.shots)
    name = "standard input" if path == files.STDIO else path
    account = f"the pool, {name}, has {rows:,} rows: {found:,} with an answer and a rationale or solution"
    account += f", {rows - found - bad:,} without"
    if bad:
        account += f", {bad:,} that are no Examples{first}"
        if warn is not None and found > count:  # otherwise it is part of an error
            warn(account)
    return ShotPool(operator.shots, count, seed, account)


def _reader(dataset: str | None, forcing: bool) -> Reader:
    """Reads Examples, or raw rows of a dataset; hidden answers are kept where none is to be shown."""
    if dataset is None:
        return Example.from_json
    converter, name = converters.load(dataset), converters.canonical(dataset)
    keep = not forcing and "unlabelled" in converters.options(converter)
    options = {"unlabelled": "keep"} if keep else {}

    def read(row: Mapping[str, Any]) -> Example:
        example = converter.convert(row, **options)
        example.source = name
        return example

    return read
