"""Open files and objects as they are: without a buffer, one after the other, or as a local copy."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

from dataprep.core import provenance
from dataprep.core.io.identity import Identity, translated
from dataprep.core.io.paths import find
from dataprep.core.io.stores import ObjectReader, store_of
from dataprep.core.urls import is_url

_COPIED = 8 << 20


def open_raw(path: str, identity: Identity | None = None, until: int | None = None) -> io.RawIOBase:
    """Open a file or object as it is, without a buffer.

    Of an object, ``identity`` says which one, so that no request is needed before the first range is read,
    and nothing is read ahead beyond ``until``.
    """
    with translated(path):
        if is_url(path):
            return ObjectReader(path, None if identity is None else identity.stat, until=until)
        return open(path, "rb", buffering=0)


def record_input(path: str) -> None:
    """Record a file or folder as an input; of an object, that is done when it is opened."""
    if not is_url(path):
        provenance.read(path)
    elif path.endswith("/") and (found := find(path)) is not None:
        provenance.read(path, found)


def open_object(url: str) -> ObjectReader:
    """Open an object as an input of the command: it is recorded."""
    with translated(url):
        reader = ObjectReader(url, store_of(url).stat(url))
    provenance.read(url, reader.stat)
    return reader


@contextmanager
def on_disk(path: str) -> Iterator[IO[bytes]]:
    """Open a file as an input; of an object, a copy on the disk without a name."""
    if not is_url(path):
        provenance.read(path)
        with open(path, "rb") as file:
            yield file
        return
    from tempfile import TemporaryFile

    with TemporaryFile() as copy, open_object(path) as reader:
        shutil.copyfileobj(cast(IO[bytes], reader), copy, _COPIED)
        copy.flush()
        yield copy


class _Concatenated(io.RawIOBase):
    """Files one after the other, as one stream of bytes."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = iter(paths)
        self._file: io.RawIOBase | None = None

    def readable(self) -> bool:
        """Return true."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with the next bytes; return their number."""
        while True:
            if self._file is None:
                if (path := next(self._paths, None)) is None:
                    return 0
                self._file = open_raw(path)
            if count := self._file.readinto(buffer):
                return count
            self.close_file()

    def close_file(self) -> None:
        """Close the file that is open."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def close(self) -> None:
        """Close the stream."""
        self.close_file()
        super().close()


@contextmanager
def concatenated(paths: Iterable[str]) -> Iterator[IO[bytes]]:
    """Open files as one stream."""
    with _Concatenated(paths) as stream:
        yield cast(IO[bytes], stream)
