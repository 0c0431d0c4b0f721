"""``dataprep head`` and ``dataprep show``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from dataprep.cli.console import has_colours, print_line, print_text
from dataprep.cli.options import argument, flag
from dataprep.core.errors import Location, one_line, visible

if TYPE_CHECKING:
    from dataprep.inspect.blocks import TextBlock

# Colours of the terminal's own palette, which its user has chosen to be readable.
_COLOURS = {
    "system": "magenta",
    "developer": "magenta",
    "user": "cyan",
    "assistant": "green",
    "tool": "yellow",
}
_DIM = ("reasoning", "tools", "field")


def head_command(
    inputs: list[str] = argument(..., "Files of rows; - for standard input.", "FILE..."),
    count: int = flag(5, "Rows of each file.", "-n", "--rows", "N", min=1),
    as_lines: bool = flag(False, "Print rows as lines of JSON.", "--json"),
) -> None:
    """Show the first rows of files as chats in the terminal.

    Chat rows show each message under its role, with reasoning, tool calls and tool results. Other rows show
    each field under its name. Control characters of the data are shown as escapes.

    \b
    Examples:
      dataprep head mergedata/train.jsonl -n 2
      dataprep convert gsm8k raw/gsm8k/train.jsonl | dataprep head -
    """
    from dataprep.core.io import check_input
    from dataprep.inspect.rows import first_rows

    for path in inputs:
        check_input(path)
    _print((row for path in inputs for row in first_rows(path, count)), as_lines)


def show_command(
    places: list[str] = argument(..., "A row of a file, or rows A to B.", "FILE:N..."),
    as_lines: bool = flag(False, "Print rows as lines of JSON.", "--json"),
) -> None:
    """Show rows by their numbers as chats in the terminal.

    N is the number that messages name: a line of JSON Lines, or a row of another format, counted from 1. The
    rows before it are not parsed.

    \b
    Examples:
      dataprep show mergedata/train.jsonl:17
      dataprep show train.jsonl:3 test.parquet:10-12
    """
    from dataprep.inspect.rows import places_of, rows_at

    _print((row for each in places_of(places) for row in rows_at(each)), as_lines)


def _print(rows: Iterable[tuple[Location, bytes]], as_lines: bool) -> None:
    coloured = has_colours(sys.stdout)
    for where, line in rows:
        if as_lines:
            print_line(line)
            continue
        _print_row(where, line, coloured)


def _print_row(where: Location, line: bytes, coloured: bool) -> None:
    from rich.text import Text

    from dataprep.inspect.blocks import blocks_of
    from dataprep.inspect.rows import parsed

    shown = Text()
    shown.append(f"── {one_line(where)} ──\n", "bold")
    for block in blocks_of(parsed(line)):
        style = _COLOURS.get(block.role, "")
        shown.append(f"{_heading(block)}\n", f"bold {style}".strip())
        text = visible(block.text, lines=True)
        shown.append("".join(_indented(text)), "dim" if block.kind in _DIM else "")
    # Wide enough that rich wraps nothing: the terminal does, and copies stay whole.
    print_text(shown, colour=coloured, min_width=sys.maxsize, file=sys.stdout)


def _heading(block: TextBlock) -> str:
    names = {"reasoning": "reasoning", "call": f"calls {block.title}", "text": block.title}
    return one_line(" · ".join(filter(None, (block.role, names.get(block.kind, block.title)))))


def _indented(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        yield f"  {line}\n" if line else "\n"
