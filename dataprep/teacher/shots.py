"""Collect the worked examples ("shots") of requests, and draw those of a row."""

from __future__ import annotations

import os
import pickle
import random
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.errors import RowDropped, UsageError
from dataprep.core.io.tables.scratch import packed, scratch_database
from dataprep.core.records import Example
from dataprep.datasets.source_rows import KEPT

NO_RATIONALE = "no rationale or solution"
SHOTS_READ = 1 << 13  # worked examples that are kept in memory once they were drawn

_SHOTS = "shots (id BLOB, question BLOB, rationale BLOB, asks BLOB, shot BLOB)"
_POOL = "pool (number INTEGER PRIMARY KEY, id BLOB, asks BLOB, shot BLOB)"

# Makes an Example of a row; picklable.
Reader = Callable[[Mapping[str, Any]], Example]
# A worked example as bytes: its id, question and rationale, a digest of what it asks, and the whole of it.
_Held = tuple[bytes, bytes, bytes, bytes, bytes]
# One in the pool: its number, its id, the digest, and the whole of it.
_Numbered = tuple[int, bytes, bytes, bytes]


@dataclass(frozen=True)
class Shot:
    """A worked example: its id, the Example, and the rationale shown with it."""

    id: str
    example: Example
    rationale: str


def shot_of(row: Mapping[str, Any], example: Example) -> Shot | None:
    """Return the worked example in a row: its first kept rationale, else its solution, else ``None``."""
    # Without an answer the rationale may lead anywhere.
    if example.answer is None:
        return None
    statuses = row.get("status")
    statuses = statuses if isinstance(statuses, Mapping) else {}
    for teacher, rationale in (example.rationales or {}).items():
        # A rationale without a status counts as one.
        if rationale.strip() and statuses.get(teacher, "ok") in KEPT:
            return Shot(example.identify(), example, rationale.strip())
    return None if example.solution is None else Shot(example.identify(), example, example.solution)


def _held(shot: Shot) -> _Held:
    texts = [packed(text) for text in (shot.id, shot.example.question, shot.rationale)]
    return texts[0], texts[1], texts[2], _asks(shot.example), pickle.dumps(shot)


class ReadShots:
    """Read the worked examples of a block: a picklable operator, whose payload is a list of them, as bytes.

    Rows that have none are dropped.

    Args:
        read: makes an Example of a row.
    """

    def __init__(self, read: Reader) -> None:
        self._read = read
        self._shots: list[_Held] = []

    def __call__(self, block: files.Block) -> engine.Outcome:
        """Return an outcome without output."""
        outcome = engine.per_row(self._collect)(block)
        outcome.put(b"")
        outcome.payload, self._shots = self._shots, []
        return outcome

    def _collect(self, row: Mapping[str, Any]) -> bytes:
        shot = shot_of(row, self._read(row))
        if shot is None:
            raise RowDropped(NO_RATIONALE)
        self._shots.append(_held(shot))
        return b""


class ShotPool:
    """Worked examples to draw from, ``count`` per request, or ``fewer`` if there are not as many.

    ``account`` describes them in an error. They are in a database, so memory is bounded, until the pool is
    pickled or ``shared``: each process then makes a database of its own.
    """

    def __init__(
        self, shots: Iterable[Shot], count: int, seed: int, account: str = "", *, fewer: bool = False
    ) -> None:
        self.count, self.seed, self.fewer = count, seed, fewer
        self._added = 0
        self._size: int | None = None  # once they are numbered
        self._shared: list[_Numbered] | None = None
        self._read = lru_cache(SHOTS_READ)(self._shot)
        self._process = os.getpid()
        self._database = scratch_database(_SHOTS, _POOL)
        for shot in shots:
            self.add(_held(shot))
        self.account = account or f"the pool has {self._added:,} worked examples"

    def add(self, shot: _Held) -> None:
        """Add a worked example; all must be added before the first draw."""
        self._added += 1
        self._database.execute("INSERT INTO shots VALUES (?, ?, ?, ?, ?)", shot)

    def share(self) -> None:
        """Prepare the pool for use by other processes, which cannot use the database of this one."""
        if self._shared is None:
            query = "SELECT number, id, asks, shot FROM pool ORDER BY number"
            self._shared = self._here().execute(query).fetchall()

    def __reduce__(self) -> tuple[Any, ...]:
        self.share()
        return _shared_pool, (self.count, self.seed, self.account, self.fewer, self._shared)

    def _here(self) -> sqlite3.Connection:
        """Return this process's database, in which the worked examples are numbered."""
        if self._process != os.getpid():  # it is a copy that came by a fork
            assert self._shared is not None, "a pool must be shared before other processes use it"
            self._take(self._shared)
        if self._size is None:
            # Numbered in the order of their ids, so that the draw does not depend on the order of the rows.
            # Of several with one id the last one in the order of the others is taken.
            self._database.execute(
                "INSERT INTO pool SELECT row_number() OVER (ORDER BY id) - 1, id, asks, shot FROM (SELECT *, "
                "row_number() OVER (PARTITION BY id ORDER BY question DESC, rationale DESC, rowid DESC) AS "
                "place FROM shots) WHERE place = 1"
            )
            self._database.execute("DROP TABLE shots")
            _index(self._database)
            self._size = int(self._database.execute("SELECT count(*) FROM pool").fetchone()[0])
        return self._database

    def _take(self, shots: list[_Numbered]) -> None:
        """Take the numbered worked examples of another process."""
        # To close the database that came by a fork would write into the file of the other process.
        self._inherited = self._database
        self._process, self._size, self._shared = os.getpid(), len(shots), shots
        self._database = scratch_database(_POOL)
        self._database.executemany("INSERT INTO pool VALUES (?, ?, ?, ?)", shots)
        _index(self._database)

    def for_row(self, example: Example) -> list[Shot]:
        """Return the row's shots: distinct, and never the row itself or one that asks the same."""
        if not self.count:
            return []
        row_id, database = example.identify(), self._here()
        size = self._size or 0
        query = "SELECT number FROM pool WHERE asks = ? UNION SELECT number FROM pool WHERE id = ?"
        same = {number for (number,) in database.execute(query, (_asks(example), packed(row_id)))}
        # Shots that ask the same are left out after the draw, so as many more are drawn.
        wanted = min(self.count + max(1, len(same)), size)
        # A generator per row: its shots depend neither on the order of the rows nor on other rows.
        drawn = random.Random(f"{self.seed}:{row_id}").sample(range(size), wanted)
        others = [number for number in drawn if number not in same][: self.count]
        if len(others) < self.count and not self.fewer:
            raise UsageError(
                f"--shots {self.count}: found {len(others)} worked examples for {row_id!r}, which cannot be "
                f"its own; {self.account}; give more with --pool, or ask for fewer shots"
            )
        return [self._read(number) for number in others]

    def _shot(self, number: int) -> Shot:
        query = "SELECT shot FROM pool WHERE number = ?"
        held = self._here().execute(query, (number,)).fetchone()[0]
        shot: Shot = pickle.loads(held)  # noqa: S301 - our own bytes
        return shot


def _index(database: sqlite3.Connection) -> None:
    database.execute("CREATE INDEX ids ON pool (id)")
    database.execute("CREATE INDEX contents ON pool (asks)")


def _shared_pool(count: int, seed: int, account: str, fewer: bool, shots: list[_Numbered]) -> ShotPool:
    pool = ShotPool((), count, seed, account, fewer=fewer)
    pool._take(shots)
    return pool


def _asks(example: Example) -> bytes:
    """Return a digest of what an Example asks."""
    return blake2b(packed("\0".join(_content(example))), digest_size=16).digest()


def _content(example: Example) -> tuple[str, ...]:
    # Rows have other ids in other files of their dataset, so they are also compared by what they ask: without
    # regard to white space and to the order of choices.
    question, *choices = (" ".join(text.split()) for text in (example.question, *example.choices))
    return question, *sorted(choices)


def read_pool(
    blocks: Iterable[files.Block],
    path: str,
    read: Reader,
    count: int,
    seed: int,
    warn: Callable[[str], None] | None = None,
    *,
    fewer: bool = False,
    own: bool = False,
) -> ShotPool:
    """Return the worked examples among rows, with an account of the rows for messages.

    ``fewer`` takes as many as there are; ``own`` says that requests are made of the same rows.
    """
    worked = ShotPool((), count, seed, fewer=fewer)
    rows, usable, bad, first = 0, 0, 0, ""
    for block, outcome in engine.run_operator(ReadShots(read), blocks):
        rows += outcome.rows_in
        usable += outcome.rows_out
        for shot in outcome.payload or ():
            worked.add(shot)
        # Bad rows are only counted. If requests are made of the same rows, they are reported there.
        bad += len(outcome.failures)
        if outcome.failures and not first:
            failure = outcome.failures[0]
            first = f" (the first is {block.unit} {failure.line}: {failure.message})"
    engine.refuse_empty({path: rows})
    name = "standard input" if path == files.STDIO else path
    account = f"the pool, {name}, has {rows:,} rows: {usable:,} with an answer and a rationale or solution"
    account += f", {rows - usable - bad:,} without"
    if bad:
        account += f", {bad:,} that are no Examples{first}"
    # A row is never its own worked example, so one more is needed than a request shows.
    few = usable <= count
    if warn is not None and few and fewer:
        shown = "no worked examples" if not usable else f"at most {usable} of {count} worked examples"
        warn(f"the requests have {shown}: {account}; give some with --pool, or say --shots {usable}")
    # With too few it is part of an error.
    elif warn is not None and bad and not few and not own:
        warn(account)
    worked.account = account
    return worked
