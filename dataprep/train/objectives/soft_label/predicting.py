"""Score the rows of files with a trained classifier, in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.errors import RowError, UsageError
from dataprep.core.jsonl import to_line
from dataprep.core.ledger import Ledger
from dataprep.core.optional import quiet, require
from dataprep.models.loading import files_of_model
from dataprep.train.objectives.soft_label.classes import name_of
from dataprep.train.objectives.soft_label.ensemble import Member, load_ensemble
from dataprep.train.objectives.soft_label.rows import (
    COLUMN,
    Encoded,
    Scorer,
    check_fields,
    length,
    logits_of,
    texts_of,
    usual_fields,
)
from dataprep.train.options import PredictOptions

# A classifier's number, its share of the mean, and a row's texts as it reads them.
_Task = tuple[int, float, Encoded]
# A row, its tasks, and the numbers of the cross-fit runs that recognise it.
_Row = tuple[dict[str, Any], list[_Task], list[int]]
# The share of recognised rows below which there is a warning.
_FEW = 0.5


@dataclass
class Predicted(Ledger):
    """The rows that were scored.

    Attributes:
        recognised: with `cross_fit`, for each run the number of written rows that it was trained on.
    """

    recognised: dict[str, int] = field(default_factory=dict)

    def warnings(self) -> list[str]:
        """Return a sentence for each run that knows few of the rows."""
        return [
            f"{run}: {count:,} of {self.rows_out:,} rows are recognised as its training rows. A training row "
            "whose text was changed gets the mean of teachers that have seen it: give rows with the texts "
            "that `train --cross-fit` read"
            for run, count in self.recognised.items()
            if count < _FEW * self.rows_out
        ]


def predict_files(
    model: str | Path | Sequence[str | Path],
    inputs: Sequence[str | Path],
    output: str | Path = files.STDIO,
    *,
    options: PredictOptions | None = None,
    rejects: str | Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Predicted:
    """Add a prediction and the probabilities of all classes to the rows of files.

    In CSV and TSV the probabilities are columns `prob_CLASS`.

    Args:
        model: a small network's file, the directory of a run, or a classifier's directory; of several, the
            rows get the mean of the probabilities.
        inputs: files of rows in any format; `-` is standard input.
        output: the file for the rows.
        options: the options.
        rejects: a file for bad rows. Defaults to stopping at the first one.
        progress: called with the number of input bytes that were read.

    Returns:
        The number of rows read, written and rejected, and of those that cross-fit runs recognised.

    Raises:
        FileError: the model or a file cannot be read, or the output cannot be written.
        InputError: a row is bad and there is no file for rejects, or a file has no rows.
        UsageError: an option cannot be served.
    """
    options = options or PredictOptions()
    for package in ("torch", "transformers", "safetensors"):
        require(package, extra="train", feature="scoring with a student")
    paths = [str(path) for path in inputs]
    if not paths:
        raise UsageError("there is nothing to score: give at least one file")
    if paths.count(files.STDIO) > 1:
        raise UsageError("- is given twice: standard input can be read once")
    models = [model] if isinstance(model, str | Path) else list(model)
    kept = [path for each in models for path in files_of_model(each)]
    files.check_apart([output], kept)
    files.check_distinct(rejects, [output], [*paths, *kept])
    for path in paths:
        files.check_input(path)
    flat = files.format_of(output).kind in ("csv", "tsv")
    with quiet():
        members = load_ensemble([*map(str, models)], cross_fit=options.cross_fit)
        operator, ledger = Scoring(members, options, flat=flat), Predicted()
    blocks = chain.from_iterable(files.read_row_blocks(path) for path in paths)
    # It imports torch, which may be missing.
    from dataprep.train.hardware.device import computing_with, threads_for

    scorers = (scorer for member in members for scorer in member.scorers)
    threads = max(threads_for(scorer.model, options.device) for scorer in scorers)
    with computing_with(threads), files.open_rejects(rejects) as bad, files.open_output(str(output)) as out:
        counts = engine.run_into(blocks, operator, out, ledger, bad, paths=paths, progress=progress)
        ledger.check()
    if options.cross_fit:
        ledger.recognised = {str(run): counts[number] for number, run in enumerate(models)}
    return ledger


def _number_of(name: str) -> Any:
    """Return the number that a class's name is, or the name if JSON's numbers do not hold all its digits."""
    number = orjson.loads(name)
    return number if name_of(number) == name else name


def _check_recognised(member: Member, fields: Sequence[str]) -> None:
    """Raise `UsageError` if other fields hide which rows the teachers of a cross-fit run have seen."""
    own = member.scorers[0].fields
    if member.folds and own and fields and tuple(fields) != tuple(own):
        raise UsageError(
            f"--fields {','.join(fields)}: --cross-fit knows the rows that a teacher has seen by their "
            f"{','.join(own)}; leave --fields out"
        )


class Scoring:
    """The operator of `predict`: adds predictions to a block of rows."""

    def __init__(
        self, scorer: Scorer | Sequence[Member], options: PredictOptions, *, flat: bool = False
    ) -> None:
        from dataprep.train.hardware.device import check_gpu

        check_gpu(options.device)
        self._members = [Member([scorer])] if isinstance(scorer, Scorer) else scorer
        self._options, self._flat = options, flat
        self._scorers = [scorer for member in self._members for scorer in member.scorers]
        classes = self._scorers[0].classes
        # Classes that are numbers are written as numbers.
        self._classes = classes.names
        self._names = [*map(_number_of, classes.names)] if classes.ordered else [*classes.names]
        prefix = COLUMN if options.probs == PredictOptions().probs else f"{options.probs}_"
        self._columns = [prefix + name for name in classes.names]
        # The columns of each model's probabilities, in the order of the first model's classes.
        self._orders = [[*map(scorer.classes.names.index, classes.names)] for scorer in self._scorers]
        for member in self._members:
            _check_recognised(member, options.fields)
        self._limits = [scorer.limits(options.max_length, options.truncation) for scorer in self._scorers]
        for model in self._scorers:
            check_fields(model, options.fields)
            model.model.to(options.device).eval()

    def __call__(self, block: files.Block) -> engine.Outcome:
        """Score a block's rows in batches."""
        read = engine.read_block(block, self._take)
        read.outcome.put(b"".join(self._scored(read.rows)))
        read.outcome.counts = Counter(number for *_, known in read.rows for number in known)
        return read.outcome

    def _take(self, row: dict[str, Any]) -> _Row:
        options = self._options
        probs = self._columns if self._flat else [options.probs]
        if existing := [field for field in (options.prediction, *probs) if field in row]:
            advice = "name another with --prediction or --probs"
            if existing[0] in self._columns:
                advice = "name others with --prediction and --probs, or write .jsonl"
            raise RowError(f"field {existing[0]!r} exists already", advice)
        to_line(row)  # refuses, before the work, a row that could not be written with its scores
        tasks, known, first = [], [], 0
        for position, member in enumerate(self._members):
            fields = options.fields or member.scorers[0].fields or usual_fields(row)
            texts = texts_of(row, fields)
            fold = member.fold_of(texts)
            known += [] if fold is None else [position]
            numbers = range(len(member.scorers)) if fold is None else [fold]
            share = 1 / len(numbers) / len(self._members)
            for number in numbers:
                place = first + number
                encoded = self._scorers[place].encode_within(texts, *self._limits[place])
                tasks.append((place, share, encoded))
            first += len(member.scorers)
        return row, tasks, known

    def _scored(self, rows: list[_Row]) -> list[bytes]:
        size = self._options.batch_size
        totals = [[0.0] * len(self._names) for _ in rows]
        for number, order in enumerate(self._orders):
            tasks = [
                (index, share, encoded)
                for index, (_, given, _) in enumerate(rows)
                for scorer, share, encoded in given
                if scorer == number
            ]
            # Rows of similar length in one batch need little padding.
            tasks.sort(key=lambda task: length(task[2]))
            for start in range(0, len(tasks), size):
                batch = tasks[start : start + size]
                found = self._probs(self._scorers[number], [encoded for *_, encoded in batch])
                for (index, share, _), probs in zip(batch, found, strict=True):
                    total = totals[index]
                    for place, column in enumerate(order):
                        total[place] += share * probs[column]
        return [self._line(row, probs) for (row, *_), probs in zip(rows, totals, strict=True)]

    def _probs(self, scorer: Scorer, texts: list[Encoded]) -> list[list[float]]:
        import torch

        tensors = {name: tensor.to(self._options.device) for name, tensor in scorer.collate(texts).items()}
        with torch.inference_mode():
            # In float64, so that the probabilities add up to 1 after rounding.
            probs: list[list[float]] = logits_of(scorer.model, tensors).double().softmax(-1).tolist()
        return probs

    def _line(self, row: dict[str, Any], probs: list[float]) -> bytes:
        best = self._names[max(range(len(probs)), key=probs.__getitem__)]
        # Six significant digits: the last bits differ between machines and batch sizes.
        rounded = [float(f"{value:.6g}") for value in probs]
        row = {**row, self._options.prediction: best}
        if self._flat:
            row |= dict(zip(self._columns, rounded, strict=True))
        else:
            row[self._options.probs] = dict(zip(self._classes, rounded, strict=True))
        return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
