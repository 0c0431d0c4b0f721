"""Draw the charts of a report: histograms and divided bars as SVG, bars in the cells of a table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from dataprep.core.html import escaped
from dataprep.datasets.checks.figures import Bin

# Units of the viewBox. A chart is at most a little wider in pixels, and about this wide on a phone, so that
# its texts have about the same size everywhere.
WIDTH, HEIGHT = 340, 150
LEFT, RIGHT, TOP, BOTTOM = 40, 6, 10, 22
_LETTER = 6.6  # units of a digit; the reader's font is not known here
ROLES = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool",
    "reasoning": "reasoning", "tool calls": "calls", "question": "user", "answer": "assistant",
    "solution": "assistant", "context": "tool",
}  # fmt: skip
"""The colour of each role, a variable of the page."""


def colour_of(name: str) -> str:
    """Return the variable with the colour of a role or field."""
    if name.startswith("rationale: "):
        return "--role-reasoning"
    return f"--role-{ROLES.get(name, 'field')}"


def histogram(bins: Sequence[Bin], most: float, name: str, unit: str, title: str) -> str:
    """Return a histogram as SVG; every bin has the same width, whatever lengths it has.

    Args:
        bins: the bins.
        most: the share of texts at the top of the axis, from 0 to 1; charts side by side have the same.
        name: the role or field, for the colour.
        unit: ``characters`` or ``tokens``.
        title: what is shown, for screen readers.
    """
    texts = sum(each.rows for each in bins) or 1
    floor, span = HEIGHT - BOTTOM, HEIGHT - BOTTOM - TOP
    width = (WIDTH - LEFT - RIGHT) / len(bins)
    parts = []
    for part in range(3):
        y = floor - span * part / 2
        parts.append(f'<path class="line" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"></path>')
        parts.append(_text(LEFT - 5, y + 4, percent(most * part / 2), "muted end"))
    for number, each in enumerate(bins):
        share = each.rows / texts
        # A few texts among many have a thin bar, so that only empty bins look empty.
        height = max(span * share / most, 1.5) if each.rows else 0
        hint = f"{range_of(each)} {unit}: {each.rows:,} ({percent(share)})"
        x = LEFT + width * number
        parts.append(
            f'<rect x="{x + 0.5:.1f}" y="{floor - height:.1f}" width="{max(width - 1, 0.5):.1f}" '
            f'height="{height:.1f}" style="fill: var({colour_of(name)})">'
            f"<title>{escaped(hint)}</title></rect>"
        )
    parts += _labels(bins, width)
    label = f"{title}: {texts:,} texts"
    most_bin = max(bins, key=lambda each: each.rows)
    where = range_of(most_bin)
    about = f"Most texts, {percent(most_bin.rows / texts)}, have {where} {unit}. A table follows."
    return _svg(HEIGHT, parts, label, about)


def _labels(bins: Sequence[Bin], width: float) -> list[str]:
    """Return the lower edges of every bin, or of every second, third … one, and always of the last one."""
    texts = [brief(each.low) for each in bins]
    texts[-1] += "+" if bins[-1].high > bins[-1].low else ""
    last = len(bins) - 1

    def fits(one: int, other: int) -> bool:
        return width * (other - one) >= _LETTER * (len(texts[one]) + len(texts[other])) / 2 + 5

    shown: list[int] = []
    for stride in range(1, len(bins) + 1):
        shown = [number for number in range(0, last, stride) if fits(number, last)]
        if all(fits(one, other) for one, other in pairwise(shown)):
            break
    parts = []
    for number in [*shown, last]:
        x = LEFT + width * number
        parts.append(f'<path class="tick" d="M{x:.1f} {HEIGHT - BOTTOM}v4"></path>')
        parts.append(_text(x, HEIGHT - 6, texts[number], "middle"))
    return parts


def divided(parts_of: Sequence[tuple[str, str, int]], title: str) -> str:
    """Return one bar as SVG that is divided by counts, given as (name, class of its colour, count)."""
    everything = sum(count for *_, count in parts_of) or 1
    parts, x = [], 0.0
    for name, colour, count in parts_of:
        width = WIDTH * count / everything
        if count:
            hint = f"{name}: {count:,} of {everything:,} ({percent(count / everything)})"
            parts.append(
                f'<rect x="{x:.1f}" y="0" width="{max(width - 1, 0.5):.1f}" height="16" class="{colour}">'
                f"<title>{escaped(hint)}</title></rect>"
            )
        x += width
    about = ", ".join(f"{name}: {percent(count / everything)}" for name, _, count in parts_of)
    return _svg(16, parts, title, about, ' preserveAspectRatio="none"')


def bar(share: float, colour: str = "--bar") -> str:
    """Return a bar for a cell of a table whose numbers stand beside it, so that nobody needs to see it."""
    width = min(max(100 * share, 1 if share else 0), 100)
    style = f"width: {width:.1f}%; background: var({colour})"
    return f'<span class="bar" aria-hidden="true"><span style="{style}"></span></span>'


def range_of(each: Bin) -> str:
    """Return the lengths of a bin as ``10–19``."""
    if each.low == each.high:
        return f"{each.low:,}"
    return f"{each.low:,}–{each.high:,}"


def percent(share: float) -> str:
    """Return a share as ``12%``; one that is above 0 and below 10% has a decimal.

    >>> percent(0.5), percent(0.034), percent(0.00001), percent(0)
    ('50%', '3.4%', '<0.1%', '0%')
    """
    if 0 < share < 0.001:
        return "<0.1%"
    text = f"{100 * share:.1f}" if share < 0.1 or 0.995 <= share < 1 else f"{100 * share:.0f}"
    return f"{text.removesuffix('.0')}%"


def brief(number: float) -> str:
    """Return a number for an axis.

    >>> brief(950), brief(1500), brief(20000), brief(3000000)
    ('950', '1.5k', '20k', '3M')
    """
    for power, letter in ((1_000_000, "M"), (1000, "k")):
        if number >= power:
            return f"{number / power:.3g}{letter}"
    return f"{number:.0f}"


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escaped(text)}</text>'


def _svg(height: int, parts: Sequence[str], title: str, about: str, how: str = "") -> str:
    head = f"<title>{escaped(title)}</title><desc>{escaped(about)}</desc>"
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img"{how}>{head}{"".join(parts)}</svg>'
