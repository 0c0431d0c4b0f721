"""``dataprep predict``."""

from __future__ import annotations

from dataprep.cli.console import Summary
from dataprep.cli.options import AsJson, From, Output, Quiet, Rejects, argument, with_options
from dataprep.cli.progress import bytes_bar
from dataprep.train.options import PredictOptions


@with_options
def command(
    *,
    model: str = argument(..., "student.safetensors, a run's directory, or a classifier's.", "MODEL"),
    inputs: list[str] = argument(..., "Files of rows; - for standard input.", "FILE..."),
    output: Output = None,
    options: From[PredictOptions],
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
    from dataprep.train.objectives.soft_label.predicting import predict_files

    chosen = options()
    with bytes_bar("predict", inputs, 1, quiet or as_json) as advance:
        ledger = predict_files(
            model, inputs, output or "-", options=chosen, rejects=rejects, progress=advance
        )
    summary = Summary("predict", quiet=quiet, as_json=as_json)
    summary.add("predict", ledger, output)
    summary.finish()
