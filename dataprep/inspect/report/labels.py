"""The sections of a report about what is labelled: teachers' rationales, and right answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from dataprep.core.html import escaped
from dataprep.inspect.report.charts import bar, divided, percent
from dataprep.inspect.report.counting import OTHERS
from dataprep.inspect.report.figures import FileFigures, ordered
from dataprep.inspect.report.tables import MAX_ROWS, NAME, heads, names_of, points, table

_STATUSES = ("ok", "truncated", "runaway", "no_answer", "answer_mismatch", "empty", "unjudged")


def teachers(columns: Sequence[FileFigures]) -> str:
    """Return the statuses of each teacher's rationales."""
    parts = []
    for figures, name in zip(columns, names_of(columns), strict=True):
        statuses = figures.counts.statuses
        if not statuses:
            continue
        if len(columns) > 1:
            parts.append(f"<h3><bdi>{escaped(name)}</bdi></h3>\n")
        seen = {status for counts in statuses.values() for status in counts}
        shown = [status for status in _STATUSES if status in seen] + sorted(seen - {*_STATUSES})
        rows = []
        for teacher in sorted(statuses)[:MAX_ROWS]:
            counts = statuses[teacher]
            rows.append((f"<bdi>{escaped(teacher[:NAME])}</bdi>", [_part(counts, each) for each in shown]))
            bars = divided(
                [(each, _class(each), counts[each]) for each in shown], f"Statuses of {teacher[:NAME]}"
            )
            parts.append(
                f'<p class="note"><bdi>{escaped(teacher[:NAME])}</bdi>, {counts.total():,} rationales</p>\n'
            )
            parts.append(f'<div class="share">{bars}</div>\n')
        keys = "".join(
            f'<span><i class="{_class(each)}"></i>{escaped(each[:NAME])}</span> ' for each in shown
        )
        parts.append(f'<p class="key2">{keys}</p>\n')
        head = ["teacher", *(escaped(each[:NAME]) for each in shown)]
        parts.append(table("Rationales by teacher and status", head, rows, len(statuses) - MAX_ROWS))
    return "".join(parts)


def _part(counts: Counter[str], name: str) -> str:
    return f"{counts[name]:,} <small>{percent(counts[name] / max(counts.total(), 1))}</small>"


def _class(status: str) -> str:
    return f"s-{status}" if status in _STATUSES else "s-other"


def answers(columns: Sequence[FileFigures]) -> str:
    """Return how often each choice is the right one, and the most frequent other answers."""
    return "".join((*_labels(columns), *_texts(columns)))


def _labels(columns: Sequence[FileFigures]) -> Iterator[str]:
    found = [_letters(each) for each in columns]
    if not any(found):
        return
    together: Counter[str] = Counter()
    for counts in found:
        together.update(counts)
    yield "<h3>Right choices</h3>\n"
    for figures, name in zip(columns, names_of(columns), strict=True):
        for source, counts in figures.counts.labels.items():
            if len(counts) == 1 and counts.total() > 1:
                letter = next(iter(counts))
                yield (
                    f'<p class="warning">All {counts.total():,} right answers of '
                    f"<bdi>{escaped(source[:NAME])}</bdi> in <bdi>{escaped(name)}</bdi> "
                    f"are {escaped(letter)}. "
                    "<code>convert --shuffle-choices</code> puts the choices in another order.</p>\n"
                )
    yield _counts("Rows by the letter of the right choice", "letter", columns, found, sorted(together))
    if len(columns) == 1 and len(columns[0].counts.labels) > 1:
        letters = sorted(together)[:26]
        rows = [
            (f"<bdi>{escaped(source[:NAME])}</bdi>", [_part(counts, letter) for letter in letters])
            for source, counts in sorted(columns[0].counts.labels.items())[:MAX_ROWS]
        ]
        yield table("Right choices by source", ["source", *map(escaped, letters)], rows)


def _letters(figures: FileFigures) -> Counter[str]:
    letters: Counter[str] = Counter()
    for counts in figures.counts.labels.values():
        letters.update(counts)
    return letters


def _texts(columns: Sequence[FileFigures]) -> Iterator[str]:
    found = [each.counts.answers for each in columns]
    if not any(found):
        return
    together: Counter[str] = Counter()
    for counts in found:
        together.update(counts)
    shown = [name for name in ordered(together) if name != OTHERS][:10]
    yield "<h3>Other answers</h3>\n"
    yield _counts("The most frequent answers", "answer", columns, found, shown)
    others = len(together) - (OTHERS in together) - len(shown)
    known = "" if OTHERS not in together else "at least "
    longer = sum(each.counts.long_answers for each in columns)
    notes = [f"{known}{others:,} other answers are less frequent"] if others > 0 else []
    notes += [f"{longer:,} longer answers are not counted"] if longer else []
    if notes:
        yield f'<p class="note">{"; ".join(notes)}.</p>\n'


def _counts(
    caption: str,
    name: str,
    columns: Sequence[FileFigures],
    found: Sequence[Counter[str]],
    keys: Sequence[str],
) -> str:
    kept = [{key: counts[key] for key in keys if counts[key]} for counts in found]
    rest = [counts.total() - sum(each.values()) for counts, each in zip(found, kept, strict=True)]
    most = max(
        (n / counts.total() for counts, each in zip(found, kept, strict=True) for n in each.values()),
        default=1,
    )
    rows = []
    for key in keys:
        shares = [counts[key] / max(counts.total(), 1) for counts in found]
        cells = [
            f"{counts[key]:,} <small>{percent(share)}</small>{bar(share / most)}"
            for counts, share in zip(found, shares, strict=True)
        ]
        if len(columns) == 2:
            cells.append(points(shares, found))
        rows.append((f"<bdi>{escaped(key[:NAME])}</bdi>", cells))
    if any(rest):
        cells = [f"{count:,}" for count in rest] + ([""] if len(columns) == 2 else [])
        rows.append(("all others", cells))
    head = [name, *(heads(columns) if len(columns) > 1 else ["rows"])]
    return table(caption, head + (["points"] if len(columns) == 2 else []), rows)
