"""Local files as objects: ``file://`` URLs, and local paths where a folder or a bucket can stand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import BufferedWriter
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from dataprep.core.errors import FileError, UsageError
from dataprep.core.io.stores.base import Stat, changed, exists, no_object, replaced
from dataprep.core.io.unfinished import new_file, replacing
from dataprep.core.urls import joined


class LocalStore:
    """The files of this machine, and of folders that it shares with others."""

    shared = True

    def stat(self, url: str) -> Stat:
        """Return size of a file, and what tells it from another one of the same path."""
        with _translated(url):
            return _stat_of(_path_of(url).stat())

    def read(self, url: str, start: int, end: int, etag: str | None = None) -> bytes:
        """Return a range of a file's bytes; see ``Store.read``."""
        with _translated(url), _path_of(url).open("rb") as file:
            file.seek(start)
            data = file.read(max(end - start, 0))
            if etag is not None and _stat_of(os.fstat(file.fileno())).etag != etag:
                raise changed(url)
            return data

    def list(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        """Yield path, size and etag of each file below a folder, except hidden ones."""
        top = _path_of(prefix)
        for root, folders, names in os.walk(top):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                path = Path(root) / name
                if not name.startswith("."):
                    yield joined(prefix, path.relative_to(top).as_posix()), _stat_of(path.stat())

    def put(self, url: str, data: bytes, *, new: bool = False, match: str | None = None) -> str:
        """Write a file and return its etag; see ``Store.put``."""
        path = _path_of(url)
        with _translated(url):
            path.parent.mkdir(parents=True, exist_ok=True)
            if new:
                with new_file(path) as file:
                    _write(file, data)
                    try:
                        # Unlike a rename, it fails if the path exists.
                        os.link(file.path, path)
                    except FileExistsError:
                        raise exists(url) from None
            else:
                with _locked(path.parent):
                    if match is not None and (not path.exists() or _stat_of(path.stat()).etag != match):
                        raise replaced(url)
                    with replacing(path) as file:
                        _write(file, data)
            return _stat_of(path.stat()).etag

    @contextmanager
    def writer(self, url: str) -> Iterator[IO[bytes]]:
        """Yield a stream for a file, which appears when the ``with`` block ends without an error."""
        path = _path_of(url)
        with ExitStack() as stack:
            with _translated(url):
                path.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(replacing(path))
            yield stack.enter_context(BufferedWriter(file))

    def delete(self, url: str) -> None:
        """Remove a file, if it exists."""
        with _translated(url):
            _path_of(url).unlink(missing_ok=True)


def _path_of(url: str) -> Path:
    if not url.startswith("file://"):
        return Path(url)
    rest = url.removeprefix("file://").removeprefix("localhost")
    if not rest.startswith("/"):
        raise UsageError(f"{url}: expected file:///PATH, of this machine, with three slashes")
    return Path(unquote(rest))


def _stat_of(status: os.stat_result) -> Stat:
    return Stat(status.st_size, f"{status.st_mtime_ns:x}-{status.st_ino:x}-{status.st_size:x}")


def _write(file: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other conditional writes into a folder waiting, where the file system has locks."""
    try:
        import fcntl

        number = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):  # Windows
        yield
        return
    try:
        with suppress(OSError):
            fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


@contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        yield
    except FileError:
        raise
    except FileNotFoundError:
        raise no_object(url) from None
    except OSError as error:
        raise FileError(url, f"cannot be read or written: {error.strerror or error}") from None
