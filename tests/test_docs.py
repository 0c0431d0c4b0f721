"""Check the documentation: its commands run, its links lead somewhere, its help texts are current."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.main import get_command

from dataprep.cli.app import app
from dataprep.tokens.shards.reading import Shards
from dataprep.tokens.tokenizers.loading import load_tokenizer
from tests.real import DATA, needs

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND_PAGES = sorted((ROOT / "docs" / "commands").glob("*.md"))


def blocks(page, language):
    """The fenced blocks of one language in a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def readme_workspace(tmp_path_factory):
    """Run the README's shell blocks in one shell, and return their workspace."""
    folder = tmp_path_factory.mktemp("readme")
    script = f'dataprep() {{ "{sys.executable}" -m dataprep "$@"; }}\n' + "\n".join(
        blocks(ROOT / "README.md", "sh")
    )
    run = subprocess.run(
        ["bash", "-euo", "pipefail"], check=False, input=script, cwd=folder, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return folder / "workspace"


@pytest.mark.medium
def test_the_readme_shell_commands_run(readme_workspace):
    """A new user who types what the README says gets the files that it promises."""
    merged = (readme_workspace / "mergedata" / "train.jsonl").read_text("utf-8")
    assert merged.count("\n") == 94
    for name in ("mbpp.parquet", "tokens.html", "preprocessed_data_dev.pt", "preprocessed_data_test.pt"):
        assert (readme_workspace / name).is_file()


def from_docs(name):
    """Import a script of the folder docs."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.medium
def test_the_readme_picture_is_what_its_commands_give(readme_workspace):
    """The row in the README is the one in the samples, and the picture shows its tokens, to the byte."""
    samples = readme_workspace / "raw" / "tool_calls"
    (shown,) = blocks(ROOT / "README.md", "json")
    assert json.loads(shown) == json.loads((samples / "train.jsonl").read_text("utf-8")), "it has one row"
    drawn = from_docs("picture").picture(
        load_tokenizer(readme_workspace / "tools.model"),
        samples / "train.jsonl",
        samples / "chat_template.jinja",
    )
    assert drawn == (ROOT / "docs" / "images" / "loss-mask.svg").read_text("utf-8"), "run `make docs`"
    tokens = Shards.open(readme_workspace / "tool_tokens").tokens
    assert drawn.count('<rect class="') - 4 == tokens, "a field for each token, besides the page and the key"


def test_the_picture_can_be_read_anywhere():
    """It is no wider than a page of README, loads nothing, and follows light and dark mode."""
    text = (ROOT / "docs" / "images" / "loss-mask.svg").read_text("utf-8")
    root = ElementTree.fromstring(text)
    assert int(root.get("width")) <= 900
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"href|url\(|@import|<script|https?:(?!//www\.w3\.org/2000/svg)", text)
    for field in root.iter("{http://www.w3.org/2000/svg}rect"):
        assert float(field.get("x")) + float(field.get("width")) < int(root.get("width"))
        assert float(field.get("y")) + float(field.get("height")) < int(root.get("height"))


@pytest.mark.medium
def test_the_readme_python_runs(readme_workspace):
    """The library example prints two answers, and a document out of its tokens."""
    (code,) = blocks(ROOT / "README.md", "python")
    run = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=readme_workspace, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert "<|begin_of_text|>" in run.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    """No link in the documentation points at a file that is not there."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
        assert "://" in target or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_row_of_a_table_is_in_a_table(page):
    """No blank line or missing separator turns rows into plain text, and each has its header's cells."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for table in re.findall(r"(?:^\|.*\n?)+", text, flags=re.MULTILINE):
        rows = [
            re.split(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", row).strip())[1:-1] for row in table.splitlines()
        ]
        assert len(rows) > 2, f"no table: {table}"
        assert all(re.fullmatch(r" *:?-{3,}:? *", cell) for cell in rows[1]), f"no separator: {table}"
        assert {len(row) for row in rows} == {len(rows[0])}, table


@pytest.mark.medium
@pytest.mark.parametrize("page", COMMAND_PAGES, ids=lambda page: page.stem)
def test_help_texts_are_current(page):
    """`make docs` was run after the last change to a command's flags."""
    assert "<!-- help" in page.read_text("utf-8")
    build = from_docs("build")
    text = page.read_text("utf-8")
    assert text == build.with_help(text, page.stem)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_in_a_page_have_these_options(page):
    """No page shows a command or an option that does not exist."""
    text = page.read_text("utf-8")
    shown = [
        line for language in ("bash", "sh") for block in blocks(page, language) for line in block.splitlines()
    ]
    shown += re.findall(r"`(dataprep [^`]*)`", text)
    commands = get_command(app)
    for line in shown:
        for written in re.findall(r"(?:^|[|;(] *|: )dataprep ([a-z].*)", line):
            command, rest = commands, re.split(r"[|;<>]|&&", written)[0].split()
            while rest and hasattr(command, "commands"):
                assert rest[0] in command.commands, line
                command, rest = command.commands[rest[0]], rest[1:]
            known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
            used = {word.split("=")[0] for word in rest if re.match(r"--[a-z]|-[a-z]$", word)}
            assert used <= known | {"--help", "-h"}, line


def test_every_command_has_a_page_that_the_readme_names():
    """No command is undocumented."""
    commands = set(get_command(app).commands)
    assert {page.stem for page in COMMAND_PAGES} == commands
    readme = (ROOT / "README.md").read_text("utf-8")
    assert all(f"docs/commands/{name}.md" in readme for name in commands)


def test_the_paths_in_contributing_exist():
    """Every path in the table of "Where things are" exists."""
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    section = page.partition("## Where things are")[2].partition("\n## ")[0]
    assert section.count("\n| `") > 5
    for cell in re.findall(r"^\| (`.+?) \|", section, flags=re.MULTILINE):
        for path in re.findall(r"`([^`]+)`", cell):
            assert (ROOT / path).exists(), path


def test_the_makefile_targets_in_contributing_exist():
    """CONTRIBUTING names no target that make does not have."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for name in re.findall(r"\bmake ([a-z-]+)", (ROOT / "CONTRIBUTING.md").read_text("utf-8")):
        assert re.search(rf"^{name}:", makefile, flags=re.MULTILINE), name


@needs("gsm8k", "mbpp", "squad")
@pytest.mark.medium
def test_nothing_of_a_published_set_is_in_the_samples():
    """No sample row is copied: not one line or question is also in the published files."""
    published = b"".join(path.read_bytes() for path in (DATA / "gsm8k").glob("*.jsonl"))
    published += (DATA / "mbpp" / "mbpp.jsonl").read_bytes() + (DATA / "squad" / "dev-v2.0.json").read_bytes()
    for path in (ROOT / "raw").rglob("*.json*"):
        for text in re.findall(r'"(?:question|text|context)": ?"([^"\\]{25,})', path.read_text("utf-8")):
            assert text.encode() not in published, text
