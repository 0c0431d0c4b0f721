"""Review teachers' answers to multiple-choice questions: outcomes, letters, and agreement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain, combinations, islice
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
from dataprep.collect.review.replies import Answer, CurrentReplies, References, read_replies
from dataprep.collect.review.scored import ScoredReview, is_scored, review_scored
from dataprep.collect.review.scored_page import write_scored_page
from dataprep.core import io as files
from dataprep.core.errors import InputError, UsageError
from dataprep.core.html import check_path
from dataprep.core.records import LETTERS
from dataprep.datasets.source_rows import read_gold
from dataprep.teacher.journal.line import OUTCOMES

SHOWN = 20
"""Number of replies without a letter, and of ids without a reference, that are listed."""


def review(
    inputs: str | Path | Sequence[str | Path], *, gold: str | Path | None = None
) -> Review | ScoredReview:
    """Review teachers' answers to multiple-choice questions, in one file or several; see ``review_files``."""
    return review_files([inputs] if isinstance(inputs, str | Path) else inputs, gold=gold)


def review_files(
    inputs: Sequence[str | Path], *, gold: str | Path | None = None, page: str | Path | None = None
) -> Review | ScoredReview:
    """Review teachers' answers to multiple-choice questions, or the answers that were evaluated.

    Args:
        inputs: journals of responses, rows as ``parse_rationale_files`` writes them, or rows
            ``{"Question", "Answer"}``; or rows that ``evaluate_file`` wrote; ``-`` is standard input.
        gold: the reference file; rows are joined by id. Evaluated rows have their gold answers.
        page: a file for the report as one HTML page, in addition.

    Returns:
        A ``ScoredReview`` if the first row was written by ``evaluate_file``, else a ``Review``.

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
    first = files.read_rows(paths[0], growing=True)
    begun = [*islice(first, 1)]
    # The first file was begun; the others are opened one after the other.
    rows = [chain(begun, first), *(files.read_rows(path, growing=True) for path in paths[1:])]
    if begun and is_scored(begun[0][1]):
        if gold is not None:
            raise UsageError(
                f"--gold {gold}: rows that `evaluate` wrote have their gold answers; leave it out"
            )
        scored = review_scored([*zip(map(files.printable, paths), rows, strict=True)])
        if page is not None:
            write_scored_page(scored, str(page))
        return scored
    journal = CurrentReplies(None if gold is None else _references(str(gold)))
    for path, read in zip(paths, rows, strict=True):
        for reply in read_replies(path, read, journal.references):
            journal.add(reply)
    figures = reviewed(journal, list(map(files.printable, paths)), with_gold=gold is not None)
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


def _references(path: str) -> References:
    references = References(read_gold(path), path)
    if not len(references):
        raise InputError(path, "no row has an id; expected {id, question, choices, answer}, joined by id")
    return references


def _check_letters(review: Review, path: str) -> None:
    # Answers to open questions name no letter; a review of them would be an empty page.
    unread = [reply for teacher in review.teachers for reply in teacher.unread]
    if unread and not any(teacher.read for teacher in review.teachers):
        first = f"the first is {unread[0].reply[:100]!r} ({unread[0].id[:60]})"
        wanted = "expected answers to multiple-choice questions, such as 'b' or 'The answer is (b)'"
        raise InputError(path, f"no reply names a letter; {first}; {wanted}")


def reviewed(journal: CurrentReplies, names: Sequence[str] = (), *, with_gold: bool = True) -> Review:
    """Return the figures of replies.

    Args:
        journal: the replies.
        names: the names of the files that were read.
        with_gold: whether there is a reference file.
    """
    counts = {teacher: journal.counts(teacher) for teacher in journal.teachers}
    all_answers = {answer for said in counts.values() for answer, _ in said}
    # Without references nobody says how many choices there were: at least as many as letters were answered.
    seen = max((LETTERS.find(answer.letter) + 1 for answer in all_answers if answer.letter), default=0)
    count = max([seen, *(answer.choices for answer in all_answers)])
    questions, (missing, first_missing) = journal.questions(), journal.without_reference(SHOWN)
    joined = Joined(len(journal.references), questions - missing, missing, first_missing)
    return Review(
        files=list(names),
        questions=questions,
        letters=list(LETTERS[:count]),
        gold=joined if with_gold else None,
        teachers=[
            _teacher(name, journal, said, LETTERS[:count], with_gold=with_gold)
            for name, said in counts.items()
        ],
        pairs=_pairs(journal),
    )


# Of answers, each with the place of the right choice, if it is known.
Counts = Counter[tuple[Answer, int | None]]


def _teacher(
    name: str, journal: CurrentReplies, said: Counts, letters: str, *, with_gold: bool
) -> TeacherReview:
    outcomes, sizes, read = Counter[str](), Counter[int](), Counter[str]()
    unread = 0
    for (answer, _), count in said.items():
        outcomes[answer.outcome] += count
        if answer.letter is not None:
            read[answer.letter] += count
            # Only questions that were answered by a letter count, so that both sums are the same.
            sizes[answer.choices or len(letters)] += count
        elif answer.outcome == "ok":
            unread += count
    counts = {letter: read[letter] for letter in letters}
    agreement = _agreement(said, letters) if with_gold else None
    shown = [Unread(*found) for found in journal.unread(name, SHOWN)]
    return TeacherReview(
        name=name,
        lines=journal.lines[name],
        superseded=journal.lines[name] - said.total(),
        # Few servers leave out why an answer ended, so this one is shown only where it occurs.
        outcomes={name: outcomes[name] for name in OUTCOMES if name != "unknown" or outcomes[name]},
        read=read.total(),
        unread=shown,
        unread_more=unread - len(shown),
        answers=counts,
        uniform=fit(counts, _uniform(sizes, letters)),
        gold=None if agreement is None else _against_gold(agreement.matrix, letters),
        agreement=agreement,
    )


def _uniform(sizes: Mapping[int, int], letters: str) -> dict[str, float]:
    """Return how often each letter is expected if the choices of each question are equally likely."""
    return {
        letter: sum(rows / size for size, rows in sorted(sizes.items()) if place < size)
        for place, letter in enumerate(letters)
    }


def _agreement(said: Counts, letters: str) -> Agreement:
    matrix = {letter: dict.fromkeys((*letters, "unread"), 0) for letter in letters}
    asked, sizes = 0, Counter[int]()
    for (answer, right), count in said.items():
        # Questions without a reference are in no share: nobody knows which answer is right.
        if right is not None:
            asked += count
            if answer.outcome == "ok":
                matrix[LETTERS[right]][answer.letter or "unread"] += count
                sizes[answer.choices or len(letters)] += count
    unread = sum(row["unread"] for row in matrix.values())
    replies = sum(sum(row.values()) for row in matrix.values())
    agreed = sum(matrix[letter][letter] for letter in letters)
    return Agreement(asked, replies, replies - unread, agreed, matrix, dict(sizes))


def _against_gold(matrix: Mapping[str, Mapping[str, int]], letters: str) -> Fit:
    # Only replies with a reference count here, so that both sums are the same.
    counts = {letter: sum(row[letter] for row in matrix.values()) for letter in letters}
    gold = {letter: float(sum(matrix[letter].values()) - matrix[letter]["unread"]) for letter in letters}
    return fit(counts, gold)


def _pairs(journal: CurrentReplies) -> list[Pair]:
    pairs = []
    for first, second in combinations(journal.teachers, 2):
        said: Counter[tuple[str, str]] = Counter()
        for (one, other), count in journal.pairs(first, second).items():
            if one.letter and other.letter:
                said[one.letter, other.letter] += count
        same = sum(count for (one, other), count in said.items() if one == other)
        pairs.append(Pair(first, second, said.total(), same, kappa(said)))
    return pairs
