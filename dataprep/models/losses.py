"""The mean loss of a model over a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def mean_losses(
    loss_sums: Callable[[dict[str, Tensor]], Mapping[str, Tensor]],
    parts: Iterable[str],
    data: Any,
    batch_size: int,
    device: Any,
    processes: Any = None,
) -> dict[str, float]:
    """Return the mean of each part of the loss over all tokens (or rows) of a dataset.

    Args:
        loss_sums: returns the summed loss of each part for a batch's tensors.
        parts: the names of all parts; a part that the data lack is left out of the result.
        data: the dataset: `batch(items)` returns `tensors`, and the `counts` of each part.
        batch_size: number of items that one process works on at once.
        device: where the model is.
        processes: the processes that share the items, for example a `World`. Defaults to this one alone.
    """
    sums: dict[str, float] = dict.fromkeys(parts, 0.0)
    counts: dict[str, float] = dict.fromkeys(sums, 0.0)
    size = batch_size * (processes.size if processes else 1)
    for start in range(0, len(data), size):
        items = list(range(start, min(start + size, len(data))))
        shard = processes.shard(items) if processes else items
        # The last items may not suffice for all processes. Those without any compute a batch that is not
        # counted: the others would wait forever for a process that skips a forward pass.
        batch = data.batch(shard or items[:1])
        values = loss_sums({name: tensor.to(device) for name, tensor in batch.tensors.items()})
        for name, value in values.items() if shard else ():
            sums[name] += float(value)
            counts[name] += batch.counts[name]
    if processes:
        sums, counts = processes.total(sums), processes.total(counts)
    # A part without any token has no mean: it is left out instead of being 0, which would look learned.
    return {name: sums[name] / counts[name] for name in sums if counts[name]}


def weighted_loss(weights: Mapping[str, float], means: Mapping[str, float]) -> float:
    """Return the sum of the parts' means, each multiplied by its weight."""
    return sum(weights[name] * value for name, value in means.items())
