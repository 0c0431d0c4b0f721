"""``dataprep convert``."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from dataprep.cli.console import Summary
from dataprep.cli.options import AsJson, From, InWorkspace, Output, Quiet, Rejects, Workers, with_options
from dataprep.cli.progress import bytes_bar
from dataprep.core.errors import UsageError, WorkspaceError
from dataprep.datasets.convert import Plan


@with_options
def command(
    *,
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="Its name, as `dataprep datasets` lists it.")
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[INPUT]...", help="Files or a folder of source rows; - is standard input."),
    ] = None,
    output: Output = None,
    split: Annotated[str | None, typer.Option(metavar="train|test", help="Only this split.")] = None,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="System prompt; '' for none.")] = None,
    plan: From[Plan],
    unlabelled: Annotated[
        Literal["drop", "keep"] | None,
        typer.Option(help="Multiple choice: drop rows without a gold answer (default), or keep them."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option("--map", metavar="NAME=FIELD,...", help="qa: fields of question, choices, answer, ..."),
    ] = None,
    answers_from: Annotated[
        int | None,
        typer.Option(
            min=0, max=1, metavar="0|1", help="qa: answers are numbers; number of the first choice."
        ),
    ] = None,
    strip_calculator: Annotated[
        bool, typer.Option("--strip-calculator", help="gsm8k: remove <<48/2=24>> annotations.")
    ] = False,
    unanswerable: Annotated[
        Literal["drop", "keep"] | None, typer.Option(help="squad: drop (default) or keep these questions.")
    ] = None,
    split_scheme: Annotated[
        Literal["default", "official"] | None,
        typer.Option(help="mbpp: 511-974 train and 1-510 test (default), or the paper's splits."),
    ] = None,
    workers: Workers = None,
    rejects: Rejects = None,
    workspace: InWorkspace = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Convert a dataset's source rows to chat rows or Examples.

    Without INPUT, every split found in the workspace's raw/DATASET is written to pre_datasets/. With INPUT,
    the rows go to -o, or to standard output.

    \b
    Examples:
      dataprep convert gsm8k
      dataprep convert squad dev-v2.0.json -o squad.jsonl --sample 1000
      cat train.jsonl | dataprep convert gsm8k - --to example | head -1
    """
    from dataprep.core.io import check_apart, check_distinct, open_rejects
    from dataprep.datasets.convert import convert_files
    from dataprep.datasets.registry import canonical
    from dataprep.datasets.source_rows import missing_labels

    given = {
        "columns": None if columns is None else _columns(columns),
        "answers_from": answers_from,
        "unlabelled": unlabelled,
        "strip_calculator": strip_calculator or None,
        "unanswerable": unanswerable,
        "split_scheme": split_scheme,
    }
    make = partial(
        plan,
        dataset=dataset,
        template=_wording(plan.keywords.get("template", {}), system),
        options={name: value for name, value in given.items() if value is not None},
    )
    make(split=split)  # reports wrong flags before any file is looked for
    jobs = _jobs(dataset, inputs or [], output, split, workspace)
    summary = Summary("convert", quiet=quiet, as_json=as_json)
    inputs, targets = [path for _, paths, _ in jobs for path in paths], [target for *_, target in jobs]
    check_apart(targets, inputs)
    check_distinct(rejects, targets, inputs)
    title = canonical(dataset)
    with open_rejects(rejects) as bad:
        for name, paths, target in jobs:
            with bytes_bar(f"convert {title}", paths, 1, quiet) as advance:
                ledger = convert_files(
                    make(split=name), paths, target, workers=workers, rejects=bad, progress=advance
                )
            hint = missing_labels(dataset, paths, ledger)
            summary.add(f"{title} {name}" if name else title, ledger, target, hint=hint)
    summary.finish()


def _columns(text: str) -> dict[str, str]:
    """Return ``question=Q,answer=A`` as a mapping.

    Raises:
        UsageError: a part is not NAME=FIELD, or NAME is not a field of an Example.
    """
    from dataprep.datasets.converters.qa import FIELDS

    pairs = [part.partition("=")[::2] for part in text.split(",")]
    columns = dict(pairs)
    if len(columns) < len(pairs):
        raise UsageError(f"--map {text}: a name is repeated")
    for name, column in columns.items():
        if name not in FIELDS or not column:
            raise UsageError(f"--map {text}: expected NAME=FIELD, with NAME one of {', '.join(FIELDS)}")
    return columns


def _wording(parts: dict[str, str], system: str | None) -> dict[str, str]:
    # Braces in a system prompt that is given as a flag are plain text, not fields.
    return parts if system is None else parts | {"system": system.replace("{", "{{").replace("}", "}}")}


def _jobs(
    dataset: str, inputs: list[str], output: str | None, split: str | None, workspace: str | None
) -> list[tuple[str | None, list[str], str]]:
    """Return the splits to convert: each split's name, files and output."""
    from dataprep.datasets import registry as converters
    from dataprep.datasets.workspace import Workspace, split_files

    if inputs and not (len(inputs) == 1 and Path(inputs[0]).is_dir()):
        return [(split, inputs, output or "-")]
    converter = converters.load(dataset)
    splits = dict(converter.SOURCE.splits)
    if split is None:
        splits = {name: each for name, each in splits.items() if each.output}
    elif split not in splits:
        if not hasattr(converter, "split_of"):
            raise UsageError(f"{dataset} has no split {split!r}; its splits: {', '.join(splits)}")
        splits[split] = replace(next(iter(splits.values())), output="")  # one file holds them all
    if split is not None and not inputs and output is None and not splits[split].output:
        raise UsageError(f"the workspace has no file for the split {split!r}: name one with -o")
    place = None if inputs else Workspace.find(workspace)
    name = converters.canonical(dataset)
    aliases = [alias for alias, meant in converters.ALIASES.items() if meant == name]
    folder = Path(inputs[0]) if place is None else place.dataset_folder(name, aliases)
    found = {name: [str(path) for path in split_files(folder, each)] for name, each in splits.items()}
    found = {name: paths for name, paths in found.items() if paths and split in (None, name)}
    if not found:
        wanted = {split: splits[split]} if split else splits
        patterns = ", ".join(pattern for each in wanted.values() for pattern in each.files)
        raise WorkspaceError(f"{folder} holds no file of {' or '.join(wanted)} (looked for {patterns})")
    if place is None or output is not None:
        if len(found) > 1:
            raise UsageError(f"{folder} holds {' and '.join(found)}: choose one with --split")
        return [(name, paths, output or "-") for name, paths in found.items()]
    return [
        (name, paths, str(place.chat_file(splits[name].folder or name, splits[name].output)))
        for name, paths in found.items()
    ]
