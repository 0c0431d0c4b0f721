"""``dataprep evaluate``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
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

WIDTH = 140
# Letters or classes that a table has columns for.
WIDEST = 12
NOT_ABOVE = "not above the majority"


@with_options
def command(
    *,
    paths: list[str] = argument(
        ..., "A model's directory, and chat rows, Examples or rows with labels.", "[MODEL] FILE"
    ),
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
    mean loss per token in the loss. Classifiers and predicted classes: accuracy, macro F1, kappa, and the
    confusion. Each figure has a 95 % interval, by source; beside those of choices and classes stand chance
    and the share of the most frequent answer. A student of `dataprep train` is asked as its run records that
    it was trained. The exit code is 1 if a row has no prediction. A MODEL needs
    `pip install 'dataprep[train]'`.

    \b
    Examples:
      dataprep evaluate runs/student mergedata/test.jsonl --allow-code -o scored.jsonl
      dataprep evaluate runs/student mergedata/test.jsonl --metric loss
      dataprep evaluate runs/student mergedata/test.jsonl --by likelihood
      dataprep evaluate runs/student test.jsonl --contaminated found.jsonl
      dataprep evaluate dev-v2.0.json --dataset squad --predictions predictions.jsonl
      dataprep evaluate runs/scorer labelled.csv -o scored.jsonl
    """
    from dataprep.evaluate.evaluator import evaluate_file
    from dataprep.train.classifiers.evaluating import evaluate_classes, measures_classes

    model, path = _arguments(paths, predictions)
    if output == "-" and as_json:
        raise UsageError("-o - and --json both write to standard output; give the rows a file")
    # Before the bar is shown: wrong flags are reported here.
    chosen = settings()
    source: dict[str, Any] = {"model": model, "predictions": predictions, "settings": chosen}
    measure = evaluate_classes if measures_classes(path, model, predictions, chosen) else evaluate_file
    with steps_bar("evaluate", quiet) as on_progress:
        done = measure(path, output=output, rejects=rejects, on_progress=on_progress, **source)
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
    print_text(_table(done.results), min_width=WIDTH, file=stream)
    for answers in _answers(done.results):
        print_text("", answers, min_width=WIDTH, file=stream)
    if done.clean is not None:
        title = f"\nwithout {done.contaminated:,} rows that stand in the training data:\n"
        print_text(title, _table(done.clean), min_width=WIDTH, file=stream)
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
    rows: list[tuple[str, ...]] = []
    with_baselines = any(figure.chance is not None for result in results for figure in result.figures)
    for result in results:
        counts = counted({name: count for name, count in result.counts.items() if count})
        # Only the first figure of a result shows what it is about.
        name = "(none named)" if result.source is None else result.source
        about: tuple[str, ...] = (name, result.metric, f"{result.rows:,}")
        for figure in result.figures:
            baselines = [_value(result, figure, value) for value in (figure.chance, figure.majority)]
            notes = [NOT_ABOVE] if figure.is_above is False else []
            cells = (figure.name, *_shown(result, figure), *(baselines if with_baselines else ()))
            rows.append((*about, *cells, "; ".join([*notes, counts] if counts else notes)))
            about, counts = ("", "", ""), ""
    baselines = ["chance", "majority"] if with_baselines else []
    head = ("source", "metric", "rows", "figure", "value", "95 % interval", *baselines, "")
    shown = table(head, rows, 2)
    shown.columns[3].justify = "left"
    return shown


def _shown(result: Result, figure: Figure) -> tuple[str, str]:
    low, high = (_value(result, figure, value).removesuffix(" %") for value in (figure.low, figure.high))
    return _value(result, figure, figure.value), f"{low} – {high}"


def _value(result: Result, figure: Figure, value: float | None) -> str:
    if value is None:
        return ""
    # Shares are in percent; a loss and a kappa are no shares.
    if result.metric == "loss" or figure.name.startswith("kappa"):
        return f"{value:,.4f}"
    return f"{100 * value:.2f} %"


def _answers(results: list[Result]) -> Iterator[Table]:
    """Yield the distributions of letters, and the confusion matrix of each result of classes."""
    letters = [result for result in results if result.metric == "choice"]
    if letters:
        names = max((found.classes for result in letters for found in result.answers.values()), key=len)[
            :WIDEST
        ]
        rows = [row for result in letters for row in _letters(result, names)]
        yield table(("source", "", *(f"({name})" for name in names), "none"), rows, 2)
    for result in results:
        if result.confusion is not None:
            yield _confusion(result, result.confusion)


def _letters(result: Result, names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    about = result.source or "(none named)"
    for number, (name, found) in enumerate(result.answers.items()):
        if not number:
            yield about, "gold", *(f"{found.gold[letter]:,}" for letter in names), ""
        answered = "answered" if len(result.answers) == 1 else name
        yield "", answered, *(f"{found.answered[letter]:,}" for letter in names), f"{found.unread:,}"


def _confusion(result: Result, counts: Mapping[str, Mapping[str, int]]) -> Table:
    found = next(iter(result.answers.values()))
    # The most frequent classes of many, in their order.
    often = sorted(counts, key=lambda name: -found.gold[name] - found.answered[name])[:WIDEST]
    names = [name for name in counts if name in often]
    rows = [
        (gold, *(f"{counts[gold].get(name, 0):,}" for name in names), f"{found.gold[gold]:,}")
        for gold in names
    ]
    rows.append(("all", *(f"{found.answered[name]:,}" for name in names), f"{found.rows:,}"))
    shown = "" if len(names) == len(counts) else f", the {WIDEST} most frequent of {len(counts):,} classes"
    return table((f"gold \\ predicted{shown}", *names, "all"), rows)
