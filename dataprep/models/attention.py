"""Tell which kind of attention a layer has, for functions that `transformers` calls in place of its own.

Such a function gets no mask. It knows the window of a layer only if the layer's class passes it, and other
kinds of attention, such as chunks, only by the configuration. An example of a few tokens shows none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def window_of(module: Any, settings: Mapping[str, Any]) -> int | None:
    """Return the window of a layer with causal attention; ``None`` if it sees all tokens.

    Args:
        module: the layer's attention.
        settings: the keyword arguments that its class passes.

    Raises:
        NotImplementedError: the attention is of another kind.
    """
    if settings.get("softcap") or settings.get("s_aux") is not None:
        raise NotImplementedError("attention with capped logits or sinks")
    config, number = getattr(module, "config", None), getattr(module, "layer_idx", None)
    kinds = getattr(config, "layer_types", None)
    windowed = getattr(config, "sliding_window", None) is not None
    kind = "sliding_attention" if windowed else "full_attention"
    if kinds is not None and number is not None:
        kind = kinds[number]
    window: int | None = settings.get("sliding_window")
    # Qwen2-MoE and Phi-3.5-MoE have their window in the mask alone.
    if (kind == "sliding_attention" and not window) or kind not in ("sliding_attention", "full_attention"):
        raise NotImplementedError(f"{kind} in a mask")
    if depends_on_row(config):
        raise NotImplementedError("attention that depends on the place in a row")
    return window


def depends_on_row(config: Any) -> bool:
    """Return whether attention depends on a token's place in its row, as Llama 4's does."""
    # Its chunks, and the temperature of layers without positions, are counted from the beginning of the row.
    chunked = "chunked_attention" in (getattr(config, "layer_types", None) or ())
    return chunked or bool(getattr(config, "attn_temperature_tuning", False))
