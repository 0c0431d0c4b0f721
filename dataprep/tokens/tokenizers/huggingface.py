"""Hugging Face's ``tokenizer.json``, read by the library ``tokenizers``.

Only the way from text to ids is used. The file's settings for truncation, padding and tokens around every
text do not apply: a chat format decides which tokens stand where.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from itertools import groupby
from typing import Any

import orjson

from dataprep.core.errors import RowError, TokenizerError, first_line
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

_BYTE = re.compile("<0x[0-9A-F]{2}>")


class HuggingFaceTokenizer(Tokenizer):
    """The tokenizer of a ``tokenizer.json``."""

    kind = "huggingface"

    def __init__(self, path: str, content: bytes) -> None:
        library = needed("tokenizers", "a Hugging Face tokenizer.json")
        document = _document(path, content)
        # The changes that this program makes to the file are part of the fingerprint.
        digest = sha256(b"huggingface, marks as special tokens\n" + content)
        self.fingerprint = digest.hexdigest()
        # Special tokens are added tokens that the file calls special, or that look like marks (`<think>`).
        # They are never found in text; other added tokens, for example runs of spaces, are.
        try:
            self.special_tokens: Mapping[str, int] = _make_special(document, self.fingerprint)
            self._tokenizer = library.Tokenizer.from_str(orjson.dumps(document).decode())
            self._inspect(path, document)
        except TokenizerError:
            raise
        except BaseException as error:
            # The library raises nothing more precise, and what it never expected is no `Exception`.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise _damaged(path, f"{type(error).__name__}: {first_line(error)}") from None
        self.path, self.content = path, content

    def _inspect(self, path: str, document: dict[str, Any]) -> None:
        # The name misleads: with it, special tokens in a text are encoded as text.
        self._tokenizer.encode_special_tokens = True
        self._names = {number: name for name, number in self.special_tokens.items()}
        ids = [*self._tokenizer.get_vocab(with_added_tokens=True).values(), *self._names]
        self.vocab_size = 1 + max(ids, default=-1)
        unknown = _unknown(document["model"])
        self.unk_id = None if unknown is None else self._tokenizer.token_to_id(unknown)
        # From here on, what the document says is compared with what the library makes of it.
        self._check_ids(path, document)
        decoder = document.get("decoder") or {}
        self._byte_of = byte_alphabet() if decoder.get("type") == "ByteLevel" else None
        self._fallback = _fallback(document["model"])
        self._reads_mark_as_space = reads_mark_as_space(self._ids)
        self.space = _space(document, self._ids)
        self.drops_space = self._byte_of is not None and self.space != ""

    def __reduce__(self) -> tuple[type[HuggingFaceTokenizer], tuple[str, bytes]]:
        return type(self), (self.path, self.content)

    def _check_ids(self, path: str, document: dict[str, Any]) -> None:
        # The library numbers added tokens by itself, whatever the file says.
        for token in document.get("added_tokens") or ():
            found = self._tokenizer.token_to_id(token["content"])
            if found != token["id"]:
                raise _damaged(
                    path, f"the added token {token['content']!r} gets the id {found}, not {token['id']}"
                )

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; see ``Tokenizer``."""
        check_unicode(text)
        if self._reads_mark_as_space:
            check_space_mark(text)
        ids = self._ids(text)
        # Marks in merges cannot be renamed, so a model may still make one out of a text.
        if not self._names.keys().isdisjoint(ids):
            name = next(self._names[number] for number in ids if number in self._names)
            raise RowError("a special token in a text", f"the tokenizer's model makes {name!r} of a text")
        return ids

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return the characters of a text that each id stands for; see ``Tokenizer``."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).offsets)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens by name; invalid UTF-8 becomes U+FFFD."""
        if self._byte_of is not None:
            return self.decode_bytes(ids).decode("utf-8", "replace")
        self._check_known(ids)
        parts = []
        # Special tokens were renamed in the vocabulary, so the library does not know their names.
        for special, run in groupby(ids, self._names.__contains__):
            if special:
                parts += [self._names[number] for number in run]
            else:
                numbers = [int(number) for number in run]
                parts.append(self._tokenizer.decode(numbers, skip_special_tokens=False))
        return "".join(parts)

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """Return the bytes of ids of a byte-level tokenizer or of byte fallback; else the text in UTF-8."""
        if self._byte_of is None:
            if self._fallback.keys() >= set(ids):
                return bytes(self._fallback[number] for number in ids)
            return self.decode(ids).encode("utf-8")
        self._check_known(ids)
        if not self.drops_space:
            return b"".join(map(self._bytes_of, ids))
        # Without the space that the tokenizer puts before each text, as other kinds decode too.
        parts = []
        for special, run in groupby(ids, self._names.__contains__):
            data = b"".join(map(self._bytes_of, run))
            parts.append(data if special else data.removeprefix(b" "))
        return b"".join(parts)

    def _bytes_of(self, number: int) -> bytes:
        name = self._names.get(number) or self._tokenizer.id_to_token(int(number))
        try:
            if number not in self._names and self._byte_of is not None:
                return bytes([self._byte_of[character] for character in name])
        except KeyError:  # an added token, for example a run of spaces, stands for itself
            pass
        return str(name).encode("utf-8")

    def _check_known(self, ids: Sequence[int]) -> None:
        for number in ids:
            known = 0 <= number < self.vocab_size
            if not known or (number not in self._names and self._tokenizer.id_to_token(int(number)) is None):
                raise unknown_id(number, self.vocab_size)


def _document(path: str, content: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(content.strip())
    except orjson.JSONDecodeError as error:
        raise _damaged(path, str(error)) from None
    if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
        keys = ", ".join(map(repr, list(document)[:6])) if isinstance(document, dict) else "no object"
        raise TokenizerError(
            f"{path}: found JSON with {keys or 'no keys'}; expected a tokenizer.json, which has 'model' and "
            "'added_tokens': give the folder that it is in, or the file of that name"
        )
    return document


def _damaged(path: str, reason: str) -> TokenizerError:
    return TokenizerError(
        f"{path}: found a tokenizer.json that cannot be used ({reason}); expected a whole one that "
        "the library `tokenizers` reads: fetch it again, or save it again with a newer version"
    )


def _space(document: dict[str, Any], encode: Callable[[str], list[int]]) -> str:
    if not puts_space(encode):
        return ""
    step = document.get("pre_tokenizer") or {}
    steps = [step, *step.get("pretokenizers", ())]
    return "first" if any(item.get("prepend_scheme") == "first" for item in steps) else "each"


def _make_special(document: dict[str, Any], salt: str) -> dict[str, int]:
    """Change a document so that its special tokens are not found in text; return their ids by name."""
    model = document["model"]
    unknown = _unknown(model)
    # These steps would put tokens around texts, or cut them: that is up to the chat format.
    document |= {"truncation": None, "padding": None, "post_processor": None}
    if model.get("dropout"):
        model["dropout"] = None  # the same text must always get the same ids
    special_tokens, kept, fallback = {}, [], _fallback(model)
    in_merges = _parts_of_merges(model)
    for token in document.get("added_tokens") or ():
        name = token["content"]
        # Some files list the pieces of byte fallback as added tokens. They are not marks: they stand for the
        # bytes of characters that the vocabulary lacks.
        if token["id"] in fallback:
            continue
        # The unknown token must stay what the model makes of unknown text.
        if name == unknown or not (token["special"] or looks_special(name)):
            kept.append(token)
            continue
        special_tokens[name] = token["id"]
        if not _rename(model, name, token["id"], salt, in_merges):
            kept.append(token | {"special": True})
    document["added_tokens"] = kept
    return dict(sorted(special_tokens.items(), key=lambda item: item[1]))


def _unknown(model: dict[str, Any]) -> str | None:
    """Return the name of the unknown token, if the model has one."""
    if model.get("type") == "Unigram" and isinstance(model.get("unk_id"), int):
        return str(model["vocab"][model["unk_id"]][0])
    return model.get("unk_token")


def _rename(model: dict[str, Any], name: str, number: int, salt: str, in_merges: set[str]) -> bool:
    """Rename a special token in the model's vocabulary; return whether it was there."""
    # A Unigram or WordPiece model finds its special tokens in text like any other piece (T5's `</s>`), and no
    # switch of the library changes that. So they get a name that no text contains: the file's SHA-256.
    vocab, hidden = model.get("vocab"), f" {salt} {number}"
    if isinstance(vocab, dict) and vocab.get(name) == number and name not in in_merges:
        vocab[hidden] = vocab.pop(name)
        return True
    if isinstance(vocab, list) and number < len(vocab) and vocab[number][0] == name:
        vocab[number][0] = hidden
        return True
    return False


def _fallback(model: dict[str, Any]) -> dict[int, int]:
    """Return the byte that each id of byte fallback stands for."""
    if not model.get("byte_fallback"):
        return {}
    vocab = model["vocab"]
    pieces = vocab.items() if isinstance(vocab, dict) else ((item[0], at) for at, item in enumerate(vocab))
    return {number: int(name[3:5], 16) for name, number in pieces if _BYTE.fullmatch(name)}


def _parts_of_merges(model: dict[str, Any]) -> set[str]:
    """Return the pieces that merges take or make. They cannot be renamed: the merges go by name."""
    parts: set[str] = set()
    for merge in model.get("merges") or ():
        left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
        parts |= {left, right, left + right}
    return parts


def byte_alphabet() -> dict[str, int]:
    """Return the byte that each character of a byte-level vocabulary stands for (GPT-2's table)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(others)}
