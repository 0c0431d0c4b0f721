"""Writes each command's current help into its page: ``make docs``.

A page ``docs/commands/NAME.md`` is written by hand but for the block between the two marks.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGES = Path(__file__).parent / "commands"
MARKS = "<!-- help -->\n", "<!-- /help -->"


def help_of(command: str) -> str:
    """What ``dataprep COMMAND --help`` prints on a terminal of 100 columns."""
    run = subprocess.run(
        [sys.executable, "-m", "dataprep", command, "--help"],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "100", "TERMINAL_WIDTH": "100"},
    )
    return "\n".join(line.rstrip() for line in run.stdout.strip().splitlines())


def with_help(page: str, text: str) -> str:
    """The page with ``text`` between its marks."""
    begin, end = MARKS
    block = f"{begin}```text\n{text}\n```\n{end}"
    return re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: block, page, flags=re.DOTALL)


def main() -> None:
    """Bring every page up to date."""
    for path in sorted(PAGES.glob("*.md")):
        path.write_text(with_help(path.read_text("utf-8"), help_of(path.stem)), "utf-8")


if __name__ == "__main__":
    main()
