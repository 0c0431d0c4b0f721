"""Epochs, learning rate and weight decay by model and number of rows."""

from __future__ import annotations

from pathlib import Path

from dataprep.train.objectives.soft_label.ngrams import GramScorer
from dataprep.train.objectives.soft_label.rows import Scorer
from dataprep.train.objectives.soft_label.tiny import NetworkScorer

# Below this number of rows, a pretrained classifier takes larger steps: it has few of them.
FEW_ROWS = 2000


def defaults_for(scorer: Scorer, model: str, rows: int) -> dict[str, float]:
    """Return the default epochs, and the defaults of the optimizer.

    Each row is seen more often if there are fewer rows, so that the number of steps falls less than the rows.

    >>> epochs_for(6000, 450), epochs_for(6000, 100), epochs_for(6000, 100_000)
    (13.0, 30.0, 5.0)
    """
    if isinstance(scorer, GramScorer):
        # A high epsilon makes the steps nearly proportional to the gradients, as in logistic regression.
        # With 1e-8, rare n-grams take steps as large as frequent ones: 1 to 2 points less with 16 classes.
        return {
            "epochs": epochs_for(6000, rows),
            "learning_rate": 0.1,
            "adam_epsilon": 0.01,
            "weight_decay": 0.03,
        }
    if isinstance(scorer, NetworkScorer):
        return {"epochs": epochs_for(20_000, rows), "learning_rate": 5e-3}
    if Path(model).is_dir():
        return {"epochs": epochs_for(2000, rows, 10), "learning_rate": 5e-5 if rows < FEW_ROWS else 2e-5}
    return {"epochs": epochs_for(20_000, rows), "learning_rate": 3e-4}


def epochs_for(visits: int, rows: int, most: int = 30) -> float:
    """Return the epochs in which all rows together are seen about `visits` times; at least 5."""
    return float(min(max(round(visits / rows), 5), most))
