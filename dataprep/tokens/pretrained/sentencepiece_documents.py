"""A SentencePiece model as a ``tokenizer.json`` that gives the same ids.

White space is made what the model file says by normalizers, before anything is cut: so a text between two
special tokens is treated as a text of its own, as ``SentencePieceTokenizer`` treats it.
"""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Any

from dataprep.errors import TokenizerError
from dataprep.tokens.pretrained.piece_file import BPE, PieceFile, Type, read_pieces
from dataprep.tokens.pretrained.rank_documents import added_tokens, last_pair
from dataprep.tokens.sentencepiece_model import SentencePieceTokenizer

SPACE = "\u2581"  # how pieces write a space
CHOSEN = -0.1  # SentencePiece's score for user-defined symbols, better than any piece's


def sentencepiece_document(tokenizer: SentencePieceTokenizer) -> dict[str, Any]:
    """The ``tokenizer.json`` of a SentencePiece model.

    Raises:
        TokenizerError: the model does what a ``tokenizer.json`` cannot say.
    """
    model = read_pieces(tokenizer.content, tokenizer.specials)
    symbols = sorted(model.named(Type.USER_DEFINED), key=len, reverse=True)
    isolated = None
    if symbols and model.kind == BPE:
        pattern = {"Regex": "|".join(map(re.escape, symbols))}
        isolated = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens(tokenizer.specials),
        "normalizer": {"type": "Sequence", "normalizers": _normalizers(model)},
        "pre_tokenizer": isolated,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": _decoders(model)},
        "model": _merging(model, bool(symbols)) if model.kind == BPE else _unigram(model),
    }


def _normalizers(model: PieceFile) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = []
    if model.charsmap:
        steps.append({"type": "Precompiled", "precompiled_charsmap": b64encode(model.charsmap).decode()})
    if model.collapses:
        steps += [_replace(r"\A +", ""), _replace(" {2,}", " ")]
    if model.dummy_prefix:
        steps.append({"type": "Prepend", "prepend": SPACE})
    steps.append({"type": "Replace", "pattern": {"String": " "}, "content": SPACE})
    if model.collapses:  # only now, for SentencePiece also takes a U+2581 of the text's own away there
        steps.append(_replace(rf"{SPACE}+\z", ""))
    return steps


def _replace(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}


def _decoders(model: PieceFile) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = [{"type": "Replace", "pattern": {"String": SPACE}, "content": " "}]
    steps += [{"type": "ByteFallback"}] if model.byte_fallback else []
    steps.append({"type": "Fuse"})
    if model.dummy_prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return steps


def _merging(model: PieceFile, symbols: bool) -> dict[str, Any]:
    """The model by merges: the pair of each piece, the best scores first."""
    order = sorted(model.named(Type.NORMAL).items(), key=lambda item: -item[1].score)
    ranks = {name: rank for rank, (name, _) in enumerate(order)}
    vocab = {piece.name: number for number, piece in enumerate(model.pieces)}
    merges, unreachable = [], []
    for name in ranks:
        if len(name) < 2:
            continue
        if (pair := last_pair(list(name), ranks)) is None:
            unreachable.append(name)
        elif any(part not in vocab for part in pair):
            raise TokenizerError(
                f"the piece {name!r} has a character that is no piece of its own, which a tokenizer.json "
                "cannot have: train a tokenizer whose character coverage holds all characters of its pieces"
            )
        else:
            merges.append(pair)
    if symbols:
        # User-defined symbols stand alone and are found whole (ignore_merges); pieces that no merge makes
        # must not be found so.
        for name in unreachable:
            vocab[f" {name} is not reachable"] = vocab.pop(name)
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": model.unknown,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": model.byte_fallback,
        "ignore_merges": symbols,
        "vocab": vocab,
        "merges": merges,
    }


def _unigram(model: PieceFile) -> dict[str, Any]:
    """The model by scores."""
    least = min(piece.score for piece in model.pieces if piece.type == Type.NORMAL)
    vocab: list[list[Any]] = []
    for piece in model.pieces:
        score = least  # what is below the worst piece would change what an unknown character costs
        if piece.type == Type.NORMAL:
            score = piece.score
        elif piece.type == Type.USER_DEFINED:
            score = CHOSEN
        vocab.append([piece.name, score])
    unknown = next(at for at, piece in enumerate(model.pieces) if piece.name == model.unknown)
    return {"type": "Unigram", "unk_id": unknown, "vocab": vocab, "byte_fallback": model.byte_fallback}
