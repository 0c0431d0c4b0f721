"""The output layer and its loss for trained positions only, in chunks.

Over a vocabulary of 128,256, logits of one position are half a megabyte, and most positions of a
conversation are not trained on: what is never computed need not be kept.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from dataprep.train.layers.packed_attention import document_inputs, last_hidden

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHUNK_LOGITS = {"cpu": 1 << 25, "cuda": 1 << 28}
"""Logits that are there at a time."""


def cross_entropy_sum(layer: nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
    """The sum of ``-log p(target)`` over N positions, in float32, shape ``()``.

    Args:
        layer: the model's output layer, from hidden states to logits.
        hidden: what it is given, shape ``(N, hidden)``.
        targets: token ids, shape ``(N,)``.
    """
    if type(layer) is nn.Linear:
        return _LinearCrossEntropy.apply(hidden, layer.weight, layer.bias, targets, torch.is_grad_enabled())

    def loss(part: Tensor, wanted: Tensor) -> Tensor:
        return functional.cross_entropy(layer(part).float(), wanted, reduction="sum")

    return chunked(loss, rows_at_a_time(layer, hidden), hidden, targets)


def cross_entropy_sums(
    layer: nn.Module, hidden: Tensor, targets: Tensor, sizes: Sequence[int]
) -> list[Tensor]:
    """``cross_entropy_sum`` over each of the stretches of positions that are so long, one after the other."""
    parts = zip(hidden.split(list(sizes)), targets.split(list(sizes)), strict=True)
    return [cross_entropy_sum(layer, *part) for part in parts]


def chunked(loss: Callable[..., Tensor], rows: int, *tensors: Tensor) -> Tensor:
    """The sum of ``loss`` over chunks of ``rows`` rows; what it computes is computed again, not kept."""
    total = tensors[0].new_zeros((), dtype=torch.float32)
    for parts in zip(*(each.split(rows) for each in tensors), strict=True):
        total = total + checkpoint(loss, *parts, use_reentrant=False)
    return total


def rows_at_a_time(layer: nn.Module, hidden: Tensor) -> int:
    """How many positions' logits are computed together."""
    return _rows_of(hidden, _width(layer))


def _rows_of(hidden: Tensor, vocabulary: int) -> int:
    return max(1, CHUNK_LOGITS.get(hidden.device.type, CHUNK_LOGITS["cpu"]) // vocabulary)


def _width(layer: nn.Module) -> int:
    return int(layer.out_features) if hasattr(layer, "out_features") else int(layer.weight.shape[0])


class _LinearCrossEntropy(torch.autograd.Function):
    """Logits, loss and gradients of a linear layer, chunk by chunk, in one pass.

    The gradient of a chunk's logits is known as soon as they are: softmax less one-hot. It is turned into the
    gradients of hidden states and weights at once, and the logits are let go.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, wants_gradient: bool
    ) -> Tensor:
        kind = torch.get_autocast_dtype(hidden.device.type) if _autocasts(hidden) else hidden.dtype
        inputs, matrix = hidden.to(kind), weight.to(kind)
        needs = [
            each is not None and each.requires_grad and wants_gradient for each in (hidden, weight, bias)
        ]
        for_hidden = torch.empty_like(inputs) if needs[0] else None
        for_weight = torch.zeros_like(weight) if needs[1] else None
        for_bias = torch.zeros_like(bias) if needs[2] and bias is not None else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        rows = _rows_of(hidden, weight.shape[0])
        # One room for all chunks: what is asked of the system anew is cleared by it, page by page.
        room = inputs.new_empty(min(rows, targets.shape[0]), weight.shape[0])
        for start in range(0, targets.shape[0], rows):
            part, wanted = inputs[start : start + rows], targets[start : start + rows, None]
            product = torch.mm(part, matrix.T, out=room[: part.shape[0]])
            logits = (product if bias is None else product.add_(bias.to(kind))).float()
            own = logits.gather(1, wanted)
            top = logits.amax(dim=-1, keepdim=True)
            shares = logits.sub_(top).exp_()
            whole = shares.sum(dim=-1, keepdim=True)
            total += (top + whole.log() - own).sum()
            if not any(needs):
                continue
            shares.div_(whole).scatter_add_(1, wanted, torch.full_like(whole, -1.0))
            slope = shares.to(kind)
            if for_hidden is not None:
                torch.mm(slope, matrix, out=for_hidden[start : start + rows])
            if for_weight is not None:
                _add_product(for_weight, slope.T, part)
            if for_bias is not None:
                for_bias += shares.sum(dim=0)
        ctx.save_for_backward(for_hidden, for_weight, for_bias)
        ctx.kind = hidden.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        for_hidden, for_weight, for_bias = ctx.saved_tensors
        scaled = [
            None if each is None else each.mul_(outer[0]) for each in (for_hidden, for_weight, for_bias)
        ]
        if scaled[0] is not None:
            scaled[0] = scaled[0].to(ctx.kind)
        return (*scaled, None, None)


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """``total += left @ right``, of which the product may be of a narrower type."""
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


def _autocasts(tensor: Tensor) -> bool:
    return torch.is_autocast_enabled(tensor.device.type)


class OutputLayer:
    """A model's output layer, by which its loss is computed at some positions only.

    Most classes end with a linear layer. Where a class does more to its logits (caps or scales them), they
    are taken from the model as they are, for these positions, all at once.

    Args:
        model: the model; looked at once, in evaluation mode.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.selects = "logits_to_keep" in inspect.signature(model.forward).parameters
        self.plain = self._ends_with_layer(model)

    def hidden(self, model: Any, inputs: dict[str, Any], where: Tensor) -> Tensor:
        """What the layer is given at positions of one row, shape ``(N, hidden)``."""
        if self.selects:
            return last_hidden(model, **inputs, logits_to_keep=where)[0]
        return last_hidden(model, **inputs)[0, where]

    def logits(self, model: Any, inputs: dict[str, Any], where: Tensor) -> Tensor:
        """The model's own logits at positions of one row, shape ``(N, vocabulary)``."""
        if self.selects:
            return model(**inputs, use_cache=False, logits_to_keep=where).logits[0]
        return model(**inputs, use_cache=False).logits[0, where]

    def loss(self, model: Any, inputs: dict[str, Any], where: Tensor, targets: Tensor) -> Tensor:
        """The sum of ``-log p(target)`` at positions of one row; ``where`` and ``targets`` ``(N,)``."""
        return self.losses(model, inputs, where, targets, [targets.shape[0]])[0]

    def losses(
        self, model: Any, inputs: dict[str, Any], where: Tensor, targets: Tensor, sizes: Sequence[int]
    ) -> list[Tensor]:
        """The same for each of the stretches of positions that are so long, out of one forward pass."""
        if self.plain:
            layer = model.get_output_embeddings()
            return cross_entropy_sums(layer, self.hidden(model, inputs, where), targets, sizes)
        logits = self.logits(model, inputs, where).float().split(list(sizes))
        parts = zip(logits, targets.split(list(sizes)), strict=True)
        return [functional.cross_entropy(*part, reduction="sum") for part in parts]

    @torch.no_grad()
    def _ends_with_layer(self, model: PreTrainedModel) -> bool:
        """Whether the logits are the layer's, with nothing done to them afterwards."""
        training = model.training
        model.eval()
        try:
            device = next(model.parameters()).device
            ids = torch.arange(6, device=device)
            inputs = document_inputs(ids, torch.tensor([0, 6], dtype=torch.int32, device=device))
            hidden = self.hidden(model, inputs, ids)
            found = model.get_output_embeddings()(hidden)
            return bool(torch.allclose(found, self.logits(model, inputs, ids), rtol=1e-4, atol=1e-5))
        finally:
            model.train(training)
