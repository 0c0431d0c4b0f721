"""Run experiments on real models and write ``docs/results.md``: ``python -m benchmarks.results [NAME…]``.

Needs ``DATAPREP_REAL_DATA`` and ``DATAPREP_REAL_MODELS``. Figures are kept in ``.results/figures``: a run
that was stopped measures only what is missing there. Two experiments run at a time.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from benchmarks.results.choices import choices
from benchmarks.results.keeping import Bench, NotMeasured
from benchmarks.results.scoring import scores
from benchmarks.results.training import path, quantized, rationales, stored

EXPERIMENTS = {
    "scores": ("Small students on few rows", scores),
    "choices": ("CommonsenseQA by likelihood", choices),
    "rationales": ("Rationales of two teachers", rationales),
    "quantized": ("Training for quantization", quantized),
    "stored": ("Stored distributions of a teacher", stored),
    "path": ("From a teacher's answers to a student", path),
}
# Small models gain little from further threads.
AT_ONCE = 2
PACKAGES = ("torch", "transformers", "peft", "torchao", "scikit-learn", "numpy")


def main() -> None:
    """Run all experiments and write the page, or run the named ones and print their sections."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", choices=[*EXPERIMENTS, []], help="printed; default: all, and the page"
    )
    parser.add_argument("--folder", type=Path, default=Path(".results"), help="for runs and figures")
    parser.add_argument("--page", type=Path, default=Path("docs/results.md"))
    parser.add_argument(
        "--archive", type=Path, default=Path("vaderSentiment-0.5.zip"), help="of `scored_sets`"
    )
    parser.add_argument("--measured", action="store_true", help="measure nothing; show what there is")
    arguments = parser.parse_args()
    data, models = (_folder(f"DATAPREP_REAL_{name}") for name in ("DATA", "MODELS"))
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if not arguments.names and not arguments.measured:
        _measure_all(sys.argv[1:])
    sections, seconds = [], 0.0
    for name in arguments.names or EXPERIMENTS:
        title, experiment = EXPERIMENTS[name]
        archive = arguments.archive.absolute() if arguments.archive.is_file() else None
        folder = arguments.folder.absolute()
        bench = Bench(folder, data, models, archive, measures=not arguments.measured)
        try:
            text = experiment(bench)
        except NotMeasured as missing:
            text = f"Not measured yet: {missing}."
        seconds += bench.seconds
        commands = "\n".join(bench.commands)
        shown = f"\n\n```bash\n{commands}\n```" if commands else ""
        sections.append(f"## {title}\n\n{text}{shown}\n")
    if arguments.names:  # a part would replace the whole page
        print("\n".join(sections))
        return
    used = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    head = f"Python {platform.python_version()}, {used}; {os.cpu_count()} processors. "
    head += f"In sum, the measurements took {seconds / 60:.0f} minutes; {AT_ONCE} run at a time."
    arguments.page.write_text("\n".join([INTRODUCTION, head + "\n", *sections]), encoding="utf-8")


def _measure_all(options: Sequence[str]) -> None:
    """Measure each experiment in a process of its own, with its share of the processors."""
    environment = os.environ | {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // AT_ONCE))}

    def measure(name: str) -> int:
        command = [sys.executable, "-m", "benchmarks.results", name, *options]
        return subprocess.run(command, env=environment, check=False).returncode

    with ThreadPoolExecutor(AT_ONCE) as pool:
        if any(list(pool.map(measure, EXPERIMENTS))):
            sys.exit("an experiment failed; the figures of the others are kept")


def _folder(variable: str) -> Path:
    path = Path(os.environ.get(variable, "")).absolute()
    if not os.environ.get(variable) or not path.is_dir():
        sys.exit(f"set {variable} to a folder; found {os.environ.get(variable)!r}")
    return path


INTRODUCTION = """# Results on real models

`make results` runs these experiments and writes this page; a run that was stopped continues. `data` and
`models` in the commands stand for the folders that `DATAPREP_REAL_DATA` and `DATAPREP_REAL_MODELS` name:
published sets, SmolLM2-135M-Instruct and all-MiniLM-L6-v2. Sections with commands need nothing else, but
that `path-rows.jsonl` has the first 24 lines of its source. The first section's splits have seeds 0 to 3.
[Soft labels](soft-labels.md#comparison-on-public-sets) says how they are drawn. Shares have intervals of
95 % (Wilson's). All results stand as they came out. The code is in `benchmarks/results`;
[benchmarks](benchmarks.md) has speed and memory.
"""


if __name__ == "__main__":
    main()
