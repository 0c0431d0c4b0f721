"""Read and write the manifest beside downloaded files: what they are, and where they come from."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dataprep.core.options import to_toml

# TOML is the one format here that never holds rows: `convert` must not take the manifest for data.
MANIFEST = "manifest.toml"


@dataclass(frozen=True)
class Download:
    """One file of the hub: its path there, its size in bytes, and its SHA-256 as downloaded."""

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
        rows: number of rows.
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
    """The contents of a dataset's folder.

    Attributes:
        dataset: the converter's name.
        licence: the licence that the dataset is published under.
        homepage: where its authors publish it.
        files: the files of this call.
        kept: entries of earlier calls whose files are still in the folder.
    """

    dataset: str
    licence: str
    homepage: str
    files: tuple[Fetched, ...]
    kept: tuple[Mapping[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as a JSON object; ``files`` includes the kept ones, by name."""
        entries = [*map(asdict, self.files), *self.kept]
        facts = {"dataset": self.dataset, "licence": self.licence, "homepage": self.homepage}
        return facts | {"files": sorted(entries, key=lambda entry: str(entry["name"]))}

    def to_toml(self) -> str:
        """Return the manifest as it is written."""
        document = self.to_json()
        text = _values(document)
        for entry in document["files"]:
            text += f"\n[[files]]\n{_values(entry)}"
            for download in entry["downloads"]:
                text += f"\n[[files.downloads]]\n{_values(download)}"
        return text


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Return the manifest in a folder as an object; empty if there is none that can be read."""
    try:
        document = tomllib.loads((Path(folder) / MANIFEST).read_text("utf-8"))
        # Somebody may have edited it. An entry that cannot be written again cannot be kept.
        Manifest("", "", "", (), tuple(document["files"])).to_toml()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return document


def _values(table: Mapping[str, Any]) -> str:
    """Return a table's own values as TOML, without the tables in it."""
    return to_toml({key: value for key, value in table.items() if key not in ("files", "downloads")})
