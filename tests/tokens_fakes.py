"""A tokenizer of bytes, small enough to be right at a glance, and a slow encoder to compare with."""

import os
import signal
import time
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from dataprep.core.errors import RowError, TokenizerError
from dataprep.tokens.encoder import Encoder
from dataprep.tokens.formats.base import Segment, Slot
from dataprep.tokens.linter import Linter
from dataprep.tokens.options import Encoded
from dataprep.tokens.tokenizers.base import Tokenizer, continues, encode_after


@dataclass
class Bytes(Tokenizer):
    """Each byte of UTF-8 is its own id plus ``shift``; special tokens come after them."""

    shift: int = 0
    kind: str = "tiktoken"
    space: str = ""
    fingerprint: str = "0" * 64
    special_tokens: dict = field(default_factory=dict)

    def __post_init__(self):
        names = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<pad>"]
        self.special_tokens = {name: 256 + self.shift + number for number, name in enumerate(names)}
        self.vocab_size = 261 + self.shift

    def encode(self, text):
        """The text's bytes."""
        try:
            return [byte + self.shift for byte in text.encode()]
        except UnicodeEncodeError:
            raise RowError("not valid Unicode", "found a lone surrogate") from None

    def decode_bytes(self, ids):
        """The bytes of ids."""
        names = {number: name.encode() for name, number in self.special_tokens.items()}
        return b"".join(names.get(each) or bytes([each - self.shift]) for each in ids)

    def decode(self, ids):
        """The text of ids."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def special(self, name):
        """The id of a special token."""
        if name not in self.special_tokens:
            raise TokenizerError(f"no token {name}")
        return self.special_tokens[name]


@dataclass
class Slow(Bytes):
    """A tokenizer that takes its time, and says in a folder which processes use it.

    Args:
        pause: seconds for each text.
        pids: the folder.
        deadly: a text that ends the process.
    """

    pause: float = 0
    pids: str = ""
    deadly: str = "\0"

    def encode(self, text):
        """The text's bytes."""
        if self.deadly in text:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.pids:
            Path(self.pids, str(os.getpid())).touch()
        time.sleep(self.pause)
        return super().encode(text)


def encode(tokenizer, chat_format, rows):
    """Encode conversations without linting them; the first error is raised."""
    encoder = Encoder(tokenizer, chat_format)
    results = [*encoder.encode([encoder.read({"messages": row}) for row in rows]).results()]
    for result in results:
        if isinstance(result, RowError):
            raise result
    return results


def encode_one(tokenizer, chat_format, row):
    """Encode one conversation, as ``encode`` does."""
    return encode(tokenizer, chat_format, [row])[0]


def segments(chat_format, row):
    """The pieces of a conversation in order, contents in their slots."""
    written = chat_format.write({"messages": row})
    return [
        Segment(written.texts[piece.index], in_loss=piece.in_loss) if isinstance(piece, Slot) else piece
        for piece in written.plan.pieces
    ]


def reference(tokenizer, chat_format, row):
    """Encode a conversation piece by piece, the slow and obvious way: the oracle for the encoder."""
    encoded, behind = Encoded([], bytearray()), None
    pieces = groupby(segments(chat_format, row), key=lambda piece: (piece.special, piece.in_loss))
    for (special, in_loss), group in pieces:
        run = list(group)
        if special:
            ids = [tokenizer.special(piece.text) for piece in run]
        else:
            text = "".join(piece.text for piece in run)
            ids = encode_after(tokenizer, text) if continues(tokenizer, behind) else tokenizer.encode(text)
        behind = special
        encoded.ids += ids
        encoded.mask += bytes([in_loss]) * len(ids)
    return encoded


def problems_of(encoded, row, tokenizer, chat_format):
    """The faults that the linter finds in a row, beside its messages if they are given."""
    written = None if row is None else chat_format.write({"messages": row})
    return [*Linter(tokenizer, chat_format).problems(encoded, written)]
