"""SentencePiece's ``.model`` files: T5, Llama 2, and what ``dataprep tokenizer train`` makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import groupby
from typing import Any

from dataprep.core.errors import TokenizerError
from dataprep.tokens.tokenizers.base import (
    Tokenizer,
    check_space_mark,
    check_unicode,
    looks_special,
    needed,
    puts_space,
    reads_mark_as_space,
    unknown_id,
)


class SentencePieceTokenizer(Tokenizer):
    """A SentencePiece model; its special tokens are control symbols, and symbols that look like marks."""

    kind = "sentencepiece"

    def __init__(self, path: str, content: bytes) -> None:
        library = needed("sentencepiece", "a SentencePiece model")
        try:
            model = read_model(content)
            # As user-defined symbols, marks would be found in text; control symbols never are.
            for piece in model.pieces:
                if piece.type == piece.USER_DEFINED and looks_special(piece.piece):
                    piece.type = piece.CONTROL
            self._processor = library.SentencePieceProcessor(model_proto=model.SerializeToString())
        except (RuntimeError, ValueError):
            raise TokenizerError(
                f"{path}: found a SentencePiece model that is cut short or damaged; expected a whole one: "
                "fetch it again, or train it again with `dataprep tokenizer train`"
            ) from None
        self.special_tokens: Mapping[str, int] = {
            piece.piece: number for number, piece in enumerate(model.pieces) if piece.type == piece.CONTROL
        }
        self.vocab_size: int = self._processor.vocab_size()
        self.unk_id: int | None = self._processor.unk_id()
        self.fingerprint = sha256(b"sentencepiece, marks as control symbols\n" + content).hexdigest()
        self._names = {number: name for name, number in self.special_tokens.items()}
        self._reads_mark_as_space = reads_mark_as_space(self._processor.encode)
        self.space = "each" if puts_space(self._processor.encode) else ""
        self.path, self.content = path, content

    def __reduce__(self) -> tuple[type[SentencePieceTokenizer], tuple[str, bytes]]:
        return type(self), (self.path, self.content)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; see ``Tokenizer``."""
        check_unicode(text)
        if self._reads_mark_as_space:
            check_space_mark(text)
        ids: list[int] = self._processor.encode(text)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens by name."""
        for number in ids:
            if not 0 <= number < self.vocab_size:
                raise unknown_id(number, self.vocab_size)
        parts = []
        # The library decodes control symbols to nothing, so runs of them are named here.
        for special, run in groupby(ids, self._names.__contains__):
            if special:
                parts += [self._names[number] for number in run]
            else:
                parts.append(self._processor.decode([int(number) for number in run]))
        return "".join(parts)

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """Return the bytes of ids that stand for single bytes; else the text in UTF-8."""
        if all(0 <= number < self.vocab_size and self._processor.is_byte(int(number)) for number in ids):
            return bytes(int(self._processor.id_to_piece(int(number))[3:5], 16) for number in ids)
        return self.decode(ids).encode("utf-8")


def read_model(content: bytes) -> Any:
    """Parse a model file with SentencePiece's own protobuf module; a damaged one is a ``ValueError``."""
    message = needed("google.protobuf.message", "a SentencePiece model")
    proto = needed("sentencepiece.sentencepiece_model_pb2", "a SentencePiece model")
    try:
        model = proto.ModelProto.FromString(content)
    except message.DecodeError as error:
        raise ValueError(str(error)) from None
    # Every field is optional to protobuf, so a file that was cut between two of them is still a message.
    if not (model.pieces and model.HasField("trainer_spec") and model.HasField("normalizer_spec")):
        raise ValueError("a part is missing")
    return model
