"""Run tasks in this process or on several, each task when a worker is free for it.

``Backend`` is the interface; ``on_ray`` has the backend for many machines. ``tasks.run`` and
``exchanging.exchange`` use it.
"""

from __future__ import annotations

import os
import pickle
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

from dataprep.core.errors import UsageError
from dataprep.core.io import temporary_folder, writing
from dataprep.core.parallel.processes import DeadWorker, WorkerProcess, end_all

Work = Callable[[Any], Any]
Join = Callable[[int, Iterator[Any]], Any]

REPEATS = 3
"""How often a task is repeated whose worker died; then the task is taken to be the reason."""


class Ended(NamedTuple):
    """A task that has ended."""

    handle: int
    result: Any
    error: Exception | None  # what the work raised, or ``DeadWorker``


class Crew(Protocol):
    """The workers that run one function."""

    def submit(self, task: Any, repeats: int = REPEATS, /) -> int:
        """Begin a task, and return its handle; ``repeats`` is how often it is repeated if its worker dies."""

    def wait(self) -> Ended:
        """Wait until a task has ended that was begun, and return the first that did."""


class Kept(NamedTuple):
    """Works that leave pieces where they are made; only the backend that made them runs them."""

    split: Work  # returns a note, and a list of references to pieces
    joining: Callable[[Join], Work]  # the work is called with a number and a list of such references


class Backend(Protocol):
    """Where tasks run."""

    @property
    def slots(self) -> int:
        """Number of tasks that run at the same time."""

    def open(self, work: Work, /) -> AbstractContextManager[Crew]:
        """Return workers for a function; at the end of the context unfinished tasks count for nothing."""

    def keeping(self, split: Work, buckets: int, /) -> AbstractContextManager[Kept]:
        """Keep the pieces that a function makes, ``buckets`` of them a task, until the end of the context.

        The function returns a note, which is not kept but travels, and the pieces.
        """

    def on_nodes(self, work: Work, task: Any, /) -> list[tuple[str, Any]]:
        """Return the name of each other machine, and what a function returned or raised there."""

    def close(self) -> None:
        """Stop what was started."""


@dataclass(frozen=True, slots=True)
class Spilled:
    """A piece in a file."""

    path: str
    start: int


@dataclass(frozen=True, slots=True)
class _Spilling:
    """A work that writes the pieces of each task into a new file of a folder."""

    split: Work
    folder: str

    def __call__(self, task: Any) -> tuple[Any, list[Spilled]]:
        # A task can be repeated while a worker that was taken for dead still writes: each has its own file.
        path = Path(self.folder, os.urandom(8).hex())
        note, pieces = self.split(task)
        spilled = []
        with writing(str(path)), path.open("xb") as file:
            for piece in pieces:
                spilled.append(Spilled(str(path), file.tell()))
                pickle.dump(piece, file, pickle.HIGHEST_PROTOCOL)
        return note, spilled


@dataclass(frozen=True, slots=True)
class _Reading:
    """A work that reads the pieces of a bucket from their files, and joins them."""

    join: Join

    def __call__(self, task: tuple[int, Sequence[Spilled]]) -> Any:
        bucket, pieces = task
        return self.join(bucket, _read(pieces))


def _read(pieces: Sequence[Spilled]) -> Iterator[Any]:
    for piece in pieces:
        with open(piece.path, "rb") as file:
            file.seek(piece.start)
            yield pickle.load(file)  # noqa: S301 - our own bytes


class _Local:
    """The part that the backends of one machine share."""

    @contextmanager
    def keeping(self, split: Work, _buckets: int, /) -> Iterator[Kept]:
        """Keep pieces in files of a temporary folder."""
        with temporary_folder() as folder:
            yield Kept(_Spilling(split, str(folder)), _Reading)

    def on_nodes(self, _work: Work, _task: Any, /) -> list[tuple[str, Any]]:
        """Return nothing: there is no other machine."""
        return []

    def close(self) -> None:
        """Do nothing: workers end with their crew."""


class Inline(_Local):
    """One task after the other, in this process."""

    slots = 1

    @contextmanager
    def open(self, work: Work, /) -> Iterator[Crew]:
        """Yield what calls a function in this process."""
        yield _Caller(work)


class _Caller:
    def __init__(self, work: Work) -> None:
        self._work = work
        self._handles = count()
        self._queue = deque[tuple[int, Any]]()

    def submit(self, task: Any, _repeats: int = REPEATS, /) -> int:
        handle = next(self._handles)
        self._queue.append((handle, task))
        return handle

    def wait(self) -> Ended:
        handle, task = self._queue.popleft()
        try:
            return Ended(handle, self._work(task), None)
        except Exception as error:  # noqa: BLE001 - `run` raises it in its turn
            return Ended(handle, None, error)


class Processes(_Local):
    """Several processes of this machine, one task at a time in each.

    A worker that dies is replaced, and its task repeated.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise UsageError(f"{workers} workers: expected 1 or more")
        self.slots = workers

    @contextmanager
    def open(self, work: Work, /) -> Iterator[Crew]:
        """Yield processes for a function, started as tasks come."""
        crew = _ProcessCrew(work, self.slots)
        try:
            yield crew
        except BaseException:
            crew.close(now=True)
            raise
        crew.close(now=bool(crew.busy))


@dataclass(slots=True)
class _Begun:
    handle: int
    task: Any
    repeats: int


class _ProcessCrew:
    def __init__(self, work: Work, slots: int) -> None:
        self._work = work
        self._slots = slots
        self._handles = count()
        self._queue = deque[_Begun]()
        self._idle: list[WorkerProcess] = []
        self.busy: dict[Connection, tuple[WorkerProcess, _Begun]] = {}

    def submit(self, task: Any, repeats: int = REPEATS, /) -> int:
        handle = next(self._handles)
        self._queue.append(_Begun(handle, task, repeats))
        self._feed()
        return handle

    def wait(self) -> Ended:
        while True:
            # One that is ready and not taken comes first the next time: it stands before those begun later.
            connection = wait(self.busy)[0]
            assert isinstance(connection, Connection)
            worker, begun = self.busy.pop(connection)
            result, error = None, cast(Exception | None, None)
            try:
                result = worker.receive()
            except DeadWorker as death:
                end_all([worker], now=True)
                error = death
            except Exception as raised:  # noqa: BLE001 - `run` raises it in its turn
                error = raised
            if isinstance(error, DeadWorker):
                if begun.repeats:
                    begun.repeats -= 1
                    self._queue.appendleft(begun)
                    self._feed()
                    continue
            else:
                self._idle.append(worker)
            self._feed()
            return Ended(begun.handle, result, error)

    def close(self, *, now: bool) -> None:
        end_all([*self._idle, *(worker for worker, _ in self.busy.values())], now=now)

    def _feed(self) -> None:
        # A worker has one task at a time: one that waited behind a long task would be a straggler too. And a
        # worker that sends a large result does not receive, so neither side can wait for the other.
        while self._queue and (self._idle or len(self.busy) < self._slots):
            worker = self._idle.pop() if self._idle else WorkerProcess(self._work, len(self.busy) + 1)
            begun = self._queue.popleft()
            self.busy[worker.connection] = worker, begun
            worker.send("task", begun.task)
