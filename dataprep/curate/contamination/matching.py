"""Find the test texts that stand in training rows: verbatim, in part, or with names and numbers changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dataprep.curate.contamination.index import END, MASKED, NUMBER, Hashes, Index, Places, hashes_of
from dataprep.curate.contamination.items import SENTENCE, SHORTEST
from dataprep.curate.contamination.patterns import Patterns, Slot

Kind = Literal["verbatim", "in part", "changed"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""The ways in which a test row stands in a training row, the surest first."""

_FEWEST, _SHARE = 3, 0.15  # masked n-grams of a test text in a row that is looked at closely
_OF_WORDS = 0.9  # of the share of tokens, which the share of those that are no numbers must reach
_SLACK = 5  # tokens before and after the place where a changed text is expected


@dataclass(frozen=True, slots=True)
class Match:
    """A test text that stands in a training row.

    Attributes:
        text: number of the test text.
        kind: in which way.
        score: the share of its n-grams; of a changed text, of its tokens without names, in their order.
        begin: the first token of the row that is part of it.
        end: the token after the last one.
        slots: of a short changed text, what stands there in place of its names and numbers.
    """

    text: int
    kind: Kind
    score: float
    begin: int
    end: int
    slots: tuple[Slot, ...] = ()

    @property
    def rank(self) -> tuple[int, float, int]:
        """Sorts the surest match first."""
        return KINDS.index(self.kind), -self.score, self.text


@dataclass(slots=True)
class Matcher:
    """Find test texts in many rows at once; picklable.

    Attributes:
        index: the test texts.
        patterns: the short ones with slots for names and numbers.
        overlap: the smallest share of a test text's n-grams that counts.
        near: the smallest share of a changed text's tokens that counts; 0 looks for no changed texts.
    """

    index: Index
    patterns: Patterns
    overlap: float
    near: float
    _bits: dict[tuple[int, bool], dict[int, int]] = field(default_factory=dict)

    def find(self, tokens: NDArray[np.int32], starts: Places) -> dict[int, list[Match]]:
        """Return the matches of each row that has some, the surest first.

        Args:
            tokens: the tokens of all rows, ``END`` before and after each text.
            starts: where the tokens of each row begin in ``tokens``.
        """
        exact = self._exact(tokens, starts)
        if self.near:
            known = {(row, match.text) for row, matches in exact.items() for match in matches}
            for found in (self._changed(tokens, starts, known), self._short_changed(tokens, starts, known)):
                for row, matches in found.items():
                    exact.setdefault(row, []).extend(matches)
        for matches in exact.values():
            matches.sort(key=lambda match: match.rank)
        return exact

    def _exact(self, tokens: NDArray[np.int32], starts: Places) -> dict[int, list[Match]]:
        index = self.index
        found: dict[int, list[Match]] = {}
        for length, hashes in hashes_of(index.values[tokens], [*index.short, index.grams.length]):
            if length == index.grams.length:
                self._add_grams(tokens, starts, hashes, found)
            else:
                self._add_short(tokens, starts, hashes, length, found)
        return found

    def _add_short(
        self,
        tokens: NDArray[np.int32],
        starts: Places,
        hashes: Hashes,
        length: int,
        found: dict[int, list[Match]],
    ) -> None:
        positions, texts, _ = self.index.short[length].find(hashes)
        if length < SHORTEST:  # so few words stand in many texts: a text must be these words alone
            alone = (tokens[positions - 1] == END) & (tokens[positions + length] == END)
            positions, texts = positions[alone], texts[alone]
        rows = np.searchsorted(starts, positions, "right") - 1
        keys = rows * len(self.index.tokens) + texts
        # All places of a text that a longer sentence can begin with, because one of them can be a sentence.
        first = np.unique(keys, return_index=True)[1] if length >= SENTENCE else np.arange(len(keys))
        for row, text, at in zip(*(array[first].tolist() for array in (rows, texts, positions)), strict=True):
            begin = at - int(starts[row])
            found.setdefault(row, []).append(Match(text, "verbatim", 1.0, begin, begin + length))

    def _add_grams(
        self, tokens: NDArray[np.int32], starts: Places, hashes: Hashes, found: dict[int, list[Match]]
    ) -> None:
        index, length = self.index, self.index.grams.length
        least = np.where(index.whole, index.totals, self.overlap * index.totals)
        for row, text, positions, places in _pairs(index.grams.find(hashes), starts, least):
            share = len(set(places.tolist())) / int(index.totals[text])
            if share * index.totals[text] < least[text]:
                continue
            begin, end = int(positions.min()), int(positions.max()) + length
            kind: Kind = "in part"
            # N-grams that all stand there can stand apart, or in another order.
            wanted = index.tokens[text]
            for at in np.unique(positions - places) if share == 1 else ():
                if at >= 0 and np.array_equal(tokens[at : at + len(wanted)], wanted):
                    kind, begin, end = "verbatim", int(at), int(at) + len(wanted)
                    break
            start = int(starts[row])
            found.setdefault(row, []).append(Match(text, kind, share, begin - start, end - start))

    def _changed(
        self, tokens: NDArray[np.int32], starts: Places, known: set[tuple[int, int]]
    ) -> dict[int, list[Match]]:
        index = self.index
        masked = index.masks[tokens]
        ((_, hashes),) = hashes_of(index.values[masked], [MASKED])
        ends = np.append(starts[1:], len(tokens))
        found: dict[int, list[Match]] = {}
        least = np.maximum(_FEWEST, _SHARE * index.masked_totals)
        for row, text, positions, places in _pairs(index.masked.find(hashes), starts, least):
            if (row, text) in known or len(set(places.tolist())) < least[text]:
                continue
            start, size = int(starts[row]), len(index.tokens[text])
            slack = max(_SLACK, size // 4)
            at = sorted((positions - places).tolist())[len(places) // 2]
            begin, end = max(start, at - slack), min(int(ends[row]), at + size + slack)
            window = masked[begin:end]
            score = self._likeness(text, window)
            words = window[window != NUMBER]
            if score >= self.near and self._likeness(text, words, words=True) >= _OF_WORDS * self.near:
                begin, end = max(start, at) - start, min(int(ends[row]), at + size) - start
                found.setdefault(row, []).append(Match(text, "changed", score, begin, end))
        return found

    def _short_changed(
        self, tokens: NDArray[np.int32], starts: Places, known: set[tuple[int, int]]
    ) -> dict[int, list[Match]]:
        # One word of a short question makes it another one: only names and numbers can differ.
        found: dict[int, list[Match]] = {}
        for text, slots, begin, end in self.patterns.find(self.index, tokens):
            row = int(np.searchsorted(starts, begin, "right")) - 1
            if (row, text) not in known:
                start = int(starts[row])
                inside = tuple((first - start, last - start, kind) for first, last, kind in slots)
                match = Match(text, "changed", 1.0, begin - start, end - start, inside)
                found.setdefault(row, []).append(match)
        return found

    def _likeness(self, text: int, window: NDArray[np.int32], *, words: bool = False) -> float:
        """Return the share of a text's tokens, without names, that stand in a window in their order.

        Args:
            text: number of the test text.
            window: tokens of a row.
            words: leave out the text's numbers too.
        """
        core = self.index.cores[text]
        if words:
            core = core[core != NUMBER]
        bits = self._bits.get((text, words))
        if bits is None:
            bits = self._bits[text, words] = {}
            for place, token in enumerate(core.tolist()):
                bits[token] = bits.get(token, 0) | 1 << place
        return longest_common(bits, len(core), window.tolist()) / len(core)


def longest_common(bits: dict[int, int], size: int, window: Sequence[int]) -> int:
    """Return the length of the longest common subsequence of two sequences of tokens.

    Source: Hyyrö 2004, "Bit-parallel LCS-length computation revisited".

    Args:
        bits: for each token of the first sequence, its places there as the bits of a number.
        size: number of tokens of the first sequence.
        window: the second sequence.
    """
    full = (1 << size) - 1
    left = full  # a bit for each token of the first sequence that is not in the common one
    for token in window:
        places = bits.get(token)
        if places is not None:
            both = left & places
            left = ((left + both) | (left - both)) & full
    return size - left.bit_count()


def _pairs(
    hits: tuple[Places, Places, Places], starts: Places, least: NDArray[np.float64]
) -> Iterator[tuple[int, int, Places, Places]]:
    """Yield rows and texts that share as many n-grams as the text asks for; their positions and places."""
    positions, texts, places = hits
    rows = np.searchsorted(starts, positions, "right") - 1
    keys = rows * len(least) + texts
    order = np.argsort(keys, kind="stable")
    pairs, begins, counts = np.unique(keys[order], return_index=True, return_counts=True)
    enough = counts >= least[pairs % max(len(least), 1)]
    for key, begin, size in zip(*(a[enough].tolist() for a in (pairs, begins, counts)), strict=True):
        chosen = order[begin : begin + size]
        yield key // len(least), key % len(least), positions[chosen], places[chosen]
