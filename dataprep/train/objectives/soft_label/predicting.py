"""Files scored by a trained classifier, row by row, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.errors import RowError, UsageError
from dataprep.core.ledger import Ledger
from dataprep.core.optional import quiet, require
from dataprep.datasets import source_rows
from dataprep.train.objectives.soft_label.loading import load_scorer
from dataprep.train.objectives.soft_label.rows import COLUMN, texts_of, usual_fields
from dataprep.train.objectives.soft_label.scorers import (
    Encoded,
    Scorer,
    length,
    logits_of,
)
from dataprep.train.options import PredictOptions


def predict_files(
    model: str | Path,
    inputs: Sequence[str | Path],
    output: str | Path = files.STDIO,
    *,
    options: PredictOptions | None = None,
    rejects: str | Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Ledger:
    """Score the rows of files; each keeps its fields and gets a prediction and probabilities by class.

    In CSV and TSV the probabilities are columns ``prob_CLASS``.

    Args:
        model: a tiny network's file, the directory of a run, or a classifier's as ``transformers`` saves it.
        inputs: files of rows in any format; ``-`` is standard input.
        output: where the rows go.
        options: how they are scored.
        rejects: go on after bad rows and write them here.
        progress: called with the bytes of input that were worked off.

    Raises:
        FileError: the model or a file cannot be read, or the output not be written.
        InputError: a row is bad and there is no file of rejects, or a file has no rows.
        UsageError: an option that cannot be served.
    """
    options = options or PredictOptions()
    for package in ("torch", "transformers", "safetensors"):
        require(package, extra="train", feature="scoring with a student")
    paths = [str(path) for path in inputs]
    if not paths:
        raise UsageError("there is nothing to score: give at least one file")
    if paths.count(files.STDIO) > 1:
        raise UsageError("- stands twice: standard input can be read once")
    files.check_distinct(rejects, [output], paths)
    for path in paths:
        files.check_input(path)
    flat = files.format_of(output).kind in ("csv", "tsv")
    with quiet():
        operator, ledger = Scoring(load_scorer(str(model)), options, flat=flat), Ledger()
    blocks = chain.from_iterable(source_rows.blocks(path) for path in paths)
    with (
        files.open_rejects(rejects) as bad,
        files.open_output(str(output)) as out,
    ):
        engine.run_into(blocks, operator, out, ledger, bad, paths=paths, progress=progress)
        ledger.check()
    return ledger


def _usable(device: str) -> str:
    """The device, where there is one.

    Raises:
        UsageError: there is none.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no GPU; leave the option out to use the CPU")
    return device


class Scoring:
    """The operator of ``predict``: a block of rows in, the same rows with their predictions out.

    Args:
        scorer: scores them.
        options: how.
        flat: probabilities are columns of their own instead of an object.
    """

    def __init__(self, scorer: Scorer, options: PredictOptions, *, flat: bool = False) -> None:
        self._scorer, self._options, self._flat = scorer, options, flat
        self._fields = options.fields or scorer.fields
        self._limit = scorer.limit(options.max_length)
        names = scorer.classes.names
        self._names: list[Any] = (
            [orjson.loads(name) for name in names] if scorer.classes.ordered else [*names]
        )
        self._columns = [COLUMN + name for name in names]
        scorer.model.to(_usable(options.device)).eval()

    def __call__(self, block: files.Block) -> engine.Outcome:
        """Score a block's rows in batches."""
        read = engine.read_block(block, self._take)
        read.outcome.put(b"".join(self._scored(read.rows)))
        return read.outcome

    def _take(self, row: dict[str, Any]) -> tuple[dict[str, Any], Encoded]:
        """Return a row with its encoded texts.

        Raises:
            RowError: it lacks its text, or has one of the fields that it is to get.
            RowDropped: it is too long.
        """
        options = self._options
        probs = self._columns if self._flat else [options.probs]
        for field in (options.prediction, *probs):
            if field in row:
                raise RowError(
                    f"field {field!r} is there already",
                    "name others with --prediction and --probs, or write .jsonl"
                    if field in self._columns
                    else "name another with --prediction or --probs",
                )
        texts = texts_of(row, self._fields or usual_fields(row))
        return row, self._scorer.encode_within(texts, self._limit, options.truncation)

    def _scored(self, rows: list[tuple[dict[str, Any], Encoded]]) -> list[bytes]:
        """Return the output lines of rows, in their order."""
        size = self._options.batch_size
        lines = [b""] * len(rows)
        # Rows of like length together: little is filled up.
        order = sorted(range(len(rows)), key=lambda number: length(rows[number][1]))
        for start in range(0, len(order), size):
            numbers = order[start : start + size]
            for number, probs in zip(numbers, self._probs([rows[each][1] for each in numbers]), strict=True):
                lines[number] = self._line(rows[number][0], probs)
        return lines

    def _probs(self, texts: list[Encoded]) -> list[list[float]]:
        """The classes' probabilities for each text."""
        import torch

        tensors = {name: each.to(self._options.device) for name, each in self._scorer.collate(texts).items()}
        with torch.inference_mode():
            found: list[list[float]] = logits_of(self._scorer.model, tensors).double().softmax(-1).tolist()
        return found

    def _line(self, row: dict[str, Any], probs: list[float]) -> bytes:
        """A row with what it gets, probabilities to six significant digits."""
        best = self._names[max(range(len(probs)), key=probs.__getitem__)]
        shown = [float(f"{value:.6g}") for value in probs]
        row = {**row, self._options.prediction: best}
        if self._flat:
            row |= dict(zip(self._columns, shown, strict=True))
        else:
            row[self._options.probs] = dict(zip(self._scorer.classes.names, shown, strict=True))
        return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
