"""Rows measured: a model's answers or losses, or predictions, and what each of them scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dataprep.core.errors import RowError
from dataprep.core.parallel import available_cores
from dataprep.evaluate.items import Item
from dataprep.evaluate.metrics.code import program_of
from dataprep.evaluate.metrics.scores import PASS, Row, Scored, score
from dataprep.evaluate.predictions import MISSING, Prediction, read_predictions
from dataprep.evaluate.sandbox.run import Guard, run_program
from dataprep.evaluate.settings import Evaluation, Settings, Watch

Measured = list[tuple[Row, dict[str, Any]]]
"""Rows with their scores, and what is written of each."""


def measured(
    items: Sequence[Item],
    model: str | Path | None,
    predictions: str | Path | None,
    settings: Settings,
    done: Evaluation,
    watch: Watch | None,
) -> Measured:
    """The items that have a score; why others have none goes into the ledger.

    Raises:
        UsageError, InputError, FileError: as ``evaluate_file``.
    """
    if not items:
        return []
    if model is None:
        matched = read_predictions(str(predictions), items, done.ledger.rows_in, settings.teacher)
        done.unknown = matched.unknown
        return _scored(items, matched.predictions, settings, done, watch)
    if settings.metric == "loss":
        return _losses(items, str(model), settings, done, watch)
    answers, done.cut = _answered(items, str(model), settings, watch)
    return _scored(items, answers, settings, done, watch)


def _answered(
    items: Sequence[Item], model: str, settings: Settings, watch: Watch | None
) -> tuple[list[Prediction], int]:
    from dataprep.core.optional import quiet
    from dataprep.evaluate.answering import answer_all

    with quiet():
        return answer_all(
            _loaded(model),
            items,
            max_tokens=settings.max_tokens,
            batch_size=settings.batch_size,
            watch=_watching(watch, "answers", len(items)),
        )


def _loaded(name: str) -> Any:
    """The model; on a GPU in bfloat16 where its weights are in float32."""
    import torch

    from dataprep.models.loading import load

    model = load(name)
    if model.device.type == "cuda" and model.weights.dtype == torch.float32:
        model.weights = model.weights.to(torch.bfloat16)
    return model


def _losses(
    items: Sequence[Item], name: str, settings: Settings, done: Evaluation, watch: Watch | None
) -> Measured:
    from dataprep.core.optional import quiet
    from dataprep.evaluate.token_loss import encoder_of, losses
    from dataprep.models.loading import check_model

    check_model(name)
    with quiet():
        encoder = encoder_of(name, settings.chat_format)  # what is wrong with it is said before weights load
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
            done.ledger.fail(prediction.failure or MISSING)
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


def _watching(watch: Watch | None, what: str, total: int) -> Callable[[int], None] | None:
    if watch is None:
        return None
    return lambda count: watch(what, count, total)
