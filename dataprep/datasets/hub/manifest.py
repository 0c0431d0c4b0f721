"""The manifest beside fetched files: what they are, and where they come from.

It is TOML, whose suffix is one that holds no rows, so that ``convert`` never takes it for data.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

MANIFEST = "manifest.toml"


@dataclass(frozen=True)
class Download:
    """One file of the hub: its path there, its bytes, and the SHA-256 of what came."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Fetched:
    """One file that was written, and where its rows come from.

    Attributes:
        name: the file's name.
        splits: the splits of ``SOURCE`` that it holds.
        hub: the dataset's name on the hub, and the config and split there.
        revision: the commit that the rows were read at.
        rows: how many there are.
        sha256: of the file as it was written.
        downloads: the hub's files.
    """

    name: str
    splits: tuple[str, ...]
    hub: str
    revision: str
    rows: int
    sha256: str
    downloads: tuple[Download, ...]


@dataclass(frozen=True)
class Manifest:
    """What a dataset's folder was filled with.

    Attributes:
        dataset: the converter's name.
        licence: the licence that the set is published under.
        homepage: where its authors publish it.
        files: the files of this call.
        kept: entries of earlier calls whose files still lie in the folder.
    """

    dataset: str
    licence: str
    homepage: str
    files: tuple[Fetched, ...]
    kept: tuple[Mapping[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The manifest as a JSON object; ``files`` are those of this call and the kept ones, by name."""
        entries = [*map(asdict, self.files), *self.kept]
        own = {"dataset": self.dataset, "licence": self.licence, "homepage": self.homepage}
        return own | {"files": sorted(entries, key=lambda entry: str(entry["name"]))}

    def to_toml(self) -> str:
        """The manifest as it is written."""
        document = self.to_json()
        lines = _pairs(document)
        for entry in document["files"]:
            lines += ["", "[[files]]", *_pairs(entry)]
            for each in entry["downloads"]:
                lines += ["", "[[files.downloads]]", *_pairs(each)]
        return "\n".join(lines) + "\n"


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest in a folder as an object; empty where there is none that can be read."""
    try:
        document = tomllib.loads((Path(folder) / MANIFEST).read_text("utf-8"))
        Manifest("", "", "", (), tuple(document["files"])).to_toml()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return document


def _pairs(table: Mapping[str, Any]) -> list[str]:
    """A table's plain values as lines of TOML, which writes texts, numbers and lists of them as JSON does."""
    return [
        f"{key} = {orjson.dumps(value).decode()}"
        for key, value in table.items()
        if key not in ("files", "downloads")
    ]
