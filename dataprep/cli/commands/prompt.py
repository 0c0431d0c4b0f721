"""``dataprep prompt``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from dataprep.cli.console import Summary
from dataprep.cli.options import AsJson, Output, Quiet, Rejects, Seed
from dataprep.core.errors import UsageError


def command(
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="Examples or source rows; - is standard input.")
    ],
    output: Output = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="NAME", help="INPUT has source rows of this dataset.")
    ] = None,
    shots: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="Worked examples per request. Defaults to 2, or 0 without forcing."
        ),
    ] = None,
    seed: Seed = 42,
    pool: Annotated[
        str | None, typer.Option(metavar="FILE", help="Draw worked examples from this file, not from INPUT.")
    ] = None,
    teacher_forcing: Annotated[
        bool,
        typer.Option(
            "--teacher-forcing/--no-teacher-forcing", help="Show the gold answer and ask for the reasoning."
        ),
    ] = True,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="System prompt; '' for none.")] = None,
    template: Annotated[
        str | None, typer.Option(metavar="FILE.toml", help="Wording: keys system and user.")
    ] = None,
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
