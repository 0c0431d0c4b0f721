"""Folders of parts: written whole, read as one file, resumed, and never a mixture of two runs."""

import contextlib
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from dataprep import merge_files
from dataprep.core import parallel
from dataprep.core.errors import FileError, InputError, UsageError
from dataprep.core.io import leftovers, open_output, open_rejects, read_blocks, read_rows, remove_unlocked
from dataprep.core.io.part_files import CHUNK_VARIABLE
from dataprep.core.ledger import Ledger
from dataprep.datasets.convert import Plan, convert_files

TIMEOUT = 60
GSM8K = Plan("gsm8k")
ROWS = [{"question": f"How many? {n}", "answer": f"{n} apples.\n#### {n}"} for n in range(400)]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks of 1 kB, so that a few rows have many."""
    monkeypatch.setenv(CHUNK_VARIABLE, "1000")


@pytest.fixture
def source(tmp_path):
    """A file of GSM8K rows: 20 chunks."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in ROWS))
    return path


def joined(folder):
    """Return the bytes of all parts."""
    return b"".join(path.read_bytes() for path in sorted(Path(folder).glob("part-*")))


def names(folder):
    """Return the paths of all files and folders inside."""
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*"))


def slash(path):
    """Return a path as that of a folder of parts."""
    return f"{path}/"


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_parts_together_are_the_file(source, tmp_path, workers):
    """``cat`` of the parts is the one file, and the folder is the same at any number of workers."""
    one, parts, again = tmp_path / "one.jsonl", tmp_path / "parts", tmp_path / "again"
    convert_files(GSM8K, [source], one)
    convert_files(GSM8K, [source], slash(parts), workers=workers)
    convert_files(GSM8K, [source], slash(again), workers=1)
    assert joined(parts) == one.read_bytes()
    assert len(list(parts.glob("part-*"))) > 10
    assert names(parts) == names(again)
    assert (parts / "manifest.json").read_bytes() == (again / "manifest.json").read_bytes()
    manifest = json.loads((parts / "manifest.json").read_bytes())
    assert manifest["ledger"] == {"in": 400, "out": 400, "dropped": {}, "failed": {}}
    assert (manifest["rows"], manifest["bytes"]) == (400, one.stat().st_size)
    assert (tmp_path / "parts.manifest.json").exists() is False  # a library call records nothing


def test_a_folder_of_parts_is_read_as_one_file(source, tmp_path):
    """Rows, their numbers and their order are those of the file."""
    one, parts = tmp_path / "one.jsonl", tmp_path / "parts"
    convert_files(GSM8K, [source], one)
    convert_files(GSM8K, [source], slash(parts))
    for name in (str(parts), slash(parts)):
        places, rows = zip(*read_rows(name), strict=True)
        assert list(rows) == [row for _, row in read_rows(str(one))]
        assert [place.number for place in places] == list(range(1, 401))
        blocks = list(read_blocks(name))
        assert [block.first for block in blocks] == [True] + [False] * (len(blocks) - 1)
        merge_files([name], tmp_path / "merged.jsonl", seed=3)
        merge_files([one], tmp_path / "expected.jsonl", seed=3)
        assert (tmp_path / "merged.jsonl").read_bytes() == (tmp_path / "expected.jsonl").read_bytes()


def test_rows_that_come_from_no_chunk_are_cut_by_their_bytes(source, tmp_path):
    """Parts of a merge depend on its rows alone, and no row is cut."""
    merge_files([source], slash(tmp_path / "a"), memory=1 << 30)
    merge_files([source], slash(tmp_path / "b"), memory=3000)
    merge_files([source], tmp_path / "one.jsonl")
    assert joined(tmp_path / "a") == (tmp_path / "one.jsonl").read_bytes()
    assert names(tmp_path / "a") == names(tmp_path / "b")
    sizes = [path.stat().st_size for path in sorted((tmp_path / "a").glob("part-*"))]
    assert all(1000 <= size < 1100 for size in sizes[:-1])


@pytest.mark.parametrize("pieces", [1, 7, 10_000])
def test_how_rows_arrive_does_not_change_the_parts(tmp_path, pieces):
    """Ten writes or one: the same parts."""
    lines = [b"%d" % n * (n % 50 + 1) + b"\n" for n in range(300)]
    for name, count in (("whole", len(lines)), ("pieces", pieces)):
        with open_output(slash(tmp_path / name)) as out:
            for begin in range(0, len(lines), count):
                out.write(b"".join(lines[begin : begin + count]))
    assert joined(tmp_path / "pieces") == b"".join(lines)
    assert names(tmp_path / "pieces") == names(tmp_path / "whole")


def test_no_rows_are_a_folder_with_a_manifest_alone(tmp_path):
    """An empty part would be a file that some readers refuse."""
    with open_output(slash(tmp_path / "none")):
        pass
    assert names(tmp_path / "none") == ["manifest.json"]
    assert list(read_rows(str(tmp_path / "none"))) == []


def test_a_second_run_replaces_the_first(source, tmp_path):
    """The manifest changes in one step; then parts of the first run are removed."""
    parts = tmp_path / "parts"
    convert_files(GSM8K, [source], slash(parts))
    before = {path.name for path in parts.iterdir()}
    source.write_bytes(b"".join(source.read_bytes().splitlines(keepends=True)[:100]))
    convert_files(GSM8K, [source], slash(parts))
    assert len(list(read_rows(str(parts)))) == 100
    named = {part["name"] for part in json.loads((parts / "manifest.json").read_bytes())["parts"]}
    assert set(names(parts)) == named | {"manifest.json"}
    assert not before >= named  # the last part has other rows


def test_a_bad_row_leaves_the_earlier_folder(source, tmp_path):
    """As a file would stay."""
    parts = tmp_path / "parts"
    convert_files(GSM8K, [source], slash(parts))
    before = (parts / "manifest.json").read_bytes()
    lines = source.read_bytes().splitlines(keepends=True)
    source.write_bytes(b"".join([*lines[:350], b'{"question": 1}\n', *lines[350:]]))
    with pytest.raises(InputError, match=r"rows\.jsonl:351"):
        convert_files(GSM8K, [source], slash(parts), workers=2)
    assert (parts / "manifest.json").read_bytes() == before
    assert len(list(read_rows(str(parts)))) == 400


@pytest.mark.parametrize("workers", [1, 2])
def test_rejects_and_ledger_are_those_of_the_file(source, tmp_path, workers):
    """Bad rows of many chunks come in the order of their lines."""
    lines = source.read_bytes().splitlines(keepends=True)
    for place in (5, 77, 78, 200, 399):
        lines[place] = b'{"question": "x"}\n' if place % 2 else b"{\n"
    source.write_bytes(b"".join(lines))
    one = convert_files(GSM8K, [source], tmp_path / "one.jsonl", rejects=tmp_path / "a.jsonl")
    parts = convert_files(
        GSM8K, [source], slash(tmp_path / "parts"), rejects=tmp_path / "b.jsonl", workers=workers
    )
    assert parts == one
    assert list(parts.failed) == list(one.failed)
    assert (tmp_path / "b.jsonl").read_bytes() == (tmp_path / "a.jsonl").read_bytes()
    assert joined(tmp_path / "parts") == (tmp_path / "one.jsonl").read_bytes()


@dataclass(frozen=True)
class Sorting:
    """Send each row to one of three outputs, by its number and a note on the chunk."""

    note: int = 0

    def of_chunk(self, note):
        """Return the operator for a chunk."""
        return Sorting(note)

    def __call__(self, block):
        """Return the rows of a block."""
        lines = block.read().splitlines(keepends=True)
        outcome = parallel.Outcome(len(lines), len(lines), len(lines[::3]))
        outcome.put(b"".join(lines[::3]))
        outcome.sides = [(b"".join(part), len(part)) for part in (lines[1::3], lines[2::3])]
        outcome.counts = {"note": self.note}
        return outcome


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_writes_several_outputs(source, tmp_path, workers):
    """Parts of each, in order; one that takes no parts gets its rows from this process."""
    lines = source.read_bytes().splitlines(keepends=True)
    paths = [slash(tmp_path / "main"), slash(tmp_path / "folder"), str(tmp_path / "table.jsonl.gz")]
    noted = []
    operator = parallel.Noted(Sorting(), lambda chunk: noted.append(chunk.number) or chunk.number + 1)
    with open_rejects(None) as bad, contextlib.ExitStack() as stack:
        main, *sides = (stack.enter_context(open_output(path)) for path in paths)
        ledger = Ledger()
        counts = parallel.run_into(
            read_blocks(str(source)), operator, main, ledger, bad,
            paths=[str(source)], workers=workers, sides=sides,
        )  # fmt: skip
    assert counts["note"] == sum(number + 1 for number in noted)
    assert noted == [*range(len(noted))]
    assert len(noted) == -(-source.stat().st_size // 1000)
    found = [
        joined(tmp_path / "main"),
        joined(tmp_path / "folder"),
        gzip.decompress(Path(paths[2]).read_bytes()),
    ]
    assert sorted(b"".join(found).splitlines(keepends=True)) == sorted(lines)
    for data in found:
        places = [lines.index(line) for line in data.splitlines(keepends=True)]
        assert places == sorted(places)
    assert ledger.rows_out == found[0].count(b"\n")
    manifest = json.loads((tmp_path / "folder/manifest.json").read_bytes())
    assert manifest["rows"] == found[1].count(b"\n")


SLOW = """
import os, sys, time
from dataprep.core import parallel
from dataprep.core.io import open_output, open_rejects, read_blocks
from dataprep.core.ledger import Ledger

class Slow:
    def __call__(self, block):
        outcome = parallel.Outcome(block.read().count(b"\\n"))
        outcome.rows_in = outcome.rows_out = outcome.lines
        outcome.put(block.read())
        with open("begun", "a") as file:
            file.write(f"{block.start}\\n")
        time.sleep(float(os.environ.get("PAUSE", "0")))
        return outcome

if __name__ == "__main__":
    source, output, workers, fresh = sys.argv[1:]
    ledger = Ledger()
    with parallel.engine(fresh=fresh == "fresh"), open_rejects(None) as bad, open_output(output) as out:
        parallel.run_into(
            read_blocks(source), Slow(), out, ledger, bad, paths=[source], workers=int(workers)
        )
"""


def start(tmp_path, source, output, workers, pause="0", fresh=""):
    """Start a run of a slow operator in a process of its own."""
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "PAUSE": pause}
    return subprocess.Popen(
        [sys.executable, "slow.py", str(source), output, str(workers), fresh],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
    )


def finish(process):
    """Wait for a run, which must succeed."""
    _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, errors.decode()


def begun(tmp_path):
    """Return the first bytes of the blocks that were worked on since the last call."""
    path = tmp_path / "begun"
    found = path.read_text(encoding="utf-8").split() if path.exists() else []
    path.unlink(missing_ok=True)
    return found


@pytest.mark.medium
@pytest.mark.sampled(2)
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_a_killed_run_goes_on_where_it_was(source, tmp_path, before, after):
    """Finished chunks are not worked on again, with any number of workers; unfinished files are removed."""
    process = start(tmp_path, source, "parts/", before, pause="0.05")
    deadline = time.monotonic() + TIMEOUT
    while len(list((tmp_path / "parts").glob("part-*"))) < 5:
        assert time.monotonic() < deadline, "no part was written"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = len(list((tmp_path / "parts/.work").glob("*/*.json")))
    assert not (tmp_path / "parts/manifest.json").exists()
    with pytest.raises(FileError, match="holds parts and no manifest"):
        list(read_rows(str(tmp_path / "parts")))
    begun(tmp_path)
    finish(start(tmp_path, source, "parts/", after))
    chunks = -(-source.stat().st_size // 1000)
    assert len(begun(tmp_path)) == chunks - done
    assert joined(tmp_path / "parts") == source.read_bytes()
    assert not [name for name in names(tmp_path / "parts") if name.startswith(".")]
    # A run that ended leaves nothing to resume: the next one works on everything.
    finish(start(tmp_path, source, "parts/", 1))
    assert len(begun(tmp_path)) == chunks


def test_fresh_forgets_and_changed_inputs_are_worked_on_again(source, tmp_path):
    """What is kept belongs to the bytes of its chunk."""

    def kill():
        process = start(tmp_path, source, "parts/", 1, pause="0.05")
        while len(list((tmp_path / "parts/.work").glob("*/*.json"))) < 3:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.communicate()
        begun(tmp_path)

    chunks = -(-source.stat().st_size // 1000)
    kill()
    finish(start(tmp_path, source, "parts/", 1, fresh="fresh"))
    assert len(begun(tmp_path)) == chunks
    for path in (tmp_path / "parts").glob("[!.]*"):
        path.unlink()
    kill()
    source.write_bytes(source.read_bytes().replace(b"apples", b"pears!"))
    finish(start(tmp_path, source, "parts/", 1))
    assert len(begun(tmp_path)) == chunks
    assert joined(tmp_path / "parts") == source.read_bytes()


def test_two_runs_into_one_folder_do_not_mix(source, tmp_path):
    """The second is refused while the first lives, and is told who that is."""
    with open_output(slash(tmp_path / "parts")) as out:
        out.write(b"{}\n")
        with pytest.raises(UsageError, match=rf"another run writes there \(process {os.getpid()} on"):
            convert_files(GSM8K, [source], slash(tmp_path / "parts"))
    assert joined(tmp_path / "parts") == b"{}\n"


def test_a_manifest_that_another_run_wrote_meanwhile_is_kept(tmp_path):
    """On a store whose locks were lost, the later commit fails."""
    parts = tmp_path / "parts"
    opened = open_output(slash(parts))
    opened.__enter__().write(b"{}\n")
    (parts / "manifest.json").write_bytes(b"{}")
    with pytest.raises(FileError, match="another run wrote into the folder meanwhile"):
        opened.__exit__(None, None, None)
    assert names(parts) == ["manifest.json"]
    assert (parts / "manifest.json").read_bytes() == b"{}"


def test_the_lock_of_a_run_on_another_machine_ends_with_its_signs_of_life(tmp_path):
    """Ten minutes without one, and it is taken for dead."""
    lock = tmp_path / "parts/.work/lock"
    lock.parent.mkdir(parents=True)
    lock.write_bytes(orjson.dumps({"owner": "node7:12:ab", "time": time.time() - 100}))
    with (
        pytest.raises(UsageError, match=r"process 12 on node7, seen 10\d s ago"),
        open_output(slash(tmp_path / "parts")),
    ):
        pass
    lock.write_bytes(orjson.dumps({"owner": f"{socket.gethostname()}:4194999:ab", "time": time.time()}))
    with open_output(slash(tmp_path / "parts")):  # of this machine, and no such process is alive
        pass
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_bytes(orjson.dumps({"owner": "node7:12:ab", "time": time.time() - 700}))
    with open_output(slash(tmp_path / "parts")):
        pass
    assert names(tmp_path / "parts") == ["manifest.json"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("part-00003-*", None, r"part-00003-[0-9a-f]{8}\.jsonl: is missing"),
        ("part-00003-*", b"{}", "has 2 bytes; expected 4,"),
        ("manifest.json", b"{}", "is not the manifest of a folder of parts"),
        ("manifest.json", b"\xff", "is not the manifest of a folder of parts"),
        ("manifest.json", b'"rows": 401', "was changed after it was written"),
    ],
)
def test_a_damaged_folder_is_an_error(source, tmp_path, name, data, message):
    """Never fewer rows, and never silently."""
    parts = tmp_path / "parts"
    convert_files(GSM8K, [source], slash(parts))
    (path,) = parts.glob(name)
    if data is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes().replace(b'"rows": 400', data) if b"401" in data else data)
    with pytest.raises(InputError, match=message):
        list(read_rows(str(parts)))


def test_a_silent_run_of_this_machine_is_alive(tmp_path):
    """Its process is known, and when it was started: another one of the same number is not it."""
    with open_output(slash(tmp_path / "parts")) as out:
        lock = tmp_path / "parts/.work/lock"
        held = orjson.loads(lock.read_bytes())
        lock.write_bytes(orjson.dumps(held | {"time": time.time() - 5000}))
        with (
            pytest.raises(UsageError, match="another run writes there"),
            open_output(slash(tmp_path / "parts")),
        ):
            pass
        out.write(b"{}\n")
    lock.parent.mkdir(parents=True)
    lock.write_bytes(orjson.dumps(held | {"started": "1"}))
    with open_output(slash(tmp_path / "parts")):
        pass


@pytest.mark.parametrize("same", [True, False])
def test_a_run_that_was_taken_for_dead_removes_nothing_of_its_successor(tmp_path, same):
    """It fails, whether the other one has ended or still works; its parts can have the same names."""
    parts = tmp_path / "parts"
    first = open_output(slash(parts))
    first.__enter__().write(b'{"n": 1}\n' * 200)
    held = orjson.loads((parts / ".work/lock").read_bytes())
    other = held | {"owner": "node7:12:ab", "time": time.time() - 700}
    (parts / ".work/lock").write_bytes(orjson.dumps(other))
    with open_output(slash(parts)) as second:
        second.write((b'{"n": 1}\n' if same else b'{"n": 2}\n') * 200)
        if same:
            with pytest.raises(FileError, match="another run wrote into the folder meanwhile"):
                first.__exit__(None, None, None)
    if not same:
        with pytest.raises(FileError, match="another run wrote into the folder meanwhile"):
            first.__exit__(None, None, None)
    assert len(list(read_rows(str(parts)))) == 200


def test_a_file_is_no_place_for_parts(source, tmp_path):
    """The path names the file."""
    (tmp_path / "there.jsonl").write_bytes(b"{}\n")
    with pytest.raises(UsageError, match=r"there\.jsonl/: is a file"):
        convert_files(GSM8K, [source], f"{tmp_path}/there.jsonl/")


@pytest.mark.parametrize("name", ["rows.parquet/", "rows.jsonl.gz/", "rows.csv/"])
def test_a_folder_of_parts_has_json_lines(source, tmp_path, name):
    """A name that promises a table is an error."""
    with pytest.raises(UsageError, match="a folder of parts has JSON Lines"):
        convert_files(GSM8K, [source], f"{tmp_path}/{name}")


def test_a_part_of_a_folder_is_no_output(source, tmp_path):
    """The folder would be damaged."""
    convert_files(GSM8K, [source], slash(tmp_path / "parts"))
    part = min((tmp_path / "parts").glob("part-*"))
    before = part.read_bytes()
    with pytest.raises(UsageError, match="names a part of a folder"), open_output(str(part)):
        pass
    assert part.read_bytes() == before


def test_a_folder_of_source_rows_is_not_replaced(source, tmp_path):
    """As a file is not; also when it is named by a URL."""
    convert_files(GSM8K, [source], slash(tmp_path / "chat"))
    for name in (slash(tmp_path / "chat"), str(tmp_path / "chat")):
        with pytest.raises(UsageError, match="the output would replace an input"):
            convert_files(Plan("chat", split_thinking=True), [name], slash(tmp_path / "chat"))


def test_parts_that_no_manifest_names_are_found_and_removed(source, tmp_path):
    """Of a run that failed, and of one that was killed before its first commit."""
    parts = tmp_path / "parts"
    convert_files(GSM8K, [source], slash(parts))
    before = joined(parts)
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(source.read_bytes() + b"{}\n")
    with pytest.raises(InputError):
        convert_files(Plan("gsm8k", with_id=True), [bad], slash(parts))
    assert joined(parts) != before
    found = list(leftovers(tmp_path))
    assert {left.state for left in found} == {"stale"}
    for left in found:
        assert remove_unlocked(left.path)
    assert joined(parts) == before
    assert names(parts) == sorted({*(path.name for path in parts.glob("part-*")), "manifest.json"})
    (parts / "manifest.json").unlink()
    assert list(leftovers(tmp_path)) == []  # files that look like parts are not ours without a record


def test_a_run_of_other_code_is_not_continued(source, tmp_path, monkeypatch):
    """The parts of two versions do not mix."""
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(source.read_bytes() + b"{}\n")
    for code in ("a", "b"):
        monkeypatch.setattr("dataprep.core.io.environment.versions", lambda code=code: {"dataprep": code})
        with pytest.raises(InputError):
            convert_files(GSM8K, [bad], slash(tmp_path / "parts"))
        keys = [path.name for path in (tmp_path / "parts/.work").iterdir() if path.is_dir()]
    assert len(keys) == 2


def test_parts_that_a_killed_run_left_beside_a_file_are_found_and_removed(tmp_path):
    """``clean`` shows them, unless their run lives; the next run into the file removes them."""
    stale = tmp_path / ".out.jsonl.0123456789abcdef.parts"
    living = tmp_path / ".out.jsonl.fedcba9876543210.parts"
    for folder, process in ((stale, 4194999), (living, os.getpid())):
        (folder / ".work").mkdir(parents=True)
        owner = f"{socket.gethostname()}:{process}:ab"
        (folder / ".work/lock").write_bytes(orjson.dumps({"owner": owner, "time": time.time()}))
        (folder / "part-00000-01234567.jsonl").write_bytes(b"{}\n")
    assert [(left.path, left.state) for left in leftovers(tmp_path)] == [(stale, "stale"), (living, "in use")]
    output = open_output(str(tmp_path / "out.jsonl"))
    with output as out:
        out.write(b"{}\n")
        target = out.target("0" * 16)
        writer = target.writer(0)
        writer.write(b'{"n": 1}\n', 1)
        out.add(writer.finish())
    assert (tmp_path / "out.jsonl").read_bytes() == b'{}\n{"n": 1}\n'
    assert sorted(path.name for path in tmp_path.iterdir()) == [living.name, "out.jsonl"]
