"""A SentencePiece model as a ``tokenizer.json`` that gives the same ids.

White space is made what the model file says by normalizers, before anything is cut: so a text between two
special tokens is treated as a text of its own, as ``SentencePieceTokenizer`` treats it.

What a SentencePiece model file says: its pieces, and how it treats white space.
"""

from __future__ import annotations

import re
import struct
from base64 import b64encode
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from dataprep.core.errors import TokenizerError
from dataprep.tokens.export.from_ranks import added_tokens, last_pair
from dataprep.tokens.tokenizers.sentencepiece import SentencePieceTokenizer, fields, varint

UNIGRAM, BPE = 1, 2
"""Kinds of models; the file format knows two more, of words and of characters."""


class Type(IntEnum):
    """What a piece is."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece; its id is its number among all."""

    name: str
    score: float
    type: Type


@dataclass(frozen=True, slots=True)
class PieceFile:
    """A model.

    Attributes:
        pieces: in the order of their ids.
        kind: ``UNIGRAM`` or ``BPE``.
        unknown: the piece for what is not known.
        byte_fallback: whether unknown characters become bytes.
        charsmap: compiled rules of normalization, or nothing.
        dummy_prefix: whether a space is put before a text.
        collapses: whether white space is taken away around a text, and runs of it become one space.
    """

    pieces: tuple[Piece, ...]
    kind: int
    unknown: str
    byte_fallback: bool
    charsmap: bytes
    dummy_prefix: bool
    collapses: bool

    def named(self, kind: Type) -> dict[str, Piece]:
        """The pieces of a type by their names."""
        return {piece.name: piece for piece in self.pieces if piece.type == kind}


def read_pieces(content: bytes, controls: Collection[str]) -> PieceFile:
    """A model file, whose pieces of the names ``controls`` are control symbols.

    The numbers are those of ``sentencepiece_model.proto``.

    Raises:
        TokenizerError: the model does what nothing but SentencePiece does.
    """
    pieces: list[Piece] = []
    trainer: dict[int, bytes] = {}
    normalizer: dict[int, bytes] = {}
    for field, start, end in fields(content, 0, len(content)):
        if field == 1:
            pieces.append(_piece(dict(_values(content, start, end)), controls))
        elif field == 2:
            trainer = dict(_values(content, start, end))
        elif field == 3:
            normalizer = dict(_values(content, start, end))
    kind = _number(trainer, 3, UNIGRAM)
    _refuse(
        ("is a model of words or characters", kind not in (UNIGRAM, BPE)),
        ("writes white space behind words", _number(trainer, 24, 0)),
        ("leaves spaces as they are", not _number(normalizer, 5, 1)),
        ("merges over unused pieces", kind == BPE and any(each.type == Type.UNUSED for each in pieces)),
    )
    unknown = next((piece.name for piece in pieces if piece.type == Type.UNKNOWN), "<unk>")
    return PieceFile(
        pieces=tuple(pieces),
        kind=kind,
        unknown=unknown,
        byte_fallback=bool(_number(trainer, 35, 0)),
        charsmap=normalizer.get(2, b""),
        dummy_prefix=bool(_number(normalizer, 3, 1)),
        collapses=bool(_number(normalizer, 4, 1)),
    )


def _refuse(*reasons: tuple[str, object]) -> None:
    for reason, found in reasons:
        if found:
            raise TokenizerError(
                f"the SentencePiece model {reason}, which a tokenizer.json cannot do: train a tokenizer of "
                "the kind unigram or bpe, such as `dataprep tokenizer train` makes"
            )


def _piece(values: dict[int, bytes], controls: Collection[str]) -> Piece:
    name = values.get(1, b"").decode("utf-8")
    kind = Type(_number(values, 3, Type.NORMAL))
    if name in controls and kind == Type.USER_DEFINED:
        kind = Type.CONTROL
    (score,) = struct.unpack("<f", values.get(2, bytes(4)))
    return Piece(name, score, kind)


def _values(data: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """The fields of a message, each as the bytes that it is stored in."""
    for field, begin, stop in fields(data, start, end):
        yield field, data[begin:stop]


def _number(values: dict[int, bytes], field: int, default: int) -> int:
    return varint(values[field], 0)[0] if field in values else default


SPACE = "\u2581"  # how pieces write a space
CHOSEN = -0.1  # SentencePiece's score for user-defined symbols, better than any piece's


def sentencepiece_document(tokenizer: SentencePieceTokenizer) -> dict[str, Any]:
    """The ``tokenizer.json`` of a SentencePiece model.

    Raises:
        TokenizerError: the model does what a ``tokenizer.json`` cannot say.
    """
    model = read_pieces(tokenizer.content, tokenizer.special_tokens)
    symbols = sorted(model.named(Type.USER_DEFINED), key=len, reverse=True)
    isolated = None
    if symbols and model.kind == BPE:
        pattern = {"Regex": "|".join(map(re.escape, symbols))}
        isolated = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens(tokenizer.special_tokens),
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
