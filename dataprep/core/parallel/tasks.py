"""Run tasks on a backend in order of completion: ``run`` calls a function for each task.

The task of a worker that dies is repeated. If the task is the reason, ``run`` can halve it until the lines
are found that end workers.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar

from dataprep.core.errors import WorkerError, first_line
from dataprep.core.parallel.backends import REPEATS, Backend, Crew, Ended
from dataprep.core.parallel.pool import Ahead
from dataprep.core.parallel.processes import DeadWorker

Task = TypeVar("Task")
Piece = TypeVar("Piece")
Result = TypeVar("Result")

MOST_LOST = 5
"""So many tasks, and so many lines, may end their worker before a run is given up."""


class Bisection(NamedTuple, Generic[Task]):
    """How to find the lines of a task that end the worker.

    Attributes:
        halve: returns two tasks over the halves of a task's lines, or nothing if it has one line. Their
            results are thrown away, so they should write nothing.
        without: returns the task without the lines of some of the tasks of one line that ``halve`` made.
            It is run again as a whole, so that the result of a task does not depend on how it was halved.
    """

    halve: Callable[[Task], Sequence[Task]]
    without: Callable[[Task, Sequence[Task]], Task]


def run(
    work: Callable[[Task], Result],
    tasks: Iterable[Task],
    *,
    backend: Backend,
    window: int | None = None,
    ahead: int | None = None,
    bisection: Bisection[Task] | None = None,
) -> Generator[tuple[int, Result], None, None]:
    """Yield the number of each task, counted from 0, with its result, as tasks are completed.

    Args:
        work: called with each task, once or, if its worker dies, again. It must be picklable, and give the
            same result each time.
        tasks: read as they can be begun.
        backend: where the work is done.
        window: how many tasks may be begun and not completed. Defaults to twice the backend's slots.
        ahead: how many tasks may be begun after the first one that is not completed: a caller that wants the
            results in order holds so many. Defaults to any number.
        bisection: finds the lines that end workers. Without it such a task ends the run.

    Raises:
        Exception: what the work raised, for the first task of which it did, or what ``tasks`` raised. No task
            after it is begun, and all before it are completed and yielded.
        WorkerError: workers die again and again.
    """
    remaining, begun = Ahead(tasks), 0
    with backend.open(work) as crew:
        progress = _Progress(crew, bisection)
        while True:
            if progress.failed is None:
                most = (window or 2 * backend.slots) - len(progress.open)  # slots come and go with machines
                if ahead is not None and progress.open:
                    most = min(most, min(progress.open) + ahead - begun)
                for task in islice(remaining, max(0, most)):
                    progress.begin(begun, task)
                    begun += 1
                if remaining.error is not None:
                    progress.failed = begun, remaining.error
            if not progress.waits():
                break
            yield from progress.settle(crew.wait())
        if progress.failed is not None:
            raise progress.failed[1]


@dataclass(slots=True)
class _Search(Generic[Task]):
    """The search for the lines of a task that end the worker."""

    number: int
    task: Task
    remaining: int = 0  # tasks over parts of its lines that are begun
    lost: list[Task] = field(default_factory=list)


@dataclass(slots=True)
class _Try(Generic[Task]):
    """A task that is begun: a whole one, or a part of one that is searched."""

    number: int
    task: Task
    search: _Search[Task] | None = None
    repeated: bool = True  # whether a worker that dies has died of it, however often it was tried


class _Progress(Generic[Task]):
    """The tasks of a run that are begun, and the first that failed."""

    def __init__(self, crew: Crew, bisection: Bisection[Task] | None) -> None:
        self.open: set[int] = set()
        self.failed: tuple[int, Exception] | None = None  # the lowest task that did
        self._crew = crew
        self._bisection = bisection
        self._begun: dict[int, _Try[Task]] = {}  # by handle
        self._searched: set[int] = set()
        self._lost = 0

    def begin(self, number: int, task: Task) -> None:
        self.open.add(number)
        self._submit(_Try(number, task))

    def waits(self) -> bool:
        """Return whether a task is open that counts: after a failure, one before it."""
        return bool(self.open) and (self.failed is None or min(self.open) < self.failed[0])

    def settle(self, ended: Ended) -> Iterator[tuple[int, Any]]:
        """Take a task that has ended, and yield its number and result if the whole task is completed."""
        done = self._begun.pop(ended.handle)
        if isinstance(ended.error, DeadWorker):
            self._search(done, ended.error)
        elif done.search is not None:
            # An error of the work in a part is one of the whole, which is run again and says so.
            self._found(done.search)
        elif ended.error is not None:
            self.open.remove(done.number)
            if self.failed is None or done.number < self.failed[0]:
                self.failed = done.number, ended.error
        else:
            self.open.remove(done.number)
            yield done.number, ended.result

    def _submit(self, one: _Try[Task]) -> None:
        self._begun[self._crew.submit(one.task, REPEATS if one.repeated else 0)] = one

    def _search(self, dead: _Try[Task], death: DeadWorker) -> None:
        """Look for the lines in the halves of a task whose worker died."""
        if self._bisection is None:
            raise death
        halves = self._bisection.halve(dead.task)
        if dead.search is None:
            # It died without the lines that were found, or none of its parts died alone: more memory is
            # the only help.
            if dead.number in self._searched:
                raise _no_use("a worker died of a task, and no line alone ends it", death)
            self._searched.add(dead.number)
            if len(self._searched) > MOST_LOST:
                raise _no_use(f"the workers of more than {MOST_LOST} tasks died", death)
        search = dead.search or _Search(dead.number, dead.task)
        search.remaining += dead.search is None  # the whole task, until its halves are begun
        if len(halves) > 1:
            for half in halves:
                search.remaining += 1
                # Not repeated: if something else ended the worker, its halves survive, one level deeper.
                self._submit(_Try(dead.number, half, search, repeated=False))
        elif not dead.repeated:
            search.remaining += 1
            self._submit(_Try(dead.number, dead.task, search))
        else:
            search.lost.append(dead.task)
            self._lost += 1
            if self._lost > MOST_LOST:
                raise _no_use(f"more than {MOST_LOST} lines end their worker", death)
        self._found(search)

    def _found(self, search: _Search[Task]) -> None:
        """Count a part as done; after the last one, run the task without the lines that were found."""
        search.remaining -= 1
        if search.remaining:
            return
        assert self._bisection is not None
        task = self._bisection.without(search.task, search.lost) if search.lost else search.task
        self._submit(_Try(search.number, task))


def _no_use(found: str, death: DeadWorker) -> WorkerError:
    advice = "give each worker more memory: use fewer --workers, or larger machines"
    return WorkerError(f"{found}: {advice} (the last: {first_line(death)})")
