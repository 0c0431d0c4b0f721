"""Chat rows as a training set: documents or packed sequences, put one after the other without padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dataprep.tokens.shards.reading import Shards
from dataprep.train.objective import Batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

PART = "tokens"


class Documents:
    """The documents of finished shards, or their packed sequences where they were packed.

    Args:
        shards: where they are.
    """

    def __init__(self, shards: Shards) -> None:
        self.shards = shards

    def __len__(self) -> int:
        return self.shards.sequences or self.shards.documents

    def batch(self, items: Sequence[int]) -> Batch:
        """Token ids in one row, where documents begin, which positions predict trained tokens, and those.

        Tensors: ``ids`` of shape ``(L,)``, ``bounds`` ``(documents + 1,)``, ``where`` and ``targets``
        ``(trained,)``.
        """
        found = [self._item(item) for item in items]
        return document_batch(
            [ids for ids, _, _ in found], [mask for _, mask, _ in found], [bounds for _, _, bounds in found]
        )

    def where(self, item: int) -> str:
        """The file and row of a document; of a packed sequence, its number."""
        if self.shards.sequences:
            return f"packed sequence {item + 1}"
        source = self.shards.source(item)
        return f"{source.name} row {source.row}"

    def _item(self, item: int) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.int64]]:
        """Ids and mask of an item's tokens, the first of each document never trained on, and its bounds."""
        if self.shards.sequences:
            packed = self.shards.sequence(item)
            end = int(packed.bounds[-1])
            return packed.ids[:end], packed.mask[:end], packed.bounds
        ids, mask = self.shards.document(item)
        mask = mask.copy()
        mask[:1] = False
        return ids, mask, np.array([0, ids.size], dtype=np.int64)


def document_batch(
    ids: Sequence[NDArray[Any]], masks: Sequence[NDArray[np.bool_]], bounds: Sequence[NDArray[np.int64]]
) -> Batch:
    """Documents in one row; ``masks`` are false at the first token of each."""
    together = np.concatenate(ids).astype(np.int64)
    trained = np.flatnonzero(np.concatenate(masks))
    before = np.cumsum([0, *(each.size for each in ids)])
    starts = [own[:-1] + offset for own, offset in zip(bounds, before[:-1], strict=True)]
    edges = np.concatenate([*starts, before[-1:]]).astype(np.int32)
    tensors = {
        "ids": torch.from_numpy(together),
        "bounds": torch.from_numpy(edges),
        "where": torch.from_numpy(trained - 1),
        "targets": torch.from_numpy(together[trained]),
    }
    return Batch(tensors, {PART: int(trained.size)}, int(together.size))
