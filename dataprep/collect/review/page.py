"""Write a review as one HTML page, with bar charts as SVG elements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dataprep.collect.review.findings import Review, TeacherReview, share, shown_outcomes
from dataprep.collect.review.sections import Section, Table, sections
from dataprep.core import io as files
from dataprep.core.errors import visible
from dataprep.core.html import REVIEW_STYLE, document, escaped

# Coordinates are the units of the viewBox: about a pixel each, fewer on a narrow screen.
WIDTH = 720
ROW, BAR_HEIGHT = 49, 18
TOP, BOTTOM, LEFT, HEIGHT = 36, 20, 42, 238
NAME_LENGTH = 70
# With more letters than this, bars are too narrow for a number above each.
MOST_NUMBERED = 16
DASHES = "stroke: var(--uniform); stroke-width: 2; stroke-dasharray: 6 3"


def outcomes_plot(teachers: Sequence[TeacherReview]) -> str:
    """Return a bar per teacher, divided by the outcomes of the questions that it was asked."""
    rows = []
    shown = shown_outcomes(teachers)
    for teacher in teachers:
        counts = [teacher.outcomes.get(outcome, 0) for outcome in shown]
        rows.append((teacher.name, counts, f"{counts[0]:,} of {sum(counts):,} ok"))
    return stacked_plot("Outcomes by teacher", rows, [(outcome, outcome) for outcome in shown])


def right_plot(teachers: Sequence[TeacherReview]) -> str:
    """Return a bar per teacher with references, divided into right, wrong and unread replies."""
    rows = []
    for teacher in teachers:
        if (counts := teacher.agreement) is not None:
            parts = [counts.right, counts.read - counts.right, counts.replies - counts.read]
            rows.append((teacher.name, parts, f"{counts.right:,} of {counts.replies:,} right"))
    keys = [("right", "right"), ("wrong", "wrong"), ("no letter", "unread")]
    return stacked_plot("Right and wrong replies by teacher", rows, keys)


def stacked_plot(
    label: str, rows: Sequence[tuple[str, list[int], str]], keys: Sequence[tuple[str, str]]
) -> str:
    """Return a bar per row, a name with counts and a note, divided by the keys: names and colours."""
    parts = [_legend(keys)]
    for number, (name, counts, note) in enumerate(rows):
        y, x, total = TOP + ROW * number, 0.0, sum(counts)
        shown = visible(name)
        shown = shown if len(shown) <= NAME_LENGTH else shown[: NAME_LENGTH - 1] + "…"
        parts += [_text(0, y + 5, shown), _text(WIDTH, y + 5, note, "muted end")]
        for count, (key, colour) in zip(counts, keys, strict=True):
            # A bar of no width would still have a tooltip, and screen readers would read it.
            if count:
                width, hint = WIDTH * count / total, f"{key}: {count:,} of {total:,} ({share(count, total)})"
                parts.append(_rect(x, y + 12, width, BAR_HEIGHT, colour, hint))
                x += width
    height = TOP + ROW * len(rows) + 8
    for quarter, place in enumerate(("muted", "muted middle", "muted middle", "muted middle", "muted end")):
        parts.append(_text(WIDTH * quarter / 4, height - 4, f"{25 * quarter}%", place))
    return _svg(label, height, parts)


def answers_plot(teacher: TeacherReview) -> str:
    """Return bars of how often each letter was answered, and how often it was expected."""
    uniform = teacher.uniform.expected
    gold = teacher.gold.expected if teacher.gold is not None else None
    # At least 1, so that a chart without any answer has an axis.
    highest = max(1.0, *teacher.answers.values(), *uniform.values(), *(gold or {}).values())
    # 1.14 leaves space for a number above the highest bar.
    slot, scale = (WIDTH - LEFT) / len(teacher.answers), (HEIGHT - TOP - BOTTOM) / (1.14 * highest)
    floor = HEIGHT - BOTTOM
    parts = [_legend([("answered", "bar"), *([("gold", "gold")] if gold else []), ("equal shares", "")])]
    for tick in range(0, int(1.14 * highest) + 1, _step(1.14 * highest)):
        y = floor - tick * scale
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH}" style="stroke: var(--line)"></path>')
        parts.append(_text(LEFT - 6, y + 4, f"{tick:,}", "muted end"))
    width = slot * (0.38 if gold else 0.66)
    for number, (letter, count) in enumerate(teacher.answers.items()):
        middle = LEFT + slot * (number + 0.5)
        # Two bars share a slot, one on each side of its middle; a single one stands in the middle.
        left = middle - (width if gold else width / 2)
        parts.append(_rect(left, floor - count * scale, width, count * scale, "bar", f"{letter}: {count:,}"))
        if gold:
            height, hint = gold[letter] * scale, f"{letter}: {gold[letter]:,.0f} gold"
            parts.append(_rect(middle, floor - height, width, height, "gold", hint))
        line = floor - uniform[letter] * scale
        ends = f"M{middle - 0.42 * slot:.1f} {line:.1f}H{middle + 0.42 * slot:.1f}"
        parts.append(f'<path d="{ends}" style="{DASHES}"></path>')
        parts.append(_text(middle, HEIGHT - 4, letter, "middle"))
        if len(teacher.answers) <= MOST_NUMBERED:
            above = floor - count * scale
            # A number that the line of equal shares would cross stands above that line.
            above = line if line < above < line + 16 else above
            parts.append(_text(left + width / 2, above - 4, f"{count:,}", "middle"))
    return _svg(f"Letters answered by {teacher.name}", HEIGHT, parts)


def _step(top: float) -> int:
    """Return the least of 1, 2, 5, 10, 20, … that divides an axis into at most five parts."""
    step = 1
    while top / step > 5:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return step


def _legend(keys: Iterable[tuple[str, str]]) -> str:
    parts, x = [], 0
    for name, colour in keys:
        if colour:
            parts.append(_rect(x, 3, 12, 9, colour))
        else:
            parts.append(f'<path d="M{x} 8h15" style="{DASHES}"></path>')
        parts.append(_text(x + 20, 12, name))
        # The reader's font is not known here, so an average width per character must do.
        x += 20 + 7 * len(name) + 14
    return "".join(parts)


def _rect(x: float, y: float, width: float, height: float, colour: str, hint: str = "") -> str:
    size = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    title = f"<title>{escaped(hint)}</title>" if hint else ""
    # Colours are the page's variables, which follow the reader's light or dark.
    return f'<rect {size} style="fill: var(--{colour})">{title}</rect>'


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escaped(text)}</text>'


def _svg(label: str, height: int, parts: Iterable[str]) -> str:
    attributes = f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escaped(label)}"'
    return f"<svg {attributes}>{''.join(parts)}</svg>"


# Confusion matrices with more columns get narrower ones, and from the other number on scroll on a phone.
WIDE, SCROLLS = 12, 10
# `rows`: each row is a block of labelled values on a narrow screen.
_CLASSES = {
    "overview": "names rows", "letters": "letters rows", "confusion": "confusion", "unread": "replies rows",
    "pairs": "names rows", "wrong": "replies answers rows",
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
        *map(html_table, section.tables),
        '<p class="note">“Letter read” and “right” are shares of the replies (ok).</p>\n',
        figure(outcomes_plot(review.teachers), "Outcomes of the questions asked."),
    ]
    if review.gold is not None:
        parts.append(figure(right_plot(review.teachers), "The replies to questions with a gold row."))
    return "".join((*parts, "</section>\n"))


def _section(section: Section) -> str:
    parts = [f"<section>\n<h2>{_name(section.title)}</h2>\n"]
    if section.lines:
        parts.append(f"<p>{escaped('. '.join(section.lines))}.</p>\n")
    for table in section.tables:
        if table.kind == "letters" and section.teacher is not None:
            rest = " and the gold answers would give." if section.teacher.gold else " would give."
            caption = f"How often each letter was answered, beside what equal shares{rest}"
            parts.append(figure(answers_plot(section.teacher), caption))
        parts.append(html_table(table))
    return "".join((*parts, "</section>\n"))


def html_table(table: Table) -> str:
    """Return a table, with its title and its notes."""
    rows = []
    labels = [f'data-label="{escaped(name)}"' for name in table.head[1:]]
    for first, *rest in table.rows:
        cells = [f"<td {label}>{escaped(cell)}</td>" for label, cell in zip(labels, rest, strict=True)]
        # Names of teachers and replies may be written from right to left, unlike numbers.
        if table.kind == "pairs":
            cells[0] = f'<td class="name" {labels[0]}>{_name(rest[0])}</td>'
        elif table.kind == "unread":
            cells[-1] = (
                f'<td dir="auto" {labels[-1]}>{escaped(rest[-1], lines=True) or "<i>nothing</i>"}</td>'
            )
        elif table.kind == "wrong":
            cells[0], cells[3] = (
                f'<td dir="auto" {labels[n]}>{escaped(rest[n], lines=True) or "<i>nothing</i>"}</td>'
                for n in (0, 3)
            )
        elif table.kind == "confusion":
            counts = table.matrix[first]
            cells[: len(counts)] = _tinted(counts.items(), first)
        rows.append(f'<tr><th scope="row">{_name(first)}</th>{"".join(cells)}</tr>\n')
    kind = _CLASSES[table.kind] + (" many" if table.kind == "confusion" and len(table.head) > WIDE else "")
    # Titles are written in `sections`; heads can be names of classes, and cells come from the data.
    title = f"<h3>{table.title}</h3>\n" if table.title else ""
    head = "".join(f'<th scope="col">{escaped(name)}</th>' for name in table.head)
    wide = "wide scrolls" if table.kind == "confusion" and len(table.head) > SCROLLS else "wide"
    return (
        f'{title}<div class="{wide}"><table class="{kind}">\n<thead><tr>{head}</tr></thead>\n'
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


def figure(plot: str, caption: str) -> str:
    """Return a chart with its caption."""
    return f'<figure><div class="wide scrolls">{plot}</div><figcaption>{caption}</figcaption></figure>\n'


def _name(text: str) -> str:
    # A name that is written from right to left must not turn around the text beside it.
    return f"<bdi>{escaped(text)}</bdi>"
