"""Presets: shapes of students with random weights, for any vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dataprep.core.errors import UsageError

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def _llama(
    *, hidden: int, intermediate: int, layers: int, heads: int, kv: int, context: int
) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "max_position_embeddings": context,
    }


_ROPE = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0}
_ROPE |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
_LLAMA = {
    "llama-tiny": _llama(hidden=192, intermediate=512, layers=5, heads=6, kv=6, context=2048),
    "llama-30m": _llama(hidden=384, intermediate=1024, layers=10, heads=6, kv=6, context=4096),
    # The shape that Meta publishes for Llama 3.2 1B, with its scaled rotary positions.
    "llama-1b": _llama(hidden=2048, intermediate=8192, layers=16, heads=32, kv=8, context=131072)
    | {"head_dim": 64, "rms_norm_eps": 1e-5, "rope_parameters": _ROPE},
}
_T5: dict[str, dict[str, Any]] = {
    "t5-tiny": {"d_model": 128, "d_kv": 32, "d_ff": 512, "num_layers": 3, "num_heads": 4},
    "t5-small": {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8},
}
# Vocabulary size of the tokenizer that is trained for a preset without `--tokenizer`. Small presets get small
# vocabularies: embeddings would be most of their weights otherwise.
VOCABULARY = {"llama-tiny": 4096, "llama-30m": 32000, "t5-tiny": 4096, "t5-small": 32000}
NAMES = (*_LLAMA, *_T5)


def is_preset(model: str) -> bool:
    """Return whether `--model` names a preset."""
    return model in NAMES


def is_encoder_decoder(name: str) -> bool:
    """Return whether a preset has an encoder."""
    return name in _T5


def config_of(name: str, vocab_size: int, pad_id: int, bos_id: int | None, eos_id: int) -> PretrainedConfig:
    """Return the configuration of a preset, for a tokenizer's size and special tokens."""
    from transformers import LlamaConfig, T5Config

    ids: dict[str, Any] = {"pad_token_id": pad_id, "eos_token_id": eos_id}
    if name in _LLAMA:
        # Tied embeddings, as in the small models of the Llama 3 family.
        return LlamaConfig(
            vocab_size=vocab_size, tie_word_embeddings=True, bos_token_id=bos_id, **ids, **_LLAMA[name]
        )
    if name in _T5:
        return T5Config(vocab_size=vocab_size, decoder_start_token_id=pad_id, **ids, **_T5[name])
    raise UsageError(f"--model {name}: there is no such preset; expected one of {', '.join(NAMES)}")
