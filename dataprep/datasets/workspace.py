"""Find and make workspaces: folders with ``raw/``, ``pre_datasets/{train,test}/`` and ``mergedata/``."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date as Date
from pathlib import Path
from typing import Any

from dataprep.core.errors import FileError, WorkspaceError, first_line
from dataprep.core.io import matching_files, new_folder, read_text, write_text
from dataprep.core.options import to_toml
from dataprep.core.records import Split

SETTINGS = "dataprep.toml"
FOLDERS = ("raw", "pre_datasets/train", "pre_datasets/test", "mergedata")

# `train-00000-of-00002.parquet` is one of several files of one split, as the hub publishes them. Its own
# conversion to Parquet has `train/0000.parquet`.
_SHARD = re.compile(r"((prompt|train|validation|test)-)?\d+-of-\d+|^\d{4}(?=\.parquet)")
_PART = re.compile(r"(\d{4,})-of-(\d{4,})")
_DESCRIPTIONS = ("dataset_info.json", "dataset_infos.json", "state.json")  # the hub's, beside the rows


@dataclass(frozen=True)
class Workspace:
    """The folder in which commands find their files when they are given none."""

    root: Path

    @classmethod
    def find(cls, folder: str | None = None) -> Workspace:
        """Return the workspace in ``folder``, or in the current folder; else raise ``WorkspaceError``."""
        # One of the folders is enough: people delete `mergedata/` and start with `raw/` alone.
        root = Path(folder or ".")
        if not any((root / name.partition("/")[0]).is_dir() for name in FOLDERS):
            here = f"{root} is" if folder else "the current folder is"
            raise WorkspaceError(
                f"{here} no workspace (it has no raw/, pre_datasets/ or mergedata/): "
                "make one with `dataprep init DIR`, or give the files to work on"
            )
        return cls(root)

    @property
    def settings(self) -> Path:
        """Return the file of settings that hold for all commands in the workspace."""
        return self.root / SETTINGS

    def read_date(self) -> str | None:
        """Return the date that chat templates write in this workspace, if one was settled."""
        document = self._read_settings()
        found = document.get("date")
        if found is None:
            return None
        date = found.isoformat() if type(found) is Date else found  # TOML has dates of its own
        if not isinstance(date, str):
            raise FileError(self.settings, f"found {found!r} as its date; expected a text such as 2024-07-26")
        return date

    def write_date(self, date: str) -> None:
        """Store the date that chat templates write in this workspace."""
        self._read_settings()  # a file that cannot be read is not written to
        before = read_text(str(self.settings)) if self.settings.is_file() else ""
        # In front: behind the header of a table it would belong to the table.
        write_text(to_toml({"date": date}) + before, str(self.settings))

    def _read_settings(self) -> dict[str, Any]:
        if not self.settings.is_file():
            return {}
        import tomllib

        try:
            return tomllib.loads(read_text(str(self.settings)))
        except (ValueError, RecursionError) as error:
            raise FileError(self.settings, f"not a TOML file: {first_line(error)}") from None

    def dataset_folder(self, dataset: str, aliases: Sequence[str] = (), *, new: bool = False) -> Path:
        """Return the folder in ``raw/`` of a dataset, under its name or one of the aliases.

        With ``new``, a missing folder is returned for the caller to make. Raises ``WorkspaceError`` if there
        is none, or more than one.
        """
        raw = self.root / "raw"
        # People name folders as the papers do (`OpenBookQA`, `aqua-rat`), not as the command line does.
        names = {_plain(name) for name in (dataset, *aliases)}
        entries = sorted(raw.iterdir()) if raw.is_dir() else []
        folders = [folder for folder in entries if folder.is_dir() and _plain(folder.name) in names]
        if not folders and new:
            return raw / dataset
        if not folders:
            raise WorkspaceError(
                f"{raw} has no folder for {dataset}: put the published files into {raw / dataset}, "
                f"or name one: `dataprep convert {dataset} FILE`"
            )
        if len(folders) > 1:
            paths = " and ".join(map(str, folders))
            raise WorkspaceError(f"{paths} are both folders for {dataset}: keep one of them")
        return folders[0]

    def chat_file(self, split: str, stem: str) -> Path:
        """Return the file that ``convert`` writes for a split, and make its folder."""
        return _in_made_folder(self.root / "pre_datasets" / split / f"{stem}.jsonl")

    def chat_files(self, split: str) -> list[Path]:
        """Return the files that ``merge`` gathers for a split, sorted."""
        return sorted((self.root / "pre_datasets" / split).glob("[!.]*.jsonl"))

    def merged_file(self, split: str) -> Path:
        """Return the file that ``merge`` writes for a split, and make its folder."""
        return _in_made_folder(self.root / "mergedata" / f"{split}.jsonl")


def _in_made_folder(path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(path.parent, f"cannot be made: {error.strerror}") from None
    return path


def _plain(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "")


def candidates(folder: Path, split: Split) -> list[Path]:
    """Return all files in a dataset's folder that can hold a split; sorted.

    The folder has the files themselves, or the folders of a hub snapshot, such as
    ``main/train-00000-of-00001.parquet``, ``data/train-….parquet`` or ``default/train/0000.parquet``.
    """
    if paths := _rows_in(folder, split.files):
        return paths
    config, _, joined = split.hub.partition("/")
    inner = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    named = [path for path in (folder, *inner) if _plain(path.name) == _plain(config)]
    for place in [*named, *(path for path in inner if path.name == "data")]:
        if paths := _snapshot_files(place, joined.split("+")) or _rows_in(place, split.files):
            return paths
    # A config that the converter does not know, or the folder of an archive, if there is only one of them.
    others = [paths for place in inner if (paths := _rows_in(place, split.files))]
    return others[0] if len(others) == 1 else []


def _snapshot_files(place: Path, names: Sequence[str]) -> list[Path]:
    """Return the files of a config's folder that belong to splits, in the order of the splits."""
    paths: list[Path] = []
    for name in filter(None, names):
        inner = place / name
        paths += _rows_in(inner, ("*",)) if inner.is_dir() else _rows_in(place, (f"{name}-*", f"{name}.*"))
    return paths


def _rows_in(place: Path, patterns: Sequence[str]) -> list[Path]:
    return [path for path in matching_files(place, patterns) if path.name not in _DESCRIPTIONS]


def split_files(folder: Path, split: Split) -> list[Path]:
    """Return the files in a folder that hold a split: one file, or all parts of one; sorted."""
    paths = candidates(folder, split)
    # Two different files would silently double the split, or mix two versions of it.
    if len({_SHARD.sub("", path.name.lower()) for path in paths}) > 1:
        listed = ", ".join(str(path.relative_to(folder)) for path in paths)
        hint = "keep one there, or name the one you mean: `dataprep convert DATASET FILE`"
        raise WorkspaceError(f"{folder}: {listed} could all be the same split: {hint}")
    _check_complete(paths)
    return paths


def _check_complete(paths: Sequence[Path]) -> None:
    """Raise ``WorkspaceError`` if a split is published in several parts and some of them are not there."""
    present = set(paths)
    for path in paths:
        if (part := _PART.search(path.name)) is None:
            continue
        # A download that was interrupted would pass for a smaller dataset.
        for number in range(int(part[2])):
            name = f"{path.name[: part.start(1)]}{number:0{len(part[1])}}{path.name[part.end(1) :]}"
            if path.with_name(name) not in present:
                found = f"{path.parent} lacks {name}, one of {int(part[2])} parts of a split"
                hint = "download it, or name the files that you have: `dataprep convert DATASET FILE …`"
                raise WorkspaceError(f"{found}: {hint}")


def samples() -> Path:
    """Return the folder of the sample datasets: in the installed package, or ``raw/`` of a checkout."""
    package = Path(__file__).parent.parent
    shipped = package / "samples"
    return shipped if shipped.is_dir() else package.parent / "raw"


def init_workspace(folder: str | Path = ".") -> Path:
    """Make a workspace with the sample datasets in its ``raw/``, and return the folder.

    Raises:
        WorkspaceError: the folder already holds a part of a workspace, or is a file.
    """
    root = Path(folder)
    # Checked before anything is made, so that a refused folder stays as it was.
    for name in ("raw", "pre_datasets", "mergedata"):
        # Without a file in them the other two are what an `init` that was killed has left: raw/ comes last.
        if (root / name).exists() and (name == "raw" or _holds_anything(root / name)):
            hint = "give another folder, `dataprep init DIR`"
            raise WorkspaceError(f"{root / name} exists already, and nothing is overwritten: {hint}")
    made: list[Path] = []
    try:
        for path in (root, *(root / name for name in ("pre_datasets", *FOLDERS[1:]))):
            if not path.is_dir():
                made.append(path)
                path.mkdir(parents=path == root)
        with new_folder(root / "raw") as unfinished:
            shutil.copytree(samples(), unfinished / "raw")
            (unfinished / "raw").rename(root / "raw")
            made.clear()
    except OSError as error:
        raise FileError(error.filename or root, f"cannot be written: {error.strerror}") from None
    finally:
        for path in reversed(made):
            with suppress(OSError):
                path.rmdir()
    return root


def _holds_anything(path: Path) -> bool:
    return not path.is_dir() or any(not inside.is_dir() for inside in path.rglob("*"))
