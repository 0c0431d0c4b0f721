"""Metrics of predicted classes, from counts of pairs: gold class and predicted class."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
ACCURACY, MACRO_F1 = "accuracy", "macro_f1"
KAPPA, WEIGHTED_KAPPA = "kappa", "quadratic_weighted_kappa"
RESAMPLES = 2000
# Numbers that one part of the resamples holds in each of a few arrays.
_CELLS = 1 << 21


def is_ordered(classes: Sequence[str]) -> bool:
    """Return whether all classes are numbers, so that errors have a size."""
    return all(NUMBER.fullmatch(name) for name in classes)


@dataclass(frozen=True, slots=True)
class Agreement:
    """The sums that metrics are computed from, of any leading shape, such as one for resamples.

    Attributes:
        hits: number of correct predictions of each class, of shape `(…, classes)`.
        gold: number of rows of each gold class, of shape `(…, classes)`.
        predicted: number of rows of each predicted class, of shape `(…, classes)`.
        squares: sum over rows of (gold index − predicted index)², of shape `(…)`.
    """

    hits: NDArray[Any]
    gold: NDArray[Any]
    predicted: NDArray[Any]
    squares: NDArray[Any]

    @classmethod
    def of_pairs(cls, pairs: ArrayLike, counts: NDArray[Any], classes: int) -> Agreement:
        """Return the agreement of pairs of indices `(pairs, 2)` that occur so often: `(…, pairs)`."""
        right, answer = np.asarray(pairs, dtype=np.int64).reshape(-1, 2).T
        turned = np.moveaxis(counts, -1, 0)
        sums = np.zeros((3, classes, *turned.shape[1:]), dtype=counts.dtype)
        same = right == answer
        # add.at, since plain indexing would count a class once, whatever the number of its pairs.
        for target, index, values in (
            (0, right[same], turned[same]),
            (1, right, turned),
            (2, answer, turned),
        ):
            np.add.at(sums[target], index, values)
        hits, gold, predicted = np.moveaxis(sums, 1, -1)
        return cls(hits, gold, predicted, counts @ (right - answer) ** 2)

    def accuracy(self) -> NDArray[Any]:
        """Return the share of correct predictions."""
        return np.asarray(self.hits.sum(-1) / self.gold.sum(-1))

    def macro_f1(self) -> NDArray[Any]:
        """Return the mean F1 of the classes that occur."""
        both = self.gold + self.predicted
        # A class that occurs nowhere has no F1: counting it as 0 would punish long lists of classes.
        scores = np.divide(2 * self.hits, both, out=np.zeros(both.shape), where=both > 0)
        return np.asarray(scores.sum(-1) / (both > 0).sum(-1))

    def kappa(self) -> NDArray[Any]:
        """Return Cohen's kappa, the agreement beyond chance; NaN if chance cannot disagree."""
        rows = self.gold.sum(-1)
        return _beyond_chance(rows - self.hits.sum(-1), rows - (self.gold * self.predicted).sum(-1) / rows)

    def weighted_kappa(self) -> NDArray[Any]:
        """Return the quadratic weighted kappa: an error of k classes counts k²; NaN as for `kappa`."""
        rows, index = self.gold.sum(-1), np.arange(self.gold.shape[-1])
        apart = (self.gold @ index**2) + (self.predicted @ index**2)
        return _beyond_chance(self.squares, apart - 2 * (self.gold @ index) * (self.predicted @ index) / rows)

    def metrics(self, *, ordered: bool) -> dict[str, NDArray[Any]]:
        """Return all metrics by name: the weighted kappa for ordered classes, Cohen's for others."""
        kappa = {WEIGHTED_KAPPA: self.weighted_kappa()} if ordered else {KAPPA: self.kappa()}
        return {ACCURACY: self.accuracy(), MACRO_F1: self.macro_f1(), **kappa}


def _beyond_chance(disagree: NDArray[Any], expected: NDArray[Any]) -> NDArray[Any]:
    # All rows have one class and are predicted as it: chance cannot disagree.
    nothing = np.full(np.shape(expected), np.nan)
    return np.asarray(1 - np.divide(disagree, expected, out=nothing, where=np.asarray(expected) > 0))


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric of predicted classes.

    Attributes:
        value: the metric; `None` if it is not defined.
        low, high: the 95 % bootstrap interval.
        chance: the value that guesses reach.
        majority: the value that the most frequent gold class reaches if it is predicted for every row.
    """

    value: float | None
    low: float
    high: float
    chance: float
    majority: float


def metrics_of_pairs(
    pairs: Mapping[tuple[int, int], int], classes: int, *, ordered: bool
) -> dict[str, float | None]:
    """Return all metrics of pairs of gold and predicted class; 1 is full agreement, `None` not defined."""
    keys, counts = _arrays(pairs)
    metrics = Agreement.of_pairs(keys, counts, classes).metrics(ordered=ordered)
    return {name: None if np.isnan(value) else float(value) for name, value in metrics.items()}


def measure(
    pairs: Mapping[tuple[int, int], int], classes: int, *, ordered: bool, seed: int = 0
) -> dict[str, Measured]:
    """Return all metrics of pairs of gold and predicted class, with intervals and what no skill reaches.

    The interval is the percentile bootstrap over rows, which are drawn with replacement ``RESAMPLES`` times,
    by numpy's PCG64 with ``seed``. Rows of equal pairs are alike, so it draws how often each pair occurs.
    """
    keys, counts = _arrays(pairs)
    values = metrics_of_pairs(pairs, classes, ordered=ordered)
    generator = np.random.Generator(np.random.PCG64(seed))
    drawn: dict[str, list[NDArray[Any]]] = {name: [] for name in values}
    size = max(1, _CELLS // max(len(counts), classes))
    for start in range(0, RESAMPLES, size):
        number = min(size, RESAMPLES - start)
        resamples = generator.multinomial(counts.sum(), counts / counts.sum(), size=number)
        agreement = Agreement.of_pairs(keys, resamples, classes)
        for name, found in agreement.metrics(ordered=ordered).items():
            drawn[name].append(found)
    bars = _without_skill(Agreement.of_pairs(keys, counts, classes))
    measured = {}
    for name, value in values.items():
        # Resamples in which a metric is not defined are left out.
        kept = np.concatenate(drawn[name])
        kept = kept[~np.isnan(kept)]
        low, high = np.percentile(kept, [2.5, 97.5]) if len(kept) else (0.0, 1.0)
        measured[name] = Measured(value, float(low), float(high), *bars.get(name, (0.0, 0.0)))
    return measured


def _without_skill(whole: Agreement) -> dict[str, tuple[float, float]]:
    """Return what guesses, and the most frequent gold class for all rows, reach; a kappa is 0 for both."""
    rows, classes, nothing = whole.gold.sum(), len(whole.gold), np.zeros(())
    # The counts that are expected of guesses: each prediction in an equal share of each gold class.
    guesses = Agreement(whole.gold / classes, whole.gold, np.full(classes, rows / classes), nothing)
    best = np.arange(classes) == whole.gold.argmax()
    same = Agreement(whole.gold * best, whole.gold, rows * best, nothing)
    return {
        ACCURACY: (float(guesses.accuracy()), float(same.accuracy())),
        MACRO_F1: (float(guesses.macro_f1()), float(same.macro_f1())),
    }


def _arrays(pairs: Mapping[tuple[int, int], int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    # In order, so that the same rows in another order give the same interval.
    ordered = sorted(pairs.items())
    keys = np.array([key for key, _ in ordered], dtype=np.int64).reshape(-1, 2)
    return keys, np.array([count for _, count in ordered], dtype=np.int64)
