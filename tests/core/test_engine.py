"""The engine: the same rows, failures and line numbers on one worker and on several, and no hang."""

import gzip
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from dataprep.core import parallel as engine
from dataprep.core.errors import FileError, InputError, RowDropped, RowError, WorkerError
from dataprep.core.io import Rejects, read_blocks
from dataprep.core.ledger import Ledger
from dataprep.core.parallel import per_row, processes

TIMEOUT = 20
pytestmark = pytest.mark.usefixtures("forked")


def renamed(row):
    """An operator with every kind of end: a row, a drop, a bad row."""
    if row.get("kind") == "drop":
        raise RowDropped("unwanted")
    if row.get("kind") == "bad":
        raise RowError("bad kind", f"n is {row['n']}")
    return json.dumps({"number": row["n"], "pid": None}).encode()


def dividing(row):
    """An operator with a mistake of its own."""
    return b"%d" % (1 // row["n"])


class Unportable(Exception):
    """An exception that cannot be pickled."""

    def __init__(self, one, two):
        super().__init__(f"{one}{two}")


def raising_unportable(row):
    """An operator whose exception cannot travel between processes."""
    raise Unportable("no", f" travel {row['n']}")


def leaving(row):
    """An operator that ends its process."""
    if row["n"] == 7:
        os._exit(3)
    return b"{}"


def killed(row):
    """An operator whose process is killed, as for want of memory."""
    if row["n"] == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return b"{}"


def enlarging(row):
    """An operator whose output is much larger than a pipe's buffer."""
    return json.dumps({"n": row["n"], "text": "y" * 200}).encode()


@pytest.fixture(autouse=True)
def no_hang():
    """A test that hangs fails."""

    def stop(*_):
        raise TimeoutError("the engine hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(TIMEOUT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def ugly_lines():
    """Lines of every kind, so mixed that small blocks begin and end with each of them."""
    lines = []
    for n in range(120):
        kind = ("good", "bad", "good", "drop")[n % 4]
        lines.append(json.dumps({"n": n, "kind": kind}).encode())
        if n % 5 == 0:
            lines.append(b"")
        if n % 7 == 0:
            lines.append(b'{"n": 1')
        if n % 11 == 0:
            lines.append(b" \t\r")
        if n % 13 == 0:
            lines += [b"[1]", b'{"n": "\xff"}']
    return lines


def expected_of(lines):
    """What a plain loop makes of the lines: output, lines of failures, rows in, rows dropped."""
    out, failed, rows_in, dropped = [], [], 0, 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        rows_in += 1
        try:
            row = json.loads(line)
            out.append(renamed(row))
        except RowDropped:
            dropped += 1
        except (ValueError, AttributeError):
            failed.append((number, line))
    return b"".join(row + b"\n" for row in out), failed, rows_in, dropped


def summed(outcomes):
    """The same of the engine's outcomes, with the failures' messages."""
    data, failed, rows_in, dropped = b"", [], 0, 0
    for _, outcome in outcomes:
        data += outcome.data or b""
        failed += [(failure.line, failure.row, failure.message) for failure in outcome.failures]
        rows_in += outcome.rows_in
        dropped += sum(outcome.dropped.values())
        assert outcome.rows_in == outcome.rows_out + sum(outcome.dropped.values()) + len(outcome.failures)
    return data, failed, rows_in, dropped


@pytest.fixture(scope="module")
def ugly(tmp_path_factory):
    """A file of ugly lines, and what they should become."""
    path = tmp_path_factory.mktemp("engine") / "ugly.jsonl"
    lines = ugly_lines()
    path.write_bytes(b"\n".join(lines))
    return str(path), expected_of(lines)


@pytest.mark.parametrize("size", [1, 37, 300, 1 << 20])
def test_one_worker_does_what_a_plain_loop_does(ugly, size):
    """Rows, failures and their line numbers do not depend on how the file is cut."""
    path, (data, failed, rows_in, dropped) = ugly
    got = summed(engine.run_operator(per_row(renamed), read_blocks(path, size)))
    assert got[0] == data
    assert [failure[:2] for failure in got[1]] == failed
    assert got[2:] == (rows_in, dropped)


@pytest.mark.medium
@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("size", [1, 200, 1 << 20])
def test_several_workers_do_what_one_does(ugly, size, workers):
    """The number of workers changes neither bytes nor failures nor line numbers."""
    path, _ = ugly
    alone = summed(engine.run_operator(per_row(renamed), read_blocks(path, size)))
    assert summed(engine.run_operator(per_row(renamed), read_blocks(path, size), workers=workers)) == alone


@pytest.mark.medium
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_either_way_to_start_a_process_works(ugly, tmp_path, method):
    """Systems that cannot fork, and processes that must not, get the same bytes."""
    path, (data, *_) = ugly
    script = (
        "import sys\n"
        "from dataprep.core import parallel as engine\n"
        "from dataprep.core.io import read_blocks\n"
        "from dataprep.core.parallel import per_row, processes\n"
        "from tests.core.test_engine import renamed\n"
        "if __name__ == '__main__':\n"
        f"    processes.start_method = lambda: {method!r}\n"
        "    blocks = read_blocks(sys.argv[1], 100)\n"
        "    for _, outcome in engine.run_operator(per_row(renamed), blocks, workers=2):\n"
        "        sys.stdout.buffer.write(outcome.data or b'')\n"
    )
    program = tmp_path / "program.py"
    program.write_text(script, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, program, path], capture_output=True, check=False, timeout=TIMEOUT, env=environment
    )
    assert (done.stderr, done.stdout) == (b"", data)


def test_spawned_workers_write_into_the_output_too(ugly, tmp_path, monkeypatch):
    """Direct output works where processes are spawned."""
    monkeypatch.setattr(processes, "start_method", lambda: "spawn")
    path, (data, *_) = ugly
    output = tmp_path / "out"
    output.touch()
    for _ in engine.run_operator(
        per_row(renamed),
        read_blocks(path, 100),
        workers=2,
        output=SimpleNamespace(direct=str(output), path=str(output)),
    ):
        pass
    assert output.read_bytes() == data


@pytest.mark.medium
@pytest.mark.parametrize("workers", [2, 3])
def test_direct_output_is_what_would_be_returned(ugly, tmp_path, workers):
    """Workers that write into the file themselves write the same bytes into the same places."""
    path, (data, failed, *_) = ugly
    output = tmp_path / "out"
    output.touch()
    outcomes = [
        each
        for _, each in engine.run_operator(
            per_row(renamed),
            read_blocks(path, 50),
            workers=workers,
            output=SimpleNamespace(direct=str(output), path=str(output)),
        )
    ]
    assert output.read_bytes() == data
    assert all(outcome.data is None for outcome in outcomes)
    assert sum(outcome.size for outcome in outcomes) == len(data)
    assert [failure.line for outcome in outcomes for failure in outcome.failures] == [
        line for line, _ in failed
    ]


def test_line_numbers_begin_anew_in_each_file(ugly, tmp_path):
    """A bad row in the second file is not counted from the first one's beginning."""
    path, _ = ugly
    second = tmp_path / "second.jsonl"
    second.write_bytes(b'{"n": 1}\n\n{"n": 2, "kind": "bad"}\n')
    blocks = [*read_blocks(path, 64), *read_blocks(str(second), 4)]
    for workers in (1, 2):
        found = [
            failure.line
            for block, outcome in engine.run_operator(per_row(renamed), blocks, workers=workers)
            for failure in outcome.failures
            if block.path == str(second)
        ]
        assert found == [3]


@pytest.mark.medium
def test_blocks_that_carry_their_bytes_go_through_several_workers(tmp_path):
    """Compressed and piped input, in blocks larger than a pipe's buffer, is not stuck."""
    rows = b"".join(b'{"n": %d, "text": "%s"}\n' % (n, b"x" * 100) for n in range(30_000))
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(rows, 1))
    alone = summed(engine.run_operator(per_row(enlarging), read_blocks(str(path))))
    assert alone[2] == 30_000
    assert summed(engine.run_operator(per_row(enlarging), read_blocks(str(path)), workers=2)) == alone


@pytest.mark.medium
def test_plain_and_compressed_files_go_through_several_workers_together(tmp_path):
    """Blocks that carry their bytes after blocks that do not: neither side waits for the other."""
    rows = b"".join(b'{"n": %d, "text": "%s"}\n' % (n, b"x" * 100) for n in range(30_000))
    plain, zipped = tmp_path / "rows.jsonl", tmp_path / "rows.jsonl.gz"
    plain.write_bytes(rows)
    zipped.write_bytes(gzip.compress(rows, 1))
    blocks = [*read_blocks(str(plain)), *read_blocks(str(zipped))]
    assert summed(engine.run_operator(per_row(enlarging), blocks, workers=2))[2] == 60_000


@pytest.mark.parametrize("workers", [1, 2])
def test_an_operators_own_exception_arrives(tmp_path, workers):
    """A mistake in an operator is not taken for a bad row, nor lost in a worker."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(b'{"n": %d}\n' % n for n in (3, 2, 1, 0, 1)))
    with pytest.raises(ZeroDivisionError):
        list(engine.run_operator(per_row(dividing), read_blocks(str(path), 1), workers=workers))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("bad", [True, False])
def test_an_error_of_a_later_file_comes_after_those_of_the_rows(tmp_path, workers, bad):
    """Blocks are read ahead of the rows, which changes no error."""
    path = tmp_path / "rows.jsonl"
    rows = [{"n": n, "kind": "bad" if bad and n == 60 else "good"} for n in range(80)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    missing = str(tmp_path / "missing.jsonl")
    blocks = itertools.chain(read_blocks(str(path), 300), read_blocks(missing))
    with pytest.raises((InputError, FileError)) as caught:
        engine.run_into(
            blocks,
            per_row(renamed),
            None,
            Ledger(),
            Rejects(None),
            paths=[str(path), missing],
            workers=workers,
        )
    assert str(caught.value).startswith(f"{path}:61: bad kind" if bad else f"{missing}: no such file")


def test_an_exception_that_cannot_travel_says_the_same(tmp_path):
    """What cannot be pickled is told in words."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"n": 5}\n')
    with pytest.raises(WorkerError, match="no travel 5"):
        list(engine.run_operator(per_row(raising_unportable), read_blocks(str(path)), workers=2))


@pytest.mark.parametrize(("operator", "code"), [(leaving, "3"), (killed, "-9")])
@pytest.mark.parametrize("direct", [False, True])
def test_a_worker_that_dies_is_an_error_and_no_hang(tmp_path, operator, code, direct):
    """The system may kill a worker at any time; the command ends and says so."""
    path, output = tmp_path / "rows.jsonl", tmp_path / "out"
    path.write_bytes(b"".join(b'{"n": %d}\n' % n for n in range(50)))
    output.touch()
    outcomes = engine.run_operator(
        per_row(operator),
        read_blocks(str(path), 1),
        workers=2,
        output=SimpleNamespace(direct=str(output), path=str(output)) if direct else None,
    )
    with pytest.raises(WorkerError, match=rf"died \(exit code {code}\)"):
        list(outcomes)


def test_a_run_that_is_given_up_ends_its_workers(ugly):
    """Closing the outcomes early leaves no process behind."""
    path, _ = ugly
    before = children(os.getpid())
    outcomes = engine.run_operator(per_row(renamed), read_blocks(path, 20), workers=2)
    next(outcomes)
    outcomes.close()
    assert children(os.getpid()) <= before


def children(pid):
    """The processes that a process has started and that still run."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        state, parent = text.rpartition(")")[2].split()[:2]
        command = (stat.parent / "cmdline").read_bytes() if stat.parent.exists() else b""
        if int(parent) == pid and state != "Z" and b"resource_tracker" not in command:
            found.add(int(stat.parent.name))
    return found


def alive(pid):
    """Whether a process still runs (one that nobody waited for does not)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_give_results_in_order_and_end(threads):
    """The slowest task does not change the order, and an exception of one leaves no thread."""

    def inverse(number):
        time.sleep(0.02 * (number == 2))
        return 1 / number

    before = threading.active_count()
    assert list(engine.in_threads(inverse, range(1, 30), threads)) == [1 / number for number in range(1, 30)]
    with pytest.raises(ZeroDivisionError):
        list(engine.in_threads(inverse, [2, 1, 0, 1], threads))
    assert threading.active_count() == before


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_workers_end_when_their_parent_is_killed(tmp_path):
    """A parent that is killed leaves no worker behind."""
    command = [sys.executable, "-m", "dataprep", "convert", "gsm8k", "-", "-o", "out.jsonl", "--workers", "3"]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        parent.stdin.write(b'{"question": "1 + 1?", "answer": "1 + 1 = 2\\n#### 2"}\n' * 30_000)
        parent.stdin.flush()
        deadline = time.monotonic() + TIMEOUT
        while len(workers := children(parent.pid)) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(workers) == 3
        parent.kill()
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(alive, workers))
