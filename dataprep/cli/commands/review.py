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
    from rich.console import Console
    from rich.table import Table

    from dataprep.collect.review.findings import Agreement, Review, TeacherReview

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


def _print(found: Review) -> None:
    from rich.console import Console

    from dataprep.collect.review.findings import gold_line, questions_line
    from dataprep.core.html import visible

    # rich ends the process by itself when a pipe is closed; printing is left to us. A confusion matrix
    # needs the width it needs, and a reply is no markup.
    text = StringIO()
    width = max(60, get_terminal_size().columns, 6 * len(found.letters) + 24)
    console = Console(file=text, width=width, highlight=False, markup=False, emoji=False)
    console.print(questions_line(found))
    if found.gold is not None:
        console.print(visible(gold_line(found)))
    console.print()
    console.print(_overview(found))
    for each in found.teachers:
        _print_teacher(console, each)
    if found.pairs:
        console.print("\nteachers and each other\n")
        console.print(_pairs(found))
    print(text.getvalue(), end="")


def _table(*names: str, left: int = 1) -> Table:
    """A table without lines, numbers to the right of the first ``left`` columns."""
    from rich.table import Table

    table = Table(*names, box=None, pad_edge=False)
    for column in table.columns[left:]:
        column.justify = "right"
    return table


def _overview(found: Review) -> Table:
    from dataprep.collect.review.findings import share
    from dataprep.core.html import visible
    from dataprep.teacher.journal.line import OUTCOMES

    table = _table("teacher", "asked", *OUTCOMES, "letter read", *(["right"] if found.gold else []))
    for each in found.teachers:
        counts = [f"{each.outcomes[outcome]:,}" for outcome in OUTCOMES]
        row = [visible(each.name), f"{sum(each.outcomes.values()):,}", *counts]
        row.append(share(each.read, each.outcomes["ok"]))
        if each.agreement is not None:
            row.append(share(each.agreement.right, each.agreement.replies))
        table.add_row(*row)
    return table


def _print_teacher(console: Console, each: TeacherReview) -> None:
    from dataprep.collect.review.findings import agreement_line, fit_sentence, read_line
    from dataprep.core.html import shortened, visible

    console.print(f"\n{visible(each.name)}\n")
    console.print(read_line(each))
    if each.agreement is not None:
        console.print(agreement_line(each))
    if each.superseded:
        console.print(
            f"{each.superseded:,} of {each.lines:,} lines gave way to others about the same questions"
        )
    if each.read:
        console.print()
        console.print(_letters(each))
        console.print(f"\nagainst equal shares: {fit_sentence(each.uniform)}")
        if each.gold is not None:
            console.print(f"against the gold answers: {fit_sentence(each.gold)}")
    if each.agreement is not None and each.agreement.replies:
        console.print("\ngold letter and letter answered\n")
        console.print(_confusion(each.agreement))
    if each.unread:
        console.print("\nreplies from which no single letter could be read\n")
        table = _table("id", "reply", left=2)
        for reply in each.unread:
            table.add_row(visible(reply.id), visible(shortened(reply.reply, 120)))
        console.print(table)
        if each.unread_more:
            console.print(f"and {each.unread_more:,} more")


def _letters(each: TeacherReview) -> Table:
    from dataprep.collect.review.findings import expected, share

    gold = ["gold"] if each.gold else []
    table = _table("letter", "answered", "share", "equal shares", *gold, "")
    table.columns[-1].justify = "left"
    most = max(each.answers.values())
    for letter, count in each.answers.items():
        row = [letter, f"{count:,}", share(count, each.read), expected(each.uniform.expected[letter])]
        if each.gold is not None:
            row.append(expected(each.gold.expected[letter]))
        table.add_row(*row, "█" * round(BAR * count / most) or ("▏" if count else ""))
    return table


def _confusion(right: Agreement) -> Table:
    from dataprep.collect.review.findings import share

    answers = list(next(iter(right.matrix.values())))
    table = _table("gold", *answers, "replies", "right")
    for letter, row in right.matrix.items():
        total = sum(row.values())
        cells = [f"{count:,}" if count else "·" for count in row.values()]
        table.add_row(letter, *cells, f"{total:,}", share(row[letter], total))
    return table


def _pairs(found: Review) -> Table:
    from dataprep.collect.review.findings import kappa_of, share
    from dataprep.core.html import visible

    table = _table("teacher", "and teacher", "both gave a letter", "the same", "share", "kappa", left=2)
    for pair in found.pairs:
        names = visible(pair.first), visible(pair.second)
        counts = f"{pair.both:,}", f"{pair.same:,}", share(pair.same, pair.both)
        table.add_row(*names, *counts, kappa_of(pair))
    return table
