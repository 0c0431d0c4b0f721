"""Run one function over tasks on worker processes or threads, with results in the order of the tasks.

Each process holds two tasks at a time, so that it never waits for the others. Output need not travel back: if
results go into a file, the parent tells each worker at which byte its part begins, and the worker writes it
there. ``docs/decisions/0004-processes.md`` has the reasons.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from dataprep.core.errors import UsageError
from dataprep.core.parallel.processes import WorkerProcess, end_all

if TYPE_CHECKING:
    from concurrent.futures import Future

Task = TypeVar("Task")
Result = TypeVar("Result")


def available_cores() -> int:
    """Return the number of processors that this process may use."""
    # In a container or under taskset that is fewer than the machine has.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Ahead(Iterator[Task]):
    """Tasks that are read ahead: an error of reading ends them, and waits for ``check``.

    The tasks before it can have an earlier error, which is the one to report.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        self.error: Exception | None = None
        self._tasks = iter(tasks)

    def __next__(self) -> Task:
        """Return the next task."""
        try:
            return next(self._tasks)
        except StopIteration:
            raise
        except Exception as error:  # noqa: BLE001 - `check` raises it
            self.error = error
            raise StopIteration from None

    def check(self) -> None:
        """Raise the error that ended the tasks, if one did."""
        if self.error is not None:
            raise self.error


class Pool(Generic[Task, Result]):
    """Processes that run one function; a context manager.

    Args:
        function: picklable, because a spawned worker receives it through its pipe.
        workers: number of processes.
        output: a file that workers write their results' ``data`` into, one after the other; the results then
            come back without it. ``None`` returns results whole.
        name: the name of ``output`` in messages.
    """

    def __init__(
        self, function: Callable[[Task], Result], workers: int, *, output: str | None = None, name: str = ""
    ) -> None:
        if workers < 1:
            raise UsageError(f"{workers} workers: expected 1 or more")
        self.output = output
        self.name = name or output
        self._function = function
        self._count = workers
        self._workers: list[WorkerProcess] = []

    def __enter__(self) -> Pool[Task, Result]:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_details: object) -> None:
        end_all(self._workers, now=kind is not None)

    def map(self, tasks: Iterable[Task], *, heavy: Callable[[Task], bool] | None = None) -> Iterator[Result]:
        """Yield the function's results, in the order of the tasks.

        Args:
            tasks: read as workers become free.
            heavy: tells whether a task is larger than a pipe's buffer.

        Raises:
            WorkerError: a worker died.
            Exception: the first one that the function or ``tasks`` raised, in the order of the tasks.
        """
        workers, output, name = self._workers, self.output, self.name
        remaining, waiting, load = Ahead(tasks), deque[int](), list[int]()
        following = next(remaining, None)
        offset = 0
        while True:
            while following is not None:
                if len(load) < self._count and 0 not in load:  # workers are started as tasks come
                    workers.append(WorkerProcess(self._function, len(load) + 1, output, name))
                    load.append(0)
                number = load.index(min(load))
                # A heavy task goes only to a worker that holds none: a worker that is sending a large result
                # does not receive, and both sides would wait forever.
                if load[number] >= (1 if heavy is not None and heavy(following) else 2):
                    break
                workers[number].send("task", following)
                waiting.append(number)
                load[number] += 1
                following = next(remaining, None)
            if not waiting:
                break
            number = waiting.popleft()
            result: Result = workers[number].receive()
            load[number] -= 1
            if output is not None:
                size: int = result.size  # type: ignore[attr-defined]
                workers[number].send("place", offset)
                offset += size
            yield result
        remaining.check()
        for worker in workers:
            worker.send("end")
            worker.receive()


def in_threads(function: Callable[[Task], Result], tasks: Iterable[Task], threads: int) -> Iterator[Result]:
    """Yield the function's results, in the order of the tasks.

    It is for functions that spend their time in numpy, which lets other threads run meanwhile. Tasks are
    taken in the calling thread, a few ahead of the results. No thread is left at the end, so processes can be
    forked then.

    Args:
        function: called in another thread, or in this one if there is to be only one.
        tasks: what it is called with.
        threads: number of threads.
    """
    if threads == 1:
        yield from map(function, tasks)
        return
    from concurrent.futures import ThreadPoolExecutor  # not at the top: it takes milliseconds of every start

    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for task in tasks:
            waiting.append(pool.submit(function, task))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
