"""What gives each class of a text a score: the tiny network, or any classifier of ``transformers``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dataprep.core.errors import RowDropped, RowError, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dataprep.train.objectives.soft_label.classes import Classes

TINY_FILE = "student.safetensors"
"""The tiny network's one file in its run's directory."""

PRESETS = ("tiny", "wide", "bert-tiny", "bert-base")
"""What ``--model`` may name for soft labels, beside a directory or a tiny network's file."""

TRUNCATIONS = ("error", "drop", "truncate")

Encoded = dict[str, list[int]]
"""One text as numbers: lists of equal length by name, its tokens' first."""


class Scorer(Protocol):
    """A model with all that it takes to score texts.

    Attributes:
        model: gives scores of shape ``(B, classes)``, as they are or as ``logits`` of its output.
        classes: what they are of, in order.
        fields: the fields that a text is read from; none where the model's maker did not say.
        room: tokens that a text may have; ``None`` without a limit.
        padding: what texts are filled up with, by name; 0 for those that are not in it.
    """

    model: nn.Module
    classes: Classes
    fields: tuple[str, ...]
    room: int | None
    padding: Mapping[str, int]

    def encode(self, texts: Sequence[str], limit: int | None = None) -> Encoded:
        """The texts of one row; cut to ``limit`` tokens where it is given."""

    def save(self, folder: Path) -> None:
        """Write everything into a directory."""


def length(encoded: Encoded) -> int:
    """How many tokens a text has."""
    return len(next(iter(encoded.values())))


def encode_within(scorer: Scorer, texts: Sequence[str], limit: int | None, truncation: str) -> Encoded:
    """A row's texts, with no more than ``limit`` tokens.

    Raises:
        RowError: they have more, and ``overflow`` is ``error``.
        RowDropped: they have more, and it is ``drop``.
    """
    if truncation == "truncate":
        return scorer.encode(texts, limit)
    found = scorer.encode(texts)
    if limit is None or length(found) <= limit:
        return found
    detail = f"found {length(found):,} tokens; expected at most {limit:,}"
    if truncation == "drop":
        raise RowDropped("too long", detail)
    raise RowError("too long", f"{detail} (or give --truncation drop or truncate)")


def limit_of(scorer: Scorer, wanted: int | None) -> int | None:
    """How many tokens a text may have: as many as wanted, where the model has room for them.

    Raises:
        UsageError: it has not.
    """
    if wanted and scorer.room and wanted > scorer.room:
        raise UsageError(f"--max-length {wanted}: the model has room for {scorer.room:,} tokens")
    return wanted or scorer.room


def collate(scorer: Scorer, texts: Sequence[Encoded]) -> dict[str, Tensor]:
    """Texts filled up to the longest, each tensor of shape ``(B, T)``, and ``attention_mask`` over them."""
    import torch

    longest = max(map(length, texts))
    found = {}
    for name in texts[0]:
        fill = scorer.padding.get(name, 0)
        rows = [each[name] + [fill] * (longest - len(each[name])) for each in texts]
        found[name] = torch.tensor(rows, dtype=torch.long)
    held = [[1] * length(each) + [0] * (longest - length(each)) for each in texts]
    return found | {"attention_mask": torch.tensor(held, dtype=torch.long)}


def logits_of(model: nn.Module, tensors: Mapping[str, Tensor]) -> Tensor:
    """A model's scores, of shape ``(B, classes)``, in float32."""
    found = model(**tensors)
    return getattr(found, "logits", found).float()
