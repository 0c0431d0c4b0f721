"""Say which rows two files share, lost, gained or changed: the library behind ``dataprep diff``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import orjson

from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.errors import LedgerError, Location, UsageError
from dataprep.core.ledger import Ledger, advance
from dataprep.core.options import check_whole
from dataprep.curate.duplicates.rows import Spool
from dataprep.curate.inputs import checked_inputs, place_fields
from dataprep.inspect.diff.fields import Change, changes_of
from dataprep.inspect.diff.matching import Match, match_rows
from dataprep.inspect.diff.rows import TwoFiles, id_of, read_files

# Fields of data can have any names. The counts of this many are kept, and those of others as one.
MAX_FIELDS = 1_000
OTHERS = "other fields"


@dataclass(frozen=True, slots=True)
class Difference:
    """Rows that are not the same in both files.

    Attributes:
        kind: what happened to it.
        id: its id as a text; ``None`` if it has none.
        a: the row's place in the first file and its line; ``None`` if it was gained.
        b: the row's place in the second file and its line; ``None`` if it was lost.
        changes: of a changed row, its fields that differ.
    """

    kind: Literal["lost", "gained", "changed"]
    id: str | None
    a: tuple[Location, bytes] | None
    b: tuple[Location, bytes] | None
    changes: Sequence[Change] = ()

    def to_line(self) -> bytes:
        """Return a line of JSON with the places and rows of both files."""
        line: dict[str, Any] = {"kind": self.kind, "id": self.id}
        for name, side in (("a", self.a), ("b", self.b)):
            if side is not None:
                line[name] = place_fields(side[0]) | {"row": orjson.Fragment(side[1].strip())}
        if self.kind == "changed":
            line["changes"] = [
                {"path": change.path, "role": change.role or None, "kind": change.kind}
                for change in self.changes
            ]
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


@dataclass
class Diff:
    """The result of ``diff_files``.

    Attributes:
        paths: the two files.
        rows: number of sound rows of each.
        by: how rows were matched: ``"id"``, ``"content"`` or a part of the row.
        why: why not by id, if nothing was asked for.
        shared: number of rows that are in both files.
        changed: number of rows with the same key in both files, and different contents.
        lost: number of rows that are in the first file only.
        gained: number of rows that are in the second file only.
        copies: of the lost and of the gained rows, number of those that the other file has less often.
        moved: the least number of rows in both files to take out so that the others have the same order.
        fields: in how many rows a field changed, by path and role.
        shown: the first differences of each kind.
        ledger: the rows of both files. A pair of shared rows are two rows that are not written, and a pair of
            changed rows is written as one.
    """

    paths: list[str]
    rows: tuple[int, int]
    by: str
    why: str
    shared: int
    changed: int
    lost: int
    gained: int
    copies: tuple[int, int]
    moved: int
    fields: Counter[str] = field(default_factory=Counter)
    shown: list[Difference] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def equal(self) -> bool:
        """True if both files have the same rows, in any order."""
        return not self.changed + self.lost + self.gained

    def to_json(self) -> dict[str, Any]:
        """Return the counts as a JSON object."""
        names = ("shared", "changed", "lost", "gained", "moved")
        return {
            "files": [
                {"path": files.printable(path), "rows": rows}
                for path, rows in zip(self.paths, self.rows, strict=True)
            ],
            "by": self.by,
            "why": self.why or None,
            "equal": self.equal,
            **{name: getattr(self, name) for name in names},
            "copies": {"lost": self.copies[0], "gained": self.copies[1]},
            "fields": dict(self.fields.most_common()),
            "failed": dict(self.ledger.failed),
        }


def diff_files(
    a: str | Path,
    b: str | Path,
    output: str | Path | None = None,
    *,
    by: str | None = None,
    show: int = 0,
    rejects: str | Path | None = None,
    workers: int | None = 1,
    progress: engine.Progress | None = None,
) -> Diff:
    """Compare the rows of two files.

    Two rows are equal if their values of JSON are: the order of keys, white space and the notation of numbers
    make no difference. The order of rows makes none either, and is reported. Of several equal rows, the n-th
    ones of both files are a pair.

    Args:
        a: the first file, in any format that dataprep reads; ``-`` is standard input.
        b: the second file.
        output: receives a line of JSON for each difference: the lost rows in the order of the first file,
            then the changed and gained ones in the order of the second.
        by: the key of a row. ``"id"``, its id, compared as a text; ``"content"``, the whole row, so that none
            is changed; or a part of the row, as for ``split_files``. Defaults to ids if each row of both
            files has one of its own, and else to the content.
        show: number of differences of each kind to keep in the result.
        rejects: receives bad rows; without it the first one raises.
        workers: number of processes; ``None`` decides by the input's size.
        progress: called with the bytes of input worked off since the last call.

    Raises:
        UsageError: an option is wrong, or an output would replace an input.
        InputError: a row is bad, or has no such part.
    """
    check_whole("--show", show, 0)
    if by == "":
        raise UsageError("--by: expected id, content, or the name of a field")
    paths = checked_inputs([a, b], [] if output is None else [output], rejects, "compare")
    if paths.count(files.STDIO) > 1:
        raise UsageError("standard input can be read once only; give a path")
    unchanged = files.Unchanged(paths)
    ledger = Ledger()
    with ExitStack() as stack:
        folder = stack.enter_context(files.temporary_folder())
        bad = stack.enter_context(files.open_rejects(rejects))
        out = None if output is None else stack.enter_context(files.open_output(str(output)))
        spool = Spool(folder)
        read = read_files(
            paths, by, spool, folder, bad, ledger=ledger, workers=workers, progress=progress
        )  # fmt: skip
        match = match_rows(read, by)
        result = Diff(
            paths, (read.begin, read.contents.count - read.begin), match.by, match.why, match.shared,
            len(match.changed), len(match.lost), len(match.gained), match.copies, match.moved, ledger=ledger,
        )  # fmt: skip
        seen: Counter[str] = Counter()
        for difference in _differences(read, match, spool, folder, show if out is None else None):
            seen[difference.kind] += 1
            if seen[difference.kind] <= show:
                result.shown.append(difference)
            if difference.changes:
                _count(result.fields, difference.changes)
            if out is not None:
                out.write(difference.to_line(), 1)
        unchanged.check()
    _balance(result, seen if out is not None else None)
    return result


def _count(fields: Counter[str], changes: Sequence[Change]) -> None:
    counted: set[str] = set()  # once for each row, though several of its fields can be among the others
    for change in changes:
        name = change.name if change.name in fields or len(fields) < MAX_FIELDS else OTHERS
        if name not in counted:
            counted.add(name)
            fields[name] += 1


def _balance(result: Diff, written: Counter[str] | None) -> None:
    """Account for every row of both files in the ledger."""
    ledger, (a, b) = result.ledger, result.rows
    if (a, b) != (
        result.shared + result.changed + result.lost,
        result.shared + result.changed + result.gained,
    ):
        raise LedgerError(f"{a:,} and {b:,} rows came in ({result}): this is a bug in dataprep: report it")
    ledger.drop("shared", 2 * result.shared)
    if written is None:
        for name in ("lost", "gained"):
            ledger.drop(name, getattr(result, name))
        ledger.drop("changed", 2 * result.changed)
    else:
        ledger.rows_out = written.total()
        ledger.drop("on one line with another", result.changed)
    ledger.check()


def _differences(
    read: TwoFiles, match: Match, spool: Spool, folder: Path, most: int | None
) -> Iterator[Difference]:
    """Yield the rows that differ; of those without a partner ``most``, or all if it is ``None``."""
    changed, rows = match.changed, read.contents
    wanted = np.zeros(rows.count, bool)
    for alone in (match.lost, match.gained):
        wanted[alone[:most]] = True
    wanted[changed] = True
    # Where the copy of a row of the first file begins and ends, and whose turn is next in the second.
    ends = np.zeros(len(changed) + 1, np.int64)
    partners = iter(np.argsort(changed[:, 1]).tolist())
    is_changed = np.zeros(rows.count, bool)
    is_changed[changed] = True
    copied = 0
    with files.writing(str(folder)), (folder / "changed").open("w+b") as copies:
        for piece, block in zip(rows.pieces, spool.blocks(rows.paths), strict=True):
            picked = np.flatnonzero(wanted[piece.first : piece.first + piece.count]).tolist()
            if not picked:
                continue
            lines = block.read().split(b"\n")
            advance("bytes read again", sum(map(len, lines)))
            for at in picked:
                number = piece.first + at
                line = lines[at if piece.lines is None else int(piece.lines[at]) - 1].removesuffix(b"\r")
                where = rows.place_of(number)
                if not is_changed[number]:
                    yield _alone(piece.path, where, line)
                elif piece.path == 0:
                    copied += 1
                    ends[copied] = ends[copied - 1] + copies.write(line)
                else:
                    pair = next(partners)
                    old = _copy(copies, int(ends[pair]), int(ends[pair + 1]))
                    yield _changed((rows.place_of(int(changed[pair, 0])), old), (where, line))


def _copy(copies: IO[bytes], begin: int, end: int) -> bytes:
    copies.seek(begin)
    return copies.read(end - begin)


def _alone(side: int, where: Location, line: bytes) -> Difference:
    name = id_of(orjson.loads(line))
    if side == 0:
        return Difference("lost", name, (where, line), None)
    return Difference("gained", name, None, (where, line))


def _changed(a: tuple[Location, bytes], b: tuple[Location, bytes]) -> Difference:
    before, after = orjson.loads(a[1]), orjson.loads(b[1])
    return Difference("changed", id_of(after), a, b, list(changes_of(before, after)))
