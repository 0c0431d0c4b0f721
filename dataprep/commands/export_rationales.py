"""``dataprep export-rationales``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from dataprep.commands.options import Quiet


def command(
    rows: Annotated[str, typer.Argument(metavar="ROWS", help="Rows as parse-rationales writes them.")],
    output: Annotated[str, typer.Option("-o", "--output", metavar="DIR", help="Where SPLIT_CoT_K.json go.")],
    split: Annotated[str, typer.Option(metavar="NAME", help="The split in the files' names.")] = "train",
    teachers: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="The first teacher, then further ones (name or marker=name)."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write labelled rows back as published rationale files.

    The strings go into files of 500, in the layout that the published trainer reads. A row that the layout
    cannot carry without being read as something else is an error with its number.

    \b
    Example:
      dataprep export-rationales rows.jsonl -o llm --split train
    """
    from dataprep.rationale_files import export_rationales

    names = () if teachers is None else teachers.split(",")
    paths = export_rationales(rows, output, split=split, teachers=names)
    if not quiet:
        print(f"export-rationales: wrote {len(paths)} files to {output}", file=sys.stderr)
