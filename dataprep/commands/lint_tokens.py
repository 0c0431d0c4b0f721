"""``dataprep lint-tokens``."""

from __future__ import annotations

import sys
from typing import Annotated

import orjson
import typer

from dataprep.commands.options import AsJson, Date, Quiet, Strip, Template
from dataprep.errors import UsageError


def command(
    inputs: Annotated[list[str], typer.Argument(metavar="FILE...", help="Chat files; - for standard input.")],
    tokenizer: Annotated[
        str, typer.Option(metavar="PATH", help="The model's tokenizer: a file or a model directory.")
    ],
    layout: Annotated[
        str, typer.Option(metavar="NAME", help="llama3, chatml, llama2 or template.")
    ] = "llama3",
    template: Template = None,
    strip: Strip = False,
    date: Date = None,
    max_length: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Look at rows as they are when cut to N tokens."),
    ] = None,
    page: Annotated[
        str | None,
        typer.Option("--html", metavar="PATH", help="Write one HTML page of rows, tokens coloured by mask."),
    ] = None,
    rows: Annotated[
        int, typer.Option(min=0, metavar="N", help="Rows on the page, those with problems first.")
    ] = 20,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Check what a trainer would learn from chat files: ids and loss mask.

    Each row is laid out and encoded as for training, and looked at: is anything trained, the end of each
    turn too, does what is trained decode to the assistant's contents, is there a special token inside a
    content, is an answer cut? Every problem is counted, the first 20 of each kind are printed, and the
    exit code is 1 if there is any.

    \b
    Examples:
      dataprep lint-tokens mergedata/train.jsonl --tokenizer tokenizer.model
      dataprep lint-tokens train.jsonl --tokenizer ./Qwen2.5-1.5B --layout template --html rows.html
    """
    from dataprep.linting import lint_files
    from dataprep.linting.page import check_page, write_page
    from dataprep.tokens.layouts import check_template, layout_for
    from dataprep.tokens.tokenizer import load_tokenizer

    check_template(layout, template)
    if page is not None:
        check_page(page)
        if page == "-" and as_json:
            raise UsageError("--html - and --json both write to standard output; give the page a file")
    loaded = load_tokenizer(tokenizer)
    laid = layout_for(layout, loaded, tokenizer, template=template, strip=strip, date=date)
    report = lint_files(inputs, loaded, laid, max_length=max_length, keep=rows if page else 0)
    if page is not None:
        write_page(report, loaded, page)
    if as_json:
        print(orjson.dumps(report.to_json(), option=orjson.OPT_INDENT_2).decode())
    elif page != "-":
        for problem in report.shown:
            print(problem)
    if not quiet and not as_json:
        count, problems = sum(report.rows.values()), report.counts.total()
        kinds = ", ".join(f"{kind}: {number:,}" for kind, number in report.counts.most_common())
        print(
            f"{count:,} rows, {report.tokens:,} tokens, {report.trained:,} trained on, the longest row "
            f"{report.longest:,}; {problems:,} problems" + (f" ({kinds})" if kinds else ""),
            file=sys.stderr,
        )
        if page not in (None, "-"):
            print(f"lint-tokens: page → {page}", file=sys.stderr)
    if report.counts:
        raise typer.Exit(1)
