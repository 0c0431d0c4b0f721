"""SentencePiece's ``.model`` files: T5, Llama 2, and what ``dataprep tokenizer train`` makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import groupby

from dataprep.core.errors import TokenizerError
from dataprep.tokens.tokenizers.base import (
    check_space_mark,
    check_unicode,
    looks_special,
    needed,
    puts_space,
    reads_as_space,
    special_id,
    unknown_id,
)

# The field numbers and piece types of sentencepiece_model.proto.
_PIECES, _TRAINER_SPEC, _NORMALIZER_SPEC = 1, 2, 3
_PIECE, _TYPE = 1, 3
_CONTROL, _USER_DEFINED = 3, 4
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class SentencePieceTokenizer:
    """A SentencePiece model.

    Special tokens are its control symbols, and those of its user-defined symbols that look like marks
    (``<|im_start|>``): the latter are made control symbols, for they would be found in text otherwise.

    Attributes:
        content: the model's file.
    """

    kind = "sentencepiece"

    def __init__(self, path: str, content: bytes) -> None:
        library = needed("sentencepiece", "a SentencePiece model")
        try:
            model, special_tokens = _with_control_symbols(content)
            self._processor = library.SentencePieceProcessor(model_proto=model)
        except (RuntimeError, ValueError, IndexError):
            raise TokenizerError(
                f"{path}: found a SentencePiece model that is cut short or damaged; expected a whole one: "
                "fetch it again, or train it again with `dataprep tokenizer train`"
            ) from None
        self.special_tokens: Mapping[str, int] = special_tokens
        self.vocab_size: int = self._processor.vocab_size()
        self.fingerprint = sha256(b"sentencepiece, marks as control symbols\n" + content).hexdigest()
        self._names = {number: name for name, number in self.special_tokens.items()}
        self.content = content
        self._loses = reads_as_space(self._processor.encode)
        self.space = "each" if puts_space(self._processor.encode) else ""
        self._origin = (path, content)

    def __reduce__(self) -> tuple[type[SentencePieceTokenizer], tuple[str, bytes]]:
        return type(self), self._origin

    def encode(self, text: str) -> list[int]:
        """The ids of a text; none of them is a special token's."""
        check_unicode(text)
        if self._loses:
            check_space_mark(text)
        ids: list[int] = self._processor.encode(text)
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of many texts."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens by their names."""
        for number in ids:
            if not 0 <= number < self.vocab_size:
                raise unknown_id(number, self.vocab_size)
        parts = []
        for special, run in groupby(ids, self._names.__contains__):
            if special:
                parts += [self._names[number] for number in run]
            else:
                parts.append(self._processor.decode([int(number) for number in run]))
        return "".join(parts)

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The bytes of ids that stand for single bytes; the text of others in UTF-8."""
        if all(0 <= number < self.vocab_size and self._processor.is_byte(int(number)) for number in ids):
            return bytes(int(self._processor.id_to_piece(int(number))[3:5], 16) for number in ids)
        return self.decode(ids).encode("utf-8")

    def special(self, name: str) -> int:
        """The id of a special token."""
        return special_id(self.special_tokens, name)


def _with_control_symbols(content: bytes) -> tuple[bytes, dict[str, int]]:
    """The model with its user-defined marks as control symbols; and all of these, by name.

    Raises:
        ValueError, IndexError: the bytes are no whole SentencePiece model.
    """
    model = bytearray(content)
    special_tokens: dict[str, int] = {}
    parts = set()
    pieces = 0
    for field, start, end in fields(content, 0, len(content)):
        parts.add(field)
        if field != _PIECES:
            continue
        piece = {inner: (begin, stop) for inner, begin, stop in fields(content, start, end)}
        begin, stop = piece.get(_TYPE, (0, 0))
        kind = content[begin] if stop else 1
        if kind in (_CONTROL, _USER_DEFINED):
            begin_name, end_name = piece.get(_PIECE, (0, 0))
            name = content[begin_name:end_name].decode("utf-8")
            if kind == _CONTROL or looks_special(name):
                model[begin] = _CONTROL
                special_tokens[name] = pieces
        pieces += 1
    if not parts >= {_PIECES, _TRAINER_SPEC, _NORMALIZER_SPEC}:
        raise ValueError("a part is missing")
    return bytes(model), special_tokens


def fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The fields of a protobuf message: each one's number, and where its value begins and ends."""
    while start < end:
        tag, start = varint(data, start)
        wire = tag & 7
        if wire == _VARINT:
            _, stop = varint(data, start)
        elif wire == _BYTES:
            length, start = varint(data, start)
            stop = start + length
        elif wire in (_FIXED32, _FIXED64):
            stop = start + (4 if wire == _FIXED32 else 8)
        else:
            raise ValueError("no protobuf")
        if stop > end:
            raise ValueError("cut short")
        yield tag >> 3, start, stop
        start = stop


def varint(data: bytes, start: int) -> tuple[int, int]:
    """A protobuf number, and where it ends."""
    value = shift = 0
    while True:
        byte = data[start]
        value |= (byte & 0x7F) << shift
        start, shift = start + 1, shift + 7
        if byte < 0x80:
            return value, start
