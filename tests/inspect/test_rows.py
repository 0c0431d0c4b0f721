"""Rows by their numbers, and the commands ``head`` and ``show``."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core.errors import UsageError
from dataprep.inspect.rows import Places, parse_places, rows_at
from tests.helpers import chat, write_jsonl

ROWS = [chat("Hi", f"Row {n}", id=n) for n in range(1, 41)]


@pytest.fixture
def rows(tmp_path):
    """A file of 40 chat rows."""
    return write_jsonl(tmp_path / "rows.jsonl", ROWS)


@given(st.lists(st.sampled_from([b"{}", b"", b"[1]", b" "]), min_size=1), st.data(), st.booleans())
def test_rows_are_those_of_the_numbers(tmp_path_factory, lines, data, ended):
    """Line N is what Python's own split has there, and blank lines count."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_bytes(b"\n".join([b"{}", *lines, b"{}"]) + b"\n" * ended)
    lines = [b"{}", *lines, b"{}"]
    first = data.draw(st.integers(1, len(lines)))
    last = data.draw(st.integers(first, len(lines)))
    if first == last and not lines[first - 1].strip():
        return
    found = [(where.number, line) for where, line in rows_at(Places(str(path), first, last))]
    assert found == [(n, lines[n - 1]) for n in range(first, last + 1) if lines[n - 1].strip()]


@pytest.mark.parametrize(
    "text", ["rows.jsonl", "rows.jsonl:0", "rows.jsonl:4-2", ":3", "rows.jsonl:-1", "a:1-"]
)
def test_what_names_no_row(text):
    """A place that is no FILE:N is a wrong command line."""
    with pytest.raises(UsageError, match="expected"):
        parse_places(text)


@pytest.mark.usefixtures("rows")
def test_show(run):
    """Rows of several files come in the order given, as chats or as they stand."""
    done = run("show", "rows.jsonl:7", "rows.jsonl:39-40")
    assert done.code == 0
    assert "── rows.jsonl:7 ──\nuser\n  Hi\nassistant\n  Row 7\nid\n  7\n" in done.out.decode()
    assert "Row 40" in done.out.decode()
    lines = run("show", "rows.jsonl:2-3", "--json").out.splitlines()
    assert [json.loads(line) for line in lines] == ROWS[1:3]


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("name", ["rows.json", "rows.parquet", "rows.jsonl.gz"])
def test_show_other_formats(run, name):
    """A row of any format has the number that messages give it."""
    assert run("merge", "rows.jsonl", "--no-shuffle", "-o", name).code == 0
    assert json.loads(run("show", f"{name}:17", "--json").out)["messages"] == ROWS[16]["messages"]
    assert "there is no" in run("show", f"{name}:41").err


def test_head(rows, run):
    """The first rows of each file, also of standard input; rows behind them are not read."""
    assert run("head", "rows.jsonl", "rows.jsonl", "-n", "2").out.count(b"\xe2\x94\x80\xe2\x94\x80 rows") == 4
    done = run("head", "-", "-n", "1", input=rows.read_bytes()[:200] + b"\nno JSON")
    assert done.code == 0
    assert "Row 1" in done.out.decode()


def test_what_cannot_be_shown_as_a_row_is_shown_as_text(tmp_path, run):
    """A person looks at damaged rows first; control characters never reach the terminal."""
    (tmp_path / "bad.jsonl").write_bytes(b'{"a": \n\n{"b": "\\u001b[31m\xc2\x9b"}\nx\x1b[2J\n')
    done = run("show", "bad.jsonl:1", "bad.jsonl:3-4")
    assert done.code == 0
    assert 'not JSON\n  {"a":\n' in done.out.decode()
    out = done.out + run("show", "bad.jsonl:3-4", "--json").out
    assert b"\x1b" not in out
    assert b"\xc2\x9b" not in out
    assert "bad.jsonl:2: the line is blank" in run("show", "bad.jsonl:2").err
    assert "the file has 4 lines; there is no line 5" in run("show", "bad.jsonl:5").err
