"""Merge: every row once, in the order of Python's own shuffle, byte for byte, through memory or disk."""

import csv
import gzip
import json
import random
from collections import Counter

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dataprep
from dataprep import merge_files, write_rows
from dataprep.core.errors import FileError, InputError, UsageError
from tests.helpers import listing

pytestmark = pytest.mark.usefixtures("forked")
# Rows with spacing, escapes, carriage returns and characters that a parser and writer would change.
ODD_ROWS = [
    b'{"a":1}',
    b'  {"a" :\t1 }  ',
    b'{"a": 1.0, "b": 1e2, "a2": 10000000000000000000000}\r',
    b'{"t": "\\u00e9\\ud83d\\ude00 \\/ \\u2028"}',
    '{"t": "é😀\u2028\u0085"}'.encode(),
    b'{"a": 1, "a": 2}',
    b"{}",
]
BLANK = [b"", b" ", b"\t \r", b"\x0b\x0c"]
LINES = st.lists(st.sampled_from(ODD_ROWS + BLANK), max_size=30)
FILES = st.lists(st.tuples(LINES, st.booleans()), min_size=1, max_size=4)


def shuffled(rows, seed):
    """The oracle: the standard library's shuffle."""
    rows = list(rows)
    random.seed(seed)
    random.shuffle(rows)
    return rows


def rows_in(data):
    """The rows of JSON Lines: what stands between newlines and is not blank."""
    return [line for line in data.split(b"\n") if line.strip()]


def joined(rows):
    """Rows as a file."""
    return b"".join(row + b"\n" for row in rows)


def numbered_rows(count, pad=10):
    """Rows of different lengths, each with its number."""
    return [b'{"n": %d, "pad": "%s"}' % (n, b"x" * (n * 7 % (pad + 1))) for n in range(count)]


@given(contents=FILES, seed=st.integers(0, 2**40), memory=st.sampled_from([1, 50, 400, 1 << 30]))
@settings(deadline=None)
def test_merge_keeps_every_row_in_the_order_of_random_shuffle(tmp_path_factory, contents, seed, memory):
    """Nothing is lost, doubled or changed; the order is the published one, through memory or disk."""
    folder = tmp_path_factory.mktemp("merge")
    paths, rows = [], []
    for number, (lines, final) in enumerate([*contents, ([ODD_ROWS[0]], True)]):
        data = b"\n".join([*lines, ODD_ROWS[number % len(ODD_ROWS)]]) + (b"\n" if final else b"")
        path = folder / f"{number}.jsonl"
        path.write_bytes(data)
        paths.append(path)
        rows += rows_in(data)
    output = folder / "out" / "merged.jsonl"
    output.parent.mkdir()
    ledger = merge_files(paths[::-1], output, seed=seed, memory=memory, workers=1)
    written = output.read_bytes()
    assert Counter(rows_in(written)) == Counter(rows)
    assert written == joined(shuffled(rows, seed))
    assert (ledger.rows_in, ledger.rows_out) == (len(rows), len(rows))
    assert listing(output.parent) == [output.name]


@pytest.mark.medium
@pytest.mark.parametrize(("count", "workers"), [(1, 1), (2, 1), (3, 2), (1000, 1), (20_000, 1), (20_000, 2)])
def test_large_files_are_shuffled_as_python_does(tmp_path, count, workers):
    """The order holds beyond one block of the generator, on one worker and on two."""
    rows = numbered_rows(count, 300)
    (tmp_path / "a.jsonl").write_bytes(joined(rows))
    merge_files([tmp_path / "a.jsonl"], tmp_path / "out.jsonl", seed=7, workers=workers)
    assert (tmp_path / "out.jsonl").read_bytes() == joined(shuffled(rows, 7))


@pytest.mark.medium
@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("memory", "workers"),
    [(1, 1), (1_000, 1), (20_000, 2), (100_000, 1), (250_000, 1), (1 << 30, 1), (1 << 30, 2)],
)
def test_the_way_through_the_disk_gives_the_same_bytes(tmp_path, memory, workers):
    """The memory limit changes neither rows nor order, whatever it is."""
    rows = numbered_rows(4000, 100)
    paths = [tmp_path / f"{name}.jsonl" for name in "abc"]
    for path, part in zip(paths, (rows[:1], rows[1:3000], rows[3000:]), strict=True):
        path.write_bytes(joined(part))
    merge_files(paths, tmp_path / "out.jsonl", memory=memory, workers=workers, seed=3)
    assert (tmp_path / "out.jsonl").read_bytes() == joined(shuffled(rows, 3))
    assert listing(tmp_path) == ["a.jsonl", "b.jsonl", "c.jsonl", "out.jsonl"]


def test_rows_of_very_different_lengths_go_through_the_disk(tmp_path):
    """A row larger than the memory limit, and buckets of one row, are no special case."""
    rows = [b'{"n": %d, "t": "%s"}' % (n, b"y" * (200_000 if n % 10 == 0 else n)) for n in range(60)]
    (tmp_path / "a.jsonl").write_bytes(joined(rows))
    merge_files([tmp_path / "a.jsonl"], tmp_path / "out.jsonl", memory=50_000)
    assert (tmp_path / "out.jsonl").read_bytes() == joined(shuffled(rows, 42))


def test_many_files_are_taken_in_sorted_path_order(tmp_path):
    """The order in which files are named does not matter; their paths' order does."""
    names = [f"{number}.jsonl" for number in range(120)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(joined([b'{"f": %d, "n": 0}' % number, b'{"f": %d, "n": 1}' % number]))
    paths = [tmp_path / name for name in names]
    random.Random(1).shuffle(paths)
    merge_files(paths, tmp_path / "out.jsonl", seed=5)
    expected = [row for path in sorted(paths, key=str) for row in rows_in(path.read_bytes())]
    assert (tmp_path / "out.jsonl").read_bytes() == joined(shuffled(expected, 5))


def test_a_folder_stands_for_its_json_lines(tmp_path):
    """Only the folder's *.jsonl are merged, not what else lies there."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("b.jsonl", "a.jsonl", "notes.json", ".a.jsonl.77.partial"):
        (folder / name).write_text(json.dumps({"name": name}), encoding="utf-8")
    merge_files([folder], tmp_path / "out.jsonl", shuffle=False)
    assert (tmp_path / "out.jsonl").read_bytes() == b'{"name": "a.jsonl"}\n{"name": "b.jsonl"}\n'


@pytest.mark.parametrize("memory", [1, 1 << 30])
def test_without_shuffling_rows_keep_their_order(tmp_path, memory):
    """--no-shuffle is the concatenation, without blank lines."""
    (tmp_path / "b.jsonl").write_bytes(joined(ODD_ROWS[:3] + BLANK))
    (tmp_path / "a.jsonl").write_bytes(b"\n\n" + joined(ODD_ROWS[3:])[:-1])
    paths = [tmp_path / "b.jsonl", tmp_path / "a.jsonl"]
    merge_files(paths, tmp_path / "out.jsonl", shuffle=False, memory=memory)
    assert (tmp_path / "out.jsonl").read_bytes() == joined(ODD_ROWS[3:] + ODD_ROWS[:3])


def test_a_byte_order_mark_is_no_part_of_a_row(tmp_path):
    """A mark at a file's beginning does not end up in the middle of the output."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_bytes(b'\xef\xbb\xbf{"a": 1}\n')
    merge_files([tmp_path / "a.jsonl", tmp_path / "b.jsonl"], tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == b'{"a": 1}\n{"a": 1}\n'


@pytest.mark.parametrize(
    "line", [b"[1]", b'"text"', b"5", b"null", b'{"a": 1', b"{'a': 1}", b'{"a": "\xff"}']
)
def test_a_line_that_is_no_object_stops_the_merge_unless_told_otherwise(tmp_path, line):
    """The check names the line; --no-check takes the line as it is."""
    path, output = tmp_path / "a.jsonl", tmp_path / "out.jsonl"
    path.write_bytes(joined([b"{}", b"", b"{}", line, b"{}"]))
    output.write_bytes(b"earlier")
    with pytest.raises(InputError, match=r"a\.jsonl:4: "):
        merge_files([path], output)
    assert output.read_bytes() == b"earlier"
    merge_files([path], output, check=False, shuffle=False)
    assert output.read_bytes() == joined([b"{}", b"{}", line, b"{}"])
    assert listing(tmp_path) == ["a.jsonl", "out.jsonl"]


@pytest.mark.parametrize("workers", [1, 2])
def test_rejects_take_the_bad_rows_and_the_order_is_that_of_the_rest(tmp_path, workers):
    """Bad rows are set aside with file and line; the others are shuffled as if they had been alone."""
    good = numbered_rows(500)
    lines = list(good)
    bad = {3: b"[1]", 200: b'{"cut": ', 503: b'{"x": "\xff"}'}
    for position, line in bad.items():
        lines.insert(position - 1, line)
    (tmp_path / "a.jsonl").write_bytes(joined(lines))
    ledger = merge_files(
        [tmp_path / "a.jsonl"], tmp_path / "out.jsonl", rejects=tmp_path / "bad.jsonl", workers=workers
    )
    assert (tmp_path / "out.jsonl").read_bytes() == joined(shuffled(good, 42))
    rejected = [orjson.loads(line) for line in rows_in((tmp_path / "bad.jsonl").read_bytes())]
    assert [row["line"] for row in rejected] == list(bad)
    assert [row["text"] for row in rejected] == ["[1]", '{"cut": ', '{"x": "\\xff"}']
    assert {row["path"] for row in rejected} == {str(tmp_path / "a.jsonl")}
    assert all(row["reason"] for row in rejected)
    assert (ledger.rows_in, ledger.rows_out, ledger.failed.total()) == (503, 500, 3)


@pytest.mark.parametrize(
    "suffix", [".jsonl.gz", ".jsonl.zst", ".json", ".json.gz", ".parquet", ".csv", ".tsv.zst"]
)
def test_every_format_can_be_merged(tmp_path, suffix):
    """Files in other formats come in row by row, at their paths' place in the order."""
    rows = [{"n": str(n), "text": f"é {n}"} for n in range(50)]
    write_rows(rows, str(tmp_path / f"b{suffix}"))
    plain = [{"n": "a", "text": "before"}], [{"n": "c", "text": "after"}]
    write_rows(plain[0], str(tmp_path / "a.jsonl"))
    write_rows(plain[1], str(tmp_path / "c.jsonl"))
    paths = [tmp_path / name for name in ("c.jsonl", f"b{suffix}", "a.jsonl")]
    merge_files(paths, tmp_path / "out.jsonl", seed=9)
    merged = [json.loads(line) for line in rows_in((tmp_path / "out.jsonl").read_bytes())]
    assert merged == shuffled(plain[0] + rows + plain[1], 9)
    assert not [name for name in listing(tmp_path) if name.startswith(".")]


def test_compressed_rows_keep_their_bytes(tmp_path):
    """A row's bytes do not depend on whether its file was compressed; a missing newline is added."""
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(joined(ODD_ROWS)[:-1]))
    merge_files([tmp_path / "a.jsonl.gz"], tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == joined(shuffled(ODD_ROWS, 42))


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst", ".json", ".csv", ".parquet"])
def test_every_format_can_be_merged_into(tmp_path, suffix):
    """The output's suffix decides its format."""
    rows = [{"n": str(n)} for n in range(20)]
    write_rows(rows, str(tmp_path / "a.jsonl"))
    merge_files([tmp_path / "a.jsonl"], tmp_path / f"out{suffix}", workers=2)
    assert [row for _, row in dataprep.read_rows(str(tmp_path / f"out{suffix}"))] == shuffled(rows, 42)


def test_bad_rows_of_a_table_are_named_by_their_row(tmp_path):
    """In a document, whose lines say nothing, the row is counted."""
    (tmp_path / "a.json").write_text('[{"a": 1},\n 5, {"a": 2}]', encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.json: row 2: not a JSON object"):
        merge_files([tmp_path / "a.json"], tmp_path / "out.jsonl")


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_a_file_named_twice_is_merged_twice(tmp_path, suffix):
    """No row disappears without a reason: naming a file twice doubles it, as concatenating does."""
    path = tmp_path / f"a{suffix}"
    rows = [{"n": n} for n in range(10)]
    write_rows(rows, str(path))
    merge_files([path, path], tmp_path / "out.jsonl")
    merged = [json.loads(line) for line in rows_in((tmp_path / "out.jsonl").read_bytes())]
    assert merged == shuffled(rows + rows, 42) == dataprep.merge(path, path)


@pytest.mark.parametrize("data", [b"", b"\n", b" \n\t\r\n\n"])
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_a_file_without_rows_is_an_error(tmp_path, data, suffix):
    """A file that came out empty is noticed, and no scratch folder stays."""
    (tmp_path / "a.jsonl").write_bytes(b"{}\n")
    empty = tmp_path / f"empty{suffix}"
    empty.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    with pytest.raises(InputError, match=rf"empty{suffix}: the file is empty"):
        merge_files([tmp_path / "a.jsonl", empty], tmp_path / "out.jsonl")
    assert listing(tmp_path) == ["a.jsonl", empty.name]


def test_a_file_of_bad_rows_only_is_not_empty(tmp_path):
    """With --rejects, a file whose rows are all bad is no empty file; the output has no rows."""
    (tmp_path / "a.jsonl").write_bytes(b"[1]\n[2]\n")
    ledger = merge_files([tmp_path / "a.jsonl"], tmp_path / "out.jsonl", rejects=tmp_path / "bad.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == b""
    assert (ledger.rows_in, ledger.rows_out, ledger.failed.total()) == (2, 0, 2)


def test_an_output_may_be_one_of_the_inputs(tmp_path):
    """A file can be shuffled in place: it is read whole before it is replaced."""
    rows = numbered_rows(5000, 100)
    path = tmp_path / "a.jsonl"
    for memory in (1 << 30, 10_000):
        path.write_bytes(joined(rows))
        merge_files([path], path, memory=memory)
        assert path.read_bytes() == joined(shuffled(rows, 42))


@pytest.mark.parametrize("memory", [1, 1 << 30])
def test_scratch_files_are_removed_after_an_error_in_the_middle(tmp_path, memory):
    """What fails while rows are written leaves the earlier output and nothing else."""
    rows = numbered_rows(2000)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(joined(rows)))
    (tmp_path / "out.jsonl").write_bytes(b"earlier")
    calls = []

    def fail(count):
        calls.append(count)
        if len(calls) > 1:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        merge_files([tmp_path / "a.jsonl.gz"], tmp_path / "out.jsonl", memory=memory, progress=fail)
    assert listing(tmp_path) == ["a.jsonl.gz", "out.jsonl"]
    assert (tmp_path / "out.jsonl").read_bytes() == b"earlier"


def test_the_progress_adds_up(tmp_path):
    """Each byte is counted once while it is read and once while it is written."""
    data = joined(numbered_rows(1000))
    (tmp_path / "a.jsonl").write_bytes(data)
    counts = []
    merge_files([tmp_path / "a.jsonl"], tmp_path / "out.jsonl", progress=counts.append)
    assert sum(counts) == 2 * len(data)


def test_nothing_to_merge_is_an_error(tmp_path):
    """No input, no file of that name, a folder without files, no memory: each is said."""
    with pytest.raises(UsageError):
        merge_files([], tmp_path / "out.jsonl")
    with pytest.raises(FileError, match="no such file"):
        merge_files([tmp_path / "a.jsonl"], tmp_path / "out.jsonl")
    with pytest.raises(FileError, match=r"no \*\.jsonl"):
        merge_files([tmp_path], tmp_path / "out.jsonl")
    (tmp_path / "a.jsonl").write_bytes(b"{}\n")
    with pytest.raises(UsageError, match="memory"):
        merge_files([tmp_path], tmp_path / "out.jsonl", memory=0)
    assert listing(tmp_path) == ["a.jsonl"]


@given(sources=st.lists(st.lists(st.integers(), max_size=8), max_size=4), seed=st.integers(0, 2**33))
def test_rows_given_one_by_one_are_merged_alike(sources, seed):
    """The library's merge over iterables has the same order, and takes sources as they are given."""
    sources = [[{"n": n} for n in source] for source in sources]
    rows = [row for source in sources for row in source]
    assert dataprep.merge(*map(iter, sources), seed=seed) == shuffled(rows, seed)
    assert dataprep.merge(*sources, shuffle=False) == rows


def test_the_librarys_merge_does_not_touch_the_global_generator(tmp_path):
    """A program's own random numbers are its own."""
    (tmp_path / "a.jsonl").write_bytes(joined(numbered_rows(10)))
    random.seed(1)
    expected = random.random()
    random.seed(1)
    dataprep.merge([{"n": 1}, {"n": 2}])
    merge_files([tmp_path / "a.jsonl"], tmp_path / "out.jsonl")
    assert random.random() == expected


def test_merge_mixes_files_and_iterables(tmp_path):
    """A table on disk and rows in memory can be merged together."""
    with (tmp_path / "a.csv").open("w", encoding="utf-8", newline="") as table:
        csv.writer(table).writerows([["n"], ["1"], ["2"]])
    rows = dataprep.merge(tmp_path / "a.csv", [{"n": "3"}], seed=1)
    assert rows == shuffled([{"n": "1"}, {"n": "2"}, {"n": "3"}], 1)
