"""``dataprep decontaminate``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from dataprep.cli.console import Summary, print_text, table
from dataprep.cli.options import AsJson, From, Output, Quiet, Rejects, Workers, argument, flag, with_options
from dataprep.cli.progress import bytes_bar
from dataprep.curate.contamination.settings import Overlap

if TYPE_CHECKING:
    from rich.table import Table

    from dataprep.curate.contamination.files import Contamination


@with_options
def command(
    *,
    train: list[str] = argument(..., "Files of training rows; - is standard input.", "TRAIN..."),
    against: list[str] = flag(..., "Files of test rows.", "--against", "TEST..."),
    output: Output = None,
    settings: From[Overlap],
    dropped: str | None = flag(
        None, "Write each dropped row with the test row and the overlapping text.", "FILE"
    ),
    found: str | None = flag(
        None, "Write the test rows that were found, for `evaluate --contaminated`.", "FILE"
    ),
    dry_run: bool = flag(False, "Write no kept rows; the summary says what would be dropped.", "--dry-run"),
    workers: Workers = None,
    rejects: Rejects = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Drop training rows that repeat test rows.

    All texts of a training row are searched. Line breaks, case, punctuation and Unicode forms make no
    difference. A row is dropped if it has half of a test row's n-grams, all tokens of a test row that is
    shorter than an n-gram, or a test row with other names and numbers. Words that all prompts of a dataset
    share don't count. Rows may be chat rows, Examples or source rows.

    \b
    Examples:
      dataprep decontaminate train.jsonl --against test.jsonl -o clean.jsonl --dropped dropped.jsonl
      dataprep decontaminate train.jsonl --against gsm8k.jsonl mbpp.jsonl --dry-run
      dataprep decontaminate train.jsonl --against test.jsonl --fields question,answer --found found.jsonl
    """
    from dataprep.curate.contamination.files import decontaminate_files

    summary = Summary("decontaminate", quiet=quiet, as_json=as_json)
    with bytes_bar("decontaminate", train, 1, quiet or as_json) as advance:
        done = decontaminate_files(
            train,
            None if dry_run else output or "-",
            against=against,
            settings=settings(),
            dropped=dropped,
            found=found,
            rejects=rejects,
            workers=workers,
            progress=advance,
        )
    if not quiet and not as_json:
        print_text(_table(done), file=sys.stderr)
    note = "nothing is written: " if dry_run else ""
    summary.add("decontaminate", done.ledger, output, note=note, facts=done.facts())
    summary.finish()


def _table(done: Contamination) -> Table:
    rows = [
        (
            pair.train,
            pair.test,
            *(f"{pair.rows[kind]:,}" for kind in ("verbatim", "in part", "changed")),
            f"{pair.items:,} of {done.test_rows[pair.test]:,}",
        )
        for pair in done.pairs
    ]
    return table(("train", "test", "verbatim", "in part", "changed", "test rows found"), rows, 2)
