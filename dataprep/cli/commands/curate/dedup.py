"""``dataprep dedup``."""

from __future__ import annotations

from dataprep.cli.console import Summary
from dataprep.cli.options import AsJson, Output, Quiet, Rejects, Workers, argument, flag
from dataprep.cli.progress import bytes_bar


def command(
    inputs: list[str] = argument(..., "Files of rows; - is standard input.", "FILE..."),
    output: Output = None,
    on: str = flag("messages", "Part of a row to compare: messages, user, question, or a field.", "PART"),
    near: float | None = flag(
        None, "Also drop rows of this Jaccard similarity or more to a kept row.", "--near", "X"
    ),
    ngram: int = flag(3, "Tokens of an n-gram, of which similarity counts the shared ones.", "N"),
    keep: str = flag("first", "Which of similar rows to keep: first, longest, or best:FIELD.", "RULE"),
    across: list[str] = flag([], "Also drop rows that repeat a row of these files.", "--across", "FILE..."),
    dropped: str | None = flag(
        None, "Write each dropped row with the row that it repeats, and their similarity.", "FILE"
    ),
    dry_run: bool = flag(False, "Write no kept rows; the summary says what would be dropped.", "--dry-run"),
    workers: Workers = None,
    rejects: Rejects = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Drop rows that repeat others, exactly or nearly.

    Texts are compared without differences of case, white space and Unicode form. With --near 0.8, a row is
    also dropped if it shares 80 % of its n-grams of words with a kept row: the shared ones over those that
    either has. Files are read in the order of their paths, so the order in which they are named does not
    matter. Kept rows keep their bytes and order.

    \b
    Examples:
      dataprep dedup train.jsonl -o unique.jsonl
      dataprep dedup a.jsonl b.jsonl --on question --near 0.8 -o unique.jsonl --dropped dropped.jsonl
      dataprep dedup train.jsonl --across test.jsonl --near 0.8 --keep longest --dry-run
    """
    from dataprep.curate.dedup import dedup_files

    summary = Summary("dedup", quiet=quiet, as_json=as_json)
    with bytes_bar("dedup", [*across, *inputs], 1, quiet or as_json) as advance:
        done = dedup_files(
            inputs,
            None if dry_run else output or "-",
            on=on,
            near=near,
            ngram=ngram,
            keep=keep,
            across=across,
            dropped=dropped,
            rejects=rejects,
            workers=workers,
            progress=advance,
        )
    note = "nothing is written: " if dry_run else ""
    lines = [f"  {done.repeated:,} rows have repeats; {done.most_repeated} has most, {done.most:,}"]
    summary.add(
        "dedup",
        done.ledger,
        output,
        note=note,
        facts=done.facts(),
        lines=lines if done.most_repeated is not None else (),
    )
    summary.finish()
