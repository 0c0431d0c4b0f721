"""Marks belong to the bytes of rows, survive changes of the file, and the last one counts."""

from __future__ import annotations

import pytest

from dataprep.core.errors import InputError, UsageError
from dataprep.curate.marks import Marks, digest_of

ROW, OTHER = b'{"n":1}', b'{"n":2}'


def test_a_mark_is_read_back_and_the_last_one_counts(tmp_path):
    """A row that is marked twice has its second mark; one whose mark is taken away has none."""
    path = tmp_path / "rows.jsonl"
    marks = Marks(path)
    marks.set(1, ROW, "good")
    marks.set(2, OTHER, None, "look again")
    marks.set(1, ROW, "bad", "wrong sum")
    for found in (marks, Marks(path)):
        assert (found.of(ROW).mark, found.of(ROW).note) == ("bad", "wrong sum")
        assert [(mark.row, mark.mark) for mark in found.by_row()] == [(1, "bad"), (2, None)]
    assert marks.set(2, OTHER, None) is None
    assert len(Marks(path)) == 1
    assert len((tmp_path / "rows.jsonl.marks.jsonl").read_bytes().splitlines()) == 4


def test_a_mark_follows_the_bytes_of_its_row(tmp_path):
    """White space around a line is no part of the row; another row at the same place has no mark."""
    marks = Marks(tmp_path / "rows.jsonl")
    marks.set(5, ROW + b"\r\n", "good")
    assert marks.of(ROW).digest == digest_of(b" " + ROW)
    assert marks.of(OTHER) is None


def test_half_a_line_is_named_and_does_not_spoil_the_next(tmp_path):
    """What a machine that stopped left behind is an error with its place, on a line of its own."""
    path = tmp_path / "rows.jsonl"
    side = tmp_path / "rows.jsonl.marks.jsonl"
    marks = Marks(path)
    marks.set(1, ROW, "good")
    side.write_bytes(side.read_bytes() + b'{"row": 2, "dig')
    marks.set(2, OTHER, "bad")
    with pytest.raises(InputError, match=r"marks\.jsonl:2: not JSON"):
        Marks(path)
    side.write_bytes(b"".join(line for line in side.read_bytes().splitlines(True) if b"digest" in line))
    assert [mark.mark for mark in Marks(path).by_row()] == ["good", "bad"]


@pytest.mark.parametrize(
    "line",
    [
        '{"row": "1", "digest": "a", "mark": "good"}',
        '{"row": 1, "mark": "good"}',
        '{"row": 1, "digest": "a", "mark": "fine"}',
        "[1]",
    ],
)
def test_a_line_that_is_no_mark_is_an_error(tmp_path, line):
    """A file of marks that a person edited wrongly is named with its line."""
    (tmp_path / "rows.jsonl.marks.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=r"rows\.jsonl\.marks\.jsonl:1: not a"):
        Marks(tmp_path / "rows.jsonl")


def test_an_unknown_mark_is_refused(tmp_path):
    """Only the marks that `filter` knows are written."""
    with pytest.raises(UsageError, match="must be one of good, bad"):
        Marks(tmp_path / "rows.jsonl").set(1, ROW, "fine")
    assert not list(tmp_path.iterdir())
