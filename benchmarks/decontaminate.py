"""Measure ``dataprep decontaminate``: 374,000 chat rows of GSM8K against 8,000 test rows of several sets.

The rival is a loop that many write for this purpose, on one core: the words of a row, divided at white space,
as a set of 13-grams. Both look for the same planted questions, to see what they find.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.measure import Contender, claim, race, repeat, table

ROWS, TESTS = 374_000, 8_000
SETS = {
    "gsm8k": "gsm8k/test.jsonl",
    "squad": "squad/dev-v2.0.json",
    "commonsense_qa": "commonsense_qa/dev_rand_split.jsonl",
    "mbpp": "mbpp/mbpp.jsonl",
    "aqua_rat": "aqua_rat/test.json",
}
LIMITS = {"verbatim": 100.0, "wrapped": 99.0, "inside": 99.0, "changed": 80.0}


def bench(data: Path, folder: Path, rounds: int) -> bool:
    """Compare times on all rows, and the planted questions that are found."""
    chat, large, tests = folder / "chat.jsonl", folder / "large.jsonl", folder / "tests.jsonl"
    _dataprep("convert", "gsm8k", data / "gsm8k" / "train.jsonl", "-q", "-o", chat)
    repeat(chat, large, -(-ROWS // sum(1 for _ in chat.open("rb"))))
    _write_tests(data, folder, tests)
    target = folder / "clean.jsonl"

    def ours(name: str, *flags: str) -> Contender:
        command = [sys.executable, "-m", "dataprep", "decontaminate", str(large), "--against", str(tests)]
        return Contender(name, [*command, "-o", str(target), *flags], [target])

    every, one = ours("dataprep"), ours("dataprep --workers 1", "--workers", "1")
    exact = ours("dataprep --workers 1 --near 0", "--workers", "1", "--near", "0")
    loop = [sys.executable, "-m", "benchmarks.rivals", "ngram_loop", str(large), str(target), str(tests)]
    rival = Contender("a loop over sets of 13-grams", loop, [target])
    race([every, one, exact, rival], rounds)
    table(f"decontaminate {ROWS:,} rows against {TESTS:,}", [every, one, exact, rival], every.name)
    large.unlink()
    print("\n| planted questions of GSM8K | dataprep found | the loop found |")
    print("| --- | ---: | ---: |")
    claims = [claim_of for way, limit in LIMITS.items() for claim_of in [_planted(data, folder, way, limit)]]
    print()
    claims += [
        claim("seconds", every.median, 60, at_least=False),
        claim("peak MB of a process", every.peak, 500, at_least=False),
    ]
    return all(claims)


def _dataprep(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "dataprep", *map(str, arguments)], check=True)


def _write_tests(data: Path, folder: Path, target: Path) -> None:
    part, lines = folder / "part.jsonl", list[bytes]()
    for name, path in SETS.items():
        _dataprep("convert", name, data / path, "--to", "example", "-q", "-o", part)
        lines += part.read_bytes().splitlines(keepends=True)
    _dataprep("convert", "commonsense_qa", data / "commonsense_qa" / "train_rand_split.jsonl",
              "--to", "example", "-q", "-o", part)  # fmt: skip
    lines += part.read_bytes().splitlines(keepends=True)
    target.write_bytes(b"".join(lines[:TESTS]))


def _planted(data: Path, folder: Path, way: str, limit: float) -> bool:
    """Print the share of planted questions that each finds, and return whether ours is large enough."""
    from tests.curate import contamination_texts as texts

    test, train, kept, found = (folder / f"{name}.jsonl" for name in ("test", "train", "kept", "found"))
    test.write_bytes((data / "gsm8k" / "test.jsonl").read_bytes())
    questions = [json.loads(line)["question"] for line in test.open(encoding="utf-8")]
    put = next(put for put in texts.WAYS if put.__name__ == way)
    rows: Any = texts.planted(questions, put)  # type: ignore[no-untyped-call]
    train.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    _dataprep("decontaminate", train, "--against", test, "-o", kept, "--found", found, "-q")
    loop = ["benchmarks.rivals", "ngram_loop", str(train), str(kept), str(test)]
    ours = 100 * sum(1 for _ in found.open("rb")) / len(questions)
    subprocess.run([sys.executable, "-m", *loop], check=True)
    theirs = 100 * (1 - sum(1 for _ in kept.open("rb")) / len(questions))
    print(f"| {way} | {ours:.1f} % | {theirs:.1f} % |")
    return ours >= limit
