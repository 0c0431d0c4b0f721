"""``dataprep evaluate``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import typer

from dataprep.cli.console import counted, print_json, print_text, say, table
from dataprep.cli.options import AsJson, From, Quiet, Rejects, argument, flag, with_options
from dataprep.cli.progress import steps_bar
from dataprep.core.errors import UsageError
from dataprep.evaluate.settings import Evaluation, Settings

if TYPE_CHECKING:
    from rich.table import Table

    from dataprep.evaluate.metrics.scores import Figure, Result


@with_options
def command(
    *,
    paths: list[str] = argument(..., "A model's directory, and chat rows or Examples.", "[MODEL] FILE"),
    predictions: str | None = flag(
        None, "Predictions of any system, instead of MODEL: rows or a journal.", "FILE"
    ),
    output: str | None = flag(
        None, "Write predictions, extracted answers and scores.", "-o", "--output", "OUT"
    ),
    settings: From[Settings],
    rejects: Rejects = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure a model, or any system's predictions, by each task's own metric.

    GSM8K: exact match of the final number, after #### (strict), anywhere (flexible), and by value. SQuAD:
    exact match and F1. Multiple choice: accuracy, by the answer that the model gives or by the likelihood of
    each choice (--by likelihood). MBPP: pass@1, by running the tests (--allow-code). With --metric loss: the
    mean loss per token in the loss. Each figure has a 95 % interval, by source. A student
    of `dataprep train` is asked as its run records that it was trained. The exit code is 1 if a row has no
    prediction. A MODEL needs `pip install 'dataprep[train]'`.

    \b
    Examples:
      dataprep evaluate runs/student mergedata/test.jsonl --allow-code -o scored.jsonl
      dataprep evaluate runs/student mergedata/test.jsonl --metric loss
      dataprep evaluate runs/student mergedata/test.jsonl --by likelihood
      dataprep evaluate runs/student test.jsonl --contaminated found.jsonl
      dataprep evaluate dev-v2.0.json --dataset squad --predictions predictions.jsonl
    """
    from dataprep.evaluate.evaluator import evaluate_file

    model, path = _arguments(paths, predictions)
    if output == "-" and as_json:
        raise UsageError("-o - and --json both write to standard output; give the rows a file")
    # Before the bar is shown: wrong flags are reported here.
    source: dict[str, Any] = {"model": model, "predictions": predictions, "settings": settings()}
    with steps_bar("evaluate", quiet) as on_progress:
        done = evaluate_file(path, output=output, rejects=rejects, on_progress=on_progress, **source)
    if as_json:
        print_json(done.to_json())
    elif not quiet:
        _print(done, output)
    if done.ledger.failed:
        raise typer.Exit(1)


def _arguments(paths: list[str], predictions: str | None) -> tuple[str | None, str]:
    if len(paths) == 2:
        if predictions is not None:
            raise UsageError(f"{paths[0]}: a MODEL and --predictions exclude each other")
        return paths[0], paths[1]
    if len(paths) == 1:
        if predictions is None:
            raise UsageError("expected MODEL and FILE, or FILE with --predictions")
        return None, paths[0]
    raise UsageError(f"expected MODEL and FILE, found {len(paths)} paths: evaluate one file at a time")


def _print(done: Evaluation, output: str | None) -> None:
    # Standard output has either the rows or the figures, never both: a program reads one format.
    stream = sys.stderr if output == "-" else sys.stdout
    print_text(_table(done.results), min_width=100, file=stream)
    if done.clean is not None:
        title = f"\nwithout {done.contaminated:,} rows that stand in the training data:\n"
        print_text(title, _table(done.clean), min_width=100, file=stream)
    where = {None: "", "-": " → standard output"}.get(output, f" → {output}")
    say(f"evaluate: {done.ledger}{where}")
    if done.guard is not None:
        guard = f"under the guard {done.guard}, which lets them read {done.readable}"
        say(f"evaluate: programs ran {guard}, and write nothing")
    for warning in done.warnings():
        say(f"warning: {warning}")
    for count, what in (
        (done.cut, "answers were cut off at --max-tokens or where the model's context ends"),
        (done.unknown, "predictions have an id that no row has"),
    ):
        if count:
            say(f"warning: {count:,} {what}")
    if not done.ledger.rows_out:
        say("warning: no row was measured")


def _table(results: list[Result]) -> Table:
    rows = []
    for result in results:
        notes = counted({name: count for name, count in result.counts.items() if count})
        source = "(none named)" if result.source is None else result.source
        # Only the first figure of a result shows what it is about.
        for number, figure in enumerate(result.figures):
            about = ("", "", "") if number else (source, result.metric, f"{result.rows:,}")
            rows.append((*about, figure.name, *_shown(result, figure), "" if number else notes))
    shown = table(("source", "metric", "rows", "figure", "value", "95 % interval", ""), rows, 2)
    shown.columns[3].justify = "left"
    return shown


def _shown(result: Result, figure: Figure) -> tuple[str, str]:
    # Shares are in percent; a loss is not a share.
    if result.metric == "loss":
        return f"{figure.value:,.4f}", f"{figure.low:,.4f} – {figure.high:,.4f}"
    return f"{100 * figure.value:.2f} %", f"{100 * figure.low:.2f} – {100 * figure.high:.2f}"
