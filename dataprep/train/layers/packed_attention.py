"""Attention inside documents that share one row without padding.

A batch is one row of all documents' tokens, and positions restart from 0 at each document. `transformers`
calls the function that is registered here instead of a model's own attention, and passes it the documents'
bounds, with the keyword arguments that it has for variable-length kernels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dataprep.core.errors import UsageError
from dataprep.models.attention import depends_on_row, window_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


NAME = "dataprep_packed"


def last_hidden(model: PreTrainedModel, **inputs: Any) -> Tensor:
    """Return the input of a model's output layer, shape `(batch, positions, hidden)`."""
    # The layer returns its input, so the forward pass ends with it, whatever the class does before. Calling
    # the inner model directly would skip that, since classes differ.
    layer: Any = model.get_output_embeddings()
    layer.forward = lambda hidden: hidden
    try:
        hidden: Tensor = model(**inputs, use_cache=False).logits
    finally:
        del layer.forward
    return hidden


def document_inputs(ids: Tensor, bounds: Tensor) -> dict[str, Any]:
    """Return a model's inputs for documents in one row.

    Args:
        ids: their token ids, shape `(L,)`.
        bounds: where each begins, and the end of the last, shape `(documents + 1,)`, int32.
    """
    lengths = bounds.diff()
    starts = torch.repeat_interleave(bounds[:-1], lengths, output_size=ids.shape[0])
    positions = torch.arange(ids.shape[0], device=ids.device) - starts
    longest = int(lengths.max())
    return {
        "input_ids": ids[None],
        "position_ids": positions[None],
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001 - transformers passes None for this attention
    dropout: float = 0.0,
    scaling: float | None = None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """Compute causal attention inside each document; `transformers` calls it.

    Query, key and value have shape `(1, heads, L, head size)`; the result, `(1, L, heads, head size)`.
    """
    # Refused here, use_packed_attention() tries the class's own attention next.
    window = window_of(module, settings)
    lengths = settings["cu_seq_lens_q"].diff().tolist()
    shared: dict[str, Any] = {"dropout_p": dropout if module.training else 0.0, "scale": scaling}
    shared["enable_gqa"] = query.shape[1] != key.shape[1]
    parts = []
    # Split, not sliced: the gradient of each slice would be as long as the whole row.
    documents = zip(*(tensor.split(lengths, dim=2) for tensor in (query, key, value)), strict=True)
    for length, (queries, keys, values) in zip(lengths, documents, strict=True):
        mask = _window(length, window, query.device) if window and length > window else None
        arguments: dict[str, Any] = {"attn_mask": mask, "is_causal": mask is None} | shared
        parts.append(functional.scaled_dot_product_attention(queries, keys, values, **arguments))
    return torch.cat(parts, dim=2).transpose(1, 2), None


def _window(length: int, window: int, device: torch.device) -> Tensor:
    # Each position sees itself and the positions before it, `window` in all.
    ones = torch.ones(length, length, dtype=torch.bool, device=device)
    return ones.tril() & ones.triu(1 - window)


def use_packed_attention(model: PreTrainedModel) -> None:
    """Restrict a model's attention to documents, and check it with an example.

    If the model's class cannot use this module's attention, its own is used, with a mask that `transformers`
    derives from the positions.
    """
    from transformers import AttentionInterface

    if depends_on_row(model.config.get_text_config()):
        raise UsageError(
            f"--model: the attention of a {type(model).__name__} depends on the place of a token in its row, "
            "in which several documents stand; choose a model whose attention is full or has a window"
        )
    AttentionInterface.register(NAME, attend)
    own = model.config._attn_implementation
    if own == NAME:  # checked before; the attention to compare it with has been replaced
        return
    # Eager attention last: it accepts any mask, but keeps scores of all pairs of positions.
    for name in (NAME, own, "eager"):
        try:
            model.set_attn_implementation(name)
            if _keeps_apart(model, own):
                return
        except (NotImplementedError, KeyError, ValueError, TypeError):
            pass
    model.set_attn_implementation(own)
    raise UsageError(
        f"--model: a {type(model).__name__} lets documents in one row see each other; choose a model of a "
        "class that restarts attention where positions restart"
    )


@torch.no_grad()
def _keeps_apart(model: PreTrainedModel, own: str) -> bool:
    """Return whether a document in a row has the hidden states that it has alone."""
    was_training, name = model.training, model.config._attn_implementation
    model.eval()
    try:
        device = next(model.parameters()).device
        # Small ids that every vocabulary has, of two documents of different lengths.
        ids = torch.arange(7, device=device) % 5
        bounds = torch.tensor([0, 3, 7], dtype=torch.int32, device=device)
        packed = last_hidden(model, **document_inputs(ids, bounds))[0, 3:]
        model.set_attn_implementation(own)
        alone = last_hidden(model, input_ids=ids[None, 3:])[0]
        return bool(torch.allclose(packed.float(), alone.float(), rtol=1e-2, atol=1e-3))
    finally:
        model.set_attn_implementation(name)
        model.train(was_training)
