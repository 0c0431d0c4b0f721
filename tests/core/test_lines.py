"""Lines of JSON Lines: the row, or what is wrong with it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core.errors import InputError, RowError
from dataprep.core.jsonl import MAX_LINE, any_line, parse_line, to_line, too_long
from tests import strategies as some


@given(some.json_objects(), st.booleans(), st.sampled_from(("", " ", "\r", "\t\r")))
def test_any_json_object_is_read(row, ascii_only, end):
    """Whatever Python's json writes, escaped or not, is read back as it was."""
    line = json.dumps(row, ensure_ascii=ascii_only) + end
    assert parse_line(line.encode("utf-8")) == row


@given(st.binary() | some.texts().map(str.encode) | some.json_values().map(lambda v: json.dumps(v).encode()))
def test_any_bytes_are_an_object_or_a_row_error(line):
    """No line, however broken, ends in anything but an object or a RowError."""
    found = some.result_or_error(parse_line, line)
    if isinstance(found, RowError):
        assert found.reason in ("not UTF-8", "not JSON", "not a JSON object")
    else:
        assert found == json.loads(line)


@pytest.mark.parametrize(
    ("line", "reason", "detail"),
    [
        (b"[1]", "not a JSON object", "found a list"),
        (b'"x"', "not a JSON object", "found a string"),
        (b"17", "not a JSON object", "found a number"),
        (b"-1.5e3", "not a JSON object", "found a number"),
        (b"true", "not a JSON object", "found a boolean"),
        (b"null", "not a JSON object", "found null"),
        (b'{"a": 1', "not JSON", "cut short"),
        (b'{"a": "b', "not JSON", "cut short"),
        (b'{"a": "caf\xc3', "not UTF-8", "byte 0xc3 at byte 11"),
        (b'{"a": "caf\xe9"}', "not UTF-8", "byte 0xe9 at byte 11"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8", "byte 0xff at byte 1 "),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8", "byte 0xed at byte 8"),
        (b'{"a": "\\ud800"}', "not JSON", "column"),
        (b'{"a": NaN}', "not JSON", "column 7"),
        (b"{'a': 1}", "not JSON", "column 2"),
        (b'{"a": 1} {"b": 2}', "not JSON", "column 10"),
        (b'{"a": 1,}', "not JSON", "column"),
        (b'{"a": 01}', "not JSON", "column"),
        (b'{"a": "\t"}', "not JSON", "column 8"),
    ],
)
def test_a_bad_line_says_what_and_where(line, reason, detail):
    """The error names the kind of damage, and the place in the line where a person finds it."""
    with pytest.raises(RowError) as caught:
        parse_line(line)
    assert caught.value.reason == reason
    assert detail in caught.value.detail


@given(some.texts(10))
def test_columns_are_counted_in_characters(text):
    """The column of an error is where an editor shows it, also after emoji and other scripts."""
    before = json.dumps({"a": text}, ensure_ascii=False)[:-1] + ', "b": '
    with pytest.raises(RowError) as caught:
        parse_line(f"{before}oops}}".encode())
    assert caught.value.detail.endswith(f"at column {len(before) + 1}: …'oops}}'")


@given(some.json_objects(), st.data())
def test_a_line_cut_anywhere_is_an_error(row, data):
    """A truncated line is never taken for a whole row."""
    line = json.dumps(row, ensure_ascii=False).encode("utf-8")
    cut = data.draw(st.integers(1, len(line) - 1))
    with pytest.raises(RowError) as caught:
        parse_line(line[:cut])
    assert caught.value.reason in ("not JSON", "not UTF-8")


def test_a_long_line_is_named_with_its_place():
    """A line that is too long to be a row is an error with file, line and the limit."""
    error = too_long("rows.jsonl", 7)
    assert isinstance(error, InputError)
    assert str(error).startswith(f"rows.jsonl:7: found a line of more than {MAX_LINE // 2**20} MiB")


def nested(depth):
    """Return a list in a list, ``depth`` levels in all."""
    value = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize("value", [nested(255), nested(900), "\ud800", 2**64])
def test_a_row_that_json_cannot_hold_is_refused(value):
    """The parser reads deeper nesting than it writes; the row is refused, and can still be set aside."""
    row = {"a": value}
    with pytest.raises(RowError, match="can be read, but not written"):
        to_line(row)
    assert any_line(row).startswith(b'{"a":')
    with pytest.raises(TypeError, match="not JSON serializable"):
        to_line({"a": object()})


def test_a_row_that_json_holds_is_one_line():
    """With or without its newline, and with Python's own values in rejects."""
    assert (to_line({"a": [1, None]}), to_line(1, b"\n")) == (b'{"a":[1,null]}', b"1\n")
    assert any_line({"a": {1}}) == b'{"a":"{1}"}'
