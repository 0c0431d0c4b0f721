"""``dataprep split``."""

from __future__ import annotations

from typing import Any

from dataprep.cli.console import Summary
from dataprep.cli.options import AsJson, Quiet, Rejects, Workers, argument, flag
from dataprep.cli.progress import bytes_bar


def command(
    inputs: list[str] = argument(..., "Files of rows; - is standard input.", "FILE..."),
    parts: str = flag(..., "Share of each part; the sum must be 1.", "NAME=SHARE,..."),
    output: str = flag(..., "Folder, or a path with {part} in it.", "-o", "--output", "DIR"),
    by: str = flag(
        "id", "What rows share that stay together: id, source, question, a field, near-duplicates.", "KEY"
    ),
    seed: int = flag(42, "Seed of the hash.", "N"),
    dry_run: bool = flag(False, "Count the rows and write nothing.", "--dry-run"),
    workers: Workers = None,
    rejects: Rejects = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Divide rows into parts such as train and valid.

    A hash of the seed and of a row's key decides its part. So a row keeps its part when other rows are
    added, and rows with the same key are in the same part. The key is the id, or the content of a row
    without one. The written files are read again, to check that no key is in two of them. Rows keep their
    bytes and order.

    \b
    Examples:
      dataprep split rows.jsonl --parts train=0.9,valid=0.1 -o parts
      dataprep split rows.jsonl --parts train=0.8,valid=0.1,test=0.1 --by question -o parts
      dataprep split rows.jsonl --parts train=0.9,valid=0.1 --by near-duplicates -o parts
      dataprep split rows.jsonl --parts a=1/3,b=2/3 -o 'rows.{part}.jsonl.gz'
    """
    from dataprep.curate.split import split_files

    summary = Summary("split", quiet=quiet, as_json=as_json)
    with bytes_bar("split", inputs, 1, quiet or as_json) as advance:
        result = split_files(
            inputs,
            output,
            parts=parts,
            by=by,
            seed=seed,
            workers=workers,
            rejects=rejects,
            progress=advance,
            dry_run=dry_run,
        )
    note = "nothing is written: " if dry_run else ""
    for name, ledger in result.ledgers.items():
        facts: dict[str, Any] = {"keys": result.keys[name], "checked": result.checked}
        facts |= {"warning": result.warnings[name]} if name in result.warnings else {}
        summary.add(f"split {name}", ledger, result.outputs[name], note=note, facts=facts)
    keys = " + ".join(f"{count:,}" for count in result.keys.values())
    if result.checked:
        key = "group of near-duplicates" if by == "near-duplicates" else by
        summary.say(f"  the files were read again: no {key} is in two of them ({keys} different ones)")
    summary.say(*(f"warning: {warning}" for warning in result.warnings.values()))
    summary.finish()
