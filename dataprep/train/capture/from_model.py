"""A teacher in this process: a model of `transformers`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dataprep.core.errors import InputError
from dataprep.tokens.logits.coding import TopLogprobs
from dataprep.train.capture.base import Write, batches_to_do
from dataprep.train.capture.teacher_model import load_teacher
from dataprep.train.hardware.device import check_gpu, number_format
from dataprep.train.layers.output_layer import Head, OutputLayer
from dataprep.train.layers.packed_attention import document_inputs

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from dataprep.tokens.shards.reading import Shards
    from dataprep.train.capture.options import CaptureOptions


def precision_of(options: CaptureOptions) -> str:
    """Return the number format that options mean on this machine, after checking the device."""
    return number_format(options.precision, _device(options))


def _device(options: CaptureOptions) -> torch.device:
    check_gpu(options.device)
    if options.device != "auto":
        return torch.device(options.device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class ModelTeacher:
    """A model that reads documents in one row without padding, each by itself.

    Args:
        name: its directory, or its name on the Hub.
        shards: the shards, whose tokenizer must be the model's.
        options: device, number format, and what to keep.
    """

    def __init__(self, name: str, shards: Shards, options: CaptureOptions) -> None:
        self._device, self._options = _device(options), options
        advice = "make the shards with the teacher's tokenizer, which must be the student's too"
        self._model = load_teacher(name, shards.load_tokenizer(), shards, self._device, advice).eval()
        self._model.requires_grad_(False)
        self._output = OutputLayer(self._model)
        context = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        if context is not None and shards.longest > context:
            found = f"a document has {shards.longest:,} tokens, the teacher's context length is {context:,}"
            raise InputError(
                shards.path, f"{found}: make the shards again with `dataprep tokenize --max-length`"
            )

    def capture(self, shards: Shards, done: NDArray[np.bool_], write: Write) -> None:
        """Write the documents of each batch, in order."""
        for numbers in batches_to_do(done, self._options.batch_size):
            tops = self._batch(shards, numbers)
            write([(number, top) for number, top in zip(numbers, tops, strict=True) if not done[number]])

    def _batch(self, shards: Shards, numbers: Sequence[int]) -> list[TopLogprobs]:
        ids, masks = zip(*map(shards.document, numbers), strict=True)
        # No position predicts the first token.
        in_loss = [np.flatnonzero(mask[1:]) + 1 for mask in masks]
        bounds = np.cumsum([0, *(part.size for part in ids)])
        places = [where + start - 1 for where, start in zip(in_loss, bounds[:-1].tolist(), strict=True)]
        row, positions = np.concatenate(ids).astype(np.int64), np.concatenate(places)
        tensors = (torch.from_numpy(array) for array in (row, bounds.astype(np.int32), positions))
        arrays = self._arrays(*(tensor.to(self._device) for tensor in tensors), shards.vocab_size)
        cuts = np.cumsum([where.size for where in in_loss])[:-1]
        parts = zip(in_loss, *(np.split(array, cuts) for array in arrays), strict=True)
        return [
            TopLogprobs(where, ids, logprobs, tails, self._options.temperatures)
            for where, ids, logprobs, tails in parts
        ]

    @torch.no_grad()
    def _arrays(self, ids: Tensor, bounds: Tensor, positions: Tensor, vocab_size: int) -> list[NDArray[Any]]:
        """Return ids, log-probabilities and tails at the positions of documents in one row."""
        bfloat16 = self._options.precision == "bfloat16"
        with torch.autocast(self._device.type, dtype=torch.bfloat16) if bfloat16 else nullcontext():
            inputs = document_inputs(ids, bounds)
            head = self._output.head(self._model, inputs, positions)
            parts = [
                self._top(Head(head.layer, rows).layer(rows)[:, :vocab_size].float())
                for rows in head.features.split(head.rows)
            ]
        return [torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True)]

    def _top(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return ids, log-probabilities and tails of some positions; logits are `(N, vocabulary)`."""
        logprobs = torch.log_softmax(logits, dim=-1)
        ids = logprobs.topk(self._options.top_k, dim=-1).indices.sort(dim=-1).values
        top = logprobs.gather(1, ids)
        others = logprobs.scatter_(1, ids, float("-inf"))
        tails = [torch.logsumexp(others / value, dim=-1) for value in self._options.temperatures]
        return ids, top, torch.stack(tails, dim=1)
