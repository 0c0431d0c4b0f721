"""Collect the documents of blocks as they are encoded: ids and masks in files, lengths and rows in memory."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class EncodedBlock(NamedTuple):
    """The documents of a block, without their ids.

    The payload of an outcome is the plain tuple of these fields, which can be kept as JSON.
    """

    lengths: NDArray[np.uint32]  # tokens of each document, shape (documents,)
    # The row of the block, from 0, of each document, same shape; `None` if that is the document's own number.
    numbers: NDArray[np.uint32] | None
    bits: bytes  # the loss masks, one bit for each token; empty if they are beside the ids
    loss_tokens: int
    cut: int  # number of answers that were cut
    left_out: Mapping[str, int]  # values that the chat format left out, by kind

    def rows(self, before: int) -> NDArray[np.int64]:
        """Return the input row of each document, if ``before`` rows precede the block."""
        if self.numbers is None:
            return np.arange(before, before + self.lengths.size, dtype=np.int64)
        return before + self.numbers.astype(np.int64)


class Collected:
    """The length and the input row of each document, in the order of the rows.

    Attributes:
        dtype: the type of ids.
        loss_tokens: number of tokens in the loss.
        lengths: of each document, once it is closed.
        rows: the input row, from 0, of each document, once it is closed.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.loss_tokens = 0
        self.lengths: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.rows: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._lengths: list[NDArray[np.uint32]] = []
        self._rows: list[NDArray[np.int64]] = []

    def collect(self, lengths: NDArray[np.uint32], rows: NDArray[np.int64], loss_tokens: int) -> None:
        """Take the next documents."""
        self._lengths.append(lengths)
        self._rows.append(rows)
        self.loss_tokens += loss_tokens

    def close(self) -> None:
        """Take no more."""
        if self._lengths:
            self.lengths = np.concatenate(self._lengths).astype(np.int64)
            self.rows = np.concatenate(self._rows)


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


class Buffer(Collected):
    """The tokens of all documents in the order of their rows, on disk; ``writing.open_buffer`` makes it."""

    def __init__(self, folder: Path, dtype: np.dtype[Any]) -> None:
        super().__init__(dtype)
        self.folder = folder  # hidden, for everything unfinished
        self.ids = folder / "ids"
        self.mask = folder / "mask"
        self._ids_out = self.ids.open("wb")
        self._bits = BitFile(self.mask)

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

    def take(self, encoded: EncodedBlock, before: int) -> None:
        """Add the documents of a block whose ids are written; ``before`` rows precede it."""
        self.add(encoded.bits, encoded.lengths, encoded.rows(before))

    def add(self, bits: bytes, lengths: NDArray[np.uint32], rows: NDArray[np.int64]) -> None:
        """Add documents whose ids are written: mask bits, and length and input row of each document."""
        count = int(lengths.sum(dtype=np.int64))
        mask = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=count)
        self._bits.add(mask)
        self.collect(lengths, rows, int(np.count_nonzero(mask)))

    def close(self) -> None:
        """Finish the files."""
        super().close()
        self._bits.close()
        self._ids_out.close()

    def abandon(self) -> None:
        """Close the files after an error."""
        for file in (self._bits, self._ids_out):
            with suppress(OSError):
                file.close()
