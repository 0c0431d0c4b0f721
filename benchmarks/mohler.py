"""Compare small students with TF-IDF and logistic regression, and with a teacher, on public sets.

``python -m benchmarks.mohler --results FILE`` prints the tables of docs/soft-labels.md. Each split of a set
is a seed. A figure is written into FILE as soon as it is there, and is not measured again: a run that was
stopped continues. `scored_sets` says where the sets come from.

- with all labels: the most frequent class, TF-IDF of character n-grams with logistic regression, the student
- with a quarter of the labels: the same; the teacher; the student that learns from the teacher's
  probabilities for the other three quarters
- with ``--cross-fit K``, with all labels: the teacher, and the student that learns from the labels and from
  the probabilities of K teachers, each for the rows that it has not seen

Every student, and the teacher, keeps its best step on validation rows, which also choose the regression's C.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

import dataprep
from benchmarks.scored_sets import ARCHIVE, Row, graded_answers, rows_of, split
from dataprep.evaluate.metrics.agreement import WEIGHTED_KAPPA as KAPPA
from dataprep.train.objectives.soft_label.classes import Classes, metrics_of
from dataprep.train.options import PredictOptions, TrainOptions
from dataprep.train.run import train

__all__ = ["CLASSES", "FIELDS", "graded_answers"]

FIELDS = ("question", "reference", "answer")
CLASSES = ("0", "1", "2", "3", "4", "5")
SETS = ("movies", "topics", "mohler", "products")
WEIGHTS = 30_000
# Of the teacher, which is fine-tuned on few rows.
TEACHER: dict[str, Any] = {"epochs": 8.0, "learning_rate": 1e-4}
METRICS = ("accuracy", "macro_f1", KAPPA)
Figures = dict[str, float]


@dataclass(frozen=True)
class Task:
    """One split of one set, and a folder to work in."""

    name: str
    training: list[Row]
    validation: list[Row]
    test: list[Row]
    folder: Path
    teacher: str

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
        held = []
        # Cross-fit teachers take all of their steps: their folds have no other rows to choose by.
        if "cross_fit" not in options:
            held = [self.write("validation", self.validation)]
            options["keep_best"] = KAPPA if self.name == "mohler" else "accuracy"
        chosen = TrainOptions(fields=self.fields, classes=self.classes.names, save_every=0, **options)
        train(self.write(f"{name}-rows", rows), held, place, options=chosen)
        return place

    def predict(self, place: Path, rows: Sequence[Row], **options: Any) -> list[Row]:
        """Return rows with a classifier's prediction and probabilities."""
        output = self.folder / "scored.jsonl"
        given = PredictOptions(**options)
        dataprep.predict_files(place, [self.write("unscored", rows)], output, options=given)
        return [row for _, row in dataprep.read_rows(str(output))]

    def measure(self, place: Path) -> Figures:
        """Return a classifier's metrics on the test rows."""
        found = [str(row["prediction"]) for row in self.predict(place, self.test)]
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


def teacher_of(task: Task, rows: Sequence[Row], name: str) -> Path:
    """Return the directory of the fine-tuned teacher, which is trained once."""
    place = task.folder / name
    if not (place / "results.json").is_file():
        task.train(name, rows, model=task.teacher, **TEACHER)
    return place


def distilled(task: Task) -> Figures:
    """Return the metrics of the student that has a quarter of the labels and the teacher's for the rest."""
    few, rest = task.training[: task.quarter], task.training[task.quarter :]
    unlabelled = without(rest, "label", "score")
    soft = without(task.predict(teacher_of(task, few, "teacher-of-few"), unlabelled), "prediction")
    return task.measure(task.train("distilled", [*few, *soft]))


def cross_fitted(task: Task, folds: int) -> Figures:
    """Return the metrics of the student that learns from all labels and from cross-fit teachers."""
    place = task.train("teachers", task.training, model=task.teacher, cross_fit=folds, **TEACHER)
    soft = without(task.predict(place, task.training, cross_fit=True), "prediction")
    return task.measure(task.train("cross-fitted", soft))


def contenders(folds: int | None) -> dict[str, Callable[[Task], Figures]]:
    """Return what is measured, by its name in the tables."""

    def few(task: Task) -> list[Row]:
        return task.training[: task.quarter]

    found: dict[str, Callable[[Task], Figures]] = {
        "most frequent class": lambda task: majority(task, task.training),
        "TF-IDF + LR, same size": lambda task: same_size(task, task.training),
        "TF-IDF + LR, all n-grams": lambda task: regression(task, task.training, None),
        "student": lambda task: task.measure(task.train("student", task.training)),
        "a quarter: TF-IDF + LR, same size": lambda task: same_size(task, few(task)),
        "a quarter: student": lambda task: task.measure(task.train("few", few(task))),
        "a quarter: teacher": lambda task: task.measure(teacher_of(task, few(task), "teacher-of-few")),
        "a quarter: student, soft labels for the rest": distilled,
    }
    if folds is not None:
        found |= {
            "teacher": lambda task: task.measure(teacher_of(task, task.training, "teacher")),
            "student, labels and soft labels": lambda task: cross_fitted(task, folds),
        }
    return found


def tables(lines: Sequence[dict[str, Any]]) -> None:
    """Print a table for each set: means over the splits, and standard errors of the means."""
    for name in dict.fromkeys(line["set"] for line in lines):
        own = [line for line in lines if line["set"] == name]
        shown = [metric for metric in METRICS if metric in own[0]["figures"]]
        print(f"\n| {name} | splits | {' | '.join(each.replace('_', ' ') for each in shown)} |")
        print(f"| --- | ---: |{' ---: |' * len(shown)}")
        for contender in dict.fromkeys(line["contender"] for line in own):
            values = [line["figures"] for line in own if line["contender"] == contender]
            cells = [_mean([each[metric] for each in values]) for metric in shown]
            print(f"| {contender} | {len(values)} | {' | '.join(cells)} |")


def _mean(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.3f}"
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values) / len(values) ** 0.5:.3f}"


def main() -> None:
    """Measure what is not in the file of results yet, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", default=",".join(SETS), help="default: all")
    parser.add_argument("--splits", type=int, default=4, help="default: 4")
    parser.add_argument("--results", type=Path, required=True, help="file of results, which grows")
    parser.add_argument("--archive", type=Path, default=Path(ARCHIVE), help=f"default: {ARCHIVE}")
    parser.add_argument("--cross-fit", type=int, metavar="K", help="also teachers on all labels, of K folds")
    parser.add_argument("--only", default="", help="only contenders whose name begins with this")
    arguments = parser.parse_args()
    data = Path(os.environ.get("DATAPREP_REAL_DATA", "../shared/data"))
    teacher = Path(os.environ.get("DATAPREP_REAL_MODELS", "../models")) / "all-minilm-l6-v2"
    lines = (
        [*map(orjson.loads, arguments.results.read_bytes().splitlines())]
        if arguments.results.exists()
        else []
    )
    done = {(line["set"], line["split"], line["contender"]) for line in lines}
    for seed in range(arguments.splits):
        for name in arguments.sets.split(","):
            with tempfile.TemporaryDirectory(prefix="dataprep-scorers-") as folder:
                parts = split(rows_of(name, data, arguments.archive), seed)
                task = Task(name, *parts, Path(folder), str(teacher))
                for contender, measure in contenders(arguments.cross_fit).items():
                    if (name, seed, contender) in done or not contender.startswith(arguments.only):
                        continue
                    begin = time.perf_counter()
                    line = {"set": name, "split": seed, "contender": contender, "figures": measure(task)}
                    line["seconds"] = round(time.perf_counter() - begin, 1)
                    lines.append(line)
                    with arguments.results.open("ab") as out:
                        out.write(orjson.dumps(line) + b"\n")
    tables(lines)


if __name__ == "__main__":
    main()
