"""Make unfinished files and folders, and remove those of commands that were killed.

Such a file is hidden beside its place, as ``.NAME.RANDOM.partial``, and locked by the process that writes
it. The system releases the lock when the process dies, so a file that nobody locks is a leftover: the
next command with the same output removes it, and ``dataprep clean`` removes all below a folder.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Literal, NamedTuple

import orjson

from dataprep.core import provenance
from dataprep.core.errors import FileError

SUFFIX = ".partial"
State = Literal["stale", "in use", "unknown"]

# Without these flags, on Windows, nothing is locked and a link is not refused.
_NEW = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
# Also the names of earlier versions: with a process number, or of a run's files.
_OURS = re.compile(
    r"\.(.+\.)?([0-9a-f]{16}|\d+(\.spool)?|toml|json|pt|student)\.partial|\.merge-\w+\.partial"
    r"|\.(.+\.[0-9a-f]{16}|shards)\.parts",
    re.DOTALL,
)
_LONGEST = 200  # bytes of a name that are kept: with the rest it must not exceed 255

WORK = ".work"
"""The folder, inside one of parts, of what an unfinished run has done."""
LOCK = f"{WORK}/lock"
MANIFEST = "manifest.json"
PART_NAME = re.compile(r"part-\d{5,}-[0-9a-f]{8}\.jsonl")
_KEY_LENGTH = 16  # of the name of a run, whose records are in the folder of that name
_SILENT_SECONDS = 600  # after so long without a sign of life, the run that holds a folder is taken for dead

# Paths with the process that makes them: a forked worker has a copy of its parent's.
_open: dict[Path, int] = {}


class Leftover(NamedTuple):
    """An unfinished file or folder."""

    path: Path
    size: int  # bytes, of a folder those of all files in it
    state: State


class NewFile(FileIO):
    """An unfinished file, open for reading and writing."""

    path: Path
    made: os.stat_result  # its status when it was made, by which it is known again


@contextmanager
def new_file(target: Path, mode: int = 0o666) -> Iterator[NewFile]:
    """Yield a new hidden file beside ``target``; it is removed at the end unless it was renamed."""
    remove_stale(target)
    with ExitStack() as stack:
        while True:
            path = _hidden(target)
            _discard_at_end(stack, path)
            try:
                number = os.open(path, _NEW | _NO_LINK, mode)
            except FileExistsError:  # it is not ours
                _open.pop(path)
                raise
            file = stack.enter_context(NewFile(number, "r+b"))
            file.path, file.made = path, os.fstat(file.fileno())
            # A descriptor of its own holds the lock, so that the file can be closed before it is renamed.
            if _locked(stack, file.fileno(), path):
                break
        yield file


@contextmanager
def replacing(target: Path) -> Iterator[NewFile]:
    """Yield a new hidden file beside ``target``, and rename it to ``target`` at the end.

    Raises:
        FileError: ``target`` is there and is no regular file.
    """
    # Nothing is forced to the disk before the rename: docs/decisions/0002-no-fsync.md says why.
    found = mode = None
    with suppress(OSError):
        found = target.stat().st_mode
        mode = stat.S_IMODE(found)
    # As root, the rename would put a file in the place of /dev/null.
    if found is not None and not stat.S_ISREG(found):
        raise FileError(target, "is a device, a pipe or a folder, and this output is a file; give its path")
    # Never more readable than the file that it replaces, not even before it is finished.
    with new_file(target, 0o666 if mode is None else mode) as file:
        yield file
        _rename(file, target, mode)


def _rename(file: NewFile, target: Path, mode: int | None) -> None:
    # Some file systems report a full disk only now.
    file.close()
    if not os.path.samestat(file.made, file.path.lstat()):
        raise FileError(target, "another process replaced the unfinished output; nothing was written")
    if mode is not None:
        with suppress(OSError):
            file.path.chmod(mode)
    provenance.replaces(target)
    file.path.replace(target)


@contextmanager
def new_folder(target: Path, mode: int = 0o700) -> Iterator[Path]:
    """Yield a new hidden folder beside ``target``; it is removed at the end unless it was renamed."""
    remove_stale(target)
    with ExitStack() as stack:
        while True:
            path = _hidden(target)
            _discard_at_end(stack, path)
            try:
                path.mkdir(mode)
            except FileExistsError:
                _open.pop(path)
                raise
            if os.name == "nt":  # it does not open folders
                break
            try:
                number = os.open(path, os.O_RDONLY | _NO_LINK)
            except FileNotFoundError:  # another process took it for a leftover before it was open
                continue
            try:
                if _locked(stack, number, path):
                    break
            finally:
                os.close(number)
        yield path


def temporary_folder() -> AbstractContextManager[Path]:
    """Return a context manager for a new folder in the system's place for temporary files."""
    import tempfile

    return new_folder(Path(tempfile.gettempdir()) / "dataprep")


def _discard_at_end(stack: ExitStack, path: Path) -> None:
    # Called before the path exists: a signal can end the command just after it was made.
    stack.callback(_discard, path)
    _open[path] = os.getpid()


def _hidden(target: Path) -> Path:
    return target.with_name(f".{short_name(target)}.{os.urandom(8).hex()}{SUFFIX}")


def short_name(target: Path) -> str:
    """Return the name of a file, cut so that a longer one can be made of it."""
    name = target.name
    encoded = os.fsencode(name)
    return name if len(encoded) <= _LONGEST else encoded[:_LONGEST].decode("utf-8", "ignore")


def _locked(stack: ExitStack, number: int, path: Path) -> bool:
    """Lock a new file or folder until the stack ends; ``False`` if it was taken for a leftover before."""
    if os.name == "nt":  # it does not rename open files
        return True
    held = os.dup(number)
    stack.callback(os.close, held)
    if _lock(held) is False:
        return False
    # Between creating and locking, another process can have locked and removed it.
    try:
        return os.path.samestat(os.fstat(held), path.lstat())
    except FileNotFoundError:
        return False


def _lock(number: int) -> bool | None:
    """Lock a file; ``False`` if another process holds the lock, ``None`` if there are no locks."""
    try:
        import fcntl

        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    # Windows, or a file system without locks.
    except (ImportError, OSError):
        return None
    return True


def _discard(path: Path) -> None:
    if path in _open:
        _remove(path)
        _open.pop(path, None)


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            import shutil

            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def remove_all() -> None:
    """Remove everything that this process has not finished; for a signal that does not wait."""
    for path, process in [*_open.items()]:
        if process == os.getpid():
            _discard(path)


def remove_stale(target: Path) -> None:
    """Remove what killed commands left unfinished of ``target``."""
    pattern = re.compile(rf"\.{re.escape(short_name(target))}\.[0-9a-f]{{16}}\{SUFFIX}", re.DOTALL)
    for path in _matching(target.parent, pattern):
        remove_unlocked(path)


def leftovers(folder: str | Path) -> Iterator[Leftover]:
    """Yield the unfinished files and folders below a folder; links are not followed."""
    if not Path(folder).is_dir():
        raise FileError(folder, "no such folder")
    for root, names, others in os.walk(folder):
        here = Path(root)
        unfinished = [name for name in (*names, *others) if _OURS.fullmatch(name) or _is_work(here, name)]
        names[:] = sorted(name for name in names if name not in unfinished)
        for name in sorted([*unfinished, *_stray_parts(here, others)]):
            path = here / name
            with suppress(FileNotFoundError):  # finished in between
                if not path.is_symlink():
                    yield Leftover(path, _size(path), _state(path))


def remove_unlocked(path: Path) -> bool:
    """Remove an unfinished file or folder unless a process works on it; return whether it is gone."""
    if (folder := _parts_folder(path)) is not None:
        if not _is_held(folder):
            _remove(path)
        return not path.exists()
    # Removed while the lock is held: its maker, who may be about to lock it, then makes another.
    with _probed(path) as free:
        if free:
            _remove(path)
    return not path.exists()


def remove_stale_parts(target: Path) -> None:
    """Remove the parts of ``target`` that killed runs, of other options or inputs, have left."""
    pattern = re.compile(rf"\.{re.escape(short_name(target))}\.[0-9a-f]{{16}}\.parts", re.DOTALL)
    for path in _matching(target.parent, pattern):
        remove_unlocked(path)


def _is_work(folder: Path, name: str) -> bool:
    """Return whether a name is that of what an unfinished run into a folder of parts has done."""
    return name == WORK and (folder / LOCK).exists() | any(map(_is_run, _names_in(folder / WORK)))


def _is_run(name: str) -> bool:
    return len(name) == _KEY_LENGTH and set(name) <= set("0123456789abcdef")


def _names_in(folder: Path) -> list[str]:
    with suppress(OSError):
        return [path.name for path in folder.iterdir()]
    return []


def _stray_parts(folder: Path, names: list[str]) -> list[str]:
    """Return the names of parts that no manifest names: of a run that was not finished."""
    parts = [name for name in names if PART_NAME.fullmatch(name)]
    if not parts:
        return []
    with suppress(OSError, ValueError, KeyError, TypeError):
        named = {part["name"] for part in orjson.loads((folder / MANIFEST).read_bytes())["parts"]}
        return [name for name in parts if name not in named]
    # Without a manifest only a run's own record tells them from files of others.
    return parts if _is_work(folder, WORK) else []


def _parts_folder(path: Path) -> Path | None:
    """Return the folder of parts that an unfinished file or folder belongs to, or is."""
    if path.suffix == ".parts":
        return path
    return path.parent if path.name == WORK or PART_NAME.fullmatch(path.name) else None


def _is_held(folder: Path) -> bool:
    try:
        return holder_of((folder / LOCK).read_bytes()) is not None
    except OSError:
        return False


def _matching(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if pattern.fullmatch(entry.name)]
    except OSError:
        return []


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.lstat().st_size
    return sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())


def _state(path: Path) -> State:
    if (folder := _parts_folder(path)) is not None:
        return "in use" if _is_held(folder) else "stale"
    with _probed(path) as free:
        return "unknown" if free is None else "stale" if free else "in use"


@contextmanager
def _probed(path: Path) -> Iterator[bool | None]:
    """Yield whether nobody holds the lock of a file or folder, which is held meanwhile; else ``None``."""
    number = None
    # A folder, and a file without the right to write, can only be read.
    for mode in (os.O_RDWR, os.O_RDONLY):
        with suppress(OSError):
            number = os.open(path, mode | _NO_LINK)
            break
    if number is None:  # a link, another user's, or gone
        yield None
        return
    try:
        yield _lock(number)
    finally:
        os.close(number)


def machine() -> str:
    """Return the name of this machine."""
    return os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")


def holder_of(lock: bytes) -> str | None:
    """Return the run that a lock in a folder of parts names, if it seems to be alive."""
    try:
        held = orjson.loads(lock)
        owner, when = str(held["owner"]), float(held["time"])
    except (KeyError, TypeError, ValueError):
        return None
    host, process = owner.split(":")[:2]
    ago = time.time() - when
    name = f"process {process} on {host}, seen {max(ago, 0):.0f} s ago"
    # Of this machine it is known: after a kill, the same command can resume at once, and a process that waits
    # for its input is no dead one.
    if host == machine() and process.isdecimal() and os.name != "nt":
        started = started_at(int(process))
        if started is not None and held.get("started") is not None:
            return name if started == held["started"] else None
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return None
        except OSError:
            pass
    return None if ago > _SILENT_SECONDS else name


def started_at(process: int) -> str | None:
    """Return when a process of this machine was started, in the system's own terms; ``None`` if unknown."""
    try:
        return (
            Path(f"/proc/{process}/stat")
            .read_text(encoding="ascii", errors="replace")
            .rpartition(") ")[2]
            .split()[19]
        )
    except (OSError, IndexError):
        return None
