"""Write a teacher's likeliest tokens, document by document, so that a killed run loses none."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from dataprep.core import provenance
from dataprep.core.errors import FileError, InputError, UsageError
from dataprep.core.io import writing
from dataprep.tokens.logits.coding import TopLogprobs, decode, encode, sizes_in
from dataprep.tokens.logits.files import (
    DATA,
    FRAME,
    MANIFEST,
    NAMES,
    OFFSETS,
    UNFINISHED,
    described,
    differences,
    read_manifest,
    write_manifest,
)
from dataprep.tokens.shards.writing import locked

if TYPE_CHECKING:
    from numpy.typing import NDArray

# More positions in a record share hardly more tokens, and all are read for any of its documents.
_ENOUGH, _MOST_DOCUMENTS = 64, 255
_BUSY = "another process is capturing there; wait for it, or give another directory"


class LogitsWriter:
    """Logits that are being written; `open_writer` makes it.

    Attributes:
        finished: whether an earlier run has finished the same logits.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any], *, finished: bool) -> None:
        self.folder, self._facts, self.finished = folder, facts, finished
        count: int = facts["shards"]["documents"]
        self._shape: tuple[int, list[float]] = (facts["options"]["top_k"], facts["options"]["temperatures"])
        # Where each document's frame begins in the file; -1 if it is not there yet.
        self._starts = np.full(count, -1, dtype=np.int64)
        self._positions = np.zeros(count, dtype=np.int64)
        self._data: IO[bytes] | None = None
        if (folder / UNFINISHED).exists() and not finished:
            self._open()

    def _open(self) -> IO[bytes]:
        """Open the file of frames; what an earlier run has written to it is kept."""
        if self._data is None:
            unfinished, path = self.folder / UNFINISHED, self.folder / DATA
            if not unfinished.exists():
                # Frames of unknown logits belong to nothing: the facts are written before the first one.
                path.unlink(missing_ok=True)
                write_manifest(self.folder, self._facts, UNFINISHED)
            self._data = open(path, "r+b" if path.exists() else "w+b")  # noqa: SIM115 - see `close`
            self._read_frames(self._data)
        return self._data

    def close(self) -> None:
        """Close the file."""
        if self._data is not None:
            # A failed write stays in the buffer: `close` would try it again, and hide the first error.
            # Frames are flushed one by one, so nothing else waits there.
            with suppress(OSError):
                self._data.close()

    @property
    def done(self) -> NDArray[np.bool_]:
        """Return whether each document is written, shape `(documents,)`."""
        return self._starts >= 0

    def _read_frames(self, data: IO[bytes]) -> None:
        """Find the documents of earlier runs, and cut off a frame that was not written to its end."""
        size, end = data.seek(0, os.SEEK_END), 0
        data.seek(0)
        while len(head := data.read(FRAME.size)) == FRAME.size:
            number, length, crc = FRAME.unpack(head)
            record = data.read(length)
            # After a power cut a file can end in zero bytes, and the CRC-32 of an empty record is 0.
            if not length or len(record) < length or crc32(record) != crc:
                break
            sizes = sizes_in(record, *self._shape)
            place = slice(number, number + len(sizes))
            if place.stop > self._starts.size or (self._starts[place] >= 0).any():
                break
            self._starts[place] = end
            self._positions[place] = sizes
            end += FRAME.size + length
        if end < size:
            data.truncate(end)
        data.seek(end)

    def write(self, documents: Iterable[tuple[int, TopLogprobs]]) -> None:
        """Append documents, each with its number; they are kept whatever happens to the process.

        Args:
            documents: the documents, in any order.

        Raises:
            InputError: a number of a document is NaN.
            FileError: the file cannot be written.
        """
        with writing(str(self.folder / DATA)):
            data = self._open()
            for number, top in documents:
                # A record has no code for it: `encode` would fail, or write another number.
                if np.isnan(top.logprobs).any() or np.isnan(top.tails).any():
                    found = f"document {number}: found NaN among the teacher's log-probabilities"
                    advice = "give another teacher; a --teacher-model can also take --precision float32"
                    raise InputError(self.folder, f"{found}; expected numbers: {advice}")
                # One call: a killed process leaves a whole frame, or one that is seen to be torn.
                start = data.tell()
                data.write(_framed(number, top))
                data.flush()
                self._starts[number], self._positions[number] = start, top.positions.size

    def finish(self) -> dict[str, Any]:
        """Put the documents in order, write the manifest and return it."""
        assert self.done.all()
        with writing(str(self.folder)):
            data = self._open()
            size = self._join(data)
            scratch = self.folder / f".{OFFSETS}.partial"
            scratch.write_bytes(np.append(self._starts, size).astype("<u8").tobytes())
            scratch.replace(self.folder / OFFSETS)
            files = {name: described(self.folder / name) for name in (DATA, OFFSETS)}
            facts = {**self._facts, "positions": int(self._positions.sum()), "files": files}
            manifest = write_manifest(self.folder, facts)
            (self.folder / UNFINISHED).unlink(missing_ok=True)
        provenance.wrote(self.folder, rows=self._starts.size)
        return manifest

    def _join(self, data: IO[bytes]) -> int:
        """Write the frames again in the order of the documents, short ones together; return their size."""
        groups = [*_groups(self._positions.tolist())]
        # Of long documents that came in order, the file is what it would be.
        if len(groups) == self._starts.size and (np.diff(self._starts) > 0).all():
            return data.seek(0, os.SEEK_END)
        scratch, starts = self.folder / f".{DATA}.partial", self._starts.copy()
        with scratch.open("wb") as out:
            for first, end in groups:
                starts[first:end] = out.tell()
                if end - first == 1:
                    out.write(self._frame(data, first))
                else:
                    out.write(_framed(first, *(self._document(data, each) for each in range(first, end))))
            size = out.tell()
        scratch.replace(self.folder / DATA)
        self._starts = starts
        return size

    def _frame(self, data: IO[bytes], number: int) -> bytes:
        data.seek(self._starts[number])
        head = data.read(FRAME.size)
        return head + data.read(FRAME.unpack(head)[1])

    def _document(self, data: IO[bytes], number: int) -> TopLogprobs:
        frame = self._frame(data, number)
        first: int = FRAME.unpack_from(frame)[0]
        return decode(frame[FRAME.size :], *self._shape)[number - first]


def _framed(first: int, *documents: TopLogprobs) -> bytes:
    record = encode(*documents)
    return FRAME.pack(first, len(record), crc32(record)) + record


def _groups(positions: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the first document of each frame, and that after its last one."""
    first = total = 0
    for number, count in enumerate(positions):
        total += count
        if total >= _ENOUGH or number - first == _MOST_DOCUMENTS - 1:
            yield first, number + 1
            first, total = number + 1, 0
    if first < len(positions):
        yield first, len(positions)


@contextmanager
def open_writer(output: str | Path, facts: Mapping[str, Any]) -> Iterator[LogitsWriter]:
    """Open a directory of logits to write what it lacks.

    Args:
        output: the directory: a new or empty one, or one that an earlier run with the same facts has begun.
        facts: `teacher`, `tokenizer`, `shards` and `options`, as the manifest has them.

    Raises:
        UsageError: the directory holds something else.
        InputError: it holds logits of another teacher, tokenizer, shards or options.
        FileError: another process writes there, or it cannot be written.
    """
    folder = Path(output)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; logits are a directory, give it another name")
    with writing(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, _BUSY):
        # Inside the lock: a process without it would remove the empty directory of the one that has it.
        try:
            _check_content(folder)
            finished = (folder / MANIFEST).exists()
            if finished or (folder / UNFINISHED).exists():
                _check_same(folder, read_manifest(folder, MANIFEST if finished else UNFINISHED), facts)
            with writing(str(folder)):
                writer = LogitsWriter(folder, facts, finished=finished)
            with closing(writer):
                yield writer
        finally:
            with suppress(OSError):  # not empty: it holds logits
                folder.rmdir()


def _check_content(folder: Path) -> None:
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise FileError(folder, f"cannot be read: {error.strerror}") from None
    strange = [name for name in names if name.removeprefix(".").removesuffix(".partial") not in NAMES]
    if strange:
        problem = f"holds {strange[0]!r}, which does not belong to logits; give another directory"
        raise UsageError(f"{folder}: {problem}")
    for name in names:
        if name.endswith(".partial"):
            (folder / name).unlink()


def _check_same(folder: Path, made: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    if found := differences(made, facts):
        advice = "give another directory, or remove this one"
        raise InputError(folder, f"holds logits that differ in {' and '.join(found)}: {advice}")
