"""``dataprep train`` and ``dataprep predict``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataprep.cli.console import Summary
from dataprep.cli.dates import settled_date
from dataprep.cli.options import (
    AsJson,
    From,
    InWorkspace,
    Output,
    Quiet,
    Rejects,
    Workers,
    argument,
    flag,
    with_options,
)
from dataprep.cli.progress import bytes_bar, training_bar
from dataprep.core.errors import WorkspaceError, shortened
from dataprep.core.urls import is_url
from dataprep.train.options import PredictOptions, TrainOptions

if TYPE_CHECKING:
    from dataprep.train.run import Trained

MOST_SHOWN = 12  # classes of a distribution
SAMPLE = 2000  # characters that are shown of a sample's prompt, and of its answer


@with_options
def train_command(
    *,
    data: list[str] | None = argument(
        None, "Files of rows, or a directory of shards; also their URLs.", "[DATA]..."
    ),
    eval_data: list[str] | None = flag(
        None, "Rows to measure the loss on; can be repeated.", "--eval", "FILE"
    ),
    output: str | None = flag(
        None, "The run's directory, or a URL. Defaults to a new one in runs/.", "-o", "--output", "DIR"
    ),
    resume: bool = flag(False, "Continue the run in DIR, or the newest, from its checkpoint.", "--resume"),
    options: From[TrainOptions],
    rejects: Rejects = None,
    workers: Workers = None,
    workspace: InWorkspace = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a student on chat rows, rationales, soft labels or a teacher's distributions.

    Chat rows teach it to answer. Rows with rationales teach it to answer and to explain as several teachers
    do. Rows with a teacher's probabilities teach it to classify. DIR gets the student with its tokenizer,
    chat template and card, as transformers loads it, and metrics.jsonl and loss.png. Without DATA, a tiny
    preset is trained on mergedata/train.jsonl and measured on test.jsonl.

    \b
    Examples:
      dataprep train
      dataprep train train.jsonl --eval test.jsonl --model llama-30m --epochs 3 -o student
      dataprep train judged.jsonl --eval held.jsonl --fields question,answer --epochs 20 -o scorer
      dataprep train arc.jsonl --model t5-tiny --gamma 1 --teacher-weight flan-t5=2 --teacher-weight llama-2=2
      dataprep train --config runs/2026-11-21_14-30-00/options.toml -o again
      torchrun --nproc-per-node 2 -m dataprep train train.jsonl -o student
    """
    from dataprep.train.run import train

    paths, eval_paths = _data(data or [], eval_data or [], workspace)
    made = _with_date(options(), paths, workspace)
    # Under torchrun only one of the processes reports.
    silent = os.environ.get("RANK", "0") != "0"
    with training_bar(silent=quiet or as_json or silent) as (on_metrics, log):
        settings: dict[str, Any] = {"root": workspace or ".", "options": made, "resume": resume}
        settings |= {"rejects": rejects, "workers": workers}
        done = train(paths, eval_paths, output, on_metrics=on_metrics, log=log, **settings)
    if not silent:
        summary = Summary("train", quiet=quiet, as_json=as_json)
        summary.say(*_lines(done))
        summary.finish({"objective": done.objective, "output": str(done.path), **done.results})


def _data(data: list[str], eval_data: list[str], workspace: str | None) -> tuple[list[str], list[str]]:
    if data:
        return data, eval_data
    from dataprep.datasets.workspace import Workspace

    folder = Workspace.find(workspace).root / "mergedata"
    if not (folder / "train.jsonl").is_file():
        raise WorkspaceError(f"{folder} holds no train.jsonl: run `dataprep merge` first, or give DATA")
    test = [str(folder / "test.jsonl")] if (folder / "test.jsonl").is_file() else []
    return [str(folder / "train.jsonl")], eval_data or test


def _with_date(options: TrainOptions, paths: list[str], workspace: str | None) -> TrainOptions:
    from dataprep.core.io import files_of
    from dataprep.models.loading import is_preset
    from dataprep.models.student import template_folder
    from dataprep.tokens.shards.manifest import is_shards
    from dataprep.train.objectives.registry import choose_objective

    # Presets have no template of their own, shards know their date, and soft labels have no conversations.
    preset = options.model == "auto" or is_preset(options.model)
    named = (preset and options.tokenizer is None) or options.objective == "soft-label"
    if options.date is not None or options.chat_format not in (None, "template") or named:
        return options
    if any(path == "-" or is_shards(path) for path in paths):
        return options
    # The first row is looked at before a model of the hub is fetched. Objects are fetched later.
    files = [part for path in paths if not is_url(path) for part in files_of(path)]
    if files and choose_objective(files, options, [], skip_bad=True).name == "soft-label":
        return options
    folder = template_folder(None if preset else options.model, options.tokenizer)
    return replace(options, date=settled_date(None, options.chat_format, folder, workspace=workspace))


def _distribution(counts: dict[str, int]) -> str:
    """Return the most frequent classes with their counts."""
    shown = sorted(counts.items(), key=lambda pair: -pair[1])[:MOST_SHOWN]
    more = f" and {len(counts) - MOST_SHOWN:,} more" if len(counts) > MOST_SHOWN else ""
    return ", ".join(f"{name!r} {count:,}" for name, count in shown) + more


def _lines(done: Trained) -> Iterator[str]:
    results = done.results
    rate = results["tokens"] / results["seconds"] if results["seconds"] else 0
    yield (
        f"train: {results['steps']:,} steps, {results['tokens']:,} tokens in {results['seconds']:,.0f} s "
        f"({rate:,.0f} a second) → {done.path}"
    )
    # A resumed run may have been complete, and then has no first loss.
    first, last = results["loss_first"], results["loss_last"]
    yield f"  training loss {first:.4f} → {last:.4f}" if first is not None else "  no step"
    if "eval_loss" in results:
        yield f"  evaluation loss {results['eval_loss_before']:.4f} → {results['eval_loss']:.4f}"
    if best := results.get("best"):
        yield f"  kept step {best['step']:,} of {results['steps']:,}: {best['metric']} {best['value']:.4f}"
    if "planned_steps" in results:
        yield f"  --patience ended the run before {results['planned_steps']:,} steps"
    # Each part of a combined loss, such as a teacher's, has its own figure.
    for name, value in results.items():
        if name.startswith("eval_loss_") and name != "eval_loss_before":
            yield f"    {name.removeprefix('eval_loss_')} {value:.4f}"
    for name, value in results.get("metrics", {}).items():
        yield f"  {name} {value:.4f}" if isinstance(value, float) else f"  {name} {value}"
    if baselines := results.get("baselines"):
        yield f"  accuracy of the majority {baselines['majority']:.4f}, of guesses {baselines['chance']:.4f}"
        yield f"  predicted: {_distribution(baselines['answered'])}; gold: {_distribution(baselines['gold'])}"
    if losses := results.get("quantization"):
        yield (
            f"  evaluation loss: full precision {losses['full_precision']:.4f}, post-training quantization "
            f"{losses['post_training']:.4f}, quantization-aware {losses['quantization_aware']:.4f}"
        )
        share = losses["recovered"]
        yield f"    {'no loss to recover' if share is None else f'{share:.0%} of the loss recovered'}"
    if sample := results.get("sample"):
        for title, text in (("a sample", sample["prompt"]), ("it answers", sample["answer"])):
            yield f"  {title}"
            # A prompt can fill the model's whole context.
            yield from (f"    {line}" for line in shortened(text.strip(), SAMPLE).split("\n"))
    if isinstance(done.path, Path) and (done.path / "loss.png").is_file():
        yield f"  the curve: {done.path}/loss.png"


@with_options
def predict_command(
    *,
    model: str = argument(..., "student.safetensors, a run's directory, or a classifier's.", "MODEL"),
    inputs: list[str] = argument(..., "Files of rows; - for standard input.", "FILE..."),
    others: list[str] | None = flag(
        None,
        "Another model to average the probabilities with; can be repeated.",
        "--with",
        "MODEL",
    ),
    output: Output = None,
    options: From[PredictOptions],
    rejects: Rejects = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score rows with a classifier that `dataprep train` made, or any of transformers.

    Every row keeps its fields and gets `prediction`, the most probable class, and `probs`, the probability
    of each. So the rows can go straight back into `dataprep train`: whatever scored them is the teacher of
    the next student. Training rows need teachers that have not seen them: `train --cross-fit` makes such
    teachers, and --cross-fit uses them.

    \b
    Examples:
      dataprep predict scorer/student.safetensors answers.csv -o scored.jsonl
      dataprep predict teacher/ unlabelled.jsonl -o soft.jsonl && dataprep train soft.jsonl -o student
      dataprep predict --cross-fit teachers/ train.jsonl -o soft.jsonl
      dataprep predict minilm/ --with scorer/ answers.csv -o scored.jsonl
      cat rows.jsonl | dataprep predict scorer - | head
    """
    from dataprep.train.objectives.soft_label.predicting import predict_files

    chosen = options()
    with bytes_bar("predict", inputs, 1, quiet or as_json) as advance:
        ledger = predict_files(
            [model, *(others or [])],
            inputs,
            output or "-",
            options=chosen,
            rejects=rejects,
            progress=advance,
        )
    summary = Summary("predict", quiet=quiet, as_json=as_json)
    known = [
        f"  {count:,} are recognised as training rows of {run}" for run, count in ledger.recognised.items()
    ]
    warnings = ledger.warnings()
    facts = {"recognised": ledger.recognised, "warnings": warnings} if chosen.cross_fit else {}
    lines = [*known, *(f"warning: {warning}" for warning in warnings)]
    summary.add("predict", ledger, output, facts=facts, lines=lines)
    summary.finish()
