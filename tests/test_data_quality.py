"""The table in docs/data-quality.md: its commands find on the published sets what it says."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dataprep.cli.app import app
from tests.real import DATA, needs
from tests.test_docs import ROOT, blocks

PAGE = ROOT / "docs" / "data-quality.md"
ROWS = re.findall(
    r"^\| ([^|]+) \| [^|]+ \| `(dataprep [^`]+)` \| ([\d,]+) \|", PAGE.read_text("utf-8"), re.MULTILINE
)
SOURCES = {
    **{name: name for name in ("gsm8k", "mbpp", "squad", "commonsense_qa", "aqua_rat", "piqa")},
    "arc": "tinyllm/arc",
    "openbookqa": "tinyllm/obqa",
}

pytestmark = needs(*SOURCES.values())


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """The current folder is a workspace with the published files in ``raw/``."""
    for name, source in SOURCES.items():
        shutil.copytree(DATA / source, tmp_path / "raw" / name)
    monkeypatch.chdir(tmp_path)


def dataprep(*arguments):
    """Run a command in this process."""
    done = CliRunner().invoke(app, [*arguments, "--no-manifest", "--quiet"], catch_exceptions=False)
    assert done.exit_code == 0, done.output


def found(command):
    """The number of rows that a command of the table finds."""
    dataprep(*shlex.split(command)[1:])
    return Path("dropped.jsonl").read_bytes().count(b"\n")


@pytest.mark.medium
@pytest.mark.usefixtures("workspace")
def test_the_figures_of_small_sets_are_those_of_the_page():
    """The rows found in MBPP and ARC are as many as the page says."""
    Path("examples").mkdir()
    for part in ("train", "test"):
        output = f"examples/mbpp_{part}.jsonl"
        dataprep("convert", "mbpp", "raw/mbpp/mbpp.jsonl", "--split", part, "--to", "example", "-o", output)
    for part in ("train", "valid", "test"):
        output = f"examples/arc_{part}.jsonl"
        dataprep("convert", "arc", f"raw/arc/arc_{part}.json", "--to", "example", "-o", output)
    rows = [(command, count) for name, command, count in ROWS if name in ("MBPP", "ARC")]
    assert len(rows) == 4
    for command, count in rows:
        assert f"{found(command):,}" == count, command


@pytest.mark.slow
@pytest.mark.usefixtures("workspace")
def test_all_figures_are_those_of_the_page():
    """A user who types the page's commands finds what its table says, in every set."""
    (script,) = blocks(PAGE, "bash")
    shell = f'dataprep() {{ "{sys.executable}" -m dataprep "$@"; }}\n{script}'
    subprocess.run(["bash", "-euo", "pipefail"], input=shell, text=True, check=True, capture_output=True)
    assert len(ROWS) == 20
    for _, command, count in ROWS:
        assert f"{found(command):,}" == count, command
