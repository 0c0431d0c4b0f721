"""The small linear network: character n-grams of words, weighted by TF-IDF, and words that fields share.

On a few hundred rows it is the better student: docs/soft-labels.md compares it with the network in `tiny.py`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from dataprep.core.errors import RowError, UsageError
from dataprep.train.objectives.soft_label.classes import Classes
from dataprep.train.objectives.soft_label.rows import Encoded, Fields, JudgedRow, Scorer, too_long
from dataprep.train.objectives.soft_label.tiny import shorten, write_network

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The index of a field, and an n-gram.
Key = tuple[int, str]

# All numbers of a network: weights, biases and inverse document frequencies.
MOST_WEIGHTS = 30_000
KIND = "ngrams"
_SHORTEST, _LONGEST = 2, 5
# A share of words, or the logarithm of a number of words, sets the bits whose thresholds it exceeds.
_SHARES = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75)
_SIZES = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5)
# The value of a bit, beside n-grams whose squares add up to 1.
_BIT = 0.5
_REMEMBERED = 100_000
# So many times as many n-grams as there is room for are compared; those of most rows.
_CANDIDATES = 20
_FEWEST = 100


def grams_of(word: str) -> list[str]:
    """Return the n-grams of 2 to 5 characters of a word with a blank on either side.

    >>> grams_of("at")
    [' a', 'at', 't ', ' at', 'at ', ' at ']
    """
    padded = f" {word} "
    longest = min(_LONGEST, len(padded))
    return [
        padded[start : start + size]
        for size in range(_SHORTEST, longest + 1)
        for start in range(len(padded) - size + 1)
    ]


def _grams_of_row(row: Sequence[str]) -> set[Key]:
    """Return the n-grams of a row with the indices of their fields."""
    words = [(field, word) for field, text in enumerate(row) for word in set(text.lower().split())]
    return {(field, gram) for field, word in words for gram in grams_of(word)}


def _trigrams_of(word: str) -> list[str]:
    return [word[start : start + 3] for start in range(max(len(word) - 2, 1))]


class Grams:
    """Numbers of n-grams, those of each field by themselves: 0 is padding, and the last ones are bits.

    Args:
        names: the n-grams of each field.
    """

    def __init__(self, names: Sequence[Sequence[str]]) -> None:
        self.names = [list(own) for own in names]
        self._numbers: list[dict[str, int]] = []
        first = 1
        for own in self.names:
            self._numbers.append({name: number for number, name in enumerate(own, first)})
            first += len(own)
        # The first bit's number.
        self.bits = first
        # The numbers of a word's n-grams, by field: most words come again.
        self._known: list[dict[str, list[int]]] = [{} for _ in names]

    def __len__(self) -> int:
        return self.bits + number_of_bits(len(self.names))

    @classmethod
    def learn(
        cls, rows: Sequence[Sequence[str]], most: int, targets: NDArray[np.float64]
    ) -> tuple[Grams, list[float]]:
        """Return the n-grams whose presence depends most on the class (χ²), and their IDF.

        Args:
            rows: the texts of each row.
            most: how many to choose at most.
            targets: probabilities of the classes, shape `(rows, classes)`; all 0 for a row without any.
        """
        counts: Counter[Key] = Counter()
        for row in rows:
            counts.update(_grams_of_row(row))
        chosen = sorted(counts, key=lambda key: (-counts[key], key))
        # One that a single row has says only what that row's class is.
        candidates = [key for key in chosen[: most * _CANDIDATES] if counts[key] > 1]
        if len(candidates) > most:
            statistic = _chi_squared(rows, candidates, targets)
            best = np.argsort(-statistic, kind="stable")[:most]
            chosen = [candidates[number] for number in np.sort(best)]
        chosen = chosen[:most]
        grams = cls([[gram for own, gram in chosen if own == field] for field in range(len(rows[0]))])
        # As scikit-learn smooths it: as if one more row had every n-gram.
        keys = [(field, gram) for field, own in enumerate(grams.names) for gram in own]
        return grams, [math.log((1 + len(rows)) / (1 + counts[key])) + 1 for key in keys]

    def encode(self, field: int, words: Iterable[str]) -> list[int]:
        """Return the numbers of the n-grams of a field's words, in lower case."""
        numbers, known = self._numbers[field], self._known[field]
        found: list[int] = []
        for word in words:
            own = known.get(word)
            if own is None:
                if len(known) >= _REMEMBERED:
                    known.clear()
                known[word] = own = [numbers[gram] for gram in grams_of(word) if gram in numbers]
            found += own
        return found


def _chi_squared(
    rows: Sequence[Sequence[str]], keys: Sequence[Key], targets: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the χ² statistic of each n-gram's presence and the class, shape `(keys,)`."""
    numbers = {key: number for number, key in enumerate(keys)}
    # Rows with the n-gram, by class.
    present = np.zeros((len(keys), targets.shape[1]))
    for row, target in zip(rows, targets, strict=True):
        known = [numbers[key] for key in _grams_of_row(row) if key in numbers]
        present[known] += target
    totals = targets.sum(0)
    statistic = np.zeros(len(keys))
    for observed in (present, totals - present):
        expected = observed.sum(1, keepdims=True) * totals / max(totals.sum(), 1)
        # A class without rows, an n-gram of all rows, and rows without classes have 0 of 0.
        statistic += ((observed - expected) ** 2 / np.maximum(expected, 1e-12)).sum(1)
    return statistic


def number_of_bits(fields: int) -> int:
    """Return the number of bits: for each field before the last, four shares; and the last one's length."""
    return 4 * (fields - 1) * len(_SHARES) + len(_SIZES) if fields > 1 else 0


def bits_of(texts: Sequence[Sequence[str]]) -> list[int]:
    """Return the indices of the bits of a row: how much its last field shares with the others.

    Args:
        texts: the words of each field.
    """
    if len(texts) < 2:
        return []
    words = [set(text) for text in texts]
    grams = [{gram for word in own for gram in _trigrams_of(word)} for own in words]
    values: list[tuple[float, Sequence[float]]] = []
    for sets in (words, grams):
        *others, last = sets
        for other in others:
            both = len(other & last)
            values += [(both / max(len(own), 1), _SHARES) for own in (other, last)]
    values.append((math.log1p(len(texts[-1])), _SIZES))
    bits, first = [], 0
    for value, thresholds in values:
        bits += [first + number for number, threshold in enumerate(thresholds) if value > threshold]
        first += len(thresholds)
    return bits


class GramNetwork(nn.Module):
    """Scores of shape `(B, classes)`: a linear layer over n-grams and bits."""

    idf: Tensor

    def __init__(self, grams: Grams, classes: int) -> None:
        super().__init__()
        self._bits = grams.bits
        self.weights = nn.Embedding(len(grams), classes, padding_idx=0)
        self.bias = nn.Parameter(torch.zeros(classes))
        # All classes are equally likely before training, whatever the seed.
        nn.init.zeros_(self.weights.weight)
        self.register_buffer("idf", torch.zeros(len(grams)))

    def forward(self, ids: Tensor, counts: Tensor, attention_mask: Tensor) -> Tensor:
        """Compute the scores; all inputs have shape `(B, T)`."""
        bits = (ids >= self._bits) & (attention_mask == 1)
        values = (1 + counts.clamp(min=1).log()) * self.idf[ids] * attention_mask
        # A text without any known n-gram has no direction: its values stay 0.
        values = values / values.norm(dim=1, keepdim=True).clamp(min=1e-12) + _BIT * bits
        return (values[..., None] * self.weights(ids)).sum(1) + self.bias


class GramScorer(Scorer):
    """The network with its n-grams."""

    def __init__(self, grams: Grams, fields: Fields, classes: Classes) -> None:
        self.grams = grams
        super().__init__(GramNetwork(grams, len(classes.names)), classes, fields, None, 0)

    def encode(self, texts: Sequence[str], limit: int | None = None) -> Encoded:
        """Return the numbers of a row's n-grams and bits, and how often each occurs."""
        words = [text.lower().split() for text in texts]
        if limit is not None:
            shorten(words, limit)
        counts: Counter[int] = Counter()
        for field, own in enumerate(words):
            counts.update(self.grams.encode(field, own))
        counts.update(self.grams.bits + bit for bit in bits_of(words))
        # One column of padding stands for a text without anything known.
        return {"ids": list(counts) or [0], "counts": list(counts.values()) or [0]}

    def encode_within(self, texts: Sequence[str], limit: int | None, truncation: str) -> Encoded:
        """Encode a row's texts, with at most `limit` words."""
        words = sum(len(text.split()) for text in texts)
        if limit is not None and words > limit and truncation != "truncate":
            raise too_long(words, limit, truncation)
        return self.encode(texts, limit)

    def save(self, folder: Path) -> None:
        """Write the file."""
        write_network(folder, self, {"kind": KIND, "grams": self.grams.names})


def new(rows: Sequence[JudgedRow], fields: Fields, classes: Classes) -> GramScorer:
    """Return a network of at most `MOST_WEIGHTS` numbers whose weights are 0.

    Raises:
        UsageError: so many classes leave less than a hundred n-grams.
    """
    count = len(classes.names)
    # Each n-gram and each bit has a weight for each class, and an IDF.
    most = (MOST_WEIGHTS - count) // (count + 1) - number_of_bits(len(fields)) - 1
    if most < _FEWEST:
        raise UsageError(
            f"--model tiny: {count:,} classes leave {max(most, 0):,} n-grams of {MOST_WEIGHTS:,} numbers; "
            "give --model wide"
        )
    grams, idf = Grams.learn([row.texts for row in rows], most, _targets_of(rows, classes))
    scorer = GramScorer(grams, fields, classes)
    scorer.model.idf[1 : 1 + len(idf)] = torch.tensor(idf)
    return scorer


def _targets_of(rows: Sequence[JudgedRow], classes: Classes) -> NDArray[np.float64]:
    """Return the gold class of each row as probabilities, or else the teacher's."""
    targets = np.zeros((len(rows), len(classes.names)))
    for target, row in zip(targets, rows, strict=True):
        # A row that is wrong is reported when it is read as an item, and says nothing here.
        with suppress(RowError):
            if row.gold is not None:
                target[classes.index(row.gold)] = 1
            elif row.teacher is not None:
                target[:] = np.exp(classes.log_probs(row.teacher))
    return targets


def restore(header: dict[str, Any], weights: dict[str, Tensor]) -> GramScorer:
    """Return the network of a file's header and weights."""
    scorer = GramScorer(Grams(header["grams"]), tuple(header["fields"]), Classes(tuple(header["classes"])))
    scorer.model.load_state_dict(weights)
    return scorer
