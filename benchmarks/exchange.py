"""Measure ``dataprep import`` and ``export`` on chat rows of GSM8K: 373,650 rows, 287 MB."""

from __future__ import annotations

import filecmp
import subprocess
import sys
from pathlib import Path

from benchmarks.measure import Contender, claim, race, repeat, table

COPIES = 50
ROWS = 7_473 * COPIES
BOTH = ("sharegpt", "alpaca", "openai", "prompt-completion")
WRITTEN = ("trl", "axolotl", "llama-factory")


def bench(data: Path, folder: Path, rounds: int) -> bool:
    """Time each format with two workers, and compare one with a bare loop."""
    chat, source = folder / "chat.jsonl", folder / "chats.jsonl"
    program = [sys.executable, "-m", "dataprep"]
    convert = [*program, "convert", "gsm8k", "-q", "-o", str(chat), str(data / "gsm8k" / "train.jsonl")]
    subprocess.run(convert, check=True)
    repeat(chat, source, COPIES)

    def ours(verb: str, name: str, rows: Path, target: Path) -> Contender:
        flag = "--to" if verb == "export" else "--from"
        command = [*program, verb, str(rows), flag, name, "-o", str(target), "-q", "--workers", "2"]
        return Contender(f"{verb} {name}, workers: 2", command, [target])

    exports, imports = [], []
    for name in BOTH + WRITTEN:
        target, back = folder / f"{name}.jsonl", folder / f"{name}-back.jsonl"
        exports.append(ours("export", name, source, target))
        if name in BOTH:
            imports.append(ours("import", name, target, back))
    loop = folder / "loop.jsonl"
    command = [sys.executable, "-m", "benchmarks.rivals", "sharegpt", str(source), str(loop)]
    bare = Contender("bare orjson loop to sharegpt, 1 process", command, [loop])
    race([*exports, *imports, bare], rounds)
    for name in BOTH:
        _same(folder / f"{name}-back.jsonl", source)
    _same(loop, folder / "sharegpt.jsonl")
    table(f"formats of other tools, {ROWS:,} rows, 287 MB", [*exports, *imports, bare], bare.name)
    print()
    slowest = max([*exports, *imports], key=lambda each: each.median)
    claims = [
        claim(f"thousand rows a second, {slowest.name}", ROWS / slowest.median / 1000, 200, at_least=True),
        claim("export sharegpt over the bare loop", exports[0].median / bare.median, 1.0, at_least=False),
        claim("peak MB of any process", max(each.peak for each in exports + imports), 150, at_least=False),
    ]
    return all(claims)


def _same(path: Path, expected: Path) -> None:
    if not filecmp.cmp(path, expected, shallow=False):
        sys.exit(f"{path.name} is not {expected.name}")
