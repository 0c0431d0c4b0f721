"""The device of a run: number format, memory, and what to do when memory is full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from dataprep.core.errors import TrainingError
from dataprep.train.options import TrainOptions


def precision_of(options: TrainOptions, device: torch.device) -> Any:
    """Return the context in which a model computes: bfloat16 autocast, or nothing."""
    wanted = options.precision
    if wanted == "auto":
        wanted = "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    # Autocast only changes the computation: weights and optimizer stay in float32.
    return nullcontext() if wanted == "float32" else torch.autocast(device.type, dtype=torch.bfloat16)


@contextmanager
def explain_out_of_memory(options: TrainOptions) -> Iterator[None]:
    """Turn a lack of memory into a `TrainingError` that names the options that help."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        # On the CPU, torch reports it as a plain RuntimeError.
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and (
            "can't allocate memory" not in str(error)
        ):
            raise
        advice = []
        if (size := options.batch_size) > 1:
            smaller = next(divisor for divisor in range(size // 2, 0, -1) if size % divisor == 0)
            accumulate = size // smaller * options.accumulate
            advice.append(f"--batch-size {smaller} --accumulate {accumulate} (the same loss)")
        if not options.gradient_checkpointing:
            advice.append("--gradient-checkpointing")
        advice.append("a shorter --max-length with --truncation drop")
        if options.lora is None:
            advice.append("--lora 16")
        raise TrainingError(f"memory is full; what helps, in this order: {', '.join(advice)}") from None


def memory_mb() -> float:
    """Return the peak memory so far in MB: the GPU's, or this process's."""
    # A machine can have a GPU that this run does not use.
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return float(torch.cuda.max_memory_allocated()) / 1e6
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
