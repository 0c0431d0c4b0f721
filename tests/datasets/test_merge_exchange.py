"""Merge by exchange, as on a cluster: the bytes, rejects, ledger and first error of one process."""

import gzip
import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep import merge_files, mix_files, write_rows
from dataprep.core.errors import DataprepError, FileError, InputError, UsageError
from dataprep.core.io import blocks, chunks, rows
from dataprep.core.io.part_files import CHUNK_VARIABLE
from dataprep.datasets import merge_exchange, merge_inputs
from tests.core.test_changed import CHANGED, every_change, once, source
from tests.datasets.test_merge import BLANK, FILES, ODD_ROWS, joined, numbered_rows, rows_in, shuffled
from tests.engines import engine_on
from tests.helpers import listing

TIMEOUT = 60
pytestmark = pytest.mark.usefixtures("forked")


@pytest.fixture(params=["portable", 2], ids=["here", "processes"])
def backend(request):
    """What does the work in place of a cluster."""
    return request.param


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks of 1 kB, so that a few rows have many."""
    monkeypatch.setenv(CHUNK_VARIABLE, "1000")


def contents(path):
    """The bytes of a file, or of all files in a folder by their names, hidden ones too."""
    path = Path(path)
    if path.is_file():
        return path.read_bytes()
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def in_all_formats(folder, *, bad=False):
    """Files of 600 rows in several formats and of odd lines, and a folder of parts."""
    folder.mkdir()
    rows = numbered_rows(600, 60)
    lines = joined(rows[:200]) + joined(ODD_ROWS + BLANK) + joined(rows[200:300])
    (folder / "a.jsonl").write_bytes(
        b"\xef\xbb\xbf" + lines[:-1]
    )  # a mark at its beginning, no newline at its end
    broken = [b"[1]", b'{"cut": ', b"  ", b'{"x": "\xff"}'] if bad else []
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(joined(rows[300:400] + broken)[:-1]))
    write_rows([{"n": str(n), "text": f"é {n}"} for n in range(100)], folder / "c.csv")
    document = [{"n": n} for n in range(100)]
    (folder / "d.json").write_bytes(orjson.dumps(document[:50] + [5] * bad + document[50:]))
    (folder / "e.jsonl").write_bytes(joined(rows[400:500] + broken + rows[500:]))
    with engine_on("portable"):
        merge_files([folder / "a.jsonl"], f"{folder}/f/", seed=1)
    return [folder / name for name in ("a.jsonl", "b.jsonl.gz", "c.csv", "d.json", "e.jsonl", "f")]


def merged(folder, engine, paths, target, **options):
    """What a merge gives: all files that it writes, its ledger in order, or the error."""
    folder.mkdir()
    with engine_on(engine):
        try:
            ledger = merge_files(paths, f"{folder}/{target}", rejects=folder / "bad.jsonl", **options)
        except DataprepError as error:
            return contents(folder), str(error).replace(str(folder), "")
    return contents(folder), ledger, [*ledger.failed]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("shuffle", [True, False], ids=["shuffled", "in order"])
@pytest.mark.parametrize("bad", [False, True], ids=["sound", "bad rows"])
@pytest.mark.parametrize(
    "target",
    [
        "out.jsonl",
        "out/",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("out.jsonl.gz", "out.json")),
    ],
)
def test_the_output_is_that_of_one_process(tmp_path, backend, target, bad, shuffle):
    """Also names and manifest of a folder of parts, the rejects and the ledger."""
    paths = in_all_formats(tmp_path / "in", bad=bad)
    options = {"seed": 7, "shuffle": shuffle}
    one = merged(tmp_path / "one", None, paths, target, **options)
    assert len(one) == 3, one
    assert merged(tmp_path / "two", None, paths, target, workers=2, **options) == one
    assert merged(tmp_path / "cluster", backend, paths, target, **options) == one
    if target == "out/":
        assert len(one[0]) > 20
        file = merged(tmp_path / "file", None, paths, "out.jsonl", **options)
        parts = sorted(name for name in one[0] if name.startswith("out/part-"))
        assert b"".join(one[0][name] for name in parts) == file[0]["out.jsonl"]


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_the_order_is_that_of_pythons_shuffle(tmp_path, monkeypatch, backend, seed):
    """The oracle is the standard library."""
    monkeypatch.setenv(CHUNK_VARIABLE, "10000")
    rows = numbered_rows(3000, 100)
    (tmp_path / "a.jsonl").write_bytes(joined(rows[:100]))
    (tmp_path / "b.jsonl").write_bytes(joined(rows[100:]))
    with engine_on(backend):
        ledger = merge_files([tmp_path / "b.jsonl", tmp_path / "a.jsonl"], tmp_path / "out.jsonl", seed=seed)
    assert (tmp_path / "out.jsonl").read_bytes() == joined(shuffled(rows, seed))
    assert (ledger.rows_in, ledger.rows_out) == (3000, 3000)
    assert listing(tmp_path) == ["a.jsonl", "b.jsonl", "out.jsonl"]


@given(
    files=FILES,
    seed=st.integers(0, 2**33),
    size=st.integers(1, 300),
    pieces=st.sampled_from([1, 20, 1 << 15]),
    check=st.booleans(),
)
def test_every_row_comes_once_whatever_the_size_of_chunks(tmp_path_factory, files, seed, size, pieces, check):
    """Chunks shorter than a row, and buckets of one part or of all."""
    folder = tmp_path_factory.mktemp("exchange")
    paths, rows = [], []
    for number, (lines, final) in enumerate(files):
        data = b"\n".join([*lines, ODD_ROWS[number % len(ODD_ROWS)]]) + (b"\n" if final else b"")
        paths.append(folder / f"{number}.jsonl")
        paths[-1].write_bytes(data)
        rows += rows_in(data)
    with pytest.MonkeyPatch.context() as patch, engine_on("portable"):
        patch.setenv(CHUNK_VARIABLE, str(size))
        patch.setattr(merge_exchange, "PIECES", pieces)
        merge_files(paths, folder / "out.jsonl", seed=seed, check=check)
        merge_files(paths, f"{folder}/out/", seed=seed, check=check)
        merge_files(paths, folder / "plain.jsonl", shuffle=False, check=check)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CHUNK_VARIABLE, str(size))
        merge_files(paths, f"{folder}/expected/", seed=seed, check=check)
    assert (folder / "out.jsonl").read_bytes() == joined(shuffled(rows, seed))
    assert (folder / "plain.jsonl").read_bytes() == joined(rows)
    assert contents(folder / "out") == contents(folder / "expected")


@pytest.mark.parametrize("target", ["-", "out.jsonl.gz"])
def test_rows_that_pass_this_process_are_those_of_one_process(
    tmp_path, monkeypatch, capfdbinary, backend, target
):
    """To standard output, and compressed: also of inputs that workers do not see."""
    rows = numbered_rows(900, 60)
    (tmp_path / "a.jsonl").write_bytes(joined(rows[:300]))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(joined(rows[300:600])))
    piped = io.TextIOWrapper(io.BufferedReader(io.BytesIO(joined(rows[600:]))))
    monkeypatch.setattr(sys, "stdin", piped)
    monkeypatch.chdir(tmp_path)
    with engine_on(backend):
        merge_files(["a.jsonl", "b.jsonl.gz", "-"], target, seed=5)
    out = capfdbinary.readouterr().out if target == "-" else gzip.decompress(Path(target).read_bytes())
    assert out == joined(shuffled(rows[600:] + rows[:600], 5))
    assert listing(tmp_path) == ["a.jsonl", "b.jsonl.gz", *([target] if target != "-" else [])]


def test_a_pipe_and_a_file_named_twice(tmp_path, monkeypatch, backend):
    """Standard input is read once, by this process; workers read its copy."""
    rows = numbered_rows(300, 60)
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(joined(rows[:100])))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(joined(rows[100:])))))
    with engine_on(backend):
        merge_files([path, "-", path], f"{tmp_path}/out/", seed=5)
    parts = sorted((tmp_path / "out").glob("part-*"))
    assert b"".join(part.read_bytes() for part in parts) == joined(
        shuffled(rows[100:] + rows[:100] + rows[:100], 5)
    )
    assert len(contents(tmp_path / "out")) == len(parts) + 1


def wrong_inputs(folder):
    """Inputs by the fault that a merge of them should find first."""
    folder.mkdir()
    good, bad = joined(numbered_rows(200, 30)), joined(numbered_rows(150, 30)) + b"[1]\n" + joined(ODD_ROWS)
    (folder / "a.jsonl").write_bytes(good)
    (folder / "bad.jsonl").write_bytes(bad)
    (folder / "bad2.jsonl").write_bytes(b"5\n" + good)
    (folder / "e.jsonl").write_bytes(b"\n \n")
    (folder / "packed.jsonl").write_bytes(gzip.compress(good))
    (folder / "long.jsonl").write_bytes(b"{}\n" + b'"' + b"x" * 3000 + b'"\n')
    (folder / "cut.jsonl.gz").write_bytes(gzip.compress(good)[:-20])
    (folder / "other.jsonl").write_bytes(b"a\nb\n" * 100)
    (folder / "z.json").write_bytes(b"[{}, ")


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "names",
    [
        ["a.jsonl", "bad.jsonl", "bad2.jsonl"],
        ["bad.jsonl", "packed.jsonl"],
        ["packed.jsonl"],
        ["a.jsonl", "e.jsonl"],
        ["a.jsonl", "bad.jsonl", "e.jsonl"],
        ["a.jsonl", "long.jsonl"],
        ["bad.jsonl", "long.jsonl"],
        ["a.jsonl", "cut.jsonl.gz", "z.json"],
        ["a.jsonl", "z.json"],
        ["other.jsonl"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("shuffle", [True, False], ids=["shuffled", "in order"])
@pytest.mark.parametrize("target", ["out.jsonl", "out/"])
def test_the_first_error_is_that_of_one_process(tmp_path, monkeypatch, backend, names, shuffle, target):
    """Whatever is found in later chunks; nothing is left behind but whole parts, for a later run."""
    monkeypatch.setattr("dataprep.core.jsonl.MAX_LINE", 2000)
    for module in (merge_inputs, blocks, chunks, rows):
        monkeypatch.setattr(module, "MAX_LINE", 2000)
    wrong_inputs(tmp_path / "in")
    paths = [tmp_path / "in" / name for name in names]
    errors = []
    for number, engine in enumerate([None, None, backend]):
        folder = tmp_path / str(number)
        folder.mkdir()
        with engine_on(engine), pytest.raises(DataprepError) as caught:
            merge_files(paths, f"{folder}/{target}", workers=2 if number == 1 else 1, shuffle=shuffle)
        errors.append((type(caught.value), str(caught.value)))
        left = [name for name in contents(folder) if not (".work/" in name or "part-" in name)]
        assert not left
        assert not shuffle or not contents(folder)
    assert errors[1] == errors[0]
    assert errors[2] == errors[0]


@every_change
@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    "options", [{}, {"check": False}, {"shuffle": False}], ids=["checked", "not", "in order"]
)
@pytest.mark.parametrize("phase", [0.3, 1.2, 1.6], ids=["scanning", "dividing", "joining"])
def test_an_input_that_changes_is_an_error(tmp_path, monkeypatch, change, options, phase):
    """In each pass: no output, and the earlier one stays."""
    monkeypatch.setenv(CHUNK_VARIABLE, "30000")
    path, output = tmp_path / "a.jsonl", tmp_path / "out.jsonl"
    path.write_bytes(source())
    output.write_bytes(b"earlier")
    progress = once(path, change, int(phase * path.stat().st_size))
    with (
        engine_on("portable"),
        pytest.raises((InputError, OSError), match=r"a\.jsonl: (the file was changed|no such file)"),
    ):
        merge_files([path], output, progress=progress, **options)
    assert output.read_bytes() == b"earlier"


def test_rows_that_moved_unnoticed_are_found_out(tmp_path, monkeypatch):
    """Where the file system shows no change, rows that are not whole lines any more do."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(source())
    monkeypatch.setattr("dataprep.core.io.reading.Identity.check", lambda *_: None)
    moved = path.read_bytes()[:-100_000].replace(b"Boxes", b"Box", 1)
    progress = once(path, lambda path: path.write_bytes(moved + b" " * 100_002), path.stat().st_size - 1)
    with engine_on("portable"), pytest.raises(InputError, match=CHANGED):
        merge_files([path], tmp_path / "out.jsonl", progress=progress)


def test_an_output_may_be_one_of_the_inputs(tmp_path, backend):
    """As on one machine."""
    rows = numbered_rows(1000, 60)
    path = tmp_path / "a.jsonl"
    path.write_bytes(joined(rows))
    with engine_on(backend):
        merge_files([path], path, seed=4)
    assert path.read_bytes() == joined(shuffled(rows, 4))


def test_rows_are_limited_by_memory(tmp_path):
    """The message has the bytes for a row, and it comes before they are used."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(joined(numbered_rows(1000)))
    with engine_on("portable"):
        merge_files([path], tmp_path / "out.jsonl", memory=32_000)
        with pytest.raises(UsageError, match=r"takes 32 bytes .* 31,999 bytes are enough for 999 rows"):
            merge_files([path], tmp_path / "no.jsonl", memory=31_999)
    assert listing(tmp_path) == ["a.jsonl", "out.jsonl"]


def test_the_progress_adds_up(tmp_path, backend):
    """Each byte counts twice, as on one machine."""
    data = joined(numbered_rows(1000))
    (tmp_path / "a.jsonl").write_bytes(data)
    for shuffle in (True, False):
        counts = []
        with engine_on(backend):
            merge_files(
                [tmp_path / "a.jsonl"], tmp_path / "out.jsonl", shuffle=shuffle, progress=counts.append
            )
        assert sum(counts) == pytest.approx(2 * len(data), rel=0.02)
        assert min(counts) >= 0


def test_a_join_or_split_whose_worker_is_killed_is_done_again(tmp_path, monkeypatch):
    """The bytes are the same, and no unfinished file stays."""
    rows = numbered_rows(3000, 100)
    (tmp_path / "a.jsonl").write_bytes(joined(rows))
    deaths = tmp_path / "deaths"
    deaths.mkdir()

    def dying(kind, call):
        def called(self, *arguments):
            result = call(self, *arguments)
            with suppress(FileExistsError):
                (deaths / kind).touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return called

    for kind in (merge_exchange.Split, merge_exchange.Join):
        monkeypatch.setattr(kind, "__call__", dying(kind.__name__, kind.__call__))
    with engine_on(2):
        merge_files([tmp_path / "a.jsonl"], f"{tmp_path}/out/", seed=4)
    assert listing(deaths) == ["Join", "Split"]
    parts = sorted((tmp_path / "out").glob("part-*"))
    assert b"".join(part.read_bytes() for part in parts) == joined(shuffled(rows, 4))
    assert listing(tmp_path / "out") == ["manifest.json", *(part.name for part in parts)]


def test_a_row_that_ends_its_worker_is_one_reject(tmp_path, monkeypatch):
    """The rows after it in its chunk are found where they are."""
    rows = numbered_rows(2000, 60)
    (tmp_path / "a.jsonl").write_bytes(joined(rows))
    poison = 1234
    loads = orjson.loads

    def deadly(line):
        if line == rows[poison]:
            os.kill(os.getpid(), signal.SIGKILL)
        return loads(line)

    monkeypatch.setattr(merge_inputs.orjson, "loads", deadly)
    monkeypatch.setenv(CHUNK_VARIABLE, "20000")
    with engine_on(2):
        ledger = merge_files([tmp_path / "a.jsonl"], tmp_path / "out.jsonl", rejects=tmp_path / "bad.jsonl")
    monkeypatch.undo()
    others = rows[:poison] + rows[poison + 1 :]
    assert (tmp_path / "out.jsonl").read_bytes() == joined(shuffled(others, 42))
    (reject,) = map(json.loads, (tmp_path / "bad.jsonl").read_text(encoding="utf-8").splitlines())
    assert (reject["line"], reject["text"]) == (poison + 1, rows[poison].decode())
    assert (ledger.rows_in, ledger.rows_out, dict(ledger.failed)) == (2000, 1999, {"ends its worker": 1})


_PROGRAM = """
import os, sys, time
from dataprep import merge_files
from dataprep.core.parallel import Processes, engines
from dataprep.datasets import merge_exchange

join = merge_exchange.Join.__call__

def slowly(self, bucket, pieces):
    result = join(self, bucket, pieces)
    with open("joined", "a") as log:
        log.write(f"{bucket}\\n")
    time.sleep(float(os.environ["PAUSE"]))
    return result

if __name__ == "__main__":
    merge_exchange.Join.__call__ = slowly
    engines._engines.append(engines.Engine("here", _connected=Processes(int(sys.argv[1]))))
    merge_files(sys.argv[4:], sys.argv[2], seed=int(sys.argv[3]))
"""


def start(tmp_path, target, *inputs, workers=2, seed=3, pause="0", piped=None):
    """Start a merge in a process of its own, with joins that take their time."""
    (tmp_path / "program.py").write_text(_PROGRAM, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "PAUSE": pause}
    with open(piped or os.devnull, "rb") as stdin:
        return subprocess.Popen(
            [sys.executable, "program.py", str(workers), target, str(seed), *inputs],
            cwd=tmp_path,
            env=environment,
            stdin=stdin,
            stderr=subprocess.PIPE,
        )


def finish(process):
    """Wait for a merge, which must succeed."""
    _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, errors.decode()


def joins(tmp_path):
    """The number of joins that were finished since the last call."""
    log = tmp_path / "joined"
    count = len(log.read_text(encoding="utf-8").split()) if log.exists() else 0
    log.unlink(missing_ok=True)
    return count


def kill_after(tmp_path, process, count):
    """Kill a merge once so many joins are finished; return how many were."""
    deadline = time.monotonic() + TIMEOUT
    while (
        len((tmp_path / "joined").read_text("utf-8").split() if (tmp_path / "joined").exists() else [])
        < count
    ):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.communicate()
    return joins(tmp_path)


@pytest.mark.medium
@pytest.mark.sampled(2)
@pytest.mark.parametrize("target", ["out/", "out.jsonl"])
@pytest.mark.parametrize(("before", "after"), [(1, 2), pytest.param(2, 1, marks=pytest.mark.slow)])
def test_a_killed_merge_goes_on_where_it_was(tmp_path, target, before, after):
    """Parts that are finished are taken, with any number of workers, and nothing is left at the end."""
    rows = numbered_rows(900, 60)
    (tmp_path / "a.jsonl").write_bytes(joined(rows[:500]))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(joined(rows[500:])))
    inputs = ["a.jsonl", "b.jsonl.gz"]
    finish(start(tmp_path, "whole/", *inputs))
    parts = joins(tmp_path)
    assert parts > 20
    process = start(tmp_path, target, *inputs, workers=before, pause="0.05")
    done = kill_after(tmp_path, process, 6)
    assert not (tmp_path / "out.jsonl").exists()
    assert not (tmp_path / "out/manifest.json").exists()
    finish(start(tmp_path, target, *inputs, workers=after))
    assert joins(tmp_path) <= parts - done + before  # one a worker was finished, and not yet recorded
    if target == "out/":
        assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    else:
        assert (tmp_path / "out.jsonl").read_bytes() == joined(shuffled(rows, 3))
        assert not [name for name in listing(tmp_path) if name.startswith(".")]


@pytest.mark.slow
def test_what_was_done_for_other_rows_is_not_taken(tmp_path):
    """Another seed, a changed input, and a pipe with other rows of the same lengths begin anew."""
    rows, other = numbered_rows(500, 60), [row.replace(b"pad", b"dap") for row in numbered_rows(500, 60)]
    piped = tmp_path / "piped"

    def unfinished():
        (tmp_path / "a.jsonl").write_bytes(joined(rows))
        piped.write_bytes(joined(rows))
        kill_after(tmp_path, start(tmp_path, "out/", "a.jsonl", "-", pause="0.05", piped=piped), 6)

    def result(seed=3):
        finish(start(tmp_path, "out/", "a.jsonl", "-", seed=seed, piped=piped))
        return b"".join(part.read_bytes() for part in sorted((tmp_path / "out").glob("part-*")))

    unfinished()
    assert result(seed=4) == joined(shuffled(rows + rows, 4))
    unfinished()
    piped.write_bytes(joined(other))
    assert result() == joined(shuffled(other + rows, 3))
    unfinished()
    (tmp_path / "a.jsonl").write_bytes(joined(other))
    assert result() == joined(shuffled(rows + other, 3))
    assert [name for name in listing(tmp_path / "out") if name.startswith(".")] == []


def test_a_damaged_record_is_done_again(tmp_path, monkeypatch):
    """A part that is cut or gone, and a record that is no JSON."""
    rows = numbered_rows(500, 60)
    (tmp_path / "a.jsonl").write_bytes(joined(rows))

    def fail(*_, **__):
        raise ZeroDivisionError

    with engine_on("portable"):
        with monkeypatch.context() as patch:
            patch.setattr("dataprep.core.io.parts.PartsFolder.commit", fail)
            with pytest.raises(ZeroDivisionError):
                merge_files([tmp_path / "a.jsonl"], f"{tmp_path}/out/")
        records = sorted((tmp_path / "out/.work").glob("*/*.json"))
        parts = sorted((tmp_path / "out").glob("part-*"))
        records[0].write_bytes(b"{")
        records[1].write_bytes(records[2].read_bytes().replace(b"fingerprint", b"footprint"))
        os.truncate(parts[3], 10)
        parts[4].unlink()
        done = []
        join = merge_exchange.Join.__call__
        monkeypatch.setattr(
            merge_exchange.Join, "__call__", lambda self, *given: done.append(given) or join(self, *given)
        )
        merge_files([tmp_path / "a.jsonl"], f"{tmp_path}/out/")
    assert len(done) == 4
    parts = sorted((tmp_path / "out").glob("part-*"))
    assert b"".join(part.read_bytes() for part in parts) == joined(shuffled(rows, 42))


def test_a_folder_of_parts_is_one_input(tmp_path):
    """By its manifest: parts of an unfinished run are no rows, and nothing is copied."""
    rows = numbered_rows(500, 60)
    (tmp_path / "a.jsonl").write_bytes(joined(rows))
    merge_files([tmp_path / "a.jsonl"], f"{tmp_path}/in/", shuffle=False)
    (tmp_path / "in/part-00003-00000000.jsonl").write_bytes(b'{"stray": 1}\n')
    merge_files([tmp_path / "in"], tmp_path / "out.jsonl", seed=3)
    assert (tmp_path / "out.jsonl").read_bytes() == joined(shuffled(rows, 3))
    alone = {str(path): None for path in (tmp_path / "a.jsonl", tmp_path / "in")}
    mix_files(alone, tmp_path / "mixed.jsonl")
    assert sorted(rows_in((tmp_path / "mixed.jsonl").read_bytes())) == sorted(rows + rows)
    (tmp_path / "in/manifest.json").unlink()
    with pytest.raises(FileError, match="the run that writes them is unfinished"):
        merge_files([tmp_path / "in"], tmp_path / "out.jsonl")


def test_parts_of_other_programs_are_a_folder_of_files(tmp_path):
    """Such as Spark's, which have no manifest."""
    rows = numbered_rows(10)
    (tmp_path / "in").mkdir()
    for number in range(2):
        (tmp_path / f"in/part-0000{number}.jsonl").write_bytes(joined(rows[number * 5 :][:5]))
    merge_files([tmp_path / "in"], tmp_path / "out.jsonl", seed=3)
    assert (tmp_path / "out.jsonl").read_bytes() == joined(shuffled(rows, 3))


def test_more_files_than_a_process_has_open_by_default(tmp_path):
    """Each is mapped, and a map keeps its file open."""
    count = 700
    (tmp_path / "in").mkdir()
    for number in range(count):
        (tmp_path / f"in/{number:04}.jsonl").write_bytes(b'{"n": %d}\n' % number)
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, most))
    try:
        merge_files([tmp_path / "in"], tmp_path / "out.jsonl", seed=3)
        merge_files([tmp_path / "in"], tmp_path / "disk.jsonl", seed=3, memory=100)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))
    expected = joined(shuffled([b'{"n": %d}' % number for number in range(count)], 3))
    assert (tmp_path / "out.jsonl").read_bytes() == expected
    assert (tmp_path / "disk.jsonl").read_bytes() == expected
