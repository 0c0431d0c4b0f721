"""Start worker processes that call one function, each with a pipe of its own.

``docs/decisions/0004-processes.md`` has the reasons. ``Pool`` and the backend ``Processes`` use them.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from dataprep.core.errors import FileError, WorkerError
from dataprep.core.io import write_at

# The parent's ends of all pipes. A forked worker closes its copies, or another worker would wait for its end
# of file as long as this one lives.
_ends: set[Connection] = set()


class DeadWorker(WorkerError):
    """Raised for a task whose worker ended before it answered."""


class WorkerProcess:
    """A process that calls a function with each task that it is sent.

    Args:
        function: picklable, because a spawned process receives it through its pipe.
        number: which worker it is, counted from 1, for a message.
        output: a file that it writes the results' ``data`` into; they then come back without it.
        name: the name of ``output`` in messages.
    """

    def __init__(
        self, function: Callable[[Any], Any], number: int, output: str | None = None, name: str | None = None
    ) -> None:
        context = multiprocessing.get_context(start_method())
        sys.stdout.flush()  # a forked child would write the same buffer once more
        gc.freeze()  # and would copy every page that its garbage collector marks objects on
        try:
            self.connection, child_end = context.Pipe()
            _ends.add(self.connection)
            inherited = [*_ends] if context.get_start_method() == "fork" else []
            self._process = context.Process(  # type: ignore[attr-defined]
                target=_serve, args=(function, child_end, output, name, inherited), daemon=True
            )
            # An interrupt that reached the child before it ignores interrupts would end it with a traceback.
            with _interrupts_waiting():
                self._process.start()
            child_end.close()
        except OSError as error:
            reason = f"{error.strerror}; use fewer --workers"
            raise WorkerError(f"worker {number} cannot be started: {reason}") from None
        finally:
            gc.unfreeze()

    def send(self, kind: str, value: Any = None) -> None:
        """Send a task, or where the output of the oldest result belongs, or the wish to end."""
        with suppress(BrokenPipeError, ConnectionResetError):  # `receive` reports what happened
            self.connection.send((kind, value))

    def receive(self) -> Any:
        """Return the next result.

        Raises:
            DeadWorker: the process has ended.
            Exception: the function raised it.
        """
        try:
            answer, error = self.connection.recv()
        except (EOFError, OSError):  # an OSError in the midst of a result
            self._process.join(1)
            raise DeadWorker(
                f"a worker process died (exit code {self._process.exitcode}); if the system killed it "
                "because memory ran out, use fewer --workers"
            ) from None
        if error is not None:
            raise error
        return answer

    def close(self) -> None:
        """Close the pipe: the process ends once it has done what it was sent."""
        _ends.discard(self.connection)
        self.connection.close()

    def join(self, *, now: bool) -> None:
        """Wait for the end of the process; ``now`` ends it whatever it does."""
        if now:
            self._process.terminate()
        self._process.join()


def end_all(workers: list[WorkerProcess], *, now: bool) -> None:
    """End workers and wait for them; ``now`` ends them whatever they do."""
    # All pipes first: the workers then end at the same time.
    for worker in workers:
        worker.close()
    for worker in workers:
        worker.join(now=now)
    workers.clear()


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


def start_method() -> str:
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
                connection.send((None, portable(error)))


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


def portable(error: Exception) -> Exception:
    """Return the error, or one with the same text if it cannot travel between processes."""
    error.add_note("in a worker process:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    except Exception:  # noqa: BLE001 - any failure means that it cannot travel
        return WorkerError("".join(traceback.format_exception(error)))
    return error
