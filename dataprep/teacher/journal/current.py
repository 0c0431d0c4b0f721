"""Decide which line of a journal counts: the one rule of all commands that read a journal.

A journal only grows, so one request can have several lines: answers to earlier prompts, several samples,
and further attempts. Three sentences decide which of them counts:

1. The last line of a teacher and id has the current key. Lines with another key do not count.
2. Of the lines of one sample with that key, the best outcome counts: ``ok`` before ``unknown`` before
   ``length`` before ``refused`` before ``empty`` before ``failed``.
3. Among equal outcomes, the later line counts.

============================  ==========  ================================================
lines, in order               counts      why
============================  ==========  ================================================
ok, failed                    ok          a later failure does not discard a paid answer
failed, length, ok            ok          a better outcome replaces a worse one
length, unknown               unknown     it may be whole, and is the longer answer
refused, empty                refused     a refusal is an answer, an empty text is none
empty, refused                refused     the order in which they were written is irrelevant
ok, ok                        second ok   it was asked again on purpose
ok (key k), failed (key l)    failed      the prompt was changed, and the new one failed
ok (k), ok (l), failed (k)    first ok    the prompt was changed back
ok (sample 0), empty (1)      both        each sample counts by itself
length (512), failed (1024)   length      ``generate`` asks again: no answer used 1,024 tokens
length (512), refused (1024)  length      ``generate`` does not ask again: it was answered
============================  ==========  ================================================

``generate`` uses sentences 2 and 3 for the keys of its own requests, ``collect``, ``review`` and ``evaluate``
use all three. Nothing else in the project compares outcomes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dataprep.core.errors import RowError
from dataprep.core.io.tables.scratch import packed, scratch_database, unpacked
from dataprep.teacher.journal.line import OUTCOMES, Outcome, outcome_of, sample_of

_RANKS = {outcome: rank for rank, outcome in enumerate(OUTCOMES)}
_MOST = (1 << 63) - 1


def replaces(later: Outcome, earlier: Outcome) -> bool:
    """Return whether a later line of the same sample and key counts in place of an earlier one."""
    return _RANKS[later] <= _RANKS[earlier]


class CurrentLines:
    """Keep which lines count while a journal is read, each as a number of the caller's choice.

    The number is a place: an offset, or an index into the caller's own values. Memory is bounded.

    Args:
        database: one of the caller's, to join its tables with ``lines``. Defaults to a new one.

    Attributes:
        database: the lines that count are the rows of its table ``lines``, once ``settle`` was called.
        teachers: the teachers, in order of appearance; their indices are the column ``teacher``.
        answered: the teachers that have a line other than a failure.
    """

    def __init__(self, database: sqlite3.Connection | None = None) -> None:
        self.database = database or scratch_database()
        # `first` and `last` are numbers of lines, counted as they are added.
        self.database.execute(
            "CREATE TABLE lines (teacher INT, id BLOB, sample INT, key TEXT, rank INT, place INT, first INT, "
            "last INT, PRIMARY KEY (teacher, id, sample, key)) WITHOUT ROWID"
        )
        self.teachers: list[str] = []
        self.answered: set[str] = set()
        self._numbers: dict[str, int] = {}
        self._added = 0
        self._settled = True

    def add(self, teacher: str, identity: str, key: str, sample: int, outcome: Outcome, place: int) -> None:
        """Take the next line, in the order in which the lines were written."""
        if (number := self._numbers.get(teacher)) is None:
            number = self._numbers[teacher] = len(self.teachers)
            self.teachers.append(teacher)
        if sample > _MOST:
            raise RowError("not a response", f"expected a number below 2^63 in 'sample', found {sample}")
        self._added += 1
        if outcome != "failed":
            self.answered.add(teacher)
        self._settled = False
        # Sentences 2 and 3 of the rule.
        self.database.execute(
            "INSERT INTO lines VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7) ON CONFLICT DO UPDATE SET "
            "place = iif(excluded.rank <= rank, excluded.place, place), rank = min(rank, excluded.rank), "
            "last = excluded.last",
            (number, packed(identity), sample, key, _RANKS[outcome], place, self._added),
        )

    def settle(self) -> None:
        """Leave only the lines that count, after the last one was added."""
        if not self._settled:
            # Sentence 1 of the rule.
            self.database.execute(
                "DELETE FROM lines WHERE key <> (SELECT key FROM lines AS others WHERE others.teacher = "
                "lines.teacher AND others.id = lines.id ORDER BY last DESC LIMIT 1)"
            )
            self._settled = True

    def forget(self, teacher: str) -> None:
        """Remove all lines of a teacher."""
        self.database.execute("DELETE FROM lines WHERE teacher = ?", (self._numbers[teacher],))

    def find(self, teacher: str, identity: str, sample: int = 0) -> int | None:
        """Return the place of the line that counts, if there is one."""
        self.settle()
        query = "SELECT place FROM lines WHERE teacher = ? AND id = ? AND sample = ?"
        found = self.database.execute(
            query, (self._numbers.get(teacher), packed(identity), sample)
        ).fetchone()
        return None if found is None else found[0]

    def samples(self, teacher: str, identity: str) -> list[int]:
        """Return the numbers of a request's samples that have a line, in ascending order."""
        self.settle()
        query = "SELECT sample FROM lines WHERE teacher = ? AND id = ? ORDER BY sample"
        return [
            row[0] for row in self.database.execute(query, (self._numbers.get(teacher), packed(identity)))
        ]

    def __iter__(self) -> Iterator[tuple[str, str, int, int]]:
        """Yield teacher, id, sample and place of each line that counts, in order of appearance."""
        self.settle()
        query = "SELECT teacher, id, sample, place FROM lines ORDER BY teacher, first"
        for number, identity, sample, place in self.database.execute(query):
            yield self.teachers[number], unpacked(identity), sample, place

    def count(self, teacher: str, sample: int = 0) -> int:
        """Return how many ids of a teacher have a line that counts for a sample."""
        self.settle()
        query = "SELECT count(*) FROM lines WHERE teacher = ? AND sample = ?"
        return int(self.database.execute(query, (self._numbers.get(teacher), sample)).fetchone()[0])

    def __len__(self) -> int:
        self.settle()
        return int(self.database.execute("SELECT count(*) FROM lines").fetchone()[0])


def current_lines(lines: Iterable[tuple[int, Mapping[str, Any]]]) -> CurrentLines:
    """Return the lines that count.

    ``lines`` are rows that ``check_response`` accepts, in the order in which they were written, each with its
    place.
    """
    current = CurrentLines()
    for place, row in lines:
        current.add(row["teacher"], row["id"], row["key"], sample_of(row), outcome_of(row), place)
    return current
