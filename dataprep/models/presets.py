"""Presets: shapes of students with random weights, for any vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dataprep.core.errors import UsageError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_LLAMA: dict[str, dict[str, Any]] = {
    "llama-tiny": {
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 5,
        "num_attention_heads": 6,
        "num_key_value_heads": 6,
        "max_position_embeddings": 2048,
    },
    "llama-30m": {
        "hidden_size": 384,
        "intermediate_size": 1024,
        "num_hidden_layers": 10,
        "num_attention_heads": 6,
        "num_key_value_heads": 6,
        "max_position_embeddings": 4096,
    },
    # The shape that Meta publishes for Llama 3.2 1B, with its scaled rotary positions.
    "llama-1b": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    },
}
_T5: dict[str, dict[str, Any]] = {
    "t5-tiny": {"d_model": 128, "d_kv": 32, "d_ff": 512, "num_layers": 3, "num_heads": 4},
    "t5-small": {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8},
}
# Small presets get small vocabularies: embeddings would be most of their weights otherwise.
VOCABULARY = {"llama-tiny": 4096, "llama-30m": 32000, "t5-tiny": 4096, "t5-small": 32000}
"""Vocabulary size of the tokenizer that is trained for a preset without `--tokenizer`."""

NAMES = (*_LLAMA, *_T5)


def is_preset(model: str) -> bool:
    """Return whether `--model` names a preset."""
    return model in NAMES


def is_encoder_decoder(name: str) -> bool:
    """Return whether a preset has an encoder."""
    return name in _T5


def config_of(name: str, vocab_size: int, pad_id: int, bos_id: int | None, eos_id: int) -> PretrainedConfig:
    """Return the configuration of a preset.

    Args:
        name: the preset.
        vocab_size: number of tokens.
        pad_id: the padding token.
        bos_id: the token at the beginning of a text, if the tokenizer has one.
        eos_id: the token that ends a text.
    """
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
