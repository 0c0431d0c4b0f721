"""`convert --system-into-user`: the system text stands in the user's message, for Examples and chat rows."""

import json

import pytest
from typer.testing import CliRunner

from dataprep.cli.app import app
from dataprep.core.errors import RowError, UsageError
from dataprep.datasets.chat_rows import system_into_user
from dataprep.datasets.convert import Plan, convert
from tests.helpers import write_jsonl

QUESTION = {"question": "1 + 1?", "answer": "1+1=2\n#### 2"}


def message(role, content, **more):
    """A message."""
    return {"role": role, "content": content, **more}


def test_the_wording_of_a_dataset_is_the_same_in_one_message():
    """System text, an empty line, the question; fields and sections are filled as otherwise."""
    template = {"system": "Be brief, {id}.\n\nMind {context}."}
    plain, joined = [
        next(convert("gsm8k", [QUESTION], template=template, system_into_user=chosen))["messages"]
        for chosen in (False, True)
    ]
    assert [item["role"] for item in joined] == ["user", "assistant"]
    assert joined[0]["content"] == plain[0]["content"] + "\n\n" + plain[1]["content"]
    assert joined[1] == plain[2]


def test_a_wording_without_a_system_text_stays_as_it_is():
    """There is nothing to move."""
    rows = [
        next(convert("gsm8k", [QUESTION], template={"system": ""}, system_into_user=chosen))
        for chosen in (False, True)
    ]
    assert rows[0] == rows[1]


def test_a_system_text_that_lacks_its_fields_is_a_bad_row():
    """As without the flag."""
    plan = {"template": {"system": "Mind {context}."}, "system_into_user": True}
    with pytest.raises(Exception, match="empty system message"):
        next(convert("gsm8k", [QUESTION], **plan))


PARTS = [{"type": "text", "text": "Hi"}, {"type": "text", "text": " there"}]
ROWS = {
    "a system message": (
        [message("system", "S"), message("user", "U"), message("assistant", "A")],
        [message("user", "S\n\nU"), message("assistant", "A")],
    ),
    "none": ([message("user", "U"), message("assistant", "A")],) * 2,
    "a developer's": (
        [message("developer", "D", name="x"), message("user", "U", name="y"), message("assistant", "A")],
        [message("user", "D\n\nU", name="y"), message("assistant", "A")],
    ),
    "two at once": (
        [message("system", "S"), message("developer", "D"), message("user", "U"), message("assistant", "A")],
        [message("user", "S\n\nD\n\nU"), message("assistant", "A")],
    ),
    "one in the middle": (
        [message("user", "U"), message("assistant", "A"), message("system", "S"), message("user", "V")],
        [message("user", "U"), message("assistant", "A"), message("user", "S\n\nV")],
    ),
    "parts": (
        [message("system", PARTS), message("user", PARTS), message("assistant", None, tool_calls=[])],
        [
            message("user", [{"type": "text", "text": "Hi there\n\n"}, *PARTS]),
            message("assistant", None, tool_calls=[]),
        ],
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_chat_rows_keep_everything_else(name):
    """Other messages and fields are the same, in the same order."""
    given, expected = ROWS[name]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"b": None, "a": 1.50}}}]
    row = {"id": "7", "tools": tools, "messages": given, "chat_template_kwargs": {"x": None}}
    before = json.dumps(row)
    assert system_into_user(row) == {**row, "messages": expected}
    assert json.dumps(row) == before
    assert list(convert("chat", [row], system_into_user=True)) == [{**row, "messages": expected}]


WRONG = {
    "no user": ([message("user", "U"), message("system", "S")], "expected a user message behind it"),
    "no messages": (None, "not a chat row: found null"),
    "no objects": (["x"], "not a chat row"),
    "no text": ([message("system", 3), message("user", "U")], r"messages\[0\]: found a number 3"),
    "an image as the system text": (
        [message("system", [{"type": "image"}]), message("user", "U")],
        r"messages\[0\]: found an object \{'type': 'image'\}",
    ),
    "an image": (
        [message("system", "S"), message("user", [{"type": "image"}])],
        None,
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_row_whose_system_text_has_no_place_is_an_error(name):
    """The error says which message; parts that are no text stay behind the system text."""
    messages, reason = WRONG[name]
    if reason is None:
        assert len(system_into_user({"messages": messages})["messages"][0]["content"]) == 2
        return
    with pytest.raises(RowError, match=reason):
        system_into_user({"messages": messages})


REFUSED = [
    ({}, "needs --system-into-user"),
    ({"system_into_user": True, "to": "example"}, "--to is for source rows"),
    ({"system_into_user": True, "template": {"system": "S"}}, "--template or --system is for source rows"),
    ({"system_into_user": True, "with_id": True}, "--with-id is for"),
    ({"system_into_user": True, "split": "test"}, "--split is for"),
    ({"system_into_user": True, "options": {"strip_calculator": True}}, "--strip-calculator is for"),
]


@pytest.mark.parametrize(("plan", "reason"), REFUSED)
def test_options_without_effect_are_refused(plan, reason):
    """Chat rows have their wording already."""
    with pytest.raises(UsageError, match=reason):
        Plan("chat", **plan)
    with pytest.raises(UsageError, match="an Example has no messages"):
        Plan("gsm8k", to="example", system_into_user=True)


def test_the_command_writes_chat_rows_and_counts_bad_ones(tmp_path):
    """From a file or standard input, with rejects and a summary."""
    source = tmp_path / "rows.jsonl"
    write_jsonl(source, [{"messages": given} for given, _ in ROWS.values()] + [{"messages": 1}])
    out, bad = tmp_path / "out.jsonl", tmp_path / "bad.jsonl"
    command = ["convert", "chat", str(source), "--system-into-user", "-o", str(out)]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 1
    assert not out.exists()
    done = CliRunner().invoke(app, [*command, "--rejects", str(bad)])
    assert done.exit_code == 0, done.output
    written = [json.loads(line)["messages"] for line in out.read_text().splitlines()]
    assert written == [expected for _, expected in ROWS.values()]
    assert "not a chat row" in bad.read_text()
    sampled = CliRunner().invoke(
        app,
        ["convert", "chat", "-", "--system-into-user", "--sample", "1"],
        input=source.read_text().rsplit("\n", 2)[0],
    )
    assert sampled.exit_code == 0, sampled.output
