"""`dataprep evaluate` on the published sets: their own answers score all there is to score."""

import json
import sys

import pytest

from dataprep.datasets.convert import Plan, convert_files
from dataprep.evaluate.evaluator import evaluate_file
from dataprep.evaluate.metrics.scores import EXACT, F1
from dataprep.evaluate.settings import Settings
from tests.real import DATA, needs_sets

pytestmark = needs_sets


def golds_as_predictions(path, given):
    """What a perfect student would say: each chat row's own answer."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    lines = [{"id": row["id"], "prediction": row["messages"][-1]["content"]} for row in rows]
    given.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def measured(tmp_path, dataset, source, to, **settings):
    """The figures of a set's own answers, on its chat rows or Examples."""
    chat, example, given = (tmp_path / name for name in ("chat.jsonl", "example.jsonl", "given.jsonl"))
    convert_files(Plan(dataset, with_id=True), [DATA / source], chat)
    convert_files(Plan(dataset, to="example"), [DATA / source], example)
    golds_as_predictions(chat, given)
    path = {"chat": chat, "example": example}[to]
    return evaluate_file(path, predictions=given, settings=Settings(**settings))


@pytest.mark.medium
@pytest.mark.sampled(4)
@pytest.mark.parametrize("to", ["chat", "example"])
@pytest.mark.parametrize(
    ("dataset", "source", "rows"),
    [
        ("gsm8k", "gsm8k/train.jsonl", 7473),
        ("gsm8k", "gsm8k/test.jsonl", 1319),
        ("commonsense_qa", "commonsense_qa/dev_rand_split.jsonl", 1221),
        ("aqua_rat", "aqua_rat/dev.json", 254),
        ("aqua_rat", "aqua_rat/test.json", 254),
        ("piqa", "piqa/valid.jsonl", 1838),
    ],
)
def test_golds_are_right(tmp_path, dataset, source, rows, to):
    """A metric that a perfect student cannot reach would be wrong: golds give 100 %."""
    done = measured(tmp_path, dataset, source, to)
    (result,) = done.results
    assert (result.rows, done.ledger.rows_in) == (rows, rows)
    assert all(figure.value == 1.0 for figure in result.figures)


@pytest.mark.medium
def test_every_first_answer_of_squad_is_right(tmp_path):
    """All of SQuAD's dev questions, those without an answer too: 100 and 100."""
    document = json.loads((DATA / "squad/dev-v2.0.json").read_text(encoding="utf-8"))
    questions = [
        question
        for article in document["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
    given = tmp_path / "given.jsonl"
    said = (
        {"id": each["id"], "text": each["answers"][0]["text"] if each["answers"] else ""}
        for each in questions
    )
    given.write_text("".join(json.dumps(line) + "\n" for line in said), encoding="utf-8")
    done = evaluate_file(DATA / "squad/dev-v2.0.json", predictions=given, settings=Settings(dataset="squad"))
    (result,) = done.results
    assert {each.name: each.value for each in result.figures} == {EXACT: 1.0, F1: 1.0}
    assert result.rows == len(questions)
    assert result.counts["without an answer"] == sum(not each["answers"] for each in questions)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="programs are confined on Linux only")
@pytest.mark.parametrize("to", ["chat", "example"])
def test_every_program_of_mbpp_passes_its_tests_confined(tmp_path, to):
    """The confinement takes nothing away that the reference programs need: 974 of 974."""
    done = measured(tmp_path, "mbpp", "mbpp/mbpp.jsonl", to, allow_code=True)
    assert done.results[0].counts == {"passed": 974}
