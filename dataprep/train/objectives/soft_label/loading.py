"""Create a classifier, or load a trained one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dataprep.core.errors import FileError, UsageError
from dataprep.train.objectives.soft_label.scorers import (
    NETWORK_FILE,
    NETWORKS,
    Scorer,
    is_network,
    network_file,
)

if TYPE_CHECKING:
    from dataprep.train.objectives.soft_label.classes import Classes


def new_scorer(
    model: str,
    texts: Iterable[Sequence[str]],
    fields: tuple[str, ...],
    classes: Classes,
    tokenizer: str | None = None,
) -> Scorer:
    """Return a classifier to train: a preset with new weights, or one that was saved."""
    from dataprep.train.objectives.soft_label import classifier, tiny

    if is_network(model) or model in NETWORKS:
        if tokenizer is not None:
            raise UsageError("--tokenizer: the tiny network makes a vocabulary of its own from the data")
        if model in NETWORKS:
            return tiny.new(model, texts, fields, classes)
        # Its vocabulary and layers depend on both, so it cannot be trained for other classes or fields.
        scorer = tiny.load(network_file(model))
        _check_same("classes", model, scorer.classes.names, classes.names)
        _check_same("fields", model, scorer.fields, fields)
        return scorer
    if model in classifier.SHAPES:
        return classifier.new(model, texts, fields, classes, tokenizer)
    return classifier.open_for_training(model, fields, classes, tokenizer)


def _check_same(kind: str, model: str, own: Sequence[str], wanted: Sequence[str]) -> None:
    if own != wanted:
        raise UsageError(
            f"--model {model}: its {kind} are {', '.join(own)}; those of the data are {', '.join(wanted)}"
        )


def load_scorer(path: str) -> Scorer:
    """Load a trained classifier from a network's file, a run or a model directory."""
    from dataprep.train.objectives.soft_label import classifier, tiny

    if is_network(path):
        return tiny.load(network_file(path))
    if not Path(path).is_dir():
        problem = "no such file or directory" if not Path(path).exists() else "not a model that scores"
        raise FileError(
            path,
            f"{problem}; expected {NETWORK_FILE}, a run's directory, or a classifier's as transformers saves "
            "it",
        )
    return classifier.load(path)
