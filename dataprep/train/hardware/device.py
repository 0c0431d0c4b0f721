"""The device of a run: threads, number format, share of the peak, and full memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from dataprep.core.errors import TrainingError, UsageError
from dataprep.train.options import TrainOptions

# A network with fewer weights than this, embeddings apart, does less in one operation than it takes to wait
# for a second thread. On two busy cores, a step of the tiny network (25,879 weights) took 3.7 ms with one
# thread and 163 ms with two; of processor time, 1.6 ms and 67 ms.
SMALL = 1_000_000


def threads_for(model: nn.Module, device: str) -> int:
    """Return the number of threads that a model computes with on the CPU: one for a small one."""
    # An embedding is looked up: it costs no work however large it is.
    modules = [module for module in model.modules() if not isinstance(module, nn.Embedding)]
    weights = sum(each.numel() for module in modules for each in module.parameters(recurse=False))
    return 1 if device == "cpu" and weights < SMALL else torch.get_num_threads()


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """Let torch compute with a number of threads, and with as many as before at the end."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def check_gpu(device: str) -> None:
    """Raise ``UsageError`` if a value of ``--device`` asks for a GPU and there is none."""
    # torch itself raises an AssertionError, about how it was compiled.
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "--device cuda: torch finds no GPU on this machine; leave the option out to use the CPU"
        )


def number_format(precision: str, device: torch.device) -> str:
    """Return the number format that a value of ``--precision`` means on a device."""
    if precision != "auto":
        return precision
    return "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"


def precision_of(options: TrainOptions, device: torch.device) -> Any:
    """Return the context in which a model computes: bfloat16 autocast, or nothing."""
    if number_format(options.precision, device) == "float32":
        return nullcontext()
    # Autocast only changes the computation: weights and optimizer stay in float32.
    return torch.autocast(device.type, dtype=torch.bfloat16)


# TFLOP/s of GPUs in bfloat16 with sums in float32, without sparsity, by a part of the name that the driver
# gives. The longest name that fits counts. Source: the makers' data sheets and architecture papers.
PEAKS = {
    "A10": 125.0,
    "A10G": 70.0,
    "A30": 165.0,
    "A40": 149.7,
    "A100": 312.0,
    "B200": 2250.0,
    "GeForce RTX 3090": 71.0,
    "GeForce RTX 4090": 165.2,
    "GeForce RTX 5090": 209.5,
    "H100": 989.4,
    "H100 NVL": 835.5,
    "H100 PCIe": 756.5,
    "H200": 989.4,
    "H200 NVL": 835.5,
    "L4": 121.0,
    "L40": 181.0,
    "L40S": 362.0,
    "MI250X": 383.0,
    "MI300X": 1307.4,
    "RTX A6000": 154.8,
}


def peak_flops(name: str) -> float | None:
    """Return the operations per second of a GPU in bfloat16; `None` if its name is unknown.

    >>> peak_flops("NVIDIA H100 80GB HBM3"), peak_flops("NVIDIA L40S"), peak_flops("a new one")
    (989400000000000.0, 362000000000000.0, None)
    """
    words = f" {name.replace('-', ' ')} "
    fits = [known for known in PEAKS if f" {known} " in words and "Laptop" not in words]
    return PEAKS[max(fits, key=len)] * 1e12 if fits else None


class Work:
    """Count the floating-point operations that a step of a decoder needs, for its share of the device's peak.

    A multiplication and an addition for each weight and token, once forward and, where there are gradients,
    twice backward; those of attention, with the lengths of documents; and those of the output layer for
    tokens in the loss. Activations that are computed twice and a teacher's passes are not counted.

    Source: Chowdhery et al. 2022, "PaLM", appendix B, where this share is called MFU (arXiv 2204.02311).
    """

    def __init__(self, model: Any) -> None:
        config = model.config.get_text_config()
        embeddings = (model.get_input_embeddings().weight, model.get_output_embeddings().weight)
        matrices = [weights for weights in model.parameters() if weights.ndim == 2]
        matrices = [weights for weights in matrices if all(weights is not other for other in embeddings)]
        self.token = sum(map(_of_weights, matrices))
        self.target = _of_weights(embeddings[1])
        heads = config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // heads
        # Scores and weighted values are 4 · n² · width, half of it for what a token does not see; and the
        # backward pass takes twice the forward pass.
        self.pair = 6 * heads * size * config.num_hidden_layers

    @classmethod
    def of(cls, model: Any, device: torch.device, options: TrainOptions) -> tuple[Work, float] | None:
        """Return the work of a model and the peak of its GPU; `None` if one of them is not known."""
        if device.type != "cuda" or isinstance(precision_of(options, device), nullcontext):
            return None
        peak = peak_flops(torch.cuda.get_device_name(device))
        config = getattr(model, "config", None)
        # Experts compute with some of their weights only, and only decoders are counted as here.
        experts = any("experts" in name for name in vars(config or object))
        if peak is None or config is None or experts or getattr(config, "is_encoder_decoder", True):
            return None
        return (cls(model), peak) if model.get_output_embeddings() is not None else None

    def flops(self, tensors: Mapping[str, torch.Tensor], tokens: int) -> float:
        """Return the operations of a batch of documents with so many tokens; 0 for one of other texts."""
        if "bounds" not in tensors:
            return 0.0
        lengths = tensors["bounds"].diff().double()
        targets = int(tensors["positions"].numel())
        pairs = float((lengths * lengths).sum())
        return self.token * tokens + self.target * targets + self.pair * pairs


def _of_weights(weights: Any) -> int:
    return int((6 if weights.requires_grad else 4) * weights.numel())


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
