"""Examples in place of source rows: in `convert`, and in every other command that takes a dataset's rows."""

import json

import pytest

import dataprep
from dataprep.core import io as files
from dataprep.core.errors import InputError, UsageError
from dataprep.core.records import Example, is_example
from dataprep.datasets import registry as converters
from dataprep.datasets.convert import Plan, convert_files
from tests import golden
from tests.helpers import read_jsonl, write_jsonl

GSM8K = {"question": "2 + 3?", "answer": "2+3=<<2+3=5>>5\n#### 5"}
ARC = {"id": "x", "question": "Which?", "choices": ["wool", "tin"], "answer": "tin"}
MBPP = {"text": "Add.", "code": "    x = 1\n", "task_id": 600, "test_list": ["assert x == 1"]}
SQUAD = {"id": "s", "context": "It melts at 232 °C.", "question": "When?",
         "answers": {"text": ["232 °C", "at 232 °C"], "answer_start": [12, 9]}}  # fmt: skip
# As parse-rationales and collect write them.
LABELLED = {
    "id": "x", "question": "Which?", "choices": ["wool", "tin"], "answer": {"label": "b", "text": "tin"},
    "rationales": {"flan-t5": "Tin melts.", "llama-2": "Wool melts."},
    "status": {"flan-t5": "ok", "llama-2": "answer_mismatch", "phi-4": "failed"},
    "teacher_answers": {"flan-t5": {"label": "b", "text": "tin"}, "llama-2": {"label": "a", "text": "wool"}},
    "source": "arc", "file": "train_CoT_0.json", "index": 0,
}  # fmt: skip


def examples_of(name, *rows, **options):
    """The Example rows of source rows."""
    return list(dataprep.convert(name, rows, to="example", options=options))


def contents(rows):
    """The assistant's last words in chat rows."""
    return [row["messages"][-1]["content"] for row in rows]


@pytest.mark.parametrize("name", converters.names())
def test_examples_of_the_golden_rows_become_the_same_chat_rows(tmp_path, name):
    """Rows written by --to example give the chat rows of the source rows, and themselves."""
    path, folder = tmp_path / "examples.jsonl", golden.FOLDER / name
    path.write_bytes((folder / "expected_example.jsonl").read_bytes())
    assert all(map(is_example, read_jsonl(path)))
    for flag in (False, True):
        for to, expected in (("chat", "expected.jsonl"), ("example", "expected_example.jsonl")):
            plan = Plan(name, to=to, with_id=True, from_examples=flag)
            convert_files(plan, path, tmp_path / "out.jsonl")
            assert (tmp_path / "out.jsonl").read_bytes() == (folder / expected).read_bytes()


@pytest.mark.parametrize("suffix", [".json", ".jsonl.gz", ".parquet"])
def test_examples_come_back_out_of_every_format(tmp_path, suffix):
    """Solutions, tests, contexts and several answers survive a file of another format."""
    for name, row in (("gsm8k", GSM8K), ("arc", ARC), ("mbpp", MBPP), ("squad", SQUAD)):
        rows = examples_of(name, row)
        files.write_rows(rows, str(tmp_path / f"{name}{suffix}"))
        assert list(dataprep.convert(name, tmp_path / f"{name}{suffix}", to="example")) == rows
        again = list(dataprep.convert(name, tmp_path / f"{name}{suffix}"))
        assert again == list(dataprep.convert(name, [row]))


def test_source_rows_and_examples_can_stand_in_one_file():
    """Each row is read as what it is."""
    rows = [GSM8K, *examples_of("gsm8k", GSM8K)]
    assert contents(dataprep.convert("gsm8k", rows)) == ["2+3=<<2+3=5>>5\n\n#### 5"] * 2


def test_everything_that_stands_beside_an_example_stays():
    """Labels, and the fields of other tools, are in the row again."""
    (row,) = dataprep.convert("arc", [LABELLED | {"note": [1]}], to="example")
    assert row == LABELLED | {"note": [1], "task": "choice"}
    assert contents(dataprep.convert("arc", [LABELLED])) == ["(b) tin"]


def test_options_hold_for_examples():
    """Annotations, hidden answers, questions without an answer and splits are treated as in source rows."""
    examples = examples_of("gsm8k", GSM8K)
    assert contents(dataprep.convert("gsm8k", examples, options={"strip_calculator": True})) == [
        "2+3=5\n\n#### 5"
    ]
    hidden = examples_of("arc", ARC | {"answer": None}, unlabelled="keep")
    assert list(dataprep.convert("arc", hidden)) == []
    assert examples_of("arc", *hidden, unlabelled="keep") == hidden
    (open_one,) = examples_of("squad", SQUAD | {"answers": []}, unanswerable="keep")
    del open_one["answer"]
    assert list(dataprep.convert("squad", [open_one])) == []
    assert (
        "does not answer"
        in contents(dataprep.convert("squad", [open_one], options={"unanswerable": "keep"}))[0]
    )
    tasks = examples_of("mbpp", MBPP, MBPP | {"task_id": 7})
    assert [row["id"] for row in dataprep.convert("mbpp", tasks, split="test", with_id=True)] == ["mbpp-7"]


def test_a_source_row_with_an_example_s_field_stays_a_source_row():
    """Other tools add a task, number answers or write choices as objects: such rows are read as published."""
    (row,) = examples_of("gsm8k", GSM8K | {"task": "math", "source": "gsm8k"})
    assert (row["solution"], row["answer"]) == ("2+3=<<2+3=5>>5", "5")
    choices = [{"label": "A", "text": "wool"}, {"label": "B", "text": "tin"}]
    (row,) = examples_of(
        "arc", {"task": "choice", "question": "Which?", "choices": choices, "answerKey": "B"}
    )
    assert row["answer"] == {"label": "b", "text": "tin"}
    (row,) = examples_of("qa", ARC | {"task": "choice", "answer": 1}, answers_from=0)
    assert row["answer"]["text"] == "tin"
    # --map names the fields of source rows, and is never passed over.
    mapped = {"question": "task", "answer": "question"}
    (row,) = dataprep.convert("qa", examples_of("gsm8k", GSM8K), to="example", options={"columns": mapped})
    assert (row["question"], row["answer"]) == ("math", "2 + 3?")


def test_examples_of_another_dataset_are_an_error_that_names_it():
    """The wording of another dataset would silently leave out choices or tests."""
    for name, rows in (("gsm8k", examples_of("arc", ARC)), ("arc", examples_of("mbpp", MBPP))):
        with pytest.raises(InputError, match=r"an Example of another dataset: found the source '(arc|mbpp)'"):
            list(dataprep.convert(name, rows))
    (row,) = examples_of("arc", ARC)
    with pytest.raises(
        InputError, match="an Example of another task: found the task 'choice', expected 'math'"
    ):
        list(dataprep.convert("gsm8k", [row | {"source": "ours"}]))
    (made,) = dataprep.convert("openbookqa", [row | {"source": "ours"}], with_id=True)
    assert made["source"] == "ours"


@pytest.mark.parametrize("name", ["qa", "examples"])
def test_examples_of_several_datasets_are_worded_as_each_dataset_is(name):
    """One file of Examples of all kinds becomes chat rows, none of which lacks its choices or tests."""
    sets = (("gsm8k", GSM8K), ("arc", ARC), ("mbpp", MBPP), ("squad", SQUAD))
    rows = [row for dataset, source in sets for row in examples_of(dataset, source)]
    expected = [row for dataset, source in sets for row in dataprep.convert(dataset, [source], with_id=True)]
    assert list(dataprep.convert(name, rows, with_id=True)) == expected
    with pytest.raises(InputError, match="gsm8k is no multiple-choice set"):
        list(dataprep.convert(name, rows, answer_style="letter"))


def test_a_hand_made_example_can_be_forced():
    """--from-examples reads rows as Examples whatever their fields are; a source row then is a bad row."""
    row = {"question": "2 + 3?", "solution": "Count.", "answer": "5"}
    assert contents(dataprep.convert("gsm8k", [row], from_examples=True)) == ["Count.\n\n#### 5"]
    nested = {"question": {"stem": "Which?", "choices": []}, "answerKey": "A"}
    with pytest.raises(InputError, match="field 'question' is not a string"):
        list(dataprep.convert("arc", [nested], from_examples=True))
    with pytest.raises(UsageError, match="--map names fields of source rows"):
        Plan("qa", from_examples=True, options={"columns": {"question": "q", "answer": "a"}})


# Labelled rows


def test_labelled_rows_become_chat_rows_of_a_teacher(run, tmp_path):
    """`convert rationales --teacher NAME` needs no journal; other statuses are dropped and counted."""
    write_jsonl(
        tmp_path / "rows.jsonl", [LABELLED, LABELLED | {"id": "y", "rationales": None, "status": None}]
    )
    for name in ("rationales", "arc", "examples", "qa"):
        ran = run("convert", name, "rows.jsonl", "--teacher", "flan-t5", "--with-id")
        assert ran.code == 0, ran.err
        (row,) = map(json.loads, ran.out.splitlines())
        assert [message["content"] for message in row["messages"][1:]] == [
            "Which?\n\n(a) wool\n(b) tin",
            "Tin melts.",
        ]
        assert (row["id"], row["source"]) == ("x", "arc")
        assert "2 in = 1 out + 1 dropped (no rationale: 1)" in ran.err
    ran = run("convert", "rationales", "rows.jsonl", "--teacher", "llama-2")
    assert "2 in = 0 out + 2 dropped (status: answer_mismatch: 1, no rationale: 1)" in ran.err


def test_the_only_teacher_needs_no_name(run, tmp_path):
    """With one teacher in a row it is that one's; with several the error lists them."""
    one = {"id": "x", "question": "Which?", "choices": ["wool", "tin"], "rationales": {"t": "Tin."}}
    assert contents(dataprep.convert("rationales", [one])) == ["Tin."]
    write_jsonl(tmp_path / "rows.jsonl", [LABELLED])
    ran = run("convert", "rationales", "rows.jsonl")
    assert (ran.code, ran.out) == (1, b"")
    assert "choose one with --teacher: flan-t5, llama-2, phi-4" in ran.err


def test_a_teacher_without_a_rationale_is_an_error(run, tmp_path):
    """A mistyped name does not pass for a file without rationales: the teachers are listed."""
    write_jsonl(tmp_path / "rows.jsonl", [LABELLED])
    ran = run("convert", "rationales", "rows.jsonl", "--teacher", "flan", "-o", "out.jsonl")
    assert ran.code == 1
    assert "no rationale of the teacher 'flan': the teachers are flan-t5, llama-2" in ran.err
    assert not (tmp_path / "out.jsonl").exists()


def test_the_rationale_can_be_followed_by_the_answer():
    """A template's fields are the same as those of collect."""
    template = {"assistant": "{rationale}\n\n{answer}"}
    rows = dataprep.convert("rationales", [LABELLED], teacher="flan-t5", template=template)
    assert contents(rows) == ["Tin melts.\n\n(b) tin"]
    labelled = LABELLED | {"reasoning": {"flan-t5": "Hm.", "llama-2": "No."}}
    template = {"assistant": "<think>{reasoning}</think>{rationale}"}
    rows = dataprep.convert("rationales", [labelled], teacher="flan-t5", template=template)
    assert contents(rows) == ["<think>Hm.</think>Tin melts."]
    for place, message in (
        ("as-reasoning", {"content": "Tin melts.", "reasoning_content": "Hm."}),
        ("as-rationale", {"content": "Hm.\n\nTin melts."}),
        ("drop", {"content": "Tin melts."}),
    ):
        (row,) = dataprep.convert("rationales", [labelled], teacher="flan-t5", reasoning=place)
        assert row["messages"][-1] == {"role": "assistant", **message}


THOUGHT = "<think>\nIron? No.\n</think>\n\nTin melts."


def test_thinking_that_begins_a_rationale_can_be_split_off():
    """What ends inside it is no rationale, and dropped as such."""
    rows = [
        LABELLED | {"id": name, "rationales": {"t": text}, "status": {"t": "ok"}}
        for name, text in (
            ("a", THOUGHT),
            ("b", "<think>Iron?"),
            ("c", "<think>x</think> "),
            ("d", "Tin <think>"),
        )
    ]
    rows[0]["reasoning"] = {"t": "Hm."}
    made = list(dataprep.convert("rationales", rows, teacher="t", split_thinking=True))
    assert [row["messages"][-1] for row in made] == [
        {"role": "assistant", "content": "Tin melts.", "reasoning_content": "Hm.\n\nIron? No."},
        {"role": "assistant", "content": "Tin <think>"},
    ]
    made = dataprep.convert(
        "rationales", rows[:1], teacher="t", split_thinking=True, reasoning="as-rationale"
    )
    assert contents(made) == ["Hm.\n\nIron? No.\n\nTin melts."]
    chat = {
        "messages": [{"role": "user", "content": "<think>"}, {"role": "assistant", "content": THOUGHT}],
        "x": 1,
    }
    (row,) = dataprep.convert("chat", [chat], split_thinking=True)
    answer = {"role": "assistant", "content": "Tin melts.", "reasoning_content": "Iron? No."}
    assert row == {**chat, "messages": [chat["messages"][0], answer]}


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"teacher": None, "split_thinking": True}, "--split-thinking is for labelled rows"),
        ({"to": "example"}, "--teacher is for chat rows"),
        ({"answer_style": "letter"}, "--answer-style is for gold answers"),
        ({"teacher": None, "reasoning": "drop"}, "--reasoning is for a teacher's rationales"),
    ],
)
def test_options_that_a_teacher_excludes(plan, message):
    """What would have no effect is a usage error."""
    with pytest.raises(UsageError, match=message):
        Plan("arc", **{"teacher": "t", **plan})


def test_without_input_examples_have_no_place_in_a_workspace(run, workspace):
    """raw/ has source rows; the files of Examples must be named."""
    for arguments in (("examples",), ("rationales",), ("gsm8k", "--from-examples")):
        ran = run("convert", *arguments, cwd=workspace)
        assert ran.code == 2
        assert "give the files of Examples" in ran.err


def test_published_rationales_become_chat_rows(run, workspace):
    """The samples go from rationale files to chat rows with two commands."""
    ran = run("parse-rationales", "raw/rationales/arc/llm", "-o", "rows.jsonl", cwd=workspace)
    assert ran.code == 0, ran.err
    ran = run(
        "convert", "rationales", "rows.jsonl", "--teacher", "flan-t5", "-o", "chat.jsonl", cwd=workspace
    )
    assert ran.code == 0, ran.err
    rows = read_jsonl(workspace / "chat.jsonl")
    assert rows
    assert list(dataprep.validate(rows)) == []


# The other commands


def test_every_command_takes_examples_for_a_dataset_s_rows(run, tmp_path):
    """`--dataset` with Examples gives what it gives with the source rows."""
    source = [ARC | {"id": f"x{n}", "question": f"Which {n}?"} for n in range(3)]
    write_jsonl(tmp_path / "source.jsonl", source)
    write_jsonl(tmp_path / "examples.jsonl", examples_of("arc", *source))
    found = {}
    for name in ("source.jsonl", "examples.jsonl"):
        prompted = run("prompt", name, "--dataset", "arc", "--shots", "0", "-o", "requests.jsonl")
        assert prompted.code == 0, prompted.err
        requests = read_jsonl(tmp_path / "requests.jsonl")
        write_jsonl(
            tmp_path / "predictions.jsonl", [{"id": row["id"], "prediction": "b"} for row in requests]
        )
        scored = run("evaluate", name, "--dataset", "arc", "--predictions", "predictions.jsonl", "--json")
        assert scored.code == 0, scored.err
        found[name] = requests, scored.out
    assert found["source.jsonl"] == found["examples.jsonl"]


def test_an_example_is_told_by_its_fields():
    """What --to example, parse-rationales and collect write is one; what datasets publish is not."""
    assert is_example(LABELLED)
    assert is_example({"question": "q", "task": "math", "answer": "1"})
    assert not any(
        map(is_example, (GSM8K, ARC, MBPP, SQUAD, {}, {"task": "math"}, {"question": ["x"], "task": "qa"}))
    )
    assert not is_example({"question": "q", "rationales": ["a list"]})
    for name in converters.names():
        rows = (golden.FOLDER / name / "expected_example.jsonl").read_bytes().splitlines()
        assert all(is_example(json.loads(row)) for row in rows if row)


def test_code_keeps_the_spaces_of_its_first_line():
    """An answer that is code comes back as it was."""
    (row,) = examples_of("mbpp", MBPP)
    assert Example.from_json(row).answer == "    x = 1"
