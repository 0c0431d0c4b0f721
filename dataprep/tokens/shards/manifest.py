"""The manifest of token shards: what a directory holds, and what it was made from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import orjson

from dataprep.core import io as files
from dataprep.core.errors import FileError, InputError, UsageError
from dataprep.core.io.part_files import FORMAT as PARTS_FORMAT
from dataprep.core.io.part_files import MIXTURE, SHARDS, files_of, folder_at, held_by, located_file
from dataprep.core.io.raw import open_raw
from dataprep.core.parallel import Backend, Inline, current
from dataprep.core.parallel.tasks import run
from dataprep.core.records import describe
from dataprep.core.urls import joined, name_of

MANIFEST = "manifest.json"
FORMAT = SHARDS
# Version 3 names the chat format and the tokens in the loss by the field's terms. Older shards are refused:
# to make them again is quicker than to keep a second reader right.
VERSION = 3
MIXTURE_VERSION = 2
AGAIN = "make the shards again with `dataprep tokenize`"
MIX_AGAIN = "make the mixture again with `dataprep mix`"


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Return the manifest in a directory of shards, or of a mixture of shards, after checking it."""
    path = joined(str(folder), MANIFEST)
    try:
        content = folder_at(str(folder)).read(MANIFEST)
        if content is None:
            raise FileError(folder, f"holds no finished shards (no {MANIFEST}): {AGAIN}")
        manifest = orjson.loads(content[0])
    except FileError:
        raise
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror}") from None
    except orjson.JSONDecodeError as error:
        raise InputError(path, f"damaged: {error}; {AGAIN}") from None
    if not isinstance(manifest, dict) or (kind := manifest.get("format")) not in (FORMAT, MIXTURE):
        if held := held_by(manifest):
            wanted = "token shards, as `dataprep tokenize` writes them"
            raise InputError(folder, f"holds {held}; expected {wanted}")
        raise InputError(path, f'this is not a manifest of token shards; expected "format": "{FORMAT}"')
    expected = VERSION if kind == FORMAT else MIXTURE_VERSION
    if manifest.get("version") != expected:
        version = manifest.get("version")
        what, again = ("shards", AGAIN) if kind == FORMAT else ("a mixture", MIX_AGAIN)
        raise InputError(path, f"found {what} of version {version}; this program reads {expected}: {again}")
    try:
        found = checksum(manifest)
    except TypeError as error:  # JSON that can be read but not written, for example nested too deeply
        raise InputError(path, f"damaged: {error}; {AGAIN}") from None
    # The checksum protects the sizes and hashes, by which all other files are checked.
    if manifest.get("checksum") != found:
        raise InputError(path, f"damaged, or changed by hand (its checksum differs); {AGAIN}")
    # Whoever wrote another document can compute its checksum too.
    if problem := next(_misshapen(manifest, _SHAPES[kind], ""), None):
        raise InputError(path, f"this is not a manifest of token shards: {problem}; {AGAIN}")
    return manifest


def is_shards(path: str | Path) -> bool:
    """Return whether there is a manifest at a path or URL, and it is not one of a folder of rows."""
    # The manifest is written last: without it, the shards are not finished.
    with suppress(OSError):
        content = folder_at(str(path)).read(MANIFEST)
        return content is not None and PARTS_FORMAT.encode() not in content[0][:100]
    return False


def files_in(manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield what a manifest of shards says about each file beside it: name, size and SHA-256."""
    for shard in manifest.get("shards", ()):  # a mixture has none
        yield from shard["files"].values()
    if manifest["tokenizer"]["file"] is not None:
        yield manifest["tokenizer"]["file"]


_COUNT = (int,)
_TEXT = (str,)
# The name of a file beside the manifest, its size and its SHA-256.
_FILE = {"name": "file", "bytes": _COUNT, "sha256": _TEXT}
_SHARD_FILES = dict.fromkeys(("ids", "mask", "offsets", "rows"), _FILE)
_SHARD = {"documents": _COUNT, "tokens": _COUNT, "sequences": _COUNT, "files": _SHARD_FILES}
# The parts that a reader needs: the types of values, the fields of objects, and of each object in a list.
_SHAPE: dict[str, Any] = {
    "key": _TEXT,
    "dtype": _TEXT,
    **dict.fromkeys(("documents", "tokens", "loss_tokens", "sequences", "pad_id", "cut"), _COUNT),
    "rows": {"in": _COUNT, "out": _COUNT, "dropped": {}, "failed": {}},
    "options": {
        "pack": (int, type(None)),
        "strip": (bool,),
        "date": (str, type(None)),
        "template_args": {},
        "loss": _TEXT,
        "split_thinking": (bool,),
    },
    "tokenizer": {"fingerprint": _TEXT, "vocab_size": _COUNT, "name": (str, type(None))},
    "chat_format": {"name": _TEXT, "fingerprint": _TEXT},
    "inputs": [{"name": _TEXT, "rows": _COUNT}],
    "shards": [_SHARD],
}
_MIXTURE_SHAPE = {name: shape for name, shape in _SHAPE.items() if name not in ("loss_tokens", "shards")} | {
    "longest": _COUNT,
    "epochs": [_COUNT],
    "sources": [{"path": _TEXT, "checksum": _TEXT, "documents": _COUNT}],
    "order": _FILE,
}
_SHAPES = {FORMAT: _SHAPE, MIXTURE: _MIXTURE_SHAPE}


# A reader of documents needs none of these.
_OPTIONAL = {"cut", "rows", "strip", "date", "template_args", "loss", "split_thinking"}


def _misshapen(value: Any, shape: Any, where: str) -> Iterator[str]:
    """Yield the differences of a parsed manifest from the shape that it must have."""
    expected = "an object" if isinstance(shape, dict) else "a list" if isinstance(shape, list) else ""
    if shape == "file":
        # Never a path: only files beside the manifest belong to the shards.
        if not isinstance(value, str) or Path(value).name != value or value in ("", ".."):
            yield f"found {describe(value)} in {where}; expected a file's name"
    elif isinstance(shape, tuple):
        if type(value) not in shape or (type(value) is int and value < 0):
            names = " or ".join("null" if kind is type(None) else kind.__name__ for kind in shape)
            yield f"found {describe(value)} in {where}; expected {names}"
    elif not isinstance(value, type(shape)):
        yield f"found {describe(value)} in {where}; expected {expected}"
    elif isinstance(shape, list):
        for number, item in enumerate(value):
            yield from _misshapen(item, shape[0], f"{where} {number}")
    else:
        for name, inner in shape.items():
            if name in value or name not in _OPTIONAL:
                yield from _misshapen(value.get(name), inner, f"{where}.{name}".lstrip("."))
        # Fields that not all manifests have.
        for name, inner in (("file", _FILE), ("sequences", _FILE)):
            if isinstance(value.get(name), dict):
                yield from _misshapen(value[name], inner, f"{where}.{name}")


def checksum(manifest: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a manifest without its checksum."""
    rest = {name: value for name, value in manifest.items() if name != "checksum"}
    return hashlib.sha256(orjson.dumps(rest, option=orjson.OPT_SORT_KEYS)).hexdigest()


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file."""
    try:
        # Read a little at a time: the pages of a mapped file would count as memory of this process.
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror}") from None


def content_digest(path: str) -> str:
    """Return the SHA-256 of a file as it is; of a folder of parts, that of all together."""
    digest = hashlib.sha256()
    for part in files_of(path):
        with files.translated(part), open_raw(part) as file:
            hashlib.file_digest(cast(Any, file), lambda: digest)
    return digest.hexdigest()


class InputFiles:
    """The files to tokenize, with their SHA-256.

    Args:
        paths: the files.
        backend: hashes the files by tasks, one for each; ``None`` for this process.
    """

    def __init__(self, paths: list[str], backend: Backend | None = None) -> None:
        # A regular file can be read twice: once to hash it, and once for its rows.
        known = [_is_regular(path) for path in paths]
        streams = [path for path, regular in zip(paths, known, strict=True) if not regular]
        for path in streams:
            if streams.count(path) > 1:
                raise UsageError(f"{path}: is given twice, but a pipe can be read only once")
        self.paths = paths
        self.rows: list[int] = []  # of each file, once it was read
        self.known = not streams  # whether the files' content is known before they are read
        self._unchanged = files.Unchanged(
            part
            for path, regular in zip(paths, known, strict=True)
            for part in (files_of(path) if regular else [path])
        )
        numbers = [number for number, regular in enumerate(known) if regular]
        given = [paths[number] if backend is None else located_file(paths[number]) for number in numbers]
        if given and backend is not None and (engine := current()) is not None:
            engine.check(files_of(given[0])[0], None)  # a node without the file has a name then
        hashed = run(content_digest, given, backend=backend or Inline())
        self._hashes = {numbers[index]: digest for index, digest in hashed}

    def blocks(self) -> Iterator[files.Block]:
        """Yield the blocks of all files."""
        for number, path in enumerate(self.paths):
            blocks = files.read_row_blocks(path)
            yield from blocks if number in self._hashes else self._hashed(number, blocks)

    def _hashed(self, number: int, blocks: Iterable[files.Block]) -> Iterator[files.Block]:
        digest = hashlib.sha256()
        for block in blocks:
            digest.update(block.read())
            yield block
        self._hashes[number] = digest.hexdigest()

    def contents(self) -> list[tuple[str, str]]:
        """Return format and SHA-256 of each file."""
        return [
            (files.format_of(path).kind, digest)
            for path, (_, digest) in zip(self.paths, sorted(self._hashes.items()), strict=True)
        ]

    def facts(self) -> list[dict[str, Any]]:
        """Return what the manifest says about each file: name, format, SHA-256 and number of rows."""
        return [
            {"name": files.printable(name_of(path)), "kind": kind, "sha256": digest, "rows": rows}
            for path, (kind, digest), rows in zip(self.paths, self.contents(), self.rows, strict=True)
        ]

    def check_unchanged(self) -> None:
        """Raise ``InputError`` if a file was changed since its content was hashed."""
        self._unchanged.check()


def _is_regular(path: str) -> bool:
    return path != files.STDIO and all(map(files.is_file, files_of(path)))
