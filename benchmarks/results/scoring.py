"""Compare small students with TF-IDF and logistic regression, and with a teacher, on public sets.

Each split of a set is a seed; `scored_sets` says where the sets come from.

- with all labels: the most frequent class, TF-IDF of character n-grams with logistic regression, the student
- with a quarter of the labels: the same; the teacher; the student that learns from the teacher's
  probabilities for the other three quarters
- where that teacher learns too little: the mean of it and of a default student, which have both learned other
  rows of the set, in no split; and the student that learns from these probabilities

Every student, and the teacher, keeps its best step on validation rows, which also choose the regression's C.
"""

from __future__ import annotations

import shutil
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import dataprep
from benchmarks.results.keeping import Bench, NotMeasured, table
from benchmarks.results.scored_sets import (
    VALIDATION,
    Row,
    divide,
    graded_answers,
    other_rows_of,
    rows_of,
    split,
)
from dataprep.evaluate.metrics.agreement import WEIGHTED_KAPPA as KAPPA
from dataprep.train.objectives.soft_label.classes import Classes, metrics_of
from dataprep.train.options import TrainOptions
from dataprep.train.run import train

__all__ = ["CLASSES", "FIELDS", "graded_answers"]

FIELDS = ("question", "reference", "answer")
CLASSES = ("0", "1", "2", "3", "4", "5")
SETS = ("movies", "topics", "mohler", "products")
# Of the archive that `scored_sets` names.
ARCHIVED = {"movies", "products"}
SPLITS = 4
WEIGHTS = 30_000
# Of the teacher, which is fine-tuned on few rows: with many classes, each has a handful.
EPOCHS = {"movies": 8.0, "products": 8.0, "mohler": 8.0, "topics": 20.0}
TEACHER_RATE = 1e-4
# Of the larger of the teachers of other rows.
EPOCHS_OF_OTHERS = {"mohler": 10.0}
METRICS = ("accuracy", "macro_f1", KAPPA)
Figures = dict[str, float]
Models = Path | Sequence[Path]


@dataclass(frozen=True)
class Task:
    """One split of one set, and a folder to work in."""

    name: str
    training: list[Row]
    validation: list[Row]
    test: list[Row]
    folder: Path
    teacher: str
    others: Sequence[Row] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields with the text."""
        return FIELDS if self.name == "mohler" else ("text",)

    @property
    def classes(self) -> Classes:
        """The classes, in order."""
        if self.name == "mohler":
            return Classes(CLASSES)
        return Classes(tuple(sorted({row["label"] for row in [*self.training, *self.test]})))

    @property
    def teacher_options(self) -> dict[str, Any]:
        """The options that the teacher is trained with."""
        return {"epochs": EPOCHS[self.name], "learning_rate": TEACHER_RATE}

    @property
    def quarter(self) -> int:
        """The number of training rows with a label, where only a quarter has one."""
        return len(self.training) // 4

    def gold(self, rows: Sequence[Row]) -> list[int]:
        """Return the classes of rows."""
        return [self.classes.index(row["score"] if "score" in row else row["label"]) for row in rows]

    def figures(self, predicted: Sequence[int]) -> Figures:
        """Return the metrics on the test rows."""
        found = metrics_of(self.gold(self.test), predicted, self.classes)
        return {name: float(found[name] or 0) for name in METRICS if name in found}

    def write(self, name: str, rows: Sequence[Row]) -> Path:
        """Write rows into the folder."""
        path = self.folder / f"{name}.jsonl"
        dataprep.write_rows(rows, str(path))
        return path

    def train(self, name: str, rows: Sequence[Row], **options: Any) -> Path:
        """Train a classifier, and return its directory."""
        place = self.folder / name
        shutil.rmtree(place, ignore_errors=True)  # of a run that was stopped
        held = [self.write("validation", self.validation)]
        options["keep_best"] = KAPPA if self.name == "mohler" else "accuracy"
        chosen = TrainOptions(fields=self.fields, classes=self.classes.names, save_every=0, **options)
        train(self.write(f"{name}-rows", rows), held, place, options=chosen)
        return place

    def predict(self, models: Models, rows: Sequence[Row]) -> list[Row]:
        """Return rows with the prediction and probabilities of a classifier, or the mean of several."""
        output = self.folder / "scored.jsonl"
        dataprep.predict_files(models, [self.write("unscored", rows)], output)
        return [row for _, row in dataprep.read_rows(str(output))]

    def measure(self, models: Models) -> Figures:
        """Return the metrics of a classifier, or of several together, on the test rows."""
        found = [str(row["prediction"]) for row in self.predict(models, self.test)]
        return self.figures([self.classes.names.index(name) for name in found])


def without(rows: Sequence[Row], *fields: str) -> list[Row]:
    """Return rows without some of their fields."""
    return [{name: value for name, value in row.items() if name not in fields} for row in rows]


def majority(task: Task, rows: Sequence[Row]) -> Figures:
    """Return the metrics of the most frequent class."""
    most = Counter(task.gold(rows)).most_common(1)[0][0]
    return task.figures([most] * len(task.test))


def regression(task: Task, rows: Sequence[Row], most: int | None) -> Figures:
    """Return the metrics of TF-IDF of character n-grams with logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    def texts(some: Sequence[Row]) -> list[str]:
        return ["\n".join(row[field] for field in task.fields) for row in some]

    settings: dict[str, Any] = {"analyzer": "char_wb", "ngram_range": (2, 5), "sublinear_tf": True}
    vectorizer = TfidfVectorizer(max_features=most, **settings)
    training = vectorizer.fit_transform(texts(rows))
    validation, test = vectorizer.transform(texts(task.validation)), vectorizer.transform(texts(task.test))
    gold, best, predicted = task.gold(task.validation), -1.0, list[int]()
    for strength in (0.3, 1, 3, 10, 30, 100):
        model = LogisticRegression(C=strength, max_iter=300).fit(training, task.gold(rows))
        metrics = metrics_of(gold, model.predict(validation).tolist(), task.classes)
        value = float(metrics[KAPPA if task.name == "mohler" else "accuracy"] or 0)
        if value > best:
            best, predicted = value, model.predict(test).tolist()
    return task.figures(predicted)


def same_size(task: Task, rows: Sequence[Row]) -> Figures:
    """Return the regression's metrics with as many numbers as the student has."""
    classes = len(task.classes.names)
    # A weight for each class, and an IDF, of every n-gram.
    return regression(task, rows, (WEIGHTS - classes) // (classes + 1))


def teacher_of_few(task: Task) -> Path:
    """Return the directory of the teacher that has learned a quarter of the labels; it is trained once."""
    return _teacher(task, "teacher-of-few", few(task), {"model": task.teacher, **task.teacher_options})


def teachers_of_others(task: Task) -> list[Path]:
    """Return the directories of two teachers that have learned rows of no split; they are trained once."""
    folder = task.folder.parent / f"{task.name}-others"
    folder.mkdir(exist_ok=True)
    training, validation = divide([*task.others], VALIDATION)
    epochs = EPOCHS_OF_OTHERS[task.name]
    options = {"model": task.teacher, **task.teacher_options, "epochs": epochs}
    whole = replace(task, training=training, validation=validation, folder=folder)
    return [_teacher(whole, "teacher", training, options), _teacher(whole, "default", training, {})]


def _teacher(task: Task, name: str, rows: Sequence[Row], options: dict[str, Any]) -> Path:
    place, kept = task.folder / name, task.folder / f"{name}.options"
    # Kept beside the directory: with other options, it is another teacher.
    wanted = str(options)
    if not (place / "results.json").is_file() or not kept.is_file() or kept.read_text() != wanted:
        task.train(name, rows, **options)
        kept.write_text(wanted)
    return place


def distilled(task: Task, teacher: Callable[[Task], Models]) -> Figures:
    """Return the metrics of the student that has a quarter of the labels and a teacher's for the rest."""
    unlabelled = without(task.training[task.quarter :], "label", "score")
    soft = without(task.predict(teacher(task), unlabelled), "prediction")
    return task.measure(task.train("distilled", [*few(task), *soft]))


def few(task: Task) -> list[Row]:
    """Return the rows that have a label where only a quarter has one."""
    return task.training[: task.quarter]


CONTENDERS: dict[str, Callable[[Task], Figures]] = {
    "most frequent class": lambda task: majority(task, task.training),
    "TF-IDF + LR, same size": lambda task: same_size(task, task.training),
    "TF-IDF + LR, all n-grams": lambda task: regression(task, task.training, None),
    "student": lambda task: task.measure(task.train("student", task.training)),
    "a quarter: TF-IDF + LR, same size": lambda task: same_size(task, few(task)),
    "a quarter: student": lambda task: task.measure(task.train("few", few(task))),
    "a quarter: teacher": lambda task: task.measure(teacher_of_few(task)),
    "a quarter: student, soft labels for the rest": lambda task: distilled(task, teacher_of_few),
}
OF_OTHERS: dict[str, Callable[[Task], Figures]] = {
    "teachers of other rows": lambda task: task.measure(teachers_of_others(task)),
    "a quarter: student, their soft labels for the rest": lambda task: distilled(task, teachers_of_others),
}


def scores(bench: Bench) -> str:
    """Return the section of the page: a table for each set."""
    teacher = bench.models / "all-minilm-l6-v2"
    sections = []
    for name in SETS:
        if name in ARCHIVED and bench.archive is None:
            continue
        found: dict[str, list[Figures]] = {}
        for seed in range(SPLITS):
            folder = bench.folder / "scores" / f"{name}-{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            parts = split(rows_of(name, bench.data, bench.archive), seed)
            others = other_rows_of(name, bench.data, bench.archive)
            task = Task(name, *parts, folder, str(teacher), others)
            for contender, measure in (CONTENDERS | (OF_OTHERS if name in EPOCHS_OF_OTHERS else {})).items():
                kept, key = f"scores/{name}/{seed}/{contender.replace(' ', '-')}", str(task.teacher_options)
                if contender in OF_OTHERS:
                    key += f", {EPOCHS_OF_OTHERS[name]} epochs over others"
                with suppress(NotMeasured):
                    figures = bench.once(kept, partial(measure, task), key=key)
                    found.setdefault(contender, []).append(figures)
        if found:
            sections.append(_table(name, found))
    return "\n\n".join(sections)


def _table(name: str, found: dict[str, list[Figures]]) -> str:
    """Return means over the splits, and standard errors of the means."""
    shown = [metric for metric in METRICS if metric in next(iter(found.values()))[0]]
    rows = [
        [contender, len(values), *(_mean([each[metric] for each in values]) for metric in shown)]
        for contender, values in found.items()
    ]
    return table([name, "splits", *(metric.replace("_", " ") for metric in shown)], rows)


def _mean(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.3f}"
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values) / len(values) ** 0.5:.3f}"
