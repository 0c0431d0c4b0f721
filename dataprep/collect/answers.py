"""Find teachers' current answers in journals by teacher, id and sample."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence

from dataprep.collect.judging import MISSING, Judged, Labels, judge
from dataprep.core import io as files
from dataprep.core.errors import InputError, UsageError
from dataprep.core.records import Example
from dataprep.teacher.journal.current import current_lines
from dataprep.teacher.journal.line import JournalReader


class Answers:
    """The current lines of journals; ``teacher.journal.current`` has the rule.

    Only the places of the lines are kept in memory.

    Args:
        paths: the journals, the earlier ones first.
        names: new names for teachers, by their names in the journals.
        progress: called with the bytes that were read.

    Attributes:
        journals: the lines of the journals.
        teachers: the names of the teachers, in the order of their first lines.

    Raises:
        UsageError: a path is not JSON Lines, or a name is given to no teacher or to two.
        InputError: a line is not a response, or there is none.
        FileError: a journal cannot be read.
    """

    def __init__(
        self,
        paths: Sequence[str],
        names: Mapping[str, str] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        for path in paths:
            # Lines are found again by their byte offset, which other formats do not have.
            if files.format_of(path).kind != "jsonl":
                raise UsageError(f"{path}: a journal of responses is JSON Lines; expected a .jsonl file")
        self.journals = JournalReader([(path, files.open_whole(path)) for path in paths])
        current = current_lines(self.journals.lines(progress))
        if not current:
            raise InputError(self.journals.torn[0], "the only line broke off; expected responses")
        self._current = _renamed(current, names or {})
        self.teachers = list(self._current)

    def judged(self, example: Example, labels: Labels, teacher: str, sample: int) -> Judged:
        """Return a teacher's answer to an Example: from the journals, or else from the Example's row.

        Args:
            example: the Example.
            labels: the labels in its row.
            teacher: the teacher.
            sample: which of several answers, from 0.

        Raises:
            RowError: the Example has more choices than there are letters.
        """
        # A journal is newer than the rows that were made from an earlier one.
        place = self._current.get(teacher, {}).get(sample, {}).get(example.identify())
        if place is not None:
            return judge(example, self.journals.row(place), place)
        return labels.judged(example, teacher) or MISSING

    def samples(self, example: Example, teacher: str) -> list[int]:
        """Return the numbers of a teacher's samples for an Example, in ascending order."""
        name = example.identify()
        return [number for number, places in self._current.get(teacher, {}).items() if name in places]

    def ids(self) -> Iterator[str]:
        """Yield the id of each answer."""
        for samples in self._current.values():
            for places in samples.values():
                yield from places

    def count_outside(self, known: Container[str]) -> int:
        """Return the number of answers whose id is not known."""
        return sum(name not in known for name in self.ids())


Current = dict[str, dict[int, dict[str, int]]]


def _renamed(current: Current, names: Mapping[str, str]) -> Current:
    found = ", ".join(current)
    for name in names:
        if name not in current:
            raise UsageError(f"no teacher is called {name!r}: the journals' teachers are {found}")
    # Two teachers under one name would silently replace each other's answers.
    renamed = {names.get(teacher, teacher): samples for teacher, samples in current.items()}
    if len(renamed) < len(current):
        raise UsageError(f"two teachers would have one name: the journals' teachers are {found}")
    return renamed
