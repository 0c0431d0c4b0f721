"""The divergence from a teacher's likeliest tokens, in one pass with the loss of the tokens.

A position's K tokens keep their probabilities p, and all others together are one more. With the student's
probabilities q, both at temperature T, the divergence is `T² · (Σ p log(p/q) + p_rest log(p_rest/q_rest))`.
Its gradient by a logit z is `T · (q - p)` for a listed token, and `T · q · (1 - p_rest/q_rest)` for another.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class TeacherTop(NamedTuple):
    """A teacher's distributions at N positions, and how much they count."""

    ids: Tensor  # the K likeliest tokens, shape (N, K)
    logprobs: Tensor  # their log-probabilities at the temperature, shape (N, K)
    rest: Tensor  # the log-probability of all others together, shape (N,)
    temperature: float
    share: float  # of the divergence in the gradient; the rest is that of the loss of the tokens

    def rows(self, part: slice) -> TeacherTop:
        """Return the distributions of some positions."""
        return self._replace(ids=self.ids[part], logprobs=self.logprobs[part], rest=self.rest[part])


def losses_of_logits(logits: Tensor, targets: Tensor, top: TeacherTop) -> tuple[Tensor, Tensor]:
    """Return both losses, and the gradient of their weighted sum.

    Args:
        logits: float32, shape `(N, vocabulary)`; overwritten.
        targets: token ids, shape `(N, 1)`.
        top: the teacher's distributions.

    Returns:
        The sums of `-log p(target)` and of the divergence over N positions, shape `(2,)`; and the gradient of
        `(1 - share) · tokens + share · divergence` by the logits, in their memory.
    """
    heat, share, tiny = top.temperature, top.share, torch.finfo(torch.float32).tiny
    target_logits, listed = logits.gather(1, targets), logits.gather(1, top.ids)
    # The highest logit is subtracted so that exp() cannot overflow.
    highest = logits.amax(dim=-1, keepdim=True)
    shifted, listed = logits.sub_(highest), listed - highest
    # The sum over the others is taken without the listed ones: 1 minus their sum would be all rounding error.
    hot = None if heat == 1 else (shifted / heat).exp_().scatter_(1, top.ids, 0.0)
    others = shifted.exp_().scatter_(1, top.ids, 0.0)
    rest, of_listed = others.sum(dim=-1, keepdim=True), listed.exp()
    total = rest + of_listed.sum(dim=-1, keepdim=True)
    hot_rest, hot_listed = (
        (rest, of_listed)
        if hot is None
        else (
            hot.sum(dim=-1, keepdim=True),
            (listed / heat).exp(),
        )
    )
    hot_total = hot_rest + hot_listed.sum(dim=-1, keepdim=True)
    own, own_rest = listed / heat - hot_total.log(), (hot_rest / hot_total).clamp(min=tiny)
    p, p_rest = top.logprobs.exp(), top.rest.exp()[:, None]
    divergence = (p * (top.logprobs - own)).sum() + (p_rest * (top.rest[:, None] - own_rest.log())).sum()
    tokens = (highest + total.log() - target_logits).sum()
    # The gradient: first of all other tokens, then of the listed ones, then of the target.
    for_tokens = (1 - share) / total
    for_teacher = share * heat * (1 - p_rest / own_rest) / hot_total
    if hot is None:
        gradient = others.mul_(for_tokens + for_teacher)
    else:
        gradient = others.mul_(for_tokens).add_(hot.mul_(for_teacher))
    gradient.scatter_(1, top.ids, of_listed * for_tokens + share * heat * (own.exp() - p))
    gradient.scatter_add_(1, targets, torch.full_like(target_logits, share - 1))
    return torch.stack([tokens, heat**2 * divergence]), gradient


def divergence_of_top(
    student: Tensor, ids: Tensor, logprobs: Tensor, rest: Tensor | None = None, temperature: float = 1.0
) -> Tensor:
    """Return `T² · KL(teacher ‖ student)` over a teacher's known tokens and all others as one, summed.

    Args:
        student: logits, shape `(N, vocabulary)`.
        ids: the known tokens, shape `(N, K)`.
        logprobs: their log-probabilities at the temperature, shape `(N, K)`, -inf where a position has fewer.
        rest: the log-probability of all others, shape `(N,)`. Defaults to what the known ones leave.
        temperature: divisor of the student's logits.
    """
    known = logprobs > float("-inf")
    own = torch.log_softmax(student.float() / temperature, dim=-1)
    own = own.gather(1, ids).masked_fill(~known, float("-inf"))
    probabilities = logprobs.exp()
    listed = torch.where(known, probabilities * (logprobs - own), 0.0).sum()
    # Rounded log-probabilities can add up to slightly more than 1.
    left = (1 - probabilities.sum(dim=1)).clamp(min=0) if rest is None else rest.exp()
    own_left = (1 - own.exp().sum(dim=1)).clamp(min=torch.finfo(torch.float32).tiny)
    return temperature**2 * (listed + (torch.xlogy(left, left) - left * own_left.log()).sum())
