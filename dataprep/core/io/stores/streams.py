"""Read an object as a stream, by ranges that grow while it is read in order."""

from __future__ import annotations

import io
import os
from typing import Any

from dataprep.core.io.stores.base import Stat, Store
from dataprep.core.io.stores.loading import store_of

_FIRST = 1 << 16  # enough to see what a file is
_LARGEST = 8 << 20  # a request takes about a tenth of a second, in which a disk would read as much


class ObjectReader(io.RawIOBase):
    """A stream of an object's bytes that can seek; every range is of the object that was there at first.

    Args:
        url: the object.
        stat: size and etag of it. Defaults to those of the present one.
        until: what is read probably ends there, so nothing beyond it is read in advance.
    """

    def __init__(self, url: str, stat: Stat | None = None, until: int | None = None) -> None:
        self.url = url
        self._store: Store = store_of(url)
        self.stat = self._store.stat(url) if stat is None else stat
        self._position = 0
        self._window, self._start, self._ahead = b"", 0, _FIRST
        self._until = self.stat.size if until is None else until

    def readable(self) -> bool:
        """Return ``True``."""
        return True

    def seekable(self) -> bool:
        """Return ``True``."""
        return True

    def tell(self) -> int:
        """Return the offset of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.stat.size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes into a buffer, and return their number; 0 at the end."""
        begin = self._position - self._start
        if not 0 <= begin < len(self._window):
            self._fetch(len(buffer))
            begin = self._position - self._start
        piece = memoryview(self._window)[begin : begin + len(buffer)]
        memoryview(buffer).cast("B")[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def _fetch(self, wanted: int) -> None:
        in_order = self._position == self._start + len(self._window)
        self._ahead = min(self._ahead * 4, _LARGEST) if in_order and self._window else _FIRST
        start = self._position
        ahead = min(self._ahead, self._until - start) if start < self._until else _FIRST
        end = min(start + max(wanted, ahead), self.stat.size)
        self._window = self._store.read(self.url, start, end, self.stat.etag) if start < end else b""
        self._start = start
