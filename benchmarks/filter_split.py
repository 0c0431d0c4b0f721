"""Measure ``dataprep filter`` and ``split`` on chat rows of GSM8K against a bare loop over orjson."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.measure import Contender, claim, race, repeat, table

SIZE = 250_000_000
# A loop as a person writes it: no check of the rows, no place of a bad one, no output that appears whole.
FILTER_LOOP = """
import sys, orjson
with open(sys.argv[1], "rb") as rows, open(sys.argv[2], "wb") as out:
    for line in rows:
        row = orjson.loads(line)
        if sum(len(m["content"]) for m in row["messages"] if m["role"] == "assistant") > 300:
            out.write(line)
"""
SPLIT_LOOP = """
import sys, orjson, hashlib
with open(sys.argv[1], "rb") as rows, open(sys.argv[2], "wb") as train, open(sys.argv[3], "wb") as valid:
    for line in rows:
        key = orjson.loads(line)["id"]
        number = int.from_bytes(hashlib.blake2b(f"42:{key}".encode(), digest_size=16).digest()[:8], "big")
        (train if number < 0.9 * 2**64 else valid).write(line)
"""


def bench(data: Path, folder: Path, rounds: int) -> bool:
    """Compare with the loops, each on one process; then ours on two."""
    chat, large = folder / "chat.jsonl", folder / "large.jsonl"
    convert = [sys.executable, "-m", "dataprep", "convert", "gsm8k", "--with-id", "-q", "-o", str(chat)]
    subprocess.run([*convert, str(data / "gsm8k" / "train.jsonl")], check=True)
    repeat(chat, large, -(-SIZE // chat.stat().st_size))
    kept, loop = folder / "kept.jsonl", folder / "loop.jsonl"
    parts, train, valid = folder / "parts", folder / "train.jsonl", folder / "valid.jsonl"
    ours = [sys.executable, "-m", "dataprep"]
    where = ["--where", "chars(assistant) > 300", "-o", str(kept)]
    shares = ["--parts", "train=0.9,valid=0.1", "-o", str(parts)]

    def contender(name: str, command: list[str], *outputs: Path) -> Contender:
        return Contender(name, command, outputs)

    filters = [
        contender("loop", [sys.executable, "-c", FILTER_LOOP, str(large), str(loop)], loop),
        *(
            contender(
                f"filter --workers {n}", [*ours, "filter", str(large), *where, "--workers", f"{n}"], kept
            )
            for n in (1, 2)
        ),
    ]
    splits = [
        contender(
            "loop", [sys.executable, "-c", SPLIT_LOOP, str(large), str(train), str(valid)], train, valid
        ),
        *(
            contender(
                f"split --workers {n}", [*ours, "split", str(large), *shares, "--workers", f"{n}"], parts
            )
            for n in (1, 2)
        ),
    ]
    claims = []
    for title, contenders in (("filter", filters), ("split", splits)):
        race(contenders, rounds)
        table(f"{title} of {SIZE / 1e6:.0f} MB", contenders, "loop")
        ratio = contenders[1].median / contenders[0].median
        claims.append(claim(f"{title} --workers 1 over a bare loop", ratio, 2.0, at_least=False))
        claims.append(claim(f"peak MB of {title}", contenders[1].peak, 400, at_least=False))
    same = (
        kept.read_bytes() == loop.read_bytes() and (parts / "valid.jsonl").read_bytes() == valid.read_bytes()
    )
    print("the outputs are the same" if same else "THE OUTPUTS DIFFER")
    return all(claims) and same
