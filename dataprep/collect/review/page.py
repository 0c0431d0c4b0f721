"""Write a review as one HTML page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dataprep.collect.review.findings import Review, TeacherReview
from dataprep.collect.review.plots import answers_plot, outcomes_plot, right_plot
from dataprep.collect.review.sections import Section, Table, sections
from dataprep.core import io as files
from dataprep.core.html import REVIEW_STYLE, document, escaped

# Confusion matrices with more columns get narrower ones.
WIDE = 12
_CLASSES = {
    "overview": "names", "letters": "letters", "confusion": "confusion", "unread": "replies", "pairs": "names"
}  # fmt: skip

_FOOT = """\
<footer>
<p>A <b>reply</b> is a whole answer (outcome <i>ok</i>); only replies are read. <b>Equal shares</b> is how
often a letter would be answered if each question’s choices were equally likely. <b>χ²</b> is Pearson’s
statistic, and p the chance of one at least as large if the letters were drawn from that expectation. Answers
and gold answers are of the same questions, so a teacher who is mostly right is near the gold distribution
anyway. <b>Kappa</b> is Cohen’s: 1 for full agreement, 0 for the agreement that the two distributions give by
chance.</p>
</footer>
"""


def write_page(review: Review, path: str) -> None:
    """Write the page; the same figures give the same bytes.

    Raises:
        FileError: the file cannot be written.
    """
    files.write_text(page(review), path)


def page(review: Review) -> str:
    """Return the page as one text."""
    first, *others = sections(review)
    parts = [_overview(review, first), *map(_section, others), _FOOT]
    return document("Teachers’ answers", REVIEW_STYLE, parts)


def _overview(review: Review, section: Section) -> str:
    names = ", ".join(f"<code>{escaped(name)}</code>" for name in review.files)
    counted, *joined = section.lines
    lines = [f"<p>{escaped(counted)}, out of {names}.</p>\n", *(f"<p>{escaped(x)}.</p>\n" for x in joined)]
    parts = [
        f"<header>\n<h1>Teachers’ answers</h1>\n{''.join(lines)}</header>\n<section>\n<h2>Overview</h2>\n",
        *(_table(table, None) for table in section.tables),
        '<p class="note">“Letter read” and “right” are shares of the replies (ok).</p>\n',
        _figure(outcomes_plot(review.teachers), "Outcomes of the questions asked."),
    ]
    if review.gold is not None:
        parts.append(_figure(right_plot(review.teachers), "The replies to questions with a gold row."))
    return "".join((*parts, "</section>\n"))


def _section(section: Section) -> str:
    parts = [f"<section>\n<h2>{_name(section.title)}</h2>\n"]
    if section.lines:
        parts.append(f"<p>{escaped('. '.join(section.lines))}.</p>\n")
    for table in section.tables:
        if table.kind == "letters" and section.teacher is not None:
            rest = " and the gold answers would give." if section.teacher.gold else " would give."
            caption = f"How often each letter was answered, beside what equal shares{rest}"
            parts.append(_figure(answers_plot(section.teacher), caption))
        parts.append(_table(table, section.teacher))
    return "".join((*parts, "</section>\n"))


def _table(table: Table, teacher: TeacherReview | None) -> str:
    rows = []
    for first, *rest in table.rows:
        cells = [f"<td>{escaped(cell)}</td>" for cell in rest]
        # Names of teachers and replies may be written from right to left, unlike numbers.
        if table.kind == "pairs":
            cells[0] = f'<td class="name">{_name(rest[0])}</td>'
        elif table.kind == "unread":
            cells[0] = f'<td dir="auto">{escaped(rest[0], lines=True) or "<i>nothing</i>"}</td>'
        elif table.kind == "confusion" and teacher is not None and teacher.agreement is not None:
            counts = teacher.agreement.matrix[first]
            cells[: len(counts)] = _tinted(counts.items(), first)
        rows.append(f'<tr><th scope="row">{_name(first)}</th>{"".join(cells)}</tr>\n')
    kind = _CLASSES[table.kind] + (" many" if table.kind == "confusion" and len(table.head) > WIDE else "")
    # Titles and heads are written in `sections`; only cells come from the data and are escaped.
    title = f"<h3>{table.title}</h3>\n" if table.title else ""
    head = "".join(f'<th scope="col">{name}</th>' for name in table.head)
    return (
        f'{title}<div class="wide"><table class="{kind}">\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{''.join(rows)}</tbody>\n</table></div>\n{_notes(table.notes)}"
    )


def _notes(notes: Sequence[str]) -> str:
    items = "".join(f"<li>{escaped(note)}.</li>\n" for note in notes)
    return f'<ul class="notes">\n{items}</ul>\n' if items else ""


def _tinted(counts: Iterable[tuple[str, int]], letter: str) -> list[str]:
    """Return the cells of a row of the confusion matrix, each tinted by its share of the row."""
    counts = list(counts)
    total, cells = sum(count for _, count in counts), []
    for answer, count in counts:
        kind, tint = "right" if answer == letter else "wrong", round(70 * count / total) if total else 0
        style = f' style="--tint: {tint}%"' if tint else ""
        cells.append(f'<td class="{kind}"{style}>{count:,}</td>' if count else '<td class="none">·</td>')
    return cells


def _figure(plot: str, caption: str) -> str:
    return f'<figure><div class="wide">{plot}</div><figcaption>{caption}</figcaption></figure>\n'


def _name(text: str) -> str:
    # A name that is written from right to left must not turn around the text beside it.
    return f"<bdi>{escaped(text)}</bdi>"
