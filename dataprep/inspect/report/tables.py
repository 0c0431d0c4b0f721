"""The sections of a report that are tables and charts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import PurePath

from dataprep.core.html import escaped
from dataprep.inspect.report.charts import bar, colour_of, histogram, percent, range_of
from dataprep.inspect.report.figures import (
    FileFigures,
    Overlap,
    Report,
    binned,
    described,
    edges_of,
    ordered,
    total,
)

MAX_ROWS = 25  # rows of a table of names
_MAX_CHARTS = 12
_TAG = re.compile(r"<[^>]*>")
NAME = 100  # characters of a name
_ROLES = ("system", "developer", "user", "reasoning", "assistant", "tool calls", "tool")

Lengths = dict[str, Counter[int]]


def names_of(columns: Sequence[FileFigures]) -> list[str]:
    """Return a name for each column: those of the files without their folders, if these differ."""
    names = [PurePath(each.name).name for each in columns]
    return names if len({*names}) == len(columns) else [each.name for each in columns]


def overview(report: Report) -> str:
    """Return the figures of whole files."""
    columns = report.columns
    figures: list[tuple[str, Callable[[FileFigures], float | None]]] = [
        ("rows", lambda each: each.counts.rows),
        ("different rows", lambda each: each.counts.rows - each.duplicates),
        *((kind, _counter("kinds", kind)) for kind in _together(columns, "kinds")),
        *((f"{role} messages", _counter("roles", role)) for role in _together(columns, "roles")),
        *((part, _counter("parts", part)) for part in _together(columns, "parts")),
        ("characters", lambda each: total(each.counts.row_characters)),
        ("median characters of a row", lambda each: _median(each.counts.row_characters)),
    ]
    if any(each.counts.tokens for each in columns):
        figures += [
            ("tokens", lambda each: total(each.counts.row_tokens)),
            ("median tokens of a row", lambda each: _median(each.counts.row_tokens)),
        ]
    rows = [(escaped(name[:NAME]), [value(each) for each in columns]) for name, value in figures]
    parts = [_table("Figures of the files", ["figure"], columns, rows)]
    if len(report.files) > 2:
        parts.append(_by_file(report.files))
    return "".join(parts)


def _counter(attribute: str, name: str) -> Callable[[FileFigures], float | None]:
    return lambda each: getattr(each.counts, attribute)[name]


def _together(columns: Sequence[FileFigures], attribute: str) -> list[str]:
    counts: Counter[str] = Counter()
    for each in columns:
        counts.update(getattr(each.counts, attribute))
    return list(ordered(counts))[:MAX_ROWS]


def _median(counts: Counter[int]) -> float | None:
    return described(counts).median if counts else None


def _by_file(files: Sequence[FileFigures]) -> str:
    head = ["file", "rows", "repeated in it", "median characters", "longest"]
    rows = []
    for each in files[:MAX_ROWS]:
        lengths = described(each.counts.row_characters)
        cells = (each.counts.rows, each.duplicates, round(lengths.median), lengths.max)
        rows.append((escaped(each.name), [f"{cell:,}" for cell in cells]))
    return table("The files", head, rows, len(files) - MAX_ROWS)


def sources(columns: Sequence[FileFigures]) -> str:
    """Return the rows by source and by task."""
    more = ", and the difference in percentage points" if len(columns) == 2 else ""
    parts = [
        shares_table(f"Rows by source{more}", "source", columns, [each.counts.sources for each in columns]),
        shares_table(f"Rows by task{more}", "task", columns, [each.counts.tasks for each in columns]),
    ]
    return "".join(('<div class="two">\n', *(f"<div>{part}</div>\n" for part in parts), "</div>\n"))


def shares_table(
    caption: str, name: str, columns: Sequence[FileFigures], counters: Sequence[Mapping[str, int]]
) -> str:
    """Return a table of counts by name, with bars; two columns also have the difference of the shares."""
    together: Counter[str] = Counter()
    for counts in counters:
        together.update(counts)
    totals = [max(sum(counts.values()), 1) for counts in counters]
    most = max(
        count / whole for counts, whole in zip(counters, totals, strict=True) for count in counts.values()
    )
    rows = []
    for key in list(ordered(together))[:MAX_ROWS]:
        shares = [counts.get(key, 0) / whole for counts, whole in zip(counters, totals, strict=True)]
        cells = [
            f"{counts.get(key, 0):,} <small>{percent(share)}</small>{bar(share / most)}"
            for counts, share in zip(counters, shares, strict=True)
        ]
        if len(shares) == 2:
            cells.append(points(shares, counters))
        rows.append((f"<bdi>{escaped(key[:NAME])}</bdi>", cells))
    head = [name, *(heads(columns) if len(columns) > 1 else ["rows"])]
    head += ["points"] if len(columns) == 2 else []
    return table(caption, head, rows, len(together) - MAX_ROWS)


def points(shares: Sequence[float], counts: Sequence[Mapping[str, int]]) -> str:
    """Return the difference of two shares in percentage points."""
    if not all(counts):  # shares of nothing
        return "–"
    text = f"{100 * (shares[1] - shares[0]):+.1f}".replace("-", "−")
    return "0" if text in ("+0.0", "−0.0") else text


def heads(columns: Sequence[FileFigures]) -> list[str]:
    """Return the heads of a table's columns, one for each file."""
    return [f"<bdi>{escaped(name)}</bdi>" for name in names_of(columns)]


def lengths(report: Report) -> str:
    """Return histograms of lengths by role, with their tables."""
    columns = report.columns
    parts = [_lengths("characters", columns, [each.counts.characters for each in columns])]
    if any(each.counts.tokens for each in columns):
        parts.append(_lengths("tokens", columns, [each.counts.tokens for each in columns]))
    return "".join(parts)


def _lengths(unit: str, columns: Sequence[FileFigures], all_lengths: Sequence[Lengths]) -> str:
    names = _length_names(all_lengths)
    shown = names[:_MAX_CHARTS]
    parts = [f"<h3>In {unit}</h3>\n", _figures(unit, columns, all_lengths, shown)]
    if len(columns) == 1:
        charts = (
            _chart(name, unit, columns, [each.get(name, Counter()) for each in all_lengths]) for name in shown
        )
        parts += ['<div class="charts">\n', *charts, "</div>\n"]
    else:
        parts += [
            _chart(name, unit, columns, [each.get(name, Counter()) for each in all_lengths]) for name in shown
        ]
    if len(names) > len(shown):
        parts.append(f'<p class="note">{len(names) - len(shown):,} more fields have texts.</p>\n')
    return "".join(parts)


def _length_names(all_lengths: Sequence[Lengths]) -> list[str]:
    texts: Counter[str] = Counter()
    for each in all_lengths:
        for name, counts in each.items():
            texts[name] += counts.total()
    known = [role for role in _ROLES if role in texts]
    return known + [name for name in ordered(texts) if name not in known]


def _figures(
    unit: str, columns: Sequence[FileFigures], all_lengths: Sequence[Lengths], names: Sequence[str]
) -> str:
    rows = []
    for name in names:
        for column, each in zip(names_of(columns), all_lengths, strict=True):
            if not each.get(name):
                continue
            found = described(each[name])
            cells = (
                found.texts,
                found.min,
                round(found.median),
                round(found.p95),
                found.max,
                total(each[name]),
            )
            title = f"{name}, {column}" if len(columns) > 1 else name
            rows.append((f"<bdi>{escaped(title[: 2 * NAME])}</bdi>", [f"{cell:,}" for cell in cells]))
    head = ["role or field", "texts", "least", "median", "95%", "most", "sum"]
    return table(f"Lengths of texts in {unit}", head, rows)


def _chart(name: str, unit: str, columns: Sequence[FileFigures], counters: Sequence[Counter[int]]) -> str:
    edges = edges_of(counters)
    if len({length for counts in counters for length in counts}) == 1:
        length = next(length for counts in counters for length in counts)
        return f"<p>{_swatch(name)}<bdi>{escaped(name[:NAME])}</bdi>: all texts have {length:,} {unit}.</p>\n"
    bins = [binned(counts, edges) for counts in counters]
    shares = [
        each.rows / max(counts.total(), 1) for row, counts in zip(bins, counters, strict=True) for each in row
    ]
    most = _top(max(shares))
    label = escaped(name[:NAME])
    figures = []
    for row, column, counts in zip(bins, names_of(columns), counters, strict=True):
        title = label if len(columns) == 1 else f"{label}, {escaped(column)}"
        texts = f"{counts.total():,} text{'' if counts.total() == 1 else 's'}"
        svg = histogram(row, most, name, unit, f"{name[:NAME]} in {column}, {unit}") if counts else ""
        figures.append(
            f"<figure><figcaption>{_swatch(name)}<bdi>{title}</bdi>, {texts}</figcaption>{svg}</figure>\n"
        )
    # The bins of long texts are wider: the reader must know it to read the shape.
    grows = len({high - low for low, high in pairwise(edges)}) > 1
    head = [unit, *(heads(columns) if len(columns) > 1 else ["texts"])]
    rows = [(range_of(row[0]), [f"{each.rows:,}" for each in row]) for row in zip(*bins, strict=True)]
    data = table(f"{label}: texts by {unit}", head, rows)
    note = " (bins grow with the length)" if grows else ""
    details = f"<details><summary>{label} as a table{note}</summary>\n{data}</details>\n"
    if len(columns) == 1:
        return f"<div>{''.join(figures)}{details}</div>\n"
    return f'<div class="charts pair">\n{"".join(figures)}</div>\n{details}'


def _swatch(name: str) -> str:
    return f'<i class="swatch" style="background: var({colour_of(name)})"></i>'


def _top(share: float) -> float:
    """Return the top of an axis that holds a share: a round number of percent."""
    tops = (0.02, 0.04, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
    return next((top for top in tops if share <= top), 1.0)


def overlap_table(overlaps: Sequence[Overlap]) -> str:
    """Return what each pair of a training file and a test file shares."""
    kinds = ("verbatim", "in part", "changed")
    near = any(each.near is not None for each in overlaps)
    head = ["training file", "test file", *kinds, "test rows found", *(["near-duplicates"] if near else [])]
    rows = []
    for each in overlaps:
        share = percent(each.found / max(each.test_rows, 1))
        found = f"{each.found:,} of {each.test_rows:,} <small>{share}</small>"
        cells = [
            f"<bdi>{escaped(each.test)}</bdi>",
            *(f"{each.rows.get(kind, 0):,}" for kind in kinds),
            found,
        ]
        cells += [f"{each.near or 0:,}"] if near else []
        rows.append((f"<bdi>{escaped(each.train)}</bdi>", cells))
    return table("Training rows that repeat a test row, by how", head, rows)


def _table(
    caption: str,
    head: list[str],
    columns: Sequence[FileFigures],
    rows: Sequence[tuple[str, list[float | None]]],
) -> str:
    """Return a table with a column per file, and for two files with their difference."""
    written = []
    for name, values in rows:
        cells = [
            "–" if value is None else f"{value:,.10g}" if value % 1 else f"{value:,.0f}" for value in values
        ]
        if len(values) == 2:
            cells.append(_difference(*values))
        written.append((name, cells))
    names = heads(columns) if len(columns) > 1 else ["number"]
    return table(caption, [*head, *names, *(["difference"] if len(columns) == 2 else [])], written)


def _difference(one: float | None, other: float | None) -> str:
    if one is None or other is None:
        return "–"
    change = f"{other - one:+,.0f}" if other != one else "0"
    share = f" <small>({100 * (other - one) / one:+,.0f}%)</small>" if one and other != one else ""
    return f"{change}{share}".replace("-", "−")


def table(caption: str, head: Sequence[str], rows: Sequence[tuple[str, list[str]]], more: int = 0) -> str:
    """Return a table in HTML; heads and cells are HTML already.

    Args:
        caption: what it shows.
        head: the names of its columns.
        rows: for each row its name, and its other cells.
        more: rows that are left out.
    """
    heads = "".join(f'<th scope="col">{name}</th>' for name in head)
    # On a narrow screen, each row of a wide table becomes a block of labelled values.
    kind = ' class="rows"' if len(head) > 3 else ""
    labels = [f' data-label="{_TAG.sub("", name)}"' if kind else "" for name in head[1:]]
    body = []
    for name, cells in rows:
        pairs = zip(labels, cells, strict=True)
        filled = "".join(f"<td{label}><span>{cell}</span></td>" for label, cell in pairs)
        body.append(f'<tr><th scope="row">{name}</th>{filled}</tr>\n')
    note = f'<p class="note">{more:,} more are not listed.</p>\n' if more > 0 else ""
    return (
        f'<div class="wide"><table{kind}>\n<caption>{caption}</caption>\n<thead><tr>{heads}</tr></thead>\n'
        f"<tbody>\n{''.join(body)}</tbody>\n</table></div>\n{note}"
    )
