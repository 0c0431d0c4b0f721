"""Train the teachers of `--cross-fit`: each on all folds of the rows but one.

The directory of such a run has a run for each fold, `fold-0`, `fold-1` and so on, the rows of each fold in
`rows/`, and, when all teachers are trained, `folds.json` with the fold of each row by its digest.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from dataprep.core.errors import InputError, RowError, UsageError
from dataprep.core.io import Rejects, open_output, open_rejects, write_text
from dataprep.core.jsonl import any_line
from dataprep.core.ledger import Ledger
from dataprep.core.sampling import shuffled_order
from dataprep.core.urls import is_url
from dataprep.train.objective import file_facts
from dataprep.train.objectives.soft_label.classes import Classes, classes_of, name_of
from dataprep.train.objectives.soft_label.ensemble import digest_of
from dataprep.train.objectives.soft_label.rows import JudgedRow, judged_rows
from dataprep.train.options import TrainOptions
from dataprep.train.run_dir import FOLDS_FILE, RunDir, fold_name, working_in

ROWS = "rows"


def check_cross_fit(places: Sequence[str]) -> None:
    """Raise `UsageError` for what several runs in one directory cannot do."""
    if "RANK" in os.environ:
        raise UsageError("--cross-fit trains one teacher after another in one process: leave torchrun out")
    if urls := [place for place in places if is_url(place)]:
        raise UsageError(f"{urls[0]}: --cross-fit reads and writes files of this machine; copy them first")


def train_folds(
    train: Callable[..., Any],
    data: Sequence[str],
    eval_data: Sequence[str],
    output: str,
    options: TrainOptions,
    rejects: str | Path | None,
    log: Callable[[str], None],
    *,
    resume: bool = False,
) -> dict[str, Any]:
    """Train a teacher for each fold; folds that are done are not trained again.

    Args:
        train: `dataprep.train.run.train`, with what all folds share; it trains one teacher.
        data: files of judged rows, all to be divided.
        eval_data: rows to measure each teacher on. Defaults to the fold that it was not trained on.
        output: the directory of the run.
        options: the options, with `cross_fit` set.
        rejects: a file for bad rows. Without it, the first bad row raises.
        log: called with each line of messages.
        resume: continue a run that was stopped.

    Returns:
        The sums of steps, tokens and seconds, and the means of losses and metrics over the folds.

    Raises:
        UsageError: there are fewer groups of rows than folds, or the run was begun with other options.
        InputError: a row is bad, or the rows name no classes.
    """
    assert options.cross_fit is not None
    run_dir, count = RunDir(output), options.cross_fit
    with working_in(run_dir.path):
        run_dir.begin(options, data, eval_data, rejects, resume=resume)
        with run_dir.preparing():
            rows = _read(data, options, rejects, log)
            folds = assign_folds(rows, count, options.fold_by, options.seed)
            files = {"train": file_facts(data)} | ({"eval": file_facts(eval_data)} if eval_data else {})
            run_dir.record({"folds": count, "data": files, "rows": {"train": len(rows)}}, resume=resume)
            paths = _write_rows(run_dir.path / ROWS, rows, folds, count)
        one_fold = replace(_with_classes(options, rows, folds), cross_fit=None, fold_by=None)
        results = []
        for fold, held_out in enumerate(paths):
            others = [path for path in paths if path != held_out]
            log(f"fold {fold + 1} of {count}: {folds.count(fold):,} of {len(rows):,} rows are left out")
            measured = list(eval_data) or [held_out]
            done = train(others, measured, run_dir.path / fold_name(fold), options=one_fold)
            results.append(done.results)
        # Last: the file says that all teachers are there.
        rows_of = {digest_of(row.texts): fold for row, fold in zip(rows, folds, strict=True)}
        document = {"folds": count, "fold_by": options.fold_by, "rows": rows_of}
        text = orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()
        write_text(text, str(run_dir.path / FOLDS_FILE))
        total = together(results)
        run_dir.finish(total)
    return total


def _read(
    data: Sequence[str], options: TrainOptions, rejects: str | Path | None, log: Callable[[str], None]
) -> list[JudgedRow]:
    known, ledger = [*map(name_of, options.classes)], Ledger()
    with open_rejects(rejects) as bad:
        shared: dict[str, Any] = {"known": known, "rejects": bad, "ledger": ledger}
        found = judged_rows(data, options.fields, options.label, **shared, whole=True, labelled=True)
        rows = []
        for row in found:
            if options.fold_by is not None and options.fold_by not in (row.fields or {}):
                bad.add(row.where, f"missing field {options.fold_by!r}: --fold-by names it", row.text)
                ledger.fail("missing field of --fold-by")
                continue
            rows.append(row)
        # Here, and not in a fold's run, which would name a file of `rows/` and has no file for rejects.
        if not rows:
            raise InputError(", ".join(data), "no row is left to train on")
        classes = Classes(tuple(known)) if known else _classes_of(rows)
        rows = [row for row in rows if _fits(row, classes, bad, ledger)]
    ledger.rows_out = len(rows)
    log(f"{', '.join(data)}: {ledger}")
    return rows


def _classes_of(rows: Sequence[JudgedRow]) -> Classes:
    try:
        return classes_of((row.gold, row.teacher) for row in rows)
    except RowError as error:
        raise InputError(str(rows[0].where.path), str(error)) from None


def _fits(row: JudgedRow, classes: Classes, bad: Rejects, ledger: Ledger) -> bool:
    """Return whether label and probabilities are those of the classes; set the row aside if not."""
    try:
        if row.gold is not None:
            classes.index(row.gold)
        if row.teacher is not None:
            classes.log_probs(row.teacher)
    except RowError as error:
        bad.add(row.where, str(error), row.text)
        ledger.fail(error.reason)
        return False
    return True


def assign_folds(rows: Sequence[JudgedRow], count: int, group: str | None, seed: int) -> list[int]:
    """Return the fold of each row; rows with the same text, or of the same group, are in the same fold.

    Groups are shuffled with the seed, and each goes to the fold that is smallest by then.
    """
    # A text that occurs in two groups joins them: a teacher would have seen it otherwise.
    first_of: dict[Any, int] = {}
    joined = list(range(len(rows)))

    def root(number: int) -> int:
        while joined[number] != number:
            joined[number] = joined[joined[number]]
            number = joined[number]
        return number

    for number, row in enumerate(rows):
        keys: list[Any] = [row.texts]
        if group is not None and row.fields is not None:
            keys.append(any_line(row.fields[group]))
        for key in keys:
            joined[root(number)] = root(first_of.setdefault(key, number))
    members: dict[int, list[int]] = {}
    for number in range(len(rows)):
        members.setdefault(root(number), []).append(number)
    groups = list(members.values())
    if len(groups) < count:
        kind = "different texts" if group is None else f"values of {group!r} that share no text"
        raise UsageError(f"--cross-fit {count}: found {len(groups):,} {kind}; expected one for each fold")
    folds, sizes = [0] * len(rows), [0] * count
    for place in shuffled_order(len(groups), seed).tolist():
        fold = sizes.index(min(sizes))
        sizes[fold] += len(groups[place])
        for number in groups[place]:
            folds[number] = fold
    return folds


def _write_rows(folder: Path, rows: Sequence[JudgedRow], folds: Sequence[int], count: int) -> list[str]:
    folder.mkdir(exist_ok=True)
    paths = [str(folder / f"{fold}.jsonl") for fold in range(count)]
    for fold, path in enumerate(paths):
        with open_output(path) as out:
            for row, own in zip(rows, folds, strict=True):
                if own == fold:
                    out.write(any_line(row.fields) + b"\n")
    return paths


def _with_classes(options: TrainOptions, rows: Sequence[JudgedRow], folds: Sequence[int]) -> TrainOptions:
    """Return the options with the classes named, if a teacher would not see all of them."""
    if options.classes:
        return options
    classes = _classes_of(rows)

    def sees_all(fold: int) -> bool:
        seen = [row for row, own in zip(rows, folds, strict=True) if own != fold]
        try:
            return classes_of((row.gold, row.teacher) for row in seen) == classes
        except RowError:  # only one class is left
            return False

    return options if all(map(sees_all, set(folds))) else replace(options, classes=classes.names)


def together(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the results of all folds as one: sums of what was done, means of what was measured."""
    sums = {name: sum(result[name] for result in results) for name in ("steps", "tokens", "seconds")}
    metrics = [result.get("metrics", {"rows": 0}) for result in results]
    rows = [found["rows"] for found in metrics]
    baselines = [result.get("baselines", {}) for result in results]
    means = _means(results, [1] * len(results))
    warnings = [
        f"{fold_name(fold)}: {warning}"
        for fold, result in enumerate(results)
        for warning in result.get("warnings", ())
    ]
    return (
        means
        | sums
        | {"metrics": {"rows": sum(rows)} | _means(metrics, rows) | _means(baselines, rows)}
        | ({"warnings": warnings} if warnings else {})
    )


def _means(values: Sequence[Mapping[str, Any]], weights: Sequence[int]) -> dict[str, float]:
    """Return the weighted mean of each number that all of the results have, except whole numbers."""
    names = [name for name in values[0] if all(isinstance(found.get(name), float) for found in values)]
    pairs = list(zip(values, weights, strict=True))
    return {name: sum(found[name] * weight for found, weight in pairs) / sum(weights) for name in names}
