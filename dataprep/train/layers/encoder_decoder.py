"""Questions through an encoder and targets through a decoder, without padding.

A batch is one row of all questions' tokens and one of all targets' tokens. Each target attends to itself and
to its own question. T5's positions are biases on the attention between two tokens of one text, so a text has
the biases of its length, wherever it is in the row. The layers are those of `transformers`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from dataprep.train.layers.output_layer import Head

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "dataprep_packed_pairs"


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001 - transformers passes it; there is nothing to mask
    dropout: float = 0.0,
    scaling: float | None = None,
    position_bias: Sequence[Tensor] = (),
    *,
    bounds: Sequence[int],
    question_bounds: Sequence[int] | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Compute attention inside each text, or from each target to its question.

    Query, key and value have shape `(1, heads, L, head size)`; the result, `(1, L, heads, head size)`. For a
    text of length n, `position_bias` has shape `(1, heads, n, n)`; there is none from targets to questions.
    `bounds` are where the attending texts begin, and the end of the last; in the decoder, `question_bounds`
    are those of the questions.
    """
    across = not position_bias
    seen = question_bounds if across else bounds
    assert seen is not None
    # Split, not sliced: the gradient of each slice would be as long as the whole row.
    queries = query.split(_lengths(bounds), dim=2)
    keys, values = key.split(_lengths(seen), dim=2), value.split(_lengths(seen), dim=2)
    parts = [
        functional.scaled_dot_product_attention(
            queries[number],
            keys[number],
            values[number],
            attn_mask=None if across else position_bias[number].to(query.dtype),
            dropout_p=dropout if module.training else 0.0,
            scale=scaling,
        )
        for number in range(len(queries))
    ]
    return torch.cat(parts, dim=2).transpose(1, 2), None


def _lengths(bounds: Sequence[int]) -> list[int]:
    return [end - start for start, end in pairwise(bounds)]


def biases(stack: Any, bounds: Sequence[int]) -> list[Tensor]:
    """Return the position biases of each text; in a decoder, -inf hides the future."""
    # Computed once for the longest text: biases depend on distances, so shorter texts have its corner.
    lengths = _lengths(bounds)
    longest = max(lengths)
    bias = stack.block[0].layer[0].SelfAttention.compute_bias(longest, longest)
    if stack.is_decoder:
        later = torch.ones(longest, longest, dtype=torch.bool, device=bias.device).triu(1)
        bias = bias.masked_fill(later, float("-inf"))
    corners = {length: bias[:, :, :length, :length] for length in set(lengths)}
    return [corners[length] for length in lengths]


def run_stack(
    stack: Any,
    embedded: Tensor,
    bounds: Sequence[int],
    states: Tensor | None = None,
    question_bounds: Sequence[int] | None = None,
) -> Tensor:
    """Run T5's encoder or decoder over texts in one row.

    The embeddings and the result have shape `(1, L, hidden)`. The decoder needs `states`, the encoder's
    output for the questions, of shape `(1, Q, hidden)`, and the questions' bounds.
    """
    hidden, bias = stack.dropout(embedded), biases(stack, bounds)
    for block in stack.block:
        # Positional, as in the stack's own forward pass: gradient checkpointing only sees these arguments.
        # No masks, and an empty tuple for the biases from targets to questions, which T5 does not have.
        bounds_of = {"bounds": bounds, "question_bounds": question_bounds}
        hidden = block(hidden, None, bias, states, None, (), **bounds_of)[0]
    return stack.dropout(stack.final_layer_norm(hidden))


class PackedPairs:
    """The losses of T5 and similar classes, over texts in one row.

    A batch has `questions`, of shape `(Q,)`, with `question_bounds`, `(texts + 1,)`; and `shifted` (the
    decoder's input) and `targets` (its output), both of shape `(T,)`, with `bounds`.
    """

    def losses(self, model: Any, tensors: Mapping[str, Tensor], sizes: Sequence[int]) -> list[Tensor]:
        """Return the loss of each segment of the targets; `sizes` are their lengths."""
        head = Head(model.get_output_embeddings(), self.hidden(model, tensors))
        return head.losses(tensors["targets"], sizes)

    def hidden(self, model: Any, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the input of the output layer at every target, shape `(T, hidden)`."""
        bounds, question_bounds = tensors["bounds"].tolist(), tensors["question_bounds"].tolist()
        # One lookup for both: two would have two gradients of the embeddings, which are a large matrix.
        embedded = model.get_input_embeddings()(torch.cat([tensors["questions"], tensors["shifted"]])[None])
        questions, shifted = embedded.split([question_bounds[-1], bounds[-1]], dim=1)
        states = run_stack(model.get_encoder(), questions, question_bounds)
        hidden = run_stack(model.get_decoder(), shifted, bounds, states, question_bounds)[0]
        # T5 scales here if the output layer shares the embeddings' matrix; Flan-T5 does not.
        if getattr(model.config, "scale_decoder_outputs", False):
            hidden = hidden * model.config.d_model**-0.5
        return hidden


class PaddedPairs:
    """The losses of any other encoder-decoder, over padded texts."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def losses(self, model: Any, tensors: Mapping[str, Tensor], sizes: Sequence[int]) -> list[Tensor]:
        """Return the loss of each segment of the targets; `sizes` are their lengths."""
        return Head(nn.Identity(), self.logits(model, tensors)).losses(tensors["targets"], sizes)

    def logits(self, model: Any, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the model's logits at every target, shape `(T, vocabulary)`."""
        questions, are_question = self._padded(tensors["questions"], tensors["question_bounds"])
        shifted, are_target = self._padded(tensors["shifted"], tensors["bounds"])
        inputs = {"input_ids": questions, "attention_mask": are_question.long(), "decoder_input_ids": shifted}
        logits: Tensor = model(**inputs, use_cache=False).logits
        return logits[are_target]

    def _padded(self, ids: Tensor, bounds: Tensor) -> tuple[Tensor, Tensor]:
        lengths = bounds.diff()
        texts = ids.split(lengths.tolist())
        places = torch.arange(int(lengths.max()), device=ids.device)
        return pad_sequence(texts, batch_first=True, padding_value=self.pad_id), places < lengths[:, None]


@torch.no_grad()
def pairs_for(model: PreTrainedModel, pad_id: int) -> PackedPairs | PaddedPairs:
    """Return how to compute a model's losses: unpadded if it is built like T5."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
    own, training = model.config._attn_implementation, model.training
    # Compared in evaluation mode: dropout would make any two passes differ.
    padded = PaddedPairs(pad_id)
    model.eval()
    try:
        expected = padded.logits(model, _trial(model))
        model.set_attn_implementation(NAME)
        packed = PackedPairs()
        logits = model.get_output_embeddings()(packed.hidden(model, _trial(model)))
        # A class that looks like T5 can still compute something else: only equal results are accepted.
        if torch.allclose(logits, expected, rtol=1e-3, atol=1e-4):
            return packed
    except (AttributeError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError):
        pass  # the class is not built like T5
    finally:
        model.train(training)
    model.set_attn_implementation(own)
    return padded


def _trial(model: PreTrainedModel) -> dict[str, Tensor]:
    device = next(model.parameters()).device

    def made(*numbers: int) -> Tensor:
        return torch.tensor(numbers, device=device)

    trial = {"questions": made(4, 5, 1, 6, 7, 8, 9, 1), "question_bounds": made(0, 3, 8)}
    return trial | {"shifted": made(0, 5, 6, 7, 0, 4), "bounds": made(0, 4, 6)}
