"""Index and search files of any bytes: `dataprep.inspect.view`."""

import gzip
import json
import os
from itertools import islice
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep import write_rows
from dataprep.core import io as files
from dataprep.core.errors import FileError, InputError, UsageError
from dataprep.inspect.view import files as viewed
from dataprep.inspect.view import index, search
from dataprep.inspect.view.files import ViewedFile
from dataprep.inspect.view.index import LineIndex
from dataprep.inspect.view.opened import Opened
from dataprep.inspect.view.search import Query, find
from tests.helpers import write_jsonl

LINES = st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")), max_size=40)


@pytest.fixture
def opened(request):
    """Open a file, and close it at the end of the test."""

    def open_file(path, kind=Opened):
        file = kind(str(path))
        request.addfinalizer(file.close)
        file.wait(10)
        return file

    return open_file


@given(LINES, st.booleans(), st.integers(1, 9), st.integers(1, 5), st.data())
def test_every_line_is_found_once(lines, ends, piece, stride, data):
    """Whatever the bytes and the pieces in which they are read, block by block and line by line."""
    text = b"\n".join(lines) + b"\n" * ends
    with mock.patch.object(index, "STRIDE", stride), mock.patch.object(viewed, "PIECE", piece):
        made = LineIndex()
        for begin in range(0, len(text), piece):
            made.feed(text[begin : begin + piece])
        extent = made.extent(whole=True)
        reader = viewed.Reader(text, made, extent)
        wanted = text.split(b"\n")[: None if text and not text.endswith(b"\n") else -1]
        assert reader.total == len(wanted)
        assert [reader.line(span) for span in reader.spans(1)] == wanted
        if wanted:
            number = data.draw(st.integers(1, len(wanted)))
            span = next(reader.spans(number))
            assert (span.number, reader.line(span)) == (number, wanted[number - 1])
            block = reader.block(number)
            assert block.number <= number < block.number + block.size
        assert reader.block(0) is None
        assert reader.block(len(wanted) + 1) is None
        # While the file is read, a last line without its newline is not one yet.
        assert made.extent(whole=False).lines == text.count(b"\n")


def test_blocks_are_small():
    """An index of many rows has few places, and its blocks few lines."""
    made = LineIndex()
    for _ in range(40):
        made.feed(b"{}\n" * (index.PIECE // 3))
    extent = made.extent(whole=True)
    assert extent.known < 2 + 40 + extent.lines // index.STRIDE
    assert made.block(extent.lines // 2, extent).size <= index.STRIDE


ROWS = [{"messages": [], "n": 1}, {"n": 2, "text": "ä\n"}, {"n": 3}]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.parquet", "a.csv"])
def test_rows_of_every_format_are_those_that_are_read(opened, tmp_path, name):
    """The page shows the rows that other commands read, under the same numbers."""
    path = str(tmp_path / name)
    write_rows([{"a": "1", "b": "x\ny"}, {"a": "2", "b": "“z”"}], path)
    file = opened(path, ViewedFile)
    reader = file.reader()
    shown = [(span.number, json.loads(reader.line(span))) for span in reader.spans(1)]
    read = [(where.number, row) for where, row in files.read_rows(path)]
    assert shown == read
    assert file.where(2) == str(list(files.read_rows(path))[1][0])


def test_blank_lines_keep_their_numbers(opened, tmp_path):
    """A row has the number that messages name, and blank lines are no rows."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a":1}\n\n  \n{"a":2}')
    file = opened(path)
    assert [row["number"] for row in file.page(1, 50)["rows"]] == [1, 4]
    assert file.row(4)["place"] == f"{path}:4"
    assert file.row(5) is None


def test_temporary_files_are_removed(tmp_path):
    """Nothing stays behind of a format that is written to a temporary file."""
    write_rows(ROWS, str(tmp_path / "a.json"))
    with mock.patch("tempfile.gettempdir", return_value=str(tmp_path)):
        file = ViewedFile(str(tmp_path / "a.json"))
        assert len(list(tmp_path.iterdir())) == 2
        file.close()
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_file_that_grows_is_indexed_further(opened, tmp_path):
    """What `generate` appends to a journal appears, also the rest of a line that was half written."""
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"a":1}\n{"a"')
    file = opened(path)
    assert file.state()["lines"] == 2
    generation = file.generation
    with path.open("ab") as out:
        out.write(b':2}\n{"a":3}\n')
    file.state()
    file.wait(10)
    reader = file.reader()
    assert [reader.line(span) for span in reader.spans(1)] == [b'{"a":1}', b'{"a":2}', b'{"a":3}']
    assert file.generation == generation, "it has grown, and is no other file"


@pytest.mark.parametrize("how", ["replaced", "longer", "shorter", "same size", "compressed"])
def test_a_file_that_is_changed_is_indexed_again(opened, tmp_path, how):
    """No row of the earlier file is shown as one of the new file."""
    path = tmp_path / ("a.jsonl.gz" if how == "compressed" else "a.jsonl")
    pack = gzip.compress if how == "compressed" else bytes
    path.write_bytes(pack(b'{"a":1}\n{"a":2}\n'))
    file = opened(path)
    generation = file.generation
    new = {"longer": b'{"b":1}\n{"b":2}\n{"b":3}\n', "shorter": b'{"b":1}\n'}.get(how, b'{"b":1}\n{"b":2}\n')
    if how == "replaced":
        (tmp_path / "new").write_bytes(new)
        (tmp_path / "new").rename(path)
    else:
        path.write_bytes(pack(new))
        os.utime(path, ns=(1, 1))
    file.state()
    file.wait(10)
    reader = file.reader()
    assert [reader.line(span) for span in reader.spans(1)] == new.splitlines()
    assert file.generation == generation + 1


def test_a_file_that_is_gone_is_named(opened, tmp_path):
    """The state says so, and a row is an error of the usual kind."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{}\n")
    file = opened(path)
    path.unlink()
    assert "not there" in file.state()["problem"]
    with pytest.raises(FileError, match="no such file"):
        file.page(1, 50)
    if hasattr(os, "mkfifo"):
        os.mkfifo(path)  # which would block whoever opens it
        with pytest.raises(FileError, match="no such file"):
            file.page(1, 50)


@pytest.mark.parametrize(
    ("name", "data", "error", "message"),
    [
        ("-", None, UsageError, "standard input can be read once"),
        ("missing.jsonl", None, FileError, "no such file"),
        ("a.txt", b"x", UsageError, "unknown suffix"),
        ("a.jsonl", b'[{"a": 1}]', InputError, "JSON array"),
    ],
)
def test_what_cannot_be_viewed_is_refused(tmp_path, monkeypatch, name, data, error, message):
    """With the usual messages, before a page is served."""
    monkeypatch.chdir(tmp_path)
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(error, match=message):
        ViewedFile(name)


def test_a_damaged_rest_is_named_and_the_rows_before_it_are_shown(opened, tmp_path):
    """A compressed file that is cut short has rows all the same."""
    path = tmp_path / "a.jsonl.gz"
    rows = b"".join(b'{"a": %d}\n' % number for number in range(300_000))
    path.write_bytes(gzip.compress(rows)[:-20])
    file = opened(path)
    assert "cut short or damaged" in file.state()["problem"]
    assert file.row(1000)["fields"][0]["text"] == "999"


def test_lines_that_are_too_long_are_passed_over(opened, tmp_path, monkeypatch):
    """They cost no memory, and the rows before and behind them are found."""
    for module in ("files", "rows", "opened", "search"):
        monkeypatch.setattr(f"dataprep.inspect.view.{module}.MAX_LINE", 1000)
    monkeypatch.setattr(search, "_BATCH", 100)
    monkeypatch.setattr(search, "PREVIEW_BYTES", 500)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a":"x"}\n{"a":"' + b"y" * 5000 + b'"}\n{"a":"z"}\n')
    file = opened(path)
    assert [row["number"] for row in file.page(1, 50)["rows"]] == [1, 2, 3]
    assert file.row(2)["findings"][0][0] == "too long a line"
    for back in (False, True):
        found = find(file.reader(), Query("z"), 3 if back else 1, back=back)
        assert [row["number"] for row in found.rows] == [3]
    assert [row["number"] for row in find(file.reader(), Query(flagged=True), 1).rows] == [2]


TEXTS = st.text(st.sampled_from('aAkK\u212a\u0130iéÉß"\\/\n <>本😀'), max_size=5)


@given(
    st.lists(st.tuples(TEXTS, st.sampled_from("xyK"), st.booleans()), max_size=12),
    TEXTS,
    st.sampled_from(["", "x", "K"]),
    st.integers(1, 60),
    st.booleans(),
)
def test_a_search_finds_what_parsing_every_row_finds(rows, text, source, piece, back):
    """Across the borders of blocks, in both directions, however the characters are escaped."""
    lines = [
        json.dumps({"t": [{"a": words}], "source": name}, ensure_ascii=ascii).encode()
        for words, name, ascii in rows
    ]
    data = b"\n".join(lines)
    wanted = [
        number
        for number, (words, name, _) in enumerate(rows, 1)
        if (text.lower() in words.lower() or text.lower() in name.lower()) and source in ("", name)
    ]
    with mock.patch.object(viewed, "PIECE", piece), mock.patch.object(search, "_BATCH", piece):
        made = LineIndex()
        for begin in range(0, len(data), piece):
            made.feed(data[begin : begin + piece])
        reader = viewed.Reader(data, made, made.extent(whole=True))
        found, start = [], len(rows) if back else 1
        while start is not None:
            part = find(reader, Query(text, source), start, back=back, count=2, seconds=0)
            found += [row["number"] for row in part.rows]
            start = part.next
    assert found == (wanted[::-1] if back else wanted)


@pytest.mark.parametrize("name", ["\u202eright", "s" * 700, "two\nlines", 'a "b" \\x00', "\x1b[31mé"])
def test_rows_are_found_by_what_the_page_lists(opened, tmp_path, name):
    """Sources and statuses are listed shortened and with escapes, and both forms of them are found."""
    rows = [{"source": name, "a": 1}, {"source": "other", "status": name}, {"source": name[:-1]}]
    file = opened(write_jsonl(tmp_path / "a.jsonl", rows))
    listed = file.page(1, 3)["rows"]
    source, status = listed[0]["source"], listed[1]["statuses"][0][1]
    assert source == status
    assert source.isprintable()
    assert {source, "other"} <= {*file.values()["sources"]}
    wanted = [1, 3] if len(name) > 60 else [1]
    assert [row["number"] for row in find(file.reader(), Query(source=source), 1).rows] == wanted
    assert [row["number"] for row in find(file.reader(), Query(source=name), 1).rows] == [1]
    assert [row["number"] for row in find(file.reader(), Query(status=status), 1).rows] == [2]


def test_only_two_signs_have_a_small_letter_of_ascii():
    """A search looks at bytes first, and passes no line over that has one of these."""
    begin = [chr(code) for code in range(128, 0x110000) if any(c.isascii() for c in chr(code).lower())]
    assert begin == ["\u0130", "\u212a"]


def test_marked_rows_are_found_where_they_are_now(opened, tmp_path):
    """A mark follows its row when rows are added before it."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join(b'{"a": %d}\n' % number for number in range(300)))
    file = opened(path)
    file.set_mark(280, "bad", "")
    file.set_mark(3, "", "look")
    query = Query(mark="bad", mark_of=file.mark_of)
    assert [row["number"] for row in file.find(query, 1, back=False, count=9)["rows"]] == [280]
    path.write_bytes(b'{"new": 1}\n' + path.read_bytes())
    file = opened(path)
    query = Query(mark="bad", mark_of=file.mark_of)
    assert [row["number"] for row in file.find(query, 1, back=False, count=9)["rows"]] == [281]
    flagged = Query(flagged=True, kind="record", mark_of=file.mark_of)
    assert [row["number"] for row in file.find(flagged, 300, back=True, count=9)["rows"]] == [281, 4]
    assert [row["mark"] for row in islice(file.page(4, 1)["rows"], 1)] == [{"mark": "", "note": "look"}]
