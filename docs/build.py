"""Write each command's current help into its page: ``make docs``.

A page ``docs/commands/NAME.md`` is written by hand, except for the blocks between two marks:
``<!-- help -->`` for the command's own help, ``<!-- help train -->`` for that of its sub-command ``train``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGES = Path(__file__).parent / "commands"
BLOCK = re.compile(r"<!-- help( [a-z-]+)? -->\n.*?<!-- /help -->", flags=re.DOTALL)


def help_of(*command: str) -> str:
    """Return the output of ``dataprep COMMAND [SUB] --help`` on a terminal of 100 columns."""
    run = subprocess.run(
        [sys.executable, "-m", "dataprep", *command, "--help"],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "100", "TERMINAL_WIDTH": "100"},
    )
    return "\n".join(line.rstrip() for line in run.stdout.strip().splitlines())


def with_help(page: str, command: str) -> str:
    """Return the page of a command with its current help between the marks."""

    def current(block: re.Match[str]) -> str:
        sub = block[1] or ""
        return f"<!-- help{sub} -->\n```text\n{help_of(command, *sub.split())}\n```\n<!-- /help -->"

    return BLOCK.sub(current, page)


def main() -> None:
    """Update every page."""
    for path in sorted(PAGES.glob("*.md")):
        path.write_text(with_help(path.read_text("utf-8"), path.stem), "utf-8")


if __name__ == "__main__":
    main()
