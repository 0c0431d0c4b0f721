"""Download a dataset's splits from the hub into a folder: all of them, or none."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from dataprep.core import io as files
from dataprep.core.errors import FetchError, UsageError
from dataprep.core.options import to_toml
from dataprep.core.records import Source, Split
from dataprep.datasets import registry as converters
from dataprep.datasets.hub import Download, builder_of, client, commit_of, download, read_downloads

# TOML is the one format here that never holds rows: `convert` must not take the manifest for data.
MANIFEST = "manifest.toml"


@dataclass(frozen=True)
class Fetched:
    """One file that was written, and where its rows come from."""

    name: str
    splits: tuple[str, ...]  # of the converter's SOURCE
    hub: str  # the dataset's name on the hub, and the config and split there
    revision: str  # the commit
    rows: int
    sha256: str  # of the file as it was written
    downloads: tuple[Download, ...]


@dataclass(frozen=True)
class Manifest:
    """The contents of a dataset's folder."""

    dataset: str  # the converter's name
    licence: str  # the licence that the dataset is published under
    homepage: str  # where its authors publish it
    files: tuple[Fetched, ...]  # the files of this call
    kept: tuple[Mapping[str, Any], ...] = ()  # entries of earlier calls whose files are still in the folder

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
            for item in entry["downloads"]:
                text += f"\n[[files.downloads]]\n{_values(item)}"
        return text


@dataclass(frozen=True)
class Part:
    """One file to write, its place on the hub as in ``Split.hub``, and the splits that it holds."""

    name: str
    hub: str
    splits: Mapping[str, Split]

    @property
    def config(self) -> str:
        """Return the config on the hub."""
        return self.hub.partition("/")[0]

    @property
    def rows(self) -> int:
        """Return the number of rows that it should have; 0 if that is not known."""
        counts = [split.rows for split in self.splits.values()]
        return sum(counts) if all(counts) else 0


def fetch(
    dataset: str,
    folder: str | Path,
    *,
    splits: Iterable[str] | None = None,
    revision: str | None = None,
    force: bool = False,
    progress: bool = False,
) -> Manifest:
    """Download a dataset into a folder, in a layout that ``convert`` reads: all of it, or nothing.

    Args:
        dataset: a converter's name, for example ``"gsm8k"``.
        folder: folder for the files, for example ``raw/gsm8k``; made if it is missing.
        splits: only these splits of the converter's ``SOURCE``.
        revision: a commit, tag or branch in place of the one in ``SOURCE``.
        force: replace the files that are there for these splits, whatever their names.
        progress: show the client's progress bars on standard error.

    Raises:
        UsageError: there is no such dataset or split.
        FetchError: the hub does not have it or cannot be reached, or files for these splits exist already.
    """
    converter, name, target = converters.load(dataset), converters.canonical(dataset), Path(folder)
    source, labels = converter.SOURCE, getattr(converter, "LABELS", ("",))[0]
    parts = parts_of(name, source, splits)
    old = [path for part in parts for path in _in_the_way(target, part, labels)]
    # Before anything is downloaded, which can take hours.
    if old and not force:
        names = ", ".join(sorted({path.name for path in old}))
        raise FetchError(f"{target} holds {names} already: move it away, or replace it with --force")
    with client(source.hub, progress):
        commit, sums = commit_of(source.hub, revision or source.revision)
        configs = dict.fromkeys(part.config for part in parts)
        builders = {config: builder_of(source.hub, config, commit, sums) for config in configs}
        downloads = [download(source.hub, part.hub, builders[part.config], commit, sums) for part in parts]
    jobs = [
        _Job(part, f"{source.hub}/{part.hub}", commit, builders[part.config].name, got)
        for part, got in zip(parts, downloads, strict=True)
    ]
    written = _write(name, target, jobs)
    return _finish(target, Manifest(name, source.licence, source.homepage, tuple(written)), old)


@dataclass(frozen=True)
class _Job:
    """A part whose files are downloaded, with their format and their paths on this machine."""

    part: Part
    hub: str
    commit: str
    format_name: str
    downloads: list[tuple[str, Download]]


def parts_of(name: str, source: Source, wanted: Iterable[str] | None = None) -> list[Part]:
    """Return the files to write for the wanted splits; by default all that the hub has."""
    wanted = list(wanted) if wanted is not None else None
    for split in wanted or ():
        if split not in source.splits:
            raise UsageError(f"{name} has no split {split!r}; its splits: {', '.join(source.splits)}")
    missing = [split for split in wanted or () if not source.splits[split].hub]
    if not source.hub or missing:
        what = f"the split {missing[0]} of {name}" if missing and source.hub else name
        where = f": its authors' page is {source.homepage}" if source.homepage else ""
        raise FetchError(f"{what} is not on the hub{where}")
    grouped: dict[str, dict[str, Split]] = {}
    for key, split_source in source.splits.items():
        if split_source.hub:
            grouped.setdefault(split_source.hub, {})[key] = split_source
    several = len({hub.partition("/")[0] for hub in grouped}) > 1
    return [
        Part(_file_name(name, hub, several), hub, group)
        for hub, group in grouped.items()
        if wanted is None or set(wanted) & set(group)
    ]


def _file_name(name: str, hub: str, several: bool) -> str:
    # train.jsonl; with several configs arc-easy-train.jsonl; for joined splits mbpp.jsonl.
    config, _, split = hub.partition("/")
    stem = name if "+" in split else f"{config}-{split}" if several else split
    return f"{stem.lower()}.jsonl"


def _in_the_way(folder: Path, part: Part, labels: str) -> list[Path]:
    """Return the files in the folder that ``convert`` would read for the part's splits."""
    if not folder.is_dir():
        return []
    patterns = [pattern for split in part.splits.values() for pattern in split.files]
    existing = files.matching_files(folder, patterns)
    # Labels that stayed behind from an earlier download would be joined to the new rows.
    stems = {path.name.partition(".")[0] for path in [*existing, folder / part.name]} if labels else set()
    beside = [folder / labels.format(stem=stem) for stem in sorted(stems)]
    return existing + [path for path in beside if path.is_file()]


def _write(name: str, folder: Path, jobs: list[_Job]) -> list[Fetched]:
    """Write all parts, or none."""
    made = not folder.is_dir()
    with files.writing(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with ExitStack() as stack:
            # The outputs stay open until all parts are complete: then all of them appear.
            paths = [str(folder / job.part.name) for job in jobs]
            outputs = [stack.enter_context(files.open_output(path)) for path in paths]
            return [_written(name, job, out) for job, out in zip(jobs, outputs, strict=True)]
    except BaseException:
        # An empty folder would look like a dataset that is there.
        if made:
            with suppress(OSError):
                folder.rmdir()
        raise


def _written(name: str, job: _Job, out: files.Output) -> Fetched:
    part, count, digest = job.part, 0, hashlib.sha256()
    for row in read_downloads(job.hub, job.format_name, [path for path, _ in job.downloads]):
        line = orjson.dumps(row, default=str, option=orjson.OPT_APPEND_NEWLINE)
        digest.update(line)
        out.write(line)
        count += 1
    # Against a dataset that its authors changed: the converter was checked with these counts.
    if part.rows and count != part.rows:
        raise FetchError(
            f"{name} {'+'.join(part.splits)}: the hub has {count:,} rows ({part.hub} at {job.commit}), "
            f"{part.rows:,} were expected; nothing was written"
        )
    downloads = tuple(download for _, download in job.downloads)
    sha256 = digest.hexdigest()
    return Fetched(part.name, tuple(part.splits), job.hub, job.commit, count, sha256, downloads)


def _finish(folder: Path, manifest: Manifest, old: Iterable[Path]) -> Manifest:
    """Remove replaced files, and write the manifest with the entries of other files in the folder."""
    names = {file.name for file in manifest.files}
    path = folder / MANIFEST
    with files.writing(str(path)):
        for file in old:
            if file.name not in names:
                file.unlink(missing_ok=True)
        kept = [
            entry
            for entry in read_manifest(folder).get("files", ())
            if entry["name"] not in names and (folder / entry["name"]).is_file()
        ]
        full = replace(manifest, kept=tuple(kept))
        files.write_text(full.to_toml(), str(path))
    return full


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
    return to_toml({key: value for key, value in table.items() if key not in ("files", "downloads")})
