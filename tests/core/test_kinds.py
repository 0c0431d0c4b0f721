"""Files of another kind than their names say: an error of the file, by its first bytes."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile

import pytest

from dataprep import read_rows, write_rows
from dataprep.core.errors import InputError
from dataprep.core.io import read_document
from tests.tables import table

ROWS = [{"question": f"What is {n} + 1?", "answer": f"{n}+1={n + 1}\n#### {n + 1}"} for n in range(3)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
HTML = (
    b"\n<!DOCTYPE html>\n<html><head><title>Not found</title></head>\n<body>\nNo such file\n</body></html>\n"
)


def in_zip():
    """Rows in a zip archive."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("rows.jsonl", LINES)
    return data.getvalue()


def in_tar():
    """Rows in a tar archive."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        info = tarfile.TarInfo("rows.jsonl")
        info.size = len(LINES)
        archive.addfile(info, io.BytesIO(LINES.encode()))
    return data.getvalue()


def in_parquet(folder):
    """Rows in a Parquet file."""
    write_rows(ROWS, str(folder / "made.parquet"))
    return (folder / "made.parquet").read_bytes()


# The name of a file, its bytes, what is found, and what to do.
FILES = [
    ("a.jsonl", json.dumps(ROWS), "a JSON array", "name it with the suffix .json"),
    ("a.jsonl", json.dumps(ROWS, indent=2), "a JSON array", "name it with the suffix .json"),
    ("a.jsonl", json.dumps(ROWS[0], indent=2), "a JSON document of several lines", "jq -c"),
    ("a.jsonl", '{"question": "1 + 1?",\n "answer": "2"}\n', "a JSON document of several lines", "jq -c"),
    ("a.jsonl", '\ufeff\n[{"question": "1 + 1?"},\n{"question": "2?"}]', "a JSON array", "suffix .json"),
    ("a.jsonl", json.dumps(ROWS * 100), "a JSON array", "suffix .json"),
    ("a.jsonl.gz", gzip.compress(json.dumps(ROWS).encode()), "a JSON array", "suffix .json"),
    ("a.jsonl", LINES.encode("utf-16"), "text in UTF-16", "save it as UTF-8"),
    ("a.jsonl", LINES.encode("utf-16-le"), "text in UTF-16", "save it as UTF-8"),
    ("a.jsonl", LINES.encode("utf-16-be"), "text in UTF-16", "save it as UTF-8"),
    ("a.jsonl", LINES.encode("utf-32"), "text in UTF-32", "save it as UTF-8"),
    ("a.csv", "question,answer\n1 + 1?,2\n".encode("utf-16"), "text in UTF-16", "save it as UTF-8"),
    ("a.json", json.dumps(ROWS).encode("utf-16"), "text in UTF-16", "save it as UTF-8"),
    ("a.jsonl", gzip.compress(LINES.encode()), "gzip data", "name it a.jsonl.gz"),
    ("a.json", gzip.compress(json.dumps(ROWS).encode()), "gzip data", "name it a.json.gz"),
    ("a.csv", gzip.compress(b"question,answer\n1,2\n"), "gzip data", "name it a.csv.gz"),
    ("a.jsonl.gz", gzip.compress(gzip.compress(LINES.encode())), "gzip data", "unpack it"),
    ("a.jsonl", in_zip(), "a zip archive", "unpack it"),
    ("a.csv", in_zip(), "a zip archive", "export its sheet as .csv"),
    ("a.parquet", in_zip(), "a zip archive", "unpack it"),
    ("a.jsonl.gz", in_zip(), "a zip archive", "unpack it"),
    ("a.jsonl", bz2.compress(LINES.encode()), "bzip2 data", "unpack it"),
    ("a.jsonl", lzma.compress(LINES.encode()), "xz data", "unpack it"),
    ("a.jsonl.gz", gzip.compress(in_tar()), "a tar archive", "unpack it"),
    ("a.jsonl", in_parquet, "a Parquet file", "suffix .parquet"),
    ("a.csv", in_parquet, "a Parquet file", "suffix .parquet"),
    ("a.jsonl", b"ARROW1\x00\x00\xff\xff\xff\xff", "an Arrow file", "export its rows"),
    ("a.jsonl", b"SQLite format 3\x00\x10\x00", "an SQLite database", "export its rows"),
    ("a.jsonl", LFS, "a Git LFS pointer", "git lfs pull"),
    ("a.json", LFS, "a Git LFS pointer", "git lfs pull"),
    ("a.csv", LFS, "a Git LFS pointer", "git lfs pull"),
    ("a.parquet", LFS, "a Git LFS pointer", "git lfs pull"),
    ("a.jsonl.gz", LFS, "a Git LFS pointer", "git lfs pull"),
    ("a.jsonl.zst", LFS, "a Git LFS pointer", "git lfs pull"),
    ("a.jsonl", HTML, "an HTML page", "fetch it again"),
    ("a.json", HTML, "an HTML page", "fetch it again"),
    ("a.csv", HTML, "an HTML page", "fetch it again"),
    ("a.jsonl", b'<?xml version="1.0"?><Error>Denied</Error>', "an XML document", "fetch it again"),
    ("a.jsonl", "\x1e" + LINES.replace("\n", "\n\x1e")[:-1], "a JSON text sequence", "tr -d"),
    ("a.jsonl", "question,answer\n1 + 1?,2\n", "a table", "suffix .csv"),
    ("a.jsonl", "question\tanswer\n1 + 1?\t2\n", "a table", "suffix .tsv"),
    ("a.csv", LINES, "JSON", "suffix .json or .jsonl"),
    ("a.csv", json.dumps(ROWS, indent=1), "JSON", "suffix .json or .jsonl"),
    ("a.jsonl", LINES.replace("\n", "\r"), "lines that end with a carriage return alone", "tr "),
    ("a.parquet", LINES, "another file", "Parquet"),
    ("a.jsonl.gz", LINES, "text that is not compressed", "without the suffix"),
    ("a.jsonl", "- question: 1 + 1?\n  answer: 2\n", "all of its 2 lines are unreadable", "another format"),
    ("a.jsonl", "{'question': '1 + 1?', 'answer': '2'}\n", "its only line is unreadable", "another format"),
]


def written(folder, name, data):
    """The path of a file with some bytes, which may have to be made."""
    data = data(folder) if callable(data) else data
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder / name


@pytest.mark.medium
@pytest.mark.parametrize("command", [("convert", "gsm8k"), ("merge",)])
def test_a_file_of_another_kind_is_an_error_of_the_file(run, tmp_path, command):
    """It is no file of bad rows: `--rejects` takes none of them, and the output does not appear."""
    failures = []
    for name, data, found, advice in FILES:
        written(tmp_path, name, data)
        done = run(*command, name, "-o", "out.jsonl", "--rejects", "bad.jsonl")
        line = done.err.splitlines()[0]
        if (
            done.code != 1
            or not line.startswith(f"error: {name}: ")
            or found not in line
            or advice not in line
        ):
            failures.append((name, found, done))
        left = [path.name for path in tmp_path.iterdir() if path.name not in (name, "made.parquet")]
        if left:
            failures.append((name, found, left))
        (tmp_path / name).unlink()
    assert not failures, "\n".join(map(str, failures))


def test_standard_input_and_other_readers_see_it_too(run, tmp_path):
    """What comes through a pipe has no name to correct, and `validate` and `stats` read no other file."""
    failures = []
    for data, found in (
        (json.dumps(ROWS), "a JSON array"),
        (gzip.compress(b"x"), "gzip data"),
        (LFS, "Git LFS"),
    ):
        path = written(tmp_path, "a.jsonl", data)
        for arguments in (("convert", "gsm8k", "-"), ("merge", "-"), ("validate", "-"), ("stats", "-")):
            done = run(*arguments, input=path.read_bytes())
            if (
                done.code != 1
                or not done.err.startswith("error: standard input: found ")
                or found not in done.err
            ):
                failures.append((arguments, found, done))
        for arguments in (("validate", "a.jsonl"), ("stats", "a.jsonl")):
            done = run(*arguments)
            if done.code != 1 or not done.err.startswith("error: a.jsonl: found "):
                failures.append((arguments, found, done))
    assert not failures, "\n".join(map(str, failures))


# Text that begins like another kind, and is rows all the same; and how many rows are read before the bad one.
@table(
    ("name", "data", "rows"),
    [
        ("a.jsonl", LINES, 3),
        ("a.jsonl", "\ufeff\r\n" + LINES.replace("\n", "\r\n"), 3),
        ("a.jsonl", '{"question": "<html>PK\\u0003\\u0004"}\n', 1),
        ("a.json", LINES, 3),
        ("a.csv", '"question","answer"\n"[1]","{}"\n', 1),
        ("a.csv", "<question>,answer\n1,2\n", 1),
        ("a.tsv", "question\tanswer\n[1, 2]\t{}\n", 1),
    ],
)
def test_rows_are_not_taken_for_another_kind(tmp_path, name, data, rows):
    """Quotes, brackets and marks at the beginning of a file are what they are."""
    assert len(list(read_rows(str(written(tmp_path, name, data))))) == rows


# The first row is bad, and it is that row which is named.
@table(
    ("name", "data"),
    [
        ("a.jsonl", '{"question": "1 + 1?",\n' + LINES),
        ("a.jsonl", "question, answer\n" + LINES),
        ("a.jsonl", "[1, 2]\n" + LINES),
        ("a.jsonl", '"text"\n' + LINES),
        ("a.json", '{"question": "1 +\n' + LINES),
        ("a.json", "question: what?\n" + LINES),
        ("a.json", "\n{'question': 1}\n" + LINES),
        ("a.json", "# rows\n\n" + LINES),
    ],
)
def test_one_bad_row_at_the_beginning_is_a_bad_row(tmp_path, name, data):
    """JSON Lines stay JSON Lines if their first line is damaged, whatever the suffix."""
    path = written(tmp_path, name, data)
    number = 2 if data.startswith("\n") else 1
    with pytest.raises(InputError, match=rf"{name}:{number}: "):
        list(read_rows(str(path)))


def test_json_lines_named_json_set_their_bad_first_row_aside(run, tmp_path):
    """With `--rejects`, the other rows are converted."""
    written(tmp_path, "a.json", '{"question": \n' + LINES)
    done = run("convert", "gsm8k", "a.json", "-o", "out.jsonl", "--rejects", "bad.jsonl")
    assert (done.code, done.err.count("4 in = 3 out + 1 failed (not JSON: 1)")) == (0, 1), done.err
    # A document with an error is still one: its first line is no row.
    written(tmp_path, "b.json", '[\n{"a": 1},\n{"a": }]\n')
    with pytest.raises(InputError, match=r"b\.json:3: not JSON"):
        read_document(str(tmp_path / "b.json"))


def test_rationale_arrays_are_read_from_pipes_and_json(run, tmp_path):
    """An array is a file of another kind only under a name of JSON Lines; byte order marks are skipped."""
    strings = json.dumps(["no markers"]).encode()
    for name, given in (("-", "-"), ("a.json", "a.json")):
        written(tmp_path, "a.json", b"\xef\xbb\xbf" + strings)
        done = run("parse-rationales", given, "--rejects", "bad.jsonl", input=strings)
        assert "1 in" in done.err, (name, done)
    written(tmp_path, "a.jsonl", strings)
    done = run("parse-rationales", "a.jsonl", "--rejects", "bad.jsonl")
    assert (done.code, done.err.count("found a JSON array")) == (1, 1)


def test_standard_input_that_is_given_twice_says_so(run):
    """The second reader would find nothing, and that is not what is wrong."""
    for arguments in (("convert", "gsm8k"), ("merge",), ("validate",), ("stats",)):
        done = run(*arguments, "-", "-", input=LINES.encode())
        assert done.code == 2
        assert "-: standard input can be read once" in done.err


def test_a_file_given_twice_is_counted_twice(run, tmp_path):
    """The figures of `validate` are those of what it read."""
    row = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
    written(tmp_path, "a.jsonl", json.dumps(row) + "\n")
    assert run("validate", "a.jsonl", "a.jsonl").err == "2 rows, 0 problems\n"
