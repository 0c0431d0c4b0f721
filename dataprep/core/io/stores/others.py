"""Objects in any other store for which fsspec has a driver, such as ``sftp://`` and ``hdfs://``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from dataprep.core.errors import DataprepError, MissingDependencyError, UsageError, first_line
from dataprep.core.io.stores.base import (
    Stat,
    Unsendable,
    changed,
    denied,
    exists,
    no_object,
    replaced,
    unreachable,
)
from dataprep.core.urls import without_credentials

# Modules of file systems whose files appear only when they are committed. Others ignore that they should.
_COMMITTING = ("fsspec.implementations.local", "s3fs.core")


class FsspecStore(Unsendable):
    """A file system of fsspec.

    Conditions are checked before a write, not by the store with the write: two runs that write the same
    object at the same time can both succeed.
    """

    def __init__(self, url: str) -> None:
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise MissingDependencyError("fsspec", "hub", without_credentials(url)) from None
        try:
            # Listings that fsspec keeps would hide what other processes write.
            self._files, _ = url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
        except (ImportError, ValueError) as error:
            raise UsageError(f"{without_credentials(url)}: {first_line(error)}") from None
        except OSError as error:  # some connect at once
            raise unreachable(url, first_line(error)) from None
        self.shared = "memory" not in _names_of(self._files)

    def stat(self, url: str) -> Stat:
        """Return size and etag of an object."""
        with _translated(url):
            self._files.invalidate_cache()
            found = self._files.info(self._path_of(url))
            if found["type"] != "file":
                raise FileNotFoundError(url)
            return _stat_of(found)

    def read(self, url: str, start: int, end: int, etag: str | None = None) -> bytes:
        """Return a range of an object's bytes; see ``Store.read``."""
        if start >= end:
            return b""
        before = self.stat(url)
        if etag is not None and before.etag != etag:
            raise changed(url)
        if start >= before.size:
            return b""
        with _translated(url):
            path = self._path_of(url)
            data: bytes = self._files.cat_file(path, start=start, end=min(end, before.size))
        # There is no request that names the etag: that it is the same after the read shows it.
        if etag is not None and self.stat(url).etag != etag:
            raise changed(url)
        return data

    def list(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        """Yield URL, size and etag of each object below a folder."""
        with _translated(prefix):
            self._files.invalidate_cache()
            path = self._path_of(prefix).rstrip("/")
            found = self._files.find(path, detail=True)
        for name, each in found.items():
            inside = name.removeprefix(path).lstrip("/")
            if inside and not inside.rpartition("/")[2].startswith("."):
                yield f"{prefix.rstrip('/')}/{inside}", _stat_of(each)

    def put(self, url: str, data: bytes, *, new: bool = False, match: str | None = None) -> str:
        """Write an object and return its etag; see ``Store.put`` and this class."""
        if new or match is not None:
            try:
                before = self.stat(url)
            except DataprepError:
                before = None
            if new and before is not None:
                raise exists(url)
            if match is not None and (before is None or before.etag != match):
                raise replaced(url)
        with self.writer(url) as stream:
            stream.write(data)
        return self.stat(url).etag

    @contextmanager
    def writer(self, url: str) -> Iterator[IO[bytes]]:
        """Yield a stream for an object, which appears when the ``with`` block ends without an error."""
        path = self._path_of(url)
        with _translated(url):
            parent = self._files._parent(path)
            with suppress(NotImplementedError):
                self._files.makedirs(parent, exist_ok=True)
            # Elsewhere a file that is being written is visible, so it gets another name.
            hidden = ""
            if type(self._files).__module__ not in _COMMITTING:
                hidden = f"{parent}/.{path.rpartition('/')[2]}.{os.urandom(8).hex()}.partial"
            stream = self._files.open(hidden or path, "wb", **({} if hidden else {"autocommit": False}))
        try:
            yield stream
            with _translated(url):
                stream.close()
                if hidden:
                    _rename(self._files, hidden, path)
                else:
                    stream.commit()
        except BaseException:
            with suppress(Exception):
                if hidden:
                    stream.close()
                else:
                    stream.closed = True  # what the buffer still holds is not written
                    stream.discard()
            with suppress(Exception):
                if hidden:
                    self._files.rm_file(hidden)
            raise

    def delete(self, url: str) -> None:
        """Remove an object, if it exists."""
        with _translated(url), suppress(FileNotFoundError):
            self._files.rm_file(self._path_of(url))

    def _path_of(self, url: str) -> str:
        path: str = self._files._strip_protocol(url)
        return path


def _names_of(files: Any) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)


def _rename(files: Any, old: str, new: str) -> None:
    from fsspec import AbstractFileSystem

    # The general `mv` would expand ? and * in names.
    if type(files).mv is not AbstractFileSystem.mv:
        files.mv(old, new)
    else:
        files.cp_file(old, new)
        files.rm_file(old)


def _stat_of(found: Any) -> Stat:
    names = ("ETag", "etag", "content_hash", "md5Hash", "mtime", "LastModified", "last_modified", "created")
    mark = next((found[name] for name in names if found.get(name) is not None), "")
    # Drivers give the same time now as a number, and now as a date.
    return Stat(found["size"], f"{mark.timestamp() if hasattr(mark, 'timestamp') else mark}-{found['size']}")


@contextmanager
def _translated(url: str) -> Iterator[None]:
    """Turn errors of fsspec's drivers into dataprep's own."""
    try:
        yield
    except DataprepError:
        raise
    except FileNotFoundError:
        raise no_object(url) from None
    except PermissionError:
        raise denied(url, "the credentials of this kind of store") from None
    except Exception as error:  # noqa: BLE001 - each driver has errors of its own
        raise unreachable(url, first_line(error)) from None
