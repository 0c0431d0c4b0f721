"""Token shards: what ``dataprep tokenize`` writes and a trainer reads.

A directory with ``manifest.json`` and, for each shard, arrays that are mapped into memory::

    …-ids-00000.bin        token ids of all documents, one after the other: uint16 or uint32, little-endian
    …-mask-00000.bin       one bit a token, the first token's the highest: whether it is trained on
    …-offsets-00000.bin    uint64, documents + 1: document d has the tokens offsets[d] to offsets[d + 1]
    …-rows-00000.bin       uint64, the row of all inputs (from 0, with those left out) that each document is
    …-sequences-00000.bin  packed shards: uint64, sequences + 1: sequence s has the documents s to s + 1 of it
    …-tokenizer.model      a copy of the tokenizer's file

The manifest is the last thing to be written, and names the rest with their sizes and SHA-256: a directory
is what its manifest says, or no shards at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dataprep.core.errors import InputError, TokenizerError, UsageError
from dataprep.core.io import open_mapped
from dataprep.tokens.shards.manifest import AGAIN, read_manifest, sha256_of
from dataprep.tokens.tokenizers.loading import load_tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataprep.tokens.tokenizers.base import Tokenizer


class Sequence(NamedTuple):
    """One packed sequence of N positions.

    Attributes:
        ids: N token ids, padded at the end.
        mask: N booleans: whether a position is trained on. Never padding, nor the first token of a
            document: nothing in the document stands before it to predict it from.
        bounds: where each document begins, and the end of the last; what is from there on is padding.
    """

    ids: NDArray[Any]
    mask: NDArray[np.bool_]
    bounds: NDArray[np.int64]

    @property
    def positions(self) -> NDArray[np.int64]:
        """N positions that begin again from 0 at each document, and at the padding."""
        starts = np.zeros(self.ids.size, dtype=np.int64)
        inside = self.bounds[self.bounds < self.ids.size]
        starts[inside] = inside
        return np.arange(self.ids.size) - np.maximum.accumulate(starts)


class Source(NamedTuple):
    """Where a document comes from.

    Attributes:
        name: the input file's name when the shards were made, without its folder; ``-`` for standard input.
        row: its row in that file, from 1 as in messages; blank lines are no rows.
    """

    name: str
    row: int


@dataclass(frozen=True, slots=True)
class _Arrays:
    """The arrays of one shard."""

    ids: NDArray[Any]
    mask: NDArray[np.uint8]
    offsets: NDArray[np.uint64]
    rows: NDArray[np.uint64]
    sequences: NDArray[np.uint64] | None


class Shards:
    """Finished shards, opened for reading. Picklable: another process maps the same files.

    Attributes:
        path: the directory.
        manifest: what ``manifest.json`` holds.
        documents: how many documents there are, pieces of divided ones counted each; also ``len()``.
        tokens: how many tokens.
        trained: how many of them are trained on.
        sequences: how many sequences they are packed into; 0 where they are not.
        size: positions of a sequence; 0 where they are not packed.
        vocab_size: one more than the largest id that there can be: the embeddings that a model needs.
        pad_id: the id that sequences are filled up with.
        chat_format: the name of the chat format that the conversations are in.
        fingerprint: the tokenizer's, 64 hex digits.
    """

    def __init__(self, path: Path, manifest: Mapping[str, Any], arrays: list[_Arrays]) -> None:
        self.path = path
        self.manifest = manifest
        self.documents: int = manifest["documents"]
        self.tokens: int = manifest["tokens"]
        self.trained: int = manifest["trained"]
        self.sequences: int = manifest["sequences"]
        self.size: int = manifest["options"]["pack"] or 0
        self.vocab_size: int = manifest["tokenizer"]["vocab_size"]
        self.pad_id: int = manifest["pad_id"]
        self.chat_format: str = manifest["chat_format"]["name"]
        self.fingerprint: str = manifest["tokenizer"]["fingerprint"]
        self._arrays = arrays
        self._rows = _before([each["rows"] for each in manifest["inputs"]])
        self._documents = _before([each["documents"] for each in manifest["shards"]])
        self._sequences = _before([each["sequences"] for each in manifest["shards"]])

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        tokenizer: Tokenizer | None = None,
        vocab_size: int | None = None,
        verify: bool = True,
    ) -> Shards:
        """The shards in a directory, mapped into memory.

        Args:
            path: the directory.
            tokenizer: they must have been made with this one.
            vocab_size: they must fit a model with as many embeddings.
            verify: compare every array with its SHA-256; their sizes are always compared.

        Raises:
            FileError: there are no finished shards, or they cannot be read.
            InputError: an array or the manifest is damaged, or of another version.
            TokenizerError: they were made with another tokenizer, or do not fit the model.
        """
        folder = Path(path)
        manifest = read_manifest(folder)
        made = manifest["tokenizer"]
        if tokenizer is not None:
            _check_tokenizer(folder, made, tokenizer)
        if vocab_size is not None and vocab_size < made["vocab_size"]:
            raise TokenizerError(
                f"{folder}: made with a vocabulary of {made['vocab_size']:,} tokens, and the model has "
                f"{vocab_size:,}: give the model's own tokenizer"
            )
        if made["file"] is not None:
            _map(folder / made["file"]["name"], made["file"], verify)
        return cls(
            folder, manifest, [_open_shard(folder, manifest, each, verify) for each in manifest["shards"]]
        )

    def __reduce__(self) -> tuple[Any, tuple[Path, str]]:
        """A process that is given shards maps the files itself; they must not have been replaced since."""
        return _open_again, (self.path, self.manifest["checksum"])

    def __len__(self) -> int:
        return self.documents

    def __iter__(self) -> Iterator[tuple[NDArray[Any], NDArray[np.bool_]]]:
        return (self.document(number) for number in range(self.documents))

    def document(self, number: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Ids (a view of the file) and mask of document ``number``, shape ``(tokens,)`` each.

        Raises:
            IndexError: there is none.
        """
        shard, inside = _locate(self._documents, number)
        arrays = self._arrays[shard]
        return _between(arrays, int(arrays.offsets[inside]), int(arrays.offsets[inside + 1]))

    @property
    def longest(self) -> int:
        """Tokens of the longest document; 0 where there is none."""
        return max(
            (int(np.diff(each.offsets).max()) for each in self._arrays if each.offsets.size > 1), default=0
        )

    def row(self, number: int) -> int:
        """Which row of all inputs, from 0, document ``number`` is, or is a piece of.

        Rows that were left out are counted, so it is also the row's place in the inputs.

        Raises:
            IndexError: there is no such document.
        """
        shard, inside = _locate(self._documents, number)
        return int(self._arrays[shard].rows[inside])

    def source(self, number: int) -> Source:
        """The file and the row in it that document ``number`` comes from.

        Raises:
            IndexError: there is no such document.
        """
        file, inside = _locate(self._rows, self.row(number))
        return Source(self.manifest["inputs"][file]["name"], inside + 1)

    def load_tokenizer(self) -> Tokenizer:
        """The tokenizer that the shards were made with, out of their own copy of its file.

        Raises:
            TokenizerError: they have no copy, since they were made with a tokenizer that was no file; or
                it is another tokenizer now.
            FileError: the copy cannot be read.
            MissingDependencyError: the tokenizer's library is not installed (extra ``tokens``).
        """
        made = self.manifest["tokenizer"]
        if made["file"] is None and made["name"] is None:
            raise TokenizerError(
                f"{self.path}: holds no copy of its tokenizer: load the one it was made with"
            )
        found = load_tokenizer(made["name"] if made["file"] is None else self.path / made["file"]["name"])
        _check_tokenizer(self.path, made, found)
        return found

    def sequence(self, number: int) -> Sequence:
        """Packed sequence ``number``: ids and mask of N positions, and where its documents begin.

        Raises:
            IndexError: there is none.
            UsageError: the shards are not packed.
        """
        if not self.size:
            raise UsageError(f"{self.path}: not packed: make the shards with --pack N, or read documents")
        shard, inside = _locate(self._sequences, number)
        arrays = self._arrays[shard]
        assert arrays.sequences is not None
        first, last = int(arrays.sequences[inside]), int(arrays.sequences[inside + 1])
        offsets = arrays.offsets[first : last + 1].astype(np.int64)
        found, trained = _between(arrays, int(offsets[0]), int(offsets[-1]))
        bounds = offsets - offsets[0]
        ids = np.full(self.size, self.pad_id, dtype=arrays.ids.dtype)
        mask = np.zeros(self.size, dtype=np.bool_)
        ids[: found.size] = found
        mask[: found.size] = trained
        mask[bounds[:-1]] = False
        return Sequence(ids, mask, bounds)


def _open_again(path: Path, expected: str) -> Shards:
    shards = Shards.open(path, verify=False)
    if shards.manifest["checksum"] != expected:
        raise InputError(path, "the shards were replaced by others since they were opened; open them again")
    return shards


def _check_tokenizer(folder: Path, made: Mapping[str, Any], tokenizer: Tokenizer) -> None:
    if tokenizer.fingerprint != made["fingerprint"]:
        raise TokenizerError(
            f"{folder}: made with another tokenizer (fingerprint {made['fingerprint'][:16]}…, this one's "
            f"is {tokenizer.fingerprint[:16]}…): {AGAIN}, or give the tokenizer that they were made with"
        )


def id_type(vocab_size: int) -> np.dtype[Any]:
    """The type that ids of a vocabulary are stored in."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def _open_shard(folder: Path, manifest: Mapping[str, Any], shard: Mapping[str, Any], verify: bool) -> _Arrays:
    """The arrays of one shard, each of the size, and with ``verify`` the content, that the manifest says."""
    mapped = {name: _map(folder / each["name"], each, verify) for name, each in shard["files"].items()}
    offsets = np.frombuffer(mapped["offsets"], dtype="<u8")
    ids = np.frombuffer(mapped["ids"], dtype=manifest["dtype"])
    rows = np.frombuffer(mapped["rows"], dtype="<u8")
    sizes = (offsets.size - 1, rows.size, ids.size, offsets[-1])
    if sizes != (shard["documents"], shard["documents"], shard["tokens"], ids.size):
        raise InputError(folder, f"the arrays' sizes do not fit one another; {AGAIN}")
    packed = "sequences" in mapped
    return _Arrays(
        ids,
        np.frombuffer(mapped["mask"], dtype=np.uint8),
        offsets,
        rows,
        np.frombuffer(mapped["sequences"], dtype="<u8") if packed else None,
    )


def _map(path: Path, described: Mapping[str, Any], verify: bool) -> Any:
    data = open_mapped(str(path))
    if len(data) != described["bytes"]:
        found = f"found {len(data):,} bytes; expected {described['bytes']:,}"
        raise InputError(path, f"damaged, or cut short: {found}; {AGAIN}")
    if verify and sha256_of(path) != described["sha256"]:
        raise InputError(path, f"damaged: its content is not what was written; {AGAIN}")
    return data


def _before(counts: list[int]) -> NDArray[np.int64]:
    """How many there are before each shard, and in all, shape ``(shards + 1,)``."""
    return np.cumsum([0, *counts], dtype=np.int64)


def _locate(before: NDArray[np.int64], number: int) -> tuple[int, int]:
    """The shard that number ``number`` of all is in, and its number there."""
    count = int(before[-1])
    place = number + count if number < 0 else number
    if not 0 <= place < count:
        raise IndexError(f"found {number}; there are {count:,}")
    shard = int(np.searchsorted(before, place, side="right")) - 1
    return shard, place - int(before[shard])


def _between(arrays: _Arrays, start: int, end: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Ids and mask of the tokens from ``start`` to before ``end``."""
    bits = np.unpackbits(arrays.mask[start >> 3 : (end + 7) >> 3])
    skip = start & 7
    return arrays.ids[start:end], bits[skip : skip + end - start].view(np.bool_)
