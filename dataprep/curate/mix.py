"""Mix files of rows in exact shares, in an order that depends on the seed alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from dataprep.core import io as files
from dataprep.core.errors import RowError, UsageError
from dataprep.core.io import Block, Rejects
from dataprep.core.ledger import Ledger
from dataprep.core.options import check_whole
from dataprep.core.parallel import Failure, Outcome
from dataprep.curate.mixing import (
    Unit,
    check_amounts,
    check_any,
    divided,
    mixed_order,
    nearest,
    shares_of,
)
from dataprep.curate.texts import TextOf
from dataprep.datasets.merge import gather, write_part
from dataprep.datasets.merge_inputs import Scanner, find_rows, plain_lines, watched
from dataprep.datasets.merge_rows import Index

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataprep.curate.filter import Encode


@dataclass(frozen=True, slots=True)
class Source:
    """A file of a mixture: its sound rows, its weight and share, and what is drawn.

    Attributes:
        tokens: number of tokens of the rows drawn; ``None`` if they were not counted.
    """

    path: str
    rows: int
    weight: float
    share: float
    drawn: int
    tokens: int | None = None

    @property
    def times(self) -> float:
        """The number of times that a row is drawn, on average."""
        return self.drawn / self.rows if self.rows else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the entries as a JSON object."""
        entries = {"file": self.path, "rows": self.rows, "weight": self.weight, "share": self.share}
        entries |= {"drawn": self.drawn, "times": round(self.times, 6)}
        return entries | ({} if self.tokens is None else {"tokens": self.tokens})


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
    tokens: int | None = None,
    encode: Encode | None = None,
    on: str = "messages",
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
        weights: the weight of each file, in the order to mix them; ``None`` is its number of rows, or of
            tokens if they are counted.
        output: file to write; ``-`` is standard output.
        total: number of rows to write; ``None`` takes the most that the files hold in these shares.
        tokens: number of tokens to write, instead of ``total``: shares are then shares of tokens. Of each
            file as many rows are taken as come nearest to its share.
        encode: encodes a text as a list of tokens, for ``tokens``; picklable if there are several workers.
        on: the part of a row whose tokens are counted: ``"messages"``, a role, or a field.
        temperature: shares are proportional to ``weight ** (1 / temperature)``.
        repeat_at_most: how often a row may be in the mixture.
        seed: seed of the order.
        memory: maximum number of bytes of rows to hold. Larger mixtures go through the disk.
        workers: number of processes; ``None`` decides by the input's size.
        rejects: file for rows that are not JSON objects, or whose tokens cannot be counted. Without it the
            first one raises.
        progress: called with the bytes read or written since the last call.
        dry_run: count and write nothing.

    Returns:
        The rows drawn from each file.

    Raises:
        UsageError: the files hold too few rows for the total, or an option has no meaning.
        InputError: a row is bad, or a file holds no rows.
    """
    paths = list(weights)
    _check(weights, {"--total": total, "--tokens": tokens, "--repeat-at-most": repeat_at_most}, seed, memory)
    if tokens is not None and encode is None:
        raise UsageError("--tokens: rows have no number of tokens yet: name a tokenizer with --tokenizer")
    # The rows that are not drawn would be lost.
    files.check_apart([] if dry_run else [output], paths)
    if not isinstance(rejects, Rejects):
        files.check_distinct(rejects, [output], paths)
    ledger, unchanged = Ledger(), files.Unchanged(watched(paths))
    with ExitStack() as stack:
        bad = stack.enter_context(files.open_rejects(rejects))
        with files.writing(str(output)):
            scratch = stack.enter_context(files.new_folder(files.scratch_beside(str(output))))
            lines = [plain_lines(path, scratch) for path in paths]
        scanner = Scanner(True) if encode is None or tokens is None else CountTokens(encode, on)
        lengths: list[NDArray[np.int64]] = []
        rows_of = dict.fromkeys(paths, 0)

        def take(block: Block, payload: Sequence[NDArray[Any]]) -> None:
            rows_of[block.path] += payload[0].size
            lengths.extend(payload[2:])

        index = find_rows(lines, scanner, workers, bad, ledger, progress, take)
        counts = [*rows_of.values()]
        by_file = None if tokens is None else np.split(np.concatenate(lengths), np.cumsum(counts)[:-1])
        amount = total if tokens is None else tokens
        sources = _sources(weights, counts, by_file, amount, temperature, repeat_at_most, seed)
        drawn = [source.drawn for source in sources]
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


class CountTokens:
    """Find the rows of blocks, and count the tokens of a part of each: a picklable operator."""

    def __init__(self, encode: Encode, on: str) -> None:
        self.encode, self.on = encode, on
        self._scan, self._text_of = Scanner(check=True), TextOf(on)

    def __reduce__(self) -> tuple[type[CountTokens], tuple[Encode, str]]:
        return CountTokens, (self.encode, self.on)

    def __call__(self, block: Block) -> Outcome:
        """Return a scanner's outcome, with the number of tokens of each row behind its payload."""
        outcome, data = self._scan(block), block.read()
        begins, sizes = outcome.payload
        lengths = np.zeros(begins.size, dtype=np.int64)
        keep = np.ones(begins.size, dtype=bool)
        for row, (begin, size) in enumerate(zip(begins.tolist(), sizes.tolist(), strict=True)):
            line = data[begin : begin + size]
            try:
                lengths[row] = len(self.encode(self._text_of(orjson.loads(line))))
            except RowError as error:
                number = data.count(b"\n", 0, begin) + 1
                outcome.failures.append(Failure(number, error.reason, str(error), line))
                keep[row] = False
        outcome.failures.sort(key=lambda failure: failure.line)
        outcome.payload = (begins[keep], sizes[keep], lengths[keep])
        return outcome


def _check(
    weights: Mapping[str, float | None], amounts: Mapping[str, int | None], seed: int, memory: int
) -> None:
    if not weights:
        raise UsageError("there is nothing to mix: give at least one file")
    for path in weights:
        files.check_input(path)
    for path, other in combinations([path for path in weights if path != files.STDIO], 2):
        if files.is_same_file(path, other):
            raise UsageError(f"{path} and {other} are one file: give it once, with the sum of its weights")
    check_whole("--seed", seed)
    check_amounts(amounts)
    if memory < 1:
        raise UsageError("--memory must be more than 0")


def _sources(
    weights: Mapping[str, float | None],
    counts: Sequence[int],
    lengths: Sequence[NDArray[np.int64]] | None,
    amount: int | None,
    temperature: float,
    repeats: int,
    seed: int,
) -> list[Source]:
    """Return the files with what is drawn from each: an amount of rows, or with ``lengths`` of tokens."""
    paths = list(weights)
    available = counts if lengths is None else [int(of_file.sum()) for of_file in lengths]
    given = [
        most if weight is None else weight for most, weight in zip(available, weights.values(), strict=True)
    ]
    shares = shares_of(given, temperature, paths)
    unit: Unit = "rows" if lengths is None else "tokens"
    parts = divided(paths, shares, available, amount, repeats=repeats, unit=unit)
    taken: Sequence[tuple[int, int | None]] = [(part, None) for part in parts]
    if lengths is not None:
        taken = [nearest(of_file, part, seed) for of_file, part in zip(lengths, parts, strict=True)]
        check_any(amount, [count for count, _ in taken])
    return [
        Source(path, count, weight, float(share), *drawn)
        for path, count, weight, share, drawn in zip(paths, counts, given, shares, taken, strict=True)
    ]


def _picked(
    index: Index, order: np.ndarray[Any, np.dtype[np.int64]]
) -> tuple[Index, np.ndarray[Any, np.dtype[np.int64]]]:
    """Return the index of the rows taken, in input order and as often as taken, and their order in it."""
    by_row = np.argsort(order, kind="stable")
    places = np.empty_like(by_row)
    places[by_row] = np.arange(by_row.size)
    return index.ordered(order[by_row]), places
