"""`dataprep evaluate` with predictions: rows of every kind, matched and counted, and what is refused."""

import json
import re
import sys

import pytest

from dataprep.core.errors import FileError, InputError, UsageError
from dataprep.core.io import read_rows
from dataprep.evaluate.evaluator import evaluate_file
from dataprep.evaluate.metrics.scores import ACCURACY, EXACT, F1, FLEXIBLE, PASS, STRICT, VALUE
from dataprep.evaluate.settings import Settings
from tests import journal_lines
from tests.helpers import write_jsonl
from tests.tables import table

CHOICES = "Which is blue?\n\n(a) grass\n(b) sky"
CODE = "Add.\n\nYour code should pass these tests:\n```python\nassert add(1, 2) == 3\n```"


def chat(name, user, assistant, source=None):
    """A chat row."""
    messages = [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    row = {"messages": messages}
    return row | ({} if name is None else {"id": name}) | ({} if source is None else {"source": source})


MIXED = [
    chat("g1", "1 + 1?", "Two.\n\n#### 2", "gsm8k"),
    chat("g2", "2 + 2?", "Four.\n\n#### 4", "gsm8k"),
    chat("c1", CHOICES, "(b) sky", "commonsense_qa"),
    chat("s1", "Q", "the black cat", "squad"),
    chat("m1", CODE, "```python\ndef add(a, b):\n    return a + b\n```", "mbpp"),
]
GIVEN = {
    "g1": "#### 2",
    "g2": "It is 4.",
    "c1": "The answer is (a).",
    "s1": "cat",
    "m1": "def add(a, b): return b + a",
}


def predicted(path, given):
    """A file of predictions by id."""
    return write_jsonl(path, [{"id": name, "prediction": text} for name, text in given.items()])


def figures(done):
    """The values by source and figure."""
    return {(each.source, one.name): one.value for each in done.results for one in each.figures}


@pytest.fixture
def mixed(tmp_path):
    """A file of chat rows of four sets."""
    return write_jsonl(tmp_path / "rows.jsonl", MIXED)


def test_a_mixed_file_is_measured_by_source(mixed, tmp_path):
    """Each row has its own metric, and figures come by source."""
    given = predicted(tmp_path / "given.jsonl", GIVEN)
    done = evaluate_file(mixed, predictions=given, settings=Settings(allow_code=True))
    assert figures(done) == pytest.approx(
        {
            ("gsm8k", STRICT): 0.5,
            ("gsm8k", FLEXIBLE): 1.0,
            ("gsm8k", VALUE): 1.0,
            ("commonsense_qa", ACCURACY): 0.0,
            ("squad", EXACT): 0.0,
            ("squad", F1): 2 / 3,
            ("mbpp", PASS): 1.0,
        }
    )
    assert (done.ledger.rows_in, done.ledger.rows_out, done.guard in ("landlock", "mounts")) == (5, 5, True)


@pytest.mark.medium
def test_each_row_is_written_with_what_was_read_from_it(mixed, tmp_path):
    """The output says for each row what the system said, what was taken from it, and its scores."""
    given = predicted(tmp_path / "given.jsonl", GIVEN)
    out = tmp_path / "out.jsonl"
    evaluate_file(mixed, predictions=given, output=out, settings=Settings(allow_code=True))
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in rows] == list(GIVEN)
    assert [row["extracted"] for row in rows] == ["2", "4.", "a", "cat", "def add(a, b): return b + a"]
    assert [row["gold"] for row in rows[:4]] == [["2"], ["4"], ["b"], ["the black cat"]]
    assert [row["detail"] for row in rows] == [None] * 4 + ["passed"]
    again = evaluate_file(mixed, predictions=out, settings=Settings(allow_code=True))
    assert again.ledger.rows_out == 5, "an output can be measured once more"


def test_examples_carry_all_accepted_answers(tmp_path, run):
    """SQuAD's other answers and its unanswerable questions count, from its own file and from Examples."""
    answers = [{"text": "black cat", "answer_start": 0}, {"text": "cat", "answer_start": 6}]
    questions = [
        {"id": "1", "question": "Who?", "answers": answers, "is_impossible": False},
        {"id": "2", "question": "Why?", "answers": [], "is_impossible": True},
    ]
    document = {
        "version": "v2.0",
        "data": [{"title": "T", "paragraphs": [{"context": "c", "qas": questions}]}],
    }
    raw = tmp_path / "dev.json"
    raw.write_text(json.dumps(document), encoding="utf-8")
    given = predicted(tmp_path / "given.jsonl", {"1": "the cat", "2": ""})
    done = evaluate_file(raw, predictions=given, settings=Settings(dataset="squad"))
    assert figures(done) == {("squad", EXACT): 1.0, ("squad", F1): 1.0}
    assert done.results[0].counts == {"without an answer": 1}
    made = run("convert", "squad", raw, "--to", "example", "--unanswerable", "keep", "-o", "rows.jsonl")
    assert made.code == 0
    assert figures(evaluate_file(tmp_path / "rows.jsonl", predictions=given)) == figures(done)


@pytest.mark.medium
def test_predictions_without_ids_are_matched_by_place(mixed, tmp_path):
    """The first prediction is the first row's; another number of them is an error."""
    given = write_jsonl(tmp_path / "given.jsonl", [{"text": text} for text in GIVEN.values()])
    done = evaluate_file(mixed, predictions=given, settings=Settings(allow_code=True))
    assert figures(done)["gsm8k", FLEXIBLE] == 1.0
    write_jsonl(given, [{"text": "x"}] * 4)
    with pytest.raises(InputError, match="4 predictions without ids for 5 rows"):
        evaluate_file(mixed, predictions=given, settings=Settings(allow_code=True))


def test_a_bad_row_has_its_place_among_predictions_without_ids(tmp_path):
    """A row that goes to the rejects must not move the predictions of the rows after it."""
    rows = tmp_path / "rows.jsonl"
    write_jsonl(rows, MIXED[:1])
    rows.write_text('{"messages": []}\n' + rows.read_text())
    given = write_jsonl(tmp_path / "given.jsonl", [{"text": "of the bad row"}, {"text": "#### 2"}])
    done = evaluate_file(rows, predictions=given, rejects=tmp_path / "rejects.jsonl")
    assert (done.ledger.rows_in, done.ledger.rows_out) == (2, 1)
    write_jsonl(given, [{"text": "#### 2"}])
    with pytest.raises(InputError, match="1 predictions without ids for 2 rows"):
        evaluate_file(rows, predictions=given, rejects=tmp_path / "rejects.jsonl")


def test_missing_and_unknown_predictions_are_counted(tmp_path):
    """A row without a prediction is failed, never wrong or right; one for no row is told."""
    rows = write_jsonl(tmp_path / "rows.jsonl", MIXED[:3])
    given = predicted(tmp_path / "given.jsonl", {"c1": "b", "g1": "#### 2", "new": "x", "newer": "y"})
    done = evaluate_file(rows, predictions=given)
    assert done.ledger.to_json() == {"in": 3, "out": 2, "dropped": {}, "failed": {"no prediction": 1}}
    assert done.unknown == 2


@pytest.mark.medium
@table(
    ("lines", "message"),
    [
        (['{"id": "g1", "text": "1"}', '{"id": "g1", "text": "2"}'], r"given.jsonl:2: a second prediction"),
        (
            ['{"id": "g1", "text": "1"}', '{"text": "2"}'],
            r"given.jsonl:2: the row has no id, and others have",
        ),
        (
            ['{"id": "g1", "answer": "1"}'],
            r"given.jsonl:1: no prediction: .*'answer'.*'prediction', 'text' or 'response'",
        ),
        (['{"id": "g1", "text": 5}'], r"given.jsonl:1: field 'text' is not a string: found a number 5"),
        (['{"id": "g1", "text": null}'], r"given.jsonl:1: field 'text' is not a string: found null"),
        (['{"id": "other", "text": "1"}'], r"no id is one of the rows' ids: found 'other', expected such as"),
        (['{"id": "g1", "text": "1"}', "{"], r"given.jsonl:2: not JSON"),
        ([], r"given.jsonl: the file is empty"),
    ],
)
def test_malformed_predictions_are_errors(mixed, tmp_path, lines, message):
    """Where, what was found, what was expected: before anything is measured."""
    given = tmp_path / "given.jsonl"
    given.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        evaluate_file(mixed, predictions=given, settings=Settings(allow_code=True))


def test_rows_without_ids_cannot_be_matched_by_id(tmp_path):
    """The way to rows with ids is said; two rows of one id are named."""
    rows = write_jsonl(tmp_path / "rows.jsonl", [chat(None, "1 + 1?", "#### 2")])
    given = predicted(tmp_path / "given.jsonl", {"g1": "2"})
    with pytest.raises(UsageError, match=r"rows.jsonl:1: the row has no id .*--with-id"):
        evaluate_file(rows, predictions=given)
    write_jsonl(rows, [MIXED[0], MIXED[0]])
    with pytest.raises(UsageError, match=r"rows.jsonl:2: the id 'g1' stands at .*rows.jsonl:1 too"):
        evaluate_file(rows, predictions=given)


THINKING = "It is 3. #### 3"


@table(
    ("prediction", "extracted"),
    [
        ({"prediction": f"<think>{THINKING}</think>#### 2"}, "2"),
        ({"prediction": f"{THINKING}</think>#### 2"}, "2"),
        ({"prediction": f"<think>{THINKING}"}, None),
        ({"prediction": f"{THINKING}</think>"}, None),
        ({"prediction": "#### 2", "reasoning": THINKING}, "2"),
        ({"prediction": "", "reasoning_content": THINKING}, None),
        ({"prediction": None, "reasoning": THINKING}, None),
        ({"text": None, "thinking": THINKING}, None),
        (journal_lines.line(id="g1", response="#### 2", reasoning=THINKING), "2"),
        (journal_lines.line("length", id="g1", response=None, reasoning=THINKING), None),
        (journal_lines.line("length", id="g1", response=f"<think>{THINKING}"), None),
        (journal_lines.line("length", id="g1", response="#### 2"), "2"),
        (journal_lines.line("length", id="g1", response=THINKING, opened=True), None),
        (journal_lines.line("unknown", id="g1", response=THINKING, opened=True), None),
        (journal_lines.line(id="g1", response="#### 2", opened=True), "2"),
        (journal_lines.line("length", id="g1", response=f"{THINKING}</think>#### 2", opened=True), "2"),
    ],
)
def test_the_answer_is_read_behind_the_thinking(tmp_path, prediction, extracted):
    """Whether it has both marks, the end alone, no end, or a field of its own."""
    rows = write_jsonl(tmp_path / "rows.jsonl", MIXED[:2])
    second = {"id": "g2", "prediction": "#### 4"}
    if "key" in prediction:
        text = f"{THINKING}</think>#### 4" if prediction.pop("opened", False) else "#### 4"
        second = journal_lines.line(id="g2", response=text)
    given = write_jsonl(tmp_path / "given.jsonl", [{"id": "g1"} | prediction, second])
    evaluate_file(rows, predictions=given, output=tmp_path / "out.jsonl")
    found = [row["extracted"] for _, row in read_rows(str(tmp_path / "out.jsonl"))]
    assert found == [extracted, "4"]


def test_a_reference_is_read_behind_its_thinking(tmp_path):
    """Rows that a model is trained to think with are rows to evaluate, too."""
    rows = [chat("g1", "1 + 1?", f"<think>{THINKING}</think>#### 2", "gsm8k")]
    rows.append(chat("c1", CHOICES, "<think>(a) grass?</think>\n\n(b) sky", "commonsense_qa"))
    given = predicted(tmp_path / "given.jsonl", {"g1": "#### 2", "c1": "B"})
    done = evaluate_file(write_jsonl(tmp_path / "rows.jsonl", rows), predictions=given)
    assert figures(done)["gsm8k", STRICT] == figures(done)["commonsense_qa", ACCURACY] == 1


def test_a_journal_of_generate_is_a_file_of_predictions(tmp_path):
    """The lines that count are used; failures are no answers, refusals and empty ones are wrong answers."""
    rows = write_jsonl(
        tmp_path / "rows.jsonl", [*MIXED[:2], *(chat(name, "q", "#### 5", "gsm8k") for name in ("g3", "g4"))]
    )
    lines = [
        journal_lines.line(id="g1", response="#### 3"),
        journal_lines.line(id="g1", response="#### 2", key="new"),
        journal_lines.line("failed", id="g2"),
        journal_lines.line("length", id="g3", response="#### 5"),
        journal_lines.line("refused", id="g4"),
    ]
    done = evaluate_file(rows, predictions=write_jsonl(tmp_path / "journal.jsonl", lines))
    assert figures(done)["gsm8k", STRICT] == pytest.approx(2 / 3)
    assert done.ledger.to_json()["failed"] == {"the teacher gave no answer": 1}
    # A mistyped name under which only failures came is no second teacher.
    typo = journal_lines.line("failed", id="g1", teacher="typo")
    same = evaluate_file(rows, predictions=write_jsonl(tmp_path / "journal.jsonl", [typo, *lines, typo]))
    assert figures(same) == figures(done)
    write_jsonl(
        tmp_path / "journal.jsonl", [*lines, journal_lines.line(id="g1", response="#### 9", teacher="other")]
    )
    with pytest.raises(UsageError, match=r"answers of .*other; choose one with --teacher"):
        evaluate_file(rows, predictions=tmp_path / "journal.jsonl")
    chosen = Settings(teacher="other")
    other = evaluate_file(rows, predictions=tmp_path / "journal.jsonl", settings=chosen)
    assert (other.ledger.rows_out, figures(other)["gsm8k", STRICT]) == (1, 0.0)


def test_programs_are_run_only_where_they_may_be(mixed, tmp_path):
    """Without --allow-code a row that needs it is refused, with its place, and nothing is written."""
    given = predicted(tmp_path / "given.jsonl", GIVEN)
    with pytest.raises(UsageError, match=r"rows.jsonl:5: .*--allow-code"):
        evaluate_file(mixed, predictions=given, output=tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_a_bad_row_ends_the_command_or_goes_to_the_rejects(tmp_path):
    """Every row is accounted for: path, line, what to do."""
    rows = write_jsonl(tmp_path / "rows.jsonl", [MIXED[0], chat("x", "Hello", "Hi"), {"question": "?"}])
    given = predicted(tmp_path / "given.jsonl", {"g1": "#### 2"})
    with pytest.raises(InputError, match=r"rows.jsonl:2: no metric for the row: .*--metric.*--rejects"):
        evaluate_file(rows, predictions=given)
    done = evaluate_file(rows, predictions=given, rejects=tmp_path / "bad.jsonl")
    assert done.ledger.to_json()["failed"] == {"no metric for the row": 2}
    bad = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["line"] for row in bad] == [2, 3]


def test_an_output_never_replaces_an_input(mixed, tmp_path):
    """Neither rows nor predictions are written over."""
    given = predicted(tmp_path / "given.jsonl", GIVEN)
    for path in (mixed, given):
        with pytest.raises(UsageError, match="would replace an input"):
            evaluate_file(mixed, predictions=given, output=path)


def test_an_output_that_cannot_be_written_is_known_before_the_work(mixed, tmp_path, monkeypatch):
    """No model works for hours before a mistyped folder is found."""
    monkeypatch.setattr("dataprep.evaluate.evaluator._of_predictions", lambda *_: pytest.fail("worked"))
    given = predicted(tmp_path / "given.jsonl", GIVEN)
    with pytest.raises(FileError, match="cannot be written"):
        evaluate_file(mixed, predictions=given, output=tmp_path / "none" / "out.jsonl")


def test_an_output_may_be_a_table(tmp_path):
    """Any suffix will do that holds several scores a row; one that does not is refused at once."""
    rows = write_jsonl(tmp_path / "rows.jsonl", MIXED[:4])
    given = predicted(tmp_path / "given.jsonl", GIVEN)
    for suffix in ("parquet", "json", "jsonl.gz"):
        out = tmp_path / f"out.{suffix}"
        evaluate_file(rows, predictions=given, output=out)
        assert [row["prediction"] for _, row in read_rows(str(out))] == list(GIVEN.values())[:4]
    with pytest.raises(UsageError, match="no CSV holds; write"):
        evaluate_file(rows, predictions=given, output=tmp_path / "out.csv")


def test_the_table_and_the_ledger(run, tmp_path):
    """Figures with intervals go to standard output, the ledger to standard error."""
    write_jsonl(tmp_path / "rows.jsonl", MIXED[:4])
    predicted(tmp_path / "given.jsonl", GIVEN | {"x": "y"})
    done = run("evaluate", "rows.jsonl", "--predictions", "given.jsonl", "-o", "out.jsonl")
    assert done.code == 0
    table = done.out.decode().splitlines()
    lines = [" ".join(line.split()) for line in table]
    assert lines[0] == "source metric rows figure value 95 % interval chance majority"
    assert lines[1] == "gsm8k gsm8k 2 exact match (strict) 50.00 % 9.45 – 90.55"
    # Where the rows offer choices, the accuracy has chance and majority beside it.
    accuracy = "commonsense_qa choice 1 accuracy 0.00 % 0.00 – 79.35 50.00 % 100.00 % not above the majority"
    assert accuracy in lines
    assert lines[-3:] == ["source (a) (b) none", "commonsense_qa gold 0 1", "answered 1 0 0"]
    assert done.err == (
        "evaluate: 4 in = 4 out → out.jsonl\nwarning: 2 predictions have an id that no row has\n"
    )
    rows = run("evaluate", "rows.jsonl", "--predictions", "given.jsonl", "-o", "-")
    assert [json.loads(line)["id"] for line in rows.out.splitlines()] == ["g1", "g2", "c1", "s1"]
    assert "exact match (strict)" in rows.err


def test_a_model_that_answers_one_letter_is_said_to(run, tmp_path):
    """Table, JSON and warnings show that nearly all replies are one letter."""
    golds = ["(a) grass", "(b) sky"] * 100
    write_jsonl(
        tmp_path / "rows.jsonl", [chat(f"c{n}", CHOICES, gold, "arc") for n, gold in enumerate(golds)]
    )
    given = {f"c{n}": "The answer is (a)." for n in range(198)} | {"c198": "(b)", "c199": "I do not know."}
    predicted(tmp_path / "given.jsonl", given)
    done = run("evaluate", "rows.jsonl", "--predictions", "given.jsonl")
    assert "warning: accuracy of arc: 198 of 200 replies are (a), and 100 of the gold answers\n" in done.err
    assert "accuracy of arc: 49.50% (42.65% – 56.37%) is not above 50.00%, the share of (a)" in done.err
    lines = [" ".join(line.split()) for line in done.out.decode().splitlines()]
    assert lines[-2:] == ["arc gold 100 100", "answered 198 1 1"]
    report = json.loads(run("evaluate", "rows.jsonl", "--predictions", "given.jsonl", "--json").out)
    accuracy = report["results"][0]["figures"]["accuracy"]
    assert (accuracy["chance"], accuracy["majority"], accuracy["is_above"]) == (0.5, 0.5, False)
    assert report["results"][0]["answers"]["accuracy"]["answered"] == {"a": 198, "b": 1}
    assert len(report["warnings"]) == 2
    # A model that can read the question is not warned about.
    predicted(tmp_path / "given.jsonl", {f"c{n}": gold for n, gold in enumerate(golds)})
    assert "warning" not in run("evaluate", "rows.jsonl", "--predictions", "given.jsonl").err


def test_the_json_report(run, tmp_path):
    """A script reads every figure, its interval and the ledger; the same command gives the same bytes."""
    write_jsonl(tmp_path / "rows.jsonl", MIXED[:4])
    predicted(tmp_path / "given.jsonl", {name: GIVEN[name] for name in ("g1", "c1", "s1")})
    first = run("evaluate", "rows.jsonl", "--predictions", "given.jsonl", "--json")
    again = run("evaluate", "rows.jsonl", "--predictions", "given.jsonl", "--json")
    assert (first.code, first.err, first.out) == (1, "", again.out)
    report = json.loads(first.out)
    assert (report["in"], report["out"], report["failed"]) == (4, 3, {"no prediction": 1})
    squad = next(each for each in report["results"] if each["metric"] == "squad")
    assert squad["figures"]["F1"]["low"] <= squad["figures"]["F1"]["value"] == pytest.approx(2 / 3)
    assert run("evaluate", "rows.jsonl", "--predictions", "given.jsonl", "--quiet").out == b""


@pytest.mark.medium
def test_a_summary_says_what_was_not_read_and_what_programs_could_read(run, tmp_path):
    """A figure of 0 % has its reason beside it, and the guard says what it does not keep from being read."""
    write_jsonl(tmp_path / "rows.jsonl", MIXED)
    predicted(tmp_path / "given.jsonl", GIVEN | {"c1": "who knows", "m1": "I cannot do that."})
    done = run("evaluate", "rows.jsonl", "--predictions", "given.jsonl", "--allow-code")
    assert done.code == 0
    assert "accuracy of commonsense_qa: no answer could be read from 1 of 1 replies" in done.err
    assert "pass@1 of mbpp: no answer could be read from 1 of 1 replies" in done.err
    assert re.search(r"programs ran under the guard (landlock|mounts), which lets them read \S+", done.err)
    report = json.loads(
        run("evaluate", "rows.jsonl", "--predictions", "given.jsonl", "--allow-code", "--json").out
    )
    assert (len(report["warnings"]), bool(report["programs_could_read"])) == (2, True)
    assert [each["unread"] for each in report["results"] if each["source"] == "mbpp"] == [{PASS: 1}]


@table(
    ("arguments", "says"),
    [
        (["rows.jsonl", "--predictions", "given.jsonl", "--date", "today"], "not a date"),
        (["rows.jsonl"], "expected MODEL and FILE, or FILE with --predictions"),
        (["model", "rows.jsonl", "--predictions", "given.jsonl"], "exclude each other"),
        (["a", "b", "c"], "found 3 paths"),
        (["rows.jsonl", "--predictions", "given.jsonl", "--metric", "loss"], "loss needs a MODEL"),
        (["rows.jsonl", "--predictions", "given.jsonl", "--metric", "bleu"], "bleu"),
        (["rows.jsonl", "--predictions", "given.jsonl", "--dataset", "squat"], "squat"),
        (
            ["rows.jsonl", "--predictions", "given.jsonl", "-o", "-", "--json"],
            "both write to standard output",
        ),
        (["rows.jsonl", "--predictions", "given.jsonl", "--code-memory", "x"], "not a size"),
        (["rows.jsonl", "--predictions", "given.jsonl", "--teacher", "gpt"], "no journal"),
    ],
)
def test_command_lines_that_cannot_be_served(run, tmp_path, arguments, says):
    """What is wrong with the flags is said in a line, with exit code 2."""
    write_jsonl(tmp_path / "rows.jsonl", MIXED[:2])
    predicted(tmp_path / "given.jsonl", GIVEN)
    done = run("evaluate", *arguments)
    assert (done.code, says in done.err, "Traceback" in done.err) == (2, True, False), done.err


def test_an_empty_file_and_a_missing_one(run, tmp_path):
    """Nothing to measure is an error, not a score."""
    predicted(tmp_path / "given.jsonl", GIVEN)
    (tmp_path / "rows.jsonl").touch()
    done = run("evaluate", "rows.jsonl", "--predictions", "given.jsonl")
    assert (done.code, done.err) == (1, "error: rows.jsonl: the file is empty; expected rows\n")
    done = run("evaluate", "none.jsonl", "--predictions", "given.jsonl")
    assert (done.code, done.err) == (1, "error: none.jsonl: no such file\n")


@pytest.mark.medium
@pytest.mark.skipif(sys.platform != "linux", reason="programs are confined on Linux only")
def test_the_samples_own_answers_are_right(run, workspace):
    """What `convert` and `merge` make can be measured without ids or sources, and its golds are right."""
    for dataset in ("gsm8k", "mbpp", "squad", "commonsense_qa", "aqua_rat"):
        assert run("convert", dataset, cwd=workspace).code == 0
    assert run("merge", cwd=workspace).code == 0
    path = workspace / "mergedata" / "test.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    given = [{"prediction": row["messages"][-1]["content"]} for row in rows]
    write_jsonl(workspace / "given.jsonl", given)
    done = evaluate_file(path, predictions=workspace / "given.jsonl", settings=Settings(allow_code=True))
    assert set(figures(done).values()) == {1.0}
    assert sum(each.rows for each in done.results) == len(rows)
