"""Gather the tokens of shards out of part files, by tasks: neither ids nor masks pass the driver.

A part file holds blocks one after the other, each the ids of its documents and then their mask bits. The
driver has the lengths, from which it computes the place of each document. It gives each task the places to
take pieces from and the places to put them to.

If all shards together read the parts about once, each shard is one task that reads for itself: documents in
the order of their rows, or few shards. Packed documents of many shards are read once, and exchanged.
"""

from __future__ import annotations

import hashlib
import io
import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BufferedRandom
from itertools import pairwise
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson

from dataprep.core.io import PartTarget, temporary_folder, writing
from dataprep.core.io.part_files import folder_at
from dataprep.core.io.stores import store_of
from dataprep.core.parallel import Backend, exchange
from dataprep.core.parallel.tasks import run
from dataprep.tokens.shards.arrays import positions_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPAN_BYTES = 16 << 20
"""So much of a part is read at a time; unpacked and with its positions it takes ten times the memory."""
PIECE_BYTES = 256 << 10
"""Pieces that are exchanged should not be smaller: each takes the driver some kilobytes."""
_BATCH = 16  # spans of one task at most; they are in memory together
_READ_TWICE = 2  # shards that read for themselves may read all parts so often
_PACKED_AT_ONCE = 8 << 20

# Pieces of a shard out of one span: first positions in the shard, lengths, ids and mask bits.
Pieces = tuple["NDArray[np.int64]", "NDArray[np.int64]", "NDArray[Any]", "NDArray[np.uint8]"]
# By kind, what the manifest says about a shard's file.
Files = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Span:
    """Blocks of a part file that follow one another.

    Attributes:
        path: the file.
        start: the first byte.
        tokens: number of tokens of each block.
        dtype: the type of ids.
    """

    path: str
    start: int
    tokens: NDArray[np.int64]
    dtype: str

    def read(self) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Return ids and mask of the tokens, one number of 0 or 1 for each."""
        dtype = np.dtype(self.dtype)
        size = int(block_bytes(self.tokens, dtype).sum())
        data = store_of(self.path).read(self.path, self.start, self.start + size)
        assert len(data) == size, f"{self.path}: {len(data):,} bytes at {self.start:,}, expected {size:,}"
        ids, masks, at = [], [], 0
        for count in self.tokens.tolist():
            ids.append(np.frombuffer(data, dtype, count, at))
            at += ids[-1].nbytes
            bits = np.frombuffer(data, np.uint8, (count + 7) // 8, at)
            masks.append(np.unpackbits(bits, count=count))
            at += bits.nbytes
        return np.concatenate(ids), np.concatenate(masks)


def block_bytes(tokens: NDArray[np.int64], dtype: np.dtype[Any]) -> NDArray[np.int64]:
    """Return the bytes of blocks of so many tokens in a part file."""
    sizes: NDArray[np.int64] = tokens * dtype.itemsize + (tokens + 7) // 8
    return sizes


@dataclass(frozen=True, slots=True)
class Cut:
    """Pieces to take out of a span, in the order of their shards and of their places in the span.

    Attributes:
        span: where they are.
        counts: number of pieces for each shard.
        starts: the first token of each piece in the span.
        lengths: number of tokens of each piece.
        places: the first position of each piece in its shard.
    """

    span: Span
    counts: NDArray[np.int64]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    places: NDArray[np.int64]

    def pieces(self) -> list[Pieces | None]:
        """Return the pieces for each shard; ``None`` if there are none."""
        ids, mask = self.span.read()
        cut: list[Pieces | None] = []
        for first, last in pairwise([0, *np.cumsum(self.counts).tolist()]):
            part = slice(first, last)
            taken = [*positions_of(self.starts[part], self.lengths[part])]
            if not taken:
                cut.append(None)
                continue
            cut.append(
                (
                    self.places[part],
                    self.lengths[part],
                    np.concatenate([ids[tokens] for tokens in taken]),
                    np.packbits(np.concatenate([mask[tokens] for tokens in taken])),
                )
            )
        return cut


class ShardTask(NamedTuple):
    """A shard that reads its pieces for itself."""

    number: int
    cuts: list[Cut]


@dataclass(frozen=True, slots=True)
class ShardWriter:
    """Writes the ids and masks of shards; picklable.

    Attributes:
        where: the directory of shards, a path or a URL.
        name: of a file, with places for its kind and the shard's number.
        dtype: the type of ids.
        tokens: number of tokens of each shard.
        target: keeps the record of a shard that is written.
        fingerprint: what the shards' content depends on.
        numbers: the shard of each bucket of an exchange.
    """

    where: str
    name: str
    dtype: str
    tokens: Sequence[int]
    target: PartTarget
    fingerprint: str
    numbers: Sequence[int] = ()

    def __call__(self, task: ShardTask) -> Files:
        """Read the pieces of a shard and write its files; return what the manifest says about them."""
        return self._write(task.number, (pieces for cut in task.cuts for pieces in cut.pieces()))

    def join(self, bucket: int, pieces: Iterator[Pieces | None]) -> Files:
        """Write the files of a shard out of its pieces; return what the manifest says about them."""
        return self._write(self.numbers[bucket], pieces)

    def kept(self) -> dict[int, Files]:
        """Return what an earlier run has written, by the number of the shard."""
        sizes, written = folder_at(self.where).sizes(), {}
        for number, record in self.target.kept().items():
            with suppress(orjson.JSONDecodeError, KeyError, TypeError):  # not what `_write` kept
                read = orjson.loads(record)
                whole = all(sizes.get(file["name"]) == file["bytes"] for file in read["files"].values())
                if read["fingerprint"] == self.fingerprint and whole:
                    written[number] = read["files"]
        return written

    def _write(self, number: int, pieces: Iterable[Pieces | None]) -> Files:
        count = self.tokens[number]
        # Packed documents come in the order of their rows, so a file is filled in any order. Only the local
        # disk is good at that.
        with (
            temporary_folder() as folder,
            writing(str(folder)),
            (folder / "ids").open("w+b") as ids_file,
            (folder / "mask").open("w+b") as mask_file,
        ):
            ids = _Scratch(ids_file, np.dtype(self.dtype), count)
            mask = _Scratch(mask_file, np.dtype(np.uint8), count)
            total = sum(_place(piece, ids, mask) for piece in pieces if piece is not None)
            assert total == count, f"shard {number}: {total:,} tokens arrived"
            files = {
                "ids": self._store("ids", number, ids_file),
                "mask": self._store("mask", number, _packed(mask)),
            }
        self.target.keep(number, orjson.dumps({"fingerprint": self.fingerprint, "files": files}))
        return files

    def _store(self, kind: str, number: int, stream: IO[bytes]) -> dict[str, Any]:
        name = self.name.format(kind, number)
        stream.seek(0)
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        folder_at(self.where).add(name, stream)
        return {"name": name, "bytes": size, "sha256": sha256}


class _Scratch:
    """An array in a file, to be filled in any order."""

    def __init__(self, file: BufferedRandom, dtype: np.dtype[Any], count: int) -> None:
        size = count * dtype.itemsize
        file.truncate(size)
        # A page without room on the disk would end the process with SIGBUS.
        if size and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        self._map = mmap.mmap(file.fileno(), size) if size else None
        self.array: NDArray[Any] = np.frombuffer(self._map or b"", dtype)

    def release(self) -> None:
        """Let the system write the pages back; they would count as memory of this process."""
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


def _place(pieces: Pieces, ids: _Scratch, mask: _Scratch) -> int:
    """Put pieces at their places; return the number of their tokens."""
    places, lengths, given, bits = pieces
    in_loss, done = np.unpackbits(bits, count=given.size), 0
    for positions in positions_of(places, lengths):
        part = slice(done, done + positions.size)
        ids.array[positions], mask.array[positions] = given[part], in_loss[part]
        ids.release()
        mask.release()
        done += positions.size
    return done


def _packed(mask: _Scratch) -> IO[bytes]:
    """Return the mask as bits, an eighth of its size."""
    bits = io.BytesIO()
    for begin in range(0, mask.array.size, _PACKED_AT_ONCE):
        bits.write(np.packbits(mask.array[begin : begin + _PACKED_AT_ONCE]).data)
        mask.release()
    return bits


@dataclass(frozen=True, slots=True)
class Placed:
    """The pieces of shards: where each is among all tokens, and where it belongs.

    Attributes:
        starts: the first token of each piece among those of all blocks.
        lengths: number of tokens of each piece.
        places: the first position of each piece in its shard.
        shards: the number of each piece's shard.
    """

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    places: NDArray[np.int64]
    shards: NDArray[np.int64]

    def part(self, chosen: Any) -> Placed:
        """Return some of the pieces."""
        return Placed(self.starts[chosen], self.lengths[chosen], self.places[chosen], self.shards[chosen])


def gather(
    writer: ShardWriter, placed: Placed, spans: Sequence[Span], *, backend: Backend
) -> Iterator[tuple[int, Files]]:
    """Write the shards that no earlier run has written; yield the number and the files of every shard.

    Args:
        writer: writes a shard.
        placed: the pieces of all shards.
        spans: all blocks, in order.
        backend: where the work is done.
    """
    kept = writer.kept()
    yield from kept.items()
    missing = [number for number in range(len(writer.tokens)) if number not in kept]
    if not missing:
        return
    if kept:
        placed = placed.part(np.isin(placed.shards, missing))
    placed = placed.part(np.argsort(placed.starts, kind="stable"))
    firsts = np.cumsum([0, *(int(span.tokens.sum()) for span in spans)])
    at = np.searchsorted(firsts, placed.starts, side="right") - 1
    if np.unique(placed.shards * len(spans) + at).size <= _READ_TWICE * len(spans):
        tasks = (
            ShardTask(number, _cuts(placed.part(placed.shards == number), spans, firsts))
            for number in missing
        )
        for index, files in run(writer, tasks, backend=backend, window=backend.slots):
            yield missing[index], files
        return
    buckets = np.zeros(len(writer.tokens), dtype=np.int64)
    buckets[missing] = np.arange(len(missing))
    size = sum(int(span.tokens.sum()) for span in spans) * np.dtype(writer.dtype).itemsize
    batch = min(_BATCH, -(-len(missing) * PIECE_BYTES * len(spans) // max(size, 1)))
    joined = exchange(
        Cut.pieces,
        replace(writer, numbers=missing).join,
        _cuts(replace(placed, shards=buckets[placed.shards]), spans, firsts, len(missing)),
        len(missing),
        backend=backend,
        batch=max(1, batch),
    )
    for bucket, files in joined:
        yield missing[bucket], files


def _cuts(placed: Placed, spans: Sequence[Span], firsts: NDArray[np.int64], buckets: int = 0) -> list[Cut]:
    """Return the cuts of all spans that hold one of the pieces, which are in the order of their places.

    Without ``buckets``, all pieces are of one shard.
    """
    cuts = []
    for number, (low, high) in enumerate(pairwise(np.searchsorted(placed.starts, firsts).tolist())):
        if low == high:
            continue
        part = placed.part(slice(low, high))
        counts = np.array([high - low])
        if buckets:
            part = part.part(np.argsort(part.shards, kind="stable"))
            counts = np.bincount(part.shards, minlength=buckets)
        cuts.append(Cut(spans[number], counts, part.starts - firsts[number], part.lengths, part.places))
    return cuts
