"""``dataprep tokenize``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataprep.cli.console import Summary
from dataprep.cli.dates import settled_date
from dataprep.cli.options import (
    AsJson,
    ChatFormat,
    From,
    InWorkspace,
    Quiet,
    Rejects,
    Template,
    Workers,
    argument,
    flag,
    with_options,
)
from dataprep.cli.progress import bytes_bar
from dataprep.core.errors import UsageError, WorkspaceError
from dataprep.core.urls import name_of
from dataprep.tokens.options import ShardOptions

if TYPE_CHECKING:
    from dataprep.tokens.pairs import Paired
    from dataprep.tokens.tokenize import Tokenized


@with_options
def command(
    *,
    inputs: list[str] | None = argument(
        None, "Chat rows, or with --student Examples; - is standard input.", "[FILE]..."
    ),
    output: str | None = flag(
        None, "A directory for shards; with --student a file, .pt.", "-o", "--output", "OUT"
    ),
    tokenizer: str | None = flag(None, "A tokenizer's file or a model directory.", "PATH"),
    chat_format: ChatFormat = None,
    template: Template = None,
    options: From[ShardOptions],
    student: str | None = flag(None, "Write a teacher/student file: the student's tokenizer.", "PATH"),
    teacher: list[str] | None = flag(None, "Tokenizer of a teacher; can be repeated.", "NAME=PATH"),
    dataset: str | None = flag(None, "With --student: FILE has source rows of this dataset.", "NAME"),
    pad: str = flag("none", "With --student: none, or max to fill all up to one length.", "HOW"),
    workers: Workers = None,
    rejects: Rejects = None,
    workspace: InWorkspace = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Turn chat rows into token shards, or Examples into a teacher/student file.

    Ids and loss mask are made together and checked. Existing shards of the same rows, tokenizer, chat format
    and options are kept. Without FILE, mergedata/train.jsonl and test.jsonl become shards in
    mergedata/tokens/. With --student, questions with their options and rationales become one PyTorch file;
    of several FILEs, one each: OUT_FILE.pt.

    \b
    Examples:
      dataprep tokenize train.jsonl -o tokens --tokenizer tokenizer.model --pack 2048
      dataprep tokenize --tokenizer tokenizer.model --max-length 4096 --truncation drop
      dataprep tokenize dev.json --dataset aqua_rat -o preprocessed_data.pt --student t5.model --teacher llemma=llemma.model
    """  # noqa: E501 - a command is one line
    from dataprep.core.io import check_distinct, open_rejects
    from dataprep.tokens.pairs import tokenize_pairs
    from dataprep.tokens.tokenize import tokenize_files

    summary = Summary("tokenize", quiet=quiet, as_json=as_json)
    if student is not None or teacher:
        # Flags at their defaults cannot be told from flags that were not given, except by `keywords`.
        given = dict(options.keywords)
        settings: dict[str, Any] = {"dataset": dataset, "pad": pad, "workers": workers}
        settings["max_length"] = given.pop("max_length", 256)
        settings["truncation"] = given.pop("truncation", "truncate")
        given |= {"tokenizer": tokenizer, "template": template, "chat_format": chat_format}
        _refuse("shards, and --student makes a teacher/student file", given)
        pair_jobs = _pair_jobs(inputs or [], output)
        settings |= {"student": student, "teachers": _teachers(student, teacher or [])}
        check_distinct(rejects, [target for _, target in pair_jobs], [source for source, _ in pair_jobs])
        with open_rejects(rejects) as bad:
            for source, target in pair_jobs:
                with bytes_bar("tokenize", [source], 1, quiet or as_json) as advance:
                    pairs = tokenize_pairs(source, target, rejects=bad, progress=advance, **settings)
                _report_pairs(summary, pairs, source, target)
        summary.finish()
        return
    _refuse("a teacher/student file (--student)", {"dataset": dataset, "pad": None if pad == "none" else pad})
    if tokenizer is None:
        raise UsageError("expected --tokenizer PATH, or --student and --teacher for a teacher/student file")
    shared: dict[str, Any] = {"tokenizer": tokenizer, "chat_format": chat_format, "template": template}
    date = settled_date(options().date, chat_format, tokenizer, template=template, workspace=workspace)
    shared |= {"options": options(date=date), "workers": workers}
    jobs = _shard_jobs(inputs or [], output, workspace)
    check_distinct(rejects, [target for _, target in jobs], [path for paths, _ in jobs for path in paths])
    with open_rejects(rejects) as bad:
        for paths, target in jobs:
            with bytes_bar("tokenize", paths, 1, quiet or as_json) as advance:
                made = tokenize_files(paths, target, rejects=bad, progress=advance, **shared)
            _report_shards(summary, made, target)
    summary.finish()


def _teachers(student: str | None, given: list[str]) -> dict[str, str]:
    if student is None:
        raise UsageError("--teacher needs --student PATH, the student's tokenizer")
    teachers: dict[str, str] = {}
    for text in given:
        name, _, path = text.partition("=")
        if not name or not path:
            raise UsageError(f"--teacher {text}: expected NAME=PATH")
        if name in teachers:
            raise UsageError(f"--teacher {text}: two teachers have that name")
        teachers[name] = path
    return teachers


def _refuse(whose: str, given: dict[str, Any]) -> None:
    # An option that has no effect is an error: the user expects one.
    for name, value in given.items():
        if value is not None and value is not False:
            raise UsageError(f"--{name.replace('_', '-')} is for {whose}")


def _pair_jobs(inputs: list[str], output: str | None) -> list[tuple[str, str]]:
    if not inputs or output is None or output == "-":
        raise UsageError("a teacher/student file needs FILE and -o OUT.pt")
    from dataprep.core.io import check_local

    check_local(output, "a teacher/student file")
    if len(inputs) == 1:
        return [(inputs[0], output)]
    base = Path(output)
    names = ["stdin" if path == "-" else name_of(path).partition(".")[0] or "file" for path in inputs]
    if len(set(names)) < len(names):
        raise UsageError(f"two of {', '.join(inputs)} have the same name; make one file after the other")
    outputs = [str(base.with_name(f"{base.stem}_{name}{base.suffix}")) for name in names]
    return list(zip(inputs, outputs, strict=True))


def _shard_jobs(inputs: list[str], output: str | None, workspace: str | None) -> list[tuple[list[str], str]]:
    from dataprep.datasets.workspace import Workspace

    if inputs:
        if output is None or output == "-":
            raise UsageError("shards are a directory: give it a name with -o OUT")
        return [(inputs, output)]
    if output is not None:
        raise UsageError("-o needs FILE: without it, tokenize writes to mergedata/tokens/")
    folder = Workspace.find(workspace).root / "mergedata"
    splits = [split for split in ("train", "test") if (folder / f"{split}.jsonl").is_file()]
    if not splits:
        raise WorkspaceError(f"{folder} holds no train.jsonl or test.jsonl: run `dataprep merge` first")
    return [([str(folder / f"{split}.jsonl")], str(folder / "tokens" / split)) for split in splits]


def _report_shards(summary: Summary, made: Tokenized, target: str) -> None:
    manifest = made.manifest
    names = ("documents", "tokens", "loss_tokens", "sequences", "cut", "left_out")
    counts = {name: manifest[name] for name in names}
    fill = None if made.fill is None else round(made.fill, 6)
    share = manifest["loss_tokens"] / manifest["tokens"] if manifest["tokens"] else 0
    line = f"  {manifest['documents']:,} documents, {manifest['tokens']:,} tokens, "
    line += f"{share:.1%} of them in the loss"
    if made.fill is not None:
        size = manifest["options"]["pack"]
        line += f"; {manifest['sequences']:,} sequences of {size:,}, {made.fill:.2%} filled"
    if manifest["cut"]:
        line += f"; {manifest['cut']:,} answers cut"
    lines = [line]
    if manifest["left_out"]:
        kinds = ", ".join(f"{kind}: {count:,}" for kind, count in manifest["left_out"].items())
        lines.append(f"  left out by the chat format: {kinds}")
    facts = counts | {"fill": fill, "up_to_date": made.up_to_date}
    note = "up to date: " if made.up_to_date else ""
    summary.add("tokenize", made.ledger, target, note=note, facts=facts, lines=lines)


def _report_pairs(summary: Summary, made: Paired, source: str, target: str) -> None:
    cut = ", ".join(f"{count:,} {name}" for name, count in made.cut.items())
    lines = [f"  cut at --max-length: {cut}"] if any(made.cut.values()) else []
    facts = {"cut": made.cut}
    summary.add("tokenize", made.ledger, target, hint=f"read from {source}", facts=facts, lines=lines)
