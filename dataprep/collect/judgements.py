"""Read judgements about answers: which of them is better, or a rating of each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

from dataprep.core import io as files
from dataprep.core.errors import InputError, RowError, located
from dataprep.core.io.tables.scratch import packed, scratch_database, unpacked
from dataprep.core.records import describe, from_cell, id_text, whole_of

TIE = "tie"
_FORMS = 'expected {"id", "chosen", "rejected"}, or {"id", "teacher", "sample", "rating"} for each answer'


class AnswerName(NamedTuple):
    """The name of an answer to a request."""

    teacher: str
    sample: int = 0


class Judgement(NamedTuple):
    """The judgement about the answers to one request.

    Attributes:
        ratings: the ratings of answers; empty if the better one is named.
        chosen: the better answer; ``None`` in a tie.
        rejected: the worse answer; ``None`` for any other one.
    """

    ratings: Mapping[AnswerName, float]
    chosen: AnswerName | None = None
    rejected: AnswerName | None = None


class Judgements:
    """The judgements in a file, in bounded memory.

    Args:
        path: the file, in any format that dataprep reads.
        teachers: the teachers of the journals; if there is only one, judgements need not name it.

    Raises:
        InputError: a row is no judgement, or an answer or a request is judged twice.
    """

    def __init__(self, path: str, teachers: Sequence[str]) -> None:
        self._path, self._teachers = path, teachers
        self._database = scratch_database(
            "ids (id BLOB PRIMARY KEY, named TEXT, used INT) WITHOUT ROWID",
            "ratings (id BLOB, teacher BLOB, sample INT, rating REAL, PRIMARY KEY (id, teacher, sample)) "
            "WITHOUT ROWID",
        )
        where = None
        for where, row in files.read_rows(path):
            with located(where):
                self._add(row)
        if where is None:
            raise InputError(path, f"the file is empty; {_FORMS}")

    def _add(self, row: Mapping[str, Any]) -> None:
        identity = id_text(row)
        # A table has a column for each field of both forms, and nulls in it.
        names = "chosen" in row and row.get("rating") is None
        if identity is None or not (names or row.get("rating") is not None):
            raise RowError("not a judgement", f"the row's fields are {', '.join(row) or 'none'}; {_FORMS}")
        named = None
        if names:
            named = json.dumps([self._name(row["chosen"]), self._name(row.get("rejected"))])
        values = (packed(identity), named)
        added = self._database.execute("INSERT OR IGNORE INTO ids VALUES (?, ?, 0)", values).rowcount
        if not added and (named or self._named(values[0]) is not None):
            raise RowError(f"a second judgement about {identity!r}", "remove one of them")
        if named:
            return
        answer = self._name({name: row.get(name) for name in ("teacher", "sample")})
        assert answer is not None
        rated = (values[0], packed(answer.teacher), answer.sample, _rating(row["rating"]))
        if not self._database.execute("INSERT OR IGNORE INTO ratings VALUES (?, ?, ?, ?)", rated).rowcount:
            raise RowError(f"a second rating of an answer to {identity!r}", "remove one of them")

    def _name(self, value: Any) -> AnswerName | None:
        """Return the answer that a value names; ``None`` if it names none."""
        value = from_cell(value)
        if value is None or (value == TIE and TIE not in self._teachers):
            return None
        given = value if isinstance(value, Mapping) else {}
        teacher = value if type(value) is str else given.get("teacher")
        number = given.get("sample") if given else None if type(value) is str else value
        sample = whole_of(0 if number is None else number)
        if teacher is None and len(self._teachers) == 1:
            teacher = self._teachers[0]
        if type(teacher) is not str or sample is None or sample < 0:
            known = f"the teachers are {', '.join(self._teachers)}"
            raise RowError("no answer is named", f"found {describe(value)}; expected a teacher; {known}")
        return AnswerName(teacher, sample)

    def _named(self, key: bytes) -> str | None:
        found = self._database.execute("SELECT named FROM ids WHERE id = ?", (key,)).fetchone()
        return None if found is None else found[0]

    def find(self, identity: str) -> Judgement | None:
        """Return the judgement about the answers to a request, if there is one."""
        key = packed(identity)
        if not self._database.execute("UPDATE ids SET used = 1 WHERE id = ?", (key,)).rowcount:
            return None
        if (named := self._named(key)) is not None:
            chosen, rejected = (None if each is None else AnswerName(*each) for each in json.loads(named))
            return Judgement({}, chosen, rejected)
        query = "SELECT teacher, sample, rating FROM ratings WHERE id = ?"
        rows = self._database.execute(query, (key,))
        return Judgement({AnswerName(unpacked(teacher), sample): rating for teacher, sample, rating in rows})

    def unmatched(self) -> int:
        """Return how many requests were judged and never asked for; raise ``InputError`` if all were."""
        query = "SELECT count(*), sum(used), min(id) FROM ids"
        count, used, first = self._database.execute(query).fetchone()
        if not used:
            found = f"none of the {count:,} ids is one of the Examples': found {unpacked(first)!r}"
            raise InputError(self._path, f"{found}; judgements have the ids of the requests")
        return int(count - used)


def _rating(value: Any) -> float:
    try:
        rating = float(value)
    except (TypeError, ValueError):
        rating = float("nan")
    if not isfinite(rating):
        raise RowError("malformed rating", f"expected a number, found {describe(value)}")
    return rating
