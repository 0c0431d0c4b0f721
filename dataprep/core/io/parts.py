"""Write an output as a folder of parts, each whole or not there, and keep what an unfinished run has done.

Two kinds of writers fill a folder. Workers each write the part of a chunk of input (``PartTarget``), with a
record of what they counted beside it, so that a later run need not do it again. This process cuts what comes
through ``write`` into parts of ``CHUNK_BYTES``. Both depend on the bytes alone, so the folder does, too.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import orjson

from dataprep.core import provenance
from dataprep.core.errors import UsageError
from dataprep.core.io.part_files import (
    CHUNK_BYTES,
    Folder,
    LocalFolder,
    Part,
    PartsManifest,
    check_target,
    folder_at,
    located_file,
    read_manifest,
    replaced,
)
from dataprep.core.io.paths import remove_manifest
from dataprep.core.io.stores import stat
from dataprep.core.io.unfinished import (
    LOCK,
    MANIFEST,
    PART_NAME,
    WORK,
    holder_of,
    machine,
    remove_unlocked,
    started_at,
)

# Set by `core.parallel.engine`: what an earlier run has done is forgotten.
forget_work: ContextVar[bool] = ContextVar("forget_work", default=False)
_BEAT_SECONDS = 20
_REQUESTS = 16  # to a store at a time

T = TypeVar("T")


class PartWriter:
    """Take the bytes of one part, and write it when it is complete."""

    def __init__(self, where: str, number: int, suffix: str = ".jsonl") -> None:
        self.where, self.number, self._suffix = where, number, suffix
        self.rows = self.size = 0
        self._digest = hashlib.sha256()
        # The name holds the digest, so it is known only at the end.
        from tempfile import SpooledTemporaryFile  # it and others here take milliseconds of every start

        self._held = cast(IO[bytes], SpooledTemporaryFile(max_size=2 * CHUNK_BYTES))  # noqa: SIM115 - `close`

    def write(self, data: bytes | memoryview, rows: int) -> None:
        """Take whole lines."""
        self._held.write(data)
        self._digest.update(data)
        self.rows += rows
        self.size += len(data)

    def finish(self) -> Part:
        """Write the part and return it."""
        sha256 = self._digest.hexdigest()
        name = f"part-{self.number:05}-{sha256[:8]}{self._suffix}"
        part = Part(name, self.rows, self.size, sha256)
        with self._held:
            self._held.seek(0)
            folder_at(self.where).add(part.name, self._held)
        return part

    def close(self) -> None:
        """Give up the bytes that were taken."""
        self._held.close()


@dataclass(frozen=True, slots=True)
class PartTarget:
    """Where the parts of one run over chunks go, and the records of those that are finished; picklable.

    Attributes:
        where: the folder or URL of the parts.
        key: names the run: everything that its parts depend on.
        first: the number of the first part.
        suffix: of the names of the parts.
    """

    where: str
    key: str
    first: int = 0
    suffix: str = ".jsonl"

    def writer(self, number: int) -> PartWriter:
        """Return a writer for the part of a chunk."""
        return PartWriter(self.where, self.first + number, self.suffix)

    def keep(self, number: int, record: bytes) -> None:
        """Keep the record of a chunk whose part is written."""
        folder_at(self.where).put(self._name(number), record)

    def kept(self) -> dict[int, bytes]:
        """Return the records of an earlier run of this key, by the number of their chunk."""
        folder = folder_at(self.where)
        numbers = {name: name.rpartition("/")[2].removesuffix(".json") for name in self._work(folder)}
        names = [name for name, number in numbers.items() if number.isdecimal()]
        found = zip(names, at_once(folder.read, names, folder), strict=True)
        return {int(numbers[name]): read[0] for name, read in found if read is not None}

    def holds(self, part: Part) -> bool:
        """Return whether a part is there as it was written."""
        return folder_at(self.where).sizes().get(part.name) == part.bytes

    def sizes(self) -> dict[str, int]:
        """Return the bytes of the files in the folder."""
        return folder_at(self.where).sizes()

    def path(self, part: Part) -> str:
        """Return the path or URL of a part."""
        return folder_at(self.where).path(part.name)

    @contextmanager
    def intermediate(self) -> Iterator[PartTarget]:
        """Yield a target for files that the run itself reads, which are removed at the end."""
        folder, below = folder_at(self.where), f"{WORK}/{self.key}"
        try:
            yield PartTarget(folder.path(below), self.key)
        finally:
            parts = [name for name in folder.sizes(below) if PART_NAME.fullmatch(name.rpartition("/")[2])]
            list(at_once(folder.remove, parts, folder))

    def _work(self, folder: Folder) -> list[str]:
        return [*folder.sizes(f"{WORK}/{self.key}")]

    def _name(self, number: int) -> str:
        return f"{WORK}/{self.key}/{number:05}.json"


class PartsFolder:
    """The folder that a run fills with parts; ``open_parts`` makes and commits it."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.folder = folder_at(where)
        self.parts: list[Part] = []
        self.facts: dict[str, Any] = {}
        self._before = read_manifest(self.folder, writes=True)
        self._owner = f"{machine()}:{os.getpid()}:{os.urandom(4).hex()}"
        self._beat = 0.0
        self._mine: list[str] = []  # parts of this process, which no record tells a later run of
        self._lock()
        if forget_work.get():
            self._remove(self._work())

    def target(self, key: str, suffix: str = ".jsonl") -> PartTarget:
        """Return the place for the parts of a run over chunks that comes now."""
        return PartTarget(located_file(self.where), key, len(self.parts), suffix)

    def add(self, part: Part, *, mine: bool = False) -> None:
        """Take a part that was written; in the order of the output."""
        self.parts.append(part)
        if mine:
            self._mine.append(part.name)
        self.beat()

    def beat(self) -> None:
        """Show other runs that this one is alive."""
        if time.monotonic() - self._beat > _BEAT_SECONDS and self._is_held():
            self._beat = time.monotonic()
            self.folder.put(LOCK, self._sign())

    def commit(self) -> None:
        """Write the manifest, and then remove what it does not name.

        Raises:
            FileError: another run has written into the folder meanwhile, or does.
        """
        if not self._is_held():
            raise replaced(self.folder.path(MANIFEST))
        rows, size = sum(part.rows for part in self.parts), sum(part.bytes for part in self.parts)
        data = PartsManifest.to_json(self.parts, {**self.facts, "rows": rows, "bytes": size})
        self.folder.replace(MANIFEST, data, self._before.seen if self._before else None)
        named = {part.name for part in self.parts}
        strays = [name for name in self.folder.sizes() if name not in named and PART_NAME.fullmatch(name)]
        self._remove([*strays, *self._work()])
        self.folder.remove(LOCK)
        if isinstance(self.folder, LocalFolder):
            for path in Path(self.where).rglob(".*.partial"):
                if path.name.startswith(".part-") or WORK in path.parts:
                    remove_unlocked(path)
            with suppress(OSError):
                Path(self.where, WORK).rmdir()

    def discard(self) -> None:
        """Remove everything: the parts are joined to one file, and that is finished."""
        if not self._is_held():
            return
        self._remove([*self.folder.sizes(), *self._work()])
        self.folder.remove(LOCK)
        if isinstance(self.folder, LocalFolder):
            import shutil

            shutil.rmtree(self.where, ignore_errors=True)

    def leave(self) -> None:
        """End without a commit: what workers have finished stays for a later run."""
        if not self._is_held():
            return
        kept = {part.name for part in self._before.parts} if self._before else set()
        self._remove([name for name in self._mine if name not in kept])
        self.folder.remove(LOCK)
        if isinstance(self.folder, LocalFolder):
            with suppress(OSError):  # it is not empty, or was not made
                Path(self.where).rmdir()

    def _remove(self, names: Iterable[str]) -> None:
        list(at_once(self.folder.remove, names, self.folder))

    def _work(self) -> list[str]:
        return [name for key in self.folder.folders(WORK) for name in self.folder.sizes(f"{WORK}/{key}")]

    def _sign(self) -> bytes:
        return orjson.dumps({"owner": self._owner, "time": time.time(), "started": started_at(os.getpid())})

    def _is_held(self) -> bool:
        """Return whether the folder is still this run's: another one takes it for dead if it is silent."""
        found = self.folder.read(LOCK)
        return found is not None and self._owner.encode() in found[0]

    def _lock(self) -> None:
        """Hold the folder against other runs, whose commit would remove the parts of this one."""
        found = self.folder.read(LOCK)
        if found is not None and (owner := holder_of(found[0])) is not None:
            raise UsageError(
                f"{self.where}: another run writes there ({owner}); wait for it, or write elsewhere"
            )
        self._beat = time.monotonic()
        self.folder.replace(LOCK, self._sign(), None if found is None else found[1])


def at_once(function: Callable[[str], T], names: Iterable[str], folder: Folder) -> Iterator[T]:
    """Yield what a function returns for each file of a folder; in a store, it is asked for many at once."""
    if isinstance(folder, LocalFolder):
        yield from map(function, names)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_REQUESTS) as threads:
        yield from threads.map(function, names)


@contextmanager
def open_parts(where: str) -> Iterator[PartsFolder]:
    """Open a folder for parts; its manifest appears when the ``with`` block ends without an error."""
    check_target(where)
    folder = PartsFolder(where)
    try:
        yield folder
        folder.commit()
    except BaseException:
        folder.leave()
        raise
    rows = sum(part.rows for part in folder.parts)
    if isinstance(folder.folder, LocalFolder):
        provenance.wrote(where, rows=rows, names=("part-*", MANIFEST))
    else:
        remove_manifest(where)
        provenance.wrote_object(where, stat(where), rows=rows)
