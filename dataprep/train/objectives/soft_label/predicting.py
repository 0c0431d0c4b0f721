"""Score the rows of files with a trained classifier, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from dataprep.train.objective import check_max_length
from dataprep.train.objectives.soft_label.rows import (
    COLUMN,
    Encoded,
    Scorer,
    length,
    logits_of,
    texts_of,
    usual_fields,
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
    """Add a prediction and the probabilities of all classes to the rows of files.

    In CSV and TSV the probabilities are columns `prob_CLASS`.

    Args:
        model: a small network's file, the directory of a run, or a classifier's directory.
        inputs: files of rows in any format; `-` is standard input.
        output: the file for the rows.
        options: the options.
        rejects: a file for bad rows. Defaults to stopping at the first one.
        progress: called with the number of input bytes that were read.

    Returns:
        The number of rows read, written and rejected.

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
    files.check_distinct(rejects, [output], paths)
    for path in paths:
        files.check_input(path)
    flat = files.format_of(output).kind in ("csv", "tsv")
    # It imports torch, which may be missing.
    from dataprep.train.objectives.soft_label.classifier import load_scorer

    with quiet():
        operator, ledger = Scoring(load_scorer(str(model)), options, flat=flat), Ledger()
    blocks = chain.from_iterable(files.read_row_blocks(path) for path in paths)
    with files.open_rejects(rejects) as bad, files.open_output(str(output)) as out:
        engine.run_into(blocks, operator, out, ledger, bad, paths=paths, progress=progress)
        ledger.check()
    return ledger


class Scoring:
    """The operator of `predict`: adds predictions to a block of rows."""

    def __init__(self, scorer: Scorer, options: PredictOptions, *, flat: bool = False) -> None:
        import torch

        if options.device == "cuda" and not torch.cuda.is_available():
            raise UsageError("--device cuda: torch finds no GPU; leave the option out to use the CPU")
        self._scorer, self._options, self._flat = scorer, options, flat
        self._fields = options.fields or scorer.fields
        self._limit = check_max_length(options.max_length, scorer.context_length)
        names = scorer.classes.names
        # Classes that are numbers are written as numbers.
        self._names = [orjson.loads(name) for name in names] if scorer.classes.ordered else [*names]
        self._columns = [COLUMN + name for name in names]
        scorer.model.to(options.device).eval()

    def __call__(self, block: files.Block) -> engine.Outcome:
        """Score a block's rows in batches."""
        read = engine.read_block(block, self._take)
        read.outcome.put(b"".join(self._scored(read.rows)))
        return read.outcome

    def _take(self, row: dict[str, Any]) -> tuple[dict[str, Any], Encoded]:
        options = self._options
        probs = self._columns if self._flat else [options.probs]
        if existing := [field for field in (options.prediction, *probs) if field in row]:
            advice = "name another with --prediction or --probs"
            if existing[0] in self._columns:
                advice = "name others with --prediction and --probs, or write .jsonl"
            raise RowError(f"field {existing[0]!r} exists already", advice)
        to_line(row)  # refuses, before the work, a row that could not be written with its scores
        texts = texts_of(row, self._fields or usual_fields(row))
        return row, self._scorer.encode_within(texts, self._limit, options.truncation)

    def _scored(self, rows: list[tuple[dict[str, Any], Encoded]]) -> list[bytes]:
        size = self._options.batch_size
        lines = [b""] * len(rows)
        # Rows of similar length in one batch need little padding.
        order = sorted(range(len(rows)), key=lambda number: length(rows[number][1]))
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            for index, probs in zip(batch, self._probs([rows[index][1] for index in batch]), strict=True):
                lines[index] = self._line(rows[index][0], probs)
        return lines

    def _probs(self, texts: list[Encoded]) -> list[list[float]]:
        import torch

        collated = self._scorer.collate(texts)
        tensors = {name: tensor.to(self._options.device) for name, tensor in collated.items()}
        with torch.inference_mode():
            # In float64, so that the probabilities add up to 1 after rounding.
            probs: list[list[float]] = logits_of(self._scorer.model, tensors).double().softmax(-1).tolist()
        return probs

    def _line(self, row: dict[str, Any], probs: list[float]) -> bytes:
        best = self._names[max(range(len(probs)), key=probs.__getitem__)]
        # Six significant digits: the last bits differ between machines and batch sizes.
        rounded = [float(f"{value:.6g}") for value in probs]
        row = {**row, self._options.prediction: best}
        if self._flat:
            row |= dict(zip(self._columns, rounded, strict=True))
        else:
            row[self._options.probs] = dict(zip(self._scorer.classes.names, rounded, strict=True))
        return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
