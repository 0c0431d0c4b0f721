"""Reading and writing: every format there and back, blocks, numbers of lines, outputs whole or not at all."""

import gzip
import json
import os
import stat
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep import read_rows, write_rows
from dataprep.core.errors import FileError, InputError, Location, UsageError
from dataprep.core.io import (
    format_of,
    open_output,
    read_blocks,
    read_lines,
    read_text,
    reading,
    write_text,
)
from tests.helpers import listing

KINDS = ["jsonl", "ndjson", "json", "csv", "tsv", "parquet"]
COMPRESSIONS = ["", ".gz", ".zst"]
SUFFIXES = [f".{kind}{compression}" for kind in KINDS for compression in COMPRESSIONS]

TEXTS = ["plain", 'a "quoted", comma', "two\nlines", "tab\there", "cr\rlf\r\n", "", "😀 \u2028 \u0085 é"]
NESTED_ROWS = [
    {"n": number, "text": text, "list": [text, text], "inner": {"x": number / 4, "flag": number > 2}}
    for number, text in enumerate(TEXTS)
]
FLAT_ROWS = [{"n": str(number), "text": text} for number, text in enumerate(TEXTS)]

UGLY = '\u2028\u2029\u0085\x00\x0b\x0c\x1c\x1d\x1e\x7f\r\n\t\ufeff"\\/😀👩‍👩‍👧é漢'
ANY_TEXT = st.text(st.one_of(st.sampled_from(UGLY), st.characters(codec="utf-8")), max_size=12)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    ANY_TEXT,
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner))
ROWS = st.lists(st.dictionaries(ANY_TEXT, VALUES, max_size=4), max_size=5)


def rows_of(path):
    """The rows in a file, without their numbers."""
    return [row for _, row in read_rows(str(path))]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_back_the_rows_that_were_written(tmp_path, suffix):
    """No format loses or changes a row."""
    rows = FLAT_ROWS if suffix.startswith((".csv", ".tsv")) else NESTED_ROWS
    path = tmp_path / f"rows{suffix}"
    assert write_rows(rows, str(path)) == len(rows)
    assert rows_of(path) == rows
    assert listing(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", [".jsonl", ".json.gz", ".csv.zst", ".parquet"])
def test_a_suffix_in_upper_case_is_understood(tmp_path, suffix):
    """Files from systems that shout are read too."""
    path = tmp_path / f"ROWS{suffix.upper()}"
    write_rows(FLAT_ROWS, str(path))
    assert rows_of(path) == FLAT_ROWS


@pytest.mark.medium
@given(rows=ROWS)
def test_json_lines_hold_any_unicode(tmp_path_factory, rows):
    """Line separators, control characters and emoji inside texts come back, and no other parser disagrees."""
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    write_rows(rows, str(path))
    assert rows_of(path) == rows
    assert [json.loads(line) for line in path.read_bytes().decode("utf-8").split("\n")[:-1]] == rows


@pytest.mark.medium
@given(
    texts=st.lists(st.tuples(ANY_TEXT, ANY_TEXT), min_size=1, max_size=5), suffix=st.sampled_from(SUFFIXES)
)
def test_rows_of_any_texts_come_back_from_every_format_and_compression(tmp_path_factory, texts, suffix):
    """Quotes, delimiters, line ends and control characters in a text or cell come back."""
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    rows = [{"a": first, "b": second} for first, second in texts]
    write_rows(rows, str(path))
    assert rows_of(path) == rows


def test_gzip_is_gzip_and_zstd_is_zstd(tmp_path):
    """Other programs can read what was compressed."""
    for suffix, magic in ((".gz", b"\x1f\x8b"), (".zst", b"\x28\xb5\x2f\xfd")):
        path = tmp_path / f"rows.jsonl{suffix}"
        write_rows(FLAT_ROWS, str(path))
        assert path.read_bytes().startswith(magic)
    lines = gzip.decompress((tmp_path / "rows.jsonl.gz").read_bytes()).splitlines()
    assert [json.loads(line) for line in lines] == FLAT_ROWS


def test_written_json_is_one_array(tmp_path):
    """Any JSON parser reads the written file, with rows and without."""
    path = tmp_path / "rows.json"
    for rows in (NESTED_ROWS, NESTED_ROWS[:1], []):
        write_rows(rows, str(path))
        assert json.loads(path.read_text(encoding="utf-8")) == rows


@pytest.mark.parametrize(
    "text",
    [
        '[{"a": 1}, {"a": 2}]',
        '[\n  {"a": 1},\n  {\n    "a": 2\n  }\n]\n',
        '\n[{"a": 1}, {"a": 2}]',
        '{"a": 1}\n{"a": 2}\n',
        '{"a": 1}\r\n{"a": 2}',
        '{"a": 1}\n\n \n{"a": 2}\n\n',
        '\n{"a": 1}\n{"a": 2}\n',
    ],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_json_file_may_be_an_array_or_lines(tmp_path, text, mark):
    """A .json file is read as whatever it holds, with and without a byte order mark."""
    path = tmp_path / "rows.json"
    path.write_bytes((mark + text).encode())
    assert rows_of(path) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("text", ['{"a": [1, 2]}', '{\n "a": [\n 1,\n 2]\n}\n', '{"a": [1, 2]}\n\n\n'])
def test_a_json_file_may_hold_one_row(tmp_path, text):
    """A single object is one row, on one line or on many."""
    path = tmp_path / "row.json"
    path.write_text(text, encoding="utf-8")
    assert rows_of(path) == [{"a": [1, 2]}]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b'[\n{"a": 1},\n{"a": }\n]\n', 3),
        (b"[\n" + '{"a": "😀😀😀😀😀😀😀😀"},\n'.encode() * 9 + b'{"a": }\n]\n', 11),
        (b'[\n{"a": 1},\n{"a": "\xff"}\n]\n', 3),
    ],
    ids=["syntax", "syntax after emoji", "not UTF-8"],
)
def test_an_error_in_a_document_names_its_line(tmp_path, data, line):
    """The reader of the message finds the place in the file."""
    path = tmp_path / "rows.json"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        rows_of(path)
    assert str(caught.value).startswith(f"{path}:{line}:")


@pytest.mark.parametrize(
    ("data", "numbers"),
    [
        (b'{"a": 1}\n{"a": 2}\n', [1, 2]),
        (b'{"a": 1}\n{"a": 2}', [1, 2]),
        (b'{"a": 1}\r\n{"a": 2}\r\n', [1, 2]),
        (b'\xef\xbb\xbf{"a": 1}\n{"a": 2}\n', [1, 2]),
        (b'\n\n{"a": 1}\n \t\n\r\n{"a": 2}\n\n', [3, 6]),
    ],
    ids=["plain", "no final newline", "CRLF", "byte order mark", "blank lines"],
)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_lines_keep_their_numbers(tmp_path, data, numbers, compression):
    """Blank lines count, the byte order mark and line ends do not matter, compressed or not."""
    path = tmp_path / f"rows.jsonl{compression}"
    if compression == ".zst":
        with open_output(str(path)) as out:
            out.write(data)
    else:
        path.write_bytes(gzip.compress(data) if compression else data)
    name = str(path)
    assert list(read_rows(name)) == [
        ((name, number, "line"), {"a": n}) for n, number in enumerate(numbers, 1)
    ]


def test_a_place_is_the_readers_word(tmp_path):
    """Lines of JSON Lines by line, whatever the suffix; rows of arrays and tables by their count."""
    cases = [
        ("a.jsonl", b'\n{"a": "1"}\n\n{"a": "2"}\n', ["a.jsonl:2", "a.jsonl:4"]),
        ("lines.json", b'\n{"a": "1"}\n{"a": "2"}\n', ["lines.json:2", "lines.json:3"]),
        ("array.json", b'[\n{"a": "1"},\n\n{"a": "2"}]', ["array.json: row 1", "array.json: row 2"]),
        ("one.json", b'{\n"a": "1"}', ["one.json: row 1"]),
        ("a.csv", b'a\n"1\n1"\n\n2\n', ["a.csv: row 1", "a.csv: row 2"]),
        ("a.tsv", b"a\n1\n2\n", ["a.tsv: row 1", "a.tsv: row 2"]),
    ]
    failures = []
    for name, data, expected in cases:
        (tmp_path / name).write_bytes(data)
        places = [str(where) for where, _ in read_rows(str(tmp_path / name))]
        if places != [f"{tmp_path}/{place}" for place in expected]:
            failures.append((name, places))
    assert not failures
    assert str(Location("-", 3)) == "standard input:3"


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_tables_take_byte_order_marks_and_either_line_end(tmp_path, mark, end):
    """A table saved by a spreadsheet is read as it is."""
    path = tmp_path / "rows.csv"
    path.write_bytes(mark + end.join([b"a,b", b"1,x", b'2,"y, z"', b""]))
    assert rows_of(path) == [{"a": "1", "b": "x"}, {"a": "2", "b": "y, z"}]


LINES = st.lists(
    st.sampled_from([b"", b"a", b"\r", b"bc", b"x" * 9, b"\xe2\x80\xa8", b"y" * 31]), max_size=25
)


@given(lines=LINES, size=st.integers(1, 40), final=st.booleans(), mark=st.booleans(), zipped=st.booleans())
def test_blocks_are_the_file_cut_at_newlines(tmp_path_factory, lines, size, final, mark, zipped):
    """Whatever the block size, no byte is lost and no line is divided."""
    data = b"\n".join(lines) + (b"\n" if lines and final else b"")
    raw = (b"\xef\xbb\xbf" if mark else b"") + data
    path = tmp_path_factory.getbasetemp() / ("blocks.jsonl.gz" if zipped else "blocks.jsonl")
    path.write_bytes(gzip.compress(raw, 1) if zipped else raw)
    blocks = list(read_blocks(str(path), size))
    pieces = [block.read() for block in blocks]
    assert b"".join(pieces) == data
    assert all(pieces)
    assert all(piece.endswith(b"\n") for piece in pieces[:-1])
    buffer = bytearray(len(raw) + 1)
    assert [bytes(block.read_into(buffer)) for block in blocks if block.data is None] == (
        pieces if not zipped else []
    )
    if not zipped:  # a block ends with the first line that fills it
        assert all(len(piece[:-1].rpartition(b"\n")[0]) < size for piece in pieces)
    expected = [(number, line) for number, line in enumerate(data.split(b"\n"), 1) if line.strip()]
    assert list(read_lines(str(path))) == expected


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_rows_give_the_same_bytes(tmp_path, monkeypatch, suffix):
    """No time, name or chance gets into a file."""
    paths = [tmp_path / f"{name}{suffix}" for name in ("one", "another")]
    for hour, path in enumerate(paths):
        monkeypatch.setattr(time, "time", lambda hour=hour: 1.7e9 + 3600 * hour)
        write_rows(FLAT_ROWS * 50, str(path))
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("old", [True, False], ids=["over a file", "new"])
def test_an_output_appears_whole_or_not_at_all(tmp_path, suffix, old):
    """What fails leaves the earlier output as it was, and nothing else behind."""
    path = tmp_path / f"rows{suffix}"
    if old:
        path.write_bytes(b"earlier")
    before = listing(tmp_path)

    def fail():
        with open_output(str(path)) as out:
            out.write(b'{"a":1}\n' * 100_000)
            assert path.exists() == old, "the unfinished output must not stand in its place"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert listing(tmp_path) == before
    assert not old or path.read_bytes() == b"earlier"


@pytest.mark.parametrize("suffix", [".csv", ".tsv.gz", ".parquet"])
def test_rows_that_do_not_fit_a_table_leave_nothing(tmp_path, suffix):
    """A format that cannot hold the rows says so and leaves the earlier file."""
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(b"earlier")
    with pytest.raises(FileError, match=path.name):
        write_rows([{"a": 1}, {"a": "x"}], str(path))
    assert listing(tmp_path) == [path.name]
    assert path.read_bytes() == b"earlier"


@pytest.mark.parametrize("dangling", [True, False])
def test_a_linked_output_stays_a_link(tmp_path, dangling):
    """The file that a link points to is replaced, not the link."""
    real, link = tmp_path / "elsewhere" / "real.jsonl", tmp_path / "link.jsonl"
    real.parent.mkdir()
    if not dangling:
        real.write_text("old", encoding="utf-8")
    link.symlink_to(real)
    write_rows([{"a": 1}], str(link))
    assert link.is_symlink()
    assert real.read_bytes() == b'{"a":1}\n'
    assert listing(real.parent) == ["real.jsonl"]


def test_a_device_is_written_to_and_not_replaced(tmp_path):
    """/dev/null stays a device, whether it is named itself or through a link with a suffix."""
    link = tmp_path / "out.jsonl"
    link.symlink_to("/dev/null")
    assert write_rows([{"a": 1}], str(link)) == 1
    assert link.is_symlink()
    assert write_rows([{"a": 1}], "/dev/null") == 1
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_named_pipe_is_written_to(tmp_path):
    """Another program can read an output while it is made."""
    pipe = tmp_path / "pipe.jsonl"
    os.mkfifo(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_rows([{"a": 1}] * 20_000, str(pipe))
    reader.join(10)
    assert got == [b'{"a":1}\n' * 20_000]
    assert pipe.is_fifo()


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet"])
def test_a_file_keeps_its_mode(tmp_path, suffix):
    """Writing an output again does not open it to others; a new one has the usual mode."""
    kept, new, usual = (tmp_path / f"{name}{suffix}" for name in ("kept", "new", "usual"))
    kept.write_bytes(b"")
    kept.chmod(0o640)
    usual.touch()
    write_rows([{"a": 1}], str(kept))
    write_rows([{"a": 1}], str(new))
    assert stat.S_IMODE(kept.stat().st_mode) == 0o640
    assert stat.S_IMODE(new.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)


@pytest.mark.parametrize("name", ["rows", "rows.txt", "rows.gz", "rows.jsonl.bz2", ".jsonl"])
def test_an_unknown_suffix_lists_the_known_ones(name):
    """Nobody has to guess which formats there are."""
    with pytest.raises(UsageError, match=r"\.jsonl .*\.parquet"):
        format_of(Path("folder.json") / name)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"a,b\n1,2\n3\n", 3),
        (b'a,b\n"1\n1",2\n3,4,5\n', 4),
        (b'a,b\n1,2\n"3,4\n', 3),
        (b"a,a\n1,2\n", 1),
    ],
    ids=["short row", "long row after a cell of two lines", "open quote", "name twice"],
)
def test_a_bad_table_row_is_named_by_its_line(tmp_path, data, line):
    """The reader of the message finds the place in the table."""
    path = tmp_path / "rows.csv"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        rows_of(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")


def test_a_table_that_is_not_utf_8_says_so(tmp_path):
    """A table saved in another encoding is told apart from a broken one, with the byte that shows it."""
    path = tmp_path / "rows.csv"
    path.write_bytes(b"a,b\n1,2\n\xe4,4\n")
    with pytest.raises(InputError, match=r"rows\.csv:.*not UTF-8: byte 0xe4"):
        rows_of(path)


def test_a_text_is_written_whole_or_not_at_all(tmp_path):
    """A page is written as it is, whatever its suffix, in place of the earlier one, and nothing is left."""
    path = tmp_path / "page.html"
    for text in ("old", "é\r\n𝔘"):
        write_text(text, str(path))
        assert path.read_bytes() == text.encode()
    assert read_text(str(path)) == "é\r\n𝔘"
    with pytest.raises(UnicodeEncodeError):
        write_text("\ud800", str(path))
    assert path.read_bytes() == "é\r\n𝔘".encode()
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileError, match="No such"):
        write_text("x", str(tmp_path / "missing" / "page.html"))


@pytest.mark.parametrize(("name", "begin"), [("bomb.json.gz", b"[\n"), ("bomb.parquet.gz", b"PAR1")])
def test_what_is_read_as_a_whole_has_a_limit(tmp_path, monkeypatch, name, begin):
    """A small compressed file that becomes a huge one is refused before it fills the memory."""
    path = tmp_path / name
    path.write_bytes(gzip.compress(begin + b" " * 3_000_000 + b"]"))
    monkeypatch.setattr(reading, "MAX_WHOLE", 1 << 20)
    with pytest.raises(InputError, match=r"bomb\.\w+\.gz: found more than 1 MiB .* JSON Lines"):
        list(read_rows(str(path)))


@pytest.mark.slow
def test_a_table_of_many_groups_is_the_same_rows(tmp_path):
    """Parquet output keeps every row of every group, also those whose fields come late."""
    rows = [{"n": number, "texts": [str(number)]} for number in range(20_000)]
    rows[-1]["late"] = True
    write_rows(rows, str(tmp_path / "t.parquet"))
    back = [row for _, row in read_rows(str(tmp_path / "t.parquet"))]
    assert back == rows
