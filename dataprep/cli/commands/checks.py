"""``dataprep lint-tokens``, ``dataprep stats`` and ``dataprep validate``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from dataprep.cli.console import Summary, counted, print_json, print_text, say, table
from dataprep.cli.dates import settled_date
from dataprep.cli.options import (
    AsJson,
    ChatFormat,
    From,
    Quiet,
    Template,
    Workers,
    argument,
    flag,
    with_options,
)
from dataprep.cli.token_rows import print_token_rows
from dataprep.core.errors import UsageError
from dataprep.tokens.options import ShardOptions, TextOptions

if TYPE_CHECKING:
    from rich.table import Table

    from dataprep.datasets.checks.figures import Lengths, Stats, Tokens
    from dataprep.datasets.checks.validation import Report


@with_options
def lint_tokens_command(
    *,
    inputs: list[str] = argument(..., "Chat files; - for standard input.", "FILE..."),
    tokenizer: str = flag(..., "The model's tokenizer: a file or a model directory.", "PATH"),
    chat_format: ChatFormat = None,
    template: Template = None,
    options: From[TextOptions],
    max_length: int | None = flag(None, "Check rows as truncated to N tokens.", "N", min=1),
    page: str | None = flag(None, "Write one HTML page of rows, tokens coloured by mask.", "--html", "PATH"),
    rows: int = flag(20, "Rows on the page, those with problems first.", "N", min=0),
    show: int = flag(0, "Print N rows as their tokens, coloured by mask, problems first.", "N", min=0),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Check the token ids and the loss mask of chat files.

    Each row is encoded as for training. A row is a problem if no token is in the loss, if the end of a turn
    is not in it, or if the tokens in the loss do not decode to the assistant's contents. Special tokens
    inside contents and truncated answers are problems too. Every problem is counted, the first 20
    of each kind are printed, and the exit code is 1 if there is any.

    \b
    Examples:
      dataprep lint-tokens mergedata/train.jsonl --tokenizer tokenizer.model --show 1
      dataprep lint-tokens train.jsonl --tokenizer ./Qwen2.5-1.5B --html rows.html
    """
    from dataprep.tokens.formats.loading import chat_format_for, check_template
    from dataprep.tokens.lint_files import first_rows, lint_files
    from dataprep.tokens.lint_page import check_page, write_page
    from dataprep.tokens.tokenizers.loading import load_tokenizer

    check_template(chat_format, template)
    if page is not None:
        check_page(page)
    _check_streams({"--html -": page == "-", "--show": show > 0, "--json": as_json})
    loaded = load_tokenizer(tokenizer)
    made = options()
    made = options(date=settled_date(made.date, chat_format, tokenizer, template=template))
    settings: dict[str, Any] = {"strip": made.strip, "date": made.date, "template_args": made.template_args}
    laid = chat_format_for(chat_format, loaded, tokenizer, template=template, **settings)
    which = ShardOptions(loss=made.loss, split_thinking=made.split_thinking)
    keep = max(show, rows if page else 0)
    report = lint_files(inputs, loaded, laid, options=which, max_length=max_length, keep=keep)
    if page is not None:
        write_page(report, loaded, page, rows)
    print_token_rows(first_rows(report.kept, show), loaded)
    summary = Summary("lint-tokens", quiet=quiet, as_json=as_json)
    facts = f", {report.tokens:,} tokens, {report.in_loss:,} in the loss, the longest row {report.longest:,};"
    for note in report.notes:
        summary.say(f"lint-tokens: the chat format: {': '.join(note)}")
    _print_report(summary, report, facts, show=page != "-")
    for what, counts in (
        ("left out by --loss", report.dropped),
        ("left out by the chat format", report.left_out),
    ):
        if counts:
            summary.say(f"  {what}: {counted(dict(counts.most_common()))}")
    if page not in (None, "-"):
        summary.say(f"lint-tokens: page → {page}")
    if report.counts:
        raise typer.Exit(1)


def _check_streams(used: Mapping[str, bool]) -> None:
    # A page, rows and JSON in one stream could be read by no program.
    if len(names := [name for name, is_used in used.items() if is_used]) > 1:
        more = "; give the page a file" if "--html -" in names else ""
        raise UsageError(f"{names[0]} and {names[1]} both write to standard output{more}")


def stats_command(
    inputs: list[str] = argument(..., "Files of rows; - for standard input.", "FILE..."),
    tokenizer: str | None = flag(None, "Count tokens too: a tokenizer's file or a model directory.", "PATH"),
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Describe files: counts, lengths, duplicates.

    Lengths are in characters (Unicode code points), by role in chat rows and by field in others. Reasoning,
    tools, tool calls and loss marks are counted too. A row is a duplicate when an earlier row has the same
    content, also the same tools, whatever their id and source. With --tokenizer, the tokens of the texts
    are counted by role and by source, without those that a chat format adds.

    \b
    Examples:
      dataprep stats mergedata/train.jsonl
      dataprep stats mergedata/train.jsonl --tokenizer tokenizer.model
    """
    from dataprep.datasets.checks.stats import stats_of_files

    encode = None
    # Libraries of tokenizers are imported only if tokens are to be counted.
    if tokenizer is not None:
        from dataprep.tokens.tokenizers.loading import load_tokenizer

        encode = load_tokenizer(tokenizer).encode
    figures = stats_of_files(inputs, encode, workers=workers)
    if as_json:
        print_json(figures.to_json())
    else:
        _print(figures)


def _print(figures: Stats) -> None:
    from dataprep.datasets.choice_order import one_label

    sources = table(("source", "rows"), [(name, f"{count:,}") for name, count in figures.sources.items()])
    parts: list[Any] = [f"{figures.rows:,} rows, {figures.duplicates:,} of them duplicates\n", sources]
    parts += ["", _lengths("characters", figures.characters)]
    # Rows with contents alone have all their figures above.
    if figures.parts:
        counts = {f"{role} messages": count for role, count in (figures.roles or {}).items()} | figures.parts
        parts += ["", table(("in chat rows", "number"), [(name, f"{n:,}") for name, n in counts.items()])]
    for title, tokens in (("tokens", figures.tokens), ("tokens of rows", figures.tokens_by_source)):
        if tokens is not None:
            parts += ["", _lengths(title, tokens)]
    if figures.labels:
        parts.append(f"\nright answers of multiple-choice rows: {counted(figures.labels)}")
        if warning := one_label(figures.labels, figures.rows):
            parts.append(f"warning: {warning}")
    parts.append("\nrows by characters")
    most = max((bin_.rows for bin_ in figures.histogram), default=1)
    width = len(f"{figures.histogram[-1].high:,}") if figures.histogram else 1
    for bin_ in figures.histogram:
        # A few rows among many have a thin bar, so that only empty bins look empty.
        bar = "█" * round(40 * bin_.rows / most) or ("▏" if bin_.rows else "")
        parts.append(f"{bin_.low:>{width},} – {bin_.high:>{width},}  {bar} {bin_.rows:,}")
    print_text(*parts, min_width=40)


def _lengths(title: str, figures: Mapping[str, Lengths | Tokens]) -> Table:
    head = [title, "texts", "min", "median", "p95", "max"]
    head += ["total"] if any(hasattr(lengths, "total") for lengths in figures.values()) else []
    rows = []
    for name, lengths in figures.items():
        numbers = [lengths.texts, lengths.min, round(lengths.median), round(lengths.p95), lengths.max]
        numbers += [lengths.total] if hasattr(lengths, "total") else []
        rows.append((name, *(f"{number:,}" for number in numbers)))
    return table(head, rows)


def validate_command(
    inputs: list[str] = argument(..., "Chat files; - for standard input.", "FILE..."),
    strict: bool = flag(False, "Keys of messages that dataprep does not know are problems."),
    strict_tools: bool = flag(False, "The arguments of tool calls must fit the schema of their tool."),
    workers: Workers = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Check that every row of chat files is well-formed.

    Each row must be a JSON object in UTF-8 without duplicate keys, with a list of messages, the last one
    an assistant's. Contents, reasoning, tools, tool calls and their results are checked. Fields of other
    tools that say what is learned or shown to the model are problems, because they would have no effect.
    Every problem is counted, the first 20 of each kind are printed, and the exit code is 1 if there is
    any. Unknown keys of messages are counted in the summary.

    \b
    Examples:
      dataprep validate mergedata/train.jsonl
      dataprep validate --strict --strict-tools calls.parquet
    """
    from dataprep.datasets.checks.validation import validate_files

    report = validate_files(inputs, strict=strict, strict_tools=strict_tools, workers=workers)
    summary = Summary("validate", quiet=quiet, as_json=as_json)
    _print_report(summary, report, ",", show=True)
    if report.unknown_keys:
        shown = counted(dict(report.unknown_keys.most_common()))
        summary.say(f"unknown keys of messages, which stay as they are: {shown}")
    if report.counts:
        raise typer.Exit(1)


def _print_report(summary: Summary, report: Report, facts: str, *, show: bool) -> None:
    if summary.as_json:
        # The report is the command's data, so it goes to standard output.
        print_json(report.to_json())
    elif show:
        say(*report.shown, file=sys.stdout)
    kinds = f" ({counted(dict(report.counts.most_common()))})" if report.counts else ""
    summary.say(f"{sum(report.rows.values()):,} rows{facts} {report.counts.total():,} problems{kinds}")
