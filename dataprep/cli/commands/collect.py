"""``dataprep collect``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Literal

import typer

from dataprep.cli.console import Summary, status_lines, where_to
from dataprep.cli.options import AsJson, Output, Quiet
from dataprep.cli.progress import bytes_bar
from dataprep.core.errors import UsageError

Target = Literal["rationale", "chat", "qa", "choice-probs"]


def command(
    responses: Annotated[
        list[str], typer.Argument(metavar="RESPONSES...", help="Journals of responses; - is standard input.")
    ],
    examples: Annotated[
        str, typer.Option("--examples", metavar="FILE", help="Examples that the requests were made from.")
    ],
    output: Output = None,
    to: Annotated[
        Target, typer.Option(help="Labelled rows with all teachers, or one teacher's training rows.")
    ] = "rationale",
    keep: Annotated[
        str | None,
        typer.Option(metavar="STATUS,...", help="Training rows: answers to keep. Defaults to ok."),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Training rows: teacher. Required if there are several."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="NAME", help="--examples has source rows of this dataset.")
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(metavar="FILE.toml", help="chat: wording of messages: keys system, user, assistant."),
    ] = None,
    sample: Annotated[
        str,
        typer.Option(metavar="N|all", help="Sample to use, if there are several; all: chat and qa only."),
    ] = "0",
    teacher_name: Annotated[
        list[str] | None,
        typer.Option(metavar="OLD=NEW", help="Rename a teacher in the output; can be repeated."),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Join teachers' answers to their Examples.

    Each Example becomes a row with every teacher's rationale and one status per teacher. With --to chat, qa
    or choice-probs, the kept answers of one teacher become training rows; the summary counts the other
    answers by reason.

    \b
    Examples:
      dataprep collect responses.jsonl --examples examples.jsonl -o rationales.jsonl
      dataprep collect a.jsonl b.jsonl --examples examples.jsonl --to chat --teacher gpt-4o -o train.jsonl
      dataprep collect responses.jsonl --examples dev_rand_split.jsonl --dataset commonsense_qa --to qa
    """
    from dataprep.collect.collector import collect_files
    from dataprep.datasets.templates import read_template

    with bytes_bar("collect", responses, 1, quiet) as advance:
        report = collect_files(
            responses,
            examples,
            output or "-",
            to=to,
            keep=None if keep is None else keep.split(","),
            teacher=teacher,
            dataset=dataset,
            template=None if template is None else read_template(template),
            sample=int(sample) if sample.isdecimal() else sample,
            names=_names(teacher_name or []),
            progress=advance,
        )
    # Also with --quiet: an incomplete line can mean that answers were lost.
    if not as_json:
        for where in report.torn:
            print(f"warning: {where}: the last line is incomplete and was skipped", file=sys.stderr)
    summary = Summary("collect", quiet=quiet, as_json=as_json)
    summary.say(f"collect: {report.ledger} → {where_to(output)}")
    summary.say(*status_lines(report.statuses))
    counts = {"answers to no example": report.unmatched, "torn lines": len(report.torn)}
    summary.say(*(f"  {name}: {count:,}" for name, count in counts.items() if count))
    if not report.ledger.rows_out:
        summary.say(f"warning: no row was written to {where_to(output)}")
    summary.finish(
        {
            **report.ledger.to_json(),
            "status": {teacher: dict(counts) for teacher, counts in report.statuses.items()},
            "answers_to_no_example": report.unmatched,
            "torn_lines": len(report.torn),
        }
    )


def _names(given: Sequence[str]) -> dict[str, str]:
    """Return texts ``OLD=NEW`` as a mapping.

    Raises:
        UsageError: a text is not ``OLD=NEW``, or a teacher is named twice.
    """
    pairs = [text.rpartition("=")[::2] for text in given]
    for text, (old, new) in zip(given, pairs, strict=True):
        if not old or not new:
            raise UsageError(f"--teacher-name {text}: expected OLD=NEW")
    if len(dict(pairs)) < len(pairs):
        raise UsageError(f"--teacher-name {' '.join(given)}: a teacher is named twice")
    return dict(pairs)
