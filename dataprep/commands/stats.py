"""``dataprep stats``."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from dataprep.commands.options import AsJson

if TYPE_CHECKING:
    from rich.console import Console

    from dataprep.report.stats import Encode, Lengths, Stats, Tokens


def command(
    inputs: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Files of rows; - for standard input.")
    ],
    tokenizer: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Count tokens too: a tokenizer's file or a model's folder."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Describe files: counts, lengths, duplicates.

    Lengths are in characters (Unicode code points), by role in chat rows and by field in others. A row is a
    duplicate when an earlier row has the same content, whatever their id and source. With --tokenizer,
    the tokens of the texts are counted by role and by source, without those that a chat layout adds.

    \b
    Examples:
      dataprep stats mergedata/train.jsonl
      dataprep stats mergedata/train.jsonl --tokenizer tokenizer.model
    """
    from dataprep.report.stats import stats_of_files

    figures = stats_of_files(inputs, _encoder(tokenizer))
    if as_json:
        print(orjson.dumps(figures.to_json(), option=orjson.OPT_INDENT_2).decode())
    else:
        _print(figures)


def _encoder(path: str | None) -> Encode | None:
    if path is None:
        return None
    from dataprep.tokens.tokenizer import load_tokenizer

    return load_tokenizer(path).encode


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
    _print_lengths(console, "characters", figures.characters)
    for title, tokens in (("tokens", figures.tokens), ("tokens of rows", figures.tokens_by_source)):
        if tokens is not None:
            console.print()
            _print_lengths(console, title, tokens)
    console.print("\nrows by characters")
    most = max((bin_.rows for bin_ in figures.histogram), default=1)
    width = len(f"{figures.histogram[-1].high:,}") if figures.histogram else 1
    for bin_ in figures.histogram:
        bar = "█" * round(40 * bin_.rows / most) or ("▏" if bin_.rows else "")
        console.print(f"{bin_.low:>{width},} – {bin_.high:>{width},}  {bar} {bin_.rows:,}")
    print(text.getvalue(), end="")


def _print_lengths(console: Console, title: str, figures: Mapping[str, Lengths | Tokens]) -> None:
    from rich.table import Table

    totals = any(hasattr(each, "total") for each in figures.values())
    columns = ("texts", "min", "median", "p95", "max", *(["total"] if totals else ()))
    table = Table(title, *columns, box=None, pad_edge=False)
    for name, each in figures.items():
        numbers = [each.texts, each.min, round(each.median), round(each.p95), each.max]
        numbers += [each.total] if hasattr(each, "total") else []
        table.add_row(name, *(f"{number:,}" for number in numbers))
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table)
