"""Similar rows on every engine: those of one machine, in all rounds, whatever is killed."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import orjson
import pytest

from dataprep.core.io.part_files import CHUNK_VARIABLE
from dataprep.core.ledger import listening
from dataprep.curate.dedup import dedup_files
from dataprep.curate.duplicates import divided_rows, exchanged, join, rows, sets, similar, similar_exchanged
from dataprep.curate.duplicates import parts as looks
from dataprep.curate.near import find_groups
from tests.curate.engine_data import BAD, made_rows
from tests.dying import PoisonedText
from tests.engines import engine_on

pytestmark = pytest.mark.usefixtures("forked")


@pytest.fixture
def small_parts(monkeypatch):
    """Everything of the search for similar rows in many parts and rounds."""
    for module, name, value in (
        (similar, "_FEW_PAIRS", 10),
        (similar, "_FIXED", 2),
        (join, "PAIRS", 40),
        (join, "PART", 60),
        (sets, "HELD", 300),
        (exchanged, "BUCKET_BYTES", 5000),
        (similar_exchanged, "PART_SHINGLES", 300),
        (similar_exchanged, "PAIRS", 50),
        (similar_exchanged, "PAIRS_OF_TASK", 7),
        (looks, "_MOST", 20),
    ):
        monkeypatch.setattr(module, name, value)


@pytest.mark.usefixtures("small_parts", "data")
@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("threshold", "keep"), [(0.3, "first"), (0.6, "longest"), (0.8, "best:n"), (1, "first")]
)
@pytest.mark.parametrize("across", ["", "x.jsonl"])
def test_similar_rows_are_those_of_one_machine(threshold, keep, across):
    """In all rounds: those of rows that are kept in any case, of leading rows, and the last one."""
    options = {"on": "question", "near": threshold, "keep": keep, "across": across or []}
    looked = []

    def run(out):
        done = dedup_files(BAD, f"{out}.jsonl", dropped=f"{out}.drops.jsonl", rejects="r.jsonl", **options)
        return done, *(Path(f"{out}{name}.jsonl").read_bytes() for name in ("", ".drops"))

    expected = run("here")
    assert expected[0].ledger.dropped.total() > 100
    with listening(lambda what, count, _: looked.append((what, count))), engine_on("inline"):
        assert run("there") == expected
    compared = {what: sum(count for name, count in looked if name == what) for what, _ in looked}
    assert threshold == 1 or (compared["pairs compared"] > 50 and compared["rows compared"] > 100)


def test_shingles_are_counted_in_shares():
    """Few as places with counts, many as all counts; and no sum is above the largest rank."""
    rng = np.random.default_rng(1)
    chunks = [rng.integers(0, 1 << 48, size, np.uint64) for size in (0, 50, 3 << 20)]
    chunks += [np.full(70_000, 5, np.uint64)] * 2
    total = np.zeros(rows.COUNTERS, np.uint32)
    for chunk in chunks:
        np.add.at(total, (chunk & np.uint64(rows.COUNTERS - 1)).astype(np.int64), np.uint32(1))
    for count in (1, 3):
        pieces = [[*divided_rows.counted(chunk, count)] for chunk in chunks]
        assert {part[0] is None for chunk in pieces for part in chunk} == {True, False}
        sizes = np.diff(np.arange(count + 1) * rows.COUNTERS // count)
        add = divided_rows.AddCounts()
        counts = [add(int(size), iter([c[part] for c in pieces])) for part, size in enumerate(sizes)]
        assert np.array_equal(np.concatenate(counts), join.ranks_of(total))


@pytest.mark.usefixtures("small_parts", "data")
@pytest.mark.sampled(3)
@pytest.mark.parametrize("threshold", [0.3, 0.7, 1.0])
def test_groups_are_those_of_one_machine(threshold):
    """Groups, their keys, and the numbers of rows, also beside bad rows and blank lines."""
    paths = [*BAD, "x.jsonl", "b.jsonl"]
    found = []
    for backend in (None, "inline"):
        with engine_on(backend):
            found.append(find_groups(paths, on="question", threshold=threshold, rejects="r.jsonl"))
    here, there = found
    assert (here.duplicates, here.near_duplicates) == (there.duplicates, there.near_duplicates)
    for name in ("groups", "keys"):
        for one, other in zip(getattr(here, name), getattr(there, name), strict=True):
            assert one.tolist() == other.tolist()
            assert one.dtype == other.dtype
    assert [len(groups) for groups in here.groups] == [300, 200, 100, 120, 200]


WORKS = {
    "dedup": {"_Splitting._DivideChunk.ReadTexts", "_Joining.KeepFirst", "ChunkWork.WriteKept"},
    "near": {
        "_Splitting._DivideChunk.ReadTexts",
        "_Joining.KeepOne",
        "_Joining.AddCounts",
        "_SplittingPieces.DivideShingles",
        "_SplittingPieces.BuildPart",
        "_Joining.LookAt.ToFixed",
        "_Joining.LookAt.Leading",
        "_Joining.LookAt.ToLeaders",
        "_Joining.LookAt.Among",
        "_SplittingPieces.TakeShingles",
        "_Joining.Compare",
        "ChunkWork.WriteKept",
    },
}


def repeated(case, out):
    """Drop repeated rows, and return the result and all outputs."""
    options = {"near": 0.6} if case == "near" else {}
    done = dedup_files(
        BAD, f"{out}/", on="question", dropped=f"{out}.drops.jsonl", rejects=f"{out}.rejects.jsonl",
        across="x.jsonl", **options,
    )  # fmt: skip
    files = [f"{out}.drops.jsonl", f"{out}.rejects.jsonl"]
    return done, joined(out), *(Path(file).read_bytes() for file in files)


def joined(folder):
    """The bytes of all parts, with their names."""
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}


@pytest.mark.medium
@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("case", ["dedup", pytest.param("near", marks=pytest.mark.slow)])
def test_a_worker_of_each_kind_is_killed(data, case):
    """Its work is done again by another process."""
    expected = repeated(case, "here")
    marks = data / "marks"
    marks.mkdir()
    with engine_on(2, marks=marks):
        assert repeated(case, "there") == expected
    assert {mark.name for mark in marks.iterdir()} >= WORKS[case]


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("case", ["dedup", pytest.param("near", marks=pytest.mark.slow)])
def test_a_worker_of_each_kind_is_killed_on_a_cluster(cluster, data, case):
    """Ray does its work again, and makes lost pieces again."""
    expected = repeated(case, "here")
    marks = data / "marks"
    marks.mkdir()
    with engine_on(cluster.address, marks=marks):
        assert repeated(case, "there") == expected
    assert {mark.name for mark in marks.iterdir()} >= WORKS[case]


@pytest.mark.medium
@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("case", ["dedup", pytest.param("near", marks=pytest.mark.slow)])
def test_a_row_that_ends_its_worker_is_one_reject(monkeypatch, case):
    """It is found, and all other rows come out as without it."""
    lines = Path("b.jsonl").read_bytes().splitlines(keepends=True)
    expected = repeated(case, "without")
    Path("b.jsonl").write_bytes(b"".join([*lines, b'{"question": "one", "poison": 1}\n']))
    monkeypatch.setattr(rows, "ComparedText", PoisonedText)
    with engine_on(2):
        found = repeated(case, "with")
    rejects = found[3].splitlines()
    (poison,) = [line for line in rejects if b"ends the worker" in line]
    assert json.loads(poison)["line"] == len(lines) + 1
    assert [line for line in rejects if line != poison] == expected[3].splitlines()
    assert found[2] == expected[2]
    assert found[0].ledger.failed == expected[0].ledger.failed + Counter({"ends its worker": 1})
    assert rows_of(found[1]) == rows_of(expected[1])


def rows_of(parts):
    """The rows of parts that ``joined`` returned."""
    return [line for name in sorted(parts) if name.startswith("part-") for line in parts[name].splitlines()]


@pytest.mark.cluster
@pytest.mark.slow
def test_a_node_is_killed_between_rounds(cluster, data, monkeypatch):
    """What it held is made again: digests, shingles, and parts of the buckets."""
    monkeypatch.setenv(CHUNK_VARIABLE, "300000")  # pieces above 100 kB stay on the nodes
    monkeypatch.setattr(similar, "_FEW_PAIRS", 10)
    for name, count in (("bad.jsonl", 8000), ("x.jsonl", 1000)):
        Path(name).write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in made_rows(3, count)))
    expected = repeated("near", "here")
    marks = data / "marks"
    marks.mkdir()

    def kill():
        deadline = time.monotonic() + 60
        while not (marks / "_Joining.LookAt.Leading").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        cluster.kill_node(0)

    killer = threading.Thread(target=kill)
    killer.start()
    with engine_on(cluster.address, marks=marks):
        found = repeated("near", "there")
    killer.join()
    assert found == expected


_DRIVER = """
import sys
from tests.curate.test_similar_engines import repeated
from tests.dying import slow_chunks
from tests.engines import engine_on
from dataprep.core.ledger import RESUMED, listening

if __name__ == "__main__":
    slow_chunks()
    with listening(lambda what, count, _: what == RESUMED and print(count)), engine_on(sys.argv[1]):
        repeated(sys.argv[2], "there")
"""


@pytest.mark.cluster
@pytest.mark.slow
def test_a_driver_is_killed_and_started_again(cluster, data):
    """The parts that are written are not written again."""
    expected = repeated("near", "here")
    (data / "driver.py").write_text(_DRIVER, encoding="utf-8")
    program = [sys.executable, "driver.py", cluster.address, "near"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    records = data / "there" / ".work"
    with subprocess.Popen(program, env=environment, stderr=subprocess.PIPE) as driver:
        while len(list(records.glob("*/*.json"))) < 5:
            assert driver.poll() is None, driver.communicate()
            time.sleep(0.02)
        driver.kill()
    done = len(list(records.glob("*/*.json")))
    assert not (data / "there" / "manifest.json").exists()
    again = subprocess.run(program, env=environment, capture_output=True, check=True, timeout=120)
    assert int(again.stdout) >= done
    files = ["there.drops.jsonl", "there.rejects.jsonl"]
    assert (joined("there"), *(Path(file).read_bytes() for file in files)) == expected[1:]
