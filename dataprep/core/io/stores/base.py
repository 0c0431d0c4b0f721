"""Define what a store of objects can do, and the errors that every store raises.

A store is a bucket, or another place that URLs lead to. An object in it appears whole or not at all, and its
etag changes with its bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import IO, NamedTuple, NoReturn, Protocol

from dataprep.core.errors import ConflictError, FileError, InputError, NotFoundError, one_line
from dataprep.core.urls import without_credentials

TRIES = 5
"""Number of times that a request is repeated after 429, a server error or a timeout."""


class Stat(NamedTuple):
    """The size of an object in bytes, and the text that identifies its present bytes."""

    size: int
    etag: str


class Store(Protocol):
    """Objects by their URLs; ``loading.store_of`` makes it."""

    shared: bool
    """Whether other processes see the same objects."""

    def stat(self, url: str) -> Stat:
        """Return size and etag of an object.

        Raises:
            NotFoundError: there is no such object.
            FileError: there is no such bucket, access was denied, or the store cannot be reached. So do all
                methods.
        """

    def read(self, url: str, start: int, end: int, etag: str | None = None) -> bytes:
        """Return a range of an object's bytes, fewer if the object ends before ``end``.

        Args:
            url: the object.
            start: the first byte.
            end: the byte after the range.
            etag: raise ``InputError`` if the object has another etag by now. The bytes of a range are always
                of one object.
        """

    def list(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        """Yield URL, size and etag of each object below a folder, in any order; nothing if there is none."""

    def put(self, url: str, data: bytes, *, new: bool = False, match: str | None = None) -> str:
        """Write an object and return its etag.

        Args:
            url: the object.
            data: all of its bytes.
            new: raise ``ConflictError`` if the object exists.
            match: raise ``ConflictError`` unless the object has this etag.
        """

    def writer(self, url: str) -> AbstractContextManager[IO[bytes]]:
        """Return a stream for an object, which appears when the ``with`` block ends without an error."""

    def delete(self, url: str) -> None:
        """Remove an object, if it exists."""


class Unsendable:
    """A store keeps credentials: it refuses to be pickled. Send its URL."""

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} can hold credentials and is not pickled; send the URL")


def changed(path: str) -> InputError:
    """Return the error for a file that did not stay as it was until it was read to its end."""
    return InputError(path, "the file was changed while it was read; run the command again")


def no_object(url: str) -> NotFoundError:
    """Return the error for an object that does not exist."""
    return NotFoundError(url, "no such object; look at its folder's URL for the names")


def no_bucket(url: str) -> FileError:
    """Return the error for a bucket that does not exist: neither can an object be written there."""
    return FileError(url, "no such bucket; create it first, or correct its name")


def denied(url: str, hint: str) -> FileError:
    """Return the error for an object that may not be read or written; ``hint`` says where keys are."""
    return FileError(url, f"access denied; set {hint}")


def unreachable(url: str, reason: str) -> FileError:
    """Return the error for a store that does not answer, or answers with an error again and again."""
    # Libraries quote the request, which can hold a signature.
    return FileError(url, f"cannot be reached: {one_line(without_credentials(reason), 300)}")


def exists(url: str) -> ConflictError:
    """Return the error for an object that was to be new."""
    return ConflictError(url, "exists already; another run may have written it")


def replaced(url: str) -> ConflictError:
    """Return the error for an object that was to have another etag."""
    return ConflictError(url, "was written by another run meanwhile")
