"""Where tokens are gathered as rows are read: flat arrays in a hidden folder inside the shards' directory."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dataprep.core.errors import FileError, UsageError
from dataprep.core.io import writing
from dataprep.tokens.shards.manifest import MANIFEST

if TYPE_CHECKING:
    from numpy.typing import NDArray

OURS = re.compile(
    r"[0-9a-f]{16}-([a-z]+-\d{5}\.bin|tokenizer\.model)|\.\d+\.partial|\.manifest\.json\.\d+\.partial"
)


class Bits:
    """A file of mask bits that are added some at a time."""

    def __init__(self, path: Path) -> None:
        self._out = path.open("wb")
        self._carry = np.empty(0, dtype=np.uint8)  # bits that do not fill a byte yet

    def add(self, bits: NDArray[np.uint8]) -> None:
        """Add bits, a byte of 0 or 1 each."""
        bits = np.concatenate([self._carry, bits])
        full = bits.size & ~7
        self._out.write(np.packbits(bits[:full]).data)
        self._carry = bits[full:].copy()

    def close(self) -> None:
        """Write the last byte, filled up with 0."""
        if not self._out.closed:
            self._out.write(np.packbits(self._carry).data)
            self._out.close()


class Flat:
    """The tokens of all documents in the order of their rows, on disk; ``open_flat`` makes it.

    Attributes:
        folder: the hidden folder that everything unfinished is in.
        ids: the file of ids, where worker processes may write byte ranges of it themselves.
        trained: how many tokens are trained on.
        lengths: tokens of each document, once it was closed, shape ``(documents,)``.
        rows: which row of the inputs, from 0, each document is; of the same shape.
    """

    def __init__(self, folder: Path, dtype: np.dtype[Any]) -> None:
        self.folder = folder
        self.dtype = dtype
        self.ids = folder / "ids"
        self.mask = folder / "mask"
        self.trained = 0
        self._ids_out = self.ids.open("wb")
        self._bits = Bits(self.mask)
        self.lengths = np.empty(0, dtype=np.int64)
        self.rows = np.empty(0, dtype=np.int64)
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
        """Add documents whose ids are written.

        Args:
            bits: their loss masks, one bit for each token.
            lengths: number of tokens of each.
            rows: the number of the input row that each is made of.
        """
        count = int(lengths.sum(dtype=np.int64))
        mask = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=count)
        self.trained += int(np.count_nonzero(mask))
        self._bits.add(mask)
        self._lengths.append(lengths)
        self._rows.append(rows)

    def close(self) -> None:
        """End the files."""
        self._bits.close()
        self._ids_out.close()
        if self._lengths:
            self.lengths = np.concatenate(self._lengths).astype(np.int64)
            self.rows = np.concatenate(self._rows)

    def abandon(self) -> None:
        """Close the files, whatever is in them."""
        for each in (self._bits, self._ids_out):
            with suppress(OSError):
                each.close()


def check_place(output: str | Path) -> Path:
    """The directory that shards may be written to: a new or an empty one, or one of shards.

    Raises:
        UsageError: it is a file, or holds something else.
        FileError: it cannot be read.
    """
    folder = Path(output)
    try:
        inside = sorted(folder.iterdir()) if folder.exists() else []
    except NotADirectoryError:
        raise UsageError(f"{output}: is a file; shards are a directory, give it a name of its own") from None
    except OSError as error:
        raise FileError(output, f"cannot be read: {error.strerror}") from None
    strange = [path.name for path in inside if path.name != MANIFEST and not OURS.fullmatch(path.name)]
    if strange:
        raise UsageError(
            f"{output}: holds {strange[0]!r}, which is no part of shards; give another directory"
        )
    return folder


@contextmanager
def open_flat(output: Path, dtype: np.dtype[Any]) -> Iterator[Flat]:
    """A place for tokens in the directory ``output``; what is unfinished at the end is removed.

    Raises:
        FileError: the directory cannot be written, the disk is full, or another process is writing there.
    """
    new = not output.exists()
    folder = output / f".{os.getpid()}.partial"
    flat = None
    try:
        with writing(str(output)):
            output.mkdir(parents=True, exist_ok=True)
            with _locked(output):
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                flat = Flat(folder, dtype)
                yield flat
    finally:
        if flat is not None:
            flat.abandon()
        shutil.rmtree(folder, ignore_errors=True)
        if new:
            with suppress(OSError):  # it holds the finished shards
                output.rmdir()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from making shards in a directory: each clears away what is not its own."""
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
            expected = "wait for it, or give another directory"
            raise FileError(folder, f"another process is making shards there; {expected}") from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(directory)
