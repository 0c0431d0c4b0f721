"""Write each command's current help into its page, and the package's type stub: ``make docs``.

A page ``docs/commands/NAME.md`` is written by hand, except for the blocks between two marks:
``<!-- help -->`` for the command's own help, ``<!-- help train -->`` for that of its sub-command ``train``.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from pathlib import Path
from unittest import mock

import dataprep
from dataprep.cli.app import app

STUB = Path(__file__).parent.parent / "dataprep" / "__init__.pyi"
PAGES = Path(__file__).parent / "commands"
BLOCK = re.compile(r"<!-- help( [a-z-]+)? -->\n.*?<!-- /help -->", flags=re.DOTALL)


def help_of(*command: str) -> str:
    """Return the output of ``dataprep COMMAND [SUB] --help`` on a terminal of 100 columns."""
    text = io.StringIO()
    width = {"COLUMNS": "100", "TERMINAL_WIDTH": "100"}
    with mock.patch.dict(os.environ, width), contextlib.redirect_stdout(text):
        app([*command, "--help"], prog_name="dataprep", standalone_mode=False)
    return "\n".join(line.rstrip() for line in text.getvalue().strip().splitlines())


def with_help(page: str, command: str) -> str:
    """Return the page of a command with its current help between the marks."""

    def current(block: re.Match[str]) -> str:
        sub = block[1] or ""
        return f"<!-- help{sub} -->\n```text\n{help_of(command, *sub.split())}\n```\n<!-- /help -->"

    return BLOCK.sub(current, page)


def stub() -> str:
    """Return ``dataprep/__init__.pyi``, which gives type checkers the names that are imported late."""
    lines = ["# Made by `make docs` from `_HOMES` in __init__.py."]
    for public, home in dataprep._HOMES.items():
        module, _, name = home.partition(":")
        lines.append(f"from dataprep.{module} import {name or public} as {public}")
    return "\n".join([*lines, "", "__version__: str", "__all__: list[str]", ""])


def main() -> None:
    """Update every page, and the stub of the package."""
    STUB.write_text(stub(), "utf-8")
    for path in sorted(PAGES.glob("*.md")):
        path.write_text(with_help(path.read_text("utf-8"), path.stem), "utf-8")


if __name__ == "__main__":
    main()
