"""Gold files: every layout that carries a multiple-choice question with its answer."""

import json

import pytest

import dataprep
from dataprep.core.errors import InputError
from dataprep.datasets.source_rows import read_gold

TEXTS = ["wool", "tin", "silk"]
LABELLED = [{"label": label, "text": text} for label, text in zip("ABC", TEXTS, strict=True)]


@pytest.mark.parametrize(
    "row",
    [
        {"id": "1", "question": "Which melts?", "choices": TEXTS, "answer": "tin"},
        {"id": 1, "question": "Which melts?", "choices": TEXTS, "answer": "b"},
        {"id": "1", "question": {"stem": "Which melts?", "choices": LABELLED}, "answerKey": "B"},
        {
            "id": "1",
            "question": "Which melts?",
            "choices": {"label": ["A", "B", "C"], "text": TEXTS},
            "answerKey": "B",
        },
        {
            "id": "1",
            "task": "choice",
            "question": "Which melts?",
            "choices": TEXTS,
            "answer": {"label": "b", "text": "tin"},
        },
    ],
    ids=["flat", "letter", "official", "hub", "Example"],
)
def test_every_layout_is_read(tmp_path, row):
    """Flat rows, the sets' own layouts and Examples give the same gold row."""
    path = tmp_path / "gold.jsonl"
    path.write_text(json.dumps(row))
    (gold,) = read_gold(str(path))
    assert (gold.id, gold.question, gold.choices, gold.place) == ("1", "Which melts?", TEXTS, 1)


def test_the_label_of_an_example_is_a_letter(tmp_path):
    """Where the choices are letters themselves, an Example's label is not taken for a choice's text."""
    path = tmp_path / "gold.jsonl"
    row = {"id": "1", "question": "Which?", "choices": ["b", "a"], "answer": {"label": "b", "text": "a"}}
    path.write_text(json.dumps(row))
    assert next(read_gold(str(path))).place == 1


def test_what_convert_writes_is_gold(workspace):
    """The Examples of a converted set are its gold rows, with the ids that requests carry."""
    raw = workspace / "raw" / "commonsense_qa" / "dev_rand_split.jsonl"
    examples = list(dataprep.convert("commonsense_qa", str(raw), to="example"))
    path = workspace / "gold.jsonl"
    dataprep.write_rows(examples, str(path))
    rows = list(read_gold(str(path)))
    assert [row.id for row in rows] == [example["id"] for example in examples]
    assert ["abcde"[row.place] for row in rows] == [example["answer"]["label"] for example in examples]


@pytest.mark.parametrize("answer", ["gold", None, {"label": "z", "text": "?"}, {"text": "tin"}, 7])
def test_an_answer_that_is_no_choice_names_its_place(tmp_path, answer):
    """A gold row without a right answer is an error with file and line."""
    path = tmp_path / "gold.jsonl"
    path.write_text(json.dumps({"id": "1", "question": "Which?", "choices": TEXTS, "answer": answer}))
    with pytest.raises(InputError, match=r"gold\.jsonl:1: "):
        list(read_gold(str(path)))
