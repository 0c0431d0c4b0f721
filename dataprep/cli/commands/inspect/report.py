"""``dataprep report``."""

from __future__ import annotations

from dataprep.cli.console import Summary, print_json
from dataprep.cli.dates import settled_date
from dataprep.cli.options import (
    AsJson,
    ChatFormat,
    From,
    Output,
    Quiet,
    Rejects,
    Seed,
    Template,
    Workers,
    argument,
    flag,
    with_options,
)
from dataprep.cli.progress import bytes_bar
from dataprep.core.ledger import Ledger
from dataprep.tokens.options import ShardOptions, TextOptions


@with_options
def command(
    *,
    inputs: list[str] = argument(..., "Files of rows; - for standard input.", "FILE..."),
    output: Output = None,
    against: list[str] | None = flag(
        None, "File of test rows to look for in the files; can be repeated.", "--against", "TEST"
    ),
    fields: str = flag(
        "question",
        "Parts of test rows to look for, each by itself: question, answer, user or fields.",
        "NAMES",
    ),
    near: float = flag(
        0.8, "Similarity from which on two rows are near-duplicates, as for dedup; 0 looks for none.", "X"
    ),
    sample: int = flag(10, "Rows to show, which --seed draws.", "N", min=0),
    seed: Seed = 42,
    tokenizer: str | None = flag(
        None, "Count tokens too, and show the loss mask: a tokenizer's file or a model directory.", "PATH"
    ),
    chat_format: ChatFormat = None,
    template: Template = None,
    options: From[TextOptions],
    dry_run: bool = flag(False, "Read the files and write no page.", "--dry-run"),
    workers: Workers = None,
    rejects: Rejects = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Describe files of rows on one HTML page that opens offline.

    The page has sources, tasks, lengths by role, repeated rows and near-duplicates, test rows in training
    rows, statuses by teacher, right answers, the longest and the shortest rows, and a sample as chats. With
    --tokenizer, it has lengths in tokens and the loss mask of the sample. The figures of two files stand
    side by side. Test rows are those of --against, or of the files that are named test.

    Without -o the page goes to standard output. With --json the figures do, and the page needs a file.

    \b
    Examples:
      dataprep report mergedata/train.jsonl -o report.html
      dataprep report train.jsonl test.jsonl --tokenizer ./model -o report.html
      dataprep report train.jsonl --against test.jsonl --json
    """
    from dataprep.inspect.report.making import report_files

    which = None
    if tokenizer is not None:
        made = options()
        made = options(date=settled_date(made.date, chat_format, tokenizer, template=template))
        which = ShardOptions(
            strip=made.strip, date=made.date, template_args=made.template_args, loss=made.loss,
            split_thinking=made.split_thinking,
        )  # fmt: skip
    page = output if as_json else output or "-"
    with bytes_bar("report", inputs, 1, quiet or as_json) as advance:
        report = report_files(
            inputs, None if dry_run else page, against=against or (),
            fields=[name.strip() for name in fields.split(",")], near=near, sample=sample, seed=seed,
            tokenizer=tokenizer, chat_format=chat_format, template=template, options=which, workers=workers,
            rejects=rejects, progress=advance,
        )  # fmt: skip
    summary = Summary("report", quiet=quiet, as_json=False)
    if as_json:
        print_json(report.to_json())
        return
    rows = report.together.counts.rows
    ledger = Ledger(rows + sum(report.bad_rows.values()), rows)
    for reason, count in report.bad_rows.items():
        ledger.fail(reason, count)
    note = "nothing is written: " if dry_run else ""
    summary.add("report", ledger, page, note=note)
    summary.finish()
