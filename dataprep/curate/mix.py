"""Mix files of rows in exact shares, in an order that depends on the seed alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from dataprep.core import io as files
from dataprep.core.errors import UsageError
from dataprep.core.io import Rejects
from dataprep.core.ledger import Ledger
from dataprep.core.options import check_whole
from dataprep.curate.mixing import largest_total, mixed_order, quotas, shares_of
from dataprep.datasets.merge import find_rows, gather, plain_lines, scratch_beside, write_part
from dataprep.datasets.merge_rows import Index


@dataclass(frozen=True, slots=True)
class Source:
    """A file of a mixture: its sound rows, its weight and share, and the number of rows drawn."""

    path: str
    rows: int
    weight: float
    share: float
    drawn: int

    def to_json(self) -> dict[str, Any]:
        """Return the entries as a JSON object."""
        times = round(self.drawn / self.rows, 6) if self.rows else 0.0
        entries = {"file": self.path, "rows": self.rows, "weight": self.weight, "share": self.share}
        return {**entries, "drawn": self.drawn, "times": times}


@dataclass(frozen=True, slots=True)
class Mix:
    """The files of a mixture in the order given, and the count of rows."""

    sources: list[Source]
    ledger: Ledger


def mix_files(
    weights: Mapping[str, float | None],
    output: str | Path,
    *,
    total: int | None = None,
    temperature: float = 1.0,
    repeat_at_most: int = 1,
    seed: int = 42,
    memory: int = 2 << 30,
    workers: int | None = 1,
    rejects: str | Path | Rejects | None = None,
    progress: Callable[[int], None] | None = None,
    dry_run: bool = False,
) -> Mix:
    """Mix files in exact shares: each is within one row of its share of the whole.

    Rows keep their bytes. The order is that of ``docs/commands/mix.md``.

    Args:
        weights: the weight of each file, in the order to mix them; ``None`` is its number of rows.
        output: file to write; ``-`` is standard output.
        total: number of rows to write; ``None`` takes the most that the files hold in these shares.
        temperature: shares are proportional to ``weight ** (1 / temperature)``.
        repeat_at_most: how often a row may be in the mixture.
        seed: seed of the order.
        memory: maximum number of bytes of rows to hold. Larger mixtures go through the disk.
        workers: number of processes; ``None`` decides by the input's size.
        rejects: file for rows that are not JSON objects. Without it the first one raises.
        progress: called with the bytes read or written since the last call.
        dry_run: count and write nothing.

    Returns:
        The rows drawn from each file.

    Raises:
        UsageError: the files hold too few rows for the total, or an option has no meaning.
        InputError: a row is not a JSON object, or a file holds no rows.
    """
    paths = list(weights)
    _check(weights, total, repeat_at_most, seed, memory)
    if not isinstance(rejects, Rejects):
        files.check_distinct(rejects, [output], paths)
    ledger, unchanged = Ledger(), files.Unchanged(paths)
    with ExitStack() as stack:
        bad = stack.enter_context(files.open_rejects(rejects))
        with files.writing(str(output)):
            scratch = stack.enter_context(files.new_folder(scratch_beside(str(output))))
            plain = [(path, *plain_lines(path, scratch)) for path in paths]
        index = find_rows(plain, True, workers, bad, ledger, progress)
        counts = np.bincount(index.files, minlength=len(paths)).tolist()
        given = [
            count if weight is None else weight
            for count, weight in zip(counts, weights.values(), strict=True)
        ]
        shares = shares_of(given, temperature)
        drawn = _drawn(paths, shares, counts, total, repeat_at_most)
        rows = zip(paths, counts, given, map(float, shares), drawn, strict=True)
        sources = [Source(*source) for source in rows]
        ledger.drop("not drawn", sum(max(source.rows - source.drawn, 0) for source in sources))
        ledger.repeated = sum(max(source.drawn - source.rows, 0) for source in sources)
        if dry_run:
            ledger.rows_out = sum(drawn)
        else:
            out = stack.enter_context(files.open_output(str(output)))
            picked, order = _picked(index, mixed_order(counts, drawn, seed))
            parts = stack.enter_context(closing(gather(picked, order, memory, workers, out, scratch)))
            with files.writing(str(output)):
                for part in parts:
                    write_part(out, part)
                    ledger.rows_out += part.rows
                    if progress is not None:
                        progress(part.size)
        # The rows were found in one pass over the inputs, and copied in another.
        unchanged.check()
        ledger.check()
    return Mix(sources, ledger)


def _check(
    weights: Mapping[str, float | None], total: int | None, repeat_at_most: int, seed: int, memory: int
) -> None:
    if not weights:
        raise UsageError("there is nothing to mix: give at least one file")
    for path in weights:
        files.check_input(path)
    check_whole("--seed", seed)
    if total is not None and total < 1:
        raise UsageError(f"--total {total}: must be 1 or more")
    if repeat_at_most < 1:
        raise UsageError(f"--repeat-at-most {repeat_at_most}: must be 1 or more")
    if memory < 1:
        raise UsageError("--memory must be more than 0")


def _drawn(
    paths: list[str], shares: list[Fraction], counts: list[int], total: int | None, repeats: int
) -> list[int]:
    """Return the number of rows to take from each file."""
    most = largest_total(shares, counts, repeats)
    drawn = quotas(shares, most if total is None else total)
    for path, count, quota in zip(paths, counts, drawn, strict=True):
        if quota > count * repeats:
            raise UsageError(
                f"--total {total}: {quota:,} rows of {path} are needed, which has {count:,}; the "
                f"largest total in these shares is {most:,}: lower --total, or raise --repeat-at-most "
                f"(now {repeats})"
            )
    if not sum(drawn):
        raise UsageError("no row can be taken in these shares: raise --repeat-at-most, or change the weights")
    return drawn


def _picked(
    index: Index, order: np.ndarray[Any, np.dtype[np.int64]]
) -> tuple[Index, np.ndarray[Any, np.dtype[np.int64]]]:
    """Return the index of the rows taken, in input order and as often as taken, and their order in it."""
    by_row = np.argsort(order, kind="stable")
    places = np.empty_like(by_row)
    places[by_row] = np.arange(by_row.size)
    return index.ordered(order[by_row]), places
