"""``dataprep predict``."""

from __future__ import annotations

from typing import Annotated

import typer

from dataprep.cli.console import Summary, progress
from dataprep.cli.options import AsJson, Output, Quiet, Rejects, names


def command(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="student.safetensors, a run's directory, or a classifier's."),
    ],
    inputs: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Files of rows; - for standard input.")
    ],
    output: Output = None,
    fields: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="The text's fields. Default: those the model was trained on."),
    ] = None,
    prediction: Annotated[
        str, typer.Option(metavar="NAME", help="The field for the most probable class.")
    ] = "prediction",
    probs: Annotated[
        str, typer.Option(metavar="NAME", help="The field for the classes' probabilities.")
    ] = "probs",
    max_length: Annotated[
        int | None, typer.Option(metavar="N", help="Tokens a text may have. Default: as the model has room.")
    ] = None,
    truncation: Annotated[
        str, typer.Option(metavar="HOW", help="Longer texts: error, drop or truncate.")
    ] = "error",
    batch_size: Annotated[int, typer.Option(metavar="N", help="Rows scored at once.")] = 64,
    device: Annotated[str, typer.Option(metavar="NAME", help="cpu or cuda.")] = "cpu",
    rejects: Rejects = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score rows with a classifier that `dataprep train` made, or any of transformers.

    Every row keeps its fields and gets `prediction`, the most probable class, and `probs`, the probability
    of each. So the rows can go straight back into `dataprep train`: whatever scored them is the teacher of
    the next student.

    \b
    Examples:
      dataprep predict scorer/student.safetensors answers.csv -o scored.jsonl
      dataprep predict teacher/ train.jsonl -o soft.jsonl && dataprep train soft.jsonl -o student
      cat rows.jsonl | dataprep predict scorer - | head
    """
    from dataprep.train.objectives.soft_label.predicting import PredictOptions, predict_files

    options = PredictOptions(
        fields=names(fields),
        max_length=max_length,
        truncation=truncation,
        prediction=prediction,
        probs=probs,
        batch_size=batch_size,
        device=device,
    )
    with progress("predict", inputs, 1, quiet or as_json) as advance:
        ledger = predict_files(
            model, inputs, output or "-", options=options, rejects=rejects, progress=advance
        )
    summary = Summary("predict", quiet=quiet, as_json=as_json)
    summary.add("predict", ledger, output or "-")
    summary.finish()
