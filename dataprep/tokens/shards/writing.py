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
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from dataprep.core import provenance
from dataprep.core.errors import FileError, UsageError
from dataprep.core.io import new_folder, open_mapped, remove_unlocked, writing
from dataprep.core.io.part_files import folder_at
from dataprep.core.io.parts import at_once
from dataprep.core.urls import is_url
from dataprep.tokens.shards.arrays import positions_of
from dataprep.tokens.shards.collecting import BitFile, Buffer, Collected
from dataprep.tokens.shards.manifest import FORMAT, MANIFEST, VERSION, checksum, files_in, sha256_of
from dataprep.tokens.shards.packing import Packed

if TYPE_CHECKING:
    from numpy.typing import NDArray

PARTS = ".shards.parts"  # the folder of what an unfinished run by tasks has done
# Names of what a directory of shards may hold beside the manifest.
OURS = re.compile(
    r"[0-9a-f]{16}-([a-z]+-\d{5}\.bin|tokenizer\.(model|json))"
    r"|\.(shards\.parts|(shards\.[0-9a-f]{16}|\d+|manifest\.json\.\d+)\.partial)"
)
BUSY = "another process is making shards there; wait for it, or give another directory"
SHARD_TOKENS = 1 << 29  # 2 GiB of ids of four bytes


def check_directory(output: str | Path) -> None:
    """Raise an error unless shards may be written to a directory: a new or empty one, or one of shards."""
    try:
        inside = folder_at(str(output)).sizes() if is_url(output) else _inside(Path(output))
    except NotADirectoryError:
        raise UsageError(f"{output}: is a file; shards are a directory, give it another name") from None
    except FileError:
        raise
    except OSError as error:
        raise FileError(output, f"cannot be read: {error.strerror}") from None
    # Old shards are removed when new ones are finished, so nothing else may be next to them.
    strange = [name for name in sorted(inside) if name != MANIFEST and not OURS.fullmatch(name)]
    if strange:
        raise UsageError(
            f"{output}: holds {strange[0]!r}, which does not belong to shards; give another directory"
        )


def _inside(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.exists() else []


@contextmanager
def open_buffer(output: Path, dtype: np.dtype[Any]) -> Iterator[Buffer]:
    """Open a buffer in the directory ``output``; what is unfinished at the end is removed."""
    new = not output.exists()
    try:
        with writing(str(output)):
            output.mkdir(parents=True, exist_ok=True)
            with locked(output, BUSY), new_folder(output / "shards") as folder:
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
    limit: int | None = None,
) -> dict[str, Any]:
    """Make shards of up to about ``limit`` tokens, put them in place and return the manifest.

    ``limit`` defaults to ``SHARD_TOKENS``.
    """
    # Named by the key, so that new files never overwrite those of the old shards.
    output, tag = buffer.folder.parent, facts["key"][:16]
    gatherer = _Gatherer(buffer, packed)
    with writing(str(output)):
        shards = [
            gatherer.write_shard(f"{tag}-{{}}-{number:05}.bin", begin, end)
            for number, (begin, end) in enumerate(pairwise(cuts_of(packed, limit or SHARD_TOKENS)))
        ]
        copy = None
        if tokenizer is not None:
            copy = buffer.folder / copy_name(tag, tokenizer.read_bytes())
            shutil.copyfile(tokenizer, copy)
        manifest = manifest_of(buffer, packed, facts, shards, None if copy is None else described(copy))
        put_in_place(output, buffer.folder, manifest, names_of(manifest))
    provenance.wrote(output, rows=int(packed.lengths.size))
    return manifest


def copy_name(tag: str, tokenizer: bytes) -> str:
    """Return the name of the copy of a tokenizer's file."""
    # Named by what it is, so that other programs read it too, whatever the original was called.
    return f"{tag}-tokenizer.{'json' if tokenizer.lstrip().startswith(b'{') else 'model'}"


def manifest_of(
    collected: Collected,
    packed: Packed,
    facts: Mapping[str, Any],
    shards: list[dict[str, Any]],
    copy: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the manifest of shards; ``copy`` describes the copy of the tokenizer's file."""
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        **facts,
        "tokenizer": facts["tokenizer"] | {"file": copy},
        "dtype": collected.dtype.str,
        "documents": int(packed.lengths.size),
        "tokens": int(packed.lengths.sum()),
        "loss_tokens": collected.loss_tokens,
        "sequences": packed.sequences,
        "shards": shards,
    }
    return manifest | {"checksum": checksum(manifest)}


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """Return the content of the manifest's file."""
    return orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def put_in_place(output: Path, scratch: Path, manifest: Mapping[str, Any], names: list[str]) -> None:
    """Move the files of these names and the manifest into the directory; remove what was there before."""
    for name in names:
        (scratch / name).replace(output / name)
    unfinished = scratch / MANIFEST
    unfinished.write_bytes(manifest_bytes(manifest))
    unfinished.replace(output / MANIFEST)
    remove_others(output, [*names, scratch.name])


def clear(output: str | Path, manifest: Mapping[str, Any]) -> None:
    """Remove what killed runs left beside finished shards."""
    if not is_url(output):  # in a store, nobody knows whether a run is still at work
        with suppress(FileError), locked(Path(output), "in use"):  # then the other process does that
            remove_others(output, names_of(manifest))


def remove_others(output: str | Path, names: Collection[str]) -> None:
    """Remove the files of an earlier manifest, and what killed runs left."""
    if is_url(output):
        folder = folder_at(str(output))
        others = [name for name in folder.sizes() if name not in (*names, MANIFEST)]
        list(at_once(folder.remove, filter(OURS.fullmatch, others), folder))
        return
    for path in Path(output).iterdir():
        if path.name not in (*names, MANIFEST) and OURS.fullmatch(path.name):
            if path.name == PARTS:
                remove_unlocked(path)
            elif path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def names_of(manifest: Mapping[str, Any]) -> list[str]:
    """Return the names of the files beside a manifest."""
    return [file["name"] for file in files_in(manifest)]


def cuts_of(packed: Packed, limit: int) -> list[int]:
    """Return the pieces at which shards begin and end; no document or sequence is divided."""
    tokens = np.cumsum(packed.lengths) - packed.lengths
    units = packed.offsets[:-1] if packed.size else np.arange(packed.lengths.size)
    number = tokens[units] // limit
    inner = units[1:][number[1:] != number[:-1]].tolist()
    return [0, *inner, int(packed.lengths.size)]


def arrays_of(packed: Packed, rows: NDArray[np.int64], begin: int, end: int) -> dict[str, NDArray[Any]]:
    """Return the arrays of a shard besides ids and mask, by kind, as they are stored.

    Args:
        packed: all pieces.
        rows: the input row of each document.
        begin: the shard's first piece.
        end: the piece after its last one.
    """
    lengths = packed.lengths[begin:end]
    arrays = {"offsets": np.concatenate([[0], np.cumsum(lengths)]), "rows": rows[packed.documents[begin:end]]}
    if packed.size:
        low, high = np.searchsorted(packed.offsets, [begin, end])
        arrays["sequences"] = packed.offsets[low : high + 1] - begin
    # Numbers that are not negative have the same bytes with a sign, and most machines then copy nothing.
    return {kind: array.astype("<i8", copy=False) for kind, array in arrays.items()}


def entry_of(arrays: Mapping[str, NDArray[Any]], files: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the manifest says about a shard with these arrays and files."""
    sequences = arrays["sequences"].size - 1 if "sequences" in arrays else 0
    tokens = int(arrays["offsets"][-1])
    return {"documents": arrays["rows"].size, "tokens": tokens, "sequences": sequences, "files": files}


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
        arrays = arrays_of(packed, self.buffer.rows, begin, end)
        # One shard of whole documents: the buffer is in order already.
        if not packed.size and end - begin == packed.lengths.size:
            self.buffer.ids.rename(folder / name.format("ids"))
            self.buffer.mask.rename(folder / name.format("mask"))
        else:
            self._copy(folder / name.format("ids"), folder / name.format("mask"), begin, end)
        for kind, array in arrays.items():
            (folder / name.format(kind)).write_bytes(array.data)
        return entry_of(
            arrays, {kind: described(folder / name.format(kind)) for kind in ("ids", "mask", *arrays)}
        )

    def _copy(self, ids_path: Path, mask_path: Path, begin: int, end: int) -> None:
        """Copy ids and mask bits of pieces."""
        mask = BitFile(mask_path)
        with ids_path.open("wb") as ids, closing(mask):
            for tokens in positions_of(self._starts[begin:end], self.packed.lengths[begin:end]):
                ids.write(self._ids[tokens].data)
                mask.add((self._mask[tokens >> 3] >> (7 - (tokens & 7)).astype(np.uint8)) & 1)
                self._release_pages()

    def _release_pages(self) -> None:
        # Documents are read in random order, so without this the whole buffer would end up in memory.
        for mapped in self._maps:
            if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                mapped.madvise(mmap.MADV_DONTNEED)


def described(path: Path) -> dict[str, Any]:
    """Return what a manifest says about a file beside it: name, size and SHA-256."""
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256_of(path)}
