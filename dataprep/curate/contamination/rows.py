"""Look for test texts in blocks of training rows: the operator of ``decontaminate``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from dataprep.core.conversations import content_text
from dataprep.core.errors import RowDropped, RowError, shortened
from dataprep.core.io import Block
from dataprep.core.parallel import Outcome, read_block
from dataprep.curate.contamination.index import END
from dataprep.curate.contamination.items import SHORTEST, refuse_document
from dataprep.curate.contamination.matching import Kind, Match, Matcher
from dataprep.curate.texts import spans_of, tokens_of

REASONS: Mapping[Kind, str] = {
    "verbatim": "a test row verbatim",
    "in part": "a test row in part",
    "changed": "a test row with changes",
}
_NAMES = frozenset({"role", "id", "source", "type"})  # fields that are no text of a row
_SHOWN = 1000  # characters of an overlapping text that are shown


@dataclass(frozen=True, slots=True)
class Drop:
    """A training row that repeats test rows.

    Attributes:
        line: its line or number, counted from 1; within its block until the block is merged.
        row: its bytes.
        matches: the test texts in it, the surest first.
        part: the field or message with the overlapping text.
        span: the characters of that text.
        text: the overlapping text; the beginning and the end of a long one.
    """

    line: int
    row: bytes
    matches: list[Match]
    part: str
    span: tuple[int, int] | None
    text: str


@dataclass(frozen=True, slots=True)
class Decontaminate:
    """An operator that keeps the rows without test texts; its payload is the list of drops."""

    matcher: Matcher
    fields: tuple[str, ...]

    def __call__(self, block: Block) -> Outcome:
        """Return the rows of a block that repeat no test row."""
        read = read_block(block, _read)
        ids, starts = self._tokens(read.rows)
        found: dict[int, list[Match]] = {}
        for number, matches in self.matcher.find(ids, starts).items():
            sure = [match for match in matches if self._is_told_apart(read.rows[number], match)]
            if sure:
                found[number] = sure
        lines, places = read.lines, read.line_numbers
        drops = [
            Drop(places[number], lines[number], matches, *_overlap(read.rows[number], matches[0]))
            for number, matches in sorted(found.items())
        ]
        kept: list[bytes] = read.settle(
            [
                RowDropped(REASONS[found[number][0].kind]) if number in found else line
                for number, line in enumerate(lines)
            ]
        )
        read.outcome.put(b"".join(line + b"\n" for line in kept))
        read.outcome.payload = drops
        return read.outcome

    def _is_told_apart(self, row: Mapping[str, Any], match: Match) -> bool:
        """Return whether a text of few words is asked in the row: "water" is also one of its choices."""
        if match.end - match.begin >= SHORTEST:
            return True
        part = _overlap(row, match)[0]
        if part.startswith("messages."):
            return bool(row["messages"][int(part.split(".")[1])].get("role") == "user")
        return part.removesuffix(".stem").removesuffix(".text") in self.fields

    def _tokens(self, rows: list[dict[str, Any]]) -> tuple[Any, Any]:
        number_of = self.matcher.index.vocabulary.__getitem__
        ids: list[int] = [END]
        starts = []
        numbers: dict[str, list[int]] = {}  # many rows have the same system message
        for row in rows:
            starts.append(len(ids) - 1)
            for _, text in texts_of(row):
                known = numbers.get(text)
                if known is None:
                    known = numbers[text] = [*map(number_of, tokens_of(text)), END]
                ids += known
        return np.array(ids, np.int32), np.array(starts, np.int64)


def _read(row: dict[str, Any]) -> dict[str, Any]:
    refuse_document(row)
    return row


def texts_of(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the texts of a row and where each stands, ``messages.1.content`` or ``answer.text``."""
    for name, value in row.items():
        if type(value) is str:
            if name not in _NAMES:
                yield name, value
        elif name == "content" and type(value) is list:
            yield name, _joined(value)
        elif type(value) is dict:
            for path, text in texts_of(value):
                yield f"{name}.{path}", text
        elif type(value) is list:
            for path, text in _texts_in(value):
                yield f"{name}.{path}", text


def _texts_in(values: list[Any]) -> Iterator[tuple[str, str]]:
    for number, value in zip(count(), values, strict=False):
        if type(value) is str:
            yield str(number), value
        elif type(value) is dict:
            for path, text in texts_of(value):
                yield f"{number}.{path}", text
        elif type(value) is list:
            for path, text in _texts_in(value):
                yield f"{number}.{path}", text


def _joined(content: list[Any]) -> str:
    try:
        return content_text([part for part in content if isinstance(part, dict) and "text" in part])
    except TypeError:
        raise RowError("a content without text", "expected a string or parts of text") from None


def _overlap(row: Mapping[str, Any], match: Match) -> tuple[str, tuple[int, int] | None, str]:
    """Return the part of a row in which a match stands, or most of it; its characters, and their text."""
    best: tuple[int, str, str, int, int] = (0, "", "", 0, 0)
    begin = 1  # after the first `END`
    for part, text in texts_of(row):
        size = len(tokens_of(text))
        first, last = max(match.begin - begin, 0), min(match.end - begin, size)
        best = max(best, (last - first, part, text, first, last), key=lambda found: found[0])
        begin += size + 1
    _, part, text, first, last = best
    spans = spans_of(text)
    if spans is None or last <= first:
        return part, None, shortened(" ".join(tokens_of(text)[first:last]), _SHOWN)
    span = spans[first][0], spans[last - 1][1]
    return part, span, shortened(text[span[0] : span[1]], _SHOWN)
