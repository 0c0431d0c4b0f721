"""`dataprep validate` with its flags: unknown keys of messages and the schemas of tools."""

import json

ROW = {
    "messages": [
        {"role": "user", "content": "What is 2 + 2?", "timestamp": 17},
        {
            "role": "assistant",
            "tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"a": 2}}}],
        },
        {"role": "tool", "content": "4"},
        {"role": "assistant", "content": "4", "timestamp": 18, "mood": "good"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {"name": "add", "parameters": {"type": "object", "required": ["a", "b"]}},
        }
    ],
}


def test_unknown_keys_are_counted_or_problems(run, tmp_path):
    """They are never lost without being named: in the summary, and as problems with --strict."""
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps(ROW)}\n" * 2)
    done = run("validate", "rows.jsonl")
    assert (done.code, done.out) == (0, b"")
    assert done.err == (
        "2 rows, 0 problems\nunknown keys of messages, which stay as they are: timestamp: 4, mood: 2\n"
    )
    assert json.loads(run("validate", "rows.jsonl", "--json").out)["unknown_keys"] == {
        "timestamp": 4,
        "mood": 2,
    }
    done = run("validate", "rows.jsonl", "--strict")
    assert done.code == 1
    assert "6 problems (unknown key: 6)" in done.err
    assert done.out.startswith(
        b"rows.jsonl:1: unknown key: messages[0] has 'timestamp'; dataprep knows the keys"
    )
    assert run("validate", "rows.jsonl", "--quiet").err == ""


def test_arguments_are_checked_with_strict_tools(run, tmp_path):
    """The place of the call, what does not fit, and the exit code."""
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROW))
    done = run("validate", "rows.jsonl", "--strict-tools")
    assert done.code == 1
    assert done.out == (
        b"rows.jsonl:1: arguments do not fit the schema: messages[1].tool_calls[0] calls 'add': "
        b"arguments: 'b' is a required property\n"
    )
