"""A file of rows, and a model or its predictions: what they score."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import orjson

from dataprep.core import io as files
from dataprep.core.errors import InputError, UsageError
from dataprep.core.ledger import Ledger
from dataprep.evaluate.items import Item, read_items
from dataprep.evaluate.measuring import measured
from dataprep.evaluate.metrics.scores import results_of
from dataprep.evaluate.sandbox.run import Guard
from dataprep.evaluate.sandbox.self_test import check_confinement
from dataprep.evaluate.settings import Evaluation, Settings, Watch


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
    if output is not None and files.format_of(str(output)).kind in ("csv", "tsv"):
        raise UsageError(f"{output}: a row has several scores, which no CSV holds; write .jsonl or .parquet")
    files.check_apart(outputs, inputs)
    files.check_distinct(rejects, outputs, inputs)
    ledger = Ledger()
    # What cannot be written is known before a model works for hours.
    opened = nullcontext() if output is None else files.open_output(str(output))
    with files.open_rejects(rejects) as bad, opened as out:
        chosen: dict[str, Any] = {
            "metric": settings.metric,
            "dataset": settings.dataset,
            "template": settings.template,
        }
        items = list(read_items(path, ledger, bad, **chosen))
        if not ledger.rows_in:
            raise InputError(path, "the file is empty; expected rows")
        done = Evaluation(ledger, [], guard=_guard(items, settings))
        rows = measured(items, model, predictions, settings, done, watch)
        if out is not None:
            out.write(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for _, row in rows))
    ledger.rows_out = len(rows)
    ledger.check()
    done.results = results_of([row for row, _ in rows], settings.seed)
    return done


def _guard(items: Sequence[Item], settings: Settings) -> Guard | None:
    """What will confine programs, where there are any; known before a model is loaded for hours of work."""
    first = next((item for item in items if item.gold.metric == "mbpp"), None)
    if first is None:
        return None
    if not settings.allow_code:
        raise UsageError(
            f"{first.where}: its metric runs the program that the model wrote; allow it with --allow-code "
            "(it runs confined), or leave such rows out"
        )
    return check_confinement(settings.limits)
