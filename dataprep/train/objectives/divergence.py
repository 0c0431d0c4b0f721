"""A larger model's next-token distributions as a second target, beside the tokens themselves.

The loss is ``(1 - s) · tokens + s · teacher``, each a mean over trained tokens: ``tokens`` is ``-log p`` of
the token, and ``teacher`` is ``T² · KL(teacher ‖ student)``, both at temperature T. T² makes up for the
gradients that shrink as 1/T² (https://arxiv.org/abs/1503.02531).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dataprep.train.layers.output_layer import OutputLayer, chunked, cross_entropy_sum, rows_at_a_time
from dataprep.train.layers.packed_attention import document_inputs
from dataprep.train.objectives.documents import PART

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TEACHER = "teacher"


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """``T² · KL(teacher ‖ student)``, summed over positions; logits of shape ``(N, vocabulary)`` each.

    Columns that only one of them has belong to no token and are left out.
    """
    width = min(student.shape[-1], teacher.shape[-1])
    own = torch.log_softmax(student[:, :width].float() / temperature, dim=-1)
    other = torch.log_softmax(teacher[:, :width].float() / temperature, dim=-1)
    return temperature**2 * (other.exp() * (other - own)).sum()


def divergence_of_top(student: Tensor, ids: Tensor, logs: Tensor) -> Tensor:
    """KL from a teacher of whom only some tokens' log-probabilities are known, summed over positions.

    All other tokens count as one: its probability is what the known ones leave, with both.

    Args:
        student: logits, shape ``(N, vocabulary)``.
        ids: the known tokens, shape ``(N, K)``; where there are fewer than K, any.
        logs: their log-probabilities, shape ``(N, K)``; there -inf.
    """
    known = logs > float("-inf")
    own = torch.log_softmax(student.float(), dim=-1).gather(1, ids).masked_fill(~known, float("-inf"))
    chances = logs.exp()
    listed = torch.where(known, chances * (logs - own), 0.0).sum()
    rest = (1 - chances.sum(dim=1)).clamp(min=0)
    own_rest = (1 - own.exp().sum(dim=1)).clamp(min=torch.finfo(torch.float32).tiny)
    return listed + (torch.xlogy(rest, rest) - rest * own_rest.log()).sum()


class _TwoTargets:
    """What both sources of a teacher's distributions have in common.

    Args:
        layer: the student's output layer.
        share: s.
    """

    def __init__(self, layer: OutputLayer, share: float) -> None:
        self.layer = layer
        self.weights: Mapping[str, float] = {PART: 1 - share, TEACHER: share}

    def sums(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The sums of both parts over the batch's trained tokens."""
        inputs = document_inputs(tensors["ids"], tensors["bounds"])
        if not self.weights[TEACHER]:
            return {PART: self.layer.loss(model, inputs, tensors["where"], tensors["targets"])}
        # Without a plain output layer its logits are at hand already, and nothing is left to do to them.
        layer: Any = model.get_output_embeddings() if self.layer.plain else nn.Identity()
        take = self.layer.hidden if self.layer.plain else self.layer.logits
        found = take(model, inputs, tensors["where"])
        rows = rows_at_a_time(layer, found) if self.layer.plain else len(found)
        if self.layer.plain:
            tokens = cross_entropy_sum(layer, found, tensors["targets"])
        else:
            tokens = nn.functional.cross_entropy(found.float(), tensors["targets"], reduction="sum")
        return {PART: tokens, TEACHER: self.taught(layer, found, max(rows, 1), inputs, tensors)}

    def taught(
        self,
        layer: nn.Module,
        found: Tensor,
        rows: int,
        inputs: dict[str, Any],
        tensors: Mapping[str, Tensor],
    ) -> Tensor:
        """The sum of the teacher's part; ``layer`` makes logits of what was ``found``."""
        raise NotImplementedError


class FromTeacher(_TwoTargets):
    """The distributions of a model that reads the same documents.

    Args:
        layer: the student's output layer.
        share: s.
        teacher: the larger model, ready for packed documents.
        temperature: T.
    """

    def __init__(
        self, layer: OutputLayer, share: float, teacher: PreTrainedModel, temperature: float
    ) -> None:
        super().__init__(layer, share)
        self.teacher, self.temperature = teacher.eval().requires_grad_(False), temperature
        self.teacher_layer = OutputLayer(teacher)

    def taught(
        self,
        layer: nn.Module,
        found: Tensor,
        rows: int,
        inputs: dict[str, Any],
        tensors: Mapping[str, Tensor],
    ) -> Tensor:
        """The sum over all trained tokens."""
        plain = self.teacher_layer.plain
        with torch.no_grad():
            take = self.teacher_layer.hidden if plain else self.teacher_layer.logits
            others = take(self.teacher, inputs, tensors["where"])
        theirs = self.teacher.get_output_embeddings() if plain else nn.Identity()

        def loss(own: Tensor, other: Tensor) -> Tensor:
            return divergence(layer(own), theirs(other), self.temperature)

        return chunked(loss, rows, found, others)


class FromStored(_TwoTargets):
    """The likeliest tokens of a teacher that was asked before, at temperature 1.

    Tensors: ``taught`` of shape ``(M,)``, which of the trained positions have any; ``top_ids`` and
    ``top_logs`` ``(M, K)``.
    """

    def taught(
        self,
        layer: nn.Module,
        found: Tensor,
        rows: int,
        inputs: dict[str, Any],  # noqa: ARG002 - nobody reads the documents again
        tensors: Mapping[str, Tensor],
    ) -> Tensor:
        """The sum over the trained tokens that have a distribution."""

        def loss(own: Tensor, ids: Tensor, logs: Tensor) -> Tensor:
            return divergence_of_top(layer(own), ids, logs)

        return chunked(loss, rows, found[tensors["taught"]], tensors["top_ids"], tensors["top_logs"])
