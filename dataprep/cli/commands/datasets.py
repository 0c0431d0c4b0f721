"""``dataprep datasets``, ``dataprep fetch`` and ``dataprep init``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dataprep.cli.console import Summary, print_json, print_text, table
from dataprep.cli.options import AsJson, InWorkspace, Quiet


def datasets_command(workspace: InWorkspace = None, as_json: AsJson = False) -> None:
    """List the datasets: task, splits with their rows, licence, files in raw/.

    Row counts are those of the published datasets. Splits in parentheses have no path in the workspace;
    `convert` writes them with --split and -o. Files that `fetch` downloaded are marked with *.

    \b
    Example:
      dataprep datasets
    """
    from dataprep.core.errors import WorkspaceError
    from dataprep.datasets import registry as converters
    from dataprep.datasets.workspace import Workspace

    # The list is useful outside of a workspace too, but a workspace that was named must be there.
    try:
        place = Workspace.find(workspace)
    except WorkspaceError:
        if workspace is not None:
            raise
        place = None
    sets = [_described(name, place) for name in converters.names()]
    if as_json:
        print_json(sets)
    else:
        _print(sets)


def _described(name: str, place: Any) -> dict[str, Any]:
    """Return a dataset as a JSON object; ``raw`` has the existing files of each split."""
    from dataprep.datasets import registry as converters
    from dataprep.datasets.hub.download import read_manifest

    source = converters.load(name).SOURCE
    aliases = [alias for alias, meant in converters.ALIASES.items() if meant == name]
    folder = None if place is None else place.dataset_folder(name, aliases, new=True)
    there = folder if folder is not None and folder.is_dir() else None
    return {
        "name": name,
        "aliases": aliases,
        "task": source.task,
        "splits": {name: split.rows or None for name, split in source.splits.items()},
        "converted": [name for name, split in source.splits.items() if split.output],
        "licence": source.licence or None,
        "homepage": source.homepage or None,
        "hub": source.hub or None,
        "revision": source.revision or None,
        "raw": _files(there, source.splits) if there else {},
        "fetched": [entry["name"] for entry in read_manifest(there).get("files", ())] if there else [],
    }


def _files(folder: Path, splits: Any) -> dict[str, list[str]]:
    """Return the file names of each split in a folder, also if there are too many to choose from."""
    from dataprep.core.io import matching_files

    found = {
        name: [path.name for path in matching_files(folder, split.files)] for name, split in splits.items()
    }
    return {split: names for split, names in found.items() if names}


def _print(sets: list[dict[str, Any]]) -> None:
    rows = []
    for dataset in sets:
        splits = [
            (split if split in dataset["converted"] else f"({split})") + (f" {count:,}" if count else "")
            for split, count in dataset["splits"].items()
        ]
        names = sorted({name for names in dataset["raw"].values() for name in names})
        marked = [name + ("*" if name in dataset["fetched"] else "") for name in names]
        cells = (", ".join(splits), dataset["licence"] or "–", ", ".join(marked) or "–")
        rows.append((dataset["name"], dataset["task"], *cells))
    head = ("dataset", "task", "splits (rows)", "licence", "in raw/")
    print_text(table(head, rows, len(head)), min_width=100)


def fetch_command(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="Its name, as `dataprep datasets` lists it.")
    ],
    splits: Annotated[
        list[str] | None, typer.Option("--split", metavar="NAME", help="Only this split; can be repeated.")
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(metavar="REV", help="Commit, tag or branch, instead of the pinned commit."),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace the files of these splits, whatever their names."),
    ] = False,
    workspace: InWorkspace = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Download a dataset from the Hugging Face hub into raw/.

    The files come at a pinned revision, and are compared with the checksums that the hub states and the row
    counts that are known; manifest.toml beside them says what they are. Run it again after an interruption:
    what was downloaded is not downloaded twice. Needs `pip install 'dataprep[hub]'`.

    \b
    Examples:
      dataprep fetch gsm8k && dataprep convert gsm8k
      dataprep fetch squad --split test --force
    """
    from dataprep.core.ledger import Ledger
    from dataprep.datasets.hub.download import fetch

    name, folder = _folder(dataset, workspace)
    manifest = fetch(
        name,
        folder,
        splits=splits or None,
        revision=revision,
        force=force,
        progress=not quiet and sys.stderr.isatty(),
    )
    summary = Summary("fetch", quiet=quiet, as_json=as_json)
    for file in manifest.files:
        ledger = Ledger(file.rows, file.rows)
        summary.add(f"{name} {'+'.join(file.splits)}", ledger, str(folder / file.name))
    summary.finish()


def _folder(dataset: str, workspace: str | None) -> tuple[str, Path]:
    """Return the dataset's name and its folder in ``raw/``, which may not exist yet."""
    from dataprep.datasets import registry as converters
    from dataprep.datasets.workspace import Workspace

    converters.load(dataset)
    name, place = converters.canonical(dataset), Workspace.find(workspace)
    aliases = [alias for alias, meant in converters.ALIASES.items() if meant == name]
    return name, place.dataset_folder(name, aliases, new=True)


def init_command(
    folder: Annotated[str, typer.Argument(metavar="[DIR]", help="The new workspace.")] = ".",
    quiet: Quiet = False,
) -> None:
    """Make a workspace with small sample datasets in it.

    The folder gets raw/ (with the samples), pre_datasets/train/, pre_datasets/test/ and mergedata/. Nothing
    that is there already is overwritten.

    \b
    Example:
      dataprep init workspace && cd workspace && dataprep convert gsm8k
    """
    from dataprep.datasets.workspace import init_workspace

    root = init_workspace(folder)
    if not quiet:
        print(f"made {root}: try `dataprep convert gsm8k` in there", file=sys.stderr)
