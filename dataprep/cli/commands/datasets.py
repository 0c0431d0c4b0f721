"""``dataprep datasets``, ``dataprep fetch``, ``dataprep init`` and ``dataprep clean``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from dataprep.cli.console import Summary, print_json, print_text, say, table
from dataprep.cli.options import AsJson, InWorkspace, Quiet, argument, flag

if TYPE_CHECKING:
    from dataprep.datasets.workspace import Workspace


def datasets_command(workspace: InWorkspace = None, as_json: AsJson = False) -> None:
    """List the datasets: task, splits with their rows, licence, files in raw/.

    Row counts are those of the published datasets. Splits in parentheses have no path in the workspace;
    `convert` writes them with --split and -o. Files that `fetch` downloaded are marked with *.

    \b
    Example:
      dataprep datasets
    """
    from dataprep.core.errors import WorkspaceError
    from dataprep.datasets import registry
    from dataprep.datasets.workspace import Workspace

    # The list is useful outside of a workspace too, but a workspace that was named must be there.
    try:
        home = Workspace.find(workspace)
    except WorkspaceError:
        if workspace is not None:
            raise
        home = None
    sets = [_described(name, home) for name in registry.names()]
    if as_json:
        print_json(sets)
    else:
        _print(sets)


def _described(name: str, home: Workspace | None) -> dict[str, Any]:
    from dataprep.datasets import registry
    from dataprep.datasets.download import read_manifest
    from dataprep.datasets.workspace import candidates

    source = registry.load(name).SOURCE
    folder = None if home is None else home.dataset_folder(name, registry.aliases(name), new=True)
    raw: dict[str, list[str]] = {}
    if folder is not None and folder.is_dir():
        # Not `split_files`, for which two candidates of one split are an error: the list shows them.
        raw = {
            split: [str(path.relative_to(folder)) for path in candidates(folder, each)]
            for split, each in source.splits.items()
        }
    return {
        "name": name,
        "aliases": registry.aliases(name),
        "task": source.task,
        "splits": {name: split.rows or None for name, split in source.splits.items()},
        "converted": [name for name, split in source.splits.items() if split.output],
        "licence": source.licence or None,
        "homepage": source.homepage or None,
        "hub": source.hub or None,
        "revision": source.revision or None,
        "raw": {split: names for split, names in raw.items() if names},
        "fetched": [entry["name"] for entry in read_manifest(folder).get("files", ())]
        if folder and raw
        else [],
    }


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
    dataset: str = argument(..., "Its name, as `dataprep datasets` lists it.", "DATASET"),
    splits: list[str] | None = flag(None, "Only this split; can be repeated.", "--split", "NAME"),
    revision: str | None = flag(None, "Commit, tag or branch, instead of the pinned commit.", "REV"),
    force: bool = flag(False, "Replace the files of these splits, whatever their names.", "--force"),
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
    from dataprep.datasets import registry
    from dataprep.datasets.download import fetch
    from dataprep.datasets.workspace import Workspace

    registry.load(dataset)  # reports an unknown name
    name = registry.canonical(dataset)
    folder = Workspace.find(workspace).dataset_folder(name, registry.aliases(name), new=True)
    progress = not quiet and sys.stderr.isatty()
    manifest = fetch(name, folder, splits=splits or None, revision=revision, force=force, progress=progress)
    summary = Summary("fetch", quiet=quiet, as_json=as_json)
    for file in manifest.files:
        ledger = Ledger(file.rows, file.rows)
        summary.add(f"{name} {'+'.join(file.splits)}", ledger, str(folder / file.name))
    summary.finish()


def init_command(
    folder: str = argument(".", "The new workspace.", "[DIR]"),
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
        say(f"made {root}: try `dataprep convert gsm8k` in there")


def clean_command(
    folders: list[str] | None = argument(
        None, "Folders to look in, and below them. Defaults to the current folder.", "[DIR]..."
    ),
    only_list: bool = flag(False, "List them, and remove nothing.", "--list"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Remove the unfinished files of commands that were killed.

    A command writes to hidden files beside its outputs, .NAME.RANDOM.partial, and renames them at the end.
    After `kill -9` or a power failure they stay. The next run with the same output removes its own; this
    command removes all of them below a folder, except those that a process works on. It prints their paths.

    \b
    Examples:
      dataprep clean --list
      dataprep clean workspace /data/tmp
    """
    from dataprep.core.io import leftovers, printable, remove_unlocked

    removed = kept = size = 0
    shown: list[dict[str, Any]] = []
    for folder in folders or ["."]:
        for leftover in leftovers(folder):
            stale = leftover.state == "stale" and (only_list or remove_unlocked(leftover.path))
            removed, kept, size = removed + stale, kept + (not stale), size + leftover.size * stale
            shown.append(
                {"path": printable(str(leftover.path)), "bytes": leftover.size, "state": leftover.state}
            )
            if stale and not quiet:
                say(leftover.path, file=sys.stdout)
    summary = Summary("clean", quiet=quiet, as_json=as_json)
    found = f"{removed:,} unfinished, {size:,} bytes"
    summary.say(f"clean: {found}" if only_list else f"clean: removed {found}")
    if kept:
        summary.say(f"  left where they are, in use or of others: {kept:,}")
    summary.finish({"removed": 0 if only_list else removed, "bytes": size, "unfinished": shown})
