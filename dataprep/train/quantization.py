"""Quantization-aware training: two students, and their comparison.

The first student is trained as without `--qat`. The second continues from the first one's state after half of
the steps, over the same batches at the same learning rates, but computes as if its weights were quantized.
Both have made the same number of steps in the end. Losses are compared on the evaluation rows::

    full precision             the first student
    post-training              the first student, quantized
    quantization-aware         the second student, quantized
    recovered                  (post-training - quantization-aware) / (post-training - full precision)

`recovered` is the measure of torchao's authors (https://pytorch.org/blog/quantization-aware-training/).

torchao quantizes the linear layers inside the blocks: weights to 4 bits in groups of 32 inputs, symmetric,
with a scale for each group. `int8-dynamic-int4` also quantizes each token's activations to 8 bits. Embeddings
and the output layer, often one matrix, stay as they are.
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
from dataprep.train.checkpoints import checkpoints_in
from dataprep.train.objective import mean_losses, weighted_loss
from dataprep.train.run_dir import FACTS, METRICS, RESULTS
from dataprep.train.trainer import BatchSampler, Trainer

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from dataprep.train.objective import Objective

GROUP = 32
FULL_PRECISION, QUANTIZED = "full-precision", "quantized"


def scheme_of(name: str) -> Any:
    """Return torchao's configuration for a value of `--qat`."""
    require("torchao", extra="qat", feature="--qat")
    with quiet_torchao():
        from torchao.quantization import Int8DynamicActivationIntxWeightConfig, IntxWeightOnlyConfig, PerGroup
    if name == "int4-weight":
        return IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(GROUP))
    return Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int4, weight_granularity=PerGroup(GROUP))


def check(objective: Objective) -> Any:
    """Check that `--qat` is possible, and return torchao's configuration."""
    from transformers import PreTrainedModel

    context, data, model = objective.context, objective.data, objective.student.model
    options = context.options
    if not isinstance(model, PreTrainedModel):
        raise UsageError(f"--qat: a {type(model).__name__} has no blocks to quantize; leave it out")
    if options.lora is not None:
        raise UsageError("--qat trains all weights, --lora none of them: choose one")
    if options.fsdp:
        raise UsageError("--qat needs the whole model in each process: leave --fsdp out")
    if data.eval is None:
        raise UsageError("--qat compares losses on evaluation rows: give --eval FILE")
    if BatchSampler.of(data.train, options, context.world).steps < 2:
        raise UsageError("--qat needs 2 steps or more: the second student starts after half of them")
    is_quantized = _inside_blocks(model)
    for name, layer in model.named_modules():
        if is_quantized(layer, name) and layer.in_features % GROUP:
            raise UsageError(
                f"--qat: the layer {name} has {layer.in_features} inputs, which is not a multiple of "
                f"{GROUP}; choose another --model"
            )
    return scheme_of(str(options.qat))


def transform(model: PreTrainedModel, scheme: Any, step: str | None = None) -> None:
    """Quantize a model in place; or `prepare` it to compute as if quantized, and `convert` it later."""
    with quiet_torchao():
        from torchao.quantization import quantize_
        from torchao.quantization.qat import QATConfig

    config = QATConfig(scheme, step=step) if step else scheme
    quantize_(model, config, filter_fn=_inside_blocks(model))


def _inside_blocks(model: PreTrainedModel) -> Callable[[nn.Module, str], bool]:
    # The output layer often shares its matrix with the embeddings, which are not quantized.
    output = model.get_output_embeddings()
    return lambda module, _: isinstance(module, nn.Linear) and module is not output


def train_full_precision(
    objective: Objective, facts: Mapping[str, Any], scheme: Any, *, resume: bool
) -> Path:
    """Train the first student, prepare the model for the second, and return the checkpoint it starts from."""
    student, context = objective.student, objective.context
    world, run_dir = context.world, context.run_dir.inside(FULL_PRECISION)
    half = BatchSampler.of(objective.data.train, context.options, world).steps // 2
    # config.json is written last: a run that was interrupted later does not train this student again.
    is_trained = (run_dir.path / "config.json").is_file()
    if world.agree("yes" if is_trained else "no") == "no":
        context.log(
            f"--qat: first without, into {run_dir.name}; both students share the first {half:,} steps"
        )
        plain = replace(context, options=replace(context.options, qat=None), run_dir=run_dir)
        if world.first:
            run_dir.begin(plain.options, plain.data, plain.eval_data, resume=resume)
            run_dir.record(facts, resume=resume)
        world.wait()
        torch.manual_seed(plain.options.seed + world.rank)
        trainer = Trainer(objective, plain, branch=half)
        trainer.run(resume=resume)
        if trainer.failure is not None:
            raise trainer.failure
        if world.first:
            with run_dir.saving() as folder:
                student.save(folder)
            if not context.options.keep_checkpoints:
                run_dir.remove_checkpoints(branch=False)
        world.wait()
    if world.first and not checkpoints_in(context.run_dir.checkpoints):
        # The trainer cuts these metrics to the shared half when it loads the branch's checkpoint.
        shutil.copyfile(run_dir.path / METRICS, context.run_dir.path / METRICS)
    start = run_dir.branch / world.agree(checkpoints_in(run_dir.branch)[-1].name if world.first else None)
    run_dir.share(world, start)
    transform(student.model, scheme, "prepare")
    context.log(f"--qat {context.options.qat}: from step {half + 1:,} on, as if quantized")
    return start


def save_quantized(student: Path, folder: Path, scheme: Any) -> None:
    """Write a saved student, quantized, with its tokenizer, into `quantized/` in a folder.

    Its configuration names torchao, which `from_pretrained` needs to load it.
    """
    with quiet_torchao():
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, TorchAoConfig

    target = folder / QUANTIZED
    encoder_decoder = AutoConfig.from_pretrained(student).is_encoder_decoder
    factory = AutoModelForSeq2SeqLM if encoder_decoder else AutoModelForCausalLM
    with quiet_torchao():
        model = factory.from_pretrained(
            student, dtype=torch.float32, quantization_config=TorchAoConfig(scheme), local_files_only=True
        )
        model.save_pretrained(target)
    # Tokenizer and chat template, so that the directory works on its own.
    for file in student.iterdir():
        is_part = file.suffix in (".json", ".jinja", ".model") and file.name not in (FACTS, RESULTS)
        if file.is_file() and is_part and not (target / file.name).exists():
            shutil.copyfile(file, target / file.name)


def compare(objective: Objective, scheme: Any) -> dict[str, Any]:
    """Return the losses of both students, quantized and not, on the evaluation rows."""
    model, context = objective.student.model, objective.context
    folder = context.run_dir.path / FULL_PRECISION
    first = type(model).from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    first.to(model.device)
    # The saved configuration names the class's default attention, not the one it was trained with.
    first.set_attn_implementation(model.config._attn_implementation)
    # A copy: the student is saved after the comparison, in full precision.
    second = copy.deepcopy(model)
    rows, size = objective.data.eval, context.options.batch_size
    # In this order: quantizing changes the first student's model in place.
    full = mean_loss(objective, first, rows, size)
    transform(first, scheme)
    transform(second, scheme, "convert")
    after, aware = (mean_loss(objective, quantized, rows, size) for quantized in (first, second))
    return {
        "full_precision": full,
        "post_training": after,
        "quantization_aware": aware,
        "recovered": (after - aware) / (after - full) if after > full else None,
    }


@torch.no_grad()
def mean_loss(objective: Objective, model: nn.Module, data: Any, batch_size: int) -> float:
    """Return a model's loss over a dataset, computed by this process alone."""

    def loss_sums(tensors: dict[str, Tensor]) -> Mapping[str, Tensor]:
        return objective.loss_sums(model, tensors)

    # In float32, also if training used autocast: only quantization must differ between the losses.
    model.eval()
    weights, device = objective.weights, next(model.parameters()).device
    return weighted_loss(weights, mean_losses(loss_sums, weights, data, batch_size, device))
