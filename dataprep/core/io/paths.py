"""Look at paths that can be URLs: what they name, how large it is, and whether two are the same file.

A path stays the text that the user gave: ``pathlib.Path`` would make ``s3:/bucket`` of ``s3://bucket``.
"""

from __future__ import annotations

import os
from pathlib import Path

from dataprep.core.errors import NotFoundError, UsageError
from dataprep.core.io.formats import STDIO
from dataprep.core.io.stores import Stat, stat, store_of
from dataprep.core.provenance import SUFFIX, begins_manifest
from dataprep.core.urls import is_url, joined, split_url, without_credentials


def find(url: str) -> Stat | None:
    """Return size and etag of an object, or of a folder's manifest of parts; ``None`` if there is none."""
    try:
        return stat(url)
    except NotFoundError:
        return None


def is_file(path: str | Path) -> bool:
    """Return whether a path names a file that can be read more than once; of a URL, by its form alone."""
    return not str(path).endswith("/") if is_url(path) else str(path) != STDIO and Path(path).is_file()


def is_folder(path: str | Path) -> bool:
    """Return whether a path names a folder: a URL does if it ends with ``/``."""
    return str(path).endswith("/") if is_url(path) else str(path) != STDIO and Path(path).is_dir()


def is_stream(path: str | Path) -> bool:
    """Return whether a path can be read only once: standard input, a pipe, or a device."""
    if is_url(path):
        return False
    return str(path) == STDIO or (Path(path).exists() and not (Path(path).is_file() or Path(path).is_dir()))


def exists(path: str | Path) -> bool:
    """Return whether there is something at a path or URL."""
    return find(str(path)) is not None if is_url(path) else Path(path).exists()


def is_same_file(path: str | Path, other: str | Path) -> bool:
    """Return whether two paths lead to one file that exists."""
    if is_url(path) or is_url(other):
        return real_path(path) == real_path(other) and exists(path)
    # samefile sees through links, upper case on some systems, and mounts.
    return Path(path).exists() and Path(other).exists() and Path(path).samefile(other)


def real_path(path: str | Path) -> str:
    """Return what tells the file of a path from others: the path without links, the URL without keys."""
    if is_url(path):
        scheme, bucket, key = split_url(without_credentials(str(path)))
        return f"{scheme}://{bucket}/{key}"
    return str(path) if str(path) == STDIO else os.path.realpath(path)


def size_of(path: str | Path) -> int:
    """Return the bytes of a file; 0 for a pipe, a folder, or what does not exist."""
    if is_url(path):
        found = find(str(path)) if is_file(path) else None
        return found.size if found is not None else 0
    return Path(path).stat().st_size if is_file(path) else 0


def scratch_beside(output: str) -> Path:
    """Return the path beside which the intermediate files of an output are made."""
    # Beside the output, because its disk must hold all rows anyway; /tmp can be small or in memory.
    if output != STDIO and not is_url(output) and not Path(output).is_char_device():
        return Path(output).with_name("merge")
    import tempfile  # it takes milliseconds of every start

    return Path(tempfile.gettempdir()) / "merge"


def make_parent(path: str | Path) -> None:
    """Make the folder of a file; a store has no folders to make."""
    if not is_url(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)


def sibling(path: str, name: str) -> str:
    """Return the path of another file in the folder of a file."""
    return f"{path.rpartition('/')[0]}/{name}" if is_url(path) else str(Path(path).with_name(name))


def files_in(folder: str) -> list[str]:
    """Return the paths of the files directly in a folder, without hidden ones; sorted."""
    if is_url(folder):
        top = folder.rstrip("/") + "/"
        names = (url.removeprefix(top) for url, _ in store_of(top).list(top))
        return sorted(joined(folder, name) for name in names if "/" not in name and not name.startswith("."))
    return sorted(str(path) for path in Path(folder).iterdir() if not path.name.startswith("."))


def check_local(path: str | Path, what: str) -> None:
    """Raise ``UsageError`` if a path is a URL: ``what`` needs a local one."""
    if is_url(path):
        raise UsageError(f"{path}: {what} needs a place on a disk; give a local path")


def remove_manifest(url: str) -> None:
    """Remove the manifest beside an object that was just written: it describes other bytes."""
    place, store = url.rstrip("/") + SUFFIX, store_of(url)
    if (found := find(place)) and begins_manifest(store.read(place, 0, 32, found.etag)):
        store.delete(place)
