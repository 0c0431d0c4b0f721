"""Low-rank updates (LoRA, https://arxiv.org/abs/2106.09685).

A weight W of shape `(out, in)` stays as it is. The trained parameters are A of shape `(R, in)` and B of shape
`(out, R)`, and the layer computes `x Wᵀ + (α / R) x Aᵀ Bᵀ`. B starts as zeros, so training starts at the
original model.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataprep.core.errors import UsageError
from dataprep.core.optional import quiet_torchao, require

if TYPE_CHECKING:
    from dataprep.models.student import Student

ADAPTER = "adapter"
# α as a multiple of R, so that the size of an update does not change with its rank.
ALPHA = 2


def add_lora(student: Student, rank: int) -> dict[str, int]:
    """Add updates to all linear layers but the output layer; freeze the weights.

    The model is changed in place and keeps its class, which attention and generation depend on. Saving the
    student merges the updates into the weights, and writes the updates alone into `adapter/`.
    """
    require("peft", extra="lora", feature="--lora")
    with quiet_torchao():  # peft imports torchao if it is installed
        from peft import LoraConfig, get_peft_model
    from transformers import PreTrainedModel

    model = student.model
    if not isinstance(model, PreTrainedModel):
        raise UsageError(
            f"--lora: a {type(model).__name__} is small enough to be trained whole; leave it out"
        )
    config = LoraConfig(
        r=rank,
        lora_alpha=ALPHA * rank,
        # In peft, this leaves the output layer out.
        target_modules="all-linear",
        task_type="SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM",
    )
    with quiet_torchao(), warnings.catch_warnings():
        # peft warns about embeddings that are tied to the output layer; neither gets an update here.
        warnings.filterwarnings("ignore", message=".*tie_word_embeddings.*")
        wrapped: Any = get_peft_model(model, config)

    def merge_adapter(folder: Path) -> None:
        wrapped.save_pretrained(folder / ADAPTER)
        # peft writes a model card with nothing filled in.
        (folder / ADAPTER / "README.md").unlink(missing_ok=True)
        wrapped.merge_and_unload()

    student.merge_adapter = merge_adapter
    trained = sum(weights.numel() for weights in model.parameters() if weights.requires_grad)
    return {"rank": rank, "alpha": ALPHA * rank, "parameters": trained}
