"""Memory: how much was in use, and what helps where there is not enough."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dataprep.errors import TrainingError
from dataprep.train.options import TrainOptions


@contextmanager
def explained(options: TrainOptions) -> Iterator[None]:
    """Turn a lack of memory into a ``TrainingError`` that says what helps."""
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        full = isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(
            error
        )
        if not full:
            raise
        advice = []
        if options.batch_size > 1:
            size = options.batch_size
            part = next(each for each in range(size // 2, 0, -1) if size % each == 0)
            many = size // part * options.accumulate
            advice.append(f"--batch-size {part} --accumulate {many} (the same loss)")
        if not options.gradient_checkpointing:
            advice.append("--gradient-checkpointing")
        advice += ["a shorter --max-length with --overflow drop"]
        if options.lora is None:
            advice.append("--lora 16")
        raise TrainingError(f"memory is full; what helps, in this order: {', '.join(advice)}") from None


def memory_mb() -> float:
    """The most memory that was in use so far, in MB: the GPU's, or this process's."""
    import torch

    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 1e6
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
