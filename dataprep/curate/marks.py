"""A person's marks on the rows of a file: ``view`` writes them, and ``filter`` reads them.

The marks of ``rows.jsonl`` stand in ``rows.jsonl.marks.jsonl``, one JSON object a line. The file only grows,
and of the lines with the same digest the last one counts::

    {"row": 17, "digest": "9f86d081884c7d659a2feaa0c55ad015", "mark": "bad", "note": "the answer is 12"}

``mark`` is ``"good"``, ``"bad"`` or null. A line with neither a mark nor a note takes the mark away. A mark
belongs to the row's bytes, by their ``digest``: it follows its row when others are added or the rows are
shuffled, and equal rows share it. ``row`` says where the row stood: its line, counted from 1, or the number
of a row of another format.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

from dataprep.core import io as files
from dataprep.core.errors import RowError, UsageError, located
from dataprep.core.jsonl import parse_line
from dataprep.core.records import describe

SUFFIX = ".marks.jsonl"
MARKS = ("good", "bad")
_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark on a row.

    Attributes:
        row: the row's line or number when it was marked, counted from 1.
        digest: ``digest_of`` its bytes.
        mark: ``"good"``, ``"bad"``, or ``None`` beside a note alone.
        note: a person's words; empty for none.
    """

    row: int
    digest: str
    mark: str | None
    note: str

    def to_json(self) -> dict[str, Any]:
        """Return the mark as a JSON object."""
        return asdict(self)


def digest_of(line: bytes) -> str:
    """Return the digest of a row's bytes: a line of the blocks of ``core.io``, without outer white space."""
    return blake2b(line.strip(), digest_size=_DIGEST_BYTES).hexdigest()


class Marks:
    """The marks on the rows of one file, as they stand in the file beside it."""

    def __init__(self, path: str | Path) -> None:
        """Read the marks on the rows of ``path``; there are none without a file of marks, or for ``-``.

        Raises:
            InputError: a line of the file of marks is not one.
        """
        self.path = f"{path}{SUFFIX}"
        self._of: dict[str, Mark] = {}
        if str(path) != files.STDIO and files.exists(self.path):
            for where, line in files.read_items(self.path, growing=True):
                with located(where, "correct or remove this line of marks"):
                    self._put(_parsed(line))

    def __len__(self) -> int:
        return len(self._of)

    def of(self, line: bytes) -> Mark | None:
        """Return the mark on a row, given by its bytes."""
        return self._of.get(digest_of(line)) if self._of else None

    def by_row(self) -> list[Mark]:
        """Return all marks in the order of the rows' numbers."""
        return sorted(self._of.values(), key=lambda mark: mark.row)

    def set(self, row: int, line: bytes, mark: str | None, note: str = "") -> Mark | None:
        """Mark a row, and append that to the file.

        Args:
            row: the row's number, counted from 1.
            line: its bytes.
            mark: ``"good"``, ``"bad"`` or ``None``.
            note: words about it.

        Returns:
            The mark; ``None`` if neither a mark nor a note is left.
        """
        if mark is not None and mark not in MARKS:
            raise UsageError(f"mark {mark!r}: must be one of {', '.join(MARKS)}, or null")
        made = Mark(row, digest_of(line), mark, note)
        self._append(orjson.dumps(made.to_json(), option=orjson.OPT_APPEND_NEWLINE))
        self._put(made)
        return self._of.get(made.digest)

    def _put(self, mark: Mark) -> None:
        if mark.mark is None and not mark.note:
            self._of.pop(mark.digest, None)
        else:
            self._of[mark.digest] = mark

    def _append(self, line: bytes) -> None:
        files.check_local(self.path, "marking rows")
        with files.writing(self.path), open(self.path, "a+b", buffering=0) as out:
            # A machine that stopped can have left half a line, which would spoil the new one.
            if out.seek(0, os.SEEK_END):
                out.seek(-1, os.SEEK_END)
                line = line if out.read(1) == b"\n" else b"\n" + line
            out.write(line)


def _parsed(line: bytes | Any) -> Mark:
    row = parse_line(line)
    kinds = {"row": int, "digest": str, "mark": str, "note": str}
    for name, kind in kinds.items():
        if name in ("mark", "note") and row.get(name) is None:
            continue
        if type(row.get(name)) is not kind:
            expected = "a number" if kind is int else "a text"
            raise RowError(
                f"not a mark: field {name!r}", f"found {describe(row.get(name))}, expected {expected}"
            )
    if row.get("mark") not in (None, *MARKS):
        expected = f"expected {', '.join(map(repr, MARKS))} or null"
        raise RowError("not a mark: field 'mark'", f"found {describe(row['mark'])}, {expected}")
    return Mark(row["row"], row["digest"], row.get("mark"), row.get("note") or "")
