"""Collect what a card says: the files, their rows and fields, sources, teachers, and how they were made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataprep.core import io as files
from dataprep.core.errors import UsageError
from dataprep.core.records import Source, from_cell
from dataprep.datasets import registry
from dataprep.datasets.checks.figures import Stats
from dataprep.datasets.checks.stats import Encode, stats_of_files
from dataprep.datasets.exchange.hub_directory import splits_of
from dataprep.inspect.card.licences import UNKNOWN, Licence, licence_of
from dataprep.inspect.card.shapes import Shape
from dataprep.inspect.steps import Step, chain_of
from dataprep.tokens.shards.manifest import sha256_of

# Fields of rows whose keys are names of teachers.
_BY_TEACHER = ("status", "rationales", "teacher_answers", "reasoning")
MAX_NAMES = 100
"""Sources and teachers that a card lists."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of the dataset."""

    path: str  # relative to the folder of the card, with /
    split: str
    rows: int
    size: int  # in bytes
    sha256: str
    kind: str  # a kind of `core.io.format_of`
    compression: str
    fields: Shape  # what stands in its rows


@dataclass(frozen=True, slots=True)
class Origin:
    """A source of rows: a dataset that dataprep has a converter for, or another name."""

    name: str
    rows: int | None  # how many rows say that they are from it; `None` if only a manifest names it
    licence: Licence
    published: Source | None  # how the dataset is published; `None` for another name


@dataclass(slots=True)
class Facts:
    """Everything that a card says."""

    title: str
    files: list[DataFile]
    stats: Stats
    origins: list[Origin]
    teachers: dict[str, Counter[str]]  # for each teacher, the number of rationales by status
    languages: list[str]
    steps: list[Step] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # files without a manifest, from which steps are unknown

    @property
    def is_chat(self) -> bool:
        """True for chat rows."""
        return bool(self.stats.roles)

    @property
    def licences(self) -> list[Licence]:
        """The licences of all origins, each once, in the order of the origins."""
        return list({origin.licence.name: origin.licence for origin in self.origins}.values())

    @property
    def tasks(self) -> list[str]:
        """The tasks of the sources that are known, sorted."""
        return sorted({origin.published.task for origin in self.origins if origin.published})


@dataclass(slots=True)
class _Seen:
    """The sources and teachers that the rows of all files name."""

    sources: Counter[str] = field(default_factory=Counter)
    without_source: int = 0
    teachers: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, row: Mapping[str, Any]) -> None:
        source = row.get("source")
        if isinstance(source, str) and source.strip():
            self.sources[source] += 1
        else:
            self.without_source += 1
        if isinstance(row.get("teacher"), str):
            self.teachers.setdefault(row["teacher"], Counter())["used"] += 1
        named: dict[str, str] = {}
        for name in _BY_TEACHER:
            cell = from_cell(row.get(name))
            if isinstance(cell, Mapping):
                for teacher, value in cell.items():
                    if value is not None:
                        status = value if name == "status" and isinstance(value, str) else "without status"
                        named.setdefault(str(teacher), status)
        for teacher, status in named.items():
            if teacher in self.teachers or len(self.teachers) < MAX_NAMES:
                self.teachers.setdefault(teacher, Counter())[status] += 1


def facts_of(
    inputs: Sequence[str | Path],
    folder: Path | None,
    *,
    title: str | None = None,
    languages: Sequence[str] = (),
    licences: Mapping[str, str] | None = None,
    encode: Encode | None = None,
) -> Facts:
    """Read the files of a dataset and return what its card says; see ``write_card``."""
    splits = splits_of(inputs)
    paths = [path for given in splits.values() for path in given]
    folder = _folder_of(paths, folder)
    seen, described = _Seen(), []
    unchanged = files.Unchanged(paths)
    for split, given in splits.items():
        described += [_describe(path, split, folder, seen) for path in given]
    stats = stats_of_files(paths, encode)
    unchanged.check()
    steps, missing = chain_of(paths)
    names = {path: file.path for path, file in zip(paths, described, strict=True)}
    origins = _origins(seen, steps, licences or {})
    for step in steps:
        if step.teacher:
            seen.teachers.setdefault(step.teacher, Counter())
    return Facts(
        title=title or (folder.resolve().name or "dataset"),
        files=described,
        stats=stats,
        origins=origins,
        teachers=dict(sorted(seen.teachers.items())),
        languages=[*languages] or _languages(origins),
        steps=steps,
        missing=[names[path] for path in missing],
    )


def _folder_of(paths: Iterable[str], folder: Path | None) -> Path:
    """Return the folder of the card; every file must be in it, because the card names them from there."""
    given = [*paths]
    if files.STDIO in given:
        raise UsageError("a card names its files: give their paths, not standard input")
    for path in given:
        files.check_local(path, "a card, which names its files from their folder,")
        files.check_input(path)
    if folder is None:
        return Path(given[0]).parent
    for path in given:
        if not Path(path).resolve().is_relative_to(folder.resolve()):
            hint = "write the card into a folder that holds all files, or copy them there first"
            raise UsageError(f"{path}: is not in {folder}, the folder of the card: {hint}")
    return folder


def _describe(path: str, split: str, folder: Path, seen: _Seen) -> DataFile:
    form, fields, rows = files.format_of(path), Shape(), 0
    for _, row in files.read_rows(path):
        rows += 1
        fields.add(row)
        seen.add(row)
    real, home = Path(path).resolve(), folder.resolve()
    name = real.relative_to(home).as_posix() if real.is_relative_to(home) else Path(path).name
    return DataFile(
        path=files.printable(name),
        split=split,
        rows=rows,
        size=real.stat().st_size,
        sha256=sha256_of(Path(path)),
        kind=form.kind,
        compression=form.compression,
        fields=fields,
    )


def _origins(seen: _Seen, steps: Iterable[Step], licences: Mapping[str, str]) -> list[Origin]:
    """Return the sources of the rows, those with most rows first, then those that only steps name."""
    rows: dict[str, int | None] = {}
    for name, count in seen.sources.most_common():
        known = registry.canonical(name)
        own = known if registry.is_name(known) else name
        rows[own] = (rows.get(own) or 0) + count
    for step in steps:
        # Other names, such as `examples`, stand for rows that an earlier step made.
        if step.dataset is not None and registry.is_name(registry.canonical(step.dataset)):
            rows.setdefault(registry.canonical(step.dataset), None)
    # A row without a source is from one of the steps' datasets; without steps, nobody knows.
    if seen.without_source and not any(count is None for count in rows.values()):
        rows[""] = seen.without_source
    unused = licences.keys() - {"", *rows}
    if unused:
        known_names = ", ".join(name or "(rows without a source)" for name in rows)
        raise UsageError(f"--licence {min(unused)}=…: no row has this source; the sources are {known_names}")
    return [_origin(name, count, licences) for name, count in rows.items()]


def _origin(name: str, rows: int | None, licences: Mapping[str, str]) -> Origin:
    published = None
    if registry.is_name(name):
        source = registry.load(name).SOURCE
        published = source if source.licence else None
    text = licences.get(name) or (published.licence if published else licences.get("", ""))
    return Origin(name, rows, licence_of(text) if text else UNKNOWN, published)


def _languages(origins: Iterable[Origin]) -> list[str]:
    found = {origin.published.language if origin.published else "" for origin in origins}
    # One source of unknown language makes the language of the whole unknown.
    return [] if "" in found else sorted(found)
