"""Shards by tasks, of which workers, nodes and the command itself are killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from dataprep.core.errors import FileError
from dataprep.core.io import forget_work
from dataprep.core.io.part_files import CHUNK_VARIABLE
from dataprep.core.io.stores import store_of
from dataprep.core.ledger import RESUMED, listening
from dataprep.tokens.shards import writing as shard_writing
from dataprep.tokens.shards.reading import Shards
from tests.cluster import left_over
from tests.engines import engine_on
from tests.helpers import read_jsonl
from tests.stores import SECRET
from tests.students import write_tokenizer
from tests.tokens.test_distributed import files_at, tokenize
from tests.tokens.test_tokenize import ROWS, chat, content_of, write_rows
from tests.tokens_fakes import Slow

TIMEOUT = 120
pytestmark = pytest.mark.usefixtures("forked")


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Rows, in chunks of a few of them."""
    monkeypatch.setenv(CHUNK_VARIABLE, "20000")
    return write_rows(tmp_path / "rows.jsonl", ROWS[:600])


RUN = """
import sys
from tests.engines import engine_on
from tests.tokens.test_distributed import tokenize
from tests.tokens_fakes import Slow

if __name__ == "__main__":
    source, output, workers, pause, pids = sys.argv[1:]
    with engine_on(int(workers) if workers.isdecimal() else workers):
        tokenize(source, output, tokenizer=Slow(pause=float(pause), pids=pids), pack=512)
"""


def start(tmp_path, source, output, workers, pause=0.002):
    """Make shards in a process of its own."""
    (tmp_path / "run.py").write_text(RUN, encoding="utf-8")
    (tmp_path / "pids").mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "run.py", str(source), output, str(workers), str(pause), str(tmp_path / "pids")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.PIPE,
    )


def finish(process):
    """Wait for a run, which must succeed."""
    _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, errors.decode()


def records(folder):
    """The records of finished chunks."""
    return [*folder.glob(".shards.parts/.work/*/*.json")]


def wait_for(process, folder, count):
    """Wait until so many chunks are finished."""
    deadline = time.monotonic() + TIMEOUT
    while len(records(folder)) < count:
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kill_after(process, folder, count):
    """End a run as soon as so many chunks are finished; return how many were."""
    wait_for(process, folder, count)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return len(records(folder))


@contextmanager
def forgetting(fresh):
    """Forget what an earlier run has done, as `--fresh` does."""
    token = forget_work.set(fresh)
    yield
    forget_work.reset(token)


@contextmanager
def counted():
    """Count what is reported inside, by kind."""
    counts = Counter()
    with listening(lambda what, count, _total: counts.update({what: count})):
        yield counts


@pytest.mark.medium
@pytest.mark.sampled(2)
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_a_killed_run_goes_on_where_it_was(source, tmp_path, before, after):
    """Its finished chunks are not encoded again, by any number of workers."""
    tokenize(source, tmp_path / "local", pack=512)
    out = tmp_path / "out"
    done = kill_after(start(tmp_path, source, "out", before), out, 5)
    with pytest.raises(FileError, match="holds no finished shards"):
        Shards.open(out)
    with engine_on(after), counted() as counts:
        tokenize(source, out, pack=512)
    assert counts[RESUMED] == done
    assert content_of(out) == content_of(tmp_path / "local")


@pytest.mark.slow
def test_what_is_kept_belongs_to_rows_and_options(source, tmp_path):
    """Packing comes later and changes nothing; `--fresh`, other options and other rows begin anew."""
    out = tmp_path / "out"
    done = kill_after(start(tmp_path, source, "out", 1), out, 3)
    for settings, fresh, expected in (
        ({"pack": 512, "max_length": 4}, False, 0),
        ({"pack": 700, "max_length": 512}, False, done),
        ({"pack": 512}, True, 0),
    ):
        copy = tmp_path / f"{expected}{fresh}"
        shutil.copytree(out, copy)
        with engine_on("inline"), forgetting(fresh), counted() as counts:
            tokenize(source, copy, rejects=tmp_path / "bad.jsonl", **settings)
        assert counts[RESUMED] == expected
    write_rows(source, ROWS[1:601])
    with engine_on("inline"), counted() as counts:
        tokenize(source, out, pack=512)
    assert counts[RESUMED] == 0
    tokenize(source, tmp_path / "local", pack=512)
    assert content_of(out) == content_of(tmp_path / "local")


@pytest.mark.medium
@pytest.mark.parametrize("engine", [2, pytest.param("ray", marks=[pytest.mark.cluster, pytest.mark.slow])])
def test_a_worker_that_is_killed_is_replaced(source, tmp_path, engine, request):
    """Its chunk is encoded again, and the bytes are the same."""
    tokenize(source, tmp_path / "local", pack=512)
    workers = request.getfixturevalue("cluster").address if engine == "ray" else engine
    process = start(tmp_path, source, "out", workers)
    wait_for(process, tmp_path / "out", 3)
    victim = min(int(path.name) for path in (tmp_path / "pids").iterdir())
    os.kill(victim, signal.SIGKILL)
    finish(process)
    assert content_of(tmp_path / "out") == content_of(tmp_path / "local")


@pytest.mark.slow
def test_a_row_that_ends_its_worker_is_one_reject(source, tmp_path):
    """All other rows are documents."""
    rows = [*ROWS[:60], chat("poison", "x"), *ROWS[60:100]]
    write_rows(source, rows)
    with engine_on(2):
        deadly = Slow(deadly="poison")
        made = tokenize(source, tmp_path / "out", tokenizer=deadly, rejects=tmp_path / "bad.jsonl")
    assert made.ledger.failed == {"ends its worker": 1}
    (bad,) = read_jsonl(tmp_path / "bad.jsonl")
    assert (bad["line"], json.loads(bad["text"])) == (61, rows[60])
    shards = Shards.open(tmp_path / "out")
    assert [shards.row(number) for number in range(len(shards))] == [*range(60), *range(61, 101)]
    tokenize(source, tmp_path / "all")
    expected = Shards.open(tmp_path / "all")
    for number in (0, 59, 60, 99):
        ids, mask = shards.document(number)
        same_ids, same_mask = expected.document(shards.row(number))
        assert (ids.tolist(), mask.tolist()) == (same_ids.tolist(), same_mask.tolist())


@pytest.mark.cluster
@pytest.mark.medium
@pytest.mark.sampled(2)
@pytest.mark.parametrize("options", [{}, {"pack": 512}], ids=str)
def test_a_cluster_writes_the_same(cluster, source, tmp_path, monkeypatch, options):
    """On three nodes, with shards that read for themselves or exchange their pieces."""
    monkeypatch.setattr(shard_writing, "SHARD_TOKENS", 30_000)
    tokenize(source, tmp_path / "local", **options)
    with engine_on(cluster.address):
        tokenize(source, tmp_path / "out", **options)
        assert tokenize(source, tmp_path / "out", **options).up_to_date
    assert content_of(tmp_path / "out") == content_of(tmp_path / "local")


@pytest.mark.cluster
@pytest.mark.slow
def test_a_node_is_lost(cluster, source, tmp_path):
    """What it had in hand is done again."""
    tokenize(source, tmp_path / "local", pack=512)
    process = start(tmp_path, source, "out", cluster.address)
    wait_for(process, tmp_path / "out", 3)
    cluster.kill_node(0)
    finish(process)
    assert content_of(tmp_path / "out") == content_of(tmp_path / "local")


@pytest.mark.cluster
@pytest.mark.slow
def test_a_killed_driver_of_a_cluster(cluster, source, tmp_path):
    """The cluster ends its workers; processes of this machine go on with what they have left."""
    tokenize(source, tmp_path / "local", pack=512)
    kill_after(start(tmp_path, source, "out", cluster.address), tmp_path / "out", 5)
    assert not left_over({int(path.name) for path in (tmp_path / "pids").iterdir()})
    done = len(records(tmp_path / "out"))
    with engine_on(2), counted() as counts:
        tokenize(source, tmp_path / "out", pack=512)
    assert counts[RESUMED] == done
    assert content_of(tmp_path / "out") == content_of(tmp_path / "local")


@pytest.mark.cluster
@pytest.mark.slow
def test_the_command_on_a_cluster_of_this_machine_writes_to_a_store(run_process, source, tmp_path, s3):
    """Rows are read from it, too; and the workers have their keys from the environment alone."""
    pytest.importorskip("ray")
    tokenizer = tmp_path / "tokenizer.json"
    write_tokenizer(tokenizer)
    store_of(s3).put(f"{s3}/rows.jsonl", source.read_bytes())
    flags = ("--tokenizer", "tokenizer.json", "--chat-format", "llama3", "--pack", "2048")
    assert run_process("tokenize", "rows.jsonl", "-o", "local", *flags).code == 0
    words = ["tokenize", f"{s3}/rows.jsonl", "-o", f"{s3}/shards", *flags, "--cluster", "--workers", "2"]
    done = run_process(*words)
    assert done.code == 0, done.err
    assert files_at(f"{s3}/shards") == content_of(tmp_path / "local")
    (manifest,) = [data for name, data in files_at(f"{s3}").items() if name == "shards.manifest.json"]
    assert SECRET.encode() not in manifest
