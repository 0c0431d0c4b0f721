"""A review as one HTML page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from dataprep.collect.review.findings import (
    agreement_line,
    expected,
    fit_sentence,
    gold_line,
    kappa_of,
    questions_line,
    read_line,
    share,
)
from dataprep.collect.review.plots import answers_plot, check_matplotlib, outcomes_plot, right_plot
from dataprep.core import io as files
from dataprep.core.html import STYLE, check_path, document, escaped
from dataprep.teacher.journal.line import OUTCOMES

if TYPE_CHECKING:
    from dataprep.collect.review.findings import Agreement, Pair, Review, TeacherReview, Unread

WIDE = 12
"""Columns from which on a confusion matrix gets narrower ones."""

_FOOT = """\
<footer>
<p>A <b>reply</b> is a whole answer (outcome <i>ok</i>); only replies are read. <b>Equal shares</b> is how
often a letter would be answered if each question’s choices were equally likely. <b>χ²</b> is Pearson’s
statistic, and p the chance of one at least as large if the letters were drawn from that expectation. Answers
and gold answers are of the same questions, so that a teacher who is mostly right is near the gold
distribution anyway. <b>κ</b> is Cohen’s kappa: 1 for full agreement, 0 for what the two teachers’ own
distributions give by chance.</p>
</footer>
"""


def check_page(path: str) -> None:
    """Raise where no page could be written, before any work is done.

    Raises:
        UsageError: the path does not end in ``.html``.
        MissingDependencyError: matplotlib is not installed.
    """
    check_path(path, "the report is")
    check_matplotlib()


def write_page(found: Review, path: str) -> None:
    """Write the page; the same figures give the same bytes.

    Raises:
        FileError: the place cannot be written.
        MissingDependencyError: matplotlib is not installed.
    """
    files.write_text(page(found), path)


def page(found: Review) -> str:
    """The page as one text.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    check_matplotlib()
    parts = [_overview(found)]
    parts += [_teacher(each, number) for number, each in enumerate(found.teachers, 1)]
    if found.pairs:
        parts.append(_pairs(found.pairs))
    return document("Teachers’ answers", STYLE, (*parts, _FOOT))


def _name(text: str) -> str:
    """A name out of the data, as HTML; one that is written from right to left stays by itself."""
    return f"<bdi>{escaped(text)}</bdi>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table of cells that are HTML already; the first column heads the rows."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{first}</th>'
        + "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in rest)
        + "</tr>\n"
        for first, *rest in rows
    )
    return (
        f'<div class="wide"><table class="{kind or "plain"}">\n<thead><tr>{top}</tr></thead>\n'
        f"<tbody>\n{body}</tbody>\n</table></div>\n"
    )


def _figure(plot: str, caption: str) -> str:
    return f'<figure><div class="wide">{plot}</div><figcaption>{caption}</figcaption></figure>\n'


def _overview(found: Review) -> str:
    """The title, what was read, and a line a teacher."""
    names = ", ".join(f"<code>{escaped(name)}</code>" for name in found.files)
    gold = f"<p>{escaped(gold_line(found))}.</p>\n" if found.gold else ""
    rows = []
    for each in found.teachers:
        row = [_name(each.name), f"{sum(each.outcomes.values()):,}"]
        row += [f"{each.outcomes[outcome]:,}" for outcome in OUTCOMES]
        row += [share(each.read, each.outcomes["ok"])]
        if each.agreement:
            row.append(share(each.agreement.right, each.agreement.replies))
        rows.append(row)
    head = ["teacher", "asked", *OUTCOMES, "letter read"] + ["right"] * (found.gold is not None)
    parts = [
        f"<header>\n<h1>Teachers’ answers</h1>\n<p>{questions_line(found)}, out of {names}.</p>\n{gold}",
        "</header>\n",
        "<section>\n<h2>Overview</h2>\n",
        _table(head, rows, "names"),
        '<p class="note">“Letter read” and “right” are shares of the replies (ok).</p>\n',
        _figure(outcomes_plot(found.teachers), "What came of the questions asked."),
    ]
    if found.gold is not None:
        parts.append(_figure(right_plot(found.teachers), "The replies to questions with a gold row."))
    return "".join((*parts, "</section>\n"))


def _teacher(each: TeacherReview, number: int) -> str:
    """A teacher's section: its letters, the tests, the confusion matrix, what could not be read."""
    parts = [f"<section>\n<h2>{_name(each.name)}</h2>\n", f"<p>{escaped(read_line(each))}."]
    if each.agreement is not None:
        parts.append(f" Of the letters, {escaped(agreement_line(each))}.")
    if each.superseded:
        parts.append(
            f" {each.superseded:,} of {each.lines:,} lines gave way to others about the same questions."
        )
    parts.append("</p>\n")
    if each.read:
        caption = "How often each letter was answered, beside what equal shares"
        caption += " and the gold answers would give." if each.gold else " would give."
        parts += [_figure(answers_plot(each, f"answers{number}"), caption), _letters(each)]
        parts.append(
            f'<ul class="tests"><li>Against equal shares: {escaped(fit_sentence(each.uniform))}.</li>\n'
        )
        if each.gold is not None:
            parts.append(f"<li>Against the gold answers: {escaped(fit_sentence(each.gold))}.</li>\n")
        parts.append("</ul>\n")
    if each.agreement is not None and each.agreement.replies:
        parts.append(_confusion(each.agreement))
    if each.unread:
        parts.append(_unread(each.unread, each.unread_more))
    return "".join((*parts, "</section>\n"))


def _letters(each: TeacherReview) -> str:
    head = ["letter", "answered", "share", "equal shares"] + (
        ["gold", "right where it is gold"] if each.gold else []
    )
    by_letter = each.agreement.by_letter() if each.agreement else {}
    rows = []
    for letter, count in each.answers.items():
        row = [letter, f"{count:,}", share(count, each.read), expected(each.uniform.expected[letter])]
        if each.gold is not None:
            replies, right = by_letter[letter]
            row += [
                expected(each.gold.expected[letter]),
                f"{right:,} of {replies:,} ({share(right, replies)})",
            ]
        rows.append(row)
    return _table(head, rows, "letters")


def _confusion(right: Agreement) -> str:
    """The confusion matrix, each cell tinted by its share of the row."""
    answers = list(next(iter(right.matrix.values())))
    rows = []
    for letter, row in right.matrix.items():
        total = sum(row.values())
        cells = [_cell(count, total, answer == letter) for answer, count in row.items()]
        rows.append([letter, *cells, f"{total:,}"])
    kind = "confusion many" if len(answers) > WIDE else "confusion"
    table = _table(["gold", *answers, "replies"], rows, kind)
    return f"<h3>Gold letter and letter answered</h3>\n{table}"


def _cell(count: int, total: int, right: bool) -> str:
    tint = round(70 * count / total) if total else 0
    kind = "right" if right else "wrong"
    style = f' style="--tint: {tint}%"' if tint else ""
    return f'<td class="{kind}"{style}>{count:,}</td>' if count else '<td class="none">·</td>'


def _unread(unread: Sequence[Unread], more: int) -> str:
    rows = [
        (_name(each.id), f'<td dir="auto">{escaped(each.reply, lines=True) or "<i>nothing</i>"}</td>')
        for each in unread
    ]
    rest = f"<p>And {more:,} more.</p>\n" if more else ""
    table = _table(["id", "reply"], rows, "replies")
    return f"<h3>Replies from which no single letter could be read</h3>\n{table}{rest}"


def _pairs(pairs: Sequence[Pair]) -> str:
    rows = [
        (_name(each.first), f'<td class="name">{_name(each.second)}</td>', f"{each.both:,}",
         f"{each.same:,}", share(each.same, each.both), kappa_of(each))
        for each in pairs
    ]  # fmt: skip
    table = _table(["teacher", "and teacher", "both gave a letter", "the same", "share", "κ"], rows, "names")
    return f"<section>\n<h2>Teachers and each other</h2>\n{table}</section>\n"
