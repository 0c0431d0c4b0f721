"""Draw the bar charts of a review's page as SVG elements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dataprep.collect.review.findings import TeacherReview, share
from dataprep.core.html import escaped, visible
from dataprep.teacher.journal.line import OUTCOMES

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
    for teacher in teachers:
        counts = [teacher.outcomes[outcome] for outcome in OUTCOMES]
        rows.append((teacher.name, counts, f"{counts[0]:,} of {sum(counts):,} ok"))
    return _stacked("Outcomes by teacher", rows, [(outcome, outcome) for outcome in OUTCOMES])


def right_plot(teachers: Sequence[TeacherReview]) -> str:
    """Return a bar per teacher with references, divided into right, wrong and unread replies."""
    rows = []
    for teacher in teachers:
        if (counts := teacher.agreement) is not None:
            parts = [counts.right, counts.read - counts.right, counts.replies - counts.read]
            rows.append((teacher.name, parts, f"{counts.right:,} of {counts.replies:,} right"))
    keys = [("right", "right"), ("wrong", "wrong"), ("no letter", "unread")]
    return _stacked("Right and wrong replies by teacher", rows, keys)


def _stacked(label: str, rows: Sequence[tuple[str, list[int], str]], keys: Sequence[tuple[str, str]]) -> str:
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
