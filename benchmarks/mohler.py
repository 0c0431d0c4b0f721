"""Train a small student on Mohler's graded answers, with and without a teacher's soft labels.

``python -m benchmarks.mohler [--split random|question] [--seeds 5]`` prints the table of docs/soft-labels.md.
It reads the data from the folder that ``DATAPREP_REAL_DATA`` names (default ``../shared/data``).

The teacher is the wide network, trained by the same trainer. The probabilities that the student learns from
are out of fold: each fifth of the training rows is scored by a teacher that was trained on the other four.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import statistics
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dataprep
from dataprep.train.options import TrainOptions
from dataprep.train.run import train

FIELDS = ("question", "reference", "answer")
CLASSES = ("0", "1", "2", "3", "4", "5")
FOLDS = 5
METRICS = ("accuracy", "macro_f1", "quadratic_weighted_kappa")
STUDENT: dict[str, Any] = {"epochs": 15.0, "batch_size": 32}
AS_LONG: dict[str, Any] = {"steps": 916, "batch_size": 32}  # as many steps, however few rows there are
TEACHER: dict[str, Any] = {"model": "wide", "learning_rate": 2e-3, **STUDENT}
SPLIT_SEED = 0

Row = dict[str, Any]


def graded_answers(data: Path) -> list[Row]:
    """Return each exam answer with its question, the reference answer and the mean of two graders."""
    folder = data / "mohler"
    with (folder / "questions.csv").open(encoding="utf-8", newline="") as file:
        asked = {row["id"]: row for row in csv.DictReader(file)}
    with (folder / "answers.csv").open(encoding="utf-8", newline="") as file:
        return [
            {
                "question_id": row["id"],
                "question": asked[row["id"]]["question"],
                "reference": asked[row["id"]]["answer"],
                "answer": row["answer"],
                "score": float(row["score"]),
            }
            for row in csv.DictReader(file)
        ]


def parts(rows: Sequence[Row], count: int, how: str) -> list[list[Row]]:
    """Divide the rows into parts at random, or with all answers to a question in the same part."""
    generator = random.Random(SPLIT_SEED)
    keys = sorted({row["question_id"] for row in rows}) if how == "question" else list(range(len(rows)))
    generator.shuffle(keys)
    part_of = {key: place * count // len(keys) for place, key in enumerate(keys)}
    found: list[list[Row]] = [[] for _ in range(count)]
    for number, row in enumerate(rows):
        found[part_of[row["question_id"] if how == "question" else number]].append(row)
    return found


def trained(rows: Iterable[Row], held_out: Path, place: Path, **options: Any) -> dict[str, Any]:
    """Train a model into the directory ``place``, and return its metrics."""
    path = place.with_suffix(".jsonl")
    dataprep.write_rows(rows, str(path))
    chosen = TrainOptions(fields=FIELDS, classes=CLASSES, save_every=0, precision="float32", **options)
    metrics: dict[str, Any] = train(path, held_out, place, options=chosen).results["metrics"]
    return metrics


def out_of_fold(rows: Sequence[Row], how: str, folder: Path) -> Iterator[Row]:
    """Return the rows with the probabilities of a teacher that was not trained on them."""
    folds = parts(rows, FOLDS, how)
    for number, fold in enumerate(folds):
        others = [row for place, each in enumerate(folds) if place != number for row in each]
        mine, scored = folder / f"fold-{number}.jsonl", folder / f"scored-{number}.jsonl"
        dataprep.write_rows(fold, str(mine))
        trained(others, mine, folder / f"without-{number}", seed=number, **TEACHER)
        dataprep.predict_files(folder / f"without-{number}", [mine], scored)
        for _, row in dataprep.read_rows(str(scored)):
            yield row


def without(row: Row, *fields: str) -> Row:
    """Return a row without some of its fields."""
    return {name: value for name, value in row.items() if name not in fields}


def compare(data: Path, folder: Path, how: str, seeds: int) -> None:
    """Print the table for one way to split."""
    held, *others = parts(graded_answers(data), 5, how)
    rows = [row for each in others for row in each]
    held_out = folder / "held-out.jsonl"
    dataprep.write_rows(held, str(held_out))
    print(f"\nsplit: {how}, {len(rows):,} rows to train on, {len(held):,} to evaluate\n", flush=True)
    print(f"| | {' | '.join(name.replace('_', ' ') for name in METRICS)} |\n| --- | ---: | ---: | ---: |")
    soft = list(out_of_fold(rows, how, folder))
    fifth = len(parts(rows, FOLDS, how)[0])
    few = [without(row, "prediction", "probs") for row in soft[:fifth]]
    rest = [without(row, "score") for row in soft[fifth:]]
    contenders = {
        "student, gold labels": (rows, STUDENT),
        "student, gold and soft labels": (soft, STUDENT),
        "student, soft labels only": (soft, STUDENT | {"alpha": 1.0}),
        "student, a fifth of the gold labels": (few, AS_LONG),
        "student, a fifth of the gold labels, soft labels for the rest": (few + rest, AS_LONG),
        "teacher": (rows, TEACHER),
    }
    for name, (own, options) in contenders.items():
        found = [
            trained(own, held_out, folder / f"{name.replace(' ', '-')}-{seed}", seed=seed, **options)
            for seed in range(seeds)
        ]
        values = [[each[metric] for each in found] for metric in METRICS]
        cells = [f"{statistics.mean(each):.3f} ± {statistics.stdev(each):.3f}" for each in values]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Compare on the given split, or on both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=["random", "question"], help="default: both, one after the other")
    parser.add_argument("--seeds", type=int, default=5, help="of weights and order; at least 2")
    arguments = parser.parse_args()
    data = Path(os.environ.get("DATAPREP_REAL_DATA", "../shared/data"))
    for how in [arguments.split] if arguments.split else ["random", "question"]:
        with tempfile.TemporaryDirectory(prefix="dataprep-mohler-") as folder:
            compare(data, Path(folder), how, arguments.seeds)


if __name__ == "__main__":
    main()
