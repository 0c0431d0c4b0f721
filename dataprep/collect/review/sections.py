"""The sections of a review: the sentences and tables that the terminal and the page both show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from dataprep.answers.baselines import Baselines
from dataprep.collect.review.findings import (
    ENOUGH,
    Agreement,
    Fit,
    Pair,
    Review,
    TeacherReview,
    share,
    shown_outcomes,
)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts as they are in the data; whoever shows them escapes them.

    Attributes:
        kind: the subject of the table.
        head: the names of the columns.
        rows: one cell per column.
        title: its heading; empty if it needs none.
        notes: sentences below the table, without their full stops.
        names: how many columns from the left hold names; the others hold numbers.
        matrix: of a confusion matrix, the number of rows by gold answer, then by answer.
    """

    kind: Literal["overview", "letters", "confusion", "unread", "pairs", "wrong"]
    head: list[str]
    rows: list[list[str]]
    title: str = ""
    notes: list[str] = field(default_factory=list)
    names: int = 1
    matrix: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a review.

    Attributes:
        title: its heading; empty for the first section.
        lines: sentences without their full stops.
        tables: tables in the order in which they are shown.
        teacher: the teacher whom the section is about, if it is about one.
    """

    title: str
    lines: list[str]
    tables: list[Table]
    teacher: TeacherReview | None = None


def sections(review: Review) -> list[Section]:
    """Return the overview, a section per teacher, and how the teachers agree with each other."""
    # The page and the terminal differ in their figures and bars only.
    parts = [Section("", _counted(review), [_overview(review)])]
    parts += [_of_teacher(teacher) for teacher in review.teachers]
    if review.pairs:
        parts.append(Section("Teachers and each other", [], [_pairs(review.pairs)]))
    return parts


def _counted(review: Review) -> list[str]:
    count = sum(teacher.lines for teacher in review.teachers)
    teachers = "1 teacher" if len(review.teachers) == 1 else f"{len(review.teachers)} teachers"
    questions = "1 question" if review.questions == 1 else f"{review.questions:,} questions"
    lines = [f"{questions}, {teachers}, {'1 line' if count == 1 else f'{count:,} lines'}"]
    if (joined := review.gold) is not None:
        line = f"{joined.found:,} of {review.questions:,} ids have a gold row"
        if joined.missing:
            more = ", …" if joined.missing > 3 else ""
            line += f"; {joined.missing:,} without: {', '.join(joined.missing_ids[:3])}{more}"
        lines.append(line)
    return lines


def _overview(review: Review) -> Table:
    shown = shown_outcomes(review.teachers)
    head = ["teacher", "asked", *shown, "letter read", *(["right"] if review.gold else [])]
    rows = []
    for teacher in review.teachers:
        counts = [teacher.outcomes.get(outcome, 0) for outcome in shown]
        row = [teacher.name, *(f"{count:,}" for count in (sum(counts), *counts))]
        row.append(share(teacher.read, teacher.outcomes["ok"]))
        if teacher.agreement is not None:
            row.append(share(teacher.agreement.right, teacher.agreement.replies))
        rows.append(row)
    return Table("overview", head, rows)


def _of_teacher(teacher: TeacherReview) -> Section:
    replies, tables = teacher.outcomes["ok"], []
    lines = [f"{teacher.read:,} of {replies:,} replies name one letter ({share(teacher.read, replies)})"]
    if (counts := teacher.agreement) is not None:
        totals = (
            (counts.read, "letters read"), (counts.replies, "replies"), (counts.asked, "questions asked")
        )  # fmt: skip
        shares = (f"{share(counts.right, total)} of {total:,} {unit}" for total, unit in totals)
        lines.append(f"{counts.right:,} are the gold letter: {', '.join(shares)}")
        if counts.replies:
            lines += baseline_lines(counts.baselines)
    if teacher.superseded:
        lines.append(
            f"{teacher.superseded:,} of {teacher.lines:,} lines gave way to others about the same questions"
        )
    # Without a readable letter the table would only hold zeros, and the test has no counts.
    if teacher.read:
        tables.append(_letters(teacher))
    if counts is not None and counts.replies:
        tables.append(_confusion(counts))
    if teacher.unread:
        rows = [[reply.id, reply.reason, reply.reply] for reply in teacher.unread]
        notes = [f"And {teacher.unread_more:,} more"] if teacher.unread_more else []
        title = "Replies from which no single letter could be read"
        tables.append(Table("unread", ["id", "why", "reply"], rows, title, notes, names=3))
    return Section(teacher.name, lines, tables, teacher)


def baseline_lines(answers: Baselines) -> list[str]:
    """Return what no skill reaches, and sentences about answers that show none."""
    most = f"{answers.majority:.2%} of the gold answers are {answers.shown(answers.most_frequent)}"
    unit = "replies" if answers.letters else "predictions"
    sentences = [answers.collapse(unit), answers.below()]
    lines = [f"Guesses get {answers.chance:.2%} right, and {most}"]
    return lines + [sentence for sentence in sentences if sentence]


def _letters(teacher: TeacherReview) -> Table:
    gold, notes = teacher.gold, [f"Against equal shares: {fit_sentence(teacher.uniform)}"]
    head = ["letter", "answered", "share", "equal shares"]
    if gold is not None:
        head += ["gold", "right where it is gold"]
        notes.append(f"Against the gold answers: {fit_sentence(gold)}")
    by_letter = teacher.agreement.by_letter() if teacher.agreement else {}
    rows = []
    for letter, count in teacher.answers.items():
        row = [letter, f"{count:,}", share(count, teacher.read), _expected(teacher.uniform.expected[letter])]
        if gold is not None:
            replies, right = by_letter[letter]
            row += [_expected(gold.expected[letter]), f"{right:,} of {replies:,} ({share(right, replies)})"]
        rows.append(row)
    return Table("letters", head, rows, notes=notes)


def _confusion(agreement: Agreement) -> Table:
    answers = list(next(iter(agreement.matrix.values())))
    rows = []
    for letter, counts in agreement.matrix.items():
        total = sum(counts.values())
        # A dot is easier to overlook than a zero, which is what most cells of a good teacher hold.
        cells = [f"{count:,}" if count else "·" for count in counts.values()]
        rows.append([letter, *cells, f"{total:,}", share(counts[letter], total)])
    title = "Gold letter and letter answered"
    return Table("confusion", ["gold", *answers, "replies", "right"], rows, title, matrix=agreement.matrix)


def _pairs(pairs: list[Pair]) -> Table:
    head = ["teacher", "and teacher", "both gave a letter", "the same", "share", "kappa"]
    rows = [
        [pair.first, pair.second, f"{pair.both:,}", f"{pair.same:,}", share(pair.same, pair.both),
         "–" if pair.kappa is None else f"{pair.kappa:.3f}"]
        for pair in pairs
    ]  # fmt: skip
    return Table("pairs", head, rows, names=2)


def _expected(count: float) -> str:
    return f"{count:,.0f}" if count == round(count) else f"{count:,.1f}"


def fit_sentence(test: Fit) -> str:
    """Return the result of a chi-square test in words, or the reason why there is none."""
    if test.statistic is None or test.p is None or test.least is None:
        if test.never:
            return f"no test, since {', '.join(test.never)} is answered and never expected"
        return "no test, since fewer than two letters are expected"
    # Smaller probabilities depend on the approximation more than on the data.
    p = "p < 0.0001" if test.p < 0.0001 else f"p = {test.p:.4f}"
    degrees = f"{test.degrees} {'degree' if test.degrees == 1 else 'degrees'} of freedom"
    sentence = f"χ² = {test.statistic:,.2f}, {degrees}, {p}"
    if test.means_little:
        least = f"the least expected count is {test.least:.1f}"
        sentence += f"; {least}, and below {ENOUGH:.0f} the p-value means little"
    return sentence
