"""``dataprep fetch``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from dataprep.commands.console import Summary
from dataprep.commands.options import AsJson, InWorkspace, Quiet


def command(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="Its name, as `dataprep datasets` lists it.")
    ],
    splits: Annotated[
        list[str] | None, typer.Option("--split", metavar="NAME", help="Only this split; may be repeated.")
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(metavar="REV", help="Another commit, tag or branch of the hub than the pinned one."),
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
    from dataprep import hub
    from dataprep.ledger import Ledger

    name, folder = _folder(dataset, workspace)
    manifest = hub.fetch(
        name,
        folder,
        splits=splits or None,
        revision=revision,
        force=force,
        progress=not quiet and sys.stderr.isatty(),
    )
    summary = Summary("fetch", quiet=quiet, as_json=as_json)
    for each in manifest.files:
        ledger = Ledger(each.rows, each.rows)
        summary.add(f"{name} {'+'.join(each.splits)}", ledger, str(folder / each.name))
    summary.finish()


def _folder(dataset: str, workspace: str | None) -> tuple[str, Path]:
    """The dataset's own name, and its folder in ``raw/``, which need not be there yet."""
    from dataprep import converters
    from dataprep.workspace import Workspace

    converters.load(dataset)
    name, place = converters.canonical(dataset), Workspace.find(workspace)
    aliases = [alias for alias, meant in converters.ALIASES.items() if meant == name]
    return name, place.dataset_folder(name, aliases, new=True)
