"""The figures of a review in words and numbers, alike on the terminal and on the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataprep.report.fit import ENOUGH, Fit

if TYPE_CHECKING:
    from dataprep.report.findings import Pair, Review, TeacherReview


def share(part: int, total: int) -> str:
    """A share in percent; a dash where there is nothing to have a share of."""
    return f"{part / total:.1%}" if total else "–"


def expected(count: float) -> str:
    """An expected count, with a decimal where it is not whole."""
    return f"{count:,.0f}" if count == round(count) else f"{count:,.1f}"


def fit_sentence(test: Fit) -> str:
    """What the chi-square test says, or why there is none, and whether it can be trusted."""
    if test.statistic is None or test.p is None or test.least is None:
        if test.never:
            return f"no test, since {', '.join(test.never)} is answered and never expected"
        return "no test, since fewer than two letters are expected"
    p = "p < 0.0001" if test.p < 0.0001 else f"p = {test.p:.4f}"
    freedom = "degree" if test.degrees == 1 else "degrees"
    said = f"χ² = {test.statistic:,.2f}, {test.degrees} {freedom} of freedom, {p}"
    if test.means_little:
        said += (
            f"; the least expected count is {test.least:.1f}, and below {ENOUGH:.0f} the p-value means little"
        )
    return said


def questions_line(found: Review) -> str:
    """How much was reviewed."""
    teachers = "1 teacher" if len(found.teachers) == 1 else f"{len(found.teachers)} teachers"
    lines = sum(each.lines for each in found.teachers)
    questions = "1 question" if found.questions == 1 else f"{found.questions:,} questions"
    replies = "1 line" if lines == 1 else f"{lines:,} lines"
    return f"{questions}, {teachers}, {replies}"


def gold_line(found: Review) -> str:
    """How the questions met the gold file; empty without one."""
    if found.gold is None:
        return ""
    said = f"{found.gold.found:,} of {found.questions:,} ids have a gold row"
    if not found.gold.missing:
        return said
    shown = ", ".join(found.gold.missing_ids[:3])
    return f"{said}; {found.gold.missing:,} without: {shown}{', …' if found.gold.missing > 3 else ''}"


def read_line(each: TeacherReview) -> str:
    """From how many replies a letter could be read."""
    replies = each.outcomes["ok"]
    return f"{each.read:,} of {replies:,} replies name one letter ({share(each.read, replies)})"


def agreement_line(each: TeacherReview) -> str:
    """How many letters are the gold ones, of each of the three totals; empty without gold rows."""
    right = each.agreement
    if right is None:
        return ""
    totals = ((right.read, "letters read"), (right.replies, "replies"), (right.asked, "questions asked"))
    parts = (f"{share(right.right, total)} of {total:,} {what}" for total, what in totals)
    return f"{right.right:,} are the gold letter: {', '.join(parts)}"


def kappa_of(pair: Pair) -> str:
    """Cohen's kappa, or a dash where it is not defined."""
    return "–" if pair.kappa is None else f"{pair.kappa:.3f}"
