"""Writing shards out of flat arrays, and then their manifest.

All is written into a hidden folder inside the shards' directory and moved beside the old arrays under other
names. The manifest is replaced last, in one step: until then the directory holds the old shards, and from
then on the new ones.
"""

from __future__ import annotations

import mmap
import shutil
from collections.abc import Mapping
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from dataprep.core.io import open_mapped, writing
from dataprep.tokens.shards.buffer import OURS, Bits, Flat
from dataprep.tokens.shards.manifest import FORMAT, MANIFEST, VERSION, checksum, sha256_of
from dataprep.tokens.shards.packing import Packed

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHARD_TOKENS = 1 << 29  # 2 GiB of ids of four bytes
CHUNK_TOKENS = 1 << 16  # gathered at a time: the system maps 16 pages around each document that is touched


def finish(
    flat: Flat,
    packed: Packed,
    facts: Mapping[str, Any],
    *,
    tokenizer: Path | None = None,
    limit: int = SHARD_TOKENS,
) -> dict[str, Any]:
    """Make the shards and put them in their place; returns the manifest.

    Args:
        flat: the tokens, closed.
        packed: which pieces of the documents come in which order.
        facts: what else the manifest says; its ``key`` names the files.
        tokenizer: the file of the tokenizer, to be copied beside the arrays.
        limit: tokens of a shard, but for its last document or sequence.

    Raises:
        FileError: the directory cannot be written, or the disk is full.
    """
    output, tag = flat.folder.parent, facts["key"][:16]
    gatherer = _Gatherer(flat, packed)
    with writing(str(output)):
        shards = [
            gatherer.shard(f"{tag}-{{}}-{number:05}.bin", begin, end)
            for number, (begin, end) in enumerate(pairwise(_cuts(packed, limit)))
        ]
        copy = (
            None if tokenizer is None else shutil.copyfile(tokenizer, flat.folder / f"{tag}-tokenizer.model")
        )
        manifest: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            **facts,
            "tokenizer": facts["tokenizer"] | {"file": None if copy is None else _described(copy)},
            "dtype": flat.dtype.str,
            "documents": int(packed.lengths.size),
            "tokens": int(packed.lengths.sum()),
            "trained": flat.trained,
            "sequences": packed.sequences,
            "shards": shards,
        }
        manifest["checksum"] = checksum(manifest)
        _put_in_place(output, flat.folder, manifest)
    return manifest


def _put_in_place(output: Path, scratch: Path, manifest: Mapping[str, Any]) -> None:
    names = [each["name"] for shard in manifest["shards"] for each in shard["files"].values()]
    if manifest["tokenizer"]["file"] is not None:
        names.append(manifest["tokenizer"]["file"]["name"])
    for name in names:
        (scratch / name).replace(output / name)
    unfinished = scratch / MANIFEST
    unfinished.write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    unfinished.replace(output / MANIFEST)
    for path in output.iterdir():  # what the old manifest named, and what killed runs left
        if path.name not in names and OURS.fullmatch(path.name) and path != scratch:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def _cuts(packed: Packed, limit: int) -> list[int]:
    """Positions in the pieces at which the shards begin and end; no document or sequence is divided."""
    tokens = np.cumsum(packed.lengths) - packed.lengths
    units = packed.offsets[:-1] if packed.size else np.arange(packed.lengths.size)
    number = tokens[units] // limit
    inner = units[1:][number[1:] != number[:-1]].tolist()
    return [0, *inner, int(packed.lengths.size)]


class _Gatherer:
    """Collects pieces out of the flat arrays into a shard's files."""

    def __init__(self, flat: Flat, packed: Packed) -> None:
        self.flat = flat
        self.packed = packed
        self._maps = [open_mapped(str(flat.ids)), open_mapped(str(flat.mask))]
        self._ids = np.frombuffer(self._maps[0], dtype=flat.dtype)
        self._mask = np.frombuffer(self._maps[1], dtype=np.uint8)
        before = np.cumsum(flat.lengths) - flat.lengths
        self._starts = before[packed.documents] + packed.starts

    def shard(self, name: str, begin: int, end: int) -> dict[str, Any]:
        """Write the pieces from ``begin`` to before ``end``; returns what the manifest says about them."""
        packed, folder = self.packed, self.flat.folder
        lengths = packed.lengths[begin:end]
        rows = self.flat.rows[packed.documents[begin:end]]
        arrays = {"offsets": np.concatenate([[0], np.cumsum(lengths)]), "rows": rows}
        sequences = 0
        if packed.size:
            low, high = np.searchsorted(packed.offsets, [begin, end])
            arrays["sequences"] = packed.offsets[low : high + 1] - begin
            sequences = int(high - low)
        if not packed.size and end - begin == packed.lengths.size:  # the flat arrays as they are
            self.flat.ids.rename(folder / name.format("ids"))
            self.flat.mask.rename(folder / name.format("mask"))
        else:
            self._copy(folder / name.format("ids"), folder / name.format("mask"), begin, end)
        for kind, array in arrays.items():
            (folder / name.format(kind)).write_bytes(array.astype("<u8").data)
        return {
            "documents": end - begin,
            "tokens": int(lengths.sum()),
            "sequences": sequences,
            "files": {kind: _described(folder / name.format(kind)) for kind in ("ids", "mask", *arrays)},
        }

    def _copy(self, ids_path: Path, mask_path: Path, begin: int, end: int) -> None:
        """Gather ids and mask bits of pieces, about ``CHUNK_TOKENS`` at a time."""
        starts, lengths = self._starts[begin:end], self.packed.lengths[begin:end]
        total = np.cumsum(lengths)
        marks = np.arange(CHUNK_TOKENS, int(total[-1]) if total.size else 0, CHUNK_TOKENS)
        cuts = np.unique(np.concatenate([[0], np.searchsorted(total, marks), [lengths.size]]))
        mask = Bits(mask_path)
        with ids_path.open("wb") as ids, closing(mask):
            for first, last in pairwise(cuts.tolist()):
                tokens = _spread(starts[first:last], lengths[first:last])
                ids.write(self._ids[tokens].data)
                mask.add((self._mask[tokens >> 3] >> (7 - (tokens & 7)).astype(np.uint8)) & 1)
                self._forget()

    def _forget(self) -> None:
        """Give the memory of the pages that were read back to the system."""
        for each in self._maps:
            if isinstance(each, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                each.madvise(mmap.MADV_DONTNEED)


def _spread(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of all tokens of some pieces, in order."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))


def _described(path: Path) -> dict[str, Any]:
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256_of(path)}
