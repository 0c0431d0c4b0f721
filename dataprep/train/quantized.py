"""Quantized models, through torchao: which layers, to what, made, saved and loaded.

Quantized are the linear layers inside the blocks: their weights to 4 bits in groups of 32 along the input,
symmetric, each group with a scale of its own; with ``int8-dynamic-int4`` also what goes into them, to 8 bits
for each token as it comes. Embeddings and the output layer, which is often the same matrix, stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from dataprep.errors import MissingDependencyError, UsageError
from dataprep.quiet import quiet_torchao

if TYPE_CHECKING:
    from transformers import PreTrainedModel

GROUP = 32


def scheme(name: str) -> Any:
    """Torchao's configuration for what ``--qat`` names.

    Raises:
        MissingDependencyError: torchao is not installed.
    """
    try:
        with quiet_torchao():
            from torchao.quantization import (
                Int8DynamicActivationIntxWeightConfig,
                IntxWeightOnlyConfig,
                PerGroup,
            )
    except ImportError:
        raise MissingDependencyError("torchao", "qat", "--qat") from None
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
