"""The manifest of token shards: what is in a directory, and how it was made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from dataprep.core.errors import FileError, InputError

MANIFEST = "manifest.json"
FORMAT = "dataprep-shards"
VERSION = 2
AGAIN = "make the shards again with `dataprep tokenize`"


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest in a directory of shards.

    Raises:
        FileError: there is none.
        InputError: it is damaged, or of another version.
    """
    path = folder / MANIFEST
    try:
        manifest = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        raise FileError(folder, f"holds no finished shards (no {MANIFEST}): {AGAIN}") from None
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror}") from None
    except orjson.JSONDecodeError as error:
        raise InputError(path, f"damaged: {error}; {AGAIN}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InputError(path, f'this is no manifest of token shards; expected "format": "{FORMAT}"')
    if manifest.get("version") != VERSION:
        found = manifest.get("version")
        raise InputError(path, f"found shards of version {found}; this program reads {VERSION}: {AGAIN}")
    if manifest.get("checksum") != checksum(manifest):
        raise InputError(path, f"damaged, or changed by hand (its checksum is another); {AGAIN}")
    return manifest


def checksum(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of all that a manifest holds beside its checksum."""
    rest = {name: value for name, value in manifest.items() if name != "checksum"}
    return hashlib.sha256(orjson.dumps(rest, option=orjson.OPT_SORT_KEYS)).hexdigest()


def sha256_of(path: str | Path) -> str:
    """The SHA-256 of a file, read a little at a time: a mapped file would count as memory.

    Raises:
        FileError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror}") from None
