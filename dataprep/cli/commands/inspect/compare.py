"""``dataprep compare``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dataprep.cli.console import print_json, print_text, say, table
from dataprep.cli.options import AsJson, Quiet, argument, flag
from dataprep.core.errors import UsageError

if TYPE_CHECKING:
    from dataprep.inspect.runs.comparing import RunComparison

# Characters of a column with a run's values, and of the two columns before them.
_COLUMN, _NAMES = 24, 50
_DIGITS = {"losses": 4, "figures": 4}


def command(
    runs: list[str] = argument(..., "Directories of runs, finished or not.", "RUN..."),
    output: str | None = flag(
        None, "Also write a row for each run: .csv, .jsonl, .parquet, …", "-o", "--output", "PATH"
    ),
    markdown: bool = flag(False, "Print the table as Markdown.", "--markdown"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Put training runs side by side.

    A column for each run has its state, the options that differ, data, model, steps, the kept step, speed,
    memory, losses and figures before and after. Runs can be in progress, have ended early, or have different
    objectives.

    \b
    Examples:
      dataprep compare runs/*
      dataprep compare student-lora student-full --markdown
      dataprep compare runs/* -o runs.csv --quiet
    """
    from dataprep.core.io import STDIO, write_rows
    from dataprep.inspect.runs.comparing import compare_runs

    if output == STDIO and (as_json or not quiet):
        raise UsageError("-o -: the table goes to standard output too; give the rows a file, or add --quiet")
    comparison = compare_runs(runs)
    if output is not None:
        write_rows(comparison.rows(), output)
    if as_json:
        print_json(comparison.to_json())
    elif not quiet:
        cells = [*_cells(comparison)]
        if markdown:
            print_text(*_markdown(cells), min_width=1 << 20)
        else:
            width = _NAMES + _COLUMN * len(comparison.runs)
            print_text(table(cells[0], cells[1:], 2), min_width=width)
        say(*(f"warning: {warning}" for warning in comparison.warnings()))
        if output is not None:
            say(f"compare: {len(comparison.runs):,} runs → {output}")


def _cells(comparison: RunComparison) -> Iterator[list[str]]:
    yield ["", "", *comparison.names]
    part = ""
    for line in comparison.lines:
        about = "" if line.part == part else line.part
        part = line.part
        yield [about, line.name, *(_shown(value, line.part) for value in line.values)]


def _shown(value: Any, part: str) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        if part == "options":
            return f"{value:g}"
        # Seconds and rates have no use for digits; shares have.
        return f"{value:,.{_DIGITS.get(part, 3 if value < 10 else 0)}f}"
    return f"{value:,}" if isinstance(value, int) and part != "options" else str(value)


def _markdown(cells: list[list[str]]) -> Iterator[str]:
    from dataprep.train.report import markdown

    head, *rows = cells
    lines = [head, ["---", "---", *("---:" for _ in head[2:])], *rows]
    for number, line in enumerate(lines):
        shown = line if number == 1 else [*map(markdown, line)]
        yield f"| {' | '.join(shown)} |"
