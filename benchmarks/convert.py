"""Measure ``dataprep convert`` on GSM8K's train split, 50 times: 373,650 rows, 208 MB."""

from __future__ import annotations

import filecmp
import sys
from pathlib import Path

from benchmarks.measure import Contender, claim, race, repeat, table

COPIES = 50


def bench(data: Path, folder: Path, rounds: int) -> bool:
    """Compare with datasets, polars, and hand-written loops."""
    source = folder / "gsm8k_train_x50.jsonl"
    repeat(data / "gsm8k" / "train.jsonl", source, COPIES)

    def ours(workers: int) -> Contender:
        target = folder / f"dataprep{workers}.jsonl"
        command = [sys.executable, "-m", "dataprep", "convert", "gsm8k", str(source), "-o", str(target)]
        return Contender(f"dataprep, workers: {workers}", [*command, "--workers", str(workers)], [target])

    def rival(name: str, title: str) -> Contender:
        target = folder / f"{name}.jsonl"
        command = [sys.executable, "-m", "benchmarks.rivals", name, str(source), str(target)]
        return Contender(title, command, [target])

    target, cache = folder / "datasets.jsonl", folder / "cache"
    command = [sys.executable, "-m", "benchmarks.rivals", "datasets_map", str(source), str(target)]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home")}
    hub = Contender(
        "datasets map + to_json, 2 processes", [*command, "2", str(cache)], [target, cache], offline
    )
    one, two = ours(1), ours(2)
    bare = rival("orjson", "bare orjson loop, 1 process")
    scripts = [rival("polars", "polars expressions"), rival("json", "json script, 1 process")]
    race([one, two, bare, *scripts], rounds)
    race([hub], max(1, rounds // 3))
    _same([folder / f"{name}.jsonl" for name in ("dataprep1", "dataprep2", "orjson")])
    table("convert gsm8k, 373,650 rows, 208 MB", [one, two, bare, *scripts, hub], bare.name)
    print()
    claims = [
        claim("datasets over dataprep, both with 2 processes", hub.median / two.median, 15, at_least=True),
        claim("dataprep with 1 worker over the bare loop", one.median / bare.median, 1.7, at_least=False),
        claim("1 worker over 2 workers", one.median / two.median, 1.7, at_least=True),
        claim("peak MB of any process", max(one.peak, two.peak), 150, at_least=False),
    ]
    return all(claims)


def _same(paths: list[Path]) -> None:
    """Check that all contenders wrote the same rows."""
    for path in paths[1:]:
        if not filecmp.cmp(paths[0], path, shallow=False):
            sys.exit(f"{path.name} is not {paths[0].name}")
