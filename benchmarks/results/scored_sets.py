"""Public sets of texts with classes, for the comparison of small students in `scoring`.

- `mohler`: exam answers that two graders scored from 0 to 5 (Mohler, Bunescu and Mihalcea 2011), in the
  folder that ``DATAPREP_REAL_DATA`` names (default ``../shared/data``).
- `topics`: questions about 16 articles of Wikipedia (SQuAD 2.0, Rajpurkar, Jia and Liang 2018), from the same
  folder; the class is the article.
- `movies`: sentences of movie reviews (Pang and Lee 2005), and `products`: sentences of product reviews (Hu
  and Liu 2004), rated by 20 people (Hutto and Gilbert 2014). They are in the source archive of vaderSentiment
  0.5: ``pip download --no-deps --no-build-isolation -d FOLDER vaderSentiment==0.5``.
"""

from __future__ import annotations

import csv
import json
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
_RATINGS = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"
# Rows to train on, to choose the best step by, and at most so many to measure on.
TRAINING, VALIDATION, TEST = 600, 150, 600


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


def asked_questions(data: Path) -> list[Row]:
    """Return each distinct question of SQuAD 2.0's dev part with the title of its article."""
    articles = json.loads((data / "squad" / "dev-v2.0.json").read_bytes())["data"]
    titles = {
        question["question"].strip(): article["title"]
        for article in articles
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    }
    return [{"text": question, "label": title} for question, title in titles.items()]


def rated_sentences(archive: Path, name: str, class_of: Callable[[float], str]) -> list[Row]:
    """Return the sentences of one file of ratings, each with the class of its mean rating from -4 to 4."""
    name = f"hutto_ICWSM_2014/{name}_GroundTruth.txt"
    with (
        zipfile.ZipFile(archive) as outer,
        outer.open(_RATINGS) as packed,
        tarfile.open(fileobj=packed) as inner,
    ):
        file = inner.extractfile(name)
        assert file is not None, f"{archive}: {name} is not a file"
        lines = file.read().decode("utf-8", "replace").splitlines()
    cells = [line.split("\t") for line in lines if line.count("\t") >= 2]
    return [{"text": text, "label": class_of(float(rating))} for _, rating, text, *_ in cells]


def _sign(rating: float) -> str:
    return "positive" if rating > 0 else "negative"


def _thirds(rating: float) -> str:
    return "neutral" if -0.5 <= rating <= 0.5 else _sign(rating)


def rows_of(name: str, data: Path, archive: Path | None) -> list[Row]:
    """Return every second row of a set; docs/soft-labels.md says what was chosen on the others."""
    return _all_rows(name, data, archive)[::2]


def other_rows_of(name: str, data: Path, archive: Path | None) -> list[Row]:
    """Return the other rows of a set."""
    return _all_rows(name, data, archive)[1::2]


def _all_rows(name: str, data: Path, archive: Path | None) -> list[Row]:
    if name == "mohler":
        return graded_answers(data)
    if name == "topics":
        return asked_questions(data)
    assert archive is not None, "the other sets are in it"
    if name == "movies":
        return rated_sentences(archive, "movieReviewSnippets", _sign)
    return rated_sentences(archive, "amazonReviewSnippets", _thirds)


def divide(rows: list[Row], validation: int) -> tuple[list[Row], list[Row]]:
    """Return rows to train on, and others to choose the best step by, drawn by seed 0."""
    rows = [*rows]
    random.Random(0).shuffle(rows)
    return rows[validation:], rows[:validation]


def split(rows: list[Row], seed: int) -> tuple[list[Row], list[Row], list[Row]]:
    """Return rows to train on, to choose the best step by, and to measure on, drawn by the seed."""
    rows = [*rows]
    random.Random(seed).shuffle(rows)
    test = min(TEST, len(rows) // 5)
    return rows[test : test + TRAINING], rows[test + TRAINING :][:VALIDATION], rows[:test]
