"""``dataprep prompt``."""

from __future__ import annotations

import sys

from dataprep.cli.console import Summary
from dataprep.cli.options import AsJson, Output, Quiet, Rejects, Seed, argument, flag
from dataprep.core.errors import UsageError


def command(
    source: str = argument(..., "Examples or source rows; - is standard input.", "INPUT"),
    output: Output = None,
    dataset: str | None = flag(None, "INPUT has source rows of this dataset.", "NAME"),
    shots: int | None = flag(
        None, "Worked examples per request. Defaults to 2, or 0 without forcing.", "N", min=0
    ),
    seed: Seed = 42,
    pool: str | None = flag(None, "Draw worked examples from this file, not from INPUT.", "FILE"),
    teacher_forcing: bool = flag(
        True, "Show the gold answer and ask for the reasoning.", "--teacher-forcing/--no-teacher-forcing"
    ),
    system: str | None = flag(None, "System prompt; '' for none.", "TEXT"),
    template: str | None = flag(None, "Wording: keys system and user.", "FILE.toml"),
    rejects: Rejects = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make requests to a teacher from Examples.

    A request shows worked examples and then the question. With teacher forcing it also shows the gold
    answer, and asks only for the reasoning. Without it, it asks for the letter of the answer. The worked
    examples of a row depend only on the seed and the row's id.

    \b
    Examples:
      dataprep prompt examples.jsonl -o requests.jsonl --shots 2
      dataprep prompt dev_rand_split.jsonl --dataset commonsense_qa --no-teacher-forcing
    """
    from dataprep.datasets.source_rows import missing_labels
    from dataprep.datasets.templates import read_template
    from dataprep.teacher.prompts import prompt_file

    parts = {} if template is None else read_template(template)
    if "assistant" in parts:
        raise UsageError(f"{template}: a request has no assistant message; the keys are system and user")
    ledger = prompt_file(
        source,
        output or "-",
        dataset=dataset,
        pool=pool,
        shots=shots,
        seed=seed,
        forcing=teacher_forcing,
        system=parts.get("system") if system is None else system,
        user=parts.get("user"),
        rejects=rejects,
        warn=None if quiet else lambda text: print(f"warning: {text}", file=sys.stderr),
    )
    summary = Summary("prompt", quiet=quiet, as_json=as_json)
    hint = None if dataset is None else missing_labels(dataset, [source], ledger)
    summary.add("prompt", ledger, output, hint=hint)
    summary.finish()
