"""Write token shards: gather tokens as rows are read, then put them in order and in place.

Tokens are gathered in flat arrays, in a hidden folder inside the directory of shards. The shards are written
there too, and moved beside the old ones under other names. The manifest is replaced last, in one step: until
then the directory holds the old shards, and from then on the new ones.
"""

from __future__ import annotations

import mmap
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from dataprep.core import provenance
from dataprep.core.errors import FileError, UsageError
from dataprep.core.io import check_local, new_folder, open_mapped, writing
from dataprep.tokens.shards.manifest import FORMAT, MANIFEST, VERSION, checksum, sha256_of
from dataprep.tokens.shards.packing import Packed

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Names of what a directory of shards may hold beside the manifest.
OURS = re.compile(
    r"[0-9a-f]{16}-([a-z]+-\d{5}\.bin|tokenizer\.(model|json))"
    r"|\.(shards\.[0-9a-f]{16}|\d+|manifest\.json\.\d+)\.partial"
)
SHARD_TOKENS = 1 << 29  # 2 GiB of ids of four bytes
# Tokens that are gathered at a time. Small, because the system maps 16 pages around each document that is
# touched, and they stay in memory until the chunk is done.
CHUNK_TOKENS = 1 << 16


class BitFile:
    """A file of mask bits."""

    def __init__(self, path: Path) -> None:
        self._out = path.open("wb")
        self._carry = np.empty(0, dtype=np.uint8)  # bits that do not fill a byte yet

    def add(self, bits: NDArray[np.uint8]) -> None:
        """Add bits, one byte of 0 or 1 for each."""
        bits = np.concatenate([self._carry, bits])
        full = bits.size & ~7
        self._out.write(np.packbits(bits[:full]).data)
        self._carry = bits[full:].copy()

    def close(self) -> None:
        """Write the last byte, filled up with 0."""
        if not self._out.closed:
            self._out.write(np.packbits(self._carry).data)
            self._out.close()


class Buffer:
    """The tokens of all documents in the order of their rows, on disk; ``open_buffer`` makes it."""

    def __init__(self, folder: Path, dtype: np.dtype[Any]) -> None:
        self.folder = folder  # hidden, for everything unfinished
        self.dtype = dtype
        self.ids = folder / "ids"
        self.mask = folder / "mask"
        self.loss_tokens = 0
        self.lengths = np.empty(0, dtype=np.int64)  # of each document, once the buffer is closed
        self.rows = np.empty(0, dtype=np.int64)  # the input row, from 0, of each document, once it is closed
        self._ids_out = self.ids.open("wb")
        self._bits = BitFile(self.mask)
        self._lengths: list[NDArray[np.uint32]] = []
        self._rows: list[NDArray[np.int64]] = []

    @property
    def path(self) -> str:
        """The directory of shards, for messages."""
        return str(self.folder.parent)

    @property
    def direct(self) -> str:
        """The file of ids, which worker processes write into."""
        return str(self.ids)

    def write(self, ids: bytes) -> None:
        """Write the ids of documents."""
        self._ids_out.write(ids)

    def add(self, bits: bytes, lengths: NDArray[np.uint32], rows: NDArray[np.int64]) -> None:
        """Add documents whose ids are written: mask bits, and length and input row of each document."""
        count = int(lengths.sum(dtype=np.int64))
        mask = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=count)
        self.loss_tokens += int(np.count_nonzero(mask))
        self._bits.add(mask)
        self._lengths.append(lengths)
        self._rows.append(rows)

    def close(self) -> None:
        """Finish the files."""
        self._bits.close()
        self._ids_out.close()
        if self._lengths:
            self.lengths = np.concatenate(self._lengths).astype(np.int64)
            self.rows = np.concatenate(self._rows)

    def abandon(self) -> None:
        """Close the files after an error."""
        for file in (self._bits, self._ids_out):
            with suppress(OSError):
                file.close()


def check_directory(output: str | Path) -> Path:
    """Return the directory that shards may be written to: a new or empty one, or one of shards."""
    check_local(output, "a directory of shards")
    folder = Path(output)
    try:
        inside = sorted(folder.iterdir()) if folder.exists() else []
    except NotADirectoryError:
        raise UsageError(f"{output}: is a file; shards are a directory, give it another name") from None
    except OSError as error:
        raise FileError(output, f"cannot be read: {error.strerror}") from None
    # Old shards are removed when new ones are finished, so nothing else may be next to them.
    strange = [path.name for path in inside if path.name != MANIFEST and not OURS.fullmatch(path.name)]
    if strange:
        raise UsageError(
            f"{output}: holds {strange[0]!r}, which does not belong to shards; give another directory"
        )
    return folder


@contextmanager
def open_buffer(output: Path, dtype: np.dtype[Any]) -> Iterator[Buffer]:
    """Open a buffer in the directory ``output``; what is unfinished at the end is removed."""
    new = not output.exists()
    try:
        with writing(str(output)):
            output.mkdir(parents=True, exist_ok=True)
            busy = "another process is making shards there; wait for it, or give another directory"
            with locked(output, busy), new_folder(output / "shards") as folder:
                buffer = Buffer(folder, dtype)
                try:
                    yield buffer
                finally:
                    buffer.abandon()
    finally:
        if new:
            with suppress(OSError):  # not empty: it holds the finished shards
                output.rmdir()


@contextmanager
def locked(folder: Path, busy: str) -> Iterator[None]:
    """Hold the lock of a directory; raise ``FileError`` with ``busy`` if another process holds it."""
    # Each process removes what does not belong to its own work, so two must not write at a time.
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    directory = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileError(folder, busy) from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(directory)


def finish(
    buffer: Buffer,
    packed: Packed,
    facts: Mapping[str, Any],
    *,
    tokenizer: Path | None = None,
    limit: int = SHARD_TOKENS,
) -> dict[str, Any]:
    """Make shards of up to about ``limit`` tokens, put them in place and return the manifest."""
    # Named by the key, so that new files never overwrite those of the old shards.
    output, tag = buffer.folder.parent, facts["key"][:16]
    gatherer = _Gatherer(buffer, packed)
    with writing(str(output)):
        shards = [
            gatherer.write_shard(f"{tag}-{{}}-{number:05}.bin", begin, end)
            for number, (begin, end) in enumerate(pairwise(_cuts(packed, limit)))
        ]
        copy = None
        if tokenizer is not None:
            # Named by what it is, so that other programs read it too, whatever the original was called.
            is_json = tokenizer.read_bytes().lstrip().startswith(b"{")
            copy = buffer.folder / f"{tag}-tokenizer.{'json' if is_json else 'model'}"
            shutil.copyfile(tokenizer, copy)
        manifest: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            **facts,
            "tokenizer": facts["tokenizer"] | {"file": None if copy is None else described(copy)},
            "dtype": buffer.dtype.str,
            "documents": int(packed.lengths.size),
            "tokens": int(packed.lengths.sum()),
            "loss_tokens": buffer.loss_tokens,
            "sequences": packed.sequences,
            "shards": shards,
        }
        manifest["checksum"] = checksum(manifest)
        put_in_place(output, buffer.folder, manifest, _names(manifest))
    provenance.wrote(output, rows=int(packed.lengths.size))
    return manifest


def put_in_place(output: Path, scratch: Path, manifest: Mapping[str, Any], names: list[str]) -> None:
    """Move the files of these names and the manifest into the directory; remove what was there before."""
    for name in names:
        (scratch / name).replace(output / name)
    unfinished = scratch / MANIFEST
    unfinished.write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    unfinished.replace(output / MANIFEST)
    _remove_others(output, [*names, scratch.name])


def clear(output: Path, manifest: Mapping[str, Any]) -> None:
    """Remove what killed runs left beside finished shards."""
    with suppress(FileError), locked(output, "in use"):  # then the other process does that
        _remove_others(output, _names(manifest))


def _remove_others(output: Path, names: list[str]) -> None:
    # The files of an earlier manifest, and what killed runs left.
    for path in output.iterdir():
        if path.name not in (*names, MANIFEST) and OURS.fullmatch(path.name):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def _names(manifest: Mapping[str, Any]) -> list[str]:
    names = [file["name"] for shard in manifest["shards"] for file in shard["files"].values()]
    if manifest["tokenizer"]["file"] is not None:
        names.append(manifest["tokenizer"]["file"]["name"])
    return names


def _cuts(packed: Packed, limit: int) -> list[int]:
    """Return the pieces at which shards begin and end; no document or sequence is divided."""
    tokens = np.cumsum(packed.lengths) - packed.lengths
    units = packed.offsets[:-1] if packed.size else np.arange(packed.lengths.size)
    number = tokens[units] // limit
    inner = units[1:][number[1:] != number[:-1]].tolist()
    return [0, *inner, int(packed.lengths.size)]


class _Gatherer:
    """Copies pieces from the buffer into the files of a shard."""

    def __init__(self, buffer: Buffer, packed: Packed) -> None:
        self.buffer = buffer
        self.packed = packed
        self._maps = [open_mapped(str(buffer.ids)), open_mapped(str(buffer.mask))]
        self._ids = np.frombuffer(self._maps[0], dtype=buffer.dtype)
        self._mask = np.frombuffer(self._maps[1], dtype=np.uint8)
        before = np.cumsum(buffer.lengths) - buffer.lengths
        self._starts = before[packed.documents] + packed.starts

    def write_shard(self, name: str, begin: int, end: int) -> dict[str, Any]:
        """Write the pieces from ``begin`` to before ``end``; return what the manifest says about them."""
        packed, folder = self.packed, self.buffer.folder
        lengths = packed.lengths[begin:end]
        rows = self.buffer.rows[packed.documents[begin:end]]
        arrays = {"offsets": np.concatenate([[0], np.cumsum(lengths)]), "rows": rows}
        sequences = 0
        if packed.size:
            low, high = np.searchsorted(packed.offsets, [begin, end])
            arrays["sequences"] = packed.offsets[low : high + 1] - begin
            sequences = int(high - low)
        # One shard of whole documents: the buffer is in order already.
        if not packed.size and end - begin == packed.lengths.size:
            self.buffer.ids.rename(folder / name.format("ids"))
            self.buffer.mask.rename(folder / name.format("mask"))
        else:
            self._copy(folder / name.format("ids"), folder / name.format("mask"), begin, end)
        for kind, array in arrays.items():
            (folder / name.format(kind)).write_bytes(array.astype("<u8").data)
        return {
            "documents": end - begin,
            "tokens": int(lengths.sum()),
            "sequences": sequences,
            "files": {kind: described(folder / name.format(kind)) for kind in ("ids", "mask", *arrays)},
        }

    def _copy(self, ids_path: Path, mask_path: Path, begin: int, end: int) -> None:
        """Copy ids and mask bits of pieces, about ``CHUNK_TOKENS`` at a time."""
        starts, lengths = self._starts[begin:end], self.packed.lengths[begin:end]
        total = np.cumsum(lengths)
        marks = np.arange(CHUNK_TOKENS, int(total[-1]) if total.size else 0, CHUNK_TOKENS)
        cuts = np.unique(np.concatenate([[0], np.searchsorted(total, marks), [lengths.size]]))
        mask = BitFile(mask_path)
        with ids_path.open("wb") as ids, closing(mask):
            for first, last in pairwise(cuts.tolist()):
                tokens = _positions(starts[first:last], lengths[first:last])
                ids.write(self._ids[tokens].data)
                mask.add((self._mask[tokens >> 3] >> (7 - (tokens & 7)).astype(np.uint8)) & 1)
                self._release_pages()

    def _release_pages(self) -> None:
        # Documents are read in random order, so without this the whole buffer would end up in memory.
        for mapped in self._maps:
            if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                mapped.madvise(mmap.MADV_DONTNEED)


def _positions(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the positions of all tokens of the pieces, in order."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))


def described(path: Path) -> dict[str, Any]:
    """Return what a manifest says about a file beside it: name, size and SHA-256."""
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256_of(path)}
