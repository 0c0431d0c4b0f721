"""Measure a trained classifier, or a file of predicted classes, by the metrics that training reports."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from dataprep.core import io as files
from dataprep.core.errors import InputError, Location, RowDropped, RowError, UsageError, located
from dataprep.core.ledger import Ledger
from dataprep.core.optional import quiet, require
from dataprep.core.records import describe
from dataprep.evaluate.evaluator import ScoredRows, measure_rows
from dataprep.evaluate.items import MISSING, Item
from dataprep.evaluate.metrics.references import Reference
from dataprep.evaluate.metrics.scores import ACCURACY, Row, Scored
from dataprep.evaluate.predictions import Predictions
from dataprep.evaluate.settings import Evaluation, OnProgress, Settings
from dataprep.models.loading import files_of_model
from dataprep.train.objective import read_with
from dataprep.train.objectives.soft_label.classes import Classes, classes_of, name_of
from dataprep.train.objectives.soft_label.rows import (
    Encoded,
    Scorer,
    check_fields,
    gold_of,
    length,
    logits_of,
    network_file,
    no_label,
    teacher_of,
    texts_of,
    usual_fields,
)
from dataprep.train.run_dir import fold_name

NO_LABEL = "no label"
# A row's texts and what the classifier reads of them; it raises for a row that cannot be measured.
_Prepare = Callable[[Mapping[str, Any], str | float], tuple[tuple[str, ...], Encoded]]


@dataclass(frozen=True, slots=True)
class ClassItem(Item):
    """A row with a gold class."""

    gold: str | float = ""
    texts: tuple[str, ...] = ()
    encoded: Encoded = field(default_factory=dict)  # as the classifier reads it


def measures_classes(
    path: str | Path, model: str | Path | None, predictions: str | Path | None, settings: Settings
) -> bool:
    """Return whether classes are to be measured: as the metric says, else by the model or the rows."""
    if settings.metric is not None or settings.dataset is not None:
        return settings.metric == "classes"
    if model is not None and is_classifier(str(model)):
        return True
    # A language model says itself which rows it needs; of any other path, the rows tell what it should be.
    if model is not None and (Path(model) / "config.json").is_file():
        return False
    # Standard input can be read only once.
    if files.STDIO in (str(path), str(predictions)):
        return False
    row: dict[str, Any] = {}
    with suppress(InputError):  # whoever reads all rows may set a bad one aside
        _, row = next(files.read_rows(str(path)), (None, {}))
    return "messages" not in row and any(name in row for name in (settings.label, "label", "score") if name)


def is_classifier(model: str) -> bool:
    """Return whether a path is a classifier: a small network, one of `transformers`, or a cross-fit run."""
    if network_file(model) or (Path(model) / fold_name(0)).is_dir():
        return True
    try:
        config = orjson.loads((Path(model) / "config.json").read_bytes())
        return any(name.endswith("ForSequenceClassification") for name in config["architectures"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False  # a language model, or whoever loads it says what is wrong


def evaluate_classes(
    path: str | Path,
    *,
    model: str | Path | None = None,
    predictions: str | Path | None = None,
    output: str | Path | None = None,
    settings: Settings | None = None,
    rejects: str | Path | None = None,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Measure a classifier, or predicted classes, on a file of rows with labels.

    The figures are accuracy, macro F1 over the classes that occur, and kappa: quadratic weighted if the
    classes are numbers. Of a run of `train`, rows are read with the label, the maximum length and the
    truncation of the run, so the figures are those that training reported. Rows without a label are dropped.

    Args:
        path: rows with texts and labels, as `train` reads them.
        model: a small network's file, the directory of a run, or a classifier's directory.
        predictions: rows as `predict_files` writes them, in place of a model.
        output: receives for each row its texts, its prediction and its gold class.
        settings: how rows are evaluated.
        rejects: receives bad rows; without it the first one is an error.
        on_progress: called with a task, the number of further rows that are done, and of all.

    Raises:
        UsageError: neither or both of model and predictions, or a setting that does not fit.
        InputError: a row or prediction is bad, or there are none.
        FileError: a file cannot be read or written, or the model is damaged.
    """
    settings, path = settings or Settings(), str(path)
    if (model is None) == (predictions is None):
        raise UsageError("expected a MODEL, or --predictions FILE in its place, and not both")
    if settings.by != "answer":
        raise UsageError(f"--by {settings.by}: for rows with choices; a classifier always names a class")
    if model is not None and settings.classes:
        raise UsageError("--classes: a classifier has classes of its own; leave it out")
    if model is None:
        given = _Predicted(path, str(predictions), settings)
        return measure_rows(given.read, given.score, [path, str(predictions)], output, settings, rejects)
    for package in ("torch", "transformers", "safetensors"):
        require(package, extra="train", feature="measuring a classifier")
    classifier = _Classifier(path, str(model), settings, on_progress)
    inputs = [path, *files_of_model(model)]
    return measure_rows(classifier.read, classifier.score, inputs, output, settings, rejects)


def _read_items(
    path: str,
    ledger: Ledger,
    rejects: files.Rejects,
    prepare: _Prepare,
    label: str | None,
    known: Sequence[str] = (),
) -> Iterator[ClassItem]:
    """Yield the rows that have a label; one must have it."""
    first: dict[str, Any] = {}
    any_label = False

    def read(where: Location, row: dict[str, Any], _: bytes) -> ClassItem | None:
        nonlocal any_label, first
        gold = gold_of(row, label, known)
        if gold is None:
            ledger.drop(NO_LABEL)
            first = first or row
            return None
        any_label = True
        try:
            texts, encoded = prepare(row, gold)
        except RowDropped as drop:
            ledger.drop(drop.reason)
            return None
        name, source = (_name(row, key) for key in ("id", "source"))
        more: dict[str, Any] = {"number": ledger.rows_in, "gold": gold, "texts": texts, "encoded": encoded}
        return ClassItem(where, name, source, (), Reference("classes"), **more)

    for item in read_with(read, [path], rejects, ledger):
        if item is not None:
            yield item
    if first and not any_label:
        raise no_label(path, label, first)


def _name(row: Mapping[str, Any], key: str) -> str | None:
    value = row.get(key)
    if type(value) not in (str, int, type(None)):
        raise RowError(f"field {key!r} is not a string", f"found {describe(value)}")
    return None if value is None else str(value)


def _row(
    item: ClassItem, gold: str, predicted: str, classes: Classes, probs: dict[str, float] | None = None
) -> tuple[Row, dict[str, Any]]:
    """Return a row with its scores, and its output row."""
    scored = Scored(predicted, {ACCURACY: float(predicted == gold)}, answers={ACCURACY: predicted})
    reference = Reference("classes", (gold,), classes.names)
    line: dict[str, Any] = {
        "id": item.id,
        "source": item.source,
        "metric": "classes",
        "question": "\n".join(item.texts),
    }
    line |= {"prediction": predicted, "extracted": predicted, "gold": [gold], "scores": scored.scores}
    # `review` needs all classes, also those that no row has.
    line |= {"detail": None} | ({"probs": probs} if probs else {"classes": list(classes.names)})
    return Row(item.source, reference, scored, contaminated=item.contaminated), line


class _Classifier:
    """Read rows for a classifier, and let it predict their classes."""

    def __init__(self, path: str, model: str, settings: Settings, on_progress: OnProgress | None) -> None:
        from dataprep.train.objectives.soft_label.classifier import load_scorer

        self._path, self._settings, self._on_progress = path, settings, on_progress
        with quiet():
            self._scorer: Scorer = load_scorer(model)
        check_fields(self._scorer, settings.fields)
        self._label = settings.label or self._scorer.recorded.get("label")
        self._limits = self._scorer.limits(None, settings.truncation)

    def read(self, ledger: Ledger, rejects: files.Rejects) -> Iterator[ClassItem]:
        """Yield the rows with a label."""
        scorer, fields = self._scorer, self._settings.fields or self._scorer.fields

        def prepare(row: Mapping[str, Any], gold: str | float) -> tuple[tuple[str, ...], Encoded]:
            scorer.classes.index(gold)
            texts = texts_of(row, fields or usual_fields(row))
            return texts, scorer.encode_within(texts, *self._limits)

        return _read_items(self._path, ledger, rejects, prepare, self._label, scorer.classes.names)

    def score(self, rows: Iterator[Any], _: Evaluation) -> ScoredRows:
        """Yield rows with the most probable class, and all probabilities."""
        items: list[ClassItem] = list(rows)
        classes = self._scorer.classes
        for item, probs in zip(items, self._probs([item.encoded for item in items]), strict=True):
            best = max(range(len(probs)), key=probs.__getitem__)
            rounded = {name: float(f"{value:.6g}") for name, value in zip(classes.names, probs, strict=True)}
            yield _row(item, classes.names[classes.index(item.gold)], classes.names[best], classes, rounded)

    def _probs(self, texts: list[Encoded]) -> list[list[float]]:
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = self._scorer.model.to(device).eval()
        probs: list[list[float]] = [[]] * len(texts)
        # Rows of similar length in one batch need little padding.
        order = sorted(range(len(texts)), key=lambda number: length(texts[number]))
        for start in range(0, len(order), self._settings.batch_size):
            batch = order[start : start + self._settings.batch_size]
            tensors = self._scorer.collate([texts[number] for number in batch])
            with torch.inference_mode():
                logits = logits_of(model, {name: tensor.to(device) for name, tensor in tensors.items()})
            for number, values in zip(batch, logits.double().softmax(-1).tolist(), strict=True):
                probs[number] = values
            if self._on_progress is not None:
                self._on_progress("predictions", len(batch), len(order))
        return probs


class _Predicted:
    """Read rows, and match predicted classes to them."""

    def __init__(self, path: str, predictions: str, settings: Settings) -> None:
        self._path, self._predictions, self._settings = path, predictions, settings
        self._given = Predictions(predictions, settings.teacher, classes=True)

    def read(self, ledger: Ledger, rejects: files.Rejects) -> Iterator[ClassItem]:
        """Yield the rows with a label."""

        def prepare(row: Mapping[str, Any], _: str | float) -> tuple[tuple[str, ...], Encoded]:
            if self._settings.fields:
                return texts_of(row, self._settings.fields), {}
            with suppress(RowError):  # the figures need no text
                return texts_of(row, usual_fields(row)), {}
            return (), {}

        known = [*map(name_of, self._settings.classes)]
        return _read_items(self._path, ledger, rejects, prepare, self._settings.label, known)

    def score(self, rows: Iterator[Any], done: Evaluation) -> ScoredRows:
        """Yield the rows that have a prediction."""
        answered: list[tuple[ClassItem, str | float]] = []
        any_item = False
        for item in rows:
            any_item = True
            prediction = self._given.find(item)
            if prediction.text is None:
                done.ledger.fail(prediction.failure or MISSING)
                continue
            with located(item.where):
                answered.append((item, _as_gold(prediction.text, item)))
        if any_item:
            done.unknown = self._given.unmatched(done.ledger.rows_in)
        if not answered:
            return
        classes = self._classes([gold for item, predicted in answered for gold in (item.gold, predicted)])
        for item, predicted in answered:
            with located(item.where):
                gold = classes.names[classes.index(item.gold)]
            try:
                answer = classes.names[classes.index(predicted)]
            except RowError as error:
                raise InputError(self._predictions, f"the prediction for {item.where}: {error}") from None
            yield _row(item, gold, answer, classes)

    def _classes(self, found: Sequence[str | float]) -> Classes:
        if self._settings.classes:
            return Classes(tuple(map(name_of, self._settings.classes)))
        # The names of the probabilities include classes that no row has, and give their order.
        for where, row in files.read_rows(self._predictions, growing=True):
            with located(where):
                # Of an earlier `evaluate`, whose `scores` are no logits.
                if row.get("metric") == "classes" and isinstance(row.get("classes"), list):
                    return Classes(tuple(map(name_of, row["classes"])))
                teacher = teacher_of(row)
                if teacher is not None and isinstance(teacher.values, dict):
                    return Classes(tuple(teacher.values))
            break
        try:
            return classes_of((gold, None) for gold in found)
        except RowError as error:
            raise InputError(self._path, str(error)) from None


def _as_gold(text: str, item: ClassItem) -> str | float:
    """Return a predicted class's name; of a row with a score, a number that is nearest to a class."""
    if isinstance(item.gold, float):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise RowError("a prediction that is no number", f"found {text!r}; the row has a score")
        return value
    return name_of(text)
