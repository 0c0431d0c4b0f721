"""``dataprep review``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from dataprep.cli.console import print_json, print_text, table
from dataprep.cli.options import argument, flag
from dataprep.core.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from dataprep.collect.review.findings import Review, TeacherReview
    from dataprep.collect.review.sections import Table

BAR = 30  # characters of the longest bar


def command(
    inputs: list[str] = argument(..., "Responses, or rows made of them; - is stdin.", "FILE..."),
    gold: str | None = flag(None, "References or Examples, joined by id.", "FILE"),
    output: str | None = flag(None, "Also write one HTML page with charts.", "-o", "--output", "PATH"),
    as_json: bool = flag(False, "Print the figures as JSON.", "--json"),
) -> None:
    """Describe teachers' answers to multiple-choice questions.

    The report has the outcome of each question, the share of replies with a single letter, the distribution
    of the letters, how often they are the gold letters, and how far the teachers agree. FILE has responses,
    rows with one field per teacher, or rows {"Question", "Answer"}.

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
        print_json(figures.to_json())
    elif output != "-":
        _print(figures)
    if output not in (None, "-"):
        print(f"review: page → {output}", file=sys.stderr)


def _print(review: Review) -> None:
    from dataprep.collect.review.sections import sections
    from dataprep.core.html import visible

    parts: list[Any] = []
    for section in sections(review):
        parts += [f"\n{visible(section.title)}"] if section.title else []
        parts += ["", *map(visible, section.lines)] if section.lines else []
        for found in section.tables:
            parts += [f"\n{found.title}\n" if found.title else "", _table(found, section.teacher)]
            parts += ["", *map(visible, found.notes)] if found.notes else []
    # The first section has no title: its first line would be an empty one. A confusion matrix is wide.
    print_text(*parts[1:], min_width=6 * len(review.letters) + 24)


def _table(found: Table, teacher: TeacherReview | None) -> RichTable:
    """Return a table; the letters' one has bars instead of its last, longest column."""
    from dataprep.core.html import shortened, visible

    head, rows = found.head, found.rows
    if found.kind == "letters" and teacher is not None:
        most = max(teacher.answers.values())
        bars = ["█" * round(BAR * count / most) or "▏" * (count > 0) for count in teacher.answers.values()]
        head = [*head[:5], ""]
        rows = [[*row[:5], bar] for row, bar in zip(rows, bars, strict=True)]
    if found.kind == "unread":
        rows = [[name, shortened(reply, 120)] for name, reply, *_ in rows]
    return table(head, (list(map(visible, row)) for row in rows), found.names)
