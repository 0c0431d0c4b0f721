"""Rows that end their worker: each is one reject or an error with its place, and all others come out."""

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from dataprep.core.io import files_of, write_rows
from dataprep.core.io.part_files import CHUNK_VARIABLE

ROWS, SECONDS = 4000, 240

DRIVER = """
import os, sys
from dataprep.core import parallel
from dataprep.core.errors import DataprepError
from dataprep.core.io import open_output, open_rejects, read_row_blocks
from dataprep.core.ledger import Ledger

class Fragile:
    def __init__(self, log):
        self.log = log

    def __call__(self, block):
        lines = block.read().splitlines(keepends=True)
        if any(b"poison" in line for line in lines):
            with open(self.log, "a") as file:
                file.write("died\\n")
            os.kill(os.getpid(), 11)
        outcome = parallel.Outcome(len(lines), len(lines), len(lines))
        outcome.put(b"".join(line.rstrip(b"\\n") + b"\\n" for line in lines))
        return outcome

if __name__ == "__main__":  # workers are started, not forked, where polars has threads
    source, output, address, rejects, log = sys.argv[1:]
    ledger = Ledger()
    try:
        run = parallel.engine(address or None)
        with run, open_rejects(rejects or None) as bad, open_output(output) as out:
            blocks = read_row_blocks(source)
            parallel.run_into(blocks, Fragile(log), out, ledger, bad, paths=[source], workers=2)
    except DataprepError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    ledger.check()
    print(ledger)
"""


def drive(folder, source, output, address, rejects):
    """Run the driver, and return its exit code and what it printed."""
    (folder / "driver.py").write_text(DRIVER, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), CHUNK_VARIABLE: "20000"}
    done = subprocess.run(
        [sys.executable, "driver.py", str(source), output, address, rejects, str(folder / "log")],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(params=["processes", pytest.param("cluster", marks=[pytest.mark.cluster, pytest.mark.slow])])
def address(request):
    """The address of a cluster, or nothing for processes of this machine."""
    return request.getfixturevalue("cluster").address if request.param == "cluster" else ""


@pytest.fixture
def source(tmp_path):
    """4,000 rows in five chunks, of which one ends its worker."""
    lines = [orjson.dumps({"n": n, "text": "word"}) + b"\n" for n in range(ROWS)]
    lines[2345] = b'{"n": 2345, "text": "poison"}\n'
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(lines))
    return path


@pytest.mark.medium
def test_one_of_many_rows_is_one_reject(tmp_path, source, address):
    """It is found by halving its chunk, in at most twice as many deaths as that takes."""
    code, said, errors = drive(tmp_path, source, "out/", address, "rejects.jsonl")
    assert (code, said) == (0, "4,000 in = 3,999 out + 1 failed (ends its worker: 1)\n"), errors
    lines = source.read_bytes().splitlines(keepends=True)
    kept = b"".join(Path(part).read_bytes() for part in files_of(f"{tmp_path}/out/"))
    assert kept == b"".join([*lines[:2345], *lines[2346:]])
    (reject,) = map(orjson.loads, (tmp_path / "rejects.jsonl").read_bytes().splitlines())
    assert (reject["line"], reject["text"]) == (2346, '{"n": 2345, "text": "poison"}')
    assert reject["reason"].startswith("ends the worker process that reads it")
    deaths = (tmp_path / "log").read_text(encoding="ascii").count("died")
    assert deaths <= 2 * 12 + 3  # 2 × log₂ of the rows, and the repeats of the chunk


@pytest.mark.medium
@pytest.mark.parametrize("name", ["rows.json", pytest.param("rows.parquet", marks=pytest.mark.slow)])
def test_rows_of_documents_and_tables_are_found_too(tmp_path, source, name):
    """They are read once more, in the process that looks for the row."""
    lines = source.read_bytes().splitlines(keepends=True)
    write_rows([*map(orjson.loads, lines)], tmp_path / name)
    code, said, errors = drive(tmp_path, tmp_path / name, "out/", "", "rejects.jsonl")
    assert (code, said) == (0, "4,000 in = 3,999 out + 1 failed (ends its worker: 1)\n"), errors
    kept = b"".join(Path(part).read_bytes() for part in files_of(f"{tmp_path}/out/"))
    assert [*map(orjson.loads, kept.splitlines())] == [*map(orjson.loads, [*lines[:2345], *lines[2346:]])]
    (reject,) = map(orjson.loads, (tmp_path / "rejects.jsonl").read_bytes().splitlines())
    assert (reject["row"], orjson.loads(reject["text"])["n"]) == (2346, 2345)


def test_without_rejects_it_is_an_error_with_its_place(tmp_path, source):
    """As any other bad row."""
    code, _, errors = drive(tmp_path, source, "out/", "", "")
    assert code == 1
    assert "rows.jsonl:2346: ends the worker process that reads it" in errors
    assert not (tmp_path / "out/manifest.json").exists()
