"""A file of rows, and a model or its predictions: what they score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from dataprep import files
from dataprep.engine import available_cores
from dataprep.errors import InputError, RowError, UsageError
from dataprep.evaluating.items import Item, read_items
from dataprep.evaluating.predictions import Matched, Prediction, read_predictions
from dataprep.evaluating.sandbox import Guard, Limits, check_confinement, run_program
from dataprep.ledger import Ledger
from dataprep.metrics.code import program_of
from dataprep.metrics.kinds import METRICS, Metric
from dataprep.metrics.scores import PASS, Scored, score
from dataprep.metrics.summary import Result, Row, results_of

Watch = Callable[[str, int, int], None]
"""Told what is being done, how many more rows are done, and how many there are."""


@dataclass(frozen=True)
class Settings:
    """How rows are evaluated; what ``dataprep evaluate`` takes as flags.

    Attributes:
        metric: of all rows; ``None`` for each row's own.
        dataset: FILE holds raw rows of this set.
        template: messages in place of the default wording, for rows that are not chat rows.
        teacher: whose answers of a journal are the predictions.
        max_tokens: tokens of an answer at most.
        batch_size: answers that are generated at once.
        layout: how conversations are laid out for the loss.
        allow_code: programs of the model's may be run, confined.
        limits: what each of them may use.
        workers: programs that run at once; ``None``: one a core.
        seed: of the bootstrap.
    """

    metric: Metric | None = None
    dataset: str | None = None
    template: Mapping[str, str] = field(default_factory=dict)
    teacher: str | None = None
    max_tokens: int = 512
    batch_size: int = 16
    layout: str = "template"
    allow_code: bool = False
    limits: Limits = field(default_factory=Limits)
    workers: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.metric is not None and self.metric not in METRICS:
            raise UsageError(f"there is no metric {self.metric!r}; expected auto, {', '.join(METRICS)}")


@dataclass
class Evaluation:
    """What came of a file.

    Attributes:
        ledger: its rows.
        results: the figures, by metric and source.
        cut: how many answers of a model were cut off at their longest.
        unknown: how many predictions have an id that no row has.
        guard: what kept programs from files; ``None`` where none was run.
    """

    ledger: Ledger
    results: list[Result]
    cut: int = 0
    unknown: int = 0
    guard: Guard | None = None

    def to_json(self) -> dict[str, Any]:
        """The figures as a JSON object."""
        return {
            "command": "evaluate",
            **self.ledger.to_json(),
            "results": [each.to_json() for each in self.results],
            "answers_cut_off": self.cut,
            "predictions_of_no_row": self.unknown,
            "confined_by": self.guard,
        }


def evaluate_file(
    path: str | Path,
    *,
    model: str | Path | None = None,
    predictions: str | Path | None = None,
    output: str | Path | None = None,
    settings: Settings | None = None,
    rejects: str | Path | None = None,
    watch: Watch | None = None,
) -> Evaluation:
    """Measure a model, or predictions of any system, on a file of rows.

    Args:
        path: chat rows, Examples, or with ``settings.dataset`` raw rows.
        model: a directory as transformers saves a model, or a name on the Hugging Face hub.
        predictions: what a system said, in place of a model.
        output: where a row for each row goes: its prediction, what was read from it, its scores.
        settings: how rows are evaluated.
        rejects: where bad rows go; without it the first one is an error.
        watch: is told of the progress.

    Raises:
        UsageError: neither or both of model and predictions, a setting that does not fit, or programs that
            may not be run or cannot be confined.
        InputError: a row or prediction is bad, or there are none.
        FileError: a file cannot be read or written, or the model is damaged.
    """
    settings, path = settings or Settings(), str(path)
    if (model is None) == (predictions is None):
        raise UsageError("expected a MODEL, or --predictions FILE in its place, and not both")
    if predictions is not None and settings.metric == "loss":
        raise UsageError("--metric loss needs a MODEL: a prediction's text has no loss")
    inputs = [path, *([] if predictions is None else [str(predictions)])]
    outputs = [] if output is None else [str(output)]
    files.check_apart(outputs, inputs)
    files.check_distinct(rejects, outputs, inputs)
    ledger = Ledger()
    with files.open_rejects(rejects) as bad:
        items = list(
            read_items(
                path, ledger, bad, metric=settings.metric, dataset=settings.dataset, template=settings.template
            )
        )
        if not ledger.rows_in:
            raise InputError(path, "the file is empty; expected rows")
        guard = _guard(items, settings)
        done = Evaluation(ledger, [], guard=guard)
        rows = _measured(items, model, predictions, settings, done, watch)
    _write(rows, output)
    ledger.rows_out = len(rows)
    ledger.check()
    done.results = results_of([row for row, _ in rows], settings.seed)
    return done


Measured = list[tuple[Row, dict[str, Any]]]
"""Rows with their scores, and what is written of each."""


def _measured(
    items: Sequence[Item],
    model: str | Path | None,
    predictions: str | Path | None,
    settings: Settings,
    done: Evaluation,
    watch: Watch | None,
) -> Measured:
    if not items:
        return []
    if model is None:
        matched = read_predictions(str(predictions), items, settings.teacher)
        done.unknown = matched.unknown
        return _scored(items, matched.predictions, settings, done, watch)
    if settings.metric == "loss":
        return _losses(items, str(model), settings, done, watch)
    matched, done.cut = _answered(items, str(model), settings, watch)
    return _scored(items, matched.predictions, settings, done, watch)


def _guard(items: Sequence[Item], settings: Settings) -> Guard | None:
    """What will confine programs, where there are any; known before a model is loaded for hours of work."""
    first = next((item for item in items if item.gold.metric == "mbpp"), None)
    if first is None:
        return None
    if not settings.allow_code:
        raise UsageError(
            f"{first.place}: its metric runs the program that the model wrote; allow it with --allow-code "
            "(it runs confined), or leave such rows out"
        )
    return check_confinement(settings.limits)


def _answered(
    items: Sequence[Item], model: str, settings: Settings, watch: Watch | None
) -> tuple[Matched, int]:
    from dataprep.evaluating.answering import answer_all
    from dataprep.teacher.local_model import quiet

    with quiet():
        loaded = _loaded(model)
        answers, cut = answer_all(
            loaded,
            items,
            max_tokens=settings.max_tokens,
            batch_size=settings.batch_size,
            watch=_watching(watch, "answers", len(items)),
        )
    return Matched(answers), cut


def _loaded(name: str) -> Any:
    """The model; on a GPU in bfloat16 where its weights are in float32."""
    import torch

    from dataprep.teacher.local_model import load

    model = load(name)
    if model.device.type == "cuda" and model.weights.dtype == torch.float32:
        model.weights = model.weights.to(torch.bfloat16)
    return model


def _losses(
    items: Sequence[Item], name: str, settings: Settings, done: Evaluation, watch: Watch | None
) -> Measured:
    from dataprep.evaluating.token_loss import encoder_of, losses
    from dataprep.teacher.local_model import check_model, quiet

    check_model(name)
    with quiet():
        encoder = encoder_of(name, settings.layout)  # what is wrong with it is known before weights are loaded
        model = _loaded(name)
        watching = _watching(watch, "losses", len(items))
        found = losses(model, encoder, items, batch_size=settings.batch_size, watch=watching)
    rows: Measured = []
    for item, loss in zip(items, found, strict=True):
        if isinstance(loss, RowError):
            done.ledger.fail(loss.reason)
            continue
        written = _written(item) | {"loss": loss[0] / loss[1], "tokens": loss[1]}
        rows.append((Row(item.source, item.gold, loss=loss), written))
    return rows


def _scored(
    items: Sequence[Item],
    predictions: Sequence[Prediction],
    settings: Settings,
    done: Evaluation,
    watch: Watch | None,
) -> Measured:
    there: list[tuple[Item, str]] = []
    for item, prediction in zip(items, predictions, strict=True):
        if prediction.text is None:
            done.ledger.fail(prediction.failure or "no prediction")
        else:
            there.append((item, prediction.text))
    programs = _run_all(there, settings, done.guard, watch)
    rows: Measured = []
    for number, (item, text) in enumerate(there):
        scored = programs[number] if number in programs else score(text, item.gold)
        rows.append((Row(item.source, item.gold, scored), _written(item) | _of(text, item, scored)))
    return rows


def _run_all(
    there: Sequence[tuple[Item, str]], settings: Settings, guard: Guard | None, watch: Watch | None
) -> dict[int, Scored]:
    """What came of the programs among the predictions, by their number; several run at once."""
    wanted = [number for number, (item, _) in enumerate(there) if item.gold.metric == "mbpp"]
    if not wanted or guard is None:
        return {}
    workers = settings.workers or available_cores()
    watching = _watching(watch, "programs", len(wanted))

    def run(number: int) -> Scored:
        item, text = there[number]
        program = program_of(text)
        verdict = run_program(program, item.gold.tests, settings.limits, guard)
        detail = f"{verdict.outcome}: {verdict.detail}" if verdict.detail else verdict.outcome
        return Scored(program, {PASS: float(verdict.outcome == "passed")}, detail)

    found = {}
    with ExitStack() as stack:
        pool = ThreadPoolExecutor(workers)
        stack.callback(pool.shutdown, cancel_futures=True)  # an interrupted run starts no further program
        for number, scored in zip(wanted, pool.map(run, wanted), strict=True):
            found[number] = scored
            if watching is not None:
                watching(1)
    return found


def _written(item: Item) -> dict[str, Any]:
    return {"id": item.id, "source": item.source, "metric": item.gold.metric}


def _of(text: str, item: Item, scored: Scored) -> dict[str, Any]:
    gold = list(item.gold.tests or item.gold.answers)
    return {
        "prediction": text,
        "extracted": scored.extracted,
        "gold": gold,
        "scores": scored.scores,
        "detail": scored.detail,
    }


def _write(rows: Measured, output: str | Path | None) -> None:
    if output is None:
        return
    with files.open_output(str(output)) as out:
        for _, row in rows:
            out.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))


def _watching(watch: Watch | None, what: str, total: int) -> Callable[[int], None] | None:
    if watch is None:
        return None
    return lambda count: watch(what, count, total)


