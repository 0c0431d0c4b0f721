"""What a SentencePiece model file says: its pieces, and how it treats white space."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import IntEnum

from dataprep.errors import TokenizerError
from dataprep.tokens.sentencepiece_model import fields, varint

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
