"""Low-rank updates (LoRA, https://arxiv.org/abs/2106.09685) in place of the weights themselves.

A weight W of shape ``(out, in)`` stays as it is; what is trained are A of shape ``(R, in)`` and B of shape
``(out, R)``, and the layer computes ``x Wᵀ + (α / R) x Aᵀ Bᵀ``. B begins as zeros, so the student begins as
it was.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dataprep.core.errors import UsageError
from dataprep.core.optional import quiet_torchao, require

if TYPE_CHECKING:
    from dataprep.train.objective import Setup

ADAPTER = "adapter"
ALPHA = 2
"""α as a multiple of R: what an update counts for does not change with its rank."""


def with_updates(setup: Setup, rank: int) -> Setup:
    """A run in which every linear layer but the output layer has an update, and nothing else is trained.

    The model is changed in place and keeps its class, so that attention and generation find what
    they look for. What is saved are the merged weights, and beside them, in ``adapter/``, the updates alone.

    Args:
        setup: the run as it would be without.
        rank: R.

    Raises:
        MissingDependencyError: peft is not installed.
        UsageError: the model is none of transformers' classes.
    """
    require("peft", extra="lora", feature="--lora")
    with quiet_torchao():  # peft imports it where it is installed
        from peft import LoraConfig, get_peft_model
    from transformers import PreTrainedModel

    model = setup.model
    if not isinstance(model, PreTrainedModel):
        raise UsageError(
            f"--lora: a {type(model).__name__} is small enough to be trained whole; leave it out"
        )
    config = LoraConfig(
        r=rank,
        lora_alpha=ALPHA * rank,
        target_modules="all-linear",
        task_type="SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM",
    )
    with quiet_torchao(), warnings.catch_warnings():
        # Embeddings tied to the output layer matter to updates of either, and neither has one.
        warnings.filterwarnings("ignore", message=".*tie_word_embeddings.*")
        wrapped = get_peft_model(model, config)
    whole = setup.save

    def save(folder: Path) -> None:
        wrapped.save_pretrained(folder / ADAPTER)
        (folder / ADAPTER / "README.md").unlink(missing_ok=True)  # a card with nothing filled in
        wrapped.merge_and_unload()
        whole(folder)

    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    facts = setup.facts | {"lora": {"rank": rank, "alpha": ALPHA * rank, "parameters": trained}}
    return replace(setup, save=save, facts=facts)
