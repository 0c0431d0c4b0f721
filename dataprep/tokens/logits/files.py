"""The files of a directory of logits, and what it was made from.

::

    data.bin        the documents in order, in frames of one or more: the number of the first (uint64), length
                    and CRC-32 of the record (uint32), record
    offsets.bin     uint64, documents + 1: document d is in the frame that begins at its byte offsets[d]
    manifest.json   teacher, tokenizer, shards, options; counts; size and SHA-256 of the other two files

While teachers are asked there is `unfinished.json`, with the first part of the manifest, and `data.bin` grows
by whole frames of one document, in any order. Short ones are joined at the end, and the manifest is written
last. `coding` describes a record.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from dataprep.core.errors import FileError, InputError
from dataprep.core.io.part_files import LOGITS, held_by
from dataprep.core.records import describe
from dataprep.tokens.shards.manifest import checksum, sha256_of

FORMAT, VERSION = LOGITS, 2
MANIFEST, UNFINISHED, DATA, OFFSETS = "manifest.json", "unfinished.json", "data.bin", "offsets.bin"
NAMES = {MANIFEST, UNFINISHED, DATA, OFFSETS}
FRAME = struct.Struct("<QII")  # first document, length and CRC-32 of the record
# `capture` leaves finished logits as they are, also damaged ones: they must be removed first.
AGAIN = "remove the directory, and make the logits again with `dataprep capture`"

# Parts of the manifest that decide the logits, and the field of each that differs.
_MADE_FROM = (
    ("tokenizer", "fingerprint"),
    ("shards", "checksum"),
    ("teacher", "sha256"),
)
_SHAPE: dict[str, dict[str, type]] = {
    "teacher": {"name": str, "sha256": str, "kind": str},
    "tokenizer": {"fingerprint": str, "vocab_size": int},
    "shards": {"checksum": str, "documents": int},
    "options": {"top_k": int, "temperatures": list, "precision": str},
    "files": {DATA: dict, OFFSETS: dict},
}


def differences(made: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return what differs between two manifests, in the parts that both have, for messages."""
    found = []
    for part, field in _MADE_FROM:
        old, new = made.get(part), wanted.get(part)
        if old and new and old[field] != new[field]:
            found.append(f"the {part} (found {_short(old, field)}, expected {_short(new, field)})")
    if "options" in made and "options" in wanted:
        for name, value in wanted["options"].items():
            if (old := made["options"].get(name)) != value:
                found.append(f"{name} (found {old}, expected {value})")
    return found


def _short(part: Mapping[str, Any], field: str) -> str:
    name = f"{part['name']}, " if "name" in part else ""
    return f"{name}{field} {part[field][:16]}…"


def read_manifest(folder: Path, name: str = MANIFEST) -> dict[str, Any]:
    """Return the manifest of logits, or what an unfinished run was begun with, after checking it."""
    path = folder / name
    try:
        manifest = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        begun = (folder / UNFINISHED).exists()
        hint = (
            "continue it with the same `dataprep capture`" if begun else "make them with `dataprep capture`"
        )
        raise FileError(folder, f"holds no finished logits (no {MANIFEST}): {hint}") from None
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror}") from None
    except orjson.JSONDecodeError as error:
        raise InputError(path, f"damaged: {error}; {AGAIN}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        if held := held_by(manifest):
            raise InputError(folder, f"holds {held}; expected logits, as `dataprep capture` writes them")
        raise InputError(path, f'this is not a manifest of logits; expected "format": "{FORMAT}"')
    if manifest.get("version") != VERSION:
        raise InputError(
            path, f"found version {manifest.get('version')}; this program reads {VERSION}: {AGAIN}"
        )
    # The checksum protects the sizes and digests, by which the other files are checked.
    if manifest.get("checksum") != checksum(manifest):
        raise InputError(path, f"damaged, or changed by hand (its checksum differs); {AGAIN}")
    for part, fields in _SHAPE.items():
        value = manifest.get(part, {} if name == UNFINISHED else None)
        if part == "files" and name == UNFINISHED:
            continue
        for field, kind in fields.items():
            if not isinstance(value, dict) or not isinstance(value.get(field), kind):
                where = f"{part}.{field}"
                raise InputError(path, f"found {describe(value)} in {part}; expected {where}; {AGAIN}")
    return manifest


def write_manifest(folder: Path, manifest: Mapping[str, Any], name: str = MANIFEST) -> dict[str, Any]:
    """Write a manifest with its checksum, in one step, and return it."""
    content = {"format": FORMAT, "version": VERSION, **manifest}
    content["checksum"] = checksum(content)
    scratch = folder / f".{name}.partial"
    scratch.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    scratch.replace(folder / name)
    return content


def described(path: Path) -> dict[str, Any]:
    """Return what the manifest says about a file: size and SHA-256."""
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
