"""Rows to classify as a training set: texts as numbers, the gold class, a teacher's probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from dataprep.errors import InputError, RowDropped
from dataprep.train.parts import Batch
from dataprep.train.soft_label.classes import Classes
from dataprep.train.soft_label.rows import Judged, placed
from dataprep.train.soft_label.scorers import Encoded, Scorer, collate, encode_within, length

GOLD, SOFT = "gold", "soft"
NO_GOLD = -1


class Examples:
    """Rows ready for a scorer.

    Attributes:
        gold: the number of each row's gold class, or ``NO_GOLD``; shape ``(rows,)``.
        taught: whether a teacher says something of it; shape ``(rows,)``.
        teacher: the logarithms of the teacher's probabilities, of shape ``(rows, classes)``; 0 without.
        dropped: rows that were too long and left out.

    Args:
        scorer: what they are for.
        rows: the rows.
        limit: tokens that one may have; longer ones are treated as ``overflow`` says.
        overflow: ``error``, ``drop`` or ``truncate``.

    Raises:
        InputError: a row is too long, of no class, or its probabilities are none; or there is no row.
    """

    def __init__(
        self, scorer: Scorer, rows: Iterable[Judged], limit: int | None = None, overflow: str = "error"
    ) -> None:
        self._scorer = scorer
        self._encoded: list[Encoded] = []
        self._places: list[str] = []
        self.dropped = 0
        gold, teacher, taught = [], [], []
        classes: Classes = scorer.classes
        nothing = [0.0] * len(classes.names)
        for row in rows:
            with placed(row.where):
                try:
                    self._encoded.append(encode_within(scorer, row.texts, limit, overflow))
                except RowDropped:
                    self.dropped += 1
                    continue
                gold.append(NO_GOLD if row.gold is None else classes.place(row.gold))
                teacher.append(nothing if row.teacher is None else classes.log_probs(row.teacher))
                taught.append(row.teacher is not None)
                self._places.append(row.where)
        if not gold:
            raise InputError("the data", "no row is left to train on")
        self.gold = torch.tensor(gold)
        self.teacher = torch.tensor(teacher)
        self.taught = torch.tensor(taught)

    def __len__(self) -> int:
        return len(self._encoded)

    def batch(self, items: Sequence[int]) -> Batch:
        """What the scorer reads of these rows, and ``gold``, ``teacher`` and ``taught``."""
        found = [self._encoded[item] for item in items]
        own = torch.tensor(list(items))
        tensors = collate(self._scorer, found)
        tensors |= {"gold": self.gold[own], "teacher": self.teacher[own], "taught": self.taught[own]}
        counts = {SOFT: int(tensors["taught"].sum()), GOLD: int((tensors["gold"] != NO_GOLD).sum())}
        return Batch(tensors, counts, sum(map(length, found)))

    def where(self, item: int) -> str:
        """A row's place."""
        return self._places[item]
