"""``dataprep parse-rationales`` and ``dataprep export-rationales``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from dataprep.cli.console import Summary, status_lines, where_to
from dataprep.cli.options import AsJson, Output, Quiet, Rejects, Workers
from dataprep.cli.progress import bytes_bar


def export_command(
    rows: Annotated[str, typer.Argument(metavar="ROWS", help="Rows as parse-rationales writes them.")],
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="DIR", help="Folder for SPLIT_CoT_K.json.")
    ],
    split: Annotated[str, typer.Option(metavar="NAME", help="The split in the files' names.")] = "train",
    teachers: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="The first teacher, then further ones (name or marker=name)."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write labelled rows back as published rationale files.

    The strings go into files of 500, in the published format. A row that would be read back differently is an
    error with its number.

    \b
    Example:
      dataprep export-rationales rows.jsonl -o llm --split train
    """
    from dataprep.answers.export import export_rationales

    names = () if teachers is None else teachers.split(",")
    paths = export_rationales(rows, output, split=split, teachers=names)
    if not quiet:
        print(f"export-rationales: wrote {len(paths)} files to {output}", file=sys.stderr)


def parse_command(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help="SPLIT_CoT_K.json files, folders of them, JSON Lines of strings, or -."
        ),
    ],
    output: Output = None,
    gold: Annotated[
        str | None, typer.Option(metavar="FILE", help="References, joined by id or else by position.")
    ] = None,
    teachers: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="The first teacher, then further ones (name or marker=name)."),
    ] = None,
    trim_runaway: Annotated[
        bool, typer.Option("--trim-runaway", help="Cut rationales where they run into another question.")
    ] = False,
    workers: Workers = None,
    rejects: Rejects = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Parse teachers' rationale files into labelled rows.

    Each string becomes a row with question, choices, answer and one field per teacher. Each rationale has a
    status: ok, empty, runaway, truncated, no_answer, or answer_mismatch. No row is dropped because of it.

    \b
    Examples:
      dataprep parse-rationales llm/train_CoT_*.json --gold arc_train.json -o rows.jsonl
      dataprep parse-rationales llm/ -o rows.parquet
    """
    from dataprep.answers.parse import parse_rationale_files, rationale_files

    paths = rationale_files(inputs)
    with bytes_bar("parse-rationales", paths, 1, quiet) as advance:
        report = parse_rationale_files(
            paths,
            output or "-",
            gold=gold,
            teachers=() if teachers is None else teachers.split(","),
            trim=trim_runaway,
            workers=workers,
            rejects=rejects,
            progress=advance,
        )
    summary = Summary("parse-rationales", quiet=quiet, as_json=as_json)
    summary.say(f"parse-rationales: {report.ledger} → {where_to(output)}")
    summary.say(*status_lines(report.statuses))
    if trim_runaway:
        what = "rationale was" if report.trimmed == 1 else "rationales were"
        summary.say(f"  {report.trimmed:,} {what} trimmed")
    if gold is not None:
        summary.say(f"  the first teacher agrees with the references in {report.agree:,} rows")
    summary.finish(
        {
            **report.ledger.to_json(),
            "status": {teacher: dict(counts) for teacher, counts in report.statuses.items()},
            "trimmed": report.trimmed,
            "first_teacher_agrees_with_gold": None if gold is None else report.agree,
        }
    )
