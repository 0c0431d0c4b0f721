"""The sections and the page of a review of rows that ``evaluate`` wrote."""

from __future__ import annotations

from collections.abc import Iterator

from dataprep.answers.baselines import Baselines
from dataprep.collect.review.findings import share
from dataprep.collect.review.page import figure, html_table, stacked_plot
from dataprep.collect.review.scored import OUTCOMES, SHOWN, ScoredGroup, ScoredReview
from dataprep.collect.review.sections import Section, Table, baseline_lines
from dataprep.core import io as files
from dataprep.core.html import REVIEW_STYLE, document, escaped

# Classes that a table has rows or columns for.
MOST_CLASSES = 20
_COLOURS = ("right", "length", "wrong", "refused", "unread")
_TITLE = "Answers by outcome"


def scored_sections(review: ScoredReview, wrong: int = SHOWN) -> list[Section]:
    """Return the overview, and a section for each file, source and metric, with as many ``wrong`` answers."""
    names = list(
        dict.fromkeys(["right", *(name for group in review.groups for name in group.shown_outcomes)])
    )
    names.sort(key=lambda name: OUTCOMES.index(name) if name in OUTCOMES else len(OUTCOMES))
    rows = []
    for group in review.groups:
        low, high = group.interval
        counts = [group.outcomes[name] for name in names]
        about = (f"{group.rows:,}", *(f"{count:,}" for count in counts), share(counts[0], group.rows))
        rows.append([title_of(group), *about, f"{low:.1%} – {high:.1%}"])
    head = ["answers", "rows", *names, "share right", "95 % interval"]
    total = sum(group.rows for group in review.groups)
    line = "1 row" if total == 1 else f"{total:,} rows"
    return [
        Section("", [line], [Table("overview", head, rows)]),
        *(_of_group(group, wrong) for group in review.groups),
    ]


def title_of(group: ScoredGroup) -> str:
    """Return the name of a group: its file, its source if it has one, and its metric."""
    return " · ".join(name for name in (group.file, group.source, group.metric) if name)


def _of_group(group: ScoredGroup, wrong: int) -> Section:
    lines = [f"{name}: {total / group.rows:.2%}" for name, total in group.scores.items()]
    tables = []
    if (answers := group.answers) is not None:
        lines += baseline_lines(answers)
        tables += list(_distributions(group, answers))
    if group.wrong:
        rows = [[row.id, row.question, row.gold, row.outcome, row.prediction] for row in group.wrong[:wrong]]
        left = group.rows - group.outcomes["right"] - len(rows)
        where = ", which -o PAGE and --json show" if len(rows) < len(group.wrong) else ""
        notes = [f"And {left:,} more{where}"] if left else []
        head = ["id", "question", "gold", "outcome", "prediction"]
        tables.append(Table("wrong", head, rows, "Answers that are not right", notes, names=5))
    return Section(title_of(group), lines, tables)


def _distributions(group: ScoredGroup, answers: Baselines) -> Iterator[Table]:
    often = sorted(answers.classes, key=lambda name: -answers.gold[name] - answers.answered[name])
    names = [name for name in answers.classes if name in often[:MOST_CLASSES]]
    rows, counts = [], group.confusion()
    for name in names:
        gold, right = answers.gold[name], counts.get(name, {}).get(name, 0)
        answered = answers.answered[name]
        cells = (f"{gold:,}", f"{answered:,}", share(answered, answers.rows))
        rows.append([name, *cells, f"{right:,} of {gold:,} ({share(right, gold)})"])
    left = len(answers.classes) - len(names)
    notes = [f"And {left:,} classes that occur less often"] if left else []
    yield Table(
        "letters", ["answer", "gold", "answered", "share", "right where it is gold"], rows, notes=notes
    )
    others = ["unread"] if answers.unread else []
    matrix = {gold: {name: counts.get(gold, {}).get(name, 0) for name in (*names, *others)} for gold in names}
    rows = [
        [gold, *(f"{count:,}" if count else "·" for count in cells.values()), f"{answers.gold[gold]:,}",
         share(cells[gold], answers.gold[gold])]
        for gold, cells in matrix.items()
    ]  # fmt: skip
    head = ["gold", *names, *others, "rows", "right"]
    yield Table("confusion", head, rows, "Gold answer and answer", matrix=matrix)


def write_scored_page(review: ScoredReview, path: str) -> None:
    """Write the page; the same figures give the same bytes."""
    files.write_text(scored_page(review), path)


def scored_page(review: ScoredReview) -> str:
    """Return the page as one text."""
    first, *others = scored_sections(review)
    names = ", ".join(f"<code>{escaped(name)}</code>" for name in review.files)
    parts = [
        f"<header>\n<h1>{_TITLE}</h1>\n<p>{escaped(first.lines[0])}, out of {names}.</p>\n</header>\n",
        f"<section>\n<h2>Overview</h2>\n{''.join(map(html_table, first.tables))}",
        figure(_outcomes_plot(review), "The rows by outcome."),
        "</section>\n",
    ]
    for section in others:
        parts.append(f"<section>\n<h2><bdi>{escaped(section.title)}</bdi></h2>\n")
        parts += [f"<p>{escaped('. '.join(section.lines))}.</p>\n", *map(html_table, section.tables)]
        parts.append("</section>\n")
    return document(_TITLE, REVIEW_STYLE, parts)


def _outcomes_plot(review: ScoredReview) -> str:
    # Outcomes of programs, such as `timeout`, share one colour: the table above has their counts.
    keys = [(name, colour) for name, colour in zip((*OUTCOMES, "other"), (*_COLOURS, "failed"), strict=True)]
    rows = []
    for group in review.groups:
        counts = [group.outcomes[name] for name in OUTCOMES]
        counts.append(group.rows - sum(counts))
        rows.append((title_of(group), counts, f"{counts[0]:,} of {group.rows:,} right"))
    used = [number for number in range(len(keys)) if any(counts[number] for _, counts, _ in rows)]
    shown = [(name, [counts[number] for number in used], note) for name, counts, note in rows]
    return stacked_plot(_TITLE, shown, [keys[number] for number in used])
