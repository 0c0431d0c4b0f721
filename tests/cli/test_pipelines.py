"""Real pipelines and real signals: commands compose in a shell, and end as a command should."""

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers import listing

PROGRAM = f"{shlex.quote(sys.executable)} -m dataprep"
COMMAND = [sys.executable, "-m", "dataprep"]
EARLIER = b"earlier output\n"
RAW = b'{"question": "A crate holds 6 jars. How many do %d crates hold?", "answer": "%d*6\\n#### %d"}\n'

WRITERS = {"convert": ["convert", "gsm8k"], "merge": ["merge"]}
every_writer = pytest.mark.parametrize("name", WRITERS)


def raw_rows(count):
    """Raw GSM8K rows, all different."""
    return b"".join(RAW % (n, n, 6 * n) for n in range(1, count + 1))


@pytest.fixture
def shell(tmp_path):
    """Run a line of shell in ``tmp_path``; ``dataprep`` in it is the command."""

    def run_line(line):
        script = f'dataprep() {{ {PROGRAM} "$@"; }}\n{line}'
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", script],
            cwd=tmp_path,
            capture_output=True,
            check=False,
            timeout=60,
        )

    return run_line


def test_convert_and_merge_compose(shell, tmp_path):
    """The pipeline of the manual gives the first row of Python's own shuffle, silently."""
    (tmp_path / "raw.jsonl").write_bytes(raw_rows(300))
    assert shell("dataprep convert gsm8k raw.jsonl > other.jsonl").returncode == 0
    done = shell(
        "dataprep convert gsm8k - --quiet < raw.jsonl | dataprep merge - other.jsonl -o - --quiet | head -1"
    )
    assert (done.returncode, done.stderr) == (0, b"")
    rows = (tmp_path / "other.jsonl").read_bytes().splitlines(keepends=True)
    assert len(rows) == 300
    rows += rows
    random.seed(42)
    random.shuffle(rows)
    assert done.stdout == rows[0]


@pytest.mark.medium
def test_every_command_reads_standard_input(shell, tmp_path):
    """A pipe and a redirected file are the same to every command."""
    (tmp_path / "raw.jsonl").write_bytes(raw_rows(50))
    assert shell("dataprep convert gsm8k raw.jsonl -o chat.jsonl").returncode == 0
    for command in ("merge - -o -", "validate -", "stats --json -"):
        piped = shell(f"cat chat.jsonl | dataprep {command}")
        redirected = shell(f"dataprep {command} < chat.jsonl")
        assert (piped.returncode, redirected.returncode) == (0, 0)
        assert piped.stdout == redirected.stdout
    assert json.loads(piped.stdout)["rows"] == 50


def test_summaries_do_not_mix_with_the_data(shell, tmp_path):
    """Everything on standard output is rows; the summary goes to standard error."""
    (tmp_path / "raw.jsonl").write_bytes(raw_rows(20))
    done = shell("dataprep convert gsm8k raw.jsonl | dataprep validate -")
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"20 in = 20 out" in done.stderr


def test_a_failure_in_the_middle_fails_the_pipeline(shell, tmp_path):
    """With pipefail a script notices that the first command stopped."""
    (tmp_path / "raw.jsonl").write_bytes(raw_rows(20) + b"{}\n")
    done = shell("dataprep convert gsm8k raw.jsonl | dataprep validate -")
    assert done.returncode == 1
    assert b"error: raw.jsonl:21: missing field 'question'" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.medium
@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "line",
    [
        "dataprep convert gsm8k raw.jsonl --workers 1 | head -1",
        "dataprep convert gsm8k raw.jsonl --workers 2 | head -1",
        "dataprep convert gsm8k raw.jsonl --workers 2 -o - | true",
        "dataprep convert gsm8k - --workers 2 < raw.jsonl | head -2",
        "dataprep merge raw.jsonl --workers 1 | head -1",
        "dataprep merge raw.jsonl --workers 2 -o - | head -1",
        "dataprep merge raw.jsonl --memory 1M | head -1",
        "dataprep merge raw.jsonl --no-shuffle | true",
        "dataprep convert gsm8k raw.jsonl -o /dev/stdout | head -1",
        "dataprep merge raw.jsonl -o /dev/stdout | head -1",
    ],
)
def test_a_closed_pipe_ends_a_command_silently(shell, tmp_path, line):
    """``| head`` is no error, however much was still to be written, and leaves nothing behind."""
    (tmp_path / "raw.jsonl").write_bytes(raw_rows(40_000))
    done = shell(line)
    assert (done.returncode, done.stderr) == (0, b"")
    assert listing(tmp_path) == ["raw.jsonl"]


@pytest.mark.medium
@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("convert", "gsm8k", "raw.jsonl"), 0),
        (("merge", "raw.jsonl"), 0),
        (("validate", "raw.jsonl"), None),
        (("validate", "raw.jsonl", "--json"), None),
        (("stats", "raw.jsonl"), 0),
        (("stats", "raw.jsonl", "--json"), 0),
        (("--help",), None),
    ],
)
def test_a_reader_that_is_gone_before_the_first_byte_is_no_error(tmp_path, arguments, code):
    """A small output, written only at the end, finds its pipe closed as silently as a large one."""
    (tmp_path / "raw.jsonl").write_bytes(raw_rows(5))
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=tmp_path,
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    finally:
        os.close(writing)
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr
    assert b"Broken" not in done.stderr
    assert done.returncode in ((0, 1) if code is None else (code,))


@pytest.mark.medium
@every_writer
@pytest.mark.sampled(2)
def test_one_worker_and_two_give_the_same_file(shell, tmp_path, name):
    """The number of workers is a matter of speed only, for files and for pipes."""
    (tmp_path / "raw.jsonl").write_bytes(raw_rows(20_000))
    command = " ".join(WRITERS[name])
    for workers in (1, 2):
        assert shell(f"dataprep {command} raw.jsonl -o {workers}.jsonl --workers {workers}").returncode == 0
        assert (
            shell(f"cat raw.jsonl | dataprep {command} - -o p{workers}.jsonl --workers {workers}").returncode
            == 0
        )
    files = [(tmp_path / f"{file}.jsonl").read_bytes() for file in ("1", "2", "p1", "p2")]
    assert files[0].count(b"\n") == 20_000
    assert files == [files[0]] * 4


class Stalled:
    """A command in a session of its own whose standard input brings rows, and then nothing more."""

    def __init__(self, folder, *arguments):
        self.folder = folder
        (folder / "out.jsonl").write_bytes(EARLIER)
        self.process = subprocess.Popen(
            [*COMMAND, *arguments, "-", "-o", "out.jsonl"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.process.stdin.write(raw_rows(20_000))
        self.process.stdin.flush()
        wait_for(lambda: any(".partial" in file for file in listing(folder)))

    def end(self, number):
        """Send a signal to the command and its workers, as a terminal does; its exit code and stderr."""
        os.killpg(self.process.pid, number)
        _, err = self.process.communicate(timeout=30)
        return self.process.returncode, err


def wait_for(condition):
    """Wait until something has happened."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 30 s"
        time.sleep(0.005)


@pytest.mark.medium
@pytest.mark.sampled(5)
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
@every_writer
def test_an_interrupted_command_leaves_everything_as_it_was(tmp_path, name, number, code, workers):
    """Ctrl-C, a polite kill, a closed terminal: the exit code says so, and the earlier output stays alone."""
    stalled = Stalled(tmp_path, *WRITERS[name], "--workers", workers)
    ended, err = stalled.end(number)
    assert ended == code
    assert b"Traceback" not in err
    assert err.count(b"\n") <= 1
    assert listing(tmp_path) == ["out.jsonl"]
    assert (tmp_path / "out.jsonl").read_bytes() == EARLIER


@pytest.mark.medium
@pytest.mark.sampled(3)
@pytest.mark.parametrize("workers", ["1", "2"])
@every_writer
def test_a_killed_command_can_be_run_again(tmp_path, run, name, workers):
    """After kill -9 the earlier output stands, whole, and the next run removes what was left behind."""
    ended, _ = Stalled(tmp_path, *WRITERS[name], "--workers", workers).end(signal.SIGKILL)
    assert ended == -signal.SIGKILL
    assert (tmp_path / "out.jsonl").read_bytes() == EARLIER
    assert all(file == "out.jsonl" or file.startswith(".") for file in listing(tmp_path))
    (tmp_path / "raw.jsonl").write_bytes(raw_rows(1000))
    done = run(*WRITERS[name], "raw.jsonl", "-o", "out.jsonl", "--workers", workers)
    assert done.code == 0
    assert listing(tmp_path) == ["out.jsonl", "raw.jsonl"]
    assert (tmp_path / "out.jsonl").read_bytes() == run(*WRITERS[name], "raw.jsonl").out
    folder_merged = run("merge", tmp_path, "--no-shuffle").out  # a folder's files: not the leftovers
    assert folder_merged.count(b"\n") == 2000


@pytest.mark.medium
@pytest.mark.sampled(2)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_in_the_middle_of_a_large_file(tmp_path, workers):
    """Interrupted while rows are written at full speed, by workers too, a command cleans up alike."""
    with (tmp_path / "raw.jsonl").open("wb") as file:
        file.writelines([raw_rows(10_000)] * 80)
    (tmp_path / "out.jsonl").write_bytes(EARLIER)
    command = [*COMMAND, *WRITERS["convert"], "raw.jsonl", "-o", "out.jsonl", "--workers", workers]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True) as process:
        wait_for(lambda: any(path.stat().st_size > 1 << 20 for path in tmp_path.glob(".*.partial")))
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert listing(tmp_path) == ["out.jsonl", "raw.jsonl"]
    assert (tmp_path / "out.jsonl").read_bytes() == EARLIER


@pytest.mark.medium
def test_sampling_works_in_a_pipeline(shell, tmp_path):
    """A sample of a stream is that of the file."""
    (tmp_path / "raw.jsonl").write_bytes(raw_rows(500))
    line = "dataprep convert gsm8k {} --sample 30 --quiet"
    piped = shell("cat raw.jsonl | " + line.format("-"))
    assert piped.stdout == shell(line.format("raw.jsonl")).stdout
    assert (piped.stdout.count(b"\n"), piped.stderr) == (30, b"")


@pytest.mark.medium
def test_examples_flow_through_a_pipeline(shell, tmp_path):
    """Neutral Example rows can be merged like chat rows."""
    (tmp_path / "raw.jsonl").write_bytes(raw_rows(40))
    done = shell(
        "dataprep convert gsm8k raw.jsonl --to example | dataprep merge - --no-shuffle -o example.jsonl"
    )
    assert done.returncode == 0
    rows = [json.loads(line) for line in Path(tmp_path / "example.jsonl").read_bytes().splitlines()]
    assert [row["answer"] for row in rows] == [str(6 * n) for n in range(1, 41)]
    assert len({row["id"] for row in rows}) == 40


@pytest.mark.slow
def test_standard_streams_may_be_closed_or_full(shell, tmp_path):
    """Rows that nobody gets are one line of error. Messages that nobody gets never mix with rows."""
    (tmp_path / "raw.jsonl").write_bytes(raw_rows(5))
    convert = "dataprep convert gsm8k raw.jsonl"
    full, closed = b"No space left on device", b"Bad file descriptor"
    cases = {
        "dataprep --help > /dev/full": (1, b"error: standard output: cannot be written: " + full),
        "dataprep merge --help > /dev/full": (1, b"error: standard output: cannot be written: " + full),
        "dataprep --help >&-": (1, b"error: standard output: cannot be written: " + closed),
        f"{convert} >&-": (1, b"error: standard output: cannot be written: " + closed),
        f"{convert} -o out.jsonl >&- 2>&-": (0, b""),
        f"{convert} -o out.jsonl 2> /dev/full": (0, b""),
        "dataprep convert gsm8k none.jsonl 2>&-": (1, b""),
        "dataprep convert gsm8k - <&-": (1, b"error: standard input: cannot be read: " + closed),
    }
    failures = []
    for line, (code, err) in cases.items():
        done = shell(line)
        if (done.returncode, done.stderr.rstrip()) != (code, err) or done.stdout:
            failures.append((line, done.returncode, done.stdout[:80], done.stderr))
    assert not failures
    assert shell(f"{convert} 2>&-").stdout == (tmp_path / "out.jsonl").read_bytes()
    assert listing(tmp_path) == ["out.jsonl", "raw.jsonl"]
