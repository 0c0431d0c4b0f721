"""The plots of a review's page: drawn by matplotlib, as SVG that can stand inside an HTML page."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from dataprep.core.errors import MissingDependencyError
from dataprep.core.html import visible
from dataprep.teacher.journal.line import OUTCOMES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dataprep.collect.review.findings import TeacherReview

# What is drawn in these colours gets the page's own ones, which follow the reader's light or dark.
INK, MUTED, LINE = "#010101", "#020202", "#030303"
BAR, UNIFORM, GOLD = "#040404", "#050505", "#060606"
OUTCOME_COLOURS = ("#070707", "#080808", "#090909", "#0a0a0a", "#0b0b0b")
RIGHT, WRONG, UNREAD = "#0c0c0c", "#0d0d0d", "#0e0e0e"
VARIABLES = {
    INK: "--ink", MUTED: "--muted", LINE: "--line", BAR: "--bar", UNIFORM: "--uniform", GOLD: "--gold",
    **dict(zip(OUTCOME_COLOURS, (f"--{outcome}" for outcome in OUTCOMES), strict=True)),
    RIGHT: "--right", WRONG: "--wrong", UNREAD: "--unread",
}  # fmt: skip

WIDTH = 10.0  # inches of 72 units: the page shows a unit as a pixel, or less on a small screen
NAME_LENGTH = 70
LABELLED = 16  # more bars than these are too narrow for their numbers


def check_matplotlib() -> None:
    """Raise ``MissingDependencyError`` where matplotlib is not installed."""
    try:
        import matplotlib.backends.backend_svg  # noqa: F401 - whether it can be imported is the question
    except ImportError:
        raise MissingDependencyError("matplotlib", "plots", "drawing the plots of a page") from None


@contextmanager
def _settings() -> Iterator[None]:
    """Matplotlib as it comes, whatever the user's own settings are, and with text that stays text."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        # The reader's browser has the glyphs that the font for measuring has not.
        warnings.filterwarnings("ignore", message=r"(?s)Glyph .* missing from", category=UserWarning)
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.fonttype": "none",
                "svg.hashsalt": "dataprep",
                "text.parse_math": False,
                "text.color": INK,
                "xtick.color": MUTED,
                "ytick.color": MUTED,
                "axes.edgecolor": LINE,
                "axes.labelcolor": MUTED,
                "axes.facecolor": "none",
                "figure.facecolor": "none",
                "font.size": 12,
                "legend.frameon": False,
            }
        )
        yield


def outcomes_plot(teachers: Sequence[TeacherReview]) -> str:
    """A bar a teacher: what came of the questions it was asked."""
    rows = [[each.outcomes[outcome] for outcome in OUTCOMES] for each in teachers]
    notes = [f"{each.outcomes['ok']:,} of {sum(each.outcomes.values()):,} ok" for each in teachers]
    return _stacked(teachers, rows, OUTCOMES, OUTCOME_COLOURS, notes, "outcomes")


def right_plot(teachers: Sequence[TeacherReview]) -> str:
    """A bar a teacher with gold rows: which of its replies are right, wrong, or name no letter."""
    judged = [each for each in teachers if each.agreement is not None]
    rows, notes = [], []
    for each in judged:
        if found := each.agreement:
            rows.append([found.right, found.read - found.right, found.replies - found.read])
            notes.append(f"{found.right:,} of {found.replies:,} right")
    return _stacked(judged, rows, ("right", "wrong", "no letter"), (RIGHT, WRONG, UNREAD), notes, "right")


def _stacked(
    teachers: Sequence[TeacherReview],
    rows: Sequence[Sequence[int]],
    names: Sequence[str],
    colours: Sequence[str],
    notes: Sequence[str],
    prefix: str,
) -> str:
    """Bars of equal length, divided by shares, each under its teacher's name and a note."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    with _settings():
        height = 0.75 + 0.7 * len(rows)
        figure = Figure(figsize=(WIDTH, height))
        axes = figure.add_axes((0.005, 0.42 / height, 0.99, 1 - 0.8 / height))
        for place, (each, row, note) in enumerate(zip(teachers, rows, notes, strict=True)):
            start, total = 0.0, sum(row) or 1
            for count, colour in zip(row, colours, strict=True):
                if count:
                    axes.barh(place, count / total, left=start, height=0.36, color=colour)
                start += count / total
            axes.text(0, place - 0.26, _name(each.name), va="bottom")
            axes.text(1, place - 0.26, note, va="bottom", ha="right", color=MUTED)
        axes.set_xlim(0, 1)
        axes.set_ylim(len(rows) - 0.65, -0.8)
        axes.set_yticks([])
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
        axes.get_xticklabels()[0].set_horizontalalignment("left")  # inside the plot
        axes.get_xticklabels()[-1].set_horizontalalignment("right")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        keys = [Patch(color=colour, label=name) for name, colour in zip(names, colours, strict=True)]
        figure.legend(
            handles=keys, ncols=len(keys), loc="upper left", bbox_to_anchor=(0, 1), borderaxespad=0,
            borderpad=0.1, handlelength=0.9, handletextpad=0.5, columnspacing=1.4,
        )  # fmt: skip
        return _inline(figure, prefix)


def _name(name: str) -> str:
    shown = visible(name)
    return shown if len(shown) <= NAME_LENGTH else shown[: NAME_LENGTH - 1] + "…"


def answers_plot(each: TeacherReview, prefix: str) -> str:
    """How often each letter was answered, beside the gold answers and what equal shares would give."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    letters = list(each.answers)
    places = range(len(letters))
    uniform = [each.uniform.expected[letter] for letter in letters]
    with _settings():
        figure = Figure(figsize=(WIDTH, 3.3))
        axes = figure.add_axes((0.06, 0.09, 0.935, 0.79))
        axes.set_axisbelow(True)
        axes.grid(axis="y", color=LINE, linewidth=0.8)
        width = 0.66 if each.gold is None else 0.38
        left = 0.0 if each.gold is None else -width / 2
        answered = [place + left for place in places]
        keys: list[Any] = [axes.bar(answered, list(each.answers.values()), width=width, color=BAR)]
        if each.gold is not None:
            gold = [each.gold.expected[letter] for letter in letters]
            keys.append(axes.bar([place + width / 2 for place in places], gold, width=width, color=GOLD))
        keys += [
            axes.hlines(
                uniform, [place - 0.42 for place in places], [place + 0.42 for place in places],
                colors=UNIFORM, linewidth=2, linestyles=(0, (3, 1.5)),
            )
        ]  # fmt: skip
        if len(letters) <= LABELLED:
            _label_bars(axes, each, answered)
        axes.set_xticks(list(places), letters)
        axes.set_xlim(-0.6, len(letters) - 0.4)
        axes.set_ylim(0, 1.14 * max(1, axes.dataLim.ymax))
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.tick_params(length=0)
        axes.tick_params(axis="x", labelcolor=INK)
        axes.spines[["top", "right", "left"]].set_visible(False)
        names = (
            ["answered", "gold", "equal shares"] if each.gold is not None else ["answered", "equal shares"]
        )
        figure.legend(
            keys, names, ncols=3, loc="upper left", bbox_to_anchor=(0, 1), borderaxespad=0, borderpad=0.1,
            handlelength=1.4, handletextpad=0.5, columnspacing=1.4,
        )  # fmt: skip
        return _inline(figure, prefix)


def _label_bars(axes: Any, each: TeacherReview, places: Sequence[float]) -> None:
    """The numbers, above the bars, or where they would cross the line of equal shares, above that."""
    height = 0.1 * axes.dataLim.ymax
    for place, (letter, count) in zip(places, each.answers.items(), strict=True):
        line = each.uniform.expected[letter]
        top = line if count < line < count + height else count
        axes.annotate(
            f"{count:,}", (place, top), xytext=(0, 4), textcoords="offset points", ha="center", color=INK
        )


def _inline(figure: Figure, prefix: str) -> str:
    """The figure as an ``svg`` element for an HTML page, with ids that no other plot has."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    text = StringIO()
    FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None})  # type: ignore[no-untyped-call]
    root = ElementTree.fromstring(text.getvalue())  # noqa: S314 - matplotlib wrote it, a moment ago
    for parent in list(root.iter()):
        for child in list(parent):
            if _plain(child.tag) in {"metadata", "style"}:
                parent.remove(child)
    names: dict[str, str] = {}
    for element in root.iter():
        element.tag = _plain(element.tag)
        attributes = {_plain(name): value for name, value in element.attrib.items()}
        element.attrib.clear()
        for name, value in attributes.items():
            for found in _REFERENCE.findall(value):
                names.setdefault(found, f"{prefix}-{len(names)}")
            element.set(name, _attribute(name, value))
    for element in root.iter():
        if (own := element.attrib.pop("id", None)) in names:
            element.set("id", names[own or ""])
        for name, value in element.attrib.items():
            if _REFERENCE.search(value):
                element.set(name, _REFERENCE.sub(lambda found: f"#{names[found[1]]}", value))
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("aria-hidden", "true")  # the tables say the same
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


_REFERENCE = re.compile(r"(?:^|(?<=url\())#([^)]+)")
_FONT = re.compile(r"font-family: [^;]*(?:; )?")
_COLOUR = re.compile("|".join(VARIABLES))


def _plain(name: str) -> str:
    """A name without its XML namespace: HTML knows an ``svg`` element by its own name."""
    return name.rpartition("}")[2]


def _attribute(name: str, value: str) -> str:
    if name == "style":
        value = _FONT.sub("", value)
        return _COLOUR.sub(lambda found: f"var({VARIABLES[found[0]]})", value)
    return " ".join(value.split())
