"""Write a journal, which only grows.

Each line is one ``write`` as soon as the answer is there, so a killed process loses nothing that it received.
Once a second the lines are forced to the disk, so a power cut loses the answers of one second at most. A line
that a crash left incomplete is set aside next to the journal, and its request is asked again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import orjson

from dataprep.core import io as files
from dataprep.core import provenance
from dataprep.core.errors import FileError, UsageError
from dataprep.teacher.journal.index import Index, read_index
from dataprep.teacher.journal.line import writable

SYNC_SECONDS = 1.0


class JournalWriter:
    """A journal that is open for writing; a context manager. Other processes cannot write to it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.index = Index()
        self._file: IO[bytes] | None = None
        self._unsynced = False
        self._stop = threading.Event()
        self._syncer = threading.Thread(target=self._sync_now_and_then, daemon=True)
        self._failure: OSError | None = None

    def __enter__(self) -> JournalWriter:
        check_journal(self.path)
        file = _opened(self.path)
        try:
            self.index = read_index(self.path)
            if self.index.torn:
                self._mend(file)
            elif self.index.unended:
                with files.writing(str(self.path)):
                    file.write(b"\n")
        except BaseException:
            file.close()
            raise
        self._file = file
        provenance.wrote(self.path, grows=True)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._file is not None
        self._stop.set()
        if self._syncer.is_alive():
            self._syncer.join()
        try:
            self._sync()
            # Readers refuse an empty journal.
            if not os.fstat(self._file.fileno()).st_size:
                self.path.unlink(missing_ok=True)
        finally:
            self._file.close()
            self._file = None
        provenance.wrote(self.path, grows=True)

    def _mend(self, file: IO[bytes]) -> None:
        # The incomplete line may be part of a paid answer, so it is kept in a file next to the journal.
        size, tail = _torn_tail(self.path)
        aside = self.path.with_name(self.path.name + ".torn")
        with files.writing(str(aside)), aside.open("ab") as out:
            out.write(tail + b"\n")
            out.flush()
            os.fsync(out.fileno())
        with files.writing(str(self.path)):
            file.truncate(size)
            os.fsync(file.fileno())

    def append(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Append lines in one piece, and add them to the index."""
        assert self._file is not None
        if self._failure is not None:
            raise FileError(self.path, f"cannot be forced to the disk: {self._failure.strerror}")
        rows = list(lines)
        data = memoryview(b"".join(map(_dumped, rows)))
        size = os.fstat(self._file.fileno()).st_size
        try:
            # One write is enough, except on a full disk.
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            # The next line would continue the incomplete one.
            self._file.truncate(size)
            advice = "the answers before this one are kept; free some space, and run the command again"
            raise FileError(self.path, f"cannot be written: {error.strerror or error}; {advice}") from None
        self._unsynced = True
        # Started with the first line: before it, forked processes read the journal and the requests, and a
        # process with several threads cannot be forked safely.
        if self._syncer.ident is None:
            self._syncer.start()
        for row in rows:
            self.index.add(row)

    def _sync(self) -> None:
        if self._unsynced and self._file is not None:
            self._unsynced = False
            os.fsync(self._file.fileno())

    def _sync_now_and_then(self) -> None:
        while not self._stop.wait(SYNC_SECONDS):
            try:
                self._sync()
            # Raised by the next append.
            except OSError as error:
                self._failure = error
                return


def _dumped(row: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        # One value that JSON cannot hold must not lose the rest of a paid answer.
        return orjson.dumps(writable(row), option=orjson.OPT_APPEND_NEWLINE)


def check_journal(path: Path) -> None:
    """Raise ``UsageError`` unless the path is that of a plain ``.jsonl`` file."""
    form = files.format_of(str(path))
    if str(path) == files.STDIO or not form.is_plain_lines:
        problem = "a journal only grows, so it is a plain file; give a path that ends in .jsonl"
        raise UsageError(f"{path}: {problem}")


def _opened(path: Path) -> IO[bytes]:
    while True:
        with files.writing(str(path)):
            file = path.open("a+b", buffering=0)
        try:
            _lock(file, path)
            # Between opening and locking, another process may have removed the journal because it was empty.
            if os.fstat(file.fileno()).st_nlink:
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _lock(file: IO[bytes], path: Path) -> None:
    # The system releases this lock when the process dies. A lock file would remain after a crash.
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FileError(path, "another process is writing this journal; wait for it, or stop it") from None
    # Windows, or a file system without locks.
    except (ImportError, OSError):
        return


def _torn_tail(path: Path) -> tuple[int, bytes]:
    """Return the length of the journal without its incomplete last line, and that line."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        tail = b""
        while size and b"\n" not in tail:
            step = min(1 << 16, size)
            size -= step
            file.seek(size)
            tail = file.read(step) + tail
    cut = tail.rfind(b"\n") + 1
    return size + cut, tail[cut:]


def set_aside(path: str | Path) -> Path | None:
    """Rename a journal, so that a new one can begin; return its new path (``None`` if there was none)."""
    journal = Path(path)
    if not journal.exists():
        return None
    # The time of the last answer, not of the renaming, tells old journals apart.
    stamp = datetime.fromtimestamp(journal.stat().st_mtime, UTC).strftime("%Y%m%d-%H%M%S")
    with files.writing(str(journal)), journal.open("ab") as file:
        _lock(file, journal)
        for number in range(1_000):
            aside = journal.with_name(f"{journal.stem}.{stamp}{f'-{number}' if number else ''}.jsonl")
            if not aside.exists():
                journal.rename(aside)
                return aside
    raise FileError(journal, "cannot be set aside: too many old journals are next to it")
