"""Files of Examples to files of requests to teachers."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

import orjson

from dataprep import files
from dataprep.errors import InputError, RowDropped, RowError
from dataprep.example_files import Numbered, example_of, read_numbered
from dataprep.ledger import Ledger
from dataprep.prompts import Prompter, Shot, ShotPool, dump, shot_of


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
) -> Ledger:
    """Make requests to a teacher out of a file of Examples.

    Args:
        source: Examples (of ``convert --to example`` or ``parse-rationales``), or raw rows of ``dataset``.
        output: where the requests go, one JSON object a row.
        dataset: the converter that reads raw rows.
        pool: Examples to draw worked examples from; without it, those of ``source``.
        shots: worked examples a request; by default 2 with teacher forcing, and none without.
        seed: of the draw.
        forcing: show the gold answer and ask for the way to it.
        system: the system prompt in place of the default one.
        user: a template in place of the default wording.
        rejects: where bad rows go; without it the first one raises.

    Raises:
        InputError: a row is no Example, or lacks what the prompt needs.
        UsageError: more shots than the pool has.
        FileError: a file cannot be read or written.
    """
    path, ledger = str(source), Ledger()
    files.check_distinct(rejects, [output], [path])
    count = (2 if forcing else 0) if shots is None else shots
    # Where the rows are their own pool they are needed twice: a stream can be read only once.
    own_pool = bool(count) and pool is None
    rows: Iterable[Numbered] = read_numbered(path, dataset)
    if own_pool:
        rows = list(rows)
    with ExitStack() as stack:
        bad = stack.enter_context(files.open_rejects(rejects))
        out = stack.enter_context(files.open_output(str(output)))
        worked: list[Shot] = []
        if count:
            worked = _shots(rows, dataset) if pool is None else _shots(read_numbered(str(pool)), None)
        prompter = Prompter(ShotPool(worked, count, seed), forcing=forcing, system=system, user=user)
        unit = "line" if files.format_of(path).kind == "jsonl" else "row"
        for number, row in rows:
            ledger.rows_in += 1
            try:
                request = prompter(example_of(row, dataset, unlabelled=not forcing))
            except RowDropped as drop:
                ledger.drop(drop.reason)
                continue
            except RowError as error:
                bad.add(path, unit, number, str(error), orjson.dumps(row, default=str))
                ledger.fail(error.reason)
                continue
            out.write(dump(request))
            ledger.rows_out += 1
        if not ledger.rows_in:
            raise InputError(path, "the file is empty; expected rows")
        ledger.check()
    return ledger


def _shots(rows: Iterable[Numbered], dataset: str | None) -> list[Shot]:
    """The worked examples among rows; a bad row is none, and is reported where it is a row itself."""
    found = []
    for _, row in rows:
        with suppress(RowError):
            shot = shot_of(row, example_of(row, dataset))
            if shot is not None:
                found.append(shot)
    return found
