"""Tiny students: a Llama with random weights, a tokenizer for it, and chat rows to train it on."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from dataprep.tokens.tokenizers.training import train_tokenizer

torch.set_num_threads(1)  # tiny matrices gain nothing by more, and lose much on a busy machine

WORDS = ["one", "two", "three", "four", "blue", "green", "red", "sum", "of", "and", "is", "the", "what"]


def rows(count: int, seed: int = 1) -> list[dict]:
    """Chat rows of a few words."""
    made = random.Random(seed)
    return [
        {
            "messages": [
                {"role": "user", "content": " ".join(made.choices(WORDS, k=made.randint(1, 12))) + "?"},
                {"role": "assistant", "content": " ".join(made.choices(WORDS, k=made.randint(1, 9)))},
            ]
        }
        for _ in range(count)
    ]


def write_rows(path: Path, found: list[dict]) -> str:
    """The rows as JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    return str(path)


def unfinish(output: Path) -> None:
    """Make a finished run, which kept its checkpoints, one that was killed before its last step was saved."""
    (output / "results.json").unlink()
    sorted((output / "checkpoints").iterdir())[-1].unlink()


def write_tokenizer(path: Path, words: Sequence[str] = WORDS) -> str:
    """A byte-level tokenizer of some words."""
    path.write_bytes(train_tokenizer([" ".join(words)] * 8, 300, "bpe", shrink=True))
    return str(path)


def llama_config(**settings: object) -> LlamaConfig:
    """The configuration of a Llama of a few thousand weights."""
    sizes = {"vocab_size": 330, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128}
    return LlamaConfig(**{**sizes, **heads, "bos_token_id": None, "eos_token_id": None, **settings})


def write_model(path: Path, **settings: object) -> str:
    """A directory with a Llama of random weights."""
    torch.manual_seed(3)
    logging.disable_progress_bar()
    LlamaForCausalLM(llama_config(**settings)).save_pretrained(path)
    return str(path)
