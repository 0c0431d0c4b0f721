"""Keep a library that starts processes and threads from changing how this process prints and ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, cast

_GRACE_SECONDS = 3.0  # for processes that are about to end by themselves


@contextmanager
def sigterm_as_before() -> Iterator[None]:
    """Put the handler of SIGTERM back at the end of the block."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if handler is not None and handler is not signal.getsignal(signal.SIGTERM):
            signal.signal(signal.SIGTERM, handler)


@contextmanager
def silent_threads(prefix: str) -> Iterator[None]:
    """Drop what threads whose names begin with ``prefix`` print on standard output in the block."""
    # Rows can go there.
    before, filtered = sys.stdout, cast(TextIO, _Filtered(sys.stdout, prefix))
    sys.stdout = filtered
    try:
        yield
    finally:
        if sys.stdout is filtered:
            sys.stdout = before


class _Filtered:
    def __init__(self, stream: TextIO, prefix: str) -> None:
        self._stream = stream
        self._prefix = prefix

    def write(self, text: str) -> int:
        if threading.current_thread().name.startswith(self._prefix):
            return len(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def none_left(program: str) -> Iterator[None]:
    """End, after the block, what a program has started that this process had started and that ends in it."""
    below = _below(program)
    yield
    deadline = time.monotonic() + _GRACE_SECONDS
    while remaining := [pid for pid, started in below.items() if _started(pid) == started]:
        if time.monotonic() > deadline:
            for pid in remaining:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.05)


def _below(program: str) -> dict[int, str]:
    """Return the processes below a program that this process has started, and when they were started."""
    children: dict[int, list[int]] = {}
    # Listed, not globbed: a process that ends meanwhile makes `glob` raise an error.
    folder = Path("/proc")
    for pid in (int(path.name) for path in folder.iterdir() if path.name.isdecimal()):
        if (fields := _fields(pid)) is not None:
            children.setdefault(int(fields[1]), []).append(pid)
    programs = [pid for pid in children.get(os.getpid(), []) if _program(pid) == program]
    below: dict[int, str] = {}
    while programs:
        pid = programs.pop()
        below |= {child: started for child in children.get(pid, []) if (started := _started(child))}
        programs += children.get(pid, [])
    return below


def _fields(pid: int) -> list[str] | None:
    """Return the fields of a process's status from its state on; ``None`` if there is no such process."""
    with suppress(OSError):
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return text.rpartition(")")[2].split()
    return None


def _started(pid: int) -> str | None:
    # A process number is used again; with the time it is this process only.
    fields = _fields(pid)
    return None if fields is None or fields[0] in "ZX" else fields[19]


def _program(pid: int) -> str:
    with suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0]
        return Path(os.fsdecode(command)).name
    return ""
