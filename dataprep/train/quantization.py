"""Quantization-aware training: two students that part half way, and what quantizing does to each.

The first is trained as ever. The second goes on from its state after half of the steps, over the same batches
at the same learning rates, but computes as if its weights were quantized. Both have made the same number
of steps at the end. Four losses are measured on the same held-out rows::

    full precision             the first student
    post-training              the first student, quantized
    quantization-aware         the second student, quantized
    recovered                  (post-training - quantization-aware) / (post-training - full precision)

which is how torchao's authors count what quantization-aware training gives back
(https://pytorch.org/blog/quantization-aware-training/).

Quantized models, through torchao: which layers, to what, made, saved and loaded.

Quantized are the linear layers inside the blocks: their weights to 4 bits in groups of 32 along the input,
symmetric, each group with a scale of its own; with ``int8-dynamic-int4`` also what goes into them, to 8 bits
for each token as it comes. Embeddings and the output layer, which is often the same matrix, stay as they are.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from dataprep.core.errors import UsageError
from dataprep.core.optional import quiet_torchao, require
from dataprep.train.batches import Plan
from dataprep.train.checkpoints import checkpoints_in
from dataprep.train.run_dir import METRICS, RunFolder
from dataprep.train.trainer import Loop

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from dataprep.train.objective import Job, Objective, Setup, TrainingSet

GROUP = 32


def scheme(name: str) -> Any:
    """Torchao's configuration for what ``--qat`` names.

    Raises:
        MissingDependencyError: torchao is not installed.
    """
    require("torchao", extra="qat", feature="--qat")
    with quiet_torchao():
        from torchao.quantization import (
            Int8DynamicActivationIntxWeightConfig,
            IntxWeightOnlyConfig,
            PerGroup,
        )
    if name == "int4-weight":
        return IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(GROUP))
    return Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int4, weight_granularity=PerGroup(GROUP))


def check_widths(model: PreTrainedModel) -> None:
    """Raise ``UsageError`` where a layer's input cannot be divided into groups."""
    inside = _inside_blocks(model)
    for name, layer in model.named_modules():
        if inside(layer, name) and layer.in_features % GROUP:
            raise UsageError(
                f"--qat: the layer {name} has {layer.in_features} inputs, which are not divided by groups of "
                f"{GROUP}; choose another --model"
            )


def quantize(model: PreTrainedModel, config: Any) -> None:
    """Turn a plain model's weights into quantized ones, in place."""
    _transform(model, config)


def prepare(model: PreTrainedModel, config: Any) -> None:
    """Let a model compute as if it were quantized, in place; its weights stay what they are, and learn."""
    with quiet_torchao():
        from torchao.quantization.qat import QATConfig

    _transform(model, QATConfig(config, step="prepare"))


def convert(model: PreTrainedModel, config: Any) -> None:
    """Quantize a model that computed as if, in place."""
    with quiet_torchao():
        from torchao.quantization.qat import QATConfig

    _transform(model, QATConfig(config, step="convert"))


def _transform(model: PreTrainedModel, config: Any) -> None:
    with quiet_torchao():
        from torchao.quantization import quantize_

    quantize_(model, config, filter_fn=_inside_blocks(model))


def _inside_blocks(model: PreTrainedModel) -> Callable[[nn.Module, str], bool]:
    """Whether a module is a linear layer, and not the output layer."""
    output = model.get_output_embeddings()
    return lambda module, _: isinstance(module, nn.Linear) and module is not output


def save_quantized(source: Path, place: Path, config: Any) -> None:
    """Quantize the model in ``source`` and write it into ``place``, which ``from_pretrained`` loads.

    The directory's configuration names torchao, which must be installed where it is loaded.
    """
    with quiet_torchao():
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, TorchAoConfig

    encodes = AutoConfig.from_pretrained(source).is_encoder_decoder
    kind = AutoModelForSeq2SeqLM if encodes else AutoModelForCausalLM
    with quiet_torchao():
        model = kind.from_pretrained(
            source, dtype=torch.float32, quantization_config=TorchAoConfig(config), local_files_only=True
        )
        model.save_pretrained(place)


PLAIN, QUANTIZED = "full-precision", "quantized"

Watch = Callable[[dict[str, Any]], None]


def quantization_aware(setup: Setup, job: Job, watch: Watch, *, resume: bool) -> Setup:
    """Train the first student, and make a run for the second out of the same parts.

    The first is saved in ``full-precision/`` of the run's directory, with its metrics. The second's weights
    are saved in the directory itself, not quantized, and quantized in ``quantized/``.

    Raises:
        UsageError: options that do not go together, no held-out rows, or layers that cannot be quantized.
        MissingDependencyError: torchao is not installed.
    """
    model, config = checked(setup, job)
    plain = RunFolder(job.folder.path / PLAIN)
    half = Plan.of(len(setup.training), job.options, job.world).steps // 2
    if not (plain.path / "config.json").is_file():
        job.tell(f"--qat: first without, into {plain.path}; the first {half:,} steps are both students'")
        _train_plain(replace(setup, branch=half), job, plain, watch, resume=resume)
    if job.world.first and not checkpoints_in(job.folder.checkpoints):
        shutil.copyfile(plain.path / METRICS, job.folder.path / METRICS)  # cut by the loop as it begins
    job.world.wait()
    prepare(model, config)
    job.tell(f"--qat {job.options.qat}: from step {half + 1:,} on, as if quantized")

    def results() -> dict[str, Any]:
        found = compare(setup, job.options.batch_size, config, plain.path)
        return setup.results() | {"quantization": found}

    return replace(
        setup,
        start=checkpoints_in(plain.branch)[-1],
        results=results,
        save=lambda folder: _save(setup, folder, config),
    )


def checked(setup: Setup, job: Job) -> tuple[PreTrainedModel, Any]:
    """The model, where it can be trained like this, and torchao's configuration.

    Raises:
        UsageError: options that do not go together, no held-out rows, or layers that cannot be quantized.
        MissingDependencyError: torchao is not installed.
    """
    from transformers import PreTrainedModel

    options, model = job.options, setup.model
    if not isinstance(model, PreTrainedModel):
        raise UsageError(f"--qat: a {type(model).__name__} has no blocks to quantize; leave it out")
    if options.lora is not None:
        raise UsageError("--qat trains all weights, --lora none of them: choose one")
    if options.fsdp:
        raise UsageError("--qat needs the whole model in each process: leave --fsdp out")
    if setup.held_out is None:
        raise UsageError("--qat compares losses on held-out rows: give --eval FILE")
    if Plan.of(len(setup.training), options, job.world).steps < 2:
        raise UsageError("--qat needs 2 steps or more: the students part half way")
    check_widths(model)
    return model, scheme(str(options.qat))


def _train_plain(setup: Setup, job: Job, folder: RunFolder, watch: Watch, *, resume: bool) -> None:
    """Train the first student, and save it."""
    options = replace(job.options, qat=None)
    if job.world.first:
        folder.begin(options, resume=resume)
        folder.record(setup.facts, resume=resume)
    job.world.wait()
    torch.manual_seed(options.seed + job.world.rank)
    Loop(setup, options, job.world, folder, watch).run(resume=resume)
    if job.world.first:
        with folder.saving() as place:
            setup.save(place)
    job.world.wait()


def _save(setup: Setup, folder: Path, config: Any) -> None:
    """The second student's own weights, and the same quantized, each with its tokenizer."""
    setup.save(folder)
    place = folder / QUANTIZED
    save_quantized(folder, place, config)
    for file in folder.iterdir():
        if file.is_file() and not (place / file.name).exists() and file.suffix != ".safetensors":
            shutil.copyfile(file, place / file.name)


def compare(setup: Setup, batch_size: int, config: Any, plain: Path) -> dict[str, Any]:
    """The losses of both students, quantized and not; the second's model must compute as if quantized."""
    assert setup.held_out is not None
    first = type(setup.model).from_pretrained(plain, dtype=torch.float32, local_files_only=True)
    first.to(setup.model.device)
    first.set_attn_implementation(setup.model.config._attn_implementation)  # what it was trained with
    second = copy.deepcopy(setup.model)

    def loss(model: nn.Module) -> float:
        assert setup.held_out is not None
        return mean_loss(setup.objective, model, setup.held_out, batch_size)

    full = loss(first)
    quantize(first, config)
    convert(second, config)
    after, aware = loss(first), loss(second)
    return {
        "full_precision": full,
        "post_training": after,
        "quantization_aware": aware,
        "recovered": (after - aware) / (after - full) if after > full else None,
    }


@torch.no_grad()
def mean_loss(objective: Objective, model: nn.Module, data: TrainingSet, batch_size: int) -> float:
    """The loss over a whole set, in this process alone."""
    model.eval()
    device = next(model.parameters()).device
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for start in range(0, len(data), batch_size):
        batch = data.batch(range(start, min(start + batch_size, len(data))))
        tensors = {name: each.to(device) for name, each in batch.tensors.items()}
        for name, value in objective.sums(model, tensors).items():
            sums[name] = sums.get(name, 0.0) + float(value)
            counts[name] = counts.get(name, 0) + batch.counts[name]
    return _weighted(objective.weights, sums, counts)


def _weighted(weights: Mapping[str, float], sums: Mapping[str, float], counts: Mapping[str, int]) -> float:
    return sum(weights[name] * sums[name] / counts[name] for name in sums if counts[name])
