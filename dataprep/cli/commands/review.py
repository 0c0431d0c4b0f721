"""``dataprep review``."""

from __future__ import annotations

import sys
from io import StringIO
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from dataprep.core.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from dataprep.collect.review.findings import Review, TeacherReview
    from dataprep.collect.review.sections import Table

BAR = 30  # characters of the longest bar


def command(
    inputs: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Responses, or rows made of them; - is stdin.")
    ],
    gold: Annotated[
        str | None, typer.Option(metavar="FILE", help="The gold rows or Examples, joined by id.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="PATH", help="Write one HTML page with plots as well."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Describe teachers' answers to multiple-choice questions.

    What came of each question, from how many replies a single letter could be read, how the letters are
    distributed, how often they are the gold ones, and how far the teachers agree with each other. FILE
    holds responses, rows with a field a teacher, or rows {"Question", "Answer"}.

    \b
    Examples:
      dataprep review responses.jsonl --gold dev_rand_split.jsonl
      dataprep review gpt.jsonl llama.jsonl --gold examples.jsonl -o report.html
    """
    from dataprep.collect.review.review import review_files

    if output == "-" and as_json:
        raise UsageError("-o - and --json both write to standard output; give the page a file")
    figures = review_files(inputs, gold=gold, page=output)
    if as_json:
        print(orjson.dumps(figures.to_json(), option=orjson.OPT_INDENT_2).decode())
    elif output != "-":
        _print(figures)
    if output not in (None, "-"):
        print(f"review: page → {output}", file=sys.stderr)


def _print(review: Review) -> None:
    from rich.console import Console

    from dataprep.collect.review.sections import sections
    from dataprep.core.html import visible

    # rich ends the process by itself when a pipe is closed; printing is left to us. A confusion matrix
    # needs the width it needs, and a reply is no markup.
    text = StringIO()
    width = max(60, get_terminal_size().columns, 6 * len(review.letters) + 24)
    console = Console(file=text, width=width, highlight=False, markup=False, emoji=False)
    for section in sections(review):
        if section.title:
            console.print(f"\n{visible(section.title)}")
        if section.lines:
            console.print("", *map(visible, section.lines), sep="\n")
        for table in section.tables:
            console.print(f"\n{table.title}\n" if table.title else "")
            console.print(_table(table, section.teacher))
            if table.notes:
                console.print("", *map(visible, table.notes), sep="\n")
    print(text.getvalue().lstrip("\n"), end="")


def _table(table: Table, teacher: TeacherReview | None) -> RichTable:
    """Return a table without lines; the letters' one has bars instead of its last, longest column."""
    from rich.table import Table as RichTable

    from dataprep.core.html import shortened, visible

    head, rows = table.head, table.rows
    if table.kind == "letters" and teacher is not None:
        most = max(teacher.answers.values())
        bars = ["█" * round(BAR * count / most) or "▏" * (count > 0) for count in teacher.answers.values()]
        head = [*head[:5], ""]
        rows = [[*row[:5], bar] for row, bar in zip(rows, bars, strict=True)]
    shown = RichTable(*head, box=None, pad_edge=False)
    for column in shown.columns[table.names :]:
        column.justify = "right" if column.header else "left"
    for first, *rest in rows:
        cells = [shortened(rest[0], 120)] if table.kind == "unread" else rest
        shown.add_row(visible(first), *map(visible, cells))
    return shown
