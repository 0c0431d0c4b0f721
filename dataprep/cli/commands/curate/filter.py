"""``dataprep filter``."""

from __future__ import annotations

from dataprep.cli.console import Summary
from dataprep.cli.options import AsJson, Output, Quiet, Rejects, Workers, argument, flag
from dataprep.cli.progress import bytes_bar


def command(
    inputs: list[str] = argument(..., "Files of rows; - is standard input.", "FILE..."),
    where: str = flag(..., "Condition in SQL; rows for which it holds are kept.", "EXPR"),
    output: Output = None,
    tokenizer: str | None = flag(None, "For tokens(…): a tokenizer's file or a model directory.", "PATH"),
    dry_run: bool = flag(False, "Count the rows and write nothing.", "--dry-run"),
    workers: Workers = None,
    rejects: Rejects = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Keep the rows for which a condition holds.

    The condition is an expression in the SQL of Polars. It names fields, such as question or meta.topic, and
    derived values. Of a role, of messages or of a field there are chars(PART), tokens(PART) and text(PART).
    The number of user messages is turns; source is the row's, or else the file's name. Labelled rows have
    status(TEACHER). The marks that `dataprep view` wrote are mark and note. Rows keep their bytes and their
    order. A comparison with a value that is absent or null does not hold.

    \b
    Examples:
      dataprep filter train.jsonl --where "chars(assistant) BETWEEN 20 AND 4000" -o kept.jsonl
      dataprep filter rows.jsonl --where "status(llama-2) = 'ok' AND answer.label IS NOT NULL"
      dataprep filter a.jsonl b.jsonl --where "text(assistant) NOT LIKE '%as an AI%'" -o - | head -1
      dataprep filter train.jsonl --where "mark IS NULL OR mark <> 'bad'" -o kept.jsonl
    """
    from dataprep.curate.filter import filter_files

    encode = None
    if tokenizer is not None:
        from dataprep.tokens.tokenizers.loading import load_tokenizer

        encode = load_tokenizer(tokenizer).encode
    target = None if dry_run else output or "-"
    summary = Summary("filter", quiet=quiet, as_json=as_json)
    with bytes_bar("filter", inputs, 1, quiet or as_json) as advance:
        ledger = filter_files(
            inputs, target, where=where, encode=encode, workers=workers, rejects=rejects, progress=advance
        )
    summary.add("filter", ledger, output, note="nothing is written: " if dry_run else "")
    summary.finish()
