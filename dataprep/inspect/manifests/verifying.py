"""Compare files with their manifests, back to the files that no command wrote."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from dataprep.core.errors import InputError
from dataprep.core.io import exists, files_in, find, is_folder, name_of, printable, size_of
from dataprep.core.ledger import advance
from dataprep.core.manifests.digests import digest_of, digest_of_files, digest_of_object, folder_digest
from dataprep.core.manifests.format import Entry, Manifest, beside, is_intact, read_manifest
from dataprep.core.provenance import SUFFIX, is_manifest, key_of
from dataprep.core.urls import is_url
from dataprep.datasets import download

State = Literal["ok", "source", "grown", "unknown", "broken"]


@dataclass(frozen=True, slots=True)
class Link:
    """A file of the chain, and what was found.

    Attributes:
        path: where it is, or as the manifest has it.
        state: ``ok`` for the output of a command; ``source`` for a file without a manifest that is as it was
            read; ``grown`` for a journal that only has further lines; ``unknown`` if it could not be
            compared; ``broken``.
        note: what was found and expected.
        read_by: the manifest of the command that read it, if one did.
    """

    path: str
    state: State
    note: str = ""
    read_by: str = ""


@dataclass
class Verified:
    """The files of a chain, in the order from the given files back to their sources."""

    links: list[Link] = field(default_factory=list)

    @property
    def broken(self) -> list[Link]:
        """The files that are not what the manifests say."""
        return [link for link in self.links if link.state == "broken"]

    def to_json(self) -> dict[str, Any]:
        """Return the files and the number of broken ones as a JSON object."""
        return {"files": [asdict(link) for link in self.links], "broken": len(self.broken)}


def verify_files(paths: Sequence[str | Path]) -> Verified:
    """Check that files have the bytes that their manifests say, and so on back to the sources.

    Every file is read: digests are not taken from anywhere. A file without a manifest is a source. A folder
    without one stands for the files in it.

    Raises:
        FileError: a given file does not exist.
    """
    checker = _Checker()
    for path in paths:
        for file in _objects_in(str(path)) if is_url(path) else [*_files_in(Path(path))] or [Path(path)]:
            checker.visit(file, None, None)
    return Verified([*checker.links.values()])


def _objects_in(url: str) -> list[str]:
    """Return an object, or a folder of parts with a manifest; of another folder the objects in it."""
    if not is_folder(url) or exists(beside(url)):
        return [url]
    return [each for each in files_in(url) if not each.endswith(SUFFIX)]


def _files_in(path: Path) -> Iterator[Path]:
    """Yield a file, or a folder with a manifest; of another folder those in it, and those that it lacks."""
    if not path.is_dir() or Path(beside(path)).is_file():
        yield path
        return
    for each in sorted(path.iterdir()):
        output = each.with_name(each.name.removesuffix(SUFFIX))
        if output != each:
            yield from [output] if is_manifest(each) and not output.exists() else []
        elif not each.name.startswith(".") and not (each.is_symlink() and each.is_dir()):
            yield from _files_in(each)


class Digests:
    """Compares files with their entries in manifests; each file is read once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int | None], str] = {}

    def forget(self) -> None:
        """Read all files again: a command has written some."""
        self._known.clear()

    def of(self, path: Path | str, size: int | None = None) -> str:
        """Return the SHA-256 of a file or object, or of its first bytes; that of a folder's files."""
        key = key_of(path), size
        if key not in self._known:
            if is_url(path):
                self._known[key], count = digest_of_object(str(path))
            elif (path := Path(path)).is_dir():
                self._known[key], count, _ = folder_digest(path)
            else:
                self._known[key], count, _ = digest_of(path, size)
            advance("bytes read", count)
        return self._known[key]

    def differs(self, path: Path | str, entry: Entry) -> str:
        """Return how a file or folder differs from its entry; "" if it does not."""
        if is_url(path):
            return self._object_differs(str(path), entry)
        path = Path(path)
        if not path.exists():
            return "no such file"
        if path.is_dir():
            return self._folder_differs(path, entry)
        size = path.stat().st_size
        # The lines of a journal that were there then must be there still.
        may_grow = entry.grows or _is_journal(path)
        if size != entry.bytes and not (may_grow and size > entry.bytes):
            return f"{size:,} bytes, expected {entry.bytes:,}"
        found = self.of(path, entry.bytes if may_grow else None)
        return "" if found == entry.sha256 else f"SHA-256 {found[:16]}…, expected {entry.sha256[:16]}…"

    def _object_differs(self, url: str, entry: Entry) -> str:
        """Return how an object differs; its bytes are read only if its etag is another one."""
        found = find(url)
        if found is None:
            return "no such object"
        if found.size != entry.bytes:
            return f"{found.size:,} bytes, expected {entry.bytes:,}"
        if entry.etag and found.etag == entry.etag:
            return ""
        if not entry.sha256:
            return f"its etag is {found.etag}, expected {entry.etag}"
        digest = self.of(url)
        same = digest == entry.sha256
        return "" if same else f"SHA-256 {digest[:16]}…, expected {entry.sha256[:16]}…"

    def _folder_differs(self, path: Path, entry: Entry) -> str:
        if not entry.files or digest_of_files(entry.files) != entry.sha256:
            return "a folder whose files have no digests" if entry.sha256 else "a folder, expected a file"
        for name, digest in entry.files.items():
            if not (path / name).is_file():
                return f"{name} is missing"
            if (found := self.of(path / name)) != digest:
                return f"{name} has SHA-256 {found[:16]}…, expected {digest[:16]}…"
        return ""


def _is_journal(path: Path) -> bool:
    try:
        manifest = read_manifest(path)
    except InputError:
        return False
    own = None if manifest is None else manifest.output(path)
    return own is not None and own.grows


class _Checker:
    def __init__(self) -> None:
        self.links: dict[tuple[str, str], Link] = {}
        self._digests = Digests()
        self._changed: set[Path | str] = set()  # manifests that say nothing about their inputs any more

    def visit(self, path: Path | str, expected: Entry | None, reader: Manifest | None) -> None:
        """Check a file, and then those that it was made of; ``expected`` is what its reader says."""
        key = key_of(path), "" if expected is None else expected.sha256
        if key in self.links:
            return
        is_inside = not is_url(path) and Path(path).is_relative_to(Path.cwd())
        shown = printable(os.path.relpath(path) if is_inside else key_of(path) if is_url(path) else str(path))
        by = "" if reader is None else printable(name_of(reader.place))
        self.links[key] = Link(shown, "unknown")  # before its inputs: a manifest can name its own output
        manifest, note = _manifest_of(path)
        state: State
        if note:
            state = "broken"
            self._changed |= set() if manifest is None else {manifest.place}
        else:
            state, note = self._state(path, expected, reader, manifest)
        self.links[key] = Link(shown, state, note, by)
        if manifest is not None:
            for entry in manifest.inputs:
                self._visit_input(entry, manifest)

    def _visit_input(self, entry: Entry, manifest: Manifest) -> None:
        note = ""
        if entry.path == "-":
            note = "standard input"
        elif entry.is_outside:
            note = "outside of the workspace"
        elif not entry.sha256 and not entry.etag:
            note = "a pipe"
        elif any(entry.path == output.path and not _is_same(entry, output) for output in manifest.outputs):
            note = f"{manifest.command} replaced it by its output"
        if note:
            link = Link(entry.path, "unknown", f"{note}: not compared", printable(name_of(manifest.place)))
            self.links[f"{manifest.place} {entry.path}", entry.sha256] = link
        else:
            self.visit(manifest.where(entry), entry, manifest)

    def _state(
        self, path: Path | str, expected: Entry | None, reader: Manifest | None, manifest: Manifest | None
    ) -> tuple[State, str]:
        own = None if manifest is None else manifest.output(path)
        if problem := self._problem(path, None, None, manifest):
            return "broken", problem
        if problem := self._problem(path, expected, reader, manifest):
            is_doubted = reader is not None and reader.place in self._changed
            return "unknown" if is_doubted else "broken", problem
        size = size_of(path)
        if any(entry is not None and 0 < entry.bytes < size for entry in (own, expected)):
            return "grown", "further lines since"
        return ("source", "no manifest") if own is None else ("ok", "")

    def _problem(
        self, path: Path | str, expected: Entry | None, reader: Manifest | None, manifest: Manifest | None
    ) -> str:
        """Return how a file differs from what was recorded; "" if it does not."""
        if not exists(path):
            return "no such file"
        if manifest is None:
            own, problem = None, self._not_as_fetched(path)
        elif (own := manifest.output(path)) is None:
            problem = f"{name_of(manifest.place)} has no such output: was the file renamed?"
        elif problem := self._digests.differs(path, own):
            problem = f"is not what {manifest.command} wrote: {problem}"
        if not problem and expected is not None and reader is not None:
            problem = self._digests.differs(path, expected)
            again = ", and was made again since" if own is not None else ""
            if problem:
                problem = f"is not what {reader.command} read for {name_of(reader.place)}{again}: {problem}"
        return problem

    def _not_as_fetched(self, path: Path | str) -> str:
        """Return in what a file differs from what `fetch` has recorded; "" if it does not or has not."""
        if is_url(path):
            return ""
        path = Path(path)
        for entry in download.read_manifest(path.parent).get("files", ()):
            if entry.get("name") == path.name and path.is_file():
                found = self._digests.of(path)
                if found != entry.get("sha256"):
                    return f"is not what fetch wrote: SHA-256 {found[:16]}…, see {download.MANIFEST}"
        return ""


def _is_same(entry: Entry, output: Entry) -> bool:
    if entry.sha256 and output.sha256:
        return entry.sha256 == output.sha256
    return entry.etag == output.etag


def _manifest_of(path: Path | str) -> tuple[Manifest | None, str]:
    try:
        manifest = read_manifest(path)
    except InputError as error:
        return None, str(error)
    if manifest is not None and not is_intact(manifest.place):
        return manifest, f"{name_of(manifest.place)} was changed: its checksum is another"
    return manifest, ""
