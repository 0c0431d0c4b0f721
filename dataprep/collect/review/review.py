"""Review teachers' answers to multiple-choice questions: outcomes, letters, and agreement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dataprep.collect.review.findings import (
    Agreement,
    Fit,
    Joined,
    Pair,
    Review,
    TeacherReview,
    Unread,
    fit,
    kappa,
)
from dataprep.collect.review.page import write_page
from dataprep.collect.review.replies import Answer, Asked, CurrentReplies, read_replies
from dataprep.core import io as files
from dataprep.core.errors import InputError, UsageError
from dataprep.core.html import check_path
from dataprep.core.records import LETTERS
from dataprep.datasets.source_rows import GoldRow, read_gold
from dataprep.teacher.journal.line import OUTCOMES

SHOWN = 20
"""Number of replies without a letter, and of ids without a reference, that are listed."""


def review(inputs: str | Path | Sequence[str | Path], *, gold: str | Path | None = None) -> Review:
    """Review teachers' answers to multiple-choice questions, in one file or several; see ``review_files``."""
    return review_files([inputs] if isinstance(inputs, str | Path) else inputs, gold=gold)


def review_files(
    inputs: Sequence[str | Path], *, gold: str | Path | None = None, page: str | Path | None = None
) -> Review:
    """Review teachers' answers to multiple-choice questions.

    Args:
        inputs: journals of responses, rows as ``parse_rationale_files`` writes them, or rows
            ``{"Question", "Answer"}``; ``-`` is standard input.
        gold: the reference file; rows are joined by id.
        page: a file for the report as one HTML page, in addition.

    Raises:
        InputError: a row is of another kind, no reply names a letter, or no id has a reference.
        UsageError: there is no input, or ``page`` is not an HTML file.
        FileError: a file cannot be read or written.
    """
    paths = [str(path) for path in inputs]
    if not paths:
        raise UsageError("there is nothing to review: give at least one file")
    if gold is not None and [*paths, str(gold)].count(files.STDIO) > 1:
        raise UsageError("-: standard input can be read only once; give the others as files")
    if page is not None:
        # Before the work: a wrong file name must not cost the reading of a long journal.
        check_path(str(page), "the report is")
    rows = _by_id(str(gold)) if gold is not None else {}
    journal = CurrentReplies()
    for path in paths:
        for reply in read_replies(path, rows):
            journal.add(reply)
    figures = reviewed(journal, rows, list(map(files.printable, paths)), with_gold=gold is not None)
    _check_letters(figures, paths[0])
    if figures.gold is not None and not figures.gold.found:
        ids = ", ".join(map(repr, figures.gold.missing_ids[:3]))
        hint = "is it the reference file of these questions, with the ids that the requests had?"
        raise InputError(
            str(gold), f"none of its {figures.gold.rows} ids is one of the answers' ({ids}, …); {hint}"
        )
    if page is not None:
        write_page(figures, str(page))
    return figures


def _by_id(path: str) -> dict[str, GoldRow]:
    rows: dict[str, GoldRow] = {}
    for row in read_gold(path):
        # The same row twice is harmless; two rows under one id would make the figures depend on their order.
        if row.id is not None and rows.setdefault(row.id, row) != row:
            raise InputError(path, f"the id {row.id!r} has two different rows; expected one row per id")
    if not rows:
        raise InputError(path, "no row has an id; expected {id, question, choices, answer}, joined by id")
    return rows


def _check_letters(review: Review, path: str) -> None:
    # Answers to open questions name no letter; a review of them would be an empty page.
    unread = [reply for teacher in review.teachers for reply in teacher.unread]
    if unread and not any(teacher.read for teacher in review.teachers):
        first = f"the first is {unread[0].reply[:100]!r} ({unread[0].id[:60]})"
        wanted = "expected answers to multiple-choice questions, such as 'b' or 'The answer is (b)'"
        raise InputError(path, f"no reply names a letter; {first}; {wanted}")


def reviewed(
    journal: CurrentReplies, gold: Mapping[str, GoldRow], names: Sequence[str] = (), *, with_gold: bool = True
) -> Review:
    """Return the figures of replies.

    Args:
        journal: the replies.
        gold: the references by id.
        names: the names of the files that were read.
        with_gold: whether there is a reference file.
    """
    answers = journal.current()
    # A dict, not a set: the first ids that lack a reference are shown in the order of the answers.
    ids = dict.fromkeys(identity for asked in answers.values() for identity, _ in asked)
    missing = [identity for identity in ids if identity not in gold]
    all_answers = [answer for asked in answers.values() for answer in asked.values()]
    # Without references nobody says how many choices there were: at least as many as letters were answered.
    seen = max((LETTERS.find(answer.letter) + 1 for answer in all_answers if answer.letter), default=0)
    count = max([seen, *(answer.choices for answer in all_answers)])
    return Review(
        files=list(names),
        questions=len(ids),
        letters=list(LETTERS[:count]),
        gold=Joined(len(gold), len(ids) - len(missing), len(missing), missing[:SHOWN]) if with_gold else None,
        teachers=[
            _teacher(name, journal.lines[name], asked, gold if with_gold else None, LETTERS[:count])
            for name, asked in answers.items()
        ],
        pairs=_pairs(answers),
    )


def _teacher(
    name: str,
    lines: int,
    answers: Mapping[Asked, Answer],
    gold: Mapping[str, GoldRow] | None,
    letters: str,
) -> TeacherReview:
    outcomes = Counter(answer.outcome for answer in answers.values())
    unread = [
        Unread(identity, answer.excerpt or "", answer.reason)
        for (identity, _), answer in answers.items()
        if answer.outcome == "ok" and answer.letter is None
    ]
    read = [answer for answer in answers.values() if answer.letter is not None]
    counts = _by_letter((answer.letter or "" for answer in read), letters)
    # Only questions that were answered by a letter count, so that both sums are the same.
    expected = _uniform((answer.choices or len(letters) for answer in read), letters)
    agreement = None if gold is None else _agreement(answers, gold, letters)
    return TeacherReview(
        name=name,
        lines=lines,
        superseded=lines - len(answers),
        # Few servers leave out why an answer ended, so this one is shown only where it occurs.
        outcomes={name: outcomes[name] for name in OUTCOMES if name != "unknown" or outcomes[name]},
        read=len(read),
        unread=unread[:SHOWN],
        unread_more=max(0, len(unread) - SHOWN),
        answers=counts,
        uniform=fit(counts, expected),
        gold=None if agreement is None else _against_gold(agreement.matrix, letters),
        agreement=agreement,
    )


def _by_letter(answered: Iterable[str], letters: str) -> dict[str, int]:
    counts = Counter(answered)
    return {letter: counts[letter] for letter in letters}


def _uniform(choices: Iterable[int], letters: str) -> dict[str, float]:
    """Return how often each letter is expected if the choices of each question are equally likely."""
    # By size, so that a million questions with four choices are one division.
    sizes = Counter(choices)
    return {
        letter: sum(rows / size for size, rows in sorted(sizes.items()) if place < size)
        for place, letter in enumerate(letters)
    }


def _agreement(answers: Mapping[Asked, Answer], gold: Mapping[str, GoldRow], letters: str) -> Agreement:
    matrix = {letter: dict.fromkeys((*letters, "unread"), 0) for letter in letters}
    asked = 0
    for (identity, _), answer in answers.items():
        # Questions without a reference are in no share: nobody knows which answer is right.
        if identity in gold:
            asked += 1
            if answer.outcome == "ok":
                matrix[LETTERS[gold[identity].place]][answer.letter or "unread"] += 1
    unread = sum(row["unread"] for row in matrix.values())
    replies = sum(sum(row.values()) for row in matrix.values())
    right = sum(matrix[letter][letter] for letter in letters)
    return Agreement(asked, replies, replies - unread, right, matrix)


def _against_gold(matrix: Mapping[str, Mapping[str, int]], letters: str) -> Fit:
    # Only replies with a reference count here, so that both sums are the same.
    counts = {letter: sum(row[letter] for row in matrix.values()) for letter in letters}
    gold = {letter: float(sum(matrix[letter].values()) - matrix[letter]["unread"]) for letter in letters}
    return fit(counts, gold)


def _pairs(answers: Mapping[str, Mapping[Asked, Answer]]) -> list[Pair]:
    names = list(answers)
    pairs = []
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            said: Counter[tuple[str, str]] = Counter()
            for asked, answer in answers[first].items():
                other = answers[second].get(asked)
                if answer.letter and other is not None and other.letter:
                    said[answer.letter, other.letter] += 1
            same = sum(count for (one, other_), count in said.items() if one == other_)
            pairs.append(Pair(first, second, sum(said.values()), same, kappa(said)))
    return pairs
