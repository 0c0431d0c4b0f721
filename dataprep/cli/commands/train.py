"""``dataprep train``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from dataprep.cli.options import AsJson, InWorkspace, Quiet, names
from dataprep.core.errors import UsageError, WorkspaceError

if TYPE_CHECKING:
    from dataprep.train.run import Trained


def command(
    data: Annotated[
        list[str] | None, typer.Argument(metavar="[DATA]...", help="Files of rows, or a directory of shards.")
    ] = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option("--eval", metavar="FILE", help="Rows that the loss is measured on; may be repeated."),
    ] = None,
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="DIR", help="Default: a new one in runs/.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in DIR, or the newest, from its checkpoint.")
    ] = False,
    objective: Annotated[
        str, typer.Option(metavar="NAME", help="auto, sft, rationale or soft-label; auto reads the rows.")
    ] = "auto",
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="A directory, a name on the hub, or a preset: llama-tiny, llama-30m, llama-1b, t5-tiny, "
            "t5-small; soft labels: tiny, wide, bert-tiny, bert-base. Default: llama-tiny, or tiny.",
        ),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Default: the model's own; for a preset, one made of the data."),
    ] = None,
    chat_format: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="llama3, chatml, llama2 or template. Default: the model's own."),
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(metavar="N", help="Tokens a row may have. Default: as the model has room.")
    ] = None,
    truncation: Annotated[
        str, typer.Option(metavar="HOW", help="Longer rows: error, drop or truncate.")
    ] = "error",
    pack: Annotated[
        int | None, typer.Option(metavar="N", help="Pack rows into sequences of N tokens.")
    ] = None,
    epochs: Annotated[float, typer.Option(help="How often all rows are seen.")] = 1.0,
    steps: Annotated[int | None, typer.Option(metavar="N", help="Steps, in place of epochs.")] = None,
    batch_size: Annotated[int, typer.Option(metavar="N", help="Rows worked on at once.")] = 8,
    accumulate: Annotated[int, typer.Option(metavar="N", help="Batches to a step.")] = 1,
    learning_rate: Annotated[
        float | None, typer.Option(help="Default: 1e-3 for a preset, 2e-5 otherwise, 2e-4 with --lora.")
    ] = None,
    schedule: Annotated[str, typer.Option(metavar="NAME", help="cosine, linear or constant.")] = "cosine",
    warmup: Annotated[float, typer.Option(help="The share of steps in which the rate rises.")] = 0.05,
    weight_decay: Annotated[float, typer.Option(help="Of matrices.")] = 0.01,
    clip: Annotated[float, typer.Option(help="The gradient's largest norm; 0 leaves it.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of order, new weights and dropout.")] = 42,
    eval_every: Annotated[
        int, typer.Option(metavar="N", help="Steps between measurements; 0: before and after.")
    ] = 0,
    save_every: Annotated[int, typer.Option(metavar="N", help="Steps between checkpoints; 0: none.")] = 500,
    keep: Annotated[int, typer.Option(metavar="N", help="Checkpoints that are kept.")] = 2,
    gamma: Annotated[float, typer.Option(help="rationale: the weight of the answers.")] = 1.0,
    alpha: Annotated[
        float | None,
        typer.Option(
            help="rationale: the first teacher's weight (1); soft labels: the teacher's share (0.5, where "
            "there are probabilities)."
        ),
    ] = None,
    beta: Annotated[float | None, typer.Option(help="rationale: the second teacher's weight (1).")] = None,
    teacher_weight: Annotated[
        list[str] | None, typer.Option(metavar="NAME=W", help="rationale: a teacher's weight, by name.")
    ] = None,
    keep_status: Annotated[
        str, typer.Option(metavar="STATUS,...", help="rationale: the rationales that are learned.")
    ] = "ok",
    temperature: Annotated[float, typer.Option(help="What logits are divided by, to be compared.")] = 2.0,
    fields: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...", help="soft labels: the text's fields. Default: text; or question, answer."
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="soft labels: the gold label's field. Default: label, or score."),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="soft labels: the classes in order. Default: as they occur."),
    ] = None,
    teacher_model: Annotated[
        str | None, typer.Option(metavar="PATH", help="A larger model whose distributions are learned.")
    ] = None,
    teacher_share: Annotated[float, typer.Option(help="The share that these have in the loss.")] = 0.5,
    lora: Annotated[
        int | None, typer.Option(metavar="R", help="Train updates of rank R in place of the weights.")
    ] = None,
    qat: Annotated[
        str | None,
        typer.Option(metavar="SCHEME", help="Train for quantization: int8-dynamic-int4 or int4-weight."),
    ] = None,
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[str, typer.Option(metavar="NAME", help="auto, float32 or bfloat16.")] = "auto",
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the model.")] = False,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory, more work.")
    ] = False,
    fsdp: Annotated[
        bool, typer.Option("--fsdp", help="Divide the model among torchrun's processes.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Metrics for TensorBoard too, in DIR/tensorboard.")
    ] = False,
    workspace: InWorkspace = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a student on what the other commands made.

    Chat rows train it to answer; rows with rationales, to answer and explain as several teachers do; rows
    with a teacher's probabilities, to judge as it does. DIR gets the student, as transformers loads it, with
    its tokenizer, chat template and card; metrics.jsonl, loss.png and checkpoints. Without DATA, the tiny
    preset is trained on mergedata/train.jsonl and measured on test.jsonl.

    \b
    Examples:
      dataprep train
      dataprep train train.jsonl --eval test.jsonl --model llama-30m --epochs 3 -o student
      dataprep train judged.jsonl --eval held.jsonl --fields question,answer --epochs 20 -o scorer
      dataprep train arc.jsonl --model t5-tiny --gamma 1 --teacher-weight flan-t5=2 --teacher-weight llama-2=2
      torchrun --nproc-per-node 2 -m dataprep train train.jsonl -o student
    """
    from dataprep.train.options import TrainOptions
    from dataprep.train.run import train

    given: dict[str, Any] = {
        "objective": objective, "tokenizer": tokenizer, "chat_format": chat_format, "max_length": max_length,
        "truncation": truncation, "pack": pack, "epochs": epochs, "steps": steps, "batch_size": batch_size,
        "accumulate": accumulate, "learning_rate": learning_rate, "schedule": schedule, "warmup": warmup,
        "weight_decay": weight_decay, "clip": clip, "seed": seed, "eval_every": eval_every,
        "save_every": save_every, "keep": keep, "gamma": gamma, "alpha": alpha, "beta": beta,
        "teacher_weights": _weights(teacher_weight or []), "temperature": temperature,
        "fields": names(fields), "label": label, "classes": names(classes), "keep_status": names(keep_status),
        "teacher_model": teacher_model, "teacher_share": teacher_share, "lora": lora, "qat": qat,
        "device": device, "precision": precision, "compile": compiled,
        "gradient_checkpointing": gradient_checkpointing,
        "fsdp": fsdp, "tensorboard": tensorboard,
    }  # fmt: skip
    if model is not None:
        given["model"] = model
    paths, others = _data(data or [], held_out or [], workspace)
    options = TrainOptions(**given)
    with _shown(quiet or as_json) as (watch, tell):
        root = workspace or "."
        done = train(
            paths, others, output, root=root, options=options, resume=resume, on_metrics=watch, log=tell
        )
    if _first_process():
        _finish(done, quiet=quiet, as_json=as_json)


def _data(data: list[str], held_out: list[str], workspace: str | None) -> tuple[list[str], list[str]]:
    """What to train and measure on: what is given, or the workspace's merged files."""
    if data:
        return data, held_out
    from dataprep.datasets.workspace import Workspace

    place = Workspace.find(workspace).root / "mergedata"
    if not (place / "train.jsonl").is_file():
        raise WorkspaceError(f"{place} holds no train.jsonl: run `dataprep merge` first, or give DATA")
    test = [str(place / "test.jsonl")] if (place / "test.jsonl").is_file() else []
    return [str(place / "train.jsonl")], held_out or test


def _weights(given: list[str]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for each in given:
        name, _, value = each.rpartition("=")
        try:
            weights[name] = float(value)
        except ValueError:
            raise UsageError(f"--teacher-weight {each}: expected NAME=NUMBER") from None
        if not name:
            raise UsageError(f"--teacher-weight {each}: expected NAME=NUMBER")
    return weights


def _first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _shown(silent: bool) -> Any:
    from dataprep.cli.progress import shown

    return shown(silent=silent or not _first_process())


def _finish(done: Trained, *, quiet: bool, as_json: bool) -> None:
    """The summary, on standard error."""
    results = done.results
    if as_json:
        summary = {"command": "train", "objective": done.objective, "output": str(done.path), **results}
        print(orjson.dumps(summary, option=orjson.OPT_INDENT_2).decode(), file=sys.stderr)
    if quiet or as_json:
        return
    rate = results["tokens"] / results["seconds"] if results["seconds"] else 0
    print(
        f"train: {results['steps']:,} steps, {results['tokens']:,} tokens in {results['seconds']:,.0f} s "
        f"({rate:,.0f} a second) → {done.path}",
        file=sys.stderr,
    )
    first, last = results["loss_first"], results["loss_last"]
    print(f"  training loss {first:.4f} → {last:.4f}" if first is not None else "  no step", file=sys.stderr)
    if "eval_loss" in results:
        print(
            f"  loss on held-out rows {results['eval_loss_before']:.4f} → {results['eval_loss']:.4f}",
            file=sys.stderr,
        )
    for name, value in results.items():
        if name.startswith("eval_loss_") and name != "eval_loss_before":
            print(f"    {name.removeprefix('eval_loss_')} {value:.4f}", file=sys.stderr)
    for name, value in results.get("metrics", {}).items():
        print(f"  {name} {value:.4f}" if isinstance(value, float) else f"  {name} {value}", file=sys.stderr)
    if found := results.get("quantization"):
        _compare(found)
    if sample := results.get("sample"):
        print(
            f"  a sample\n{_indented(sample['prompt'])}\n  it answers\n{_indented(sample['answer'])}",
            file=sys.stderr,
        )
    if (Path(done.path) / "loss.png").is_file():
        print(f"  the curve: {done.path}/loss.png", file=sys.stderr)


def _compare(losses: dict[str, float | None]) -> None:
    """What quantizing does to the loss, with and without having trained for it."""
    print(
        f"  on held-out rows: full precision {losses['full_precision']:.4f}, post-training quantization "
        f"{losses['post_training']:.4f}, quantization-aware {losses['quantization_aware']:.4f}",
        file=sys.stderr,
    )
    share = losses["recovered"]
    said = "quantizing cost nothing to recover" if share is None else f"{share:.0%} of the loss recovered"
    print(f"    {said}", file=sys.stderr)


def _indented(text: str) -> str:
    return "\n".join("    " + line for line in text.strip().splitlines())
