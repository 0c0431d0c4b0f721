"""Run one function over tasks on worker processes, with results in the order of the tasks.

Each worker has its own pipe and holds two tasks at a time, so that it never waits for the others. Output
need not travel back: if results go into a file, the parent tells each worker at which byte its part begins,
and the worker writes it there. ``docs/decisions/0004-processes.md`` has the reasons.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, TypeVar

from dataprep.core.errors import FileError, UsageError, WorkerError
from dataprep.core.io import write_at

Task = TypeVar("Task")
Result = TypeVar("Result")


def available_cores() -> int:
    """Return the number of processors that this process may use."""
    # In a container or under taskset that is fewer than the machine has.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
        self._workers: list[tuple[multiprocessing.process.BaseProcess, Connection]] = []

    def __enter__(self) -> Pool[Task, Result]:
        return self

    def _start_one(self) -> None:
        context = multiprocessing.get_context(_start_method())
        sys.stdout.flush()  # a forked child would write the same buffer once more
        gc.freeze()  # and would copy every page that its garbage collector marks objects on
        try:
            parent_end, child_end = context.Pipe()
            ours = [connection for _, connection in self._workers] + [parent_end]
            inherited = ours if context.get_start_method() == "fork" else []
            process = context.Process(  # type: ignore[attr-defined]
                target=_serve,
                args=(self._function, child_end, self.output, self.name, inherited),
                daemon=True,
            )
            # An interrupt that reached the child before it ignores interrupts would end it with a traceback.
            with _interrupts_waiting():
                process.start()
                self._workers.append((process, parent_end))
            child_end.close()
        except OSError as error:
            reason = f"{error.strerror}; use fewer --workers"
            raise WorkerError(f"worker {len(self._workers) + 1} cannot be started: {reason}") from None
        finally:
            gc.unfreeze()

    def __exit__(self, kind: type[BaseException] | None, *_details: object) -> None:
        for _, connection in self._workers:
            connection.close()
        for process, _ in self._workers:
            if kind is not None:
                process.terminate()
            process.join()
        self._workers.clear()

    def map(self, tasks: Iterable[Task], *, heavy: Callable[[Task], bool] | None = None) -> Iterator[Result]:
        """Yield the function's results, in the order of the tasks.

        Args:
            tasks: read as workers become free.
            heavy: tells whether a task is larger than a pipe's buffer.

        Raises:
            WorkerError: a worker died.
            Exception: the first one that the function raised, in the order of the tasks.
        """
        remaining, waiting, load = iter(tasks), deque[int](), list[int]()
        following = next(remaining, None)
        offset = 0
        while True:
            while following is not None:
                if len(load) < self._count and 0 not in load:  # workers are started as tasks come
                    self._start_one()
                    load.append(0)
                number = load.index(min(load))
                # A heavy task goes only to a worker that holds none: a worker that is sending a large result
                # does not receive, and both sides would wait forever.
                if load[number] >= (1 if heavy is not None and heavy(following) else 2):
                    break
                self._send(number, ("task", following))
                waiting.append(number)
                load[number] += 1
                following = next(remaining, None)
            if not waiting:
                break
            number = waiting.popleft()
            result = self._receive(number)
            load[number] -= 1
            if self.output is not None:
                size: int = result.size
                self._send(number, ("place", offset))
                offset += size
            yield result
        for number in range(len(load)):
            self._send(number, ("end", None))
            self._receive(number)

    def _send(self, number: int, message: tuple[str, Any]) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # `_receive` reports what happened
            self._workers[number][1].send(message)

    def _receive(self, number: int) -> Any:
        process, connection = self._workers[number]
        try:
            answer, error = connection.recv()
        except (EOFError, ConnectionResetError):
            process.join(1)
            raise WorkerError(
                f"a worker process died (exit code {process.exitcode}); if the system killed it because "
                "memory ran out, use fewer --workers"
            ) from None
        if error is not None:
            raise error
        return answer


@contextmanager
def _interrupts_waiting() -> Iterator[None]:
    """Hold SIGINT and SIGHUP back for the block, if the system can."""
    # A forked child inherits the mask, and lifts it once it ignores the signals.
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_method() -> str:
    """Return ``fork`` if it is safe, else ``spawn``."""
    # A fork starts in milliseconds, a spawn in the time that Python and the imports need. But a fork copies
    # only the calling thread: a lock that another thread holds, for example one of polars or of a progress
    # bar, would stay locked in the child forever.
    tasks = Path("/proc/self/task")
    if sys.platform == "linux" and tasks.is_dir() and len(list(tasks.iterdir())) == 1:
        return "fork"
    return "spawn"


def _serve(
    function: Callable[[Any], Any],
    connection: Connection,
    output: str | None,
    name: str | None,
    inherited: list[Connection],
) -> None:
    """Take tasks until the pipe ends, which it also does when the parent dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "SIGHUP"):  # a closed terminal sends it to all; the parent ends the workers
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGHUP})
    for other in inherited:  # a copy of the parent's end would keep the pipe open without the parent
        other.close()
    held: deque[tuple[bytes | list[memoryview], int]] = deque()
    file: int | None = None
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            kind, value = connection.recv()
            try:
                if kind == "place":
                    if file is None and output is not None:
                        file = os.open(output, os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0))
                    _write_at(file, name, *held.popleft(), value)
                    continue
                if kind == "end":
                    connection.send((None, None))
                    continue
                result = function(value)
                if output is not None:
                    held.append((result.data or b"", result.size))
                    result.data = None
                connection.send((result, None))
            except Exception as error:  # noqa: BLE001 - the parent raises it
                connection.send((None, _portable(error)))


def _write_at(
    file: int | None, name: str | None, data: bytes | list[memoryview], size: int, offset: int
) -> None:
    assert file is not None
    try:
        if isinstance(data, list):
            write_at(file, data, size, offset)
            return
        view = memoryview(data)
        while view:
            written = os.pwrite(file, view, offset)
            view, offset = view[written:], offset + written
    except OSError as error:
        message = f"cannot be written: {error.strerror}; what was there is unchanged"
        raise FileError(name, message) from None


def _portable(error: Exception) -> Exception:
    """Return the error, or one with the same text if it cannot travel between processes."""
    error.add_note("in a worker process:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    except Exception:  # noqa: BLE001 - any failure means that it cannot travel
        return WorkerError("".join(traceback.format_exception(error)))
    return error
