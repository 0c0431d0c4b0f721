"""``dataprep stats``."""

from __future__ import annotations

from io import StringIO
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from dataprep.commands.options import AsJson

if TYPE_CHECKING:
    from dataprep.report.stats import Stats


def command(
    inputs: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Files of rows; - for standard input.")
    ],
    as_json: AsJson = False,
) -> None:
    """Describe files: counts, lengths, duplicates.

    Lengths are in characters (Unicode code points), by role in chat rows and by field in others. A row is a
    duplicate when an earlier row has the same content, whatever their id and source.

    \b
    Example:
      dataprep stats mergedata/train.jsonl
    """
    from dataprep.report.stats import stats_of_files

    figures = stats_of_files(inputs)
    if as_json:
        print(orjson.dumps(figures.to_json(), option=orjson.OPT_INDENT_2).decode())
    else:
        _print(figures)


def _print(figures: Stats) -> None:
    from rich.console import Console
    from rich.table import Table

    # rich ends the process by itself when a pipe is closed; printing is left to us.
    text = StringIO()
    console = Console(file=text, width=max(40, get_terminal_size().columns), highlight=False)
    console.print(f"{figures.rows:,} rows, {figures.duplicates:,} of them duplicates\n")
    sources = Table("source", "rows", box=None, pad_edge=False)
    sources.columns[1].justify = "right"
    for source, count in figures.sources.items():
        sources.add_row(source, f"{count:,}")
    console.print(sources)
    console.print()
    lengths = Table("characters", "texts", "min", "median", "p95", "max", box=None, pad_edge=False)
    for role, each in figures.characters.items():
        numbers = (each.texts, each.min, round(each.median), round(each.p95), each.max)
        lengths.add_row(role, *(f"{number:,}" for number in numbers))
    for column in lengths.columns[1:]:
        column.justify = "right"
    console.print(lengths)
    console.print("\nrows by characters")
    most = max((bin_.rows for bin_ in figures.histogram), default=1)
    width = len(f"{figures.histogram[-1].high:,}") if figures.histogram else 1
    for bin_ in figures.histogram:
        bar = "█" * round(40 * bin_.rows / most) or ("▏" if bin_.rows else "")
        console.print(f"{bin_.low:>{width},} – {bin_.high:>{width},}  {bar} {bin_.rows:,}")
    print(text.getvalue(), end="")
