"""Answers joined to their Examples: what each amounts to, and the rows that come of it."""

import json
import math
import os
import sys
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.answers.final_answers import number_of
from dataprep.answers.parse import parse_rationale_files
from dataprep.answers.quality import KEEPABLE
from dataprep.answers.rationale import CUE
from dataprep.collect.answers import STATUSES, gold_letter, judge
from dataprep.collect.collector import collect_files
from dataprep.collect.rows import choice_probs
from dataprep.core import io as files
from dataprep.core.errors import (
    DataprepError,
    FileError,
    InputError,
    RowDropped,
    RowError,
    TemplateError,
    UsageError,
)
from dataprep.core.records import LETTERS, Example
from dataprep.datasets.convert import Plan, convert_files
from dataprep.teacher.journal.line import OUTCOMES
from dataprep.teacher.prompts import prompt_file
from tests import strategies as some
from tests.helpers import read_jsonl, run_here
from tests.journal_lines import journal, line
from tests.real import DATA, needs
from tests.tables import table

CHOICES = ("iron", "tin", "wool")


def example(name="x", **fields):
    """A multiple-choice Example whose answer is b."""
    given = {"choices": CHOICES, "answer": "tin", "answer_label": "b", "source": "arc"}
    return Example(f"Question {name}?", "choice", **({"id": name} | given | fields))


def reply(text, **more):
    """A journal's line with this reply."""
    return line(response=text, **more)


def written(path, rows):
    """A JSON Lines file of Examples, or of rows."""
    found = [row.to_json() if isinstance(row, Example) else row for row in rows]
    path.write_bytes(journal(*found))
    return path


@pytest.fixture
def collect(tmp_path):
    """Collect lines for Examples; the rows that were written, and the report."""

    def collected(lines, examples, **options):
        responses = tmp_path / "responses.jsonl"
        responses.write_bytes(journal(*lines))
        out = tmp_path / "out.jsonl"
        report = collect_files([responses], written(tmp_path / "examples.jsonl", examples), out, **options)
        return read_jsonl(out), report

    return collected


# What an answer amounts to


@table(
    ("text", "status", "letter"),
    [
        ("Tin melts. The answer is (b).", "ok", "b"),
        ("B", "ok", "b"),
        ("(b) tin", "ok", "b"),
        (f"{CUE} Tin melts. The answer is tin.", "ok", "b"),
        ("The answer is (a).", "answer_mismatch", "a"),
        ("C", "answer_mismatch", "c"),
        ("A plant", "no_answer", None),
        ("(a) or (b)", "no_answer", None),
        ("D", "no_answer", None),
        ("Tin melts and therefore it", "no_answer", None),
        ("The answer is (b).\n\nQuestion: What is wool?", "runaway", "b"),
        (CUE, "empty", None),
        ("The answer is (b). It melts and", "ok", "b"),
        ("tin", "ok", "b"),
        ("(c) tin", "contradiction", None),
        ("The correct answer is (b) wool.", "contradiction", None),
        ("(c) tin\n\nQuestion: What is wool?", "contradiction", None),
        ("<think>The answer is A. Wait, no.</think>\n\nB", "ok", "b"),
        ("The answer is A. Wait, no.</think>\n\nB", "ok", "b"),
        ("<think>The answer is (b).", "length", None),
        ("<think>", "length", None),
        ("The answer is (b).</think>", "empty", None),
        ("<think></think>", "empty", None),
        ("<|channel|>analysis<|message|>(b)?", "length", None),
        ("Question: Question x?\n\nTin melts. (b) is correct.", "ok", "b"),
    ],
)
def test_a_whole_reply_has_a_status_and_a_letter(text, status, letter):
    """The statuses are those of rationales, and a complete answer is never called truncated."""
    judged = judge(example(), reply(text))
    assert (judged.status, judged.letter) == (status, letter)


@table("outcome", OUTCOMES)
def test_what_the_journal_says_goes_first(outcome):
    """No letter makes an answer of a reply that was refused, cut off or never came."""
    more = {} if outcome == "empty" else {"response": "(b)"}
    judged = judge(example(), line(outcome, **more))
    assert judged.status == outcome
    assert (judged.rationale is None) == (outcome in ("failed", "refused"))
    assert judged.letter == ("b" if outcome == "ok" else None)


def test_without_a_gold_answer_no_letter_is_judged():
    """An unlabelled Example's answer can be read, though not judged."""
    judged = judge(example(answer=None, answer_label=None), reply("C"))
    assert (judged.status, judged.letter) == ("unjudged", "c")


@table(
    ("answer", "label", "letter"),
    [("tin", "b", "b"), ("tin", "B", "b"), ("tin", None, "b"), ("tin", "2", "b"), ("tin", "ab", "b"),
     ("gold", "z", None), (None, None, None), ("gold", None, None)],
)  # fmt: skip
def test_the_gold_letter(answer, label, letter):
    """The gold answer is found by its letter, or by its text where the label is none."""
    assert gold_letter(example(answer=answer, answer_label=label)) == letter


def test_more_choices_than_letters_are_an_error():
    """No letter can be read where there are too few of them."""
    with pytest.raises(RowError, match="too many choices"):
        judge(example(choices=tuple(map(str, range(27)))), reply("B"))


@table(
    ("gold", "text", "status"),
    [
        ("1,600", "So 2 * 800.\n#### 1600", "ok"),
        ("1600", "So the answer is 1,600.", "ok"),
        ("16", "The answer is 18.", "answer_mismatch"),
        ("16", "#### 18", "answer_mismatch"),
        ("18", "#### 18.\nHope this helps!", "ok"),
        ("18", "<think>#### 16</think>\n\n#### **18**", "ok"),
        ("18", "18", "ok"),
        ("16", "She has 18 eggs.", "unjudged"),
        ("16", "The answer is 3/4.", "unjudged"),
        ("sixteen", "The answer is 18.", "unjudged"),
        (None, "The answer is 18.", "unjudged"),
    ],
)
def test_a_math_reply_is_judged_by_the_number_that_it_states(gold, text, status):
    """Only a number that is stated as the answer is compared, and only with a gold number."""
    assert judge(Example("How many?", "math", answer=gold), reply(text)).status == status
    judged = judge(Example("How many?", "reading", answer=gold), reply(text))
    assert judged.status == ("ok" if text == gold else "unjudged")


def test_an_open_reply_agrees_only_in_the_words_of_a_right_answer():
    """Other words may say the same, so they are not judged."""
    asked = Example("Who?", "reading", answer="Ada Lovelace", answers=("Ada Lovelace", "Ada"))
    for text, status in (("ada  lovelace.", "ok"), ("Ada", "ok"), ("Lady Ada", "unjudged")):
        assert judge(asked, reply(text)).status == status


def test_programs_are_judged_by_what_runs_their_tests():
    """Without it, no program is judged; with it, a failing one is a mismatch."""
    asked = Example("Add.", "code", tests=("assert f() == 1",))
    said = "<think>f?</think>```python\n# 2\ndef f(): return 1\n```"
    assert judge(asked, reply(said)).status == "unjudged"
    ran = []
    for passes, status in ((True, "ok"), (False, "answer_mismatch")):
        judged = judge(
            asked,
            reply(said),
            run_tests=lambda text, tests, passes=passes: ran.append((text, tests)) or passes,
        )
        assert (judged.status, judged.reasoning) == (status, "f?")
    assert ran[0] == ("```python\n# 2\ndef f(): return 1\n```", asked.tests)
    assert judge(Example("Add.", "code"), reply(said), run_tests=lambda *_: True).status == "unjudged"


@pytest.mark.medium
@pytest.mark.skipif(sys.platform != "linux", reason="programs are confined on Linux only")
def test_the_command_runs_programs_only_when_allowed(run, tmp_path):
    """Each program runs with the tests of its Example, read as `evaluate` reads it."""
    replies = {
        "x": "Here:\n```python\ndef f(): return 1\n```",
        "y": "def f(): return 2",
        "z": "<think>def f(): return 1",
    }
    (tmp_path / "r.jsonl").write_bytes(journal(*(reply(text, id=name) for name, text in replies.items())))
    written(
        tmp_path / "e.jsonl", [Example("Add.", "code", id=name, tests=("assert f() == 1",)) for name in "xyz"]
    )
    for flags, expected in (
        ((), "unjudged: 2, length: 1"),
        (("--allow-code",), "ok: 1, answer_mismatch: 1, length: 1"),
    ):
        done = run("collect", "r.jsonl", "--examples", "e.jsonl", "-o", "out.jsonl", *flags)
        assert (done.code, done.err.splitlines()[-1]) == (0, f"  t: {expected}")


def test_thinking_is_kept_as_reasoning(collect):
    """Rationale rows hold it by teacher, also after another journal; a template can name it."""
    lines = [reply("<think>A? No.</think>\n\nB"), reply("B", id="y", reasoning="Hm.")]
    rows, _ = collect(lines, [example("x"), example("y")])
    assert [row["rationales"] for row in rows] == [{"t": "B"}, {"t": "B"}]
    assert [row["reasoning"] for row in rows] == [{"t": "A? No."}, {"t": "Hm."}]
    again, _ = collect([reply("B", teacher="u")], rows)
    assert [row["reasoning"] for row in again] == [{"t": "A? No."}, {"t": "Hm."}]
    for row in again:
        assert Example.from_json(row).reasoning is None
    chat, report = collect(lines, [example("x"), example("y")], to="chat")
    said = [{"role": "assistant", "content": "B", "reasoning_content": text} for text in ("A? No.", "Hm.")]
    assert ([row["messages"][-1] for row in chat], report.thinking) == (said, 0)
    template = {"assistant": "<think>{reasoning}</think>\n\n{rationale}"}
    chat, report = collect(lines, [example("x"), example("y")], to="chat", template=template)
    said = ["<think>A? No.</think>\n\nB", "<think>Hm.</think>\n\nB"]
    assert ([row["messages"][-1]["content"] for row in chat], report.thinking) == (said, 0)


THOUGHT = "<think>A? No.</think>\n\nB"


@table(
    ("options", "message", "left_out"),
    [
        ({}, {"content": "B", "reasoning_content": "A? No."}, 0),
        ({"reasoning": "as-reasoning"}, {"content": "B", "reasoning_content": "A? No."}, 0),
        ({"reasoning": "as-rationale"}, {"content": "A? No.\n\nB"}, 0),
        ({"reasoning": "drop"}, {"content": "B"}, 1),
        ({"split_thinking": False}, {"content": THOUGHT}, 0),
        ({"split_thinking": False, "reasoning": "drop"}, {"content": THOUGHT}, 0),
    ],
)
def test_the_thinking_of_a_chat_row_has_a_place(collect, options, message, left_out):
    """Beside the content, before it, in it as the teacher wrote it, or nowhere, which is counted."""
    chat, report = collect([reply(THOUGHT)], [example()], to="chat", **options)
    assert chat[0]["messages"][-1] == {"role": "assistant", **message}
    assert (report.thinking, dict(report.statuses["t"])) == (left_out, {"ok": 1})


@table(
    ("options", "rationale", "reasoning", "left_out"),
    [
        ({}, "B", {"t": "Hm.\n\nA? No."}, 0),
        ({"reasoning": "as-rationale"}, "Hm.\n\nA? No.\n\nB", None, 0),
        ({"reasoning": "drop"}, "B", None, 1),
        ({"split_thinking": False}, THOUGHT, {"t": "Hm."}, 0),
    ],
)
def test_the_thinking_of_a_labelled_row_has_a_place(collect, options, rationale, reasoning, left_out):
    """A server's own field and the thinking in a reply are one; the letter is read behind both."""
    rows, report = collect([reply(THOUGHT, reasoning="Hm.")], [example()], **options)
    assert rows[0]["rationales"] == {"t": rationale}
    assert rows[0].get("reasoning") == reasoning
    assert (rows[0]["status"], rows[0]["teacher_answers"]["t"]["label"]) == ({"t": "ok"}, "b")
    assert report.thinking == left_out


@table(
    "answer",
    [
        {"response": "<think>It is (b).", "finish_reason": "length"},
        {"response": "<think>It is (b).", "finish_reason": "stop"},
        {"response": None, "finish_reason": "length", "reasoning": "It is (b)."},
        {"response": "", "finish_reason": "length", "reasoning": "It is (b)."},
        {"response": "It is (b).", "finish_reason": "length", "id": "opened"},
    ],
)
@pytest.mark.parametrize("reasoning", ["as-reasoning", "as-rationale", "drop"])
def test_thinking_that_was_cut_off_is_never_a_rationale(collect, answer, reasoning):
    """Also in the replies of a teacher whose prompt writes `<think>`, which have only its end."""
    opening = [reply("Tin?</think>\n\nB", id="y")] if answer.pop("id", "") else []
    lines, asked = [reply("B") | answer, *opening], [example("x"), *(example("y") for _ in opening)]
    rows, _ = collect(lines, asked, reasoning=reasoning)
    assert (rows[0]["status"], (rows[0]["rationales"] or {}).get("t", "")) == ({"t": "length"}, "")
    assert rows[0].get("reasoning") == (None if reasoning == "drop" else {"t": "It is (b)."})
    for split in (True, False):
        _, report = collect(
            lines, asked, to="chat", keep=["length"], reasoning=reasoning, split_thinking=split
        )
        assert report.ledger.dropped["no text"] == 1


def test_the_thinking_of_several_teachers_survives_a_table(collect, tmp_path):
    """Parquet has a column for each teacher, null in the rows that lack it."""
    lines = [
        reply("<think>Hm.</think>B"),
        reply("B", id="y"),
        reply("<think>So.</think>B", id="y", teacher="u"),
    ]
    rows, _ = collect(lines, [example("x"), example("y")])
    (tmp_path / "same.jsonl").write_bytes(journal(*lines))
    for name in ("rows.parquet", "rows.jsonl"):
        with files.open_output(str(tmp_path / name)) as out:
            out.write(journal(*rows))
        collect_files([tmp_path / "same.jsonl"], tmp_path / name, tmp_path / "again.jsonl")
        assert read_jsonl(tmp_path / "again.jsonl") == rows
        chat, _ = collect(
            [reply("C", teacher="v")], list(files_rows(tmp_path / name)), to="chat", teacher="u"
        )
        assert [row["messages"][-1].get("reasoning_content") for row in chat] == ["So."]


def files_rows(path):
    """The rows of a file of any format."""
    return [row for _, row in files.read_rows(str(path))]


@table(
    ("options", "message"),
    [
        ({"reasoning": "beside"}, "must be one of as-reasoning, as-rationale, drop"),
        ({"reasoning": "drop", "to": "qa"}, "qa rows have no thinking"),
    ],
)
def test_thinking_has_a_place_in_some_rows_only(collect, options, message):
    """A flag without an effect is a mistake."""
    with pytest.raises(UsageError, match=message):
        collect([reply("B")], [example()], **options)


def test_only_answers_that_agree_can_be_kept(collect):
    """For rejection sampling, an answer that was not judged is left out."""
    asked = [Example("How many?", "math", id=name, answer="16") for name in "xyz"]
    lines = [reply("#### 16.", id="x"), reply("She has some.", id="y"), reply("#### 18", id="z")]
    rows, report = collect(lines, asked, to="qa", keep=["ok"])
    assert [row["Answer"] for row in rows] == ["#### 16."]
    assert report.ledger.dropped == {"status: unjudged": 1, "status: answer_mismatch": 1}
    assert len(collect(lines, asked, to="qa")[0]) == 2


@given(some.stripped_texts())
def test_any_text_is_carried_unchanged(text):
    """Apart from the cue and outer white space a teacher's words are kept to the letter."""
    open_question = Example("Why?", "reading")
    for shown in (text, f" \n{text}\t\n"):
        judged = judge(open_question, reply(shown))
        assert judged.reply == text
        assert judged.rationale == text or text.startswith("Let")
    judged = judge(open_question, reply(f"{CUE}\n{text}"))
    assert (judged.rationale, judged.reply) == (text, f"{CUE}\n{text}")


@given(some.texts(), st.sampled_from(OUTCOMES), some.examples())
def test_any_answer_has_a_status(text, outcome, row):
    """Whatever was asked and said, it is one of the statuses, and only a whole answer has a letter."""
    judged = judge(row, line(outcome, response=text))
    assert judged.status in STATUSES
    assert judged.letter is None or judged.status in ("ok", "unjudged", "answer_mismatch", "runaway")


# Rationale rows


def test_a_row_is_as_parse_rationales_gives_it(collect):
    """The fields, in their order, with the teacher's text, status and answer."""
    (row,), report = collect([reply(f"{CUE} Tin melts. The answer is (b).")], [example()])
    assert list(row.items()) == [
        ("id", "x"),
        ("question", "Question x?"),
        ("choices", list(CHOICES)),
        ("answer", {"label": "b", "text": "tin"}),
        ("rationales", {"t": "Tin melts. The answer is (b)."}),
        ("status", {"t": "ok"}),
        ("teacher_answers", {"t": {"label": "b", "text": "tin"}}),
        ("source", "arc"),
        ("task", "choice"),
    ]
    assert report.ledger.to_json() == {"in": 1, "out": 1, "dropped": {}, "failed": {}}
    assert report.statuses == {"t": {"ok": 1}}


def test_every_teacher_has_a_status_in_every_row(collect):
    """A teacher without a line for an Example is missing there, visibly."""
    lines = [
        reply("B", teacher="one"),
        line("failed", teacher="two"),
        line("refused", id="y", teacher="two"),
        line("length", id="y", teacher="three"),
        line("empty", teacher="three"),
    ]
    rows, report = collect(lines, [example("x"), example("y")])
    assert [row["status"] for row in rows] == [
        {"one": "ok", "two": "failed", "three": "empty"},
        {"one": "missing", "two": "refused", "three": "length"},
    ]
    assert [row["rationales"] for row in rows] == [{"one": "B", "three": ""}, {"three": "(b) be"}]
    assert [row["teacher_answers"] for row in rows] == [{"one": {"label": "b", "text": "tin"}}, None]
    assert report.statuses["one"] == {"ok": 1, "missing": 1}


def test_rows_keep_the_examples_order_and_their_other_fields(collect):
    """Context, solution and tests stay, and the journal's order does not matter."""
    asked = [example("x", context="About metals.", solution="It melts."), example("y", tests=("assert 1",))]
    rows, _ = collect([reply("B", id="y"), reply("B", id="x")], asked)
    assert [row["id"] for row in rows] == ["x", "y"]
    assert (rows[0]["context"], rows[0]["solution"], rows[1]["tests"]) == (
        "About metals.",
        "It melts.",
        ["assert 1"],
    )


def test_what_the_example_has_is_kept_and_the_same_teacher_replaced(collect):
    """Earlier teachers stay with their labels; a journal's answer, good or not, goes before the row's own."""
    row = {
        **example().to_json(),
        "rationales": {"old": "Because.", "t": "Before."},
        "status": {"old": "truncated", "t": "ok"},
        "teacher_answers": {"t": {"label": "b", "text": "tin"}},
    }
    (kept,), report = collect([reply("C")], [row])
    assert kept["rationales"] == {"old": "Because.", "t": "C"}
    assert kept["status"] == {"old": "truncated", "t": "answer_mismatch"}
    assert kept["teacher_answers"] == {"t": {"label": "c", "text": "wool"}}
    assert report.statuses == {"old": {"truncated": 1}, "t": {"answer_mismatch": 1}}
    (kept,), _ = collect([line("failed")], [row])
    assert (kept["rationales"], kept["teacher_answers"]) == ({"old": "Because."}, None)
    assert kept["status"] == {"old": "truncated", "t": "failed"}
    (first, _), _ = collect([reply("B", id="y")], [row, example("y")])
    assert (first["rationales"], first["status"]) == (row["rationales"], row["status"])


def test_collecting_in_two_steps_is_collecting_at_once(collect):
    """Journals of different teachers, or of parts of the Examples, may come one after the other."""
    asked = [example("x"), example("y"), example("z")]
    first = [reply("B", id="x"), line("failed", id="y")]
    second = [reply("A plant", id="z"), reply("C", id="y", teacher="u")]
    once, _ = collect(first + second, asked)
    step, _ = collect(first, asked)
    twice, _ = collect(second, step)
    assert twice == once


def test_labels_that_are_none_are_an_error(collect):
    """A status that is no text is found where it stands."""
    for field, value in (("status", ["ok"]), ("status", {"t": 1}), ("teacher_answers", "b")):
        with pytest.raises(InputError, match=rf"examples\.jsonl:1: field '{field}' is not an object"):
            collect([reply("B")], [{**example().to_json(), field: value}])


@pytest.mark.medium
@given(st.lists(some.examples(), min_size=1, max_size=4), st.data())
def test_every_example_is_accounted_for_and_every_row_is_an_example(tmp_path_factory, asked, data):
    """Any Examples with any answers: each has its row, which Example.from_json reads, or its reason."""
    folder = tmp_path_factory.mktemp("collect")
    for number, row in enumerate(asked):
        row.id = f"id{number}"
    outcomes = data.draw(st.lists(st.sampled_from(OUTCOMES), min_size=len(asked), max_size=len(asked)))
    texts = data.draw(st.lists(some.texts(), min_size=len(asked), max_size=len(asked)))
    lines = [
        line(outcome, id=row.id, response=text if outcome in ("ok", "length") else None)
        for row, outcome, text in zip(asked, outcomes, texts, strict=True)
    ]
    (folder / "r.jsonl").write_bytes(journal(*lines))
    source, out = written(folder / "e.jsonl", asked), folder / "out.jsonl"
    report = collect_files([folder / "r.jsonl"], source, out)
    rows = read_jsonl(out)
    assert (report.ledger.rows_in, report.ledger.rows_out, len(rows)) == (len(asked),) * 3
    for row, asked_row, text, outcome in zip(rows, asked, texts, outcomes, strict=True):
        read = Example.from_json(row)
        for name in ("id", "question", "choices", "answer", "answer_label"):
            assert getattr(read, name) == getattr(asked_row, name)
        assert row["status"]["t"] in STATUSES
        if outcome == "ok" and not text.strip().startswith("Let"):
            assert read.rationales["t"] == text.strip()
    for to in ("chat", "qa", "choice-probs"):
        report = collect_files([folder / "r.jsonl"], source, out, to=to, keep=KEEPABLE)
        assert report.ledger.rows_out == len(read_jsonl(out))
        assert report.ledger.rows_in == len(asked)


@given(st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_any_interleaving_gives_what_the_best_line_gives(tmp_path_factory, outcomes, shuffler):
    """Retries, other prompts' lines and other teachers' between them change nothing."""
    folder = tmp_path_factory.mktemp("collect")
    best = min(outcomes, key=OUTCOMES.index)
    mixed = [line(each) for each in outcomes]
    shuffler.shuffle(mixed)
    noise = [line(key="old"), line(id="y", key="old")]
    written(folder / "e.jsonl", [example("x"), example("y")])
    found = []
    for number, lines in enumerate(([line(best)], noise + mixed)):
        (folder / f"r{number}.jsonl").write_bytes(journal(*lines, line("failed", id="y", key="new")))
        collect_files([folder / f"r{number}.jsonl"], folder / "e.jsonl", folder / "out.jsonl")
        found.append(read_jsonl(folder / "out.jsonl"))
    assert found[0] == found[1]


@pytest.mark.parametrize("suffix", [".parquet", ".json", ".jsonl.gz"])
def test_rows_are_written_in_any_format_and_read_again(collect, tmp_path, suffix):
    """Where teachers are missing in some rows, or in all, a table can hold them and prompt reads it."""
    for lines in ([reply("B"), line("failed", id="y")], [line("failed"), line("refused", id="y")]):
        _, _ = collect(lines, [example("x"), example("y")])
        out = tmp_path / f"rows{suffix}"
        collect_files([tmp_path / "responses.jsonl"], tmp_path / "examples.jsonl", out)
        again = [Example.from_json(row) for _, row in files.read_rows(str(out))]
        assert [row.id for row in again] == ["x", "y"]
        assert not again[1].rationales
        prompt_file(out, tmp_path / "requests.jsonl", shots=0)
        collect_files([tmp_path / "responses.jsonl"], out, tmp_path / "again.jsonl")
        assert read_jsonl(tmp_path / "again.jsonl") == read_jsonl(tmp_path / "out.jsonl")


# Several samples, several journals


def test_the_first_sample_is_the_answer(collect):
    """The other samples are there when asked for by number."""
    lines = [reply("C", sample=1), reply("B", sample=0), reply("B", id="y")]
    asked = [example("x"), example("y")]
    assert [row["rationales"]["t"] for row in collect(lines, asked)[0]] == ["B", "B"]
    rows, _ = collect(lines, asked, sample=1)
    assert [row["status"]["t"] for row in rows] == ["answer_mismatch", "missing"]


def test_all_samples_become_training_rows(collect):
    """The ledger counts answers, and once each Example without any."""
    lines = [reply("B", sample=n) for n in (1, 0)] + [reply("C", sample=2), line("failed", id="y")]
    rows, report = collect(lines, [example(n) for n in "xyz"], to="qa", sample="all")
    assert [row["Answer"] for row in rows] == ["B", "B"]
    assert report.ledger.to_json() == {
        "in": 5,
        "out": 2,
        "dropped": {"status: answer_mismatch": 1, "status: failed": 1, "status: missing": 1},
        "failed": {},
    }
    assert report.statuses == {"t": {"ok": 2, "answer_mismatch": 1, "failed": 1, "missing": 1}}


def test_later_journals_go_on_from_earlier_ones(tmp_path):
    """Journals are read in the order given: the last key is the prompt, over all of them."""
    (tmp_path / "a.jsonl").write_bytes(journal(line("failed"), reply("B", id="y"), reply("B", teacher="u")))
    (tmp_path / "b.jsonl").write_bytes(journal(reply("B"), line("failed", id="y", key="new")))
    written(tmp_path / "e.jsonl", [example("x"), example("y")])
    collect_files([tmp_path / "a.jsonl", tmp_path / "b.jsonl"], tmp_path / "e.jsonl", tmp_path / "o.jsonl")
    assert [row["status"] for row in read_jsonl(tmp_path / "o.jsonl")] == [
        {"t": "ok", "u": "ok"},
        {"t": "failed", "u": "missing"},
    ]


def test_teachers_can_be_renamed(collect):
    """A deployment's name need not be the teacher's in the rows."""
    lines = [reply("B", teacher="deployment=1"), reply("B", teacher="u")]
    (row,), _ = collect(lines, [example()], names={"deployment=1": "gpt"})
    assert row["status"] == {"gpt": "ok", "u": "ok"}
    with pytest.raises(UsageError, match=r"no teacher is called 'v': .* are deployment=1, u"):
        collect(lines, [example()], names={"v": "w"})
    with pytest.raises(UsageError, match="two teachers would have one name"):
        collect(lines, [example()], names={"deployment=1": "u"})


# Examples


def test_raw_rows_of_a_dataset_are_joined_by_the_ids_of_their_requests(tmp_path):
    """What prompt calls a row is what collect finds it by: unlabelled rows too, and rows without an id."""
    raw = [
        {"question": "Which?", "choices": ["iron", "tin"], "answer": "tin", "status": {"no": 1}},
        {"question": "What?", "choices": ["iron", "tin"]},
    ]
    source = written(tmp_path / "raw.jsonl", raw)
    prompt_file(source, tmp_path / "requests.jsonl", dataset="obqa", forcing=False)
    ids = [request["id"] for request in read_jsonl(tmp_path / "requests.jsonl")]
    (tmp_path / "r.jsonl").write_bytes(journal(*(reply("B", id=name) for name in ids)))
    report = collect_files([tmp_path / "r.jsonl"], source, tmp_path / "out.jsonl", dataset="obqa")
    rows = read_jsonl(tmp_path / "out.jsonl")
    assert [row["id"] for row in rows] == ids
    assert [(row["answer"], row["status"]) for row in rows] == [
        ({"label": "b", "text": "tin"}, {"t": "ok"}),
        (None, {"t": "unjudged"}),
    ]
    assert (report.unmatched, rows[0]["source"]) == (0, "openbookqa")


def test_rows_that_a_converter_leaves_out_are_counted(tmp_path):
    """An unanswerable question was never asked, and stays out with its reason."""
    raw = [
        {"id": "x", "context": "Tin.", "question": "What?", "answers": {"text": ["Tin"]}},
        {"id": "y", "context": "Tin.", "question": "Why?", "answers": {"text": []}},
    ]
    (tmp_path / "r.jsonl").write_bytes(journal(reply("Tin")))
    report = collect_files(
        [tmp_path / "r.jsonl"], written(tmp_path / "raw.jsonl", raw), tmp_path / "o.jsonl", dataset="squad"
    )
    assert report.ledger.to_json() == {"in": 2, "out": 1, "dropped": {"unanswerable": 1}, "failed": {}}


def test_answers_to_no_example_are_counted(collect):
    """Part of the Examples can be collected; answers to the others are said to be left over."""
    _, report = collect([reply("B"), reply("B", id="q"), reply("B", id="q", sample=1)], [example()])
    assert report.unmatched == 2


def test_answers_to_no_example_at_all_are_an_error(collect, tmp_path):
    """The wrong file of Examples is not taken for one whose teachers are all missing."""
    with pytest.raises(InputError, match=r"none of the 1 answers .* such as 'q', the Examples' such as 'x'"):
        collect([reply("B", id="q")], [example()])
    assert not (tmp_path / "out.jsonl").exists()


def test_an_id_that_stands_twice(collect):
    """The same question twice is fine; two questions with one id cannot be told apart."""
    twice = [example(), example(source="elsewhere", rationales={"old": "Because."})]
    assert [row["status"] for row in collect([reply("B")], twice)[0]] == [{"t": "ok"}, {"t": "ok"}]
    for other in ({"question": "Other?"}, {"choices": CHOICES[:2]}, {"answer_label": "c", "answer": "wool"}):
        second = Example(**{name: getattr(example(), name) for name in Example.__slots__} | other)
        with pytest.raises(
            InputError, match=r"examples\.jsonl:2: duplicate id 'x': row 1 of the file has it too"
        ):
            collect([reply("B")], [example(), second])


@table(
    ("text", "says"),
    [
        (b"", r"e\.jsonl: the file is empty; expected rows"),
        (b'{"id": "x"}\n', r"e\.jsonl:1: missing field 'question'"),
        (b'{"id": "x"\n', r"e\.jsonl:1: not JSON"),
    ],
)
def test_bad_examples_are_errors_with_their_place(tmp_path, text, says):
    """What is no Example ends the command before anything is written."""
    (tmp_path / "e.jsonl").write_bytes(text)
    (tmp_path / "r.jsonl").write_bytes(journal(reply("B")))
    with pytest.raises(InputError, match=says):
        collect_files([tmp_path / "r.jsonl"], tmp_path / "e.jsonl", tmp_path / "o.jsonl")
    assert not (tmp_path / "o.jsonl").exists()


# Journals that are not well


def test_a_torn_last_line_is_passed_over_and_reported(tmp_path):
    """A crash in the middle of a line costs that line only."""
    (tmp_path / "r.jsonl").write_bytes(journal(reply("B"), reply("B", id="y"))[:-20])
    written(tmp_path / "e.jsonl", [example("x"), example("y")])
    report = collect_files([tmp_path / "r.jsonl"], tmp_path / "e.jsonl", tmp_path / "o.jsonl")
    assert report.torn == [f"{tmp_path / 'r.jsonl'}:2"]
    assert [row["status"]["t"] for row in read_jsonl(tmp_path / "o.jsonl")] == ["ok", "missing"]
    (tmp_path / "r.jsonl").write_bytes(journal(reply("B"))[:-20])
    with pytest.raises(InputError, match=r"r\.jsonl:1: the only line broke off"):
        collect_files([tmp_path / "r.jsonl"], tmp_path / "e.jsonl", tmp_path / "o.jsonl")


@table(
    ("bad", "says"),
    [
        ({"id": "x"}, r"r\.jsonl:2: not a response: expected a text in 'key'"),
        (line(sample="first"), r"r\.jsonl:2: not a response: expected a number from 0 on in 'sample'"),
        (line(response=7), r"r\.jsonl:2: not a response: expected str or null in 'response'"),
    ],
)
def test_a_line_that_is_no_response_is_an_error_with_its_place(collect, bad, says):
    """A file that is something else is not taken for a journal."""
    with pytest.raises(InputError, match=says.replace("r\\.", "responses\\.", 1)):
        collect([reply("B"), bad], [example()])


def test_a_journal_is_never_replaced(tmp_path):
    """Paid answers are not overwritten by what is made of them, by whatever name the file goes."""
    text = journal(reply("B"))
    (tmp_path / "r.jsonl").write_bytes(text)
    written(tmp_path / "e.jsonl", [example()])
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "r.jsonl")
    os.link(tmp_path / "r.jsonl", tmp_path / "hard.jsonl")
    (tmp_path / "sub").mkdir()
    for name in ("r.jsonl", "link.jsonl", "hard.jsonl", "sub/../r.jsonl"):
        with pytest.raises(UsageError, match="would replace a journal"):
            collect_files([tmp_path / "r.jsonl"], tmp_path / "e.jsonl", tmp_path / name)
    assert (tmp_path / "r.jsonl").read_bytes() == text
    collect_files([tmp_path / "r.jsonl"], tmp_path / "e.jsonl", tmp_path / "e.jsonl")
    assert read_jsonl(tmp_path / "e.jsonl")[0]["status"] == {"t": "ok"}


# Training rows


def test_chat_rows_have_converts_wording_and_the_teachers_words(collect, tmp_path):
    """System and user are what convert gives for the Example; the assistant says the rationale."""
    (row,), report = collect([reply(f"{CUE} Tin melts. The answer is (b).")], [example()], to="chat")
    assert list(row) == ["messages", "id", "source"]
    assert (row["id"], row["source"]) == ("x", "arc")
    raw = {"id": "x", "question": "Question x?", "choices": list(CHOICES), "answer": "tin"}
    convert_files(Plan("arc"), written(tmp_path / "raw.jsonl", [raw]), tmp_path / "chat.jsonl")
    assert row["messages"][:2] == read_jsonl(tmp_path / "chat.jsonl")[0]["messages"][:2]
    assert row["messages"][2] == {"role": "assistant", "content": "Tin melts. The answer is (b)."}
    assert report.ledger.rows_out == 1


@pytest.mark.parametrize(
    ("row", "user"),
    [
        (Example("How many?", "math", "x", "gsm8k", answer="2"), "How many?"),
        (Example("What?", "reading", "x", "squad", context="Tin."), "Passage:\nTin.\n\nQuestion: What?"),
        (Example("What?", "choice", "x", "a.json:1", choices=("tin", "iron")), "What?\n\n(a) tin\n(b) iron"),
        (Example("What?", "", "x", context="Tin."), "Tin.\n\nWhat?"),
    ],
)  # fmt: skip
def test_the_user_message_is_that_of_the_examples_own_set(collect, row, user):
    """Each set has its wording; an Example of none has the one of all multiple-choice sets."""
    (made,), _ = collect([reply("B")], [row], to="chat")
    assert made["messages"][1]["content"].endswith(user)


def test_a_template_can_append_the_gold_answer(collect):
    """{rationale} is a field as the others are."""
    template = {"system": "", "user": "{question}", "assistant": "{rationale}\n\n{answer}"}
    (row,), _ = collect(
        [reply("Tin melts. B")], [example()], to="chat", template=template, keep=["no_answer"]
    )
    assert [each["content"] for each in row["messages"]] == ["Question x?", "Tin melts. B\n\n(b) tin"]
    with pytest.raises(TemplateError, match="unknown field"):
        collect([reply("B")], [example()], to="chat", template={"user": "{qestion}"})
    with pytest.raises(InputError, match=r"examples\.jsonl:1: empty user message"):
        collect([reply("B")], [example()], to="chat", template={"user": "{context}"})


def test_qa_rows_have_the_plain_question_and_the_reply_as_it_is(collect):
    """Two fields: the question with lettered choices, and what the teacher said, cue and all."""
    (row,), _ = collect([reply(f" {CUE} The answer is (b).\n")], [example(context="Metals.")], to="qa")
    assert row == {
        "Question": "Metals.\n\nQuestion x?\n\n(a) iron\n(b) tin\n(c) wool",
        "Answer": f"{CUE} The answer is (b).",
    }


@table("to", ["chat", "qa", "choice-probs"])
def test_only_kept_statuses_become_training_rows(collect, to):
    """What stays out is in the ledger with its status."""
    probs = {"logprobs": [{"token": "B", "logprob": -0.1, "top": {}}]}
    lines = [
        reply("B", id="0", **probs), reply("C", id="1"), line("failed", id="2"), line("length", id="3"),
        line("empty", id="4"), line("refused", id="5"), reply("A plant", id="6"),
    ]  # fmt: skip
    asked = [example(str(number)) for number in range(8)]
    rows, report = collect(lines, asked, to=to)
    assert len(rows) == 1
    assert report.ledger.to_json() == {
        "in": 8,
        "out": 1,
        "dropped": {
            f"status: {status}": 1
            for status in ("answer_mismatch", "failed", "length", "empty", "refused", "no_answer", "missing")
        },
        "failed": {},
    }
    if to != "choice-probs":
        assert len(collect(lines, asked, to=to, keep=["ok", "length", "answer_mismatch"])[0]) == 3


def test_a_kept_answer_without_a_text_is_no_row(collect):
    """A reply whose words were all spent on thinking has nothing to train on."""
    _, report = collect([line("length", response=None)], [example()], to="qa", keep=["length"])
    assert report.ledger.dropped == {"no text": 1}


def test_one_of_several_teachers_is_chosen(collect):
    """Which one cannot be guessed; the only one need not be named."""
    lines = [reply("B"), reply("(b)", teacher="u")]
    with pytest.raises(UsageError, match="choose one with --teacher: t, u"):
        collect(lines, [example()], to="qa")
    assert collect(lines, [example()], to="qa", teacher="u")[0][0]["Answer"] == "(b)"
    with pytest.raises(UsageError, match="'v': the journals' teachers are t, u"):
        collect(lines, [example()], to="qa", teacher="v")
    with pytest.raises(UsageError, match="of the teacher ''"):
        collect(lines, [example()], to="qa", teacher="")


def test_an_earlier_teachers_rationale_can_be_trained_on(collect):
    """The Examples' own teachers can be chosen too, with their statuses."""
    rows = [
        {**example("x").to_json(), "rationales": {"old": "Because."}},
        {**example("y").to_json(), "rationales": {"old": "Cut"}, "status": {"old": "truncated"}},
    ]
    made, report = collect([reply("B")], rows, to="chat", teacher="old")
    assert [row["messages"][2]["content"] for row in made] == ["Because."]
    assert report.ledger.dropped == {"status: truncated": 1}
    _, report = collect([reply("B")], rows, to="choice-probs", teacher="old")
    assert report.ledger.dropped == {"no log-probabilities": 1, "status: truncated": 1}


@table(
    ("options", "says"),
    [
        ({"to": "poem"}, "cannot collect to 'poem': expected rationale, chat, qa, choice-probs"),
        ({"to": "qa", "keep": ["good"]}, "--keep good: .* ok, unjudged, answer_mismatch, contradiction"),
        ({"to": "qa", "keep": ["failed"]}, "--keep failed"),
        ({"to": "qa", "keep": [""]}, "--keep : "),
        ({"keep": ["ok"]}, "--keep is for training rows"),
        ({"teacher": "t"}, "--teacher is for training rows"),
        ({"to": "qa", "template": {"user": "x"}}, "--template is for --to chat"),
        ({"sample": "all"}, "--sample all is for --to chat, qa and preference"),
        ({"to": "choice-probs", "sample": "all"}, "--sample all is for --to chat, qa and preference"),
        ({"sample": -1}, "--sample -1"),
        ({"sample": "some"}, "--sample some: expected a number from 0 on, or all"),
        ({"keep": "okk"}, "--keep okk: an answer with a text is one of"),
        ({"dataset": "gms8k"}, "did you mean gsm8k"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_served(tmp_path, options, says):
    """They are found before any file is read."""
    with pytest.raises(UsageError, match=says):
        collect_files([tmp_path / "none.jsonl"], tmp_path / "none.jsonl", tmp_path / "o.jsonl", **options)


def test_files_that_cannot_be_served(tmp_path):
    """A journal is JSON Lines, there is at least one, and standard input is read once."""
    with pytest.raises(UsageError, match="at least one journal"):
        collect_files([], "e.jsonl", "o.jsonl")
    with pytest.raises(UsageError, match="read only once"):
        collect_files(["-"], "-", "o.jsonl")
    with pytest.raises(UsageError, match="a journal of responses is JSON Lines"):
        collect_files([tmp_path / "r.csv"], "e.jsonl", "o.jsonl")
    with pytest.raises(UsageError, match="unknown suffix"):
        collect_files([tmp_path / "r.jsonl"], "e.jsonl", "o.txt")
    with pytest.raises(FileError, match="no such file"):
        collect_files([tmp_path / "r.jsonl"], "e.jsonl", "o.jsonl")


# Soft labels


def entry(token, logprob=-0.5, **top):
    """One generated token; ``top`` are further candidates."""
    return {"token": token, "logprob": logprob, "top": {token: logprob, **top}}


def test_the_row_of_soft_labels(collect):
    """Question, gold letter, a probability for each choice, what fell outside, and whose it is."""
    lines = [reply("B", logprobs=[{"token": "B", "logprob": math.log(0.6), "top": {"a": math.log(0.2)}}])]
    (row,), _ = collect(lines, [example()], to="choice-probs")
    assert list(row) == ["id", "text", "label", "probs", "outside", "teacher"]
    assert (row["id"], row["label"], row["teacher"]) == ("x", "b", "t")
    assert row["text"] == "Question x?\n\n(a) iron\n(b) tin\n(c) wool"
    assert row["probs"] == pytest.approx({"a": 0.25, "b": 0.75, "c": 0})
    assert row["outside"] == pytest.approx(0.2)
    (row,), _ = collect(lines, [example(answer=None, answer_label=None)], to="choice-probs")
    assert row["label"] is None


@table(
    ("text", "place", "tokens"),
    [
        ("B", 0, ["B"]),
        (" B", 0, [" B"]),
        ("(b)", 0, ["(b", ")"]),
        ("(b)", 1, ["(", "b", ")"]),
        ("b)", 0, ["b)"]),
        ("**B.** tin", 1, ["**", "B", ".**", " tin"]),
        ("The answer is (b).", 4, ["The", " answer", " is", " (", "b", ")."]),
        ("A metal. The answer is B.", 6, ["A", " metal", ".", " The", " answer", " is", " B", "."]),
        ("Option A? No.\nAnswer: b", 5, ["Option", " A", "? No.\n", "Answer", ":", " b"]),
        ("B", 0, ["ĠB"]),
        ("B", 5, ["<think>", "A", " or B", "</think>", "\n\n", "B", "<|eot|>"]),
        (f"{CUE} (b)", 2, [CUE, " (", "b", ")"]),
        ("B) tin é", 0, ["B", ")", " tin ", "\ufffd", "\ufffd"]),
        ("B", 1, ["", "B", ""]),
    ],
)
def test_the_letter_is_found_among_the_tokens(text, place, tokens):
    """The token is the one that decides: not an article, not a letter of the reasoning before it."""
    entries = [entry(token, -9.0, A=-0.1, C=-3.0) for token in tokens]
    entries[place] = entry(tokens[place], math.log(0.5), A=math.log(0.25))
    probs, outside = choice_probs(reply(text, logprobs=entries), CHOICES)
    assert probs == pytest.approx({"a": 1 / 3, "b": 2 / 3, "c": 0})
    assert outside == pytest.approx(0.25)


def test_all_spellings_of_a_letter_are_added_up():
    """``A``, `` a``, ``(a`` and ``a)`` name one choice; other words and letters fall outside."""
    spellings = {" b": 0.1, "(B": 0.1, "b)": 0.05, "A": 0.1, " a": 0.05, "(a": 0.05, "A.": 0.05, "c": 0.1,
                 "D": 0.1, "The": 0.05, "ab": 0.02, "(": 0.01, "É": 0.01}  # fmt: skip
    top = {token: math.log(share) for token, share in spellings.items()}
    line_ = reply("B", logprobs=[{"token": "B", "logprob": math.log(0.2), "top": top}])
    probs, outside = choice_probs(line_, CHOICES)
    assert probs == pytest.approx({"a": 0.25 / 0.8, "b": 0.45 / 0.8, "c": 0.1 / 0.8})
    assert outside == pytest.approx(0.2)


@table(
    ("text", "logprobs", "reason"),
    [
        ("B", None, "no log-probabilities"),
        ("B", [], "no log-probabilities"),
        ("A plant", [entry("A"), entry(" plant")], "no letter among the tokens"),
        ("The answer is tin.", [entry("The answer is tin.")], "no letter among the tokens"),
        ("B", [entry("something else")], "no letter among the tokens"),
        ("B", [{"token": "B", "logprob": None, "top": {"A": -9999.0}}], "no probability on a letter"),
    ],
)
def test_without_a_letters_probability_there_is_no_row(text, logprobs, reason):
    """No soft label is made up."""
    with pytest.raises(RowDropped) as caught:
        choice_probs(reply(text, logprobs=logprobs), CHOICES)
    assert caught.value.reason == reason


@table(
    "logprobs",
    [
        "B", {"token": "B"}, ["B"], [{"token": 7}], [{"token": "B", "logprob": "x"}],
        [{"token": "B", "logprob": 3}],
        [{"token": "B", "logprob": True}], [{"token": "B", "logprob": -1, "top": ["A"]}],
    ],
)  # fmt: skip
def test_malformed_probabilities_are_an_error_with_the_journals_line(collect, logprobs):
    """The line is named, not the Example's row."""
    with pytest.raises(InputError, match=r"responses\.jsonl:2: malformed log-probabilities"):
        collect(
            [reply("B", id="y"), reply("B", logprobs=logprobs)], [example(), example("y")], to="choice-probs"
        )


_letters = st.sampled_from([f"{before}{letter}{after}" for before, letter, after in
                            product(("", " ", "("), "abcABCDx", ("", ")", "."))])  # fmt: skip


@given(
    st.dictionaries(_letters | st.text(max_size=3), st.floats(-800, 0.001) | st.none(), max_size=20),
    st.floats(-800, 0),
    st.integers(2, 26),
)
def test_probabilities_sum_to_one(top, own, count):
    """Whatever the server gave, the soft label is a distribution and the rest is no negative share."""
    found = some.result_or_error(
        choice_probs, reply("B", logprobs=[{"token": "B", "logprob": own, "top": top}]), LETTERS[:count]
    )
    if isinstance(found, DataprepError):
        assert isinstance(found, RowDropped)
        return
    probs, outside = found
    assert list(probs) == list(LETTERS[:count])
    assert all(share >= 0 for share in probs.values())
    assert math.fsum(probs.values()) == pytest.approx(1, abs=1e-9)
    assert 0 <= outside <= 1


# The command


def test_the_command_says_what_it_did(run, tmp_path):
    """Counts by teacher and status, answers left over, and a warning with the torn line's place."""
    (tmp_path / "r.jsonl").write_bytes(
        journal(reply("B"), line("failed", id="y"), reply("B", id="q"), reply("B", id="z"))[:-9]
    )
    written(tmp_path / "e.jsonl", [example(name) for name in "xyz"])
    done = run("collect", "r.jsonl", "--examples", "e.jsonl")
    assert done.code == 0
    assert [json.loads(row)["status"]["t"] for row in done.out.splitlines()] == ["ok", "failed", "missing"]
    assert done.err.splitlines() == [
        "warning: r.jsonl:4: the last line is incomplete and was skipped",
        "collect: 3 in = 3 out → standard output",
        "  t: ok: 1, failed: 1, missing: 1",
        "  answers to no example: 1",
        "  torn lines: 1",
    ]
    done = run("collect", "r.jsonl", "--examples", "e.jsonl", "--to", "qa", "--json", "-o", "out.csv")
    assert (done.code, done.out) == (0, b"")
    assert json.loads(done.err) == {
        "command": "collect",
        "in": 3,
        "out": 1,
        "dropped": {"status: failed": 1, "status: missing": 1},
        "failed": {},
        "status": {"t": {"ok": 1, "failed": 1, "missing": 1}},
        "answers_to_no_example": 1,
        "torn_lines": 1,
        "thinking_left_out": 0,
    }
    assert (tmp_path / "out.csv").read_text("utf-8").startswith("Question,Answer\n")


def test_the_command_reads_pipes_and_flags(run, tmp_path):
    """A journal on standard input, a template's file, several statuses and a teacher's new name."""
    written(tmp_path / "e.jsonl", [example("x"), example("y")])
    (tmp_path / "t.toml").write_text(
        'system = ""\nassistant = "{rationale} / {answer_label}"', encoding="utf-8"
    )
    lines = journal(reply("C", teacher="gpt=4"), reply("B", id="y", teacher="gpt=4"), reply("B", teacher="u"))
    done = run(
        "collect", "-", "--examples", "e.jsonl", "--to", "chat", "--keep", "ok,answer_mismatch",
        "--teacher", "gpt", "--teacher-name", "gpt=4=gpt", "--template", "t.toml", "--quiet", input=lines,
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    said = [json.loads(row)["messages"][-1]["content"] for row in done.out.splitlines()]
    assert said == ["C / b", "B / b"]


@table(
    ("arguments", "says"),
    [
        (["r.jsonl"], "--examples"),
        (["--examples", "e.jsonl"], "RESPONSES"),
        (["r.jsonl", "--examples", "e.jsonl", "--to", "poem"], "poem"),
        (["r.jsonl", "--examples", "e.jsonl", "--to", "qa", "--keep", "good"], "--keep good"),
        (["r.jsonl", "--examples", "e.jsonl", "--sample", "x"], "--sample x"),
        (["r.jsonl", "--examples", "e.jsonl", "--teacher-name", "t"], "expected OLD=NEW"),
        (["r.jsonl", "--examples", "e.jsonl", "--teacher-name", "t=u", "--teacher-name", "t=v"], "twice"),
        (["r.jsonl", "--examples", "e.jsonl", "-o", "r.jsonl"], "would replace a journal"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_exits_with_2(run, tmp_path, arguments, says):
    """What cannot be served is said without a traceback, and the journal is untouched."""
    (tmp_path / "r.jsonl").write_bytes(journal(reply("B")))
    written(tmp_path / "e.jsonl", [example()])
    done = run("collect", *arguments)
    assert (done.code, done.out) == (2, b"")
    assert says in done.err
    assert "Traceback" not in done.err
    assert (tmp_path / "r.jsonl").read_bytes() == journal(reply("B"))


# The published sets


@needs("commonsense_qa")
def test_commonsense_qa_from_requests_to_training_rows(tmp_path):
    """Every request of the published set is collected under its id, right answers and wrong ones apart."""
    source = DATA / "commonsense_qa/dev_rand_split.jsonl"
    prompt_file(source, tmp_path / "requests.jsonl", dataset="commonsense_qa", forcing=False)
    requests = read_jsonl(tmp_path / "requests.jsonl")
    lines, right = [], 0
    for number, request in enumerate(requests):
        letter = LETTERS[number % 5]
        right += letter == request["answer"]["label"]
        lines.append(reply(f"({letter.upper()})", id=request["id"], key=f"k{number}"))
    (tmp_path / "r.jsonl").write_bytes(journal(*lines))
    options = {"dataset": "commonsense_qa", "to": "qa"}
    report = collect_files([tmp_path / "r.jsonl"], source, tmp_path / "train_data.jsonl", **options)
    assert report.ledger.to_json() == {
        "in": 1221,
        "out": right,
        "dropped": {"status: answer_mismatch": 1221 - right},
        "failed": {},
    }
    assert report.unmatched == 0
    rows = read_jsonl(tmp_path / "train_data.jsonl")
    asked = {request["messages"][1]["content"] for request in requests}
    assert len(rows) == right
    assert all(set(row) == {"Question", "Answer"} and row["Question"] in asked for row in rows)


@needs("gsm8k")
def test_published_solutions_are_right_answers(tmp_path):
    """Each GSM8K solution, given as a reply, is ok; the same with another final number never is."""
    source = DATA / "gsm8k/test.jsonl"
    convert_files(Plan("gsm8k", to="example"), source, tmp_path / "e.jsonl")
    replies = [row["answer"] for row in read_jsonl(source)]
    asked = read_jsonl(tmp_path / "e.jsonl")
    for wrong in (0, 1):
        numbers = [number_of(row["answer"]) + wrong for row in asked]
        lines = [
            reply(f"{text.rpartition('####')[0]}#### {number:,}", id=row["id"])
            for text, number, row in zip(replies, numbers, asked, strict=True)
        ]
        (tmp_path / "r.jsonl").write_bytes(journal(*lines))
        report = collect_files([tmp_path / "r.jsonl"], tmp_path / "e.jsonl", tmp_path / "o.jsonl")
        assert report.statuses == {"t": {"answer_mismatch" if wrong else "ok": 1319}}


@needs("tinyllm")
def test_published_rationales_are_judged_alike_as_answers(tmp_path):
    """A published rationale given as a reply has the status that it has in its file, but never truncated."""
    folder = DATA / "tinyllm/arc"
    parse_rationale_files(
        [folder / "llm/test_CoT_0.json"], tmp_path / "rows.jsonl", gold=folder / "arc_test.json"
    )
    rows = read_jsonl(tmp_path / "rows.jsonl")
    lines = [reply(row["rationales"]["llama-2"], id=row["id"], teacher="again") for row in rows]
    (tmp_path / "r.jsonl").write_bytes(journal(*lines))
    collect_files([tmp_path / "r.jsonl"], tmp_path / "rows.jsonl", tmp_path / "out.jsonl")
    seen = set()
    for row in read_jsonl(tmp_path / "out.jsonl"):
        published_status, status = row["status"]["llama-2"], row["status"]["again"]
        assert row["rationales"]["llama-2"] == row["rationales"]["again"]
        assert status != "truncated"
        seen.add(status)
        if row["rationales"]["llama-2"] == "nan":  # a missing rationale when published; a reply is a reply
            assert (published_status, status) == ("empty", "no_answer")
            continue
        # Replies are read in more forms than rationales are.
        assert status in (published_status, "answer_mismatch") or published_status in (
            "truncated",
            "no_answer",
        )
    assert seen >= {"ok", "answer_mismatch", "no_answer", "runaway"}


def test_a_name_under_which_nothing_was_answered_is_no_teacher(collect, tmp_path):
    """The only teacher that answered is taken, and the mistyped name is shown."""
    typo = line("failed", teacher="typo")
    for lines in ([typo, reply("(b)")], [reply("(b)"), typo, line("failed", id="y", teacher="typo")]):
        for to in ("chat", "qa"):
            rows, report = collect(lines, [example()], to=to)
            assert (len(rows), report.silent) == (1, ["typo"])
        (row,), report = collect(lines, [example()])
        assert row["status"] == {"t": "ok"}
    for outcome in ("refused", "empty", "length", "unknown"):
        with pytest.raises(UsageError, match="several teachers answered"):
            collect([line(outcome, teacher="u"), reply("(b)")], [example()], to="qa")
    (row,), report = collect([typo], [example()])
    assert (row["status"], report.silent) == ({"typo": "failed"}, [])
    with pytest.raises(UsageError, match="no answer is of the teacher 'typo'"):
        collect([typo, reply("(b)")], [example()], to="qa", teacher="typo")
    words = ("collect", "responses.jsonl", "--examples", "examples.jsonl", "--to", "qa", "-o", "out.jsonl")
    done = run_here(words, cwd=tmp_path)
    assert done.code == 0
    assert "typo is left out: no request under this name was answered" in done.err
