"""Make a new classifier, or load a trained one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dataprep.core.errors import FileError, UsageError
from dataprep.train.objectives.soft_label.scorers import TINY_FILE, Scorer

if TYPE_CHECKING:
    from dataprep.train.objectives.soft_label.classes import Classes


def new_scorer(
    model: str,
    texts: Iterable[Sequence[str]],
    fields: tuple[str, ...],
    classes: Classes,
    tokenizer: str | None = None,
) -> Scorer:
    """A scorer to train: a preset with new weights, or one that was saved.

    Args:
        model: one of ``PRESETS``, a directory, or a tiny network's file.
        texts: of the training rows; a preset's vocabulary is made of them.
        fields: where they were read.
        classes: what is to be told apart.
        tokenizer: a directory with a tokenizer in place of the model's own.

    Raises:
        UsageError: there is no such model, or it tells other classes apart.
        FileError: it is damaged.
    """
    from dataprep.train.objectives.soft_label import classifier, tiny

    if is_tiny(model) or model in tiny.SIZES:
        if tokenizer is not None:
            raise UsageError("--tokenizer: the tiny network makes a vocabulary of its own from the data")
        if model in tiny.SIZES:
            return tiny.new(model, texts, fields, classes)
        return _continued(tiny.load(_tiny_file(model)), model, fields, classes)
    if model in classifier.SHAPES:
        return classifier.new(model, texts, fields, classes, tokenizer)
    return classifier.open_for_training(model, fields, classes, tokenizer)


def _continued(found: Scorer, name: str, fields: tuple[str, ...], classes: Classes) -> Scorer:
    """A tiny network that is trained further, where its data are of the same kind."""
    for what, own, wanted in (
        ("classes", found.classes.names, classes.names),
        ("fields", found.fields, fields),
    ):
        if own != wanted:
            raise UsageError(
                f"--model {name}: its {what} are {', '.join(own)}; those of the data are {', '.join(wanted)}"
            )
    return found


def load_scorer(path: str) -> Scorer:
    """A scorer that was trained: a tiny network's file, its run's directory, or a classifier's directory.

    Raises:
        FileError: it is not there, damaged or of another kind.
    """
    from dataprep.train.objectives.soft_label import classifier, tiny

    if is_tiny(path):
        return tiny.load(_tiny_file(path))
    if not Path(path).is_dir():
        what = "no such file or directory" if not Path(path).exists() else "not a model that scores"
        raise FileError(
            path,
            f"{what}; expected {TINY_FILE}, a run's directory, or a classifier's as transformers saves it",
        )
    return classifier.load(path)


def is_tiny(path: str) -> bool:
    """Whether a path is a tiny network's file, or a directory with one."""
    return (path.endswith(".safetensors") and Path(path).is_file()) or (Path(path) / TINY_FILE).is_file()


def _tiny_file(path: str) -> str:
    return path if Path(path).is_file() else str(Path(path) / TINY_FILE)
