"""Score a model, or predictions of any system, on a file of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from dataprep.core import io as files
from dataprep.core.conversations import content_text
from dataprep.core.errors import InputError, RowError, UsageError
from dataprep.core.ledger import Ledger
from dataprep.core.optional import quiet
from dataprep.core.parallel import available_cores
from dataprep.curate.contamination.found import FoundRows
from dataprep.evaluate.items import MISSING, Item, Prediction, Training, read_items, read_training
from dataprep.evaluate.metrics.programs import program_of
from dataprep.evaluate.metrics.scores import PASS, Row, Scored, Tally, score
from dataprep.evaluate.predictions import Predictions
from dataprep.evaluate.sandbox.run import Guard, check_confinement, run_program
from dataprep.evaluate.settings import Evaluation, OnProgress, Settings

ScoredRows = Iterator[tuple[Row, dict[str, Any]]]  # rows with their scores, and the output row of each
CHUNK = 512  # predictions that are scored together


def evaluate_file(
    path: str | Path,
    *,
    model: str | Path | None = None,
    predictions: str | Path | None = None,
    output: str | Path | None = None,
    settings: Settings | None = None,
    rejects: str | Path | None = None,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Score a model, or predictions of any system, on a file of rows.

    Args:
        path: chat rows, Examples, or with ``settings.dataset`` source rows.
        model: a directory as transformers saves a model, or a name on the Hugging Face hub.
        predictions: the answers of a system, in place of a model.
        output: receives for each row its prediction, the answer read from it, and its scores.
        settings: how rows are evaluated.
        rejects: receives bad rows; without it the first one is an error.
        on_progress: called with a task, the number of further rows that are done, and of all.

    Raises:
        UsageError: neither or both of model and predictions, a setting that does not fit, or programs that
            may not be run or cannot be confined.
        InputError: a row or prediction is bad, or there are none.
        FileError: a file cannot be read or written, or the model is damaged.
    """
    settings, path = settings or Settings(), str(path)
    if (model is None) == (predictions is None):
        raise UsageError("expected a MODEL, or --predictions FILE in its place, and not both")
    if predictions is not None and (settings.metric == "loss" or settings.by == "likelihood"):
        option = "--metric loss" if settings.metric == "loss" else "--by likelihood"
        raise UsageError(f"{option} needs a MODEL: a prediction is a text without probabilities")
    for name in ("fields", "label", "classes", "truncation"):
        if getattr(settings, name):
            raise UsageError(f"--{name}: for classifiers and rows with labels; leave it out")
    if settings.metric == "classes":
        raise UsageError(
            "--metric classes measures classifiers: `dataprep.evaluate_classes` does it in Python"
        )
    from dataprep.models.loading import check_model, files_of_model

    if model is not None:
        # Before the rows are read, which would be blamed for a missing model.
        check_model(str(model))
    training = _training(model, settings)

    def read(ledger: Ledger, rejects: files.Rejects) -> Iterator[Item]:
        chosen: dict[str, Any] = {"metric": settings.metric, "dataset": settings.dataset}
        return read_items(path, ledger, rejects, **chosen, template=settings.template, training=training)

    def score_all(items: Iterator[Item], done: Evaluation) -> ScoredRows:
        if model is None:
            return _of_predictions(items, str(predictions), settings, training, done, on_progress)
        return _of_model(list(items), str(model), settings, training, done, on_progress)

    given = [str(predictions)] if model is None else files_of_model(model)
    return measure_rows(read, score_all, [path, *given], output, settings, rejects)


def measure_rows(
    read: Callable[[Ledger, files.Rejects], Iterator[Item]],
    score_all: Callable[[Iterator[Item], Evaluation], ScoredRows],
    inputs: Sequence[str],
    output: str | Path | None,
    settings: Settings,
    rejects: str | Path | None,
) -> Evaluation:
    """Read rows, score them, write them, and return their figures.

    Args:
        read: yields the items of the first input, counts its rows, and adds bad ones to the rejects.
        score_all: yields the items' scores and output rows; it may add to the evaluation.
        inputs: the file of the rows, then other files that must stay as they are.
        output: receives the output rows.
        settings: how rows are evaluated.
        rejects: receives bad rows; without it the first one is an error.

    Raises:
        UsageError: the output has a format that holds no scores, or would replace an input.
        InputError: a row is bad, or there are none.
        FileError: a file cannot be read or written.
    """
    inputs = [*inputs, *([] if settings.contaminated is None else [settings.contaminated])]
    outputs = [] if output is None else [str(output)]
    if output is not None and files.format_of(str(output)).kind in ("csv", "tsv"):
        raise UsageError(f"{output}: a row has several scores, which no CSV holds; write .jsonl or .parquet")
    files.check_apart(outputs, inputs)
    files.check_distinct(rejects, outputs, inputs)
    found = None if settings.contaminated is None else FoundRows(settings.contaminated)
    ledger = Ledger()
    # The output is opened first, so that a file that cannot be written is known before hours of work.
    opened = nullcontext() if output is None else files.open_output(str(output))
    with files.open_rejects(rejects) as bad, opened as out:
        items = read(ledger, bad)
        done, tally, clean, written = Evaluation(ledger, []), Tally(), Tally(), 0
        if found is not None:
            items, done.named = _marked(items, found), len(found)
        for row, line in score_all(items, done):
            tally.add(row)
            if found is not None:
                line["contaminated"] = row.contaminated
                done.contaminated += row.contaminated
                if not row.contaminated:
                    clean.add(row)
            written += 1
            if out is not None:
                out.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        if not ledger.rows_in:
            raise InputError(inputs[0], "the file is empty; expected rows")
    # After the output has appeared: a row counts as written only then.
    ledger.rows_out = written
    ledger.check()
    done.results = tally.results(settings.seed)
    done.clean = None if found is None else clean.results(settings.seed)
    return done


def _marked(items: Iterable[Item], found: FoundRows) -> Iterator[Item]:
    """Mark the items that stand in the training data."""
    for item in items:
        yield replace(item, contaminated=found.has(item.id, item.digest))


def _training(model: str | Path | None, settings: Settings) -> Training:
    """Return how the student was trained; the settings win over its records."""
    recorded = Training() if model is None else read_training(str(model))
    return replace(
        recorded,
        strip=settings.strip or recorded.strip,
        date=settings.date or recorded.date,
        template_args={**recorded.template_args, **settings.template_args},
    )


def _guard(items: Iterable[Item], settings: Settings) -> Guard | None:
    """Return what will confine programs, or ``None`` if no row has one to run."""
    first = next((item for item in items if item.reference.metric == "mbpp"), None)
    if first is None:
        return None
    if not settings.allow_code:
        raise UsageError(
            f"{first.where}: its metric runs the program that the model wrote; allow it with --allow-code "
            "(it runs confined), or leave such rows out"
        )
    # Before the model is loaded: hours of answers would be lost if nothing confines programs here.
    return check_confinement(settings.limits)


def _of_predictions(
    items: Iterator[Item],
    path: str,
    settings: Settings,
    training: Training,
    done: Evaluation,
    on_progress: OnProgress | None,
) -> ScoredRows:
    predictions = Predictions(path, settings.teacher)
    any_item = False
    # A chunk at a time: neither the rows nor the predictions of a large file fit into memory.
    while chunk := list(islice(items, CHUNK)):
        any_item = True
        done.guard = done.guard or _guard(chunk, settings)
        answers = list(map(predictions.find, chunk))
        yield from _scored(chunk, answers, settings, training, done, on_progress)
    if any_item:
        done.unknown = predictions.unmatched(done.ledger.rows_in)


def _of_model(
    items: Sequence[Item],
    model: str,
    settings: Settings,
    training: Training,
    done: Evaluation,
    on_progress: OnProgress | None,
) -> ScoredRows:
    if not items:
        return
    if settings.by == "answer":
        done.guard = _guard(items, settings)
    if settings.metric == "loss":
        yield from _losses(items, model, settings, training, done, on_progress)
        return
    if settings.by == "likelihood":
        yield from _likelihoods(items, model, settings, training, done, on_progress)
        return
    from dataprep.evaluate.local_model import answer_all, template_options

    with quiet():
        answers, done.cut = answer_all(
            _loaded(model, template_options(training)),
            items,
            training=training,
            max_tokens=settings.max_tokens,
            batch_size=settings.batch_size,
            on_rows=_counting(on_progress, "answers", len(items)),
        )
    yield from _scored(items, answers, settings, training, done, on_progress)


def _loaded(name: str, template: dict[str, Any] | None = None) -> Any:
    import torch

    from dataprep.models.loading import load

    try:
        model = load(name, template)
    except UsageError as error:  # it names the flag of `generate`
        raise UsageError(str(error).removeprefix("--model ")) from None
    # On a GPU, bfloat16 halves the memory.
    if model.device.type == "cuda" and model.weights.dtype == torch.float32:
        model.weights = model.weights.to(torch.bfloat16)
    return model


def _losses(
    items: Sequence[Item],
    name: str,
    settings: Settings,
    training: Training,
    done: Evaluation,
    on_progress: OnProgress | None,
) -> ScoredRows:
    from dataprep.evaluate.local_model import encoder_of, losses
    from dataprep.models.loading import check_model

    check_model(name)
    with quiet():
        # The tokenizer and chat format come first: a fault in them is known before weights load.
        encoder = encoder_of(name, settings.chat_format, training)
        model = _loaded(name)
        on_rows = _counting(on_progress, "losses", len(items))
        sums = losses(model, encoder, items, batch_size=settings.batch_size, on_rows=on_rows)
    for item, loss in zip(items, sums, strict=True):
        if isinstance(loss, RowError):
            done.ledger.fail(loss.reason)
            continue
        output = _identity(item) | {"loss": loss[0] / loss[1], "tokens": loss[1]}
        yield Row(item.source, item.reference, loss=loss, contaminated=item.contaminated), output


def _likelihoods(
    items: Sequence[Item],
    name: str,
    settings: Settings,
    training: Training,
    done: Evaluation,
    on_progress: OnProgress | None,
) -> ScoredRows:
    asked = [item for item in items if item.reference.choices]
    done.ledger.drop("no choices", len(items) - len(asked))
    if not asked:
        return
    from dataprep.evaluate.likelihood import ChoiceScores, score_choices
    from dataprep.evaluate.local_model import template_options

    with quiet():
        results = score_choices(
            _loaded(name, template_options(training)),
            asked,
            training=training,
            batch_size=settings.batch_size,
            on_rows=_counting(on_progress, "choices", len(asked)),
        )
    for item, result in zip(asked, results, strict=True):
        if not isinstance(result, ChoiceScores):
            done.ledger.fail(result.kind)
            continue
        scored = result.scored(item.reference.answers[0])
        output = _identity(item) | {
            "extracted": scored.extracted,
            "gold": list(item.reference.answers),
            "scores": scored.scores,
            **result.to_json(),
        }
        yield Row(item.source, item.reference, scored, contaminated=item.contaminated), output


def _scored(
    items: Sequence[Item],
    predictions: Sequence[Prediction],
    settings: Settings,
    training: Training,
    done: Evaluation,
    on_progress: OnProgress | None,
) -> ScoredRows:
    answered: list[tuple[Item, str]] = []
    for item, prediction in zip(items, predictions, strict=True):
        if prediction.text is None:
            done.ledger.fail(prediction.failure or MISSING)
        else:
            answered.append((item, prediction.text))
    programs = _run_all(answered, settings, done.guard, on_progress)
    for number, (item, text) in enumerate(answered):
        scored = programs[number] if number in programs else score(text, item.reference, training.style)
        output = _identity(item) | {
            "prediction": text,
            "extracted": scored.extracted,
            "gold": list(item.reference.tests or item.reference.answers),
            "scores": scored.scores,
            "detail": scored.detail,
        }
        yield Row(item.source, item.reference, scored, contaminated=item.contaminated), output


def _run_all(
    answered: Sequence[tuple[Item, str]],
    settings: Settings,
    guard: Guard | None,
    on_progress: OnProgress | None,
) -> dict[int, Scored]:
    numbers = [number for number, (item, _) in enumerate(answered) if item.reference.metric == "mbpp"]
    if not numbers or guard is None:
        return {}
    on_rows = _counting(on_progress, "programs", len(numbers))

    # Before the threads: Python's warnings about a text that is no program are switched off for all of them.
    texts = {
        number: program_of(answered[number][1], answered[number][0].reference.tests) for number in numbers
    }

    def run(number: int) -> Scored:
        verdict = run_program(texts[number], answered[number][0].reference.tests, settings.limits, guard)
        detail = f"{verdict.outcome}: {verdict.detail}" if verdict.detail else verdict.outcome
        unread = (PASS,) if verdict.detail.startswith("SyntaxError in the program") else ()
        return Scored(texts[number], {PASS: float(verdict.outcome == "passed")}, detail, unread)

    programs = {}
    with ExitStack() as stack:
        # Threads suffice: each one only waits for the process in which its program runs.
        pool = ThreadPoolExecutor(settings.workers or available_cores())
        stack.callback(pool.shutdown, cancel_futures=True)  # an interrupted run starts no further program
        for number, scored in zip(numbers, pool.map(run, numbers), strict=True):
            programs[number] = scored
            on_rows(1)
    return programs


def _identity(item: Item) -> dict[str, Any]:
    identity = {"id": item.id, "source": item.source, "metric": item.reference.metric}
    if item.reference.metric == "loss":
        return identity
    # The user's last words, which `review` shows.
    asked = [content_text(each.get("content")) for each in item.asked if each["role"] == "user"]
    choices = {"choices": list(item.reference.choices)} if item.reference.choices else {}
    return identity | {"question": asked[-1] if asked else "", **choices}


def _counting(on_progress: OnProgress | None, task: str, total: int) -> Callable[[int], None]:
    return lambda count: None if on_progress is None else on_progress(task, count, total)
