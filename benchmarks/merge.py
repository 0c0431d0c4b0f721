"""Measure ``dataprep merge`` on 1.2 GB: 1.5 million chat rows of GSM8K."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.measure import Contender, claim, race, repeat, table

LARGE = 1_200_000_000
SMALL = 290_000_000


def bench(data: Path, folder: Path, rounds: int) -> bool:
    """Compare with GNU shuf on 1.2 GB, and with datasets on 0.29 GB."""
    large, small = folder / "large.jsonl", folder / "small.jsonl"
    chat = folder / "chat.jsonl"
    convert = [sys.executable, "-m", "dataprep", "convert", "gsm8k", "-q", "-o", str(chat)]
    subprocess.run([*convert, str(data / "gsm8k" / "train.jsonl")], check=True)
    size = chat.stat().st_size
    repeat(chat, large, -(-LARGE // size))
    repeat(chat, small, -(-SMALL // size))

    def ours(title: str, source: Path, *flags: str) -> Contender:
        target = folder / "merged.jsonl"
        command = [sys.executable, "-m", "dataprep", "merge", str(source), "-o", str(target), *flags]
        return Contender(title, command, [target])

    fast = ours("dataprep --no-check", large, "--no-check")
    checked = ours("dataprep", large)
    disk = ours("dataprep --no-check --memory 256M", large, "--no-check", "--memory", "256M")
    shuffled = folder / "shuf.jsonl"
    shuf = Contender(
        "GNU shuf", [shutil.which("shuf") or "shuf", str(large), "-o", str(shuffled)], [shuffled]
    )
    race([fast, checked, disk, shuf], rounds)
    table("merge of 1.2 GB, 1.5 million rows", [fast, checked, disk, shuf], shuf.name)
    large.unlink()
    shuffled.unlink()

    target, cache = folder / "datasets.jsonl", folder / "cache"
    command = [sys.executable, "-m", "benchmarks.rivals", "datasets_shuffle", str(small), str(target)]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home")}
    hub = Contender("datasets shuffle + to_json", [*command, "2", str(cache)], [target, cache], offline)
    short = ours("dataprep, 0.29 GB", small)
    race([short], rounds)
    race([hub], max(1, rounds // 3))
    table("merge of 293 MB", [short, hub], short.name)
    print()
    claims = [
        claim("--no-check over shuf", fast.median / shuf.median, 1.0, at_least=False),
        claim("with the check over shuf", checked.median / shuf.median, 1.5, at_least=False),
        claim("datasets over dataprep", hub.median / short.median, 8, at_least=True),
        claim("peak MB with --memory 256M", disk.peak, 400, at_least=False),
    ]
    return all(claims)
