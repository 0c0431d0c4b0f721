"""Keep a run in an object store, and fetch its data from there.

The processes of a machine work in a temporary folder. After each checkpoint, the first process writes the
files that changed to the store, and then ``run.json``, which lists all files of the run with their SHA-256.
So the list always names whole files of one moment. A run that is resumed starts with what it names.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import IO, TYPE_CHECKING, Any
from uuid import uuid4

import orjson

from dataprep import __version__
from dataprep.core.errors import ConflictError, FileError, InputError, NotFoundError, UsageError
from dataprep.core.io import replacing, writing
from dataprep.core.io.stores import is_url, joined, name_of, store_of
from dataprep.core.ledger import advance
from dataprep.core.records import describe
from dataprep.core.urls import split_url

if TYPE_CHECKING:
    from dataprep.train.hardware.distributed import World

RUN, FORMAT, VERSION = "run.json", "dataprep run", 1
MANIFEST = "manifest.json"
_PIECE = 8 << 20
# It grows between two lists, so the object can be longer than a list says.
_GROWS = "metrics.jsonl"


@dataclass(frozen=True, slots=True)
class Kept:
    """A file of a run in the store."""

    name: str
    bytes: int
    sha256: str


class RemoteRun:
    """A run in a store, of which `folder` is this machine's copy.

    Args:
        url: the run's URL.
        folder: a folder of this machine.
        log: called with a warning when the store cannot be written to for now.
    """

    def __init__(self, url: str, folder: Path, log: Callable[[str], None]) -> None:
        self.url, self.folder, self._log = url.rstrip("/"), folder, log
        self._store, self._list = store_of(url), joined(self.url, RUN)
        self._kept: dict[str, Kept] = {}
        self._etag = ""
        # Size and time of change of each file when it was written to the store.
        self._seen: dict[str, tuple[int, int]] = {}

    def begin(self, world: World, *, resume: bool) -> None:
        """Take the run over, and fetch its files to every machine.

        Raises:
            UsageError: there is a run already, and it is not to be resumed; or there are other files.
        """
        if world.first:
            found = self._read()
            if found is None and next(self._store.list(self.url + "/"), None) is not None:
                raise UsageError(f"-o {self.url}: there are other files already; give another URL")
            if found is not None and not resume:
                raise UsageError(f"-o {self.url}: there is a run already; --resume continues it")
            # Written again, also with the same files: another process that works on the run notices it.
            self._write_list()
        self.fetch(world)

    def publish(self, *, last: bool = False) -> None:
        """Write the files that changed, and then their list; remove what it no longer names.

        A store that cannot be reached is no reason to stop before the end: the next checkpoint tries again.

        Raises:
            FileError: another process has taken the run over; or, at the end, the store cannot be written to.
        """
        try:
            self._publish()
        except ConflictError:
            raise
        except FileError as error:
            if not last:
                self._log(f"warning: the run is not up to date in the store: {error}")
                return
            kept = self.folder.rename(Path(gettempdir()) / f"dataprep-run-{uuid4().hex}")
            raise FileError(
                error.path, f"{error.message}; the run is in {kept}: copy it from there"
            ) from None

    def _publish(self) -> None:
        # Before anything is written: a process that was taken for dead must not write over its successor.
        if self._store.stat(self._list).etag != self._etag:
            raise self._taken()
        names = sorted(self._names(), key=lambda name: (name.endswith("config.json"), name))
        for name in names:
            status = (self.folder / name).stat()
            if self._seen.get(name) != (status.st_size, status.st_mtime_ns):
                self._kept[name] = self._upload(name)
                self._seen[name] = status.st_size, status.st_mtime_ns
        dropped = self._kept.keys() - names
        self._kept = {name: self._kept[name] for name in names}
        self._write_list()
        for name in dropped:
            self._store.delete(joined(self.url, name))

    def remove(self) -> None:
        """Remove a run that failed before its first step."""
        for name in [*self._kept, RUN]:
            self._store.delete(joined(self.url, name))

    def fetch(self, world: World) -> None:
        """Bring the files that the first process has written to the other machines."""
        text = world.agree(self._document().decode() if world.first else None)
        if world.local_rank == 0:
            self._kept = dict(_files_of(text.encode(), self._list))
            for name, file in self._kept.items():
                target = self.folder / name
                # On the first process's machine they are there.
                if not target.exists():
                    _fetch(joined(self.url, name), target, file, grows=Path(name).name == _GROWS)
                    status = target.stat()
                    self._seen[name] = status.st_size, status.st_mtime_ns
        world.wait()

    def _names(self) -> list[str]:
        """Return the names of the files in the folder, except unfinished ones."""
        paths = (path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file())
        return [path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts)]

    def _upload(self, name: str) -> Kept:
        sha256, size = hashlib.sha256(), 0
        with (self.folder / name).open("rb") as file, self._store.writer(joined(self.url, name)) as out:
            while piece := file.read(_PIECE):
                sha256.update(piece)
                out.write(piece)
                size += len(piece)
                advance("bytes written to the store", len(piece))
        return Kept(name, size, sha256.hexdigest())

    def _read(self) -> bytes | None:
        try:
            stat = self._store.stat(self._list)
        except NotFoundError:
            return None
        data = self._store.read(self._list, 0, stat.size, stat.etag)
        self._kept, self._etag = dict(_files_of(data, self._list)), stat.etag
        return data

    def _document(self) -> bytes:
        files = [asdict(file) for file in self._kept.values()]
        content = {"format": FORMAT, "version": VERSION, "dataprep": __version__, "written": uuid4().hex}
        return orjson.dumps(content | {"files": files}, option=orjson.OPT_INDENT_2)

    def _write_list(self) -> None:
        try:
            self._etag = self._store.put(
                self._list, self._document(), new=not self._etag, match=self._etag or None
            )
        except ConflictError:
            raise self._taken() from None

    def _taken(self) -> ConflictError:
        return ConflictError(self.url, "another process works on the run; wait for it, or give another URL")


def _files_of(data: bytes, where: str) -> Iterator[tuple[str, Kept]]:
    """Yield the files that a run's list names."""
    try:
        content = orjson.loads(data)
        if content["format"] != FORMAT or content["version"] != VERSION:
            raise ValueError(f"found {describe(content['format'])} of version {content['version']}")
        files = [Kept(**file) for file in content["files"]]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(where, f"is not the list of a run that this dataprep reads: {error}") from None
    for file in files:
        # A name such as `../x` would be written outside of the folder.
        if not _is_inside(file.name) or type(file.bytes) is not int or type(file.sha256) is not str:
            raise InputError(where, f"found {describe(file.name)}; expected the name of a file in the run")
        yield file.name, file


def _is_inside(name: Any) -> bool:
    parts = Path(name).parts if isinstance(name, str) else ()
    return bool(parts) and not Path(name).is_absolute() and not any(part.startswith(".") for part in parts)


def _fetch(url: str, target: Path, expected: Kept | None = None, *, grows: bool = False) -> None:
    """Fetch an object into a file, which appears whole and with the expected bytes."""
    store = store_of(url)
    stat = store.stat(url)
    size = stat.size if expected is None else expected.bytes
    if stat.size < size or (stat.size > size and not grows):
        raise InputError(url, f"found {stat.size:,} bytes; expected {size:,}")
    sha256 = hashlib.sha256()
    with writing(str(target)):
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as out:
            for start in range(0, size, _PIECE):
                piece = store.read(url, start, min(start + _PIECE, size), stat.etag)
                sha256.update(piece)
                _write(out, piece)
                advance("bytes fetched", len(piece), size)
            if expected is not None and sha256.hexdigest() != expected.sha256:
                raise InputError(url, "damaged: its SHA-256 is not the one that was recorded")


def _write(out: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[out.write(view) :]


@contextmanager
def fetched(world: World, folder: Path, paths: Sequence[str]) -> Iterator[list[str]]:
    """Yield local paths for paths and URLs of training data; errors inside name the URLs.

    Args:
        world: the processes; one of each machine fetches.
        folder: a folder of this machine.
        paths: files of rows, folders of shards or of parts. Local ones stay as they are.

    Raises:
        FileError: there is no such object, or it cannot be read.
        InputError: it is damaged.
    """
    # Each in a folder of its own: two can have one name. Below it by its whole key, because a mixture of
    # shards leads to them by relative paths.
    urls = dict.fromkeys(path for path in paths if is_url(path))
    places = {url: folder / f"data-{number}" / _key_of(url) for number, url in enumerate(urls)}
    if world.local_rank == 0:
        for number, (url, target) in enumerate(places.items()):
            _fetch_data(url, target, folder / f"data-{number}")
    world.wait()
    try:
        yield [str(places.get(path, path)) for path in paths]
    except (InputError, FileError) as error:
        for url, target in places.items():
            _name(error, str(target), url)
        raise


def _name(error: InputError | FileError, path: str, url: str) -> None:
    """Put a URL in place of the path of its copy, in an error."""
    if isinstance(error, InputError):
        error.where = error.where.replace(path, url)
    else:
        error.path = error.path.replace(path, url)
    error.message = error.message.replace(path, url)


def _key_of(url: str) -> str:
    key = split_url(url)[2].strip("/")
    return key if _is_inside(key) else name_of(url)


def _fetch_data(url: str, target: Path, top: Path) -> None:
    """Fetch a file, or a folder of shards or parts: the files that its manifest names."""
    if not url.endswith("/"):
        try:
            _fetch(url, target)
        except NotFoundError as error:
            # Else it is a folder, unless it has no manifest either.
            if "bucket" in error.message:
                raise
        else:
            return
    store, folder = store_of(url), url.rstrip("/")
    where = joined(folder, MANIFEST)
    try:
        stat = store.stat(where)
    except NotFoundError:
        raise FileError(url, f"no such object, nor a folder with a {MANIFEST}") from None
    data = store.read(where, 0, stat.size, stat.etag)
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InputError(where, f"damaged: {error}") from None
    for file in _named_in(content, where):
        _fetch(joined(folder, file.name), target / file.name, file)
    for source in _sources_of(content):
        place = Path(os.path.normpath(target / source))
        if Path(source).is_absolute() or not place.is_relative_to(top):
            raise InputError(where, f"its shards are at {source!r}, which is not below {folder}'s bucket")
        if not place.exists():
            scheme, bucket, key = split_url(folder)
            key = posixpath.normpath(posixpath.join(key, source))
            _fetch_data(f"{scheme}://{bucket}/{key}/", place, top)
    # Last, as when it was written.
    _fetch(where, target / MANIFEST, Kept(MANIFEST, len(data), hashlib.sha256(data).hexdigest()))


def _sources_of(content: Any) -> list[str]:
    """Return the directories of shards that a mixture draws from, relative to its own."""
    sources = content.get("sources") if isinstance(content, dict) else None
    found = [source.get("path") for source in sources or () if isinstance(source, dict)]
    return [path for path in found if isinstance(path, str)]


def _named_in(value: Any, where: str) -> Iterator[Kept]:
    """Yield the files beside a manifest of shards or of parts: objects with name, size and SHA-256."""
    if isinstance(value, list):
        for item in value:
            yield from _named_in(item, where)
    elif isinstance(value, dict):
        if {"name", "bytes", "sha256"} <= value.keys():
            file = Kept(value["name"], value["bytes"], value["sha256"])
            if not _is_inside(file.name) or Path(file.name).name != file.name:
                raise InputError(where, f"found {describe(file.name)}; expected a file beside the manifest")
            yield file
        for item in value.values():
            yield from _named_in(item, where)
