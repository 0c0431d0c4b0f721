"""``dataprep convert``."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from dataprep.cli.console import Summary, counted
from dataprep.cli.options import (
    AsJson,
    From,
    InWorkspace,
    Output,
    Quiet,
    Rejects,
    Workers,
    argument,
    flag,
    with_options,
)
from dataprep.cli.progress import bytes_bar
from dataprep.core.errors import UsageError, WorkspaceError
from dataprep.core.io import files_of
from dataprep.core.urls import is_url
from dataprep.datasets.convert import Plan


@with_options
def command(
    *,
    dataset: str = argument(
        ..., "Its name, as `dataprep datasets` lists it; or examples, rationales, or chat.", "DATASET"
    ),
    inputs: list[str] | None = argument(
        None, "Files or a folder of source rows; - is standard input.", "[INPUT]..."
    ),
    output: Output = None,
    split: str | None = flag(None, "Only this split.", "train|test"),
    system: str | None = flag(None, "System prompt; '' for none.", "TEXT"),
    plan: From[Plan],
    unlabelled: Literal["drop", "keep"] | None = flag(
        None, "Multiple choice: drop rows without a gold answer (default), or keep them."
    ),
    columns: str | None = flag(
        None, "qa: fields of question, choices, answer, ...", "--map", "NAME=FIELD,..."
    ),
    answers_from: int | None = flag(
        None, "qa: answers are numbers; number of the first choice.", "0|1", min=0, max=1
    ),
    strip_calculator: bool = flag(False, "gsm8k: remove <<48/2=24>> annotations.", "--strip-calculator"),
    unanswerable: Literal["drop", "keep"] | None = flag(
        None, "squad: drop (default) or keep these questions."
    ),
    split_scheme: Literal["default", "official"] | None = flag(
        None, "mbpp: 511-974 train and 1-510 test (default), or the paper's splits."
    ),
    workers: Workers = None,
    rejects: Rejects = None,
    workspace: InWorkspace = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Convert a dataset's source rows to chat rows or Examples.

    Without INPUT, every split found in the workspace's raw/DATASET is written to pre_datasets/. With INPUT,
    the rows go to -o, or to standard output. INPUT can have Examples too, which are known by their fields.
    As DATASET, `examples` are those of any dataset, and `rationales` are labelled rows, whose rationales
    become the answers. With `chat`, INPUT has chat rows.

    \b
    Examples:
      dataprep convert gsm8k
      dataprep convert squad dev-v2.0.json -o squad.jsonl --sample 1000
      cat train.jsonl | dataprep convert gsm8k - --to example | head -1
      dataprep convert rationales rows.jsonl --teacher llama-2 -o train.jsonl
      dataprep convert chat rows.jsonl --system-into-user -o train.jsonl
    """
    from dataprep.core.io import check_apart, check_distinct, open_rejects
    from dataprep.datasets.convert import convert_files
    from dataprep.datasets.converters.qa import parse_map
    from dataprep.datasets.registry import canonical
    from dataprep.datasets.source_rows import missing_labels

    given = {
        "columns": None if columns is None else parse_map(columns),
        "answers_from": answers_from,
        "unlabelled": unlabelled,
        "strip_calculator": strip_calculator or None,
        "unanswerable": unanswerable,
        "split_scheme": split_scheme,
    }
    wording = plan.keywords.get("template", {})
    if system is not None:
        # Braces in a system prompt that is given as a flag are plain text, not fields.
        wording = wording | {"system": system.replace("{", "{{").replace("}", "}}")}
    # A converter refuses options that it does not have, so only those that were given are passed on.
    options = {name: value for name, value in given.items() if value is not None}
    make = partial(plan, dataset=dataset, template=wording, options=options)
    # Reports wrong flags before any file is looked for.
    made = make(split=split)
    if made.from_examples and not inputs:
        kind = "chat rows" if made.from_chat else "Examples"
        raise UsageError(f"give the files of {kind}: a workspace's raw/ has source rows")
    jobs = _jobs(made.dataset, inputs or [], output, split, workspace)
    summary = Summary("convert", quiet=quiet, as_json=as_json)
    inputs, targets = [path for _, paths, _ in jobs for path in paths], [target for *_, target in jobs]
    check_apart(targets, inputs)
    check_distinct(rejects, targets, inputs)
    title = canonical(dataset)
    with open_rejects(rejects) as bad:
        for name, paths, target in jobs:
            with bytes_bar(f"convert {title}", paths, 1, quiet or as_json) as advance:
                made, tally = make(split=name), Counter[tuple[str, str]]()
                ledger = convert_files(
                    made, paths, target, workers=workers, rejects=bad, progress=advance, tally=tally
                )
            hint = None if made.from_examples else missing_labels(made.dataset, paths, ledger)
            summary.add(f"{title} {name}" if name else title, ledger, target, hint=hint, **_choices(tally))
    summary.finish()


def _choices(tally: Counter[tuple[str, str]]) -> dict[str, Any]:
    """Return what the summary says of choices and gold labels."""
    from dataprep.datasets.choice_order import one_label

    facts, lines = dict[str, Any](), list[str]()
    for kind in ("label", "choices"):
        counts = {name: tally[kind, name] for of, name in sorted(tally) if of == kind}
        if counts:
            facts["labels" if kind == "label" else kind] = counts
    if "choices" in facts:
        lines.append(f"  choices: {counted(facts['choices'])}")
    if warning := one_label(facts.get("labels", {})):
        lines.append(f"warning: {warning}")
    return {"facts": facts, "lines": lines}


def _has_splits(path: str) -> bool:
    """Return whether a path is a folder with a dataset's files, as in ``raw/``, and not a folder of parts."""
    return not is_url(path) and Path(path).is_dir() and files_of(path) == [path]


def _jobs(
    dataset: str, inputs: list[str], output: str | None, split: str | None, workspace: str | None
) -> list[tuple[str | None, list[str], str]]:
    """Return the splits to convert: each split's name, files and output."""
    from dataprep.datasets import registry
    from dataprep.datasets.workspace import Workspace, split_files

    if inputs and not (len(inputs) == 1 and _has_splits(inputs[0])):
        return [(split, inputs, output or "-")]
    converter = registry.load(dataset)
    splits = dict(converter.SOURCE.splits)
    if split is None:
        # Splits without an output, such as unlabelled ones, are converted only when they are named.
        splits = {name: each for name, each in splits.items() if each.output}
    elif split not in splits:
        if not hasattr(converter, "split_of"):
            raise UsageError(f"{dataset} has no split {split!r}; its splits: {', '.join(splits)}")
        splits[split] = replace(next(iter(splits.values())), output="")  # one file holds them all
    if split is not None and not inputs and output is None and not splits[split].output:
        raise UsageError(f"the workspace has no file for the split {split!r}: name one with -o")
    home = None if inputs else Workspace.find(workspace)
    own_name = registry.canonical(dataset)
    folder = home.dataset_folder(own_name, registry.aliases(own_name)) if home else Path(inputs[0])
    paths_of = {name: [str(path) for path in split_files(folder, each)] for name, each in splits.items()}
    paths_of = {name: paths for name, paths in paths_of.items() if paths and split in (None, name)}
    if not paths_of:
        wanted = {split: splits[split]} if split else splits
        patterns = ", ".join(pattern for each in wanted.values() for pattern in each.files)
        configs = sorted({each.hub.partition("/")[0] for each in wanted.values() if each.hub})
        patterns += "".join(f", {config}/" for config in configs)
        raise WorkspaceError(f"{folder} holds no file of {' or '.join(wanted)} (looked for {patterns})")
    if home is None or output is not None:
        # The rows of two splits in one file could not be told apart.
        if len(paths_of) > 1:
            raise UsageError(f"{folder} holds {' and '.join(paths_of)}: choose one with --split")
        return [(name, paths, output or "-") for name, paths in paths_of.items()]
    targets = {name: home.chat_file(splits[name].folder or name, splits[name].output) for name in paths_of}
    return [(name, paths, str(targets[name])) for name, paths in paths_of.items()]
