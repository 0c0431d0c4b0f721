"""``dataprep datasets``."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

import orjson

from dataprep.commands.options import AsJson, InWorkspace


def command(workspace: InWorkspace = None, as_json: AsJson = False) -> None:
    """List the datasets: task, splits with their rows, licence, what lies in raw/.

    Row counts are those of the published sets. Splits in parentheses have no place in the workspace;
    `convert` makes them with --split and -o. Files that `fetch` brought are marked with *.

    \b
    Example:
      dataprep datasets
    """
    from dataprep import converters
    from dataprep.errors import WorkspaceError
    from dataprep.workspace import Workspace

    try:
        place = Workspace.find(workspace)
    except WorkspaceError:
        if workspace is not None:
            raise
        place = None
    sets = [_described(name, place) for name in converters.names()]
    if as_json:
        print(orjson.dumps(sets, option=orjson.OPT_INDENT_2).decode())
    else:
        _print(sets)


def _described(name: str, place: Any) -> dict[str, Any]:
    """One dataset as a JSON object; ``raw`` has the files of each split that is there."""
    from dataprep import converters, hub

    source = converters.load(name).SOURCE
    aliases = [alias for alias, meant in converters.ALIASES.items() if meant == name]
    folder = None if place is None else place.dataset_folder(name, aliases, new=True)
    there = folder if folder is not None and folder.is_dir() else None
    return {
        "name": name,
        "aliases": aliases,
        "task": source.task,
        "splits": {split: each.rows or None for split, each in source.splits.items()},
        "converted": [split for split, each in source.splits.items() if each.output],
        "licence": source.licence or None,
        "homepage": source.homepage or None,
        "hub": source.hub or None,
        "revision": source.revision or None,
        "raw": _files(there, source.splits) if there else {},
        "fetched": [entry["name"] for entry in hub.read_manifest(there).get("files", ())] if there else [],
    }


def _files(folder: Path, splits: Any) -> dict[str, list[str]]:
    """The names of the files of each split in a folder, also where they are too many to choose from."""
    from dataprep.files import matching_files

    found = {
        split: [path.name for path in matching_files(folder, each.files)] for split, each in splits.items()
    }
    return {split: names for split, names in found.items() if names}


def _print(sets: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    # rich ends the process by itself when a pipe is closed; printing is left to us.
    text = StringIO()
    console = Console(file=text, width=max(100, get_terminal_size().columns), highlight=False)
    table = Table("dataset", "task", "splits (rows)", "licence", "in raw/", box=None, pad_edge=False)
    for each in sets:
        splits = [
            (split if split in each["converted"] else f"({split})") + (f" {rows:,}" if rows else "")
            for split, rows in each["splits"].items()
        ]
        names = sorted({name for names in each["raw"].values() for name in names})
        marked = [name + ("*" if name in each["fetched"] else "") for name in names]
        cells = (
            each["name"],
            each["task"],
            ", ".join(splits),
            each["licence"] or "–",
            ", ".join(marked) or "–",
        )
        table.add_row(*cells)
    console.print(table, markup=False)
    print("\n".join(line.rstrip() for line in text.getvalue().splitlines()))
