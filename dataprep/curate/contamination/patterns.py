"""Recognise short test texts with other names and numbers: the same words in the same order around them.

A text is divided into runs of words, and slots for what can change: a number, or a name of several words. A
row has the text if it has all of its runs, with something in each slot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dataprep.curate.contamination.index import END, NUMBER, Hashes, Index, Table, hashes_of
from dataprep.curate.contamination.items import USUAL

Kind = Literal["", "name", "number"]
Slot = tuple[int, int, Kind]
"""A slot in a row: its first token, the token after its last one, and what stands in it."""

_FEWEST, _MANY = 3, 10  # words of a text, without its slots, with which it can be recognised
_RARE = 2  # rare ones among fewer than `_MANY`: "When was … founded" fits too many names
_LONGEST = 8  # tokens in a slot
_LENGTHS = (4, 3, 2)  # tokens of the n-gram by which a text is looked for
_FREQUENT = 100  # texts that have this n-gram; one that more texts have would only cost time


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text with slots.

    Attributes:
        runs: the tokens between the slots.
        slots: what is before, between and behind the runs; empty if nothing is.
        anchor: the run with the n-gram by which the text is looked for, and its place there.
    """

    runs: tuple[tuple[int, ...], ...]
    slots: tuple[Kind, ...]
    anchor: tuple[int, int] = (0, 0)


def pattern_of(tokens: Sequence[int], names: Sequence[bool]) -> Pattern:
    """Return the pattern of a text whose numbers are all ``NUMBER``."""
    runs: list[tuple[int, ...]] = []
    slots: list[Kind] = [""]
    pairs = zip(tokens, names, strict=True)
    for is_slot, group in groupby(pairs, lambda pair: pair[1] or pair[0] == NUMBER):
        inside, named = zip(*group, strict=True)
        if is_slot:
            slots[-1] = "name" if any(named) else "number"
        else:
            runs.append(inside)
            slots.append("")
    return Pattern(tuple(runs), tuple(slots))


@dataclass(frozen=True, slots=True)
class Patterns:
    """The patterns of short test texts, and the n-grams by which they are looked for; picklable."""

    patterns: dict[int, Pattern]
    tables: list[Table]

    @classmethod
    def of(cls, index: Index, shorter_than: int) -> Patterns:
        """Return the patterns of the texts that have fewer words than a number, without their slots."""
        patterns, counts, rare = {}, _Frequencies(index), _rare_words(index)
        anchors: dict[int, list[tuple[int, int, int]]] = {length: [] for length in _LENGTHS}
        for text, (tokens, names) in enumerate(zip(index.tokens, index.names, strict=True)):
            pattern = pattern_of(index.masks[tokens].tolist(), names.tolist())
            size = sum(map(len, pattern.runs))
            if not any(pattern.slots) or not _FEWEST <= size < shorter_than:
                continue
            known = {token for run in pattern.runs for token in run if rare[token]}
            found = counts.rarest(pattern.runs)
            if found is not None and (size >= _MANY or len(known) >= _RARE):
                run, place, length, gram = found
                patterns[text] = Pattern(pattern.runs, pattern.slots, (run, place))
                anchors[length].append((gram, text, place))
        tables = [_table(length, rows) for length, rows in anchors.items() if rows]
        return cls(patterns, tables)

    def find(self, index: Index, tokens: NDArray[np.int32]) -> Iterator[tuple[int, list[Slot], int, int]]:
        """Yield the texts that stand in a sequence of tokens, their slots, begin and end there."""
        masked = index.masks[tokens]
        by_length = dict(hashes_of(index.values[masked], [table.length for table in self.tables]))
        row: list[int] = []
        for table in self.tables:
            positions, texts, places = table.find(by_length[table.length])
            row = row or masked.tolist()
            for begin, text in zip((positions - places).tolist(), texts.tolist(), strict=True):
                found = _match(row, begin, self.patterns[text])
                if found is not None:
                    yield text, *found


def _rare_words(index: Index) -> NDArray[np.bool_]:
    """Return for each token whether few texts have it, and it is no usual word."""
    texts = np.zeros(len(index.masks), np.int64)
    for row in index.tokens:
        texts[np.unique(row)] += 1
    rare = texts <= max(10, len(index.tokens) // 50)
    rare[[number for word, number in index.vocabulary.items() if word in USUAL]] = False
    return rare


class _Frequencies:
    """The number of times that each n-gram of a few tokens is in the test texts."""

    def __init__(self, index: Index) -> None:
        self._values = index.values
        masked = [index.masks[row] for row in index.tokens]
        flat = np.concatenate([np.append(row, END) for row in masked]) if masked else np.zeros(0, np.int32)
        self._counts = {
            length: np.unique(hashes, return_counts=True)
            for length, hashes in hashes_of(self._values[flat], _LENGTHS)
        }

    def rarest(self, runs: Sequence[tuple[int, ...]]) -> tuple[int, int, int, int] | None:
        """Return run, place, length and hash of the rarest n-gram, the longest of equal ones."""
        best = None
        for number, run in enumerate(runs):
            values = self._values[np.array(run)]
            for length, hashes in hashes_of(values, _LENGTHS):
                known, counts = self._counts[length]
                for place, count in enumerate(counts[np.searchsorted(known, hashes)].tolist()):
                    key = count, -length, number, place
                    if count <= _FREQUENT and (best is None or key < best[0]):
                        best = key, (number, place, length, int(hashes[place]))
        return None if best is None else best[1]


def _table(length: int, rows: list[tuple[int, int, int]]) -> Table:
    grams: Hashes = np.array([gram for gram, _, _ in rows], np.uint64)
    texts, places = (np.array([row[at] for row in rows], np.int64) for at in (1, 2))
    return Table.of(length, grams, texts, places)


def _match(row: list[int], begin: int, pattern: Pattern) -> tuple[list[Slot], int, int] | None:
    """Return the slots, begin and end of a pattern in a row whose anchor's run begins at a token."""
    run = pattern.anchor[0]
    first = pattern.runs[run]
    if begin < 0 or tuple(row[begin : begin + len(first)]) != first:
        return None
    slots: list[Slot] = []
    end = begin + len(first)
    for number in range(run + 1, len(pattern.runs)):
        following = pattern.runs[number]
        size = _gap(row, end, 1, following)
        if not size:
            return None
        slots.append((end, end + size, pattern.slots[number]))
        end += size + len(following)
    for number in range(run - 1, -1, -1):
        before = pattern.runs[number]
        size = _gap(row, begin, -1, before)
        if not size:
            return None
        slots.append((begin - size, begin, pattern.slots[number + 1]))
        begin -= size + len(before)
    for kind, at, place in ((pattern.slots[0], begin - 1, 0), (pattern.slots[-1], end, 1)):
        if kind:
            if not 0 <= at < len(row) or row[at] == END:
                return None
            slots.append((at, at + 1, kind))
            begin, end = (begin, end + 1) if place else (begin - 1, end)
    return slots, begin, end


def _gap(row: list[int], at: int, step: Literal[1, -1], run: tuple[int, ...]) -> int:
    """Return the size of the slot between a place and a run behind it or, with -1, before it; 0 if none."""
    for size in range(1, _LONGEST + 1):
        inside = at + size - 1 if step == 1 else at - size
        if not 0 <= inside < len(row) or row[inside] == END:
            return 0
        begin = at + size if step == 1 else at - size - len(run)
        if begin >= 0 and tuple(row[begin : begin + len(run)]) == run:
            return size
    return 0
