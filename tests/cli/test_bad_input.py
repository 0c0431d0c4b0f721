"""Bad input and bad outputs: one line that names the place, exit code 1, earlier output untouched."""

import gzip
import json
import os
import re
from pathlib import Path

import pytest

from dataprep import Plan, convert_files, read_rows, write_rows
from dataprep.core.errors import UsageError

# A row that every command takes: raw, and with messages.
ROW = {
    "question": "A crate holds 6 jars. How many jars do 4 crates hold?",
    "answer": "4*6=<<4*6=24>>24\n#### 24",
    "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
}
GOOD = json.dumps(ROW).encode() + b"\n"
LONG = b'{"question": "' + b"x" * (33 << 20) + b'", "answer": "#### 1"}\n'

READERS = {
    "convert": ("convert", "gsm8k"),
    "merge": ("merge",),
    "validate": ("validate",),
    "stats": ("stats",),
}
WRITERS = {name: READERS[name] for name in ("convert", "merge")}
EARLIER = b"earlier output\n"

every_reader = pytest.mark.parametrize("name", READERS)
every_writer = pytest.mark.parametrize("name", WRITERS)


def listing(folder):
    """Everything in a folder and below, hidden files too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def fails(run, run_process, tmp_path):
    """Run a command on an input, and expect one line of error and nothing else to have happened."""

    def run_failing(name, *inputs, output="out.jsonl", where=None, says="", **options):
        place = tmp_path / output
        writes = name in WRITERS
        if writes and place.parent.is_dir() and not place.exists():
            place.write_bytes(EARLIER)
        before = listing(tmp_path)
        command = run_process if "program" in options else run
        done = command(*READERS[name], *inputs, *(("-o", output) if writes else ()), **options)
        assert "Traceback" not in done.err
        assert re.fullmatch(r"error: .+\n", done.err), done.err
        assert done.code == 1
        assert done.out == b""
        assert done.err.startswith(f"error: {where if where is not None else inputs[0]}"), done.err
        assert re.search(says, done.err), done.err
        assert listing(tmp_path) == before
        if writes and place.is_file():
            assert place.read_bytes() == EARLIER
        return done.err

    return run_failing


@pytest.fixture
def reports(run):
    """Run `validate` on an input, and expect the one bad row in its report."""

    def run_validate(path, where, says):
        done = run("validate", path)
        assert (done.code, done.err.count("\n")) == (1, 1)
        assert "Traceback" not in done.err
        assert re.fullmatch(rf"{re.escape(where)}.*{says}.*\n", done.out.decode()), done.out

    return run_validate


BAD_LINES = {
    "truncated": (GOOD[: len(GOOD) // 2], "cut short"),
    "not UTF-8": (GOOD.replace(b"jars", b"j\xe4rs", 1), "not UTF-8: found byte 0xe4"),
    "a list": (b"[1, 2]\n", "not a JSON object: found a list"),
    "a number": (b"17\n", "not a JSON object: found a number"),
    "no JSON": (b"question: what?\n", "not JSON"),
    "NUL bytes": (b"\0" * 100 + b"\n", "not JSON"),
}


ITEMS = "[%s,\n%s]"
# A file, its bytes, where its bad row stands, and what is said of it.
BAD_ROWS = {
    **{
        name: ("in.jsonl", GOOD + b"\n" + GOOD + line, "in.jsonl:4: ", says)
        for name, (line, says) in BAD_LINES.items()
    },
    "a number in an array": ("in.json", (ITEMS % (json.dumps(ROW), 5)).encode(), "in.json: row 2: ", ""),
    "a list in an array": ("in.json", (ITEMS % (json.dumps(ROW), [1])).encode(), "in.json: row 2: ", ""),
}


@pytest.mark.parametrize("bad", BAD_ROWS)
def test_a_bad_row_is_named(fails, reports, tmp_path, bad):
    """What is not a row stops a command with its file and place; validate counts it as a problem."""
    file, data, where, says = BAD_ROWS[bad]
    (tmp_path / file).write_bytes(data)
    for name in ("convert", "merge", "stats"):
        fails(name, file, where=where, says=says)
    (tmp_path / "out.jsonl").unlink()
    reports(file, where, says)


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst"])
@pytest.mark.parametrize("name", ["convert", "merge", "stats"])
def test_a_bad_line_is_named_in_compressed_files_too(fails, tmp_path, name, suffix):
    """The line is that of the decompressed text; the path is the one that was given."""
    path = tmp_path / f"in{suffix}"
    data = GOOD * 5000 + b"[1]\n"
    if suffix.endswith("gz"):
        path.write_bytes(gzip.compress(data))
    else:
        zstd = pytest.importorskip("backports.zstd" if os.sys.version_info < (3, 14) else "compression.zstd")
        path.write_bytes(zstd.compress(data))
    fails(name, path.name, where=f"{path.name}:5001: ")


@every_writer
def test_a_bad_line_far_in_a_file_is_named_by_its_line(fails, tmp_path, name):
    """Line numbers are those of the file, however it was divided among workers."""
    (tmp_path / "in.jsonl").write_bytes(GOOD * 9_000 + b"{\n" + GOOD * 9_000)
    fails(name, "in.jsonl", "--workers", "2", where="in.jsonl:9001: ")


@every_writer
def test_a_bad_line_of_standard_input_is_named(fails, name):
    """What comes through a pipe has line numbers too."""
    fails(name, "-", input=GOOD + b"\n" + GOOD[:30], where="standard input:3: ", says="cut short")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"question": 5}, "field 'question' is not a string: found a number 5"),
        ({"question": None}, "field 'question' is not a string: found null"),
        ({"answer": ["x"]}, "field 'answer' is not a string: found a list"),
        ({"question": ...}, "missing field 'question'"),
        ({"answer": ...}, "missing field 'answer'"),
        ({"answer": "  "}, "field 'answer' is empty"),
    ],
)
def test_a_field_of_the_wrong_type_or_missing_is_named(fails, tmp_path, change, says):
    """Convert says which field it missed and what it found instead."""
    row = {key: value for key, value in (ROW | change).items() if value is not ...}
    (tmp_path / "in.jsonl").write_bytes(GOOD + json.dumps(row).encode() + b"\n")
    fails("convert", "in.jsonl", where="in.jsonl:2: ", says=says)


@pytest.mark.parametrize("messages", [5, "text", ["text"], [{"role": "user"}], [{"content": 1}]])
def test_stats_names_messages_of_the_wrong_type(fails, tmp_path, messages):
    """Figures are not made up from malformed chat rows."""
    (tmp_path / "in.jsonl").write_bytes(GOOD + json.dumps({"messages": messages}).encode())
    fails("stats", "in.jsonl", where="in.jsonl:2: ")


@pytest.mark.parametrize(
    "document", ['{"data": 5}', '{"data": [{"paragraphs": 1}]}', "[1, 2]", '{"a": 1}', "5"]
)
def test_a_document_that_is_no_squad_is_named(run, tmp_path, document):
    """A document of another chat format is told apart from one bad row."""
    (tmp_path / "dev.json").write_text(document, encoding="utf-8")
    done = run("convert", "squad", "dev.json", "-o", "out.jsonl")
    assert (done.code, done.out) == (1, b"")
    assert re.fullmatch(r"error: dev\.json: .+\n", done.err)
    assert listing(tmp_path) == ["dev.json"]


EMPTY = dict.fromkeys(("in.json", "in.csv", "in.parquet", "in.jsonl.gz"), b"")


@pytest.mark.medium
@every_reader
def test_a_file_without_rows_is_an_error(fails, tmp_path, name):
    """No bytes at all are no data, in any format, and blank lines are no rows."""
    for file, data in {"in.jsonl": b"", **EMPTY, "blank.jsonl": b"\n \n\r\n"}.items():
        (tmp_path / file).write_bytes(data)
        fails(name, file, where=f"{file}: ", says="is empty|Parquet")


@every_reader
def test_empty_standard_input_is_an_error(fails, name):
    """A pipeline whose first command gave nothing does not pass for a success."""
    fails(name, "-", input=b"", where="standard input: ", says="empty")


@pytest.mark.parametrize("name", ["convert", "validate", "stats"])
def test_a_folder_where_a_file_is_expected_is_an_error(fails, tmp_path, name):
    """A folder is said to be a folder, whatever it is called."""
    (tmp_path / "good.jsonl").write_bytes(GOOD)
    for file in ("folder.jsonl", "folder.jsonl.gz", "folder.parquet", "folder"):
        (tmp_path / file).mkdir()
        fails(name, "good.jsonl", file, where=f"{file}: ", says="is a directory")


def test_a_folder_without_rows_cannot_be_merged(fails, tmp_path):
    """A folder stands for its files; one without any is an error."""
    (tmp_path / "folder").mkdir()
    fails("merge", "folder", where="folder: ", says=r"no \*\.jsonl")


@every_reader
def test_a_missing_file_is_an_error(fails, name):
    """The path that is not there is named, in any format."""
    for file in ("none.jsonl", "none.parquet", "no/such/folder.json"):
        fails(name, file, where=f"{file}: no such file")


@every_writer
def test_a_missing_second_file_stops_a_command_before_it_writes(fails, tmp_path, name):
    """All inputs are looked for first."""
    (tmp_path / "in.jsonl").write_bytes(GOOD)
    fails(name, "in.jsonl", "none.jsonl", where="none.jsonl: no such file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
@every_reader
def test_a_file_that_may_not_be_read_is_an_error(fails, tmp_path, name):
    """Missing permission is said in a line."""
    (tmp_path / "in.jsonl").write_bytes(GOOD)
    (tmp_path / "in.jsonl").chmod(0)
    fails(name, "in.jsonl", where="in.jsonl: cannot be read")


def damaged(path, keep):
    """Write good rows to ``path`` and cut the file, or put rubbish in place of it."""
    rows = [ROW | {"question": f"{n} + {n * n * 7919 % 1009}?"} for n in range(5000)]
    if path.suffix == ".parquet" or ".csv" in path.name:
        rows = [{"question": row["question"], "answer": row["answer"]} for row in rows]
    write_rows(rows, str(path))
    data = path.read_bytes()
    path.write_bytes(b"this is no such file" * 9 if keep is None else data[: int(len(data) * keep)])


PACKED = ["in.jsonl.gz", "in.jsonl.zst", "in.json.gz", "in.csv.zst", "in.parquet"]
DAMAGED = [
    *((name, file, 0.6) for name in WRITERS for file in PACKED),
    *((name, file, 0.6) for name in ("validate", "stats") for file in ("in.jsonl.gz", "in.parquet")),
    *(("convert", file, keep) for file in PACKED[:2] for keep in (0.999, None)),
    ("convert", "in.parquet", None),
]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("name", "file", "keep"), DAMAGED)
def test_a_damaged_file_is_an_error(fails, tmp_path, name, file, keep):
    """Compressed files and tables cut short, or that are something else, are not taken for short ones."""
    damaged(tmp_path / file, keep)
    fails(name, file, where=f"{file}", says="cut short or damaged|Parquet")


@pytest.mark.medium
@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("name", "before", "options"),
    [
        ("convert", 30_000, ()),
        ("convert", 30_000, ("--workers", "2")),
        ("merge", 0, ()),
        ("merge", 30_000, ("--workers", "2")),
        ("validate", 30_000, ()),
        ("stats", 30_000, ()),
    ],
)
def test_a_line_of_more_than_32_mebibytes_is_an_error(fails, tmp_path, name, before, options):
    """A file whose newlines are missing is named with its line, and not read into memory whole."""
    (tmp_path / "in.jsonl").write_bytes(GOOD * before + LONG + GOOD)
    where = f"in.jsonl:{before + 1}: "
    fails(name, "in.jsonl", *options, where=where, says="a line of more than 32 MiB")


@pytest.mark.medium
@every_writer
@pytest.mark.sampled(2)
def test_a_long_line_in_a_compressed_file_or_a_pipe_is_an_error(fails, tmp_path, name):
    """The file and standard input are named as the command line names them."""
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress(GOOD * 2 + LONG + GOOD, 1))
    fails(name, "in.jsonl.gz", where="in.jsonl.gz:3: ", says="a line of more than 32 MiB")
    fails(name, "-", input=GOOD * 2 + LONG, where="standard input:3: ", says="a line of more than 32 MiB")


@every_writer
def test_an_output_whose_folder_is_missing_is_an_error(fails, tmp_path, name):
    """A folder is not made behind the user's back, and nothing is computed in vain."""
    (tmp_path / "in.jsonl").write_bytes(GOOD)
    for suffix in ("jsonl", "jsonl.gz", "json", "parquet"):
        output = f"no/such/out.{suffix}"
        fails(name, "in.jsonl", output=output, where=f"{output}: cannot be written", says="No such file")


@every_writer
def test_an_output_below_a_file_is_an_error(fails, tmp_path, name):
    """A file is no folder."""
    (tmp_path / "in.jsonl").write_bytes(GOOD)
    output = "in.jsonl/out.jsonl"
    fails(name, "in.jsonl", output=output, where=f"{output}: cannot be written")


@every_writer
def test_an_output_that_is_a_folder_is_an_error(fails, tmp_path, name):
    """A folder is not replaced by a file."""
    (tmp_path / "in.jsonl").write_bytes(GOOD)
    (tmp_path / "out.jsonl").mkdir()
    fails(name, "in.jsonl", where="out.jsonl: is a directory")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into every folder")
@every_writer
def test_an_output_folder_that_may_not_be_written_is_an_error(fails, tmp_path, name):
    """Missing permission is said in a line."""
    (tmp_path / "in.jsonl").write_bytes(GOOD)
    (tmp_path / "locked").mkdir(mode=0o500)
    fails(name, "in.jsonl", output="locked/out.jsonl", where="locked/out.jsonl: cannot be written")


@every_writer
def test_rejects_that_cannot_be_written_are_an_error(fails, tmp_path, name):
    """Bad rows are not thrown away for want of a place."""
    (tmp_path / "in.jsonl").write_bytes(GOOD)
    fails(name, "in.jsonl", "--rejects", "no/bad.jsonl", where="no/bad.jsonl: cannot be written")


def limited(size):
    """The command where no file may grow beyond ``size`` bytes: what a full disk is like."""
    limit = f"import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size})); "
    return "-c", limit + "runpy.run_module('dataprep', run_name='__main__')"


def many_rows(path, count):
    """Rows that are all different, so that compressing them does not make them fit a full disk."""
    lines = (ROW | {"question": os.urandom(150).hex() + str(n)} for n in range(count))
    path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in lines))


FULL = [
    *(("convert", f"out.{suffix}", "1") for suffix in ("jsonl", "jsonl.gz", "jsonl.zst", "json", "parquet")),
    *((name, "out.jsonl", "2") for name in WRITERS),
    ("convert", "out.json.gz", "2"),
    ("merge", "out.jsonl", "1"),
    ("merge", "out.jsonl.gz", "1"),
]


@pytest.mark.medium
@pytest.mark.sampled(3)
@pytest.mark.parametrize(("name", "output", "workers"), FULL)
def test_a_full_disk_is_an_error(fails, tmp_path, name, output, workers):
    """The output is named, the earlier one stays, and the unfinished one does not."""
    where = f"{output}: cannot be written: File too large"
    options = ("--workers", workers)
    for count, size in ((4000, 200_000), (1, 20)):  # in the middle, and when the file is closed
        many_rows(tmp_path / "in.jsonl", count)
        fails(name, "in.jsonl", *options, output=output, where=where, program=limited(size))


def test_a_full_disk_under_scratch_files_is_an_error(fails, tmp_path):
    """A merge that goes through the disk, or unpacks an input there, says that the output cannot be made."""
    many_rows(tmp_path / "in.jsonl", 4000)
    where = "out.jsonl: cannot be written: File too large"
    fails("merge", "in.jsonl", "--memory", "600K", where=where, program=limited(200_000))
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress((tmp_path / "in.jsonl").read_bytes(), 1))
    fails("merge", "in.jsonl.gz", where=where, program=limited(200_000))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("count", [1, 4000])
@every_writer
def test_a_full_device_is_an_error(run, tmp_path, name, count, linked):
    """A device that takes nothing more is named, and stays a device."""
    (tmp_path / "in.jsonl").write_bytes(GOOD * count)
    output = "/dev/full"
    if linked:
        output = "full.jsonl"
        (tmp_path / output).symlink_to("/dev/full")
    done = run(*WRITERS[name], "in.jsonl", "-o", output)
    assert re.fullmatch(rf"error: {output}: cannot be written: No space left on device.*\n", done.err)
    assert done.code == 1
    assert Path("/dev/full").is_char_device()


@pytest.mark.medium
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.sampled(3)
@pytest.mark.parametrize("count", [1, 4000])
@every_reader
def test_a_full_standard_output_is_an_error(run_process, tmp_path, name, count):
    """A full disk behind a shell's > is said in a line, and is no success."""
    (tmp_path / "in.jsonl").write_bytes(GOOD * count)
    if name == "validate":
        (tmp_path / "in.jsonl").write_bytes(b"[1]\n" * count)
    with open("/dev/full", "wb") as full:
        done = run_process(*READERS[name], "in.jsonl", stdout=full)
    assert "Traceback" not in done.err
    assert "Exception" not in done.err
    assert re.search(r"error: .*No space left on device", done.err)
    assert done.code == 1


def ledger_of(done):
    """The one output's counts in a --json summary; they balance."""
    (counts,) = json.loads(done.err)["outputs"]
    assert counts["in"] == counts["out"] + sum(counts["dropped"].values()) + sum(counts["failed"].values())
    return counts


@pytest.mark.sampled(3)
@pytest.mark.parametrize("workers", ["1", "2"])
@every_writer
def test_rejects_take_every_bad_line_and_the_command_goes_on(run, tmp_path, name, workers):
    """Each bad row is kept with its path, line, reason and text; the others come out."""
    lines, expected = [], {}
    for line, _ in BAD_LINES.values():
        lines += [GOOD, b"\n", line.rstrip(b"\n") + b"\n"]
        expected[len(lines)] = line.rstrip(b"\n").decode("utf-8", "backslashreplace")
    (tmp_path / "in.jsonl").write_bytes(b"".join(lines))
    options = ("-o", "out.jsonl", "--rejects", "bad.jsonl", "--workers", workers, "--json")
    done = run(*WRITERS[name], "in.jsonl", *options)
    assert done.code == 0
    rejected = [
        json.loads(line) for line in (tmp_path / "bad.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert {row["line"]: row["text"] for row in rejected} == expected
    for row, (_, says) in zip(rejected, BAD_LINES.values(), strict=True):
        assert set(row) == {"path", "line", "reason", "text"}
        assert row["path"] == "in.jsonl"
        assert says in row["reason"]
    counts = ledger_of(done)
    assert (counts["in"], counts["out"]) == (2 * len(BAD_LINES), len(BAD_LINES))
    assert sum(counts["failed"].values()) == len(BAD_LINES)
    assert (tmp_path / "out.jsonl").read_bytes().count(b"\n") == len(BAD_LINES)


def test_rejects_name_the_rows_of_a_document(run, tmp_path):
    """In a document the row's number stands in place of a line."""
    (tmp_path / "in.json").write_text(json.dumps([ROW, {"question": "?"}, ROW]), encoding="utf-8")
    done = run("convert", "gsm8k", "in.json", "-o", "out.jsonl", "--rejects", "bad.jsonl", "--json")
    assert done.code == 0
    (row,) = map(json.loads, (tmp_path / "bad.jsonl").read_bytes().splitlines())
    assert (row["path"], row["row"]) == ("in.json", 2)
    assert json.loads(row["text"]) == {"question": "?"}
    assert ledger_of(done)["failed"] == {"missing field 'answer'": 1}


def test_rejects_of_all_splits_are_kept(run, workspace):
    """A command that writes two outputs does not forget the first one's bad rows over the second's."""
    for split in ("train", "test"):
        with (workspace / "raw" / "gsm8k" / f"{split}.jsonl").open("ab") as file:
            file.write(b'{"question": "no answer"}\n')
    done = run("convert", "gsm8k", "--rejects", "bad.jsonl", "--json", cwd=workspace)
    assert done.code == 0
    rejected = [json.loads(line) for line in (workspace / "bad.jsonl").read_bytes().splitlines()]
    assert sorted(Path(row["path"]).name for row in rejected) == ["test.jsonl", "train.jsonl"]
    for split in ("train", "test"):
        with (workspace / "pre_datasets" / split / f"gsm8k_{split}_llama.jsonl").open("ab") as file:
            file.write(b"[1]\n")
    assert run("merge", "--rejects", "bad.jsonl", cwd=workspace).code == 0
    rejected = [json.loads(line) for line in (workspace / "bad.jsonl").read_bytes().splitlines()]
    assert sorted(Path(row["path"]).parent.name for row in rejected) == ["test", "train"]


@every_writer
def test_rejects_and_output_in_one_file_are_refused(run, tmp_path, name):
    """Good rows and bad ones do not overwrite each other."""
    (tmp_path / "in.jsonl").write_bytes(GOOD + b"[1]\n")
    done = run(*WRITERS[name], "in.jsonl", "-o", "out.jsonl", "--rejects", "./out.jsonl")
    assert done.code == 2
    assert re.fullmatch(r"error: .+\n", done.err)
    assert listing(tmp_path) == ["in.jsonl"]


@pytest.mark.parametrize("name", ["convert", "merge"])
def test_rejects_never_replace_an_input(run, tmp_path, name):
    """A rejects file that is also an input would be emptied: it is refused."""
    (tmp_path / "in.jsonl").write_bytes(GOOD)
    done = run(*READERS[name], "in.jsonl", "-o", "out.jsonl", "--rejects", "./in.jsonl")
    assert done.code == 2
    assert (tmp_path / "in.jsonl").read_bytes() == GOOD


def test_bad_rows_of_an_array_are_set_aside_by_merge(run, tmp_path):
    """An item that is no object goes to the rejects, as a line that is none does."""
    (tmp_path / "in.json").write_text('[{"n": 1}, 3]', encoding="utf-8")
    done = run("merge", "in.json", "-o", "out.jsonl", "--rejects", "bad.jsonl")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "bad.jsonl").read_text(encoding="utf-8"))["row"] == 2


def test_nothing_to_convert_is_refused(tmp_path):
    """An empty list of inputs replaces no file."""
    (tmp_path / "out.jsonl").write_bytes(EARLIER)
    with pytest.raises(UsageError):
        convert_files(Plan("gsm8k"), [], tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == EARLIER


def test_a_parquet_name_is_no_pattern(tmp_path):
    """Brackets and stars in a table's name mean themselves."""
    path = str(tmp_path / "a[1]*.parquet")
    write_rows([{"a": 1}], path)
    assert [row for _, row in read_rows(path)] == [{"a": 1}]


def test_names_need_not_be_utf_8(run, tmp_path):
    """Every format is written to and read from such a name, and JSON says it as messages do."""
    name = os.fsdecode(b"r\xff.jsonl")
    (tmp_path / name).write_bytes(GOOD * 3)
    for suffix in ("jsonl", "json", "parquet", "jsonl.gz"):
        output = os.fsdecode(b"o\xff." + suffix.encode())
        assert run("convert", "gsm8k", name, "-o", output, "--json").code == 0
        assert run("merge", output, "-o", "merged.jsonl").code == 0
        assert (tmp_path / "merged.jsonl").read_bytes().count(b"\n") == 3
    for command in (["stats", name, "--json"], ["validate", name, "--json"], ["clean", "--json"]):
        done = run(*command)
        assert "Traceback" not in done.err, command
