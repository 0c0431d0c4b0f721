"""The review of rows that `evaluate` wrote: outcomes, distributions and wrong answers, and their page."""

import json

import pytest

from dataprep import EvaluateSettings, evaluate_classes, evaluate_file, review_files, write_rows
from dataprep.collect.review.scored import SHOWN
from dataprep.core.errors import InputError, UsageError
from tests.collect.test_review_page import UGLY, checked
from tests.helpers import write_jsonl

CHOICES = "Which is {}?\n\n(a) grass\n(b) sky\n(c) snow"


def chat(name, user, assistant, source):
    """A chat row with an id and a source."""
    messages = [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return {"id": name, "source": source, "messages": messages}


@pytest.fixture
def scored(tmp_path):
    """What `evaluate -o` writes about rows of three sets."""
    rows = [chat(f"c{n}", CHOICES.format(n), f"({'abc'[n % 3]})", "commonsense_qa") for n in range(30)]
    rows += [chat("g1", "1 + 1?", "#### 2", "gsm8k"), chat("g2", "2 + 2?", "#### 4", "gsm8k")]
    rows += [chat("s1", "Who?", "the black cat", "squad"), chat("s2", "Why?", "no reason", "squad")]
    answers = {f"c{n}": "The answer is (a)." for n in range(28)} | {"c28": "Who knows?", "c29": "(a) snow"}
    answers |= {"g1": "#### 2", "g2": "I cannot.", "s1": "cat", "s2": "No reason."}
    given = [{"id": name, "prediction": text} for name, text in answers.items()]
    data, predictions = (
        write_jsonl(tmp_path / "rows.jsonl", rows),
        write_jsonl(tmp_path / "given.jsonl", given),
    )
    evaluate_file(data, predictions=predictions, output=tmp_path / "scored.jsonl")
    return tmp_path / "scored.jsonl"


def test_rows_are_counted_by_outcome(scored):
    """Each source has its outcomes; wrong answers come with question, gold answer and prediction."""
    found = review_files([scored])
    choice, math, squad = found.groups
    assert (choice.source, choice.metric, choice.rows) == ("commonsense_qa", "choice", 30)
    assert choice.shown_outcomes == {"right": 10, "wrong": 18, "contradiction": 1, "unread": 1}
    assert math.shown_outcomes == {"right": 1, "unread": 1}
    assert squad.shown_outcomes == {"right": 1, "partly right": 1}
    first = choice.wrong[0]
    assert (first.id, first.gold, first.answer, first.outcome) == ("c1", "(b) sky", "a", "wrong")
    assert first.question == CHOICES.format(1)
    assert first.prediction == "The answer is (a)."
    assert len(choice.wrong) == SHOWN == 20
    answers = choice.answers
    assert (answers.chance, answers.majority, answers.only_answer) == (1 / 3, 1 / 3, "a")
    assert choice.confusion()["c"] == {"a": 9, "unread": 1}


@pytest.mark.usefixtures("scored")
def test_the_terminal_and_the_json_report(run):
    """Both have the same figures; a model that answers one letter is said to."""
    done = run("review", "scored.jsonl")
    assert done.code == 0, done.err
    shown = [" ".join(line.split()) for line in done.out.decode().splitlines()]
    assert "34 rows" in shown
    assert "answers rows right partly right wrong contradiction unread share right 95 % interval" in shown
    assert "28 of 30 replies are (a), and 10 of the gold answers" in shown
    assert "Guesses get 33.33% right, and 33.33% of the gold answers are (a)" in shown
    report = json.loads(run("review", "scored.jsonl", "--json").out)
    group = report["groups"][0]
    assert group["outcomes"] == {"right": 10, "wrong": 18, "contradiction": 1, "unread": 1}
    assert group["right_share"]["value"] == pytest.approx(1 / 3)
    assert group["answers"]["answered"] == {"a": 28, "b": 0, "c": 0}
    assert "And 15 more, which -o PAGE and --json show" in shown
    assert len(group["wrong"]) == 20
    assert set(group["wrong"][0]) == {"id", "question", "gold", "answer", "prediction", "outcome"}


def test_rows_come_from_a_pipe_and_from_several_files(run, scored, tmp_path):
    """Standard input and Parquet serve too, and each file is a group of its own."""
    expected = json.loads(run("review", "scored.jsonl", "--json").out)["groups"]
    piped = json.loads(run("review", "-", "--json", input=scored.read_bytes()).out)["groups"]
    assert [group | {"file": ""} for group in piped] == [group | {"file": ""} for group in expected]
    write_rows(
        [json.loads(line) for line in scored.read_text().splitlines()], str(tmp_path / "scored.parquet")
    )
    both = json.loads(run("review", "scored.jsonl", "scored.parquet", "--json").out)["groups"]
    assert [group["file"] for group in both] == ["scored.jsonl"] * 3 + ["scored.parquet"] * 3
    assert [group | {"file": ""} for group in both[3:]] == [group | {"file": ""} for group in expected]


@pytest.mark.parametrize(
    "wrong",
    [
        {"detail": 5},
        {"extracted": ["a"]},
        {"source": [1]},
        {"choices": 5},
        {"probs": [0.1, 0.9]},
        {"classes": "a"},
        {"scores": {"accuracy": "1"}},
    ],
)
def test_fields_of_another_kind(scored, wrong):
    """They are named with path and line."""
    rows = [json.loads(line) for line in scored.read_text().splitlines()]
    write_jsonl(scored, [rows[0], rows[1] | wrong])
    with pytest.raises(InputError, match=rf"scored.jsonl:2: malformed '{next(iter(wrong))}'"):
        review_files([scored])


@pytest.mark.parametrize("name", ["scored.jsonl", "scored.parquet"])
def test_classes_that_no_row_has_count_for_chance(tmp_path, name):
    """Of predictions without probabilities too: the classes are those of the evaluation, in its order."""
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"id": n, "label": "ab"[n % 2]} for n in range(12)])
    given = write_jsonl(tmp_path / "given.jsonl", [{"id": n, "prediction": "a"} for n in range(12)])
    settings = EvaluateSettings(classes=("c", "b", "a", "d"))
    done = evaluate_classes(rows, predictions=given, output=tmp_path / name, settings=settings)
    (group,) = review_files([tmp_path / name]).groups
    assert group.answers.chance == done.results[0].figures[0].chance == 0.25
    assert group.answers.to_json() == done.results[0].answers["accuracy"].to_json()
    again = evaluate_classes(rows, predictions=tmp_path / name)
    assert again.results == done.results


def test_the_page_shows_any_text_as_it_is(tmp_path):
    """Questions, classes and predictions are text on the page, whatever characters they have."""
    rows = [
        {"id": f"{n}", "source": text, "metric": "classes", "question": text, "prediction": text,
         "extracted": text, "gold": ["x"], "scores": {"accuracy": 0.0}, "detail": None}
        for n, text in enumerate(UGLY) if text != "\ud800"
    ]  # fmt: skip
    write_rows(rows, str(tmp_path / "scored.jsonl"))
    review_files([tmp_path / "scored.jsonl"], page=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    found = checked(page)
    assert "<script>" in "".join(found.all("td"))
    review_files([tmp_path / "scored.jsonl"], page=tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text("utf-8") == page


@pytest.mark.usefixtures("scored")
def test_the_page_has_outcomes_and_wrong_answers(run, tmp_path):
    """A chart of the outcomes, a confusion matrix, and the wrong answers with their questions."""
    done = run("review", "scored.jsonl", "-o", "page.html")
    assert done.code == 0, done.err
    found = checked((tmp_path / "page.html").read_text("utf-8"))
    assert "10 of 30 right" in found.all("text")
    assert CHOICES.format(1) in found.all("td")
    assert "scored.jsonl · commonsense_qa · choice" in found.all("h2")


CHOICE = {"metric": "choice", "scores": {"accuracy": 1}, "gold": ["a"]}


@pytest.mark.parametrize(
    ("rows", "gold", "error", "says"),
    [
        ([{"metric": "loss", "loss": 1.0, "tokens": 3}], None, InputError, "a row without an answer"),
        ([CHOICE | {"gold": "a"}], None, InputError, "malformed 'gold'"),
        ([CHOICE | {"scores": {}}], None, InputError, "malformed 'scores'"),
        ([CHOICE], "gold.jsonl", UsageError, "leave it out"),
        ([CHOICE, {"Question": "?", "Answer": "a"}], None, InputError, r"scored.jsonl:2: not a scored row"),
    ],
)
def test_rows_that_cannot_be_reviewed(tmp_path, rows, gold, error, says):
    """Where, what was found, what was expected."""
    path = write_jsonl(tmp_path / "scored.jsonl", rows)
    with pytest.raises(error, match=says):
        review_files([path], gold=gold)
