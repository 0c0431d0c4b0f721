"""Measure what manifests add to ``convert`` and ``merge`` on GSM8K's train split, 50 times."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.measure import Contender, claim, race, repeat, table

COPIES = 50


def bench(data: Path, folder: Path, rounds: int) -> bool:
    """Compare each command with itself under ``--no-manifest``."""
    source, chat = folder / "source.jsonl", folder / "chat.jsonl"
    repeat(data / "gsm8k" / "train.jsonl", source, COPIES)

    def command(name: str, words: list[str], target: Path, *flags: str) -> Contender:
        line = [sys.executable, "-m", "dataprep", *words, "-o", str(target), "--workers", "2", *flags]
        return Contender(" ".join([name, *flags]), line, [target])

    convert = ["convert", "gsm8k", str(source)]
    # Its manifest stays, from which `merge` takes the digest of its input.
    command("convert", convert, chat).run()
    claims = []
    for name, words in (("convert", convert), ("merge", ["merge", str(chat)])):
        target = folder / f"{name}.jsonl"
        bare, recorded = command(name, words, target, "--no-manifest"), command(name, words, target)
        race([bare, recorded], rounds)
        table(f"{name}, 373,650 rows, 2 workers", [recorded, bare], bare.name)
        ratio = recorded.median / bare.median
        claims.append(claim(f"{name} with a manifest over the same without", ratio, 1.1, at_least=False))
    return all(claims)
