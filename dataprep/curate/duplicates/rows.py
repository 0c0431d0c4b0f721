"""Read the rows of files once, and keep of each what is compared: a digest, shingles, a score."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np
import orjson

from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.errors import Location, RowError, UsageError
from dataprep.core.ledger import Ledger
from dataprep.core.records import describe, from_cell
from dataprep.curate.duplicates.shingles import Shingler
from dataprep.curate.inputs import read_once
from dataprep.curate.texts import TextOf, field_of, normalised_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIGEST_BYTES = 16
COUNTERS = 1 << 22
_ONE = np.uint32(1)  # adding another type takes ten times as long
_NO_CONTENT = ("id", "source")
# Called with the number of a file, the number of its lines before a block, the block, and its outcome.
Take = Callable[[int, int, files.Block, engine.Outcome], None]


@dataclass(frozen=True, slots=True)
class ComparedText:
    """Return the text by which a row is compared; picklable.

    It is the part ``on`` of the row (see ``TextOf``). For ``"messages"``, a row that is no chat row is
    compared by all of its fields but ``id`` and ``source``.
    """

    on: str

    def __call__(self, row: Mapping[str, Any]) -> str:
        """Return the text; raise ``RowError`` for a row that has none."""
        messages = row.get("messages")
        if isinstance(messages, str):  # in a table's cell
            row = {**row, "messages": from_cell(messages)}
        if self.on == "messages" and messages is None:
            content = {key: value for key, value in row.items() if key not in _NO_CONTENT}
            return orjson.dumps(content, option=orjson.OPT_SORT_KEYS).decode()
        return TextOf(self.on)(row)


@dataclass(frozen=True, slots=True)
class ScoreOf:
    """Return the score of a row, of which the highest is kept; picklable."""

    keep: str  # "longest", or "best:FIELD"

    def __call__(self, row: Mapping[str, Any], text: str) -> float:
        """Return the score; raise ``RowError`` for a row without a number in the field."""
        if self.keep == "longest":
            return float(len(text))
        name = self.keep.removeprefix("best:")
        value = from_cell(field_of(row, name))
        if isinstance(value, bool | int | float) and math.isfinite(value):
            return float(value)
        raise RowError(f"{name!r} is no number", f"found {describe(value)} as {name!r}; expected a number")


def check_keep(keep: str) -> None:
    """Raise ``UsageError`` unless ``keep`` is ``first``, ``longest`` or ``best:FIELD``."""
    if keep not in ("first", "longest") and not (keep.startswith("best:") and keep != "best:"):
        raise UsageError(f"--keep must be one of first, longest, best:FIELD; found {keep!r}")


class ReadTexts:
    """Read what is compared of a block's rows: a picklable operator.

    The payload of an outcome is a ``Compared``.
    """

    def __init__(self, on: str, keep: str = "first", shingler: Shingler | None = None) -> None:
        self.text_of, self.shingler = ComparedText(on), shingler
        self.score_of = None if keep == "first" else ScoreOf(keep)

    def __call__(self, block: files.Block) -> engine.Outcome:
        """Return an outcome without output."""
        read: engine.ReadRows[dict[str, Any]] = engine.read_block(block, checked=False)
        text_of, score_of = self.text_of, self.score_of
        results: list[tuple[str, float] | RowError] = []
        for row in read.rows:
            try:
                text = text_of(row)
                results.append((text, 0.0 if score_of is None else score_of(row, text)))
            except RowError as error:
                results.append(error)
        pairs = read.settle(results)
        texts = [text for text, _ in pairs]
        plain = len(texts) == read.outcome.lines
        digests = [blake2b(text, digest_size=DIGEST_BYTES).digest() for text in normalised_bytes(texts)]
        read.outcome.payload = Compared(
            None if plain else np.array(read.line_numbers, np.uint32),
            None if plain else np.array(read.numbers, np.uint32),
            b"".join(digests),
            None if score_of is None else np.array([score for _, score in pairs], np.float64),
            None if self.shingler is None else self.shingler(texts),
        )
        return read.outcome


@dataclass(slots=True)
class Compared:
    """Digests, scores and shingles of the sound rows of a block."""

    lines: NDArray[np.uint32] | None  # their lines in the block, counted from 1; None if all lines are rows
    numbers: NDArray[np.uint32] | None  # their numbers among the lines that are not blank, from 0
    digests: bytes  # DIGEST_BYTES of each
    scores: NDArray[np.float64] | None
    shingles: tuple[NDArray[np.uint64], NDArray[np.uint32]] | None


@dataclass(slots=True)
class Piece:
    """The sound rows of one block, and where it stands."""

    path: int  # the index of the file
    unit: Literal["line", "row"]
    lines_before: int  # lines of the file before the block
    rows_before: int  # lines of the file before the block that are not blank
    first: int  # the number of its first sound row among those of all files
    count: int
    lines: NDArray[np.uint32] | None
    numbers: NDArray[np.uint32] | None


@dataclass
class Rows:
    """The sound rows of files, numbered from 0 in the order in which they were read.

    Attributes:
        paths: the files.
        pieces: the blocks with their rows.
        count: number of sound rows.
        rows_in: number of rows of each file, bad ones too.
        scores: the scores, if rows have any.
        sizes: number of shingles of each row, if rows are compared by them.
        ledger: rows that came in, and bad ones.
        counters: about how many rows have each shingle: ``COUNTERS`` of them, chosen by its last bits.
        fixed: number of rows, the first ones, that are kept in any case.
        fixed_pieces: number of their blocks.
        fixed_paths: number of their files.
    """

    paths: list[str]
    folder: Path
    pieces: list[Piece] = field(default_factory=list)
    count: int = 0
    rows_in: list[int] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    counters: NDArray[np.uint32] = field(default_factory=lambda: np.zeros(COUNTERS, np.uint32))
    fixed: int = 0
    fixed_pieces: int = 0
    fixed_paths: int = 0
    _scores: array[float] = field(default_factory=lambda: array("d"))
    _sizes: array[int] = field(default_factory=lambda: array("I"))

    def fix(self) -> None:
        """Keep all rows that were read until now."""
        self.fixed, self.fixed_pieces, self.fixed_paths = self.count, len(self.pieces), len(self.paths)

    @property
    def digests(self) -> Path:
        """Return the file of the rows' digests."""
        return self.folder / "digests"

    @property
    def shingles(self) -> Path:
        """Return the file of the rows' shingles, 8 bytes each."""
        return self.folder / "shingles"

    @property
    def scores(self) -> NDArray[np.float64] | None:
        """Return the scores, shape ``(count,)``; ``None`` if rows have none."""
        return np.frombuffer(self._scores, np.float64) if self._scores else None

    @property
    def sizes(self) -> NDArray[np.uint32]:
        """Return the number of shingles of each row, shape ``(count,)``."""
        return np.frombuffer(self._sizes, np.uint32) if self._sizes else np.empty(0, np.uint32)

    def place_of(self, row: int) -> Location:
        """Return where a row stands."""
        piece = self.pieces[bisect_right(self.pieces, row, key=lambda piece: piece.first) - 1]
        at = row - piece.first
        line = at + 1 if piece.lines is None else int(piece.lines[at])
        return Location(self.paths[piece.path], piece.lines_before + line, piece.unit)


def read_rows(
    rows: Rows,
    operator: ReadTexts,
    paths: list[str],
    *,
    spool: Spool,
    rejects: files.Rejects,
    workers: int | None,
    ledger: Ledger,
    progress: engine.Progress | None = None,
) -> None:
    """Add the rows of files to ``rows``."""
    before = len(rows.paths)
    rows.paths += paths
    rows.rows_in += [0] * len(paths)
    with ExitStack() as stack:
        digests = stack.enter_context(rows.digests.open("ab"))
        shingles = stack.enter_context(rows.shingles.open("ab"))

        def take(path: int, lines: int, block: files.Block, outcome: engine.Outcome) -> None:
            _add(rows, before + path, lines, block, outcome, (digests, shingles))

        spool.run(
            operator, paths, take, ledger=ledger, rejects=rejects, workers=workers, progress=progress
        )  # fmt: skip


def _add(
    rows: Rows,
    path: int,
    lines: int,
    block: files.Block,
    outcome: engine.Outcome,
    out: tuple[IO[bytes], IO[bytes]],
) -> None:
    found: Compared = outcome.payload
    count = len(found.digests) // DIGEST_BYTES
    rows.pieces.append(
        Piece(path, block.unit, lines, rows.rows_in[path], rows.count, count, found.lines, found.numbers)
    )
    rows.count += count
    rows.rows_in[path] += outcome.rows_in
    out[0].write(found.digests)
    if found.scores is not None:
        rows._scores.frombytes(found.scores.tobytes())
    if found.shingles is not None:
        grams, sizes = found.shingles
        out[1].write(grams.data)
        # Here, because this process has nothing else to do while others read.
        np.add.at(rows.counters, (grams & np.uint64(COUNTERS - 1)).astype(np.int64), _ONE)
        rows._sizes.frombytes(sizes.astype(np.uint32).tobytes())


class Spool:
    """Read files in two passes, also those that can be read once, which are copied on the way."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._copies: dict[str, tuple[Path, list[tuple[int, bool, Any]]]] = {}

    def blocks(self, paths: Iterable[str]) -> Iterator[files.Block]:
        """Yield the blocks of one file after the other; the same ones in each pass."""
        for path in paths:
            if path in self._copies:
                yield from self._again(path)
            elif read_once(path):
                yield from self._copied(path)
            else:
                yield from files.read_row_blocks(path)

    def run(
        self,
        operator: engine.Operator,
        paths: list[str],
        take: Take,
        *,
        ledger: Ledger,
        rejects: files.Rejects,
        workers: int | None,
        progress: engine.Progress | None,
    ) -> None:
        """Run an operator over the blocks of files, and call ``take`` for each of them in their order."""
        # The same file can be named twice, so blocks are told apart by which of them are first.
        number, lines = -1, 0

        def count_lines(block: files.Block, outcome: engine.Outcome) -> None:
            nonlocal number, lines
            if block.first:
                number, lines = number + 1, 0
            take(number, lines, block, outcome)
            lines += outcome.lines

        with files.writing(str(self._folder)):
            engine.run_into(
                self.blocks(paths),
                operator,
                None,
                ledger,
                rejects,
                paths=paths,
                workers=engine.workers_for(paths, workers),
                take=count_lines,
                progress=progress,
            )

    def _copied(self, path: str) -> Iterator[files.Block]:
        copy = self._folder / f"input{len(self._copies)}"
        pieces: list[tuple[int, bool, Any]] = []
        self._copies[path] = (copy, pieces)
        with files.writing(str(self._folder)), copy.open("wb") as out:
            for block in files.read_row_blocks(path):
                data = block.read()
                out.write(data)
                pieces.append((len(data), block.first, block.unit))
                yield block

    def _again(self, path: str) -> Iterator[files.Block]:
        copy, pieces = self._copies[path]
        with copy.open("rb") as file:
            for size, first, unit in pieces:
                yield files.Block(path, data=file.read(size), unit=unit, first=first)
