"""Which rows belong to which step: it depends on the seed and the step's number, and on nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataprep.core.shuffle import shuffled_order
from dataprep.train.options import TrainOptions

if TYPE_CHECKING:
    from dataprep.train.distributed import World


@dataclass(frozen=True, slots=True)
class Plan:
    """Which items belong to which step.

    Attributes:
        items: how many there are in the training set.
        per_step: how many a step takes, over all processes.
        total: how many all steps take together.
        seed: of their order, which is another in every epoch.
    """

    items: int
    per_step: int
    total: int
    seed: int

    @classmethod
    def of(cls, items: int, options: TrainOptions, world: World) -> Plan:
        """The plan for so many items."""
        per_step = options.batch_size * options.accumulate * world.size
        total = max(round(options.epochs * items), 1)
        if options.steps is not None:
            total = options.steps * per_step
        return cls(items, per_step, total, options.seed)

    @property
    def steps(self) -> int:
        """How many steps there are."""
        return -(-self.total // self.per_step)

    def of_steps(self, first: int) -> Iterator[tuple[int, list[int]]]:
        """Steps from ``first`` on, each with its items; the last may have fewer."""
        epoch, order = -1, None
        for step in range(first, self.steps):
            found = []
            for place in range(step * self.per_step, min((step + 1) * self.per_step, self.total)):
                if place // self.items != epoch:
                    epoch = place // self.items
                    order = shuffled_order(self.items, self.seed + epoch)
                assert order is not None
                found.append(int(order[place % self.items]))
            yield step, found
