"""Shards with a teacher's likeliest tokens, which `dataprep capture` has stored."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch

from dataprep.core.errors import InputError, UsageError
from dataprep.tokens.logits.files import DATA
from dataprep.tokens.logits.reading import Logits
from dataprep.tokens.shards.manifest import is_shards
from dataprep.train.objective import TrainContext, TrainData
from dataprep.train.objectives.sft import PART, Documents

if TYPE_CHECKING:
    from dataprep.train.objective import Batch

TEACHER = "teacher"


class DocumentsWithLogits(Documents):
    """Documents, or packed sequences of them, with the distributions of a teacher at one temperature."""

    def __init__(self, documents: Documents, logits: Logits, temperature: float) -> None:
        super().__init__(documents.shards)
        self._logits, self._temperature = logits, temperature

    @property
    def files(self) -> list[dict[str, Any]]:
        """Name and SHA-256 of each file that the shards were made from, and of the logits."""
        return [*super().files, {"name": DATA, **self._logits.manifest["files"][DATA]}]

    def batch(self, items: Sequence[int]) -> Batch:
        """Return the documents' batch with `top_ids`, `top_logprobs` and `rest_logprobs`.

        Of N tokens in the loss, they have the shapes `(N, K)`, `(N, K)` and `(N,)`.
        """
        batch = super().batch(items)
        numbers = (
            chain.from_iterable(map(self.shards.documents_in, items)) if self.shards.sequences else items
        )
        top = self._logits.batch(list(numbers))
        if top.positions.size != batch.counts[PART]:
            found = f"{top.positions.size:,} positions for {batch.counts[PART]:,} tokens in the loss"
            raise InputError(self._logits.path, f"found {found} of {self.describe_item(items[0])}")
        listed, rest = top.at(self._temperature)
        batch.tensors |= {"top_ids": torch.from_numpy(top.ids), "top_logprobs": torch.from_numpy(listed)}
        batch.tensors["rest_logprobs"] = torch.from_numpy(rest)
        batch.counts[TEACHER] = batch.counts[PART]
        return batch


def with_logits(data: TrainData, context: TrainContext) -> TrainData:
    """Return a run's data with the logits of its shards; evaluation rows have none."""
    options = context.options
    assert options.teacher_logits is not None
    if not is_shards(context.data[0]):
        raise UsageError(
            f"--teacher-logits: {context.data[0]} is a file of rows; give the directory of shards that the "
            "logits were captured from"
        )
    logits = Logits.open(options.teacher_logits, shards=data.train.shards)
    if options.temperature not in logits.temperatures:
        known = " or ".join(f"{value:g}" for value in logits.temperatures)
        raise UsageError(
            f"--temperature {options.temperature:g}: {logits.path} was captured for {known}: give "
            f"--temperature {logits.temperatures[0]:g}, or capture it again with the temperature"
        )
    context.log(
        f"{logits.path}: the {logits.top_k:,} likeliest tokens of {logits.manifest['teacher']['name']} at "
        f"{logits.positions:,} tokens in the loss"
    )
    return TrainData(DocumentsWithLogits(data.train, logits, options.temperature), data.eval)
