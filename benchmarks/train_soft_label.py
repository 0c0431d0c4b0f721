"""Compare the soft-label student with a BERT-base-shaped teacher: rows per second on the CPU, and size."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from benchmarks.measure import claim
from benchmarks.results.scoring import CLASSES, FIELDS, graded_answers

if TYPE_CHECKING:
    from dataprep.core.io import Block
    from dataprep.train.objectives.soft_label.predicting import Scoring

ROWS = 32
REPEATS = {"tiny": 20, "bert-base": 1}  # the student scores the rows too fast to time once


def bench(data: Path, _: Path, rounds: int) -> bool:
    """Return whether the student scores at least 10 times as many rows, with at most 30,000 weights.

    Both have random weights, which take as long as any. They read the same rows of Mohler's answers as
    ``predict`` does, from JSON to JSON, in this one process, in one batch of rows of like length.
    """
    import torch

    from dataprep.core.errors import Location
    from dataprep.core.io import Block
    from dataprep.train.objectives.soft_label.classes import Classes
    from dataprep.train.objectives.soft_label.classifier import new_scorer
    from dataprep.train.objectives.soft_label.predicting import Scoring
    from dataprep.train.objectives.soft_label.rows import JudgedRow
    from dataprep.train.options import PredictOptions

    rows = graded_answers(data)
    judged = [
        JudgedRow(Location("answers.csv", number), tuple(row[field] for field in FIELDS), row["score"], None)
        for number, row in enumerate(rows, 2)
    ]
    some = rows[:: len(rows) // ROWS][:ROWS]
    block = Block("answers", data=b"".join(orjson.dumps(row) + b"\n" for row in some))
    torch.manual_seed(0)
    models = {name: new_scorer(name, judged, FIELDS, Classes(CLASSES)) for name in REPEATS}
    # Numbers that are learned from rows without gradients count too.
    weights = {
        name: sum(each.numel() for each in (*own.model.parameters(), *own.model.buffers()))
        for name, own in models.items()
    }
    scorings = {name: Scoring(own, PredictOptions(batch_size=ROWS)) for name, own in models.items()}
    seconds = {
        name: statistics.median(_seconds(scorings[name], block, times) for _ in range(rounds))
        for name, times in REPEATS.items()
    }
    print("\nsoft labels: scoring\n\n| | weights | rows a second |\n| --- | ---: | ---: |")
    for name, found in seconds.items():
        print(f"| {name} | {weights[name]:,} | {ROWS / found:,.0f} |")
    print()
    ratio = seconds["bert-base"] / seconds["tiny"]
    claims = [
        claim("the student's rows a second over BERT-base's", ratio, 10, at_least=True),
        claim("thousands of weights of the student", weights["tiny"] / 1000, 30, at_least=False),
    ]
    return all(claims)


def _seconds(scoring: Scoring, block: Block, times: int) -> float:
    """Return the mean time of a block in seconds, after one pass to warm up."""
    scoring(block)
    begin = time.perf_counter()
    for _ in range(times):
        scoring(block)
    return (time.perf_counter() - begin) / times
