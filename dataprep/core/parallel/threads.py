"""Run a function over tasks on several threads, with results in the order of the tasks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


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
    waiting = deque[Future[Result]]()
    with ThreadPoolExecutor(threads) as pool:
        for task in tasks:
            waiting.append(pool.submit(function, task))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
