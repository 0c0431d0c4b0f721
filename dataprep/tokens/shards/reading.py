"""Read token shards, which ``dataprep tokenize`` writes.

A directory with ``manifest.json`` and, for each shard, arrays whose parts are read when they are needed::

    …-ids-00000.bin        token ids of all documents, one after the other: uint16 or uint32, little-endian
    …-mask-00000.bin       one bit for each token, the highest first: whether it is in the loss
    …-offsets-00000.bin    uint64, documents + 1: document d has the tokens offsets[d] to offsets[d + 1]
    …-rows-00000.bin       uint64, the input row (from 0, with those left out) that each document is made of
    …-sequences-00000.bin  packed only: uint64, sequences + 1: documents sequences[s] to [s + 1] are in s
    …-tokenizer.model      a copy of the tokenizer's file (``.json`` for a tokenizer.json)

The manifest is written last, and names the other files with their sizes and SHA-256. So a directory holds
either what its manifest says or no shards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dataprep.core import provenance
from dataprep.core.errors import FileError, InputError, TokenizerError, UsageError
from dataprep.core.io import FileBytes, check_local
from dataprep.core.io.part_files import MIXTURE
from dataprep.tokens.shards.arrays import Array, Arrays, between
from dataprep.tokens.shards.manifest import AGAIN, MIX_AGAIN, read_manifest, sha256_of
from dataprep.tokens.tokenizers.loading import load_tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataprep.tokens.tokenizers.base import Tokenizer


class Sequence(NamedTuple):
    """One packed sequence of N positions."""

    ids: NDArray[Any]
    mask: NDArray[np.bool_]  # in the loss or not; padding and first tokens of documents never are
    bounds: NDArray[np.int64]  # where each document begins, and where the last one ends; padding follows

    @property
    def positions(self) -> NDArray[np.int64]:
        """N positions that restart from 0 at each document, and at the padding."""
        starts = np.zeros(self.ids.size, dtype=np.int64)
        inside = self.bounds[self.bounds < self.ids.size]
        starts[inside] = inside
        return np.arange(self.ids.size) - np.maximum.accumulate(starts)


class Source(NamedTuple):
    """Where a document comes from."""

    name: str  # the input file when the shards were made, without its folder; `-` for standard input
    row: int  # its row in that file, counted from 1; blank lines do not count


class Shards:
    """Finished shards, opened for reading. Picklable: another process opens the same files."""

    def __init__(self, path: Path, manifest: Mapping[str, Any], arrays: list[Arrays]) -> None:
        self.path = path
        self.manifest = manifest
        self.documents: int = manifest["documents"]  # each piece of a split document counts
        self.tokens: int = manifest["tokens"]
        self.sequences: int = manifest["sequences"]  # 0 if not packed
        self.size: int = manifest["options"]["pack"] or 0  # positions of a sequence; 0 if not packed
        self.vocab_size: int = manifest["tokenizer"]["vocab_size"]
        self.pad_id: int = manifest["pad_id"]  # the id at the end of sequences
        self.chat_format: str = manifest["chat_format"]["name"]
        self.fingerprint: str = manifest["tokenizer"]["fingerprint"]
        # Sequences, or documents if not packed, in each epoch of a mixture; the epochs follow one another.
        self.epochs: tuple[int, ...] = (*manifest.get("epochs", [self.sequences or self.documents]),)
        self._rows = _cumulative([file["rows"] for file in manifest["inputs"]])
        self._arrays = arrays
        if manifest["format"] == MIXTURE:
            return
        self._documents = _cumulative([shard["documents"] for shard in manifest["shards"]])
        self._sequences = _cumulative([shard["sequences"] for shard in manifest["shards"]])

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        tokenizer: Tokenizer | None = None,
        vocab_size: int | None = None,
        verify: bool = True,
    ) -> Shards:
        """Open the shards in a directory; their documents are read when they are needed.

        Args:
            path: the directory.
            tokenizer: the tokenizer that the shards must have been made with.
            vocab_size: the number of embeddings of the model that they must fit.
            verify: whether to compare every array with its SHA-256; sizes are always compared.

        Raises:
            FileError: there are no finished shards, or they cannot be read.
            InputError: an array or the manifest is damaged, or of another version.
            TokenizerError: the shards were made with another tokenizer, or do not fit the model.
        """
        check_local(path, "reading shards")
        folder = Path(path)
        manifest = read_manifest(folder)
        made = manifest["tokenizer"]
        if tokenizer is not None:
            _check_tokenizer(folder, made, tokenizer)
        # An id without an embedding would otherwise fail in the middle of training.
        if vocab_size is not None and vocab_size < made["vocab_size"]:
            raise TokenizerError(
                f"{folder}: made with a vocabulary of {made['vocab_size']:,} tokens, and the model has "
                f"{vocab_size:,}: give the model's own tokenizer"
            )
        if manifest["format"] == MIXTURE:
            return Mixture(folder, manifest, verify)
        # The copy is not loaded here, but damage is to be noticed now and not when it is needed.
        if made["file"] is not None:
            _open(folder / made["file"]["name"], made["file"], verify)
        return cls(
            folder, manifest, [_open_shard(folder, manifest, shard, verify) for shard in manifest["shards"]]
        )

    def __reduce__(self) -> tuple[Any, tuple[Path, str]]:
        # Another process opens the files itself; they must not have been replaced since.
        return _open_again, (self.path, self.manifest["checksum"])

    def __len__(self) -> int:
        return self.documents

    def __iter__(self) -> Iterator[tuple[NDArray[Any], NDArray[np.bool_]]]:
        return (self.document(number) for number in range(self.documents))

    def document(self, number: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return ids (read only) and mask of document ``number``, shape ``(tokens,)`` each."""
        shard, inside = _locate(self._documents, number)
        arrays = self._arrays[shard]
        begin, end = arrays.offsets[inside : inside + 2].tolist()
        return between(arrays, begin, end)

    @property
    def loss_tokens(self) -> int:
        """Number of tokens in the loss, in all documents."""
        count: int = self.manifest["loss_tokens"]
        return count

    def lengths(self) -> NDArray[np.int64]:
        """Return the number of tokens of each document, shape ``(documents,)``."""
        parts = [np.diff(arrays.offsets[0 : arrays.offsets.size]) for arrays in self._arrays]
        return np.concatenate([np.empty(0, dtype=np.uint64), *parts]).view(np.int64)

    @property
    def longest(self) -> int:
        """Number of tokens of the longest document; 0 without documents."""
        return max((arrays.longest() for arrays in self._arrays), default=0)

    def row(self, number: int) -> int:
        """Return the row of all inputs, from 0, that document ``number`` is made of; omitted rows count."""
        shard, inside = _locate(self._documents, number)
        return self._arrays[shard].rows.at(inside)

    def source(self, number: int) -> Source:
        """Return the file and the row in it that document ``number`` is made of."""
        file, inside = _locate(self._rows, self.row(number))
        return Source(self.manifest["inputs"][file]["name"], inside + 1)

    def load_tokenizer(self) -> Tokenizer:
        """Load the tokenizer that the shards were made with, from their copy of its file."""
        made = self.manifest["tokenizer"]
        if made["file"] is None and made["name"] is None:
            raise TokenizerError(
                f"{self.path}: holds no copy of its tokenizer: load the one it was made with"
            )
        source = made["name"] if made["file"] is None else self.path / made["file"]["name"]
        tokenizer = load_tokenizer(source)
        _check_tokenizer(self.path, made, tokenizer)
        return tokenizer

    def sequence(self, number: int) -> Sequence:
        """Return packed sequence ``number``: ids and mask of N positions, and where its documents begin."""
        if not self.size:
            raise UsageError(f"{self.path}: not packed: make the shards with --pack N, or read documents")
        tokens, in_loss, bounds = self._packed(number)
        ids = np.full(self.size, self.pad_id, dtype=id_type(self.vocab_size))
        mask = np.zeros(self.size, dtype=np.bool_)
        ids[: tokens.size] = tokens
        mask[: tokens.size] = in_loss
        # Nothing in its document stands before the first token, from which it could be predicted.
        mask[bounds[:-1]] = False
        return Sequence(ids, mask, bounds)

    def documents_in(self, number: int) -> range:
        """Return the numbers of the documents in packed sequence ``number``."""
        shard, inside = _locate(self._sequences, number)
        starts, before = self._arrays[shard].sequences, int(self._documents[shard])
        assert starts is not None
        first, last = starts[inside : inside + 2].tolist()
        return range(before + first, before + last)

    def _packed(self, number: int) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.int64]]:
        """Return ids, mask and bounds of the documents of a packed sequence."""
        shard, inside = _locate(self._sequences, number)
        arrays = self._arrays[shard]
        assert arrays.sequences is not None
        first, last = arrays.sequences[inside : inside + 2].tolist()
        offsets = arrays.offsets[first : last + 1].astype(np.int64)
        tokens, in_loss = between(arrays, int(offsets[0]), int(offsets[-1]))
        return tokens, in_loss, offsets - offsets[0]


class Mixture(Shards):
    """Documents of several directories of shards in an order of their own; ``mix_shards`` makes it.

    The directory holds the order alone: for each document, its number among all documents of the sources,
    and if packed, as in shards, where sequences begin. Documents are read from the sources.
    """

    def __init__(self, path: Path, manifest: Mapping[str, Any], verify: bool) -> None:
        super().__init__(path, manifest, [])
        self._sources = [_open_source(path, described, verify) for described in manifest["sources"]]
        self._firsts = _cumulative([source["documents"] for source in manifest["sources"]])
        total = int(self._firsts[-1])
        self._order = Array(_open_named(path, manifest["order"], verify), number_type(total))
        described = manifest.get("sequence_starts")
        self._starts = Array(_open_named(path, described, verify), "<u8") if described else None
        starts = self._starts
        if (
            self._order.size != self.documents
            or self._order.largest() >= total
            or sum(self.epochs) != (self.sequences or self.documents)
            or not all(self.epochs)
            or bool(self.size) != (starts is not None)
            or (
                starts is not None
                and (starts.size != self.sequences + 1 or not starts.rises_to(self.documents))
            )
        ):
            raise InputError(path, f"the mixture's numbers do not fit one another; {MIX_AGAIN}")

    @property
    def loss_tokens(self) -> int:
        """Number of tokens in the loss: all documents are read for it."""
        return sum(int(np.count_nonzero(mask)) for _, mask in self)

    @property
    def longest(self) -> int:
        """Number of tokens of the longest document; 0 without documents."""
        longest: int = self.manifest["longest"]
        return longest

    def lengths(self) -> NDArray[np.int64]:
        """Return the number of tokens of each document, shape ``(documents,)``."""
        lengths = np.concatenate([source.lengths() for source in self._sources])
        mixed: NDArray[np.int64] = lengths[self._order[0 : self._order.size]]
        return mixed

    def document(self, number: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return ids (read only) and mask of document ``number``, shape ``(tokens,)`` each."""
        source, inside = self.drawn_from(number)
        return source.document(inside)

    def row(self, number: int) -> int:
        """Return the row of the inputs of all sources, from 0, that document ``number`` is made of."""
        source, inside = self._place(number)
        before = sum(int(other._rows[-1]) for other in self._sources[:source])
        return before + self._sources[source].row(inside)

    def drawn_from(self, number: int) -> tuple[Shards, int]:
        """Return the shards that document ``number`` is read from, and its number there."""
        source, inside = self._place(number)
        return self._sources[source], inside

    def load_tokenizer(self) -> Tokenizer:
        """Load the tokenizer that all sources were made with, from the first one's copy of its file."""
        return self._sources[0].load_tokenizer()

    def _place(self, number: int) -> tuple[int, int]:
        """Return the source of a document, and its number there."""
        _, inside = _locate(_cumulative([self.documents]), number)
        return _locate(self._firsts, self._order.at(inside))

    def documents_in(self, number: int) -> range:
        """Return the numbers of the documents in packed sequence ``number``."""
        assert self._starts is not None
        _, inside = _locate(_cumulative([self.sequences]), number)
        return range(*self._starts[inside : inside + 2].tolist())

    def _packed(self, number: int) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.int64]]:
        ids, masks = zip(*map(self.document, self.documents_in(number)), strict=True)
        return np.concatenate(ids), np.concatenate(masks), _cumulative([part.size for part in ids])


def number_type(count: int) -> str:
    """Return the type of numbers below ``count`` in a mixture's order."""
    return "<u4" if count <= 1 << 32 else "<u8"


def _open_source(folder: Path, described: Mapping[str, Any], verify: bool) -> Shards:
    path = folder / described["path"]
    if not path.is_dir():
        raise FileError(folder, f"mixes shards that are not there: {path}; put them back, or {MIX_AGAIN}")
    shards = Shards.open(path, verify=verify)
    if shards.manifest["checksum"] != described["checksum"] or shards.documents != described["documents"]:
        raise InputError(folder, f"the shards in {path} were made again since they were mixed; {MIX_AGAIN}")
    return shards


def _open_named(folder: Path, described: Mapping[str, Any], verify: bool) -> FileBytes:
    return _open(folder / described["name"], described, verify)


def _open_again(path: Path, expected: str) -> Shards:
    # Not verified again: the process that sent them has done that.
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
    """Return the type in which the ids of a vocabulary are stored."""
    # Two bytes halve the files of small vocabularies; the byte order is the same on every machine.
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def _open_shard(folder: Path, manifest: Mapping[str, Any], shard: Mapping[str, Any], verify: bool) -> Arrays:
    opened = {kind: _open(folder / file["name"], file, verify) for kind, file in shard["files"].items()}
    vocab_size = manifest["tokenizer"]["vocab_size"]
    if manifest["dtype"] != id_type(vocab_size).str or any(
        len(opened[kind]) % 8 for kind in _WIDE & {*opened}
    ):
        raise InputError(folder, f"the arrays' types do not fit one another; {AGAIN}")
    if len(opened["ids"]) != shard["tokens"] * id_type(vocab_size).itemsize:
        raise InputError(folder, f"the arrays' sizes do not fit one another; {AGAIN}")
    offsets, rows = Array(opened["offsets"], "<u8"), Array(opened["rows"], "<u8")
    ids, mask = Array(opened["ids"], manifest["dtype"]), Array(opened["mask"], "u1")
    sequences = Array(opened["sequences"], "<u8") if "sequences" in opened else None
    sizes = (offsets.size - 1, rows.size, mask.size)
    if sizes != (shard["documents"], shard["documents"], (ids.size + 7) // 8):
        raise InputError(folder, f"the arrays' sizes do not fit one another; {AGAIN}")
    known = sum(file["rows"] for file in manifest["inputs"])
    if (
        not offsets.rises_to(ids.size)
        or rows.largest() >= known
        or (sequences is not None and not sequences.rises_to(rows.size))
        # A pass over all ids is as much work as their digest.
        or (verify and ids.largest() >= vocab_size)
    ):
        raise InputError(folder, f"the arrays' numbers do not fit one another; {AGAIN}")
    return Arrays(ids, mask, offsets, rows, sequences)


_WIDE = {"offsets", "rows", "sequences"}


def _open(path: Path, described: Mapping[str, Any], verify: bool) -> FileBytes:
    data = FileBytes(str(path))
    provenance.digested(path, described["sha256"])
    if len(data) != described["bytes"]:
        sizes = f"found {len(data):,} bytes; expected {described['bytes']:,}"
        raise InputError(path, f"damaged, or cut short: {sizes}; {AGAIN}")
    if verify and sha256_of(path) != described["sha256"]:
        raise InputError(path, f"damaged: its content is not what was written; {AGAIN}")
    return data


def _cumulative(counts: list[int]) -> NDArray[np.int64]:
    """Return the sum of the counts before each item, and of all, shape ``(items + 1,)``."""
    return np.cumsum([0, *counts], dtype=np.int64)


def _locate(cumulative: NDArray[np.int64], number: int) -> tuple[int, int]:
    """Return the shard that holds item ``number`` of all, and the number of the item in it."""
    count = int(cumulative[-1])
    index = number + count if number < 0 else number
    if not 0 <= index < count:
        raise IndexError(f"found {number}; there are {count:,}")
    shard = int(np.searchsorted(cumulative, index, side="right")) - 1
    return shard, index - int(cumulative[shard])
