"""Merge on a Ray cluster: the bytes of one machine, whatever is killed and however small the object store."""

import gzip
import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dataprep import merge_files
from dataprep.core.errors import InputError
from dataprep.core.io import store_of
from dataprep.core.io.part_files import CHUNK_VARIABLE
from dataprep.core.parallel import engine
from dataprep.datasets import merge_exchange
from tests.cluster import descendants, left_over
from tests.datasets import merge_works
from tests.datasets.test_merge import joined, numbered_rows, shuffled
from tests.datasets.test_merge_exchange import contents, in_all_formats, merged, wrong_inputs
from tests.engines import engine_on
from tests.helpers import listing

pytestmark = [pytest.mark.cluster, pytest.mark.medium]
TIMEOUT = 120


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks of 4 kB, so that a few rows have many."""
    monkeypatch.setenv(CHUNK_VARIABLE, "4000")


@pytest.fixture
def marks(tmp_path, monkeypatch):
    """A folder in which works leave marks."""
    folder = tmp_path / "marks"
    folder.mkdir()
    monkeypatch.setenv(merge_works.MARKS, str(folder))
    return folder


def parts_of(folder):
    """The bytes of all parts together."""
    return b"".join(part.read_bytes() for part in sorted(Path(folder).glob("part-*")))


@pytest.mark.sampled(5)
@pytest.mark.parametrize("shuffle", [True, False], ids=["shuffled", "in order"])
@pytest.mark.parametrize("target", ["out.jsonl", "out/", "out.jsonl.gz"])
def test_the_output_is_that_of_one_process(cluster, tmp_path, target, shuffle):
    """Of files in all formats, with bad rows: bytes, names, manifest, rejects and ledger."""
    paths = in_all_formats(tmp_path / "in", bad=True)
    one = merged(tmp_path / "one", None, paths, target, shuffle=shuffle)
    assert len(one) == 3, one
    assert merged(tmp_path / "cluster", cluster.address, paths, target, shuffle=shuffle) == one


@pytest.mark.parametrize("names", [["a.jsonl", "bad.jsonl", "bad2.jsonl"], ["cut.jsonl.gz", "bad.jsonl"]])
def test_the_first_error_is_that_of_one_process(cluster, tmp_path, monkeypatch, names):
    """Also of a file that a worker copies, by its path as the user wrote it."""
    wrong_inputs(tmp_path / "in")
    monkeypatch.chdir(tmp_path / "in")
    errors = []
    for address in (None, cluster.address):
        with engine(address), pytest.raises(Exception, match=r"^(bad|cut)\.jsonl") as caught:
            merge_files(names, f"../{len(errors)}/")
        errors.append((type(caught.value), str(caught.value)))
    assert errors[0] == errors[1]


@pytest.mark.slow
def test_workers_that_are_killed_are_replaced(cluster, tmp_path, monkeypatch, marks):
    """One that has divided rows, and one that has written a part."""
    monkeypatch.setattr(merge_exchange, "Join", merge_works.DyingJoin)
    monkeypatch.setattr(merge_exchange, "Split", merge_works.DyingSplit)
    rows = numbered_rows(2000, 60)
    (tmp_path / "a.jsonl").write_bytes(joined(rows))
    with engine(cluster.address):
        merge_files([tmp_path / "a.jsonl"], f"{tmp_path}/out/", seed=3)
    assert listing(marks) == ["join", "split"]
    assert parts_of(tmp_path / "out") == joined(shuffled(rows, 3))
    assert len(contents(tmp_path / "out")) == len(list((tmp_path / "out").glob("part-*"))) + 1


@pytest.mark.slow
def test_a_node_that_is_killed_takes_no_row_with_it(cluster, tmp_path, monkeypatch, marks):
    """The pieces in its object store are made again."""
    monkeypatch.setattr(merge_exchange, "Join", merge_works.SlowJoin)
    monkeypatch.setenv(CHUNK_VARIABLE, "400000")  # pieces above 100 kB stay on the nodes
    rows = numbered_rows(5000, 1000)
    (tmp_path / "a.jsonl").write_bytes(joined(rows))

    def kill():
        deadline = time.monotonic() + TIMEOUT
        while not listing(marks) and time.monotonic() < deadline:
            time.sleep(0.01)
        cluster.kill_node(0)

    killer = threading.Thread(target=kill)
    killer.start()
    with engine(cluster.address):
        merge_files([tmp_path / "a.jsonl"], f"{tmp_path}/out/", seed=3)
    killer.join()
    assert parts_of(tmp_path / "out") == joined(shuffled(rows, 3))


_DRIVER = """
import os, sys
from dataprep import merge_files
from dataprep.core.errors import InputError
from dataprep.core.io import store_of
from dataprep.core.parallel import engine
from dataprep.datasets import merge_exchange
from tests.datasets import merge_works

if __name__ == "__main__":
    merge_exchange.Join = merge_works.SlowJoin
    with engine(sys.argv[1], workers=int(sys.argv[2])):
        merge_files([sys.argv[3]], sys.argv[4], seed=3)
"""


def start(tmp_path, code, *arguments, **variables):
    """Start a program that merges."""
    script = tmp_path / "program.py"
    script.write_text(code, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | variables
    return subprocess.Popen(
        [sys.executable, str(script), *map(str, arguments)],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.slow
def test_a_driver_that_is_killed_can_be_started_again(cluster, tmp_path, marks):
    """With another number of workers; it joins no part a second time that was recorded."""
    rows = numbered_rows(1500, 60)
    (tmp_path / "a.jsonl").write_bytes(joined(rows))
    with start(tmp_path, _DRIVER, cluster.address, 2, "a.jsonl", "out.jsonl") as driver:
        while len(listing(marks)) < 6:
            assert driver.poll() is None, driver.communicate()
            time.sleep(0.05)
        driver.kill()
    assert not (tmp_path / "out.jsonl").exists()
    with start(tmp_path, _DRIVER, cluster.address, 3, "a.jsonl", "out.jsonl") as driver:
        _, errors = driver.communicate(timeout=TIMEOUT)
    assert driver.returncode == 0, errors
    assert (tmp_path / "out.jsonl").read_bytes() == joined(shuffled(rows, 3))
    merge_files([tmp_path / "a.jsonl"], f"{tmp_path}/whole/", seed=3)
    parts = len(list((tmp_path / "whole").glob("part-*")))
    assert parts - 2 <= len(listing(marks)) <= parts  # a part can be recorded, and its worker killed then
    assert not [name for name in listing(tmp_path) if name.startswith(".")]


_SMALL_STORE = """
import sys
import ray
from dataprep import merge_files
from dataprep.core.errors import InputError
from dataprep.core.io import store_of
from dataprep.core.parallel import engine
from dataprep.datasets import merge_exchange
from tests.datasets import merge_works

if __name__ == "__main__":
    merge_exchange.Join = merge_works.DyingJoin
    options = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    ray.init(address="local", num_cpus=2, object_store_memory=int(sys.argv[3]), **options)
    with engine("local"):
        merge_files([sys.argv[1]], sys.argv[2], seed=3)
    from ray._private.internal_api import memory_summary
    summary = memory_summary(ray.get_runtime_context().gcs_address, stats_only=True)
    print(next(line for line in summary.splitlines() if "Spilled" in line))
    ray.shutdown()
"""


@pytest.mark.slow
def test_an_object_store_of_half_the_input_is_enough(tmp_path, marks):
    """Rows are spilled to the disk, and a worker that joins them is killed meanwhile."""
    pytest.importorskip("ray")
    store = 80 << 20
    rows = numbered_rows(85_000, 4000)
    data = joined(rows)
    assert len(data) > 2 * store
    (tmp_path / "a.jsonl").write_bytes(data)
    with start(tmp_path, _SMALL_STORE, "a.jsonl", "out/", store, **{CHUNK_VARIABLE: "8000000"}) as driver:
        while not listing(marks) and driver.poll() is None:
            time.sleep(0.1)
        processes = descendants(driver.pid)
        out, errors = driver.communicate(timeout=TIMEOUT)
    assert driver.returncode == 0, errors
    assert len(processes) > 4
    assert not left_over(processes)
    assert b"Spilled" in out
    assert listing(marks) == ["join"]
    expected = hashlib.sha256(joined(shuffled(rows, 3))).hexdigest()
    assert hashlib.sha256(parts_of(tmp_path / "out")).hexdigest() == expected


def put(url, data):
    """Write an object."""
    store_of(url).put(url, data)


def objects(url):
    """The bytes of all objects below a URL, by their names."""
    store = store_of(url)
    found = {name: store.read(name, 0, stat.size) for name, stat in store.list(url)}
    return {name.removeprefix(url): data for name, data in found.items()}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("backend", ["portable", 2], ids=["here", "processes"])
@pytest.mark.parametrize("shuffle", [True, False], ids=["shuffled", "in order"])
def test_objects_are_merged_as_files_are(s3, tmp_path, backend, shuffle):
    """Plain, compressed and in parts; into parts, one object and a compressed one. No other object stays."""
    paths = in_all_formats(tmp_path / "in", bad=True)
    for path in paths:
        for file in path.iterdir() if path.is_dir() else [path]:
            put(f"{s3}/in/{file.relative_to(tmp_path / 'in')}", file.read_bytes())
    inputs = [f"{s3}/in/{path.name}{'/' * path.is_dir()}" for path in paths]
    there = objects(f"{s3}/")
    expected = merged(tmp_path / "one", None, paths, "out/", shuffle=shuffle)
    for target in ("out/", "out.jsonl", "out.jsonl.gz"):
        with engine_on(backend):
            options = {"rejects": tmp_path / "bad.jsonl", "shuffle": shuffle}
            ledger = merge_files(inputs, f"{s3}/{target}", **options)
        assert ledger == expected[1]
        written = {name: data for name, data in objects(f"{s3}/").items() if name not in there}
        if target == "out/":
            assert written == {name: data for name, data in expected[0].items() if name != "bad.jsonl"}
        else:
            (data,) = written.values()
            whole = b"".join(data for name, data in sorted(expected[0].items()) if "part-" in name)
            assert (gzip.decompress(data) if target.endswith("gz") else data) == whole
        for name in written:
            store_of(s3 + "/").delete(f"{s3}/{name}")


def test_an_object_that_is_replaced_is_an_error(s3, tmp_path):
    """Between the passes: its ranges are asked for by their etag."""
    data = joined(numbered_rows(1000, 60))
    url = f"{s3}/a.jsonl"
    put(url, data)
    done = []

    def progress(size):
        done.append(size)
        if sum(done) >= len(data) > sum(done[:-1]):
            put(url, data[::-1])

    with (
        engine_on("portable"),
        pytest.raises(InputError, match=r"a\.jsonl: the file was changed while it was"),
    ):
        merge_files([url], tmp_path / "out.jsonl", progress=progress)
    assert listing(tmp_path) == []
