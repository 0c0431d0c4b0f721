"""Measure ``dataprep diff`` of two files of chat rows against two dictionaries of rows."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import orjson

from benchmarks.dedup import write_variations
from benchmarks.measure import Contender, claim, race, table

ROWS = 374_000
# As a person writes it who keeps all rows in memory: no place of a bad row, no duplicates.
BY_ID = """
import sys, orjson
a, b = ({row["id"]: row for row in map(orjson.loads, open(path, "rb"))} for path in sys.argv[1:3])
both = a.keys() & b.keys()
changed = [name for name in both if a[name] != b[name]]
fields = {}
for name in changed:
    for field in a[name].keys() | b[name].keys():
        if a[name].get(field) != b[name].get(field):
            fields[field] = fields.get(field, 0) + 1
print(len(both) - len(changed), len(changed), len(a.keys() - both), len(b.keys() - both))
"""
# And one who thought of memory, and of duplicates.
BY_CONTENT = """
import sys, orjson
from collections import Counter
from hashlib import blake2b
def digest(line):
    content = orjson.dumps(orjson.loads(line), option=orjson.OPT_SORT_KEYS)
    return blake2b(content, digest_size=16).digest()
a, b = (Counter(map(digest, open(path, "rb"))) for path in sys.argv[1:3])
print((a & b).total(), 0, (a - b).total(), (b - a).total())
"""


def bench(data: Path, folder: Path, rounds: int) -> bool:
    """Compare with the loops, each on one process; then ours on two."""
    old, new = folder / "old.jsonl", folder / "new.jsonl"
    write_variations(data / "gsm8k" / "train.jsonl", old, ROWS)
    _write_changed(old, new)
    claims = []
    for by, loop in (("id", BY_ID), ("content", BY_CONTENT)):
        contenders = [
            Contender("loop", [sys.executable, "-c", loop, str(old), str(new)], []),
            *(_ours(old, new, by, workers) for workers in (1, 2)),
        ]
        race(contenders, rounds)
        table(f"diff of {2 * ROWS:,} chat rows by {by}", contenders, "loop")
        first, ours = contenders[:2]
        claims.append(claim(f"diff by {by} over a loop", ours.median / first.median, 2.0, at_least=False))
        claims.append(
            claim(f"memory of diff by {by} over a loop", ours.peak / first.peak, 1.0, at_least=False)
        )
    return all(claims)


def _ours(old: Path, new: Path, by: str, workers: int) -> Contender:
    words = ["diff", str(old), str(new), "--by", by, "--workers", str(workers), "-q"]
    return Contender(f"diff --workers {workers}", [sys.executable, "-m", "dataprep", *words], [])


def _write_changed(old: Path, new: Path) -> None:
    """Write the rows of a file: of a hundred, two changed, one moved, one left out, and one more."""
    rng = random.Random(5)
    later: list[bytes] = []
    # Row by row, because a process that is started begins with the peak memory of this one.
    with old.open("rb") as rows, new.open("wb") as out:
        for number, line in enumerate(rows):
            row, kind = orjson.loads(line), rng.randrange(100)
            if kind < 2:
                row["messages"][1]["content"] += " Checked."
            elif kind == 2:
                row["id"] = f"new-{number}"
            changed = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
            if kind == 3:
                later.append(changed)
                continue
            out.write(changed)
            if len(later) > 1000:
                out.write(later.pop(rng.randrange(len(later))))
        out.writelines(later)
