"""Write a report as one HTML page of at most 2 MB, without scripts, that loads nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from dataprep.core.html import REVIEW_STYLE, check_path, document, escaped
from dataprep.inspect.report.figures import FileFigures, NearGroup, Repeat, Report
from dataprep.inspect.report.labels import answers, teachers
from dataprep.inspect.report.rows import Limits, article
from dataprep.inspect.report.style import STYLE
from dataprep.inspect.report.tables import lengths, names_of, overlap_table, overview, sources
from dataprep.tokens.lint_page import COLOURS, MASK_KEY, MASK_STYLE

MAX_BYTES = 2_000_000
_LEVELS = (Limits(), Limits(1000, 300), Limits(500, 150), Limits(250, 75), Limits(250, 75, 10))
_FRAME = 5000  # bytes of what stands around the rows of the sample
_SHARED = 400  # characters of a text that two rows share

Section = tuple[str, str, str]  # id, title, HTML


def check_page(path: str) -> None:
    """Raise ``UsageError`` if the path is not an HTML page's, before any work is done."""
    check_path(path, "the report is")


def page_of(report: Report) -> str:
    """Return the page; the same report gives the same bytes."""
    page = ""
    for limits in _LEVELS:
        # The sample is what grows; everything else has a limited size.
        left = MAX_BYTES - len(_page(report, limits, "").encode("utf-8"))
        sample, is_whole = _sample(report, limits, left)
        page = _page(report, limits, sample)
        if is_whole:
            break
    return page


def _page(report: Report, limits: Limits, sample: str) -> str:
    columns = report.columns
    builders: list[tuple[str, str, Callable[[], str]]] = [
        ("overview", "Overview", lambda: overview(report)),
        ("sources", "Sources and tasks", lambda: sources(columns)),
        ("lengths", "Lengths", lambda: lengths(report)),
        ("repeats", "Repeated rows", lambda: _repeats(report, limits)),
        ("overlap", "Training and test rows", lambda: _overlap(report, limits)),
        ("teachers", "Teachers", lambda: teachers(columns)),
        ("answers", "Answers", lambda: answers(columns)),
        ("extremes", "Longest and shortest rows", lambda: _extremes(columns, limits)),
        ("sample", "A sample of rows", lambda: sample),
    ]
    made: list[Section] = [(name, title, body) for name, title, build in builders if (body := build())]
    links = "".join(f'<li><a href="#{name}">{title}</a></li>\n' for name, title, _ in made)
    parts = [
        f'<a class="skip" href="#{made[0][0]}">Skip to the figures</a>\n',
        f"<header>\n<h1>{_title(report)}</h1>\n{''.join(_lead(report))}</header>\n",
        f'<nav aria-label="Sections">\n<ul>\n{links}</ul>\n</nav>\n',
        *(
            f'<section aria-labelledby="{name}">\n'
            f'<h2 id="{name}" tabindex="-1">{title}</h2>\n{body}</section>\n'
            for name, title, body in made
        ),
        _FOOT,
    ]
    return document("Report on rows", REVIEW_STYLE + COLOURS + MASK_STYLE + STYLE, parts)


_FOOT = """\
<footer>
<p>Lengths are in Unicode characters. Tokens are those of the texts alone, without the tokens that a chat
format adds. The 95% column is the length that 95 of 100 texts do not exceed.</p>
</footer>
"""


def _title(report: Report) -> str:
    if len(report.files) == 1:
        return f"Report on <bdi>{escaped(names_of(report.files)[0])}</bdi>"
    count = len(report.files)
    return "Two files side by side" if count == 2 else f"Report on {count:,} files"


def _lead(report: Report) -> Iterator[str]:
    yield '<ul class="files">\n'
    for figures in report.files[:50]:
        yield f"<li><code>{escaped(figures.name)}</code>: {figures.counts.rows:,} rows</li>\n"
    if len(report.files) > 50:
        yield f"<li>{len(report.files) - 50:,} more</li>\n"
    yield "</ul>\n"
    if report.tokenizer:
        chat_format = f"; chat format: {escaped(report.chat_format)}" if report.chat_format else ""
        yield f"<p>Tokenizer: <code>{escaped(report.tokenizer)}</code>{chat_format}</p>\n"
    if report.bad_rows:
        reasons = ", ".join(f"{escaped(name)}: {count:,}" for name, count in report.bad_rows.items())
        count = sum(report.bad_rows.values())
        yield f'<p class="warning">{count:,} bad rows are in no figure ({reasons}).</p>\n'


def _repeats(report: Report, limits: Limits) -> str:
    repeated = report.together.duplicates
    verb = "repeats" if repeated == 1 else "repeat"
    counted = [f"{repeated:,} of {report.together.counts.rows:,} rows {verb} an earlier row"]
    if report.shared is not None:
        counted.append(f"{report.shared:,} different rows stand in both files")
    note = "Rows are the same if they differ in id, source, case and white space only."
    parts = [f"<p>{'; '.join(counted)}.</p>\n", f'<p class="note">{note}</p>\n']
    parts += _pairs(report.repeats, limits, "first", ("row", "repeats"))
    parts += _near_duplicates(report, limits)
    return "".join(parts)


def _near_duplicates(report: Report, limits: Limits) -> Iterator[str]:
    near = report.near
    yield "<h3>Near-duplicates</h3>\n"
    if near is None:
        yield '<p class="note">They were not looked for.</p>\n'
        return
    if not near.rows:
        counted = "No row is a near-duplicate of an earlier row"
    else:
        verb = "is a near-duplicate" if near.rows == 1 else "are near-duplicates"
        groups = "1 group" if near.groups == 1 else f"{near.groups:,} groups"
        counted = f"{near.rows:,} further rows" if near.rows != 1 else "1 further row"
        counted = f"{counted} {verb} of an earlier row, in {groups}"
    yield f"<p>{counted}.</p>\n"
    note = (
        f"Two rows are near-duplicates if {near.threshold:.0%} of their n-grams of 3 words are in both, also "
        "questions about the same long passage. A group is all rows that such pairs link. "
        f"<code>dataprep dedup --near {near.threshold:g}</code> drops such rows. Marks show what differs "
        "from the first row."
    )
    yield f'<p class="note">{note}</p>\n'
    title = "The group" if near.groups == 1 else f"The largest {len(near.largest)} groups"
    yield from _groups(near.largest, limits, title, 4)


def _groups(groups: list[NearGroup], limits: Limits, title: str, level: int) -> Iterator[str]:
    groups = [group for group in groups if group.rows]
    if not groups:
        return
    yield f"<h{level}>{title}</h{level}>\n"
    shorter = replace(limits, text=min(limits.text, 600))
    for group in groups:
        rows = group.rows
        head = f"{len(rows) + group.more:,} rows: {', '.join(row.where for row in rows)}"
        more = f", and {group.more:,} more" if group.more else ""
        yield f"<details><summary>{escaped(head)}{more}</summary>\n"
        yield '<div class="two">\n'
        # Each row is compared with the first one, and that one with the second.
        others = [rows[min(1, len(rows) - 1)], *rows[:1] * (len(rows) - 1)]
        for row, other, similarity in zip(rows, others, group.similarities, strict=True):
            fact = "" if row is rows[0] else f"similarity {similarity:.2f}"
            yield f"<div>{article(row, shorter, level + 1, other=other, fact=fact)}</div>\n"
        yield "</div>\n</details>\n"


def _overlap(report: Report, limits: Limits) -> str:
    if report.not_searched:
        return f'<p class="note">Test rows were not looked for: {escaped(report.not_searched)}.</p>\n'
    if not report.overlaps:
        return ""
    note = (
        "Verbatim: the training row has all tokens of a test row, or nearly all. In part: it has half of its "
        "n-grams. Changed: it is a test row with other names or numbers. "
        "<code>dataprep decontaminate</code> drops such rows."
    )
    parts = [overlap_table(report.overlaps), f'<p class="note">{note}</p>\n']
    parts += _pairs(report.overlap_rows, limits, "surest", ("training row", "test row"))
    if report.near is not None:
        groups = report.near.across
        title = (
            "Near-duplicates: a group"
            if len(groups) == 1
            else f"Near-duplicates: the first {len(groups)} groups"
        )
        parts += _groups(groups, limits, f"{title} with training and test rows", 3)
    return "".join(parts)


def _pairs(pairs: list[Repeat], limits: Limits, which: str, names: tuple[str, str]) -> Iterator[str]:
    if not pairs:
        return
    yield f"<h3>The {which} {len(pairs)} pairs</h3>\n" if len(pairs) > 1 else "<h3>The pair</h3>\n"
    shorter = replace(limits, text=min(limits.text, 600))
    for pair in pairs:
        summary = f"{pair.row.where} – {pair.other.where}"
        yield f"<details><summary>{escaped(summary)}, similarity {pair.similarity:.2f}</summary>\n"
        yield f'<p class="note">{escaped(pair.how[:1].upper() + pair.how[1:])}.</p>\n'
        if pair.text:
            more = " …" if len(pair.text) > _SHARED else ""
            yield f'<blockquote dir="auto">{escaped(pair.text[:_SHARED])}{more}</blockquote>\n'
        yield '<div class="two">\n'
        for name, row, other in zip(names, (pair.row, pair.other), (pair.other, pair.row), strict=True):
            made = article(row, shorter, 5, other=other)
            yield f"<div><h4>{name[:1].upper() + name[1:]}</h4>\n{made}</div>\n"
        yield "</div>\n</details>\n"


def _extremes(columns: list[FileFigures], limits: Limits) -> str:
    shorter = replace(limits, text=min(limits.text, 400))
    parts = []
    for title in ("Longest", "Shortest"):
        parts.append(f"<h3>{title}</h3>\n")
        for figures, name in zip(columns, names_of(columns), strict=True):
            if len(columns) > 1:
                parts.append(f"<h4><bdi>{escaped(name)}</bdi></h4>\n")
            level = 5 if len(columns) > 1 else 4
            for row in figures.longest if title == "Longest" else figures.shortest:
                head = f"{escaped(row.where)}: {row.length:,} characters"
                parts.append(
                    f"<details><summary>{head}</summary>\n{article(row, shorter, level)}</details>\n"
                )
    return "".join(parts)


def _sample(report: Report, limits: Limits, space: int) -> tuple[str, bool]:
    """Return as many rows of the sample as ``space`` bytes hold, and whether these are all rows."""
    if not report.sample:
        return "", True
    articles: list[str] = []
    space -= _FRAME
    for number, row in enumerate(report.sample):
        made = article(row, limits, is_open=number < 3)
        space -= len(made.encode("utf-8"))
        if space < 0:
            break
        articles.append(made)
    what = "1 row" if len(articles) == 1 else f"{len(articles):,} rows"
    parts = [f"<p>{what} of {report.together.counts.rows:,}, drawn with seed {report.seed}.</p>\n"]
    if (left := len(report.sample) - len(articles)) > 0:
        text = f"{left:,} more of the sample are left out: the page would be too large."
        parts.append(f'<p class="note">{text}</p>\n')
    if any(row.tokens for row in report.sample):
        parts.append(MASK_KEY)
    return "".join((*parts, *articles)), left <= 0
