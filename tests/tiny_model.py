"""Tiny language models, made in the tests: a tokenizer, weights, and answers that they know by heart."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'developer' %}{{ raise_exception('no developers here') }}{% endif %}"
    "<|{{ message.role }}|>{{ message.content }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
KNOWN = {
    "Which letter?": "b",
    "Which is blue: (a) grass (b) sky (c) sand?": "The answer is (b).",
    "Which is green, and why is it so? (a) grass (b) sky (c) sand": "Grass is green. The answer is (a).",
    "Say hello in three languages, please.": "Hello, hé, 你好!",
}
"""Questions, and what the model has learned to answer."""

SPECIAL = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
PAD, END = 0, 1


def tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """Byte-level pairs, so that a letter of another script is several tokens."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    texts = ["The answer is (b).", "Is it (a) grass, (c) sand or (B) sky?", "grass sky sand Hello blue green"]
    core.train_from_iterator(texts * 4, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|end|>", pad_token="<|pad|>")
    made.chat_template = template
    return made


def word_tokenizer(pieces: list[str]) -> PreTrainedTokenizerFast:
    """Pieces in which ``▁`` stands for the space before a word, as SentencePiece has them."""
    core = Tokenizer(models.Unigram([("<unk>", -9.0), *((piece, -1.0) for piece in pieces)], unk_id=0))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")


def llama(**settings: object) -> LlamaForCausalLM:
    """A Llama with random weights."""
    torch.manual_seed(5)
    sizes = {"vocab_size": 330, "hidden_size": 32, "intermediate_size": 64}
    layers = {"num_hidden_layers": 2, "num_attention_heads": 4}
    ids = {"eos_token_id": END, "pad_token_id": PAD, "bos_token_id": None}
    context = {"max_position_embeddings": 256}
    return LlamaForCausalLM(LlamaConfig(**{**sizes, **layers, **ids, **context, **settings}))


def train(model: LlamaForCausalLM, words: PreTrainedTokenizerFast, steps: int = 150) -> None:
    """Teach a model the known answers."""
    rows = []
    for question, answer in KNOWN.items():
        prompt = words.apply_chat_template(messages(question), tokenize=False, add_generation_prompt=True)
        asked = words(prompt, add_special_tokens=False)["input_ids"]
        rows.append((asked, [*words(answer, add_special_tokens=False)["input_ids"], END]))
    longest = max(len(asked) + len(said) for asked, said in rows)
    tokens = torch.tensor([(each := a + s) + [PAD] * (longest - len(each)) for a, s in rows])
    labels = torch.tensor([[-100] * len(a) + s + [-100] * (longest - len(a) - len(s)) for a, s in rows])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    model.train()
    for _ in range(steps):
        loss = model(tokens, attention_mask=(tokens != PAD).long(), labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()


def messages(question: str) -> list[dict[str, str]]:
    """A chat that asks one question."""
    return [{"role": "user", "content": question}]
