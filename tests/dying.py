"""A backend whose workers die: each kind of work ends its worker once, just before it would have answered."""

import inspect
import os
import signal
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataprep.core.parallel import chunks
from dataprep.core.parallel.backends import Kept
from dataprep.curate.duplicates.rows import ComparedText

_INSIDE = ("split", "join", "work", "look", "operator")


def name_of(work):
    """The names of the classes of a work and of what it calls."""
    name = getattr(work, "__name__", type(work).__name__)
    for attribute in _INSIDE:
        inside = getattr(work, attribute, None)
        if inside is not None and not inspect.ismethod(inside):
            return f"{name}.{name_of(inside)}"
    return name


@dataclass(frozen=True)
class Dying:
    """Call a work, and kill the process the first time that this one or another of its name was called."""

    inside: Any
    folder: str

    def __call__(self, *arguments):
        """Return what the work does."""
        made = self.inside(*arguments)
        with suppress(FileExistsError):
            Path(self.folder, name_of(self.inside)).touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGKILL)
        return made


class DyingWorkers:
    """A backend of which each kind of work kills one worker; marks of them are left in a folder."""

    def __init__(self, backend, folder):
        self._backend, self._folder = backend, str(folder)

    @property
    def slots(self):
        """Number of tasks at the same time."""
        return self._backend.slots

    def open(self, work, /):
        """Return the workers for a work that kills, unless it is one of pieces, which does inside."""
        inside = type(work).__name__ in ("_Reading", "_Joining", "_Keeping", "_Spilling")
        return self._backend.open(work if inside else Dying(work, self._folder))

    @contextmanager
    def keeping(self, split, buckets, /):
        """Keep the pieces of a work that kills."""
        inside = type(split).__name__ in ("_Reading", "_Joining")
        with self._backend.keeping(split if inside else Dying(split, self._folder), buckets) as kept:
            yield Kept(kept.split, lambda join: kept.joining(Dying(join, self._folder)))

    def on_nodes(self, work, task, /):
        """Ask other nodes."""
        return self._backend.on_nodes(work, task)

    def close(self):
        """Do nothing: the backend is the caller's."""


@dataclass(frozen=True)
class PoisonedText(ComparedText):
    """Read what is compared of a row, and end the process at one that is poison."""

    def __call__(self, row):
        """Return the text."""
        if row.get("poison"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(row)


class SlowChunk(chunks.ChunkWork):
    """Work on a chunk, and take a while."""

    __slots__ = ()

    def __call__(self, chunk):
        """Return the record of a chunk."""
        record = super().__call__(chunk)
        time.sleep(0.1)
        return record


def slow_chunks():
    """Make all work on chunks slow, in this process and its workers."""
    chunks.ChunkWork = SlowChunk
