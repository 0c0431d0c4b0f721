"""A rank file's tokenizer as a ``tokenizer.json``: byte pair encoding by merges, with the same ids.

Models of texts, such as T5, read a token behind every text: what a ``tokenizer.json`` says of that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from dataprep.tokens.tokenizers.huggingface import byte_alphabet
from dataprep.tokens.tokenizers.tiktoken_ranks import RankTokenizer

_ADD_TOKENS = ("TemplateProcessing", "RobertaProcessing", "BertProcessing")


def ended(document: Mapping[str, Any], end: str, number: int) -> dict[str, Any]:
    """A ``tokenizer.json`` that adds ``end``, and no other token, behind each text.

    Args:
        document: what the file holds.
        end: the special token's name.
        number: its id.
    """
    mark = {"SpecialToken": {"id": end, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    adds = {
        "type": "TemplateProcessing",
        "single": [first, mark],
        "pair": [first, mark, second, mark],
        "special_tokens": {end: {"id": end, "ids": [number], "tokens": [end]}},
    }
    kept = [each for each in _steps(document.get("post_processor")) if each["type"] not in _ADD_TOKENS]
    together = {"type": "Sequence", "processors": [*kept, adds]} if kept else adds
    return {**document, "post_processor": together}


def _steps(processor: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """What is done to a text's tokens, one after the other."""
    if processor is None:
        return
    if processor["type"] != "Sequence":
        yield processor
        return
    for each in processor["processors"]:
        yield from _steps(each)


def rank_document(tokenizer: RankTokenizer) -> dict[str, Any]:
    """The ``tokenizer.json`` of a tokenizer of ranks."""
    character = {byte: sign for sign, byte in byte_alphabet().items()}
    ranks = tokenizer.ranks
    names = {token: "".join(map(character.__getitem__, token)) for token in ranks}
    vocab = {names[token]: rank for token, rank in ranks.items()}
    at_the_end = list(tokenizer.special_tokens.values()) == list(range(len(ranks), tokenizer.vocab_size))
    if not at_the_end:
        # The library counts on from the vocabulary's size for added tokens that the vocabulary has not.
        vocab |= tokenizer.special_tokens
    split = {"type": "Split", "pattern": {"Regex": oniguruma(tokenizer.pattern)}, "behavior": "Isolated"}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens(tokenizer.special_tokens),
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split | {"invert": False}, level]},
        "post_processor": None,
        "decoder": level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,  # a piece that is a token is that token, however merges would cut it
            "vocab": vocab,
            "merges": [[names[left], names[right]] for left, right in merges_of(ranks)],
        },
    }


def added_tokens(special_tokens: Mapping[str, int]) -> list[dict[str, Any]]:
    """Special tokens as a ``tokenizer.json`` lists them: found as they are, and the text beside them kept."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    by_id = sorted(special_tokens.items(), key=lambda item: item[1])
    return [{"id": number, "content": name, **flags} for name, number in by_id]


def merges_of(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The pair that each token is made of, in the order of ranks.

    One pair is enough. Where a token comes out of merging inside a longer text, no merge crossed its
    borders before, so that its inside was merged as it is merged alone, and by the same last pair. With a
    single pair for a token, two pairs never compete for one rank, which merges in a list could not express.
    """
    merges = []
    for token, _ in sorted(ranks.items(), key=lambda item: item[1]):
        parts = [token[at : at + 1] for at in range(len(token))]
        if len(parts) > 1 and (pair := last_pair(parts, ranks)):
            merges.append(pair)
    return merges


Part = TypeVar("Part", bytes, str)


def last_pair(parts: list[Part], ranks: Mapping[Part, int]) -> tuple[Part, Part] | None:
    """What the last merge joins, where parts are merged, the lowest rank and then the leftmost first.

    None where merging ends before they are one.
    """
    known = ranks.get
    found = [known(parts[at] + parts[at + 1]) for at in range(len(parts) - 1)]
    while len(parts) > 2:
        least = min((rank for rank in found if rank is not None), default=None)
        if least is None:
            return None
        at = found.index(least)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
        del found[at]
        if at:
            found[at - 1] = known(parts[at - 1] + parts[at])
        if at < len(found):
            found[at] = known(parts[at] + parts[at + 1])
    left, right = parts
    return (left, right) if found[0] is not None else None


def oniguruma(pattern: str) -> str:
    r"""A pattern of tiktoken's in the dialect of Oniguruma, which ``tokenizers`` has.

    There ``{1,3}+`` would repeat the whole once more instead of giving nothing back, and ``$`` also stands
    before a line end in the middle of a text.
    """
    item = r"(\\p\{\w+\}|\[(?:\\.|[^\]\\])*\]|\\?.)"
    pattern = re.sub(item + r"(\{\d+,\d+\})\+", r"(?>\1\2)", pattern)
    return re.sub(r"(?<!\\)\$", r"\\z", pattern)
