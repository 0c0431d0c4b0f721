"""``dataprep mix``."""

from __future__ import annotations

from pathlib import Path

from dataprep.cli.console import Summary
from dataprep.cli.options import AsJson, Output, Quiet, Rejects, Workers, argument, flag
from dataprep.cli.progress import bytes_bar
from dataprep.core.errors import UsageError


def command(
    inputs: list[str] = argument(
        ..., "Files of rows with their weights; - is standard input.", "FILE[=WEIGHT]..."
    ),
    output: Output = None,
    total: int | None = flag(None, "Rows to write.  [default: the most possible]", "N"),
    temperature: float = flag(1.0, "Shares are proportional to WEIGHT ** (1 / T).", "T"),
    repeat_at_most: int = flag(1, "How often a row may be taken.", "K"),
    seed: int = flag(42, "Seed of the order.", "N"),
    dry_run: bool = flag(False, "Show the shares and write nothing.", "--dry-run"),
    workers: Workers = None,
    rejects: Rejects = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Mix files in exact shares, reproducibly.

    Each file gets its share within one row. A file without WEIGHT weighs its number of rows. Without
    --total, the mixture is the largest in which no row is more than --repeat-at-most times. If there are too
    few rows for --total, the command says how many are possible. Rows keep their bytes.

    \b
    Examples:
      dataprep mix math.jsonl=0.7 code.jsonl=0.3 -o mixed.jsonl
      dataprep mix math.jsonl=3 code.jsonl=1 --total 10000 --repeat-at-most 4 -o mixed.jsonl
      dataprep mix a.jsonl b.jsonl --temperature 2 --dry-run
    """
    from dataprep.curate.mix import mix_files

    summary = Summary("mix", quiet=quiet, as_json=as_json)
    weights = _weights(inputs)
    with bytes_bar("mix", list(weights), 2, quiet or as_json) as advance:
        result = mix_files(
            weights,
            output or "-",
            total=total,
            temperature=temperature,
            repeat_at_most=repeat_at_most,
            seed=seed,
            workers=workers,
            rejects=rejects,
            progress=advance,
            dry_run=dry_run,
        )
    lines = [
        f"  {source.path}: {source.rows:,} rows, weight {source.weight:g}, share {source.share:.2%}, "
        f"{source.drawn:,} drawn, {source.drawn / source.rows:.2f} times"
        for source in result.sources
        if source.rows
    ]
    facts = {"sources": [source.to_json() for source in result.sources]}
    note = "nothing is written: " if dry_run else ""
    summary.add("mix", result.ledger, output, note=note, facts=facts, lines=lines)
    summary.finish()


def _weights(inputs: list[str]) -> dict[str, float | None]:
    """Return the weight of each file; a name that is a file as it stands has none."""
    weights: dict[str, float | None] = {}
    for text in inputs:
        path, equals, number = text.rpartition("=")
        weight: float | None = None
        if not equals or Path(text).exists():
            path = text
        else:
            try:
                weight = float(number)
            except ValueError:
                raise UsageError(
                    f"{text}: found the weight {number!r}; expected a number, as in {path}=0.7"
                ) from None
        if path in weights:
            raise UsageError(f"{path} is given twice: give it once, with the sum of its weights")
        weights[path] = weight
    return weights
