"""``dataprep validate``."""

from __future__ import annotations

import sys
from typing import Annotated

import orjson
import typer

from dataprep.commands.options import AsJson, Quiet


def command(
    inputs: Annotated[list[str], typer.Argument(metavar="FILE...", help="Chat files; - for standard input.")],
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Check that every row of chat files is well-formed.

    Each row must be a JSON object in UTF-8 without duplicate keys, whose messages are an optional system
    message, then user and assistant in turn, an assistant last, each with a non-empty content. Every
    problem is counted, the first 20 of each kind are printed, and the exit code is 1 if there is any.

    \b
    Example:
      dataprep validate mergedata/train.jsonl
    """
    from dataprep.validation import validate_files

    report = validate_files(inputs)
    if as_json:
        print(orjson.dumps(report.to_json(), option=orjson.OPT_INDENT_2).decode())
    else:
        for problem in report.shown:
            print(problem)
    if not quiet and not as_json:
        rows, problems = sum(report.rows.values()), report.counts.total()
        kinds = ", ".join(f"{kind}: {count:,}" for kind, count in report.counts.most_common())
        print(
            f"{rows:,} rows, {problems:,} problems" + (f" ({kinds})" if kinds else ""),
            file=sys.stderr,
        )
    if report.counts:
        raise typer.Exit(1)
