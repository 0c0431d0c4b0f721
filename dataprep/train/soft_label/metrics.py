"""How good predictions are: accuracy, macro F1, quadratic weighted kappa."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from dataprep.train.soft_label.classes import Classes


def confusion(gold: ArrayLike, predicted: ArrayLike, classes: int) -> NDArray[np.int64]:
    """How many rows of each class (rows) were taken for each (columns), shape ``(classes, classes)``."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (np.asarray(gold, dtype=np.int64), np.asarray(predicted, dtype=np.int64)), 1)
    return counts


def accuracy(counts: NDArray[np.int64]) -> float:
    """The share of rows that were taken for their own class."""
    return float(np.trace(counts) / counts.sum())


def macro_f1(counts: NDArray[np.int64]) -> float:
    """The mean of the classes' F1, over those that occur in the gold labels or the predictions."""
    both = counts.sum(axis=0) + counts.sum(axis=1)
    occur = both > 0
    return float(np.mean(2 * np.diag(counts)[occur] / both[occur]))


def quadratic_weighted_kappa(counts: NDArray[np.int64]) -> float | None:
    """Agreement beyond chance, where a mistake of k places counts k² (Cohen 1968).

    1 is agreement, 0 what chance gives. ``None`` where chance cannot disagree: all rows are of one class and
    taken for it.
    """
    places = np.arange(len(counts))
    weights = (places[:, None] - places) ** 2
    chance = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    expected = float((weights * chance).sum())
    return 1 - float((weights * counts).sum()) / expected if expected else None


def metrics_of(gold: ArrayLike, predicted: ArrayLike, classes: Classes) -> dict[str, float | int | None]:
    """All metrics by name; kappa for ordered classes only."""
    counts = confusion(gold, predicted, len(classes.names))
    found: dict[str, float | int | None] = {"rows": int(counts.sum())}
    if not counts.sum():
        return found
    found |= {"accuracy": accuracy(counts), "macro_f1": macro_f1(counts)}
    if classes.ordered:
        found["quadratic_weighted_kappa"] = quadratic_weighted_kappa(counts)
    return found
