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

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from dataprep.teacher.journal.line import OUTCOMES, Outcome, outcome_of, sample_of

Value = TypeVar("Value")

_RANKS = {outcome: rank for rank, outcome in enumerate(OUTCOMES)}


def replaces(later: Outcome, earlier: Outcome) -> bool:
    """Return whether a later line of the same sample and key counts in place of an earlier one."""
    return _RANKS[later] <= _RANKS[earlier]


class CurrentLines(Generic[Value]):
    """Keep the lines that count while a journal is read, each as a value of the caller's choice."""

    # Memory grows with the requests, not with the texts: about 600 bytes for each id, key and sample while
    # the lines are read, and 200 afterwards.
    def __init__(self) -> None:
        self._keys: dict[str, dict[str, str]] = {}
        self._best: dict[str, dict[tuple[str, str, int], tuple[Outcome, Value]]] = {}

    def add(self, teacher: str, identity: str, key: str, sample: int, outcome: Outcome, value: Value) -> None:
        """Take the next line, in the order in which the lines were written."""
        self._keys.setdefault(teacher, {})[identity] = key
        best, entry = self._best.setdefault(teacher, {}), (identity, key, sample)
        earlier = best.get(entry)
        if earlier is None or replaces(outcome, earlier[0]):
            best[entry] = outcome, value

    def items(self) -> Iterator[tuple[str, str, int, Value]]:
        """Yield teacher, id, sample and value of each line that counts, in order of appearance."""
        for teacher, best in self._best.items():
            keys = self._keys[teacher]
            for (identity, key, sample), (_, value) in best.items():
                if key == keys[identity]:
                    yield teacher, identity, sample, value


def current_lines(lines: Iterable[tuple[Value, Mapping[str, Any]]]) -> dict[str, dict[int, dict[str, Value]]]:
    """Return the lines that count, by teacher, then sample in ascending order, then id.

    ``lines`` are rows that ``check_response`` accepts, in the order in which they were written, each with a
    value that identifies it: its number, its offset, or the row itself.
    """
    # Offsets or numbers are kept, not rows: a journal may be larger than the memory.
    current = CurrentLines[Value]()
    for value, row in lines:
        current.add(row["teacher"], row["id"], row["key"], sample_of(row), outcome_of(row), value)
    values: dict[str, dict[int, dict[str, Value]]] = {}
    for teacher, identity, sample, value in current.items():
        values.setdefault(teacher, {}).setdefault(sample, {})[identity] = value
    return {teacher: dict(sorted(samples.items())) for teacher, samples in values.items()}
