"""Kills of workers, nodes and drivers while chunks are written: the same parts, and little done twice."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import orjson
import psutil
import pytest

from dataprep.core.io import files_of
from dataprep.core.io.part_files import CHUNK_VARIABLE
from tests.cluster import NODES

pytestmark = [pytest.mark.cluster]

ROWS = 600
SIZE = 1000  # bytes of a chunk: 24 rows
SECONDS = 120

DRIVER = """
import os, sys, time
from dataprep.core import parallel
from dataprep.core.io import open_output, open_rejects, read_blocks
from dataprep.core.ledger import Ledger

class Slow:
    def __init__(self, log):
        self.log = log

    def __call__(self, block):
        with open(self.log, "a") as file:
            file.write(f"{block.start}\\n")
        time.sleep(0.1)
        outcome = parallel.Outcome(block.read().count(b"\\n"))
        outcome.rows_in = outcome.rows_out = outcome.lines
        outcome.put(block.read())
        return outcome

source, output, address, log = sys.argv[1:]
ledger = Ledger()
with parallel.engine(address), open_rejects(None) as bad, open_output(output) as out:
    parallel.run_into(read_blocks(source), Slow(log), out, ledger, bad, paths=[source])
ledger.check()
"""


@pytest.fixture
def source(tmp_path):
    """A file of 25 chunks."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(orjson.dumps({"n": n, "text": "word " * 6}) + b"\n" for n in range(ROWS)))
    return path


class Run:
    """A driver in a process of its own."""

    def __init__(self, folder, source, address):
        self.folder, self.log = folder, folder / "log"
        (folder / "driver.py").write_text(DRIVER, encoding="utf-8")
        environment = os.environ | {
            "PYTHONPATH": str(Path(__file__).parents[2]),
            CHUNK_VARIABLE: str(SIZE),
        }
        self.process = subprocess.Popen(
            [sys.executable, "driver.py", str(source), f"{folder}/out/", address, str(self.log)],
            cwd=folder,
            env=environment,
            stderr=subprocess.PIPE,
        )

    def parts(self):
        """The number of parts that are written."""
        return len(list((self.folder / "out").glob("part-*")))

    def wait_for(self, parts):
        """Wait until so many parts are written."""
        deadline = time.monotonic() + SECONDS
        while self.parts() < parts:
            assert self.process.poll() is None, self.process.stderr.read().decode()
            assert time.monotonic() < deadline, "no part is written"
            time.sleep(0.005)

    def finish(self):
        """Wait for the end, which must be a good one."""
        _, errors = self.process.communicate(timeout=SECONDS)
        assert self.process.returncode == 0, errors.decode()

    def begun(self):
        """The first bytes of the chunks that were worked on, as often as they were."""
        return [int(line) for line in self.log.read_text(encoding="ascii").split()]


def workers_of(process):
    """The processes that run a task of the cluster; others are Ray's own."""
    return [each for each in process.children(recursive=True) if each.name().startswith("ray::_answer")]


def check(run, source):
    """The folder has what one process writes, and nothing else."""
    parts = files_of(f"{run.folder}/out/")
    assert b"".join(Path(part).read_bytes() for part in parts) == source.read_bytes()
    assert {path.name for path in (run.folder / "out").iterdir()} == {
        "manifest.json",
        *(Path(part).name for part in parts),
    }


def seeds(count):
    """Twenty seeds, of which the first are in every run of the tests."""
    return [
        pytest.param(seed, marks=[] if seed < count else [pytest.mark.slow], id=f"seed {seed}")
        for seed in range(20)
    ]


@pytest.mark.parametrize("seed", seeds(1))
def test_a_killed_worker(cluster, source, tmp_path, seed):
    """Its chunk is done again, and no other."""
    chance = random.Random(seed)
    run = Run(tmp_path, source, cluster.address)
    run.wait_for(chance.randrange(1, 15))
    time.sleep(chance.random() / 10)
    while not (workers := workers_of(psutil.Process())):
        assert run.process.poll() is None, "the run ended before a worker could be killed"
    chance.choice(workers).kill()
    run.finish()
    check(run, source)
    chunks = -(-source.stat().st_size // SIZE)
    assert chunks <= len(run.begun()) <= chunks + 1


@pytest.mark.parametrize("seed", seeds(1))
def test_a_killed_node(cluster, source, tmp_path, seed):
    """The chunks of its worker are done on the other nodes."""
    chance = random.Random(seed)
    run = Run(tmp_path, source, cluster.address)
    run.wait_for(chance.randrange(1, 15))
    time.sleep(chance.random() / 10)
    cluster.kill_node(chance.randrange(NODES))
    run.finish()
    check(run, source)
    chunks = -(-source.stat().st_size // SIZE)
    assert chunks <= len(run.begun()) <= chunks + 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds(1))
def test_a_killed_driver(cluster, source, tmp_path, seed):
    """The same command does what is missing, and at most two chunks a worker again."""
    chance = random.Random(seed)
    run = Run(tmp_path, source, cluster.address)
    run.wait_for(chance.randrange(1, 15))
    time.sleep(chance.random() / 10)
    run.process.kill()
    run.process.communicate()
    assert not (tmp_path / "out/manifest.json").exists()
    again = Run(tmp_path, source, cluster.address)
    again.finish()
    check(again, source)
    chunks = -(-source.stat().st_size // SIZE)
    assert chunks <= len(again.begun()) <= chunks + 2 * NODES
