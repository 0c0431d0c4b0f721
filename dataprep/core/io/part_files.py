"""Read a folder of parts as one file: ``part-00000-<digest>.jsonl`` … and the manifest that names them.

The manifest is the one place that says which parts belong together: parts that it does not name are those of
a run that is unfinished or was replaced. A part's name has the beginning of its SHA-256, so that no part is
ever written over by other bytes, and two runs into one folder cannot mix.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import orjson

from dataprep.core.errors import ConflictError, FileError, InputError, NotFoundError, UsageError
from dataprep.core.io.formats import STDIO, is_lines
from dataprep.core.io.unfinished import MANIFEST, PART_NAME, new_file
from dataprep.core.urls import is_url, name_of

FORMAT = "dataprep parts"
VERSION = 1
# Other folders with a `manifest.json`, which `dataprep.tokens` writes and reads.
SHARDS, MIXTURE, LOGITS = "dataprep-shards", "dataprep-mixture", "dataprep-logits"
_HELD = {FORMAT: "rows", SHARDS: "token shards", MIXTURE: "a mixture of token shards"}
_HELD |= {LOGITS: "a teacher's logits"}
CHUNK_BYTES = 32 << 20
CHUNK_VARIABLE = "DATAPREP_CHUNK_BYTES"


def chunk_bytes() -> int:
    """Return the bytes of a chunk of input, and of a part of rows that come from no single chunk.

    The parts of an output depend on it and on nothing else of the machine, so it is ``CHUNK_BYTES`` unless
    the environment says otherwise.
    """
    given = os.environ.get(CHUNK_VARIABLE, "")
    if not given:
        return CHUNK_BYTES
    if not given.isascii() or not given.isdecimal() or int(given) < 1:
        raise UsageError(f"{CHUNK_VARIABLE}={given}: expected a number of bytes, 1 or more")
    return int(given)


@dataclass(frozen=True, slots=True)
class Part:
    """A finished part of an output."""

    name: str
    rows: int
    bytes: int
    sha256: str


class Folder(Protocol):
    """A local folder, or all objects of a store whose names begin alike. Names may have a ``/`` inside."""

    def path(self, name: str) -> str:
        """Return the path or URL of a file."""

    def sizes(self, below: str = "") -> dict[str, int]:
        """Return the names of the files in this folder, or one below it, with their bytes."""

    def folders(self, below: str) -> list[str]:
        """Return the names of the folders in one below this."""

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Return a file's bytes and what its state is known by; ``None`` if there is no such file."""

    def put(self, name: str, data: bytes) -> None:
        """Write a file, which appears whole."""

    def replace(self, name: str, data: bytes, seen: str | None) -> None:
        """Write a file whose state is still what it was seen in; ``None`` is for one that is new."""

    def add(self, name: str, stream: IO[bytes]) -> None:
        """Write a file, which appears whole, from a stream to its end."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""


class LocalFolder:
    """A folder of this machine, or one that several machines share."""

    def __init__(self, where: str) -> None:
        self.where = where

    def path(self, name: str) -> str:
        """Return the path of a file."""
        return os.path.join(self.where, name)  # noqa: PTH118 - the folder as it was typed

    def sizes(self, below: str = "") -> dict[str, int]:
        """Return the names of the files in this folder, or one below it, with their bytes."""
        prefix = f"{below}/" if below else ""
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.path(below)) as entries:
            return {prefix + entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
        return {}

    def folders(self, below: str) -> list[str]:
        """Return the names of the folders in one below this."""
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.path(below)) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
        return []

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Return a file's bytes and their SHA-256."""
        with suppress(FileNotFoundError, NotADirectoryError):
            data = Path(self.path(name)).read_bytes()
            return data, hashlib.sha256(data).hexdigest()
        return None

    def put(self, name: str, data: bytes) -> None:
        """Write a file, which appears whole."""
        self.add(name, io.BytesIO(data))

    def replace(self, name: str, data: bytes, seen: str | None) -> None:
        """Write a file whose state is still what it was seen in."""
        before = self.read(name)
        if (before and before[1]) != seen:
            raise replaced(self.path(name))
        self._write(name, io.BytesIO(data), new=seen is None)

    def add(self, name: str, stream: IO[bytes]) -> None:
        """Write a file, which appears whole, from a stream to its end."""
        self._write(name, stream, new=False)

    def _write(self, name: str, stream: IO[bytes], *, new: bool) -> None:
        target = Path(self.path(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        # Its hidden name is its own: where each machine has its own locks, another one that writes the same
        # part would take it for a leftover.
        with new_file(target.with_name(f"{target.name}.{os.urandom(4).hex()}")) as file:
            while piece := stream.read(1 << 20):
                file.write(piece)
            # Before the rename, for a file system that reports a full disk only when a file is closed.
            file.close()
            if new:
                try:
                    os.link(file.path, target)  # unlike a rename, it fails if another one was as fast
                    return
                except FileExistsError:
                    raise replaced(self.path(name)) from None
                except OSError:  # a file system without links
                    pass
            file.path.replace(target)

    def remove(self, name: str) -> None:
        """Remove a file, and the folder that it leaves empty."""
        target = Path(self.path(name))
        target.unlink(missing_ok=True)
        if "/" in name:
            with suppress(OSError):
                target.parent.rmdir()
                target.parent.parent.rmdir()


class StoreFolder:
    """The objects of a store whose names begin with a URL."""

    def __init__(self, where: str) -> None:
        # Not at the top: only a URL needs the libraries of stores.
        from dataprep.core.io.stores import store_of

        self.where = where.rstrip("/") + "/"
        self._store = store_of(self.where)

    def path(self, name: str) -> str:
        """Return the URL of an object."""
        return self.where + name

    def sizes(self, below: str = "") -> dict[str, int]:
        """Return the names of the objects, with their bytes."""
        prefix = self.where + (f"{below}/" if below else "")
        found = ((url.removeprefix(self.where), stat.size) for url, stat in self._store.list(prefix))
        return {name: size for name, size in found if "/" not in name[len(below) + 1 if below else 0 :]}

    def folders(self, below: str) -> list[str]:
        """Return the names of the folders in one below this."""
        prefix = self.path(f"{below}/")
        names = (url.removeprefix(prefix) for url, _ in self._store.list(prefix))
        return sorted({name.partition("/")[0] for name in names if "/" in name})

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Return an object's bytes and its etag."""
        url = self.path(name)
        with suppress(NotFoundError):
            stat = self._store.stat(url)
            return self._store.read(url, 0, stat.size, stat.etag), stat.etag
        return None

    def put(self, name: str, data: bytes) -> None:
        """Write an object."""
        self._store.put(self.path(name), data)

    def replace(self, name: str, data: bytes, seen: str | None) -> None:
        """Write an object whose state is still what it was seen in."""
        try:
            self._store.put(self.path(name), data, new=seen is None, match=seen)
        except ConflictError:
            raise replaced(self.path(name)) from None

    def add(self, name: str, stream: IO[bytes]) -> None:
        """Write an object from a stream to its end."""
        with self._store.writer(self.path(name)) as out:
            while piece := stream.read(8 << 20):
                out.write(piece)

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        self._store.delete(self.path(name))


def folder_at(where: str) -> Folder:
    """Return the folder at a path or URL."""
    return StoreFolder(where) if is_url(where) else LocalFolder(where)


def replaced(path: str) -> FileError:
    """Return the error for a manifest that another run wrote meanwhile."""
    return FileError(path, "another run wrote into the folder meanwhile; run the command again")


def located_file(path: str) -> str:
    """Return the absolute path of a local file or folder, for other processes; a URL as it is."""
    return path if is_url(path) else str(Path(path).absolute()) + ("/" if path.endswith("/") else "")


def is_parts(path: str) -> bool:
    """Return whether a path is written as a folder's: then an output has several parts."""
    return path != STDIO and path.endswith(("/", os.sep))


def files_of(path: str) -> list[str]:
    """Return the files to read for a path: the parts of a folder of parts, or the path itself."""
    if path == STDIO or not (is_parts(path) or (not is_url(path) and Path(path).is_dir())):
        return [path]
    folder = folder_at(path)
    manifest = read_manifest(folder)
    if manifest is None:
        if any(PART_NAME.fullmatch(name) for name in folder.sizes()):
            raise FileError(path, f"holds parts and no {MANIFEST}: the run that writes them is unfinished")
        return [path]  # opening it says that it is a folder
    sizes = folder.sizes()
    for part in manifest.parts:
        if sizes.get(part.name) != part.bytes:
            found = "is missing" if part.name not in sizes else f"has {sizes[part.name]:,} bytes"
            raise InputError(
                folder.path(part.name), f"{found}; expected {part.bytes:,} bytes; write the folder again"
            )
    return [folder.path(part.name) for part in manifest.parts]


@dataclass(frozen=True, slots=True)
class PartsManifest:
    """The parts of a folder in their order, and facts about the run, from the folder's manifest."""

    parts: list[Part]
    facts: Mapping[str, Any]
    seen: str  # the state of the file, by which a change is noticed

    @staticmethod
    def to_json(parts: Iterable[Part], facts: Mapping[str, Any]) -> bytes:
        """Return the bytes of a manifest."""
        content = {"format": FORMAT, "version": VERSION, **facts, "parts": [asdict(part) for part in parts]}
        return orjson.dumps(
            content | {"checksum": _checksum(content)}, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        )


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(content)).hexdigest()


def held_by(manifest: Any) -> str | None:
    """Return what a folder holds by its manifest, for messages; ``None`` for another manifest."""
    return _HELD.get(str(manifest.get("format"))) if isinstance(manifest, dict) else None


def read_manifest(folder: Folder, *, writes: bool = False) -> PartsManifest | None:
    """Return the manifest of a folder of parts; ``None`` if there is none.

    Args:
        folder: the folder.
        writes: whether the folder is an output, for messages.

    Raises:
        InputError: it is damaged, or not one of parts.
    """
    if (found := folder.read(MANIFEST)) is None:
        return None
    data, seen = found
    path = folder.path(MANIFEST)
    try:
        content = orjson.loads(data)
        if content["format"] != FORMAT and (held := held_by(content)):
            advice = "give another directory" if writes else "give the files of rows that it was made from"
            raise InputError(folder.path("").rstrip("/"), f"holds {held}; expected rows: {advice}")
        if content["format"] != FORMAT:
            raise KeyError
        checksum = content.pop("checksum")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise InputError(path, "is not the manifest of a folder of parts; name the files to read") from None
    if content["version"] != VERSION:
        raise InputError(path, f"found version {content['version']}; this dataprep reads {VERSION}")
    if checksum != _checksum(content):
        raise InputError(path, "was changed after it was written; write the folder again")
    parts = [Part(**part) for part in content.pop("parts")]
    return PartsManifest(parts, {**content}, seen)


def check_target(path: str) -> None:
    """Raise ``UsageError`` if a folder of parts cannot be written at a path."""
    if not is_url(path) and Path(path).exists() and not Path(path).is_dir():
        raise UsageError(f"{path}: is a file; a path that ends with / is a folder of parts")
    if not is_lines(name_of(path)):
        raise UsageError(f"{path}: a folder of parts has JSON Lines; leave the / out, or choose another name")
