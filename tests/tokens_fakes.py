"""A tokenizer of bytes, small enough to be right at a glance."""

from dataclasses import dataclass, field

from dataprep.core.errors import RowError, TokenizerError


@dataclass
class Bytes:
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

    def encode_batch(self, texts):
        """Each text's bytes."""
        return [self.encode(text) for text in texts]

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
