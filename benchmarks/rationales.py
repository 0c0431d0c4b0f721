"""Measure ``dataprep parse-rationales`` and multiple-choice ``convert`` on 200 MB against bare loops."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.measure import Contender, claim, race, repeat, table

SIZE = 200_000_000


def bench(data: Path, folder: Path, rounds: int) -> bool:
    """Compare with loops that only split at the markers, or only turn fields into a chat row."""
    once, strings = folder / "strings_once.jsonl", folder / "strings.jsonl"
    subprocess.run([sys.executable, "-m", "benchmarks.rivals", "strings", str(data), str(once)], check=True)
    repeat(once, strings, -(-SIZE // once.stat().st_size))
    csqa, questions = data / "commonsense_qa" / "train_rand_split.jsonl", folder / "csqa.jsonl"
    repeat(csqa, questions, -(-SIZE // csqa.stat().st_size))

    def ours(title: str, workers: int, *words: str) -> Contender:
        target = folder / f"{words[0]}{workers}.jsonl"
        command = [sys.executable, "-m", "dataprep", *words, "-o", str(target), "--workers", str(workers)]
        return Contender(f"{title}, workers: {workers}", command, [target])

    def bare(name: str, title: str, source: Path) -> Contender:
        target = folder / f"{name}.jsonl"
        command = [sys.executable, "-m", "benchmarks.rivals", name, str(source), str(target)]
        return Contender(title, command, [target])

    parse = [ours("parse-rationales", workers, "parse-rationales", str(strings)) for workers in (1, 2)]
    split = bare("partition", "bare str.partition loop", strings)
    race([*parse, split], rounds)
    table("parse-rationales, 200 MB of strings", [*parse, split], split.name)
    convert = [
        ours("convert commonsense_qa", workers, "convert", "csqa", str(questions)) for workers in (1, 2)
    ]
    loop = bare("choices", "bare orjson loop", questions)
    race([*convert, loop], rounds)
    table("convert commonsense_qa, 200 MB", [*convert, loop], loop.name)
    print()
    claims = [
        claim("parse-rationales over its loop", parse[0].median / split.median, 2.0, at_least=False),
        claim("parse-rationales, 1 worker over 2", parse[0].median / parse[1].median, 1.5, at_least=True),
        claim("multiple choice over its loop", convert[0].median / loop.median, 1.5, at_least=False),
    ]
    return all(claims)
