"""Look for test texts in blocks of training rows: the operator of ``decontaminate``."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from dataprep.core.conversations import content_text
from dataprep.core.errors import RowDropped, RowError, shortened
from dataprep.core.io import Block
from dataprep.core.parallel import Outcome, read_block
from dataprep.curate.contamination.index import END, is_number
from dataprep.curate.contamination.items import (
    JOINING,
    PRONOUNS,
    SENTENCE,
    SHORTEST,
    is_end,
    refuse_document,
)
from dataprep.curate.contamination.matching import Kind, Match, Matcher
from dataprep.curate.contamination.patterns import Slot
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
        row: its bytes; empty if nobody wants them.
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

    def plain(self) -> tuple[Any, ...]:
        """Return the drop as plain data, as the record of a finished chunk can hold it."""
        matches = [(match.text, match.kind, match.score, match.begin, match.end) for match in self.matches]
        return self.line, self.row, matches, self.part, self.span, self.text

    @classmethod
    def of(cls, plain: tuple[Any, ...]) -> Drop:
        """Return what ``plain`` returned the data of; the slots of its matches are empty."""
        line, row, matches, part, span, text = plain
        return cls(line, row, [Match(*match) for match in matches], part, span, text)


@dataclass(frozen=True, slots=True)
class Decontaminate:
    """An operator that keeps the rows without test texts; its payload is the list of drops, as plain data.

    Attributes:
        matcher: the test texts.
        fields: the parts of test rows.
        shows_rows: whether drops have the bytes of the rows.
    """

    matcher: Matcher
    fields: tuple[str, ...]
    shows_rows: bool = True

    def __call__(self, block: Block) -> Outcome:
        """Return the rows of a block that repeat no test row."""
        read = read_block(block, _read)
        ids, starts = self._tokens(read.rows)
        found: dict[int, tuple[_Parts, list[Match]]] = {}
        for number, matches in self.matcher.find(ids, starts).items():
            parts = _Parts(read.rows[number])
            sure: dict[int, Match] = {}
            for match in matches:
                if match.text not in sure and self._is_told_apart(parts, match):
                    sure[match.text] = match
            if sure:
                found[number] = parts, [*sure.values()]
        lines, places = read.lines, read.line_numbers
        drops = [
            Drop(
                places[number],
                lines[number] if self.shows_rows else b"",
                matches,
                *parts.overlap(matches[0]),
            ).plain()
            for number, (parts, matches) in sorted(found.items())
        ]
        kept: list[bytes] = read.settle(
            [
                RowDropped(REASONS[found[number][1][0].kind]) if number in found else line
                for number, line in enumerate(lines)
            ]
        )
        read.outcome.put(b"".join(line + b"\n" for line in kept))
        read.outcome.payload = drops
        return read.outcome

    def _is_told_apart(self, parts: _Parts, match: Match) -> bool:
        """Return whether a text of few tokens is asked in the row, and is no part of what is said."""
        if match.slots and not all(parts.is_filled(slot) for slot in match.slots):
            return False
        if match.end - match.begin >= SENTENCE:
            return True
        if match.end - match.begin >= SHORTEST:
            return not parts.is_in_sentence(match, capital=self.matcher.index.capitals[match.text])
        # "water" is also one of its choices.
        part = parts.of(match)[0]
        if part.startswith("messages."):
            return bool(parts.row["messages"][int(part.split(".")[1])].get("role") == "user")
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


class _Parts:
    """The texts of a row, by their tokens."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.row = row
        self._parts: list[tuple[int, str, str, int]] = []
        self._spans: dict[int, list[tuple[int, int]] | None] = {}
        self._capitals: dict[str, bool] = {}
        begin = 1  # after the first `END`
        for part, text in texts_of(row):
            size = len(tokens_of(text))
            self._parts.append((begin, part, text, size))
            begin += size + 1
        self._begins = [begin for begin, _, _, _ in self._parts]

    def of(self, match: Match) -> tuple[str, str, list[tuple[int, int]] | None, int, int]:
        """Return the part in which a match stands, or most of it; its text, spans, and the tokens there."""

        def common(number: int) -> int:
            begin, _, _, size = self._parts[number]
            return min(match.end, begin + size) - max(match.begin, begin)

        # Nearly all matches are in one part; a row can have thousands of parts and matches.
        number = max(bisect_right(self._begins, match.begin) - 1, 0)
        if common(number) < match.end - match.begin:
            number = max(range(len(self._parts)), key=common)
        begin, part, text, size = self._parts[number]
        if number not in self._spans:
            self._spans[number] = spans_of(text)
        first, last = max(match.begin - begin, 0), min(match.end - begin, size)
        return part, text, self._spans[number], first, last

    def is_filled(self, slot: Slot) -> bool:
        """Return whether names or numbers stand in a slot, and nothing else."""
        begin, end, kind = slot
        _, text, spans, first, last = self.of(Match(0, "changed", 1.0, begin, end))
        if spans is None:
            return True
        words = [text[at:stop] for at, stop in spans[first:last]]
        tokens = ["".join(tokens_of(word)) for word in words]
        if kind == "number":
            return all(is_number(number) or number == "and" for number in tokens)
        named = [
            word[0].isupper() or is_number(token) or token in PRONOUNS
            for word, token in zip(words, tokens, strict=True)
        ]
        # A text without capitals has none in its names either.
        pairs = zip(tokens, named, strict=True)
        is_named = any(named) and all(name or token in JOINING for token, name in pairs)
        return is_named or not self._has_capitals(text)

    def _has_capitals(self, text: str) -> bool:
        if text not in self._capitals:
            self._capitals[text] = not text.islower()
        return self._capitals[text]

    def is_in_sentence(self, match: Match, *, capital: bool) -> bool:
        """Return whether a match is only a part of a longer sentence.

        Args:
            match: a text that stands in the row verbatim.
            capital: whether the test text begins with a capital letter.
        """
        _, text, spans, first, last = self.of(match)
        if spans is None:
            return False
        begin, end = spans[first][0], spans[last - 1][1]
        begins = first == 0 or is_end(text[spans[first - 1][1] : begin])
        after = spans[last][0] if last < len(spans) else end
        ends = after == end or not text[after].islower() or is_end(text[end:after])
        if begins and ends:
            return False
        if capital and not text[begin].isupper():
            return begins or text[end : end + 1] != "?"
        # A question that somebody put into another sentence does not begin it.
        return begins

    def overlap(self, match: Match) -> tuple[str, tuple[int, int] | None, str]:
        """Return the part in which a match stands, or most of it; its characters, and their text."""
        part, text, spans, first, last = self.of(match)
        if spans is None or last <= first:
            return part, None, shortened(" ".join(tokens_of(text)[first:last]), _SHOWN)
        span = spans[first][0], spans[last - 1][1]
        return part, span, shortened(text[span[0] : span[1]], _SHOWN)
