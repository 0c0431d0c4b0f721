"""Measure ``dataprep dedup`` on variations of GSM8K's chat rows against loops over other libraries.

``rensa`` and ``datasketch`` estimate similarity, so the rows that they keep are counted against those that a
comparison with all n-grams keeps. Three measurements take minutes each:

- ``python -m benchmarks.dedup short 10000000``: near dedup of so many short rows.
- ``python -m benchmarks.dedup exact 10``: exact dedup of so many GB.
- ``python -m benchmarks.dedup datasketch 374000``: near dedup of so many chat rows beside datasketch.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Contender, claim, race, table

ROWS = 374_000
SLOW_ROWS = 20_000  # for what takes minutes with all rows
NAMES = ("Ann", "Bob", "Carl", "Dina", "Eve", "Finn", "Gus", "Hana", "Ivo", "Jana", "Kim", "Lea", "Max")
THRESHOLD = 0.8
_READ = """
import sys, orjson
from dataprep.curate.texts import tokens_of
def text(line): return "\\n".join(message["content"] for message in orjson.loads(line)["messages"])
def words(line): return text(line).split()
def grams(line):
    found = tokens_of(text(line))
    return {" ".join(found[at : at + 3]) for at in range(len(found) - 2)}
lines = open(sys.argv[1], "rb").readlines() if len(sys.argv) > 2 else []
def write(kept):
    with open(sys.argv[2], "wb") as out:
        out.writelines(line for line, keep in zip(lines, kept) if keep)
"""
EXACT = """
import sys, orjson
seen = set()
with open(sys.argv[1], "rb") as rows, open(sys.argv[2], "wb") as out:
    for line in rows:
        text = "\\n".join(message["content"] for message in orjson.loads(line)["messages"])
        key = hash(" ".join(text.lower().split()))
        if key not in seen:
            seen.add(key)
            out.write(line)
"""
# The loop of rensa's README, with words as there, and with the n-grams that `dedup` compares.
RENSA = """
from rensa import RMinHashDeduplicator
index = RMinHashDeduplicator(threshold=0.8, num_perm=128, use_lsh=True)
write(index.add_pairs((str(number), {tokens}(line)) for number, line in enumerate(lines)))
"""
# The loop of datasketch's README; the sketches are made on two processes.
DATASKETCH = """
from multiprocessing import Pool
from datasketch import MinHash, MinHashLSH
def sketch(line):
    found = MinHash(num_perm=128)
    found.update_batch([gram.encode() for gram in grams(line)])
    return found
if __name__ == "__main__":
    index, kept = MinHashLSH(threshold=0.8, num_perm=128), []
    with Pool(2) as pool:
        for number, found in enumerate(pool.imap(sketch, lines, 500)):
            kept.append(not index.query(found))
            if kept[-1]:
                index.insert(number, found)
    write(kept)
"""
# Each row in turn against all kept rows that share an n-gram with it: no estimate, and no pair left out.
BRUTE = """
from collections import Counter, defaultdict
index, sizes, kept = defaultdict(list), [], []
for number, line in enumerate(lines):
    found = grams(line)
    shared = Counter(other for gram in found for other in index[gram])
    sizes.append(len(found))
    kept.append(all(n / (len(found) + sizes[other] - n) < 0.8 for other, n in shared.items()))
    if kept[-1]:
        for gram in found:
            index[gram].append(number)
write(kept)
"""


def bench(data: Path, folder: Path, rounds: int) -> bool:
    """Compare exact and near deduplication with the loops, and with brute force."""
    large, small = folder / "large.jsonl", folder / "small.jsonl"
    write_variations(data / "gsm8k" / "train.jsonl", large, ROWS)
    write_variations(data / "gsm8k" / "train.jsonl", small, SLOW_ROWS)
    exact = [_loop(folder, "loop", EXACT, large), *(_ours(folder, large, n) for n in (1, 2))]
    race(exact, rounds)
    table(f"exact dedup of {ROWS:,} chat rows", exact, "loop")
    near = [
        _loop(folder, "rensa, its n-grams", _READ + RENSA.format(tokens="grams"), large),
        _loop(folder, "rensa, words", _READ + RENSA.format(tokens="words"), large),
        _ours(folder, large, 2, near=True),
    ]
    race(near, rounds)
    table(f"near dedup of {ROWS:,} chat rows", near, near[0].name)
    slow = [_loop(folder, "datasketch", _READ + DATASKETCH, small), _ours(folder, small, 2, near=True)]
    race(slow, min(rounds, 2))
    table(f"near dedup of {SLOW_ROWS:,} chat rows", slow, "datasketch")
    ratio = {
        name: rival.median / near[2].median for name, rival in zip(("ngrams", "words"), near[:2], strict=True)
    }
    claims = [
        claim("exact dedup over a bare loop", exact[1].median / exact[0].median, 1.5, at_least=False),
        claim("rensa with the same n-grams over near dedup", ratio["ngrams"], 1.0, at_least=True),
        claim("rensa's own loop over words over near dedup", ratio["words"], 1.0, at_least=True),
        claim("datasketch over near dedup", slow[0].median / slow[1].median, 10, at_least=True),
        *_quality(folder, small, slow),
    ]
    return all(claims)


def _quality(folder: Path, small: Path, slow: list[Contender]) -> list[bool]:
    """Compare the rows that are dropped with those that brute force drops."""
    brute = _loop(folder, "brute force", _READ + BRUTE, small)
    brute.run()
    dropped = {}
    for contender in (brute, *slow):
        kept = {json.loads(line)["id"] for line in contender.outputs[0].open("rb")}
        dropped[contender.name] = set(map(str, range(SLOW_ROWS))) - kept
    expected = dropped.pop("brute force")
    claims = []
    for name, found in dropped.items():
        right = len(found & expected)
        print(f"- {name}: precision {right / len(found):.4f}, recall {right / len(expected):.4f}")
        if name != "datasketch":
            claims.append(claim(f"precision of {name}", right / len(found), 0.99, at_least=True))
            claims.append(claim(f"recall of {name}", right / len(expected), 0.99, at_least=True))
    return claims


def _loop(folder: Path, name: str, program: str, rows: Path) -> Contender:
    output = folder / f"{name}-{rows.name}"
    script = folder / f"loop of {name}.py"  # a file, because processes that are spawned load it again
    script.write_text(program)
    return Contender(
        name, [sys.executable, str(script), str(rows), str(output)], [output], {"PYTHONPATH": str(Path.cwd())}
    )


def _ours(folder: Path, rows: Path, workers: int, *, near: bool = False) -> Contender:
    output = folder / f"ours{workers}-{rows.name}"
    flags = ["--near", str(THRESHOLD)] if near else []
    words = ["dedup", str(rows), "-o", str(output), "--workers", str(workers), "-q", "--no-manifest", *flags]
    name = " ".join(["dedup", *flags, "--workers", str(workers)])
    return Contender(name, [sys.executable, "-m", "dataprep", *words], [output])


def write_variations(source: Path, target: Path, count: int) -> None:
    """Write chat rows of GSM8K, and then the same ones with up to eight words replaced by names."""
    rng = random.Random(1)

    def vary(text: str, words: int) -> str:
        found = text.split(" ")
        for _ in range(words):
            found[rng.randrange(len(found))] = rng.choice(NAMES)
        return " ".join(found)

    number = 0
    with target.open("w") as out:
        while number < count:
            for line in source.open("rb"):
                if number == count:
                    break
                row, words = json.loads(line), rng.choice([0, 1, 1, 2, 3, 5, 8])
                messages = [
                    {"role": "user", "content": vary(row["question"], words)},
                    {"role": "assistant", "content": vary(row["answer"], words // 2)},
                ]
                out.write(json.dumps({"messages": messages, "id": str(number)}) + "\n")
                number += 1


def write_short(target: Path, count: int) -> None:
    """Write rows of 8 to 40 words, of which a fifth are others with a word changed."""
    rng = random.Random(3)
    words = [a + b + c for a in "bcdfghklmnprst" for b in "aeiou" for c in "bdfgklmnprstx"]
    base: list[list[str]] = []
    with target.open("w") as out:
        for number in range(count):
            if base and rng.random() < 0.2:
                text = list(rng.choice(base))
                text[rng.randrange(len(text))] = rng.choice(words)
            else:
                text = rng.choices(words, k=rng.randint(8, 40))
                if len(base) < 200_000:
                    base.append(text)
            out.write(json.dumps({"id": number, "question": " ".join(text)}) + "\n")


def write_numbered(source: Path, target: Path, gigabytes: int) -> None:
    """Write chat rows of GSM8K again and again with the number of the pass; a fifth repeat half of it."""
    rows = [json.loads(line) for line in source.open("rb")]
    number, size = 0, 0
    with target.open("wb") as out:
        while size < gigabytes * 10**9:
            for row in rows:
                times = number // len(rows) // (1 if number % 5 else 2)
                messages = [
                    {"role": "user", "content": f"Question {times}. {row['question']}"},
                    {"role": "assistant", "content": row["answer"]},
                ]
                line = json.dumps({"messages": messages, "id": str(number)}).encode() + b"\n"
                size += out.write(line)
                number += 1


def measure_short(folder: Path, count: int) -> None:
    """Print time and memory of near dedup of short rows."""
    rows = folder / "short.jsonl"
    _in_another_process(f"write_short(Path({str(rows)!r}), {count})")
    contender = _ours(folder, rows, 2, near=True)
    race([contender], 1)
    table(f"near dedup of {count:,} short rows", [contender], contender.name)
    claim("peak MB of near dedup", contender.peak, 2000, at_least=False)


def measure_exact(folder: Path, gigabytes: int) -> None:
    """Print time and memory of exact dedup of a large file."""
    rows = folder / "numbered.jsonl"
    _in_another_process(f"write_numbered(Path({str(_train())!r}), Path({str(rows)!r}), {gigabytes})")
    contender = _ours(folder, rows, 2)
    race([contender], 1)
    table(f"exact dedup of {gigabytes} GB", [contender], contender.name)
    claim("peak MB of exact dedup", contender.peak, 1000, at_least=False)


def measure_datasketch(folder: Path, count: int) -> None:
    """Print time and memory of near dedup of chat rows, and of datasketch."""
    rows = folder / "chat.jsonl"
    _in_another_process(f"write_variations(Path({str(_train())!r}), Path({str(rows)!r}), {count})")
    contenders = [_loop(folder, "datasketch", _READ + DATASKETCH, rows), _ours(folder, rows, 2, near=True)]
    race(contenders, 1)
    table(f"near dedup of {count:,} chat rows", contenders, "datasketch")
    ratio = contenders[0].median / contenders[1].median
    claim("datasketch over near dedup", ratio, 10, at_least=True)


def _train() -> Path:
    return Path(os.environ.get("DATAPREP_REAL_DATA", "../shared/data")) / "gsm8k" / "train.jsonl"


def _in_another_process(program: str) -> None:
    # A process starts with the peak memory of its parent.
    program = f"from pathlib import Path; from benchmarks.dedup import *; {program}"
    subprocess.run([sys.executable, "-c", program], check=True)


if __name__ == "__main__":
    kinds = {"short": measure_short, "exact": measure_exact, "datasketch": measure_datasketch}
    with tempfile.TemporaryDirectory(prefix="dataprep-bench-") as name:
        kinds[sys.argv[1]](Path(name), int(sys.argv[2]))
