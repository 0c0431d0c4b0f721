"""``dataprep mix``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dataprep.cli.console import Summary
from dataprep.cli.options import AsJson, Output, Quiet, Rejects, Workers, argument, flag
from dataprep.cli.progress import bytes_bar
from dataprep.core.errors import UsageError
from dataprep.core.urls import is_url

if TYPE_CHECKING:
    from dataprep.tokens.shards.mixture import MixedSource

_DRY = "nothing is written: "
Weights = dict[str, float | list[float] | None]


def command(
    inputs: list[str] = argument(
        ...,
        "Files of rows, or directories of token shards, with their weights; - is standard input.",
        "FILE[=WEIGHT]...",
    ),
    output: Output = None,
    total: int | None = flag(None, "Rows or documents to write.  [default: the most possible]", "N"),
    tokens: int | None = flag(None, "Tokens to write, instead of --total; shares are then of tokens.", "N"),
    tokenizer: str | None = flag(
        None, "For --tokens of rows: a tokenizer's file or a model directory.", "PATH"
    ),
    on: str = flag(
        "messages", "For --tokens of rows: the part to count: messages, a role, or a field.", "PART"
    ),
    temperature: float = flag(1.0, "Shares are proportional to WEIGHT ** (1 / T).", "T"),
    repeat_at_most: int = flag(1, "How often a row or document may be taken.", "K"),
    seed: int = flag(42, "Seed of the order.", "N"),
    dry_run: bool = flag(False, "Show the shares and write nothing.", "--dry-run"),
    workers: Workers = None,
    rejects: Rejects = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Mix files or token shards in exact shares, reproducibly.

    Each file gets its share within one row. A file without WEIGHT weighs its number of rows. Without
    --total, the mixture is the largest in which no row is more than --repeat-at-most times. If there are too
    few rows for --total, the command says how many are possible. Rows keep their bytes.

    With --tokens N the mixture has about N tokens, and shares are shares of tokens: each file gives as many
    rows as come nearest to its share.

    A mixture of directories of token shards is a directory too, which `dataprep train` reads. It holds the
    order alone: no token is copied. Weights with commas between them are those of the first epoch, of the
    second, and so on; the last one stays, and --total and --tokens are those of one epoch.

    \b
    Examples:
      dataprep mix math.jsonl=0.7 code.jsonl=0.3 -o mixed.jsonl
      dataprep mix math.jsonl=3 code.jsonl=1 --total 10000 --repeat-at-most 4 -o mixed.jsonl
      dataprep mix a.jsonl b.jsonl --temperature 2 --dry-run
      dataprep mix a.jsonl=1 b.jsonl=1 --tokens 1000000 --tokenizer llama3.model -o mixed.jsonl
      dataprep mix tokens/math=0.7 tokens/code=0.3 -o tokens/mixed
      dataprep mix tokens/math=0.8,0.5 tokens/code=0.2,0.5 --total 10000 -o tokens/by-epoch
    """
    summary = Summary("mix", quiet=quiet, as_json=as_json)
    weights = _weights(inputs)
    options: dict[str, Any] = {"total": total, "tokens": tokens, "temperature": temperature, "seed": seed}
    options |= {"repeat_at_most": repeat_at_most, "dry_run": dry_run}
    if _are_shards(weights):
        for name, value in (("--rejects", rejects), ("--tokenizer", tokenizer)):
            if value is not None:
                raise UsageError(
                    f"{name} is for files of rows: token shards have sound and counted documents"
                )
        _mix_shards(summary, weights, output, options)
    else:
        if tokenizer is not None and tokens is None:
            raise UsageError("--tokenizer counts the tokens of rows for --tokens: give both or neither")
        options |= {"on": on, "workers": workers, "rejects": rejects}
        with bytes_bar("mix", list(weights), 2, quiet or as_json) as progress:
            _mix_files(summary, weights, output, tokenizer, options | {"progress": progress})
    summary.finish()


def _weights(inputs: Sequence[str]) -> Weights:
    """Return the weight or weights of each input; a name that exists as it stands has none."""
    from dataprep.core.io import exists

    weights: Weights = {}
    for text in inputs:
        path, equals, given = text.rpartition("=")
        weight: float | list[float] | None = None
        if not equals or exists(text):
            path = text
        else:
            try:
                numbers = [float(number) for number in given.split(",")]
            except ValueError:
                expected = f"expected a number, as in {path}=0.7"
                raise UsageError(f"{text}: found the weight {given!r}; {expected}") from None
            weight = numbers if len(numbers) > 1 else numbers[0]
        if path in weights:
            raise UsageError(f"{path} is given twice: give it once, with the sum of its weights")
        weights[path] = weight
    return weights


def _are_shards(weights: Weights) -> bool:
    """Return whether the inputs are directories of token shards; raise ``UsageError`` if only some are."""
    from dataprep.core.io import files_of, is_folder
    from dataprep.tokens.shards.manifest import is_shards

    def is_of_shards(path: str) -> bool:
        # A folder of parts is rows. Of a folder without a manifest, opening it says what is missing.
        if is_shards(path):
            return True
        return not is_url(path) and is_folder(path) and files_of(path) == [path]

    folders = [path for path in weights if is_of_shards(path)]
    rows = [path for path in weights if path not in folders]
    if folders and rows:
        raise UsageError(
            f"{folders[0]} is a directory, and {rows[0]} a file of rows: mix files, or directories of token "
            f"shards, which `dataprep tokenize {rows[0]} -o DIR` makes of rows"
        )
    for path in rows:
        if isinstance(weights[path], list):
            raise UsageError(f"{path}: found several weights; those of epochs are for directories of shards")
    return bool(folders)


def _mix_files(
    summary: Summary, weights: Any, output: str | None, tokenizer: str | None, options: dict[str, Any]
) -> None:
    from dataprep.curate.mix import mix_files

    encode = None
    if tokenizer is not None:
        from dataprep.tokens.tokenizers.loading import load_tokenizer

        encode = load_tokenizer(tokenizer).encode
    result = mix_files(weights, output or "-", encode=encode, **options)
    lines = []
    for source in result.sources:
        counted = "" if source.tokens is None else f" with {source.tokens:,} tokens"
        lines.append(
            f"  {source.path}: {source.rows:,} rows, weight {source.weight:g}, share {source.share:.2%}, "
            f"{source.drawn:,} drawn{counted}, {source.times:.2f} times"
        )
    facts = {"sources": [source.to_json() for source in result.sources]}
    note = _DRY if options["dry_run"] else ""
    summary.add("mix", result.ledger, output, note=note, facts=facts, lines=lines)


def _mix_shards(summary: Summary, weights: Any, output: str | None, options: dict[str, Any]) -> None:
    from dataprep.tokens.shards.mixture import mix_shards

    if output == "-" or (output is None and not options["dry_run"]):
        raise UsageError("a mixture of token shards is a directory: name it with -o DIR")
    result = mix_shards(weights, output, **options)
    note = _DRY if options["dry_run"] else ""
    facts = {"epochs": len(result.counts), "sources": [source.to_json() for source in result.sources]}
    lines = [*map(_line, result.sources)]
    summary.add("mix", result.ledger, output, note=note, facts=facts, lines=lines)


def _line(source: MixedSource) -> str:
    s = "s" if len(source.weights) > 1 else ""
    weights, shares = _joined(source.weights, "g"), _joined(source.shares, ".2%")
    counted = "" if source.tokens is None else f" with {_joined(source.tokens, ',')} tokens"
    return (
        f"  {source.path}: {source.documents:,} documents, weight{s} {weights}, share{s} {shares}, "
        f"{_joined(source.drawn, ',')} drawn{counted}, {source.times:.2f} times"
    )


def _joined(values: Sequence[float], form: str) -> str:
    return " / ".join(format(value, form) for value in values)
