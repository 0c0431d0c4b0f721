"""``dataprep train``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from dataprep.cli.options import AsJson, From, InWorkspace, Quiet, with_options
from dataprep.core.errors import WorkspaceError
from dataprep.train.options import TrainOptions

if TYPE_CHECKING:
    from dataprep.train.run import Trained


@with_options
def command(
    *,
    data: Annotated[
        list[str] | None, typer.Argument(metavar="[DATA]...", help="Files of rows, or a directory of shards.")
    ] = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option("--eval", metavar="FILE", help="Rows to measure the loss on; can be repeated."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="DIR", help="Defaults to a new one in runs/."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue the run in DIR, or the newest, from its checkpoint."),
    ] = False,
    options: From[TrainOptions],
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
    from dataprep.train.run import train

    paths, others = _data(data or [], held_out or [], workspace)
    chosen = options()
    with _shown(quiet or as_json) as (watch, tell):
        root = workspace or "."
        done = train(
            paths, others, output, root=root, options=chosen, resume=resume, on_metrics=watch, log=tell
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
