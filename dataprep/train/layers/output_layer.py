"""The output layer and its loss, in chunks, at positions in the loss only.

With a vocabulary of 128,256, the logits of one position take half a megabyte, and most positions of a
conversation are not in the loss.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from dataprep.train.layers.packed_attention import document_inputs, last_hidden
from dataprep.train.layers.top_k import TeacherTop, divergence_of_top, losses_of_logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Maximum number of logits in memory at once, by device.
CHUNK_LOGITS = {"cpu": 1 << 25, "cuda": 1 << 28}


def cross_entropy_sum(layer: nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
    """Return the sum of `-log p(target)` over N positions, in float32, shape `()`.

    Args:
        layer: the model's output layer, from hidden states to logits.
        hidden: its input, shape `(N, hidden)`.
        targets: token ids, shape `(N,)`.
    """
    # torch.nn.functional.linear_cross_entropy (2.13) does the same in chunks. With 128,256 tokens and the
    # same chunks on the CPU in float32, it takes 1.08 (hidden size 128) and 1.09 (576) times our time, and
    # 270 and 645 MB where ours takes 200 and 420. Under autocast it ignores the lower precision; with inputs
    # cast to bfloat16, its sum is rounded to bfloat16 (3568 for 3576.6).
    if type(layer) is nn.Linear:
        return _LinearLoss.apply(hidden, layer.weight, layer.bias, targets, torch.is_grad_enabled())[0]

    def loss(part: Tensor, wanted: Tensor) -> Tensor:
        return functional.cross_entropy(layer(part).float(), wanted, reduction="sum")

    return chunked(loss, Head(layer, hidden).rows, hidden, targets)


def chunked(loss: Callable[..., Tensor], rows: int, *tensors: Tensor) -> Tensor:
    """Return the sum of `loss` over chunks, recomputed in the backward pass."""
    # Float32 also where the losses are bfloat16: a long sum would lose its last terms.
    total = tensors[0].new_zeros((), dtype=torch.float32)
    for parts in zip(*(tensor.split(rows) for tensor in tensors), strict=True):
        total = total + checkpoint(loss, *parts, use_reentrant=False)
    return total


def _rows_of(hidden: Tensor, vocabulary: int) -> int:
    """Return the number of positions in a chunk."""
    return max(1, CHUNK_LOGITS.get(hidden.device.type, CHUNK_LOGITS["cpu"]) // vocabulary)


def losses_with_teacher(
    layer: nn.Module, hidden: Tensor, targets: Tensor, top: TeacherTop
) -> tuple[Tensor, Tensor]:
    """Return the sums of `-log p(target)` and of the divergence from a teacher, each of shape `()`.

    Args:
        layer: a linear layer, from hidden states to logits.
        hidden: its input, shape `(N, hidden)`.
        targets: token ids, shape `(N,)`.
        top: the teacher's distributions at these positions. The gradient is right only for multiples of
            `(1 - top.share) · tokens + top.share · divergence`: both losses take one pass together.
    """
    sums = _LinearLoss.apply(hidden, layer.weight, layer.bias, targets, torch.is_grad_enabled(), *top)
    return sums[0], sums[1]


class _LinearLoss(torch.autograd.Function):
    """Losses and gradients of a linear layer, chunk by chunk, in one pass.

    The gradient of a chunk's logits is turned into gradients of hidden states and weights at once, so the
    logits of a chunk are never needed again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        wants_gradient: bool,
        *teacher: Any,
    ) -> Tensor:
        dtype = (
            torch.get_autocast_dtype(hidden.device.type)
            if torch.is_autocast_enabled(hidden.device.type)
            else hidden.dtype
        )
        inputs, matrix = hidden.to(dtype), weight.to(dtype)
        tensors = (hidden, weight, bias)
        needs = [wants_gradient and tensor is not None and tensor.requires_grad for tensor in tensors]
        for_hidden = torch.empty_like(inputs) if needs[0] else None
        for_weight = torch.zeros_like(weight) if needs[1] else None
        for_bias = torch.zeros_like(bias) if needs[2] and bias is not None else None
        top = TeacherTop(*teacher) if teacher else None
        sums = torch.zeros(1 if top is None else 2, dtype=torch.float32, device=hidden.device)
        rows = _rows_of(hidden, weight.shape[0])
        # One buffer for all chunks: the system clears newly allocated memory page by page, which takes longer
        # than the product itself.
        buffer = inputs.new_empty(min(rows, targets.shape[0]), weight.shape[0])
        for start in range(0, targets.shape[0], rows):
            chunk = slice(start, start + rows)
            part, wanted = inputs[chunk], targets[chunk, None]
            product = torch.mm(part, matrix.T, out=buffer[: part.shape[0]])
            logits = (product if bias is None else product.add_(bias.to(dtype))).float()
            if top is None:
                losses, gradient = _cross_entropy(logits, wanted)
            else:
                losses, gradient = losses_of_logits(logits, wanted, top.rows(chunk))
            sums += losses
            if not any(needs):
                continue
            slope = gradient.to(dtype)
            if for_hidden is not None:
                torch.mm(slope, matrix, out=for_hidden[chunk])
            if for_weight is not None:
                _add_product(for_weight, slope.T, part)
            if for_bias is not None:
                for_bias += gradient.sum(dim=0)
        ctx.save_for_backward(for_hidden, for_weight, for_bias)
        ctx.hidden_dtype, ctx.inputs = hidden.dtype, 5 + len(teacher)
        return sums

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        # The gradient is that of the weighted sum, whose weights add up to 1.
        factor = outer[0].sum()
        scaled = [None if tensor is None else tensor.mul_(factor) for tensor in saved]
        if scaled[0] is not None:
            scaled[0] = scaled[0].to(ctx.hidden_dtype)
        return (*scaled, *[None] * (ctx.inputs - 3))


def _cross_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of `-log p(target)`, and its gradient in the memory of the logits."""
    target_logits = logits.gather(1, targets)
    # The highest logit is subtracted so that exp() cannot overflow; in place, since a copy of the chunk would
    # double the peak memory.
    highest = logits.amax(dim=-1, keepdim=True)
    softmax = logits.sub_(highest).exp_()
    normalizer = softmax.sum(dim=-1, keepdim=True)
    loss = (highest + normalizer.log() - target_logits).sum()
    # Softmax minus one-hot.
    gradient = softmax.div_(normalizer).scatter_add_(1, targets, torch.full_like(normalizer, -1.0))
    return loss, gradient


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    # Weight gradients are summed in float32, while the product can be bfloat16.
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


class Head(NamedTuple):
    """The last layer of a model at N positions."""

    # Computes logits from `features`, shape (N, hidden); Identity where these are the logits themselves.
    layer: nn.Module
    features: Tensor

    @property
    def rows(self) -> int:
        """Number of positions whose logits are computed at once."""
        if isinstance(self.layer, nn.Identity):
            return max(len(self.features), 1)
        width = getattr(self.layer, "out_features", None) or self.layer.weight.shape[0]
        return _rows_of(self.features, int(width))

    def loss(self, targets: Tensor) -> Tensor:
        """Return the sum of `-log p(target)` over all positions; `targets` has shape `(N,)`."""
        if isinstance(self.layer, nn.Identity):
            return functional.cross_entropy(self.features.float(), targets, reduction="sum")
        return cross_entropy_sum(self.layer, self.features, targets)

    def losses_with_teacher(self, targets: Tensor, top: TeacherTop) -> tuple[Tensor, Tensor]:
        """Return the sums of `-log p(target)` and of the divergence from a teacher, each of shape `()`."""
        # In one pass, which costs hardly more than the first loss alone.
        if type(self.layer) is nn.Linear:
            return losses_with_teacher(self.layer, self.features, targets, top)

        def divergence(part: Tensor, ids: Tensor, logprobs: Tensor, rest: Tensor) -> Tensor:
            return divergence_of_top(self.layer(part), ids, logprobs, rest, top.temperature)

        divergence_sum = chunked(divergence, self.rows, self.features, top.ids, top.logprobs, top.rest)
        return self.loss(targets), divergence_sum

    def losses(self, targets: Tensor, sizes: Sequence[int]) -> list[Tensor]:
        """Return the loss of each segment of the positions; `sizes` are their lengths."""
        segments = zip(self.features.split(list(sizes)), targets.split(list(sizes)), strict=True)
        return [Head(self.layer, part).loss(wanted) for part, wanted in segments]


class OutputLayer:
    """A model's output layer, which computes the loss at some positions only.

    Most classes end with a linear layer. Where a class caps or scales its logits, they are taken from the
    model itself, for all these positions at once.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        # With this argument, a model computes its output layer only at the given positions.
        self.selects = "logits_to_keep" in inspect.signature(model.forward).parameters
        self.is_linear = self._ends_with_layer(model)

    def head(self, model: Any, inputs: dict[str, Any], positions: Tensor) -> Head:
        """Run the model up to its output layer."""
        if not self.is_linear:
            return Head(nn.Identity(), self._logits(model, inputs, positions))
        return Head(model.get_output_embeddings(), self._hidden(model, inputs, positions))

    def _hidden(self, model: Any, inputs: dict[str, Any], positions: Tensor) -> Tensor:
        if self.selects:
            return last_hidden(model, **inputs, logits_to_keep=positions)[0]
        return last_hidden(model, **inputs)[0, positions]

    def _logits(self, model: Any, inputs: dict[str, Any], positions: Tensor) -> Tensor:
        if self.selects:
            return model(**inputs, use_cache=False, logits_to_keep=positions).logits[0]
        return model(**inputs, use_cache=False).logits[0, positions]

    @torch.no_grad()
    def _ends_with_layer(self, model: PreTrainedModel) -> bool:
        training = model.training
        model.eval()
        try:
            device = next(model.parameters()).device
            ids = torch.arange(6, device=device)
            inputs = document_inputs(ids, torch.tensor([0, 6], dtype=torch.int32, device=device))
            logits = model.get_output_embeddings()(self._hidden(model, inputs, ids))
            return bool(torch.allclose(logits, self._logits(model, inputs, ids), rtol=1e-4, atol=1e-5))
        finally:
            model.train(training)
