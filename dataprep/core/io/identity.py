"""Know a file or object again, notice when it changes, and turn errors of the system into dataprep's own."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from dataprep.core.errors import FileError, InputError, NotFoundError
from dataprep.core.io.formats import STDIO, decompression_errors
from dataprep.core.io.stores import Stat, changed
from dataprep.core.io.stores import stat as object_stat
from dataprep.core.urls import is_url


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Turn errors of the operating system and of decompression into dataprep's own, with the path."""
    try:
        yield
    except (FileError, GeneratorExit):  # whoever reads may stop: no reason to import decompressors
        raise
    except FileNotFoundError:
        raise FileError(path, "no such file") from None
    except IsADirectoryError:
        raise FileError(path, "is a directory; expected a file") from None
    except OSError as error:
        # Some decompressors' errors are OSErrors too: those are the data's fault, not the system's.
        if isinstance(error, decompression_errors()):
            raise InputError(path, _damaged(error)) from None
        name = "standard input" if path == STDIO else path
        raise FileError(name, f"cannot be read: {error.strerror or error}") from None
    except decompression_errors() as error:
        raise InputError(path, _damaged(error)) from None


def _damaged(error: Exception) -> str:
    return f"the compressed data is cut short or damaged ({error}); fetch or write the file again"


class Identity(NamedTuple):
    """The file that a path names, and its state."""

    device: int
    inode: int
    size: int
    modified: int  # in nanoseconds; 0 for a file that may grow while it is read
    etag: str = ""  # of an object in a store, in place of all but the size

    @classmethod
    def of(cls, status: os.stat_result) -> Identity | None:
        """Return the identity of a regular file; ``None`` for a pipe, a device or a folder."""
        if not stat.S_ISREG(status.st_mode):
            return None
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    @classmethod
    def at(cls, path: str) -> Identity | None:
        """Return the identity of the file or object at a path; ``None`` for a pipe, a device or a folder."""
        if is_url(path):
            return cls.of_object(object_stat(path))
        return cls.of(Path(path).stat())

    @classmethod
    def of_object(cls, found: Stat) -> Identity:
        """Return the identity of an object in a store."""
        return cls(0, 0, found.size, 0, found.etag)

    @property
    def stat(self) -> Stat:
        """The size and etag of an object in a store."""
        return Stat(self.size, self.etag)

    def growing(self) -> Identity:
        """Return the identity of a file that others append to, such as the journal of a run."""
        return self._replace(modified=0)

    def anywhere(self) -> Identity:
        """Return what another machine knows the file by, which has other numbers for its devices."""
        return self._replace(device=0, inode=0)

    def check(self, path: str, status: os.stat_result | None = None) -> None:
        """Raise ``InputError`` if a path (or ``status``) is that of another file, or of a changed one."""
        try:
            now = Identity.at(path) if status is None else Identity.of(status)
        except (FileNotFoundError, NotFoundError):
            raise changed(path) from None
        if now is not None and self == (now if self.inode else now.anywhere()):
            return
        grows = not self.modified and not self.etag
        if grows and now is not None and now[:2] == self[:2] and now.size >= self.size:
            return
        raise changed(path)


class Unchanged:
    """Files that a command reads more than once, and that nobody may change meanwhile.

    Pipes and devices, which can be read only once, are not looked at.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._before: dict[str, Identity] = {}
        for path in paths:
            if path != STDIO:
                with translated(path):
                    identity = Identity.at(path)
                if identity is not None:
                    self._before[path] = identity

    def state(self) -> list[tuple[str, Identity]]:
        """Return the files, each with what every machine knows it by."""
        return [(path, identity.anywhere()) for path, identity in self._before.items()]

    def check(self) -> None:
        """Raise ``InputError`` if a file was replaced or changed."""
        # To hold the files open until now would keep their inodes from being used again, but a merge of
        # thousands of files has not as many descriptors; the time tells such files apart too.
        for path, before in self._before.items():
            with translated(path):
                before.check(path)
