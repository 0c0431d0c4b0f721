"""``dataprep parse-rationales`` and ``dataprep export-rationales``."""

from __future__ import annotations

from dataprep.cli.console import Summary, say, status_lines
from dataprep.cli.options import AsJson, Output, Quiet, Rejects, Workers, argument, flag
from dataprep.cli.progress import bytes_bar


def export_command(
    rows: str = argument(..., "Rows as parse-rationales writes them.", "ROWS"),
    output: str = flag(..., "Folder for SPLIT_CoT_K.json.", "-o", "--output", "DIR"),
    split: str = flag("train", "The split in the files' names.", "NAME"),
    teachers: str | None = flag(
        None, "The first teacher, then further ones (name or marker=name).", "NAME,..."
    ),
    quiet: Quiet = False,
) -> None:
    """Write labelled rows back as published rationale files.

    The strings go into files of 500, in the published format. A row that would be read back differently is an
    error with its number.

    \b
    Example:
      dataprep export-rationales rows.jsonl -o llm --split train
    """
    from dataprep.answers.parse import export_rationales

    names = () if teachers is None else teachers.split(",")
    paths = export_rationales(rows, output, split=split, teachers=names)
    if not quiet:
        say(f"export-rationales: wrote {len(paths)} files to {output}")


def parse_command(
    inputs: list[str] = argument(
        ..., "SPLIT_CoT_K.json files, folders of them, JSON Lines of strings, or -.", "INPUT..."
    ),
    output: Output = None,
    gold: str | None = flag(None, "References, joined by id or else by position.", "FILE"),
    teachers: str | None = flag(
        None, "The first teacher, then further ones (name or marker=name).", "NAME,..."
    ),
    trim_runaway: bool = flag(
        False, "Cut rationales where they run into another question.", "--trim-runaway"
    ),
    source: str | None = flag(
        None, "The set that the files belong to. Defaults to the dataset whose folder they are in.", "NAME"
    ),
    workers: Workers = None,
    rejects: Rejects = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Parse teachers' rationale files into labelled rows.

    Each string becomes a row with question, choices, answer and one field per teacher. Each rationale has a
    status: ok, unjudged, empty, runaway, truncated, no_answer, or answer_mismatch. No row is dropped for it.

    \b
    Examples:
      dataprep parse-rationales llm/train_CoT_*.json --gold arc_train.json -o rows.jsonl
      dataprep parse-rationales llm/ -o rows.parquet
    """
    from dataprep.answers.parse import parse_rationale_files, rationale_files

    paths = rationale_files(inputs)
    with bytes_bar("parse-rationales", paths, 1, quiet or as_json) as advance:
        report = parse_rationale_files(
            paths,
            output or "-",
            gold=gold,
            teachers=() if teachers is None else teachers.split(","),
            trim=trim_runaway,
            source=source,
            workers=workers,
            rejects=rejects,
            progress=advance,
        )
    lines = status_lines(report.statuses)
    if trim_runaway:
        what = "rationale was" if report.trimmed == 1 else "rationales were"
        lines.append(f"  {report.trimmed:,} {what} trimmed")
    if gold is not None:
        lines.append(f"  the first teacher agrees with the references in {report.agree:,} rows")
    summary = Summary("parse-rationales", quiet=quiet, as_json=as_json)
    summary.add("parse-rationales", report.ledger, output, lines=lines)
    summary.finish(
        {
            **report.ledger.to_json(),
            "status": {teacher: dict(counts) for teacher, counts in report.statuses.items()},
            "trimmed": report.trimmed,
            # Without references no row can agree, and 0 would look like a bad teacher.
            "first_teacher_agrees_with_gold": None if gold is None else report.agree,
        }
    )
