"""Inputs that change while a command reads them: an error, and never an output of two halves."""

import gzip
import os
import random
from pathlib import Path

import pytest

from dataprep import convert_files, merge_files, read_rows, write_rows
from dataprep.core.errors import InputError
from dataprep.core.io import Block, Unchanged, blocks
from dataprep.core.io.identity import Identity
from dataprep.datasets import merge_rows
from dataprep.datasets.convert import Plan
from tests.helpers import listing

pytestmark = pytest.mark.usefixtures("forked")

ROW = b'{"question": "Boxes %06d?", "answer": "It is %06d.\\n#### %06d"}\n'
CHANGED = "the file was changed while it was read; run the command again"


def source(count=4000, first=0):
    """Raw rows, all of one length."""
    return b"".join(ROW % (n, n, n) for n in range(first, first + count))


def replaced(path):
    """Another file of the same size in its place, as an editor or `mv` leaves it."""
    other = path.with_name("other")
    other.write_bytes(source(first=500_000))
    other.replace(path)


def overwritten(path):
    """The same file, with other content of the same size."""
    path.write_bytes(source(first=500_000))


def cut(path):
    """The same file, in the middle of a row."""
    os.truncate(path, path.stat().st_size // 2 + 7)


def emptied(path):
    """The same file, of no byte."""
    os.truncate(path, 0)


def appended(path):
    """The same file, with more rows."""
    with path.open("ab") as file:
        file.write(source(10))


def removed(path):
    """No file."""
    path.unlink()


CHANGES = [replaced, overwritten, cut, emptied, appended, removed]
every_change = pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)


def once(path, change, after):
    """A progress callback that changes a file when so many bytes were worked off."""
    done = []

    def progress(count):
        before = sum(done)
        done.append(count)
        if before <= after < before + count:
            change(path)

    return progress


@every_change
@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    "options",
    [{}, {"workers": 2}, {"memory": 100_000}, {"shuffle": False}, {"check": False}],
    ids=["memory", "workers", "disk", "in order", "unchecked"],
)
@pytest.mark.parametrize("phase", [0.5, 1.2], ids=["scanning", "gathering"])
def test_a_merge_of_a_file_that_changes_is_an_error(tmp_path, monkeypatch, change, options, phase):
    """In either pass, in memory or through the disk: no output, no signal, and the earlier output stays."""
    monkeypatch.setattr("dataprep.datasets.merge_inputs.SCAN_BYTES", 1 << 15)
    monkeypatch.setattr(merge_rows, "PART_BYTES", 1 << 15)
    path, output = tmp_path / "a.jsonl", tmp_path / "out.jsonl"
    path.write_bytes(source())
    output.write_bytes(b"earlier")
    progress = once(path, change, int(phase * path.stat().st_size))
    with pytest.raises((InputError, OSError), match=r"a\.jsonl: (the file was changed|no such file)"):
        merge_files([path], output, progress=progress, **options)
    assert output.read_bytes() == b"earlier"
    assert not [name for name in listing(tmp_path) if name.startswith(".")]


@every_change
def test_a_convert_of_a_file_that_changes_is_an_error(tmp_path, change):
    """Each block opens the file again: none may be of another file."""
    path, output = tmp_path / "a.jsonl", tmp_path / "out.jsonl"
    path.write_bytes(source(20_000))
    with pytest.raises((InputError, OSError), match=r"a\.jsonl: (the file was changed|no such file)"):
        convert_files(Plan("gsm8k"), path, output, progress=once(path, change, 1))
    assert not output.exists()


def test_two_merges_in_place_at_once(tmp_path):
    """The second one to end finds that its input is another file now; the first one's output stands."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(source())

    def other(path):
        merge_files([path], path, seed=1)

    with pytest.raises(InputError, match=CHANGED):
        merge_files([path], path, progress=once(path, other, int(1.5 * path.stat().st_size)))
    rows = source().splitlines(keepends=True)
    random.Random(1).shuffle(rows)
    assert path.read_bytes() == b"".join(rows)


READERS = {
    "convert": ["convert", "gsm8k", "in.jsonl", "-o", "out.jsonl"],
    "convert a sample": ["convert", "gsm8k", "in.jsonl", "-o", "out.jsonl", "--sample", "5"],
    "stats": ["stats", "in.jsonl"],
    "validate": ["validate", "in.jsonl"],
    "prompt": ["prompt", "in.jsonl", "--dataset", "gsm8k", "--shots", "0", "-o", "out.jsonl"],
    "tokenizer train": ["tokenizer", "train", "in.jsonl", "-o", "out.model", "--vocab-size", "400"],
}


@pytest.mark.medium
@pytest.mark.parametrize("command", READERS)
def test_every_reader_notices(run, tmp_path, monkeypatch, command):
    """A file that is overwritten after its first block ends the command, and nothing is written."""
    path, read, seen = tmp_path / "in.jsonl", Block.read, []
    path.write_bytes(source(12_000))

    def reading(block):
        data = read(block)
        if not seen:
            overwritten(path)
        seen.append(block)
        return data

    monkeypatch.setattr(Block, "read", reading)
    done = run(*READERS[command])
    assert (done.code, done.err.splitlines()[-1]) == (1, f"error: in.jsonl: {CHANGED}")
    assert listing(tmp_path) == ["in.jsonl"]


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".csv", ".parquet"])
def test_tables_and_compressed_files_too(tmp_path, suffix):
    """They are read through one descriptor, and looked at once more at the end."""
    path = tmp_path / f"a{suffix}"
    write_rows([{"n": n} for n in range(20_000)], str(path))
    rows = read_rows(str(path))
    next(rows)
    os.utime(path, ns=(1, 1))
    with pytest.raises(InputError, match=CHANGED):
        list(rows)


def test_a_stop_after_the_first_row_is_no_error(tmp_path):
    """Who reads no further does not care what became of the rest."""
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(source()))
    rows = read_rows(str(path))
    next(rows)
    os.utime(path, ns=(1, 1))
    rows.close()


def test_a_growing_file_is_read_as_it_was(tmp_path, monkeypatch):
    """A journal can be looked at while it is written: lines that come later are left out."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 100)
    path = tmp_path / "journal.jsonl"
    path.write_bytes(source(10_000))
    rows = read_rows(str(path), growing=True)
    next(rows)
    appended(path)
    assert len(list(rows)) == 9_999
    rows = read_rows(str(path), growing=True)
    next(rows)
    cut(path)
    with pytest.raises(InputError, match=CHANGED):
        list(rows)


def test_unchanged_looks_at_regular_files_only(tmp_path):
    """Pipes, devices and folders have no content that could be compared."""
    os.mkfifo(tmp_path / "pipe")
    Unchanged(["-", str(tmp_path / "pipe"), "/dev/null", str(tmp_path)]).check()
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{}\n")
    unchanged = Unchanged([str(path)])
    unchanged.check()
    path.chmod(0o600)  # neither content nor name
    unchanged.check()
    os.utime(path, ns=(1, 1))
    with pytest.raises(InputError, match=CHANGED):
        unchanged.check()
    assert Identity.of(Path("/dev/null").stat()) is None
