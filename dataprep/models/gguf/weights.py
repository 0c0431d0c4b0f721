"""The weights of a model as tensors of a GGUF file, and the sizes that llama.cpp needs beside them.

The names of tensors and keys are those of the package ``gguf``. A model that llama.cpp's graphs would run
differently is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dataprep.core.errors import FileError

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType, GGUFWriter
    from numpy.typing import NDArray
    from transformers import PreTrainedModel

TYPES = ("auto", "f32", "f16", "bf16", "q8_0")


@dataclass(frozen=True, slots=True)
class Architecture:
    """An architecture of llama.cpp.

    Attributes:
        name: its name of the architecture.
        neighbours: whether it rotates pairs of neighbours, and not a head's first half with its second.
    """

    name: str
    neighbours: bool = False


# By transformers' class. A Mistral is a Llama to llama.cpp.
ARCHITECTURES = {
    "LlamaForCausalLM": Architecture("llama", neighbours=True),
    "MistralForCausalLM": Architecture("llama", neighbours=True),
    "Qwen2ForCausalLM": Architecture("qwen2"),
    "Qwen3ForCausalLM": Architecture("qwen3"),
}


_F16 = 65_504.0
# The largest number of each type. Of q8_0, 127 is the largest in a block, and its unit is in f16.
_LIMITS = {"F16": _F16, "BF16": (2 - 2.0**-7) * 2.0**127, "Q8_0": 127 * _F16}


class Tensor(NamedTuple):
    """A tensor of a GGUF file, before it is converted."""

    name: str
    weights: Any  # torch's, of the shape that it has in the model
    type: GGMLQuantizationType
    heads: int = 0  # whether, and for how many heads, rows change places: see `_interleaved`

    @property
    def size(self) -> int:
        """Number of bytes in the file."""
        from gguf import GGML_QUANT_SIZES

        block, size = GGML_QUANT_SIZES[self.type]
        return int(math.prod(self.weights.shape) // block * size)

    def data(self) -> NDArray[Any]:
        """Return the weights in their type; a ``ValueError`` says that one is too large for it."""
        from gguf import quantize

        array = self.weights.detach().float().numpy()
        if self.heads:
            array = _interleaved(array, self.heads)
        # `quantize` writes larger ones as infinity, and those of q8_0 are not seen in its bytes.
        limit = _LIMITS.get(self.type.name, math.inf)
        if max(array.max(), -array.min()) > limit:
            name = self.type.name.lower()
            raise ValueError(f"weights of {self.name} are above {limit:,.8g}, the largest number in {name}")
        converted: NDArray[Any] = quantize(np.ascontiguousarray(array), self.type)
        return converted


def _interleaved(array: NDArray[Any], heads: int) -> NDArray[Any]:
    """Return rows of queries or keys in llama.cpp's order: those that rotate together are neighbours."""
    rows = array.shape[0]
    pairs = array.reshape(heads, 2, rows // heads // 2, *array.shape[1:])
    return pairs.swapaxes(1, 2).reshape(array.shape)


def tensors_of(
    model: PreTrainedModel, architecture: Architecture, type_name: str, where: str
) -> list[Tensor]:
    """Return the tensors of a model, in the model's own order.

    Args:
        model: the model.
        architecture: its architecture.
        type_name: one of ``TYPES`` for matrices; ``auto`` is the type that the model has.
        where: the model's name in messages.

    Raises:
        FileError: the architecture has no place for some weights.
    """
    import torch
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, GGMLQuantizationType, get_tensor_name_map

    config = model.config
    own = {torch.float16: "f16", torch.bfloat16: "bf16"}.get(model.dtype, "f32")
    wanted = GGMLQuantizationType[(own if type_name == "auto" else type_name).upper()]
    arch: MODEL_ARCH = next(key for key, name in MODEL_ARCH_NAMES.items() if name == architecture.name)
    names = get_tensor_name_map(arch, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    tensors = []
    for key, weights in model.state_dict().items():
        # llama.cpp takes the embeddings where a file has no output layer.
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        name = names.get_name(key, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise FileError(where, f"llama.cpp's {architecture.name} has no place for its weights {key}")
        layer = key.split(".")[-2]
        swapped = heads.get(layer, 0) if architecture.neighbours else 0
        tensors.append(Tensor(name, weights, _type_of(weights, wanted), swapped))
    if (factors := _rope_factors(model, where)) is not None:
        # Only llama.cpp's graph of Llama reads them.
        if architecture.name != "llama":
            raise FileError(where, f"llama.cpp's {architecture.name} does not scale rotary positions")
        name = "rope_freqs.weight"
        tensors.append(Tensor(name, torch.from_numpy(factors), GGMLQuantizationType.F32))
    return tensors


def _type_of(weights: Any, wanted: GGMLQuantizationType) -> GGMLQuantizationType:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    # Vectors cost nothing, and llama.cpp wants norms and biases in f32.
    if weights.ndim == 1:
        return GGMLQuantizationType.F32
    block, _ = GGML_QUANT_SIZES[wanted]
    return GGMLQuantizationType.F16 if weights.shape[-1] % block else wanted


def _rope_factors(model: Any, where: str) -> NDArray[np.float32] | None:
    """Return the divisors of the rotary frequencies, of shape ``(head_dim / 2,)``; ``None`` if all are 1."""
    rotary, settings = model.model.rotary_emb, model.config.rope_parameters
    kind = settings.get("rope_type", "default")
    # Those of other kinds change with the length of the text, or scale the attention too.
    if kind not in ("default", "linear", "llama3"):
        raise FileError(
            where, f"its rotary positions are of the kind {kind!r}; expected default, linear or llama3"
        )
    used = rotary.inv_freq.float().cpu().numpy()
    if 2 * used.size != head_size(model.config):
        raise FileError(where, "it rotates a part of each head only, which cannot be exported")
    plain = 1.0 / settings["rope_theta"] ** (np.arange(0, 2 * used.size, 2) / (2 * used.size))
    factors: NDArray[np.float32] = (plain / used).astype(np.float32)
    return None if np.allclose(factors, 1, rtol=1e-5) else factors


def head_size(config: Any) -> int:
    """Return the number of dimensions of an attention head."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def context_of(config: Any) -> int:
    """Return the number of tokens that a model can read, as llama.cpp reads them."""
    # llama.cpp has no sliding window for these models. Within one window, there is no difference.
    window = getattr(config, "sliding_window", None)
    return int(min(config.max_position_embeddings, window or config.max_position_embeddings))


def write_sizes(writer: GGUFWriter, config: Any) -> None:
    """Write the sizes of a model."""
    writer.add_context_length(context_of(config))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_size(config))
    writer.add_value_length(head_size(config))
    writer.add_rope_dimension_count(head_size(config))
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


def file_type(tensors: list[Tensor]) -> int:
    """Return llama.cpp's number of the type that most bytes of a file have."""
    from gguf import LlamaFileType

    sizes: dict[GGMLQuantizationType, int] = {}
    for tensor in tensors:
        sizes[tensor.type] = sizes.get(tensor.type, 0) + tensor.size
    name = max(sizes, key=lambda kind: sizes[kind]).name
    return int(LlamaFileType["ALL_F32" if name == "F32" else f"MOSTLY_{name}"])


def write_tensors(writer: GGUFWriter, tensors: list[Tensor]) -> Iterator[Tensor]:
    """Write everything, and yield each tensor when it is written; only one is converted at a time."""
    for tensor in tensors:
        dtype = np.dtype(np.float32)  # the writer asks for that of the shape, which is not a quantized one
        writer.add_tensor_info(tensor.name, tensor.weights.shape, dtype, tensor.size, raw_dtype=tensor.type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        writer.write_tensor_data(tensor.data())
        yield tensor
