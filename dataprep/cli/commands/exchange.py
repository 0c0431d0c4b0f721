"""``dataprep import`` and ``dataprep export``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataprep.cli.console import Summary, counted
from dataprep.cli.options import AsJson, Output, Quiet, Rejects, Workers, argument, flag
from dataprep.cli.progress import bytes_bar

if TYPE_CHECKING:
    from dataprep.datasets.exchange.rewriting import Exchange

_LOSSY = "Drop and count what cannot be carried, which is an error otherwise."


def import_command(
    inputs: list[str] = argument(..., "Files of rows; - is standard input.", "FILE..."),
    source: str | None = flag(
        None,
        "sharegpt, alpaca, openai, prompt-completion, text or harmony-json. Defaults to a guess.",
        "--from",
        "FORMAT",
    ),
    output: Output = None,
    split_thinking: bool = flag(
        False,
        "Make <think>…</think> at the beginning of an answer its reasoning_content.",
        "--split-thinking",
    ),
    lossy: bool = flag(False, _LOSSY, "--lossy"),
    workers: Workers = None,
    rejects: Rejects = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Read other tools' rows as chat rows.

    The format is guessed from the first rows where --from does not name it, and the summary says which it is.
    Fields that are not of the format stay in the row.

    \b
    Examples:
      dataprep import sharegpt.json -o train.jsonl
      dataprep import alpaca.jsonl --from alpaca | dataprep merge - other.jsonl -o train.jsonl
    """
    from dataprep.datasets.exchange.files import import_files

    summary = Summary("import", quiet=quiet, as_json=as_json)
    with bytes_bar("import", inputs, 1, quiet or as_json) as advance:
        result = import_files(
            inputs,
            output or "-",
            format=source,
            split_thinking=split_thinking,
            lossy=lossy,
            workers=workers,
            rejects=rejects,
            progress=advance,
        )
    guessed = "" if source else " (guessed from the first rows; --from FORMAT names another)"
    summary.say(*([f"import: read as {result.format}{guessed}"] if guessed else []))
    _report(summary, f"import {result.format}", result, output)


def export_command(
    inputs: list[str] = argument(..., "Files of chat rows, or of pairs; - is standard input.", "FILE..."),
    target: str = flag(
        ...,
        "sharegpt, alpaca, openai, prompt-completion, trl, axolotl, llama-factory, preference or hub-dir.",
        "--to",
        "FORMAT",
    ),
    output: Output = None,
    think_tags: bool = flag(
        False, "Write reasoning into the content, between <think> and </think>.", "--think-tags"
    ),
    lossy: bool = flag(False, _LOSSY, "--lossy"),
    workers: Workers = None,
    rejects: Rejects = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write chat rows as other tools read them.

    A part of a row that the format cannot carry, such as reasoning in alpaca rows, is an error that names it.
    For preference, the rows are pairs, as `collect --to preference` or other tools write them. For hub-dir,
    -o is a new directory, and each FILE is a split: by a word such as train or test in its name, or as
    SPLIT=FILE.

    \b
    Examples:
      dataprep export mergedata/train.jsonl --to sharegpt -o sharegpt.jsonl
      dataprep export train.jsonl --to llama-factory -o data/mine.jsonl --think-tags
      dataprep export train.jsonl test.jsonl --to hub-dir -o dataset
    """
    from dataprep.datasets.exchange.files import export_files

    summary = Summary("export", quiet=quiet, as_json=as_json)
    files = [path.partition("=")[2] or path for path in inputs] if target == "hub-dir" else inputs
    with bytes_bar("export", files, 1, quiet or as_json) as advance:
        result = export_files(
            inputs,
            output or "-",
            format=target,
            think_tags=think_tags,
            lossy=lossy,
            workers=workers,
            rejects=rejects,
            progress=advance,
        )
    _report(summary, f"export {target}", result, output)


def _report(summary: Summary, name: str, result: Exchange, output: str | None) -> None:
    lines = []
    if result.lost:
        lines.append(f"  lost: {counted(result.lost)}")
    if result.changed:
        lines.append(f"  written differently: {counted(result.changed)}")
    lines += [f"  also written: {path}" for path in result.files]
    summary.add(name, result.ledger, output, facts=result.to_json(), lines=lines)
    summary.finish()
