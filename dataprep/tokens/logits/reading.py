"""Read a teacher's likeliest tokens, which ``dataprep capture`` has written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

from dataprep.core import provenance
from dataprep.core.errors import InputError, TokenizerError
from dataprep.core.io import FileBytes, check_local
from dataprep.tokens.logits.coding import TopLogprobs, decode, joined
from dataprep.tokens.logits.files import AGAIN, DATA, FRAME, OFFSETS, differences, read_manifest
from dataprep.tokens.shards.arrays import Array
from dataprep.tokens.shards.manifest import sha256_of

if TYPE_CHECKING:
    from dataprep.tokens.shards.reading import Shards


class Logits:
    """A teacher's likeliest tokens at each token in the loss of shards, opened for reading.

    Nothing is held in memory: a document's record is read when it is asked for. Picklable: another process
    opens the same files.

    Attributes:
        path: the directory.
        manifest: what it was made from: `teacher`, `tokenizer`, `shards` and `options`.
        documents: number of documents, as many as the shards have.
        positions: number of tokens in the loss, in all documents.
        top_k: number of tokens at each position.
        vocab_size: that of the tokenizer.
        temperatures: the temperatures at which the mass of all other tokens is known.
    """

    def __init__(self, path: Path, manifest: Mapping[str, Any], data: FileBytes, offsets: Array) -> None:
        self.path, self.manifest = path, manifest
        self.documents: int = manifest["shards"]["documents"]
        self.positions: int = manifest["positions"]
        self.top_k: int = manifest["options"]["top_k"]
        self.vocab_size: int = manifest["tokenizer"]["vocab_size"]
        self.temperatures: tuple[float, ...] = (*manifest["options"]["temperatures"],)
        self._data, self._offsets = data, offsets

    @classmethod
    def open(cls, path: str | Path, *, shards: Shards | None = None, verify: bool = True) -> Logits:
        """Open the logits in a directory.

        Args:
            path: the directory.
            shards: the token shards that they must belong to.
            verify: whether to compare the files with their SHA-256; sizes, and the CRC-32 of each record that
                is read, are always compared.

        Raises:
            FileError: there are no finished logits, or they cannot be read.
            InputError: a file is damaged, or the logits belong to other shards.
            TokenizerError: the shards were made with another tokenizer.
        """
        check_local(path, "reading logits")
        folder = Path(path)
        manifest = read_manifest(folder)
        if shards is not None:
            check_shards(folder, manifest, shards)
        opened = {}
        for name in (DATA, OFFSETS):
            found, expected = FileBytes(str(folder / name)), manifest["files"][name]
            provenance.digested(folder / name, expected["sha256"])
            if len(found) != expected["bytes"]:
                sizes = f"found {len(found):,} bytes; expected {expected['bytes']:,}"
                raise InputError(folder / name, f"damaged, or cut short: {sizes}; {AGAIN}")
            if verify and sha256_of(folder / name) != expected["sha256"]:
                raise InputError(folder / name, f"damaged: its content is not what was written; {AGAIN}")
            opened[name] = found
        offsets = Array(opened[OFFSETS], "<u8")
        if offsets.size != manifest["shards"]["documents"] + 1 or not offsets.rises_to(len(opened[DATA])):
            raise InputError(folder, f"the files' sizes do not fit one another; {AGAIN}")
        return cls(folder, manifest, opened[DATA], offsets)

    def __reduce__(self) -> tuple[Any, tuple[Path, str]]:
        # Another process opens the files itself; they must not have been replaced since.
        return _open_again, (self.path, self.manifest["checksum"])

    def __len__(self) -> int:
        return self.documents

    def __iter__(self) -> Iterator[TopLogprobs]:
        return (self.document(number) for number in range(self.documents))

    @property
    def bytes_per_token(self) -> float:
        """Bytes of both files for each token in the loss."""
        return (len(self._data) + self._offsets.size * 8) / max(self.positions, 1)

    def document(self, number: int) -> TopLogprobs:
        """Return the likeliest tokens at the positions of a document that are in the loss.

        Args:
            number: the document's number; negative ones count from the end.

        Raises:
            IndexError: there is no such document.
            InputError: its record is damaged.
        """
        index = number + self.documents if number < 0 else number
        if not 0 <= index < self.documents:
            raise IndexError(f"found {number}; there are {self.documents:,}")
        begin = self._offsets.at(index)
        head = self._data[begin : begin + FRAME.size]
        if len(head) == FRAME.size:
            number, length, crc = FRAME.unpack(head)
            record = self._data[begin + FRAME.size : begin + FRAME.size + length]
            if len(record) == length and crc32(record) == crc:
                documents = decode(record, self.top_k, self.temperatures)
                place: int = index - number
                if 0 <= place < len(documents):
                    return documents[place]
        raise InputError(self.path / DATA, f"damaged at document {index}: its CRC-32 differs; {AGAIN}")

    def batch(self, numbers: Sequence[int]) -> TopLogprobs:
        """Return several documents one after the other.

        ``positions`` stay those in each document; ``document(number).positions.size`` rows belong to each.

        Args:
            numbers: the numbers of the documents, at least one; negative ones count from the end.

        Raises:
            ValueError: there are no numbers.
            IndexError: a number is not one of a document.
            InputError: a document's record is damaged.
        """
        # Not its truth value: an array of numbers has none.
        if not len(numbers):
            raise ValueError("found no document numbers; expected at least one")
        return joined([self.document(number) for number in numbers])


def check_shards(folder: Path, manifest: Mapping[str, Any], shards: Shards) -> None:
    """Raise an error that names what differs, unless logits belong to these shards."""
    wanted = {
        "tokenizer": {"fingerprint": shards.fingerprint},
        "shards": {"checksum": shards.manifest["checksum"]},
    }
    found = differences(manifest, wanted)
    if not found:
        return
    problem = f"{folder}: captured for other data than {shards.path}: {' and '.join(found)} differ"
    if manifest["tokenizer"]["fingerprint"] != shards.fingerprint:
        raise TokenizerError(f"{problem}: capture them again from these shards")
    raise InputError(folder, f"{problem.partition(': ')[2]}: capture them again, or give their shards")


def _open_again(path: Path, expected: str) -> Logits:
    # Not verified again: the process that sent them has done that.
    logits = Logits.open(path, verify=False)
    if logits.manifest["checksum"] != expected:
        raise InputError(path, "the logits were replaced by others since they were opened; open them again")
    return logits
