"""Load a model as a teacher, whose tokenizer must be the student's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dataprep.core.errors import UsageError
from dataprep.models.comparison import compare_tokenizers, texts_of
from dataprep.models.loading import check_finite, load_weights
from dataprep.models.student import model_directory
from dataprep.tokens.tokenizers.loading import load_tokenizer
from dataprep.train.layers.packed_attention import use_packed_attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from dataprep.tokens.shards.reading import Shards
    from dataprep.tokens.tokenizers.base import Tokenizer


def load_teacher(
    name: str,
    tokenizer: Tokenizer,
    shards: Shards,
    device: Any,
    advice: str,
) -> PreTrainedModel:
    """Load a teacher model, and check that its tokenizer is the student's; `advice` is for the error."""
    import torch

    folder = model_directory(name, "--teacher-model")
    other, texts = load_tokenizer(folder), texts_of(shards, tokenizer)
    compare_tokenizers(tokenizer, other, texts, f"--teacher-model {name}", advice)
    teacher = load_weights(folder, torch.float32)
    check_finite(teacher, f"--teacher-model {name}")
    teacher = teacher.to(device)
    if teacher.config.is_encoder_decoder:
        raise UsageError(f"--teacher-model {name}: an encoder-decoder; expected a decoder, as the student is")
    embeddings = int(teacher.get_input_embeddings().weight.shape[0])
    if embeddings < tokenizer.vocab_size:
        raise UsageError(f"--teacher-model {name}: it has {embeddings:,} tokens, fewer than its tokenizer")
    use_packed_attention(teacher)
    return teacher
