"""Run benchmark suites: ``python -m benchmarks [SUITE…] [--rounds N]``.

All suites run if none is named. They repeat the published datasets, which they look for in the folder that
``DATAPREP_REAL_DATA`` names (default ``../shared/data``). Output goes to a temporary folder in ``TMPDIR``.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from pathlib import Path

from benchmarks import (
    cluster,
    convert,
    decontaminate,
    dedup,
    diff,
    exchange,
    filter_split,
    generate,
    manifests,
    memory,
    merge,
    mix,
    rationales,
    startup,
    templates,
    tokens,
    train,
    train_logits,
    view,
)

SUITES = {
    "startup": startup.bench,
    "convert": convert.bench,
    "exchange": exchange.bench,
    "decontaminate": decontaminate.bench,
    "dedup": dedup.bench,
    "diff": diff.bench,
    "merge": merge.bench,
    "manifests": manifests.bench,
    "mix": mix.bench,
    "filter_split": filter_split.bench,
    "rationales": rationales.bench,
    "generate": generate.bench,
    "tokens": tokens.bench,
    "templates": templates.bench,
    "train": train.bench,
    "logits": train_logits.bench,
    "memory": memory.bench,
    "view": view.bench,
    "cluster": cluster.bench,
}


def main() -> None:
    """Run the given suites, and exit with 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suites", nargs="*", choices=[*SUITES, []], help="default: all")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each contender")
    arguments = parser.parse_args()
    data = Path(os.environ.get("DATAPREP_REAL_DATA", "../shared/data"))
    if not (data / "gsm8k" / "train.jsonl").is_file():
        sys.exit(
            f"no gsm8k/train.jsonl in {data}: set DATAPREP_REAL_DATA to a folder with the published sets"
        )
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, medians of {arguments.rounds} rounds")
    met = True
    with tempfile.TemporaryDirectory(prefix="dataprep-bench-") as folder:
        for name in arguments.suites or SUITES:
            met &= SUITES[name](data, Path(folder), arguments.rounds)
    sys.exit(not met)


if __name__ == "__main__":
    main()
