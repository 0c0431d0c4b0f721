"""What validate finds in chat rows, and that it finds nothing else."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core.conversations import ROLES, find_in_line, find_in_row
from dataprep.core.errors import FileError, InputError, UsageError
from dataprep.datasets.checks.validation import validate, validate_files
from tests import strategies as some

USER = {"role": "user", "content": "Hi"}
ASSISTANT = {"role": "assistant", "content": "Hello"}
SYSTEM = {"role": "system", "content": "Be kind."}
KINDS = {
    "nested too deeply",
    "not UTF-8", "not JSON", "not a JSON object", "duplicate key", "no messages", "malformed message",
    "unknown role", "content is no string", "content part that is no text", "empty content",
    "no assistant at the end",
}  # fmt: skip


def kinds(line):
    """The kinds of what is wrong with a line."""
    return [finding.kind for finding in find_in_line(line)]


def chat(*messages):
    """A line with these messages."""
    return json.dumps({"messages": messages}).encode()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (chat(USER, ASSISTANT), []),
        (chat(SYSTEM, USER, ASSISTANT, USER, ASSISTANT), []),
        (b'{"messages": [' + json.dumps(USER).encode() + b", \xe9]}", ["not UTF-8"]),
        (chat(USER, ASSISTANT)[:-1], ["not JSON"]),
        (b"[]", ["not a JSON object"]),
        (b"{}", ["no messages"]),
        (b'{"message": []}', ["no messages"]),
        (b'{"messages": []}', ["no messages"]),
        (b'{"messages": null}', ["no messages"]),
        (b'{"messages": {"role": "user"}}', ["no messages"]),
        (chat("Hi", ASSISTANT), ["malformed message"]),
        (chat(USER, None), ["malformed message"]),
        (chat(USER, {"role": "model", "content": "Hello"}), ["unknown role"]),
        (chat(USER, {"role": "Assistant", "content": "Hello"}), ["unknown role"]),
        (chat(USER, {"role": ["assistant"], "content": "Hello"}), ["unknown role"]),
        (chat(USER, {"content": "Hello"}), ["unknown role"]),
        (chat(USER, {"role": "assistant"}), ["content is no string"]),
        (chat(USER, {"role": "assistant", "content": None}), ["content is no string"]),
        (chat(USER, {"role": "assistant", "content": ["Hello"]}), ["content part that is no text"]),
        (chat(USER, {"role": "assistant", "content": ""}), ["empty content"]),
        (chat(SYSTEM | {"content": " \n\u2028"}, USER, ASSISTANT), ["empty content"]),
        # Which orders of roles are possible depends on the model, so a row may have any.
        (chat(USER, SYSTEM, ASSISTANT), []),
        (chat(SYSTEM, SYSTEM, USER, ASSISTANT), []),
        (chat(ASSISTANT), []),
        (chat(ASSISTANT, USER, ASSISTANT), []),
        (chat(USER, USER, ASSISTANT, ASSISTANT), []),
        (chat(USER), ["no assistant at the end"]),
        (chat(SYSTEM), ["no assistant at the end"]),
        (chat(USER, ASSISTANT, USER), ["no assistant at the end"]),
        (
            chat({"role": "x", "content": 1}, "Hi"),
            ["unknown role", "content is no string", "malformed message"],
        ),
    ],
)
def test_each_kind_is_found(line, expected):
    """Each way in which a row is malformed is found, under its own kind, and nothing besides."""
    assert kinds(line) == expected


def test_a_finding_shows_the_place_in_the_row():
    """What was found is said with the message's number."""
    (finding,) = find_in_line(chat(SYSTEM, USER, {"role": "bot", "content": "Hello"}))
    assert finding.detail.startswith("messages[2].role is the string 'bot'; expected")


@given(some.chat_rows(), st.booleans())
def test_a_well_formed_row_gives_nothing(row, ascii_only):
    """No sound conversation is complained about, whatever its texts hold and however it is escaped."""
    line = json.dumps(row, ensure_ascii=ascii_only).encode("utf-8")
    assert list(find_in_line(line)) == []
    assert list(find_in_row(row)) == []
    assert list(validate([row])) == []


@given(st.lists(st.sampled_from(("system", "developer", "user", "assistant")), min_size=1, max_size=7))
def test_a_row_ends_with_an_assistant(roles):
    """Any order of roles is sound if an assistant's message is the last one."""
    line = chat(*({"role": role, "content": "x"} for role in roles))
    assert kinds(line) == ([] if roles[-1] == "assistant" else ["no assistant at the end"])


@pytest.mark.medium
@given(some.chat_rows(), st.data())
def test_one_spoilt_message_is_found(row, data):
    """Whatever one message is replaced by, the row does not pass for sound."""
    place = data.draw(st.integers(0, len(row["messages"]) - 1))
    message = row["messages"][place]
    spoilt = data.draw(
        some.json_values().filter(lambda value: not isinstance(value, dict))
        | some.json_values().filter(lambda v: not isinstance(v, str) or not v.strip()).map(
            lambda value: message | {"content": value}
        )
        | some.texts(6).filter(lambda text: text not in ROLES).map(
            lambda role: message | {"role": role}
        )
        | st.sampled_from(("role", "content")).map(lambda name: {name: message[name]})
    )  # fmt: skip
    row["messages"][place] = spoilt
    assert len(kinds(json.dumps(row).encode())) == 1


@given(st.binary() | some.json_values().map(lambda value: json.dumps(value).encode()))
def test_any_line_is_judged(line):
    """No line, however broken, ends in anything but findings."""
    assert set(kinds(line)) <= KINDS


@given(some.json_values() | st.lists(some.json_objects(("role", "content")), max_size=3))
def test_any_messages_are_judged(messages):
    """Whatever stands under messages is judged without a crash."""
    assert set(kinds(json.dumps({"messages": messages}).encode())) <= KINDS


@pytest.mark.parametrize("depth", [10, 300, 1000, 100_000])
@pytest.mark.parametrize("form", ['{"messages": %s}', '{"messages": [%s]}', '{"x": %s}', '{"x": 1, "x": %s}'])
def test_deep_nesting_is_judged(form, depth):
    """A row nested deeper than parsers go is a finding, not a crash."""
    for value in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
        found = kinds((form % value).encode())
        assert found
        assert set(found) <= KINDS


# Keys that stand twice


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        (b'{"a": 1, "a": 1}', ["a"]),
        (b'{"a": 1, "b": {"a": 2}}', []),
        (b'{"b": [{"a": 1}, {"a": 2}]}', []),
        (b'{"b": [{"a": 1, "c": {"d": 1, "d": 2}}]}', ["d"]),
        (b'{"a": 1, "\\u0061": 2}', ["a"]),
        (b'{"a": 1, "a": "\\u003a"}', ["a"]),
        (b'{"a": 1, "a": "\\u003A"}', ["a"]),
        (b'{"a:": 1, "a\\u003a": 2}', ["a:"]),
        (b'{"a": ":::", "b": "\\u003a"}', []),
        (b'{"a": {"x": 1, "x": 2}, "a": 3}', ["x", "a"]),
        (b'{"": 1, "": 2, "": 3}', ["", ""]),
        (b'{"a": "\\\\u003a", "a": 1}', ["a"]),
        (b'{"a": 1e400, "a": 1}', None),
    ],
)
def test_duplicate_keys_are_found_at_any_depth(line, keys):
    """A key that stands twice in one object is found, nested and escaped ones too; others are not."""
    if keys is None:  # no number that JSON readers agree on
        assert kinds(line) == ["not JSON"]
        return
    found = [finding for finding in find_in_line(line) if finding.kind == "duplicate key"]
    assert [re.search("'(.*)' stands", finding.detail)[1] for finding in found] == keys


# An object is a list of pairs here, so that a key can stand twice; with it, how often one does.
_names = st.sampled_from(("a", ":", "a:", '"', "\\u003a", "é", "messages"))
_leaf = st.tuples(_names | st.none() | st.integers(0, 9) | st.just(":\\:"), st.just(0))


def _array(items):
    return [value for value, _ in items], sum(count for _, count in items)


def _object(pairs):
    names = [name for name, _ in pairs]
    repeated = len(names) - len(set(names))
    return tuple((name, value) for name, (value, _) in pairs), repeated + sum(n for _, (_, n) in pairs)


_pairs = st.recursive(
    _leaf,
    lambda inner: (
        st.lists(inner, max_size=3).map(_array) | st.lists(st.tuples(_names, inner), max_size=4).map(_object)
    ),
    max_leaves=10,
)


def _written(value, escape):
    """JSON written by hand; ``escape`` gives the next colon in a string an escape, or none."""
    if isinstance(value, tuple):
        pairs = (f"{_written(name, escape)}: {_written(each, escape)}" for name, each in value)
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_written(each, escape) for each in value) + "]"
    text = json.dumps(value, ensure_ascii=False)
    return re.sub(":", lambda _: escape() or ":", text)


@given(st.lists(st.tuples(_names, _pairs), max_size=4).map(_object), st.randoms())
def test_every_duplicate_key_is_counted(made, chance):
    """As many duplicate keys are found as were written, wherever colons stand, escaped or not."""
    value, repeated = made
    line = _written(value, lambda: chance.choice(("", "\\u003a", "\\u003A"))).encode("utf-8")
    assert kinds(line).count("duplicate key") == repeated


# Whole files


def test_at_most_twenty_of_a_kind_are_shown_and_all_counted(tmp_path):
    """A file with one mistake in every row does not flood the screen, and the counts stay exact."""
    path = tmp_path / "rows.jsonl"
    lines = [chat(USER)] * 25 + [b"[]"] * 20 + [b""] * 3 + [chat(USER, ASSISTANT)] * 7 + [b"{}"] * 21
    path.write_bytes(b"\n".join(lines) + b"\n")
    report = validate_files([path])
    assert report.rows == {str(path): 73}
    assert report.counts == {"no assistant at the end": 25, "not a JSON object": 20, "no messages": 21}
    shown = [problem.kind for problem in report.shown]
    assert {kind: shown.count(kind) for kind in shown} == {
        "no assistant at the end": 20,
        "not a JSON object": 20,
        "no messages": 20,
    }
    assert report.shown[0].where == f"{path}:1"
    assert report.shown[20].where == f"{path}:26"
    assert report.shown[40].where == f"{path}:56"  # three blank lines are no rows, but are lines
    assert str(report.shown[20]) == f"{path}:26: not a JSON object: found a list; expected {{…}}"
    assert json.loads(json.dumps(report.to_json()))["problems"] == dict(report.counts)


def test_the_limit_is_for_all_files_together(tmp_path):
    """Rows are counted by file, problems over all files."""
    paths = [tmp_path / name for name in ("a.jsonl", "b.jsonl")]
    for path in paths:
        path.write_bytes(b"{}\n" * 15)
    report = validate_files(paths)
    assert (list(report.rows.values()), report.counts["no messages"], len(report.shown)) == ([15, 15], 30, 20)


def test_a_sound_file_has_an_empty_report(tmp_path):
    r"""A byte order mark, \r\n and a last line without a newline are no problem."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + chat(USER, ASSISTANT) + b"\r\n\r\n" + chat(SYSTEM, USER, ASSISTANT))
    report = validate_files([path])
    assert (report.rows, report.counts, report.shown) == ({str(path): 2}, {}, [])


@pytest.mark.parametrize("suffix", ["jsonl", "json", "jsonl.gz", "parquet"])
def test_any_format_is_validated(tmp_path, suffix):
    """Chat rows in other formats are judged as JSON Lines are, with the row's number."""
    from dataprep import write_rows

    path = tmp_path / f"rows.{suffix}"
    write_rows([{"messages": [USER, ASSISTANT]}, {"messages": [USER]}], str(path))
    (problem,) = validate(path)
    assert problem.kind == "no assistant at the end"
    assert problem.where == (f"{path}:2" if "jsonl" in suffix else f"{path}: row 2")


def test_nothing_and_nowhere_are_errors(tmp_path):
    """No file, a missing file and a file without rows are errors, never 'nothing found'."""
    empty = tmp_path / "empty.jsonl"
    empty.write_bytes(b"\n \n")
    with pytest.raises(UsageError):
        validate_files([])
    with pytest.raises(FileError):
        validate_files([tmp_path / "none.jsonl"])
    with pytest.raises(InputError, match="empty"):
        validate_files([empty])
    with pytest.raises(InputError, match="empty"):
        list(validate(empty))
