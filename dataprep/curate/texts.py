"""The text by which rows are compared, in the forms that deduplication and decontamination compare.

A row is a chat row, an ``Example``, a labelled row or a source row. ``TextOf`` takes the same part of each.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import orjson

from dataprep.core.conversations import ROLES, content_text, reasoning_of
from dataprep.core.errors import RowError
from dataprep.core.records import describe, from_cell

# Chinese, Japanese, Thai, Lao, Khmer and Burmese write no spaces between words: each character is a token.
_UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    r"\U00020000-\U0003ffff"
)
# Soft hyphens, joiners, marks of direction, variation selectors: Unicode ignores them when it compares texts.
_IGNORABLE = (
    r"\u00ad\u034f\u061c\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
    r"\U000e0000-\U000e0fff"
)
_IGNORED = re.compile(f"[{_IGNORABLE}]+")
# English text needs no regular expression, which takes ten times as long.
_ASCII = {code: chr(code).lower() if chr(code).isalnum() else " " for code in range(128)}
_FOLDED = {code: " " if chr(code).isspace() else chr(code).lower() for code in range(128)}
# The same for the bytes of many texts in UTF-8; a NUL that ends a text becomes the end of a line.
_WORD_BYTES, _FOLDED_BYTES = (
    bytes(ord(characters.get(code, chr(code))) for code in range(256))
    for characters in (_ASCII | {0: "\n"}, _FOLDED)
)
_PUNCTUATION = "’‘“”–—…\xa0×−"  # in texts that are ASCII otherwise; each ends a token

_LAST = {"question": "user", "answer": "assistant"}


@dataclass(frozen=True, slots=True)
class TextOf:
    """Return the text of one part of a row; a picklable callable.

    The parts are ``"messages"``, all texts of a chat row; a role such as ``"user"``, the texts of its
    messages; and the names of fields. ``a.b`` is field ``b`` of field ``a``. The ``"question"`` and the
    ``"answer"`` of a chat row are its last user and its last assistant message.

    Attributes:
        part: the name of the part.

    >>> TextOf("question")({"messages": [{"role": "user", "content": "2 + 2?"}]})
    '2 + 2?'
    """

    part: str

    def __call__(self, row: Mapping[str, Any]) -> str:
        """Return the text; raise ``RowError`` for a row that has no such part."""
        part, messages = self.part, row.get("messages")
        if part in ROLES and type(messages) is list:
            # Nearly all rows have plain texts, and are done with here in a third of the time.
            try:
                plain = [message["content"] for message in messages if message["role"] == part]
                if plain:
                    return "\n".join(plain)
            except (TypeError, KeyError):
                pass
        if part == "messages" and type(messages) is list:
            try:
                plain = [
                    message["content"] for message in messages if len(message) == 2 and "role" in message
                ]
                if len(plain) == len(messages):
                    return "\n".join(filter(None, plain))
            except (TypeError, KeyError):
                pass
        if messages is None or part not in (*ROLES, *_LAST, "messages"):
            return _text(field_of(row, part))
        if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
            raise RowError(
                "not a chat row", f"found {describe(messages)} as 'messages'; expected a list of messages"
            )
        if part == "messages":
            return "\n".join(filter(None, map(_message_text, messages)))
        role = _LAST.get(part, part)
        texts = [_content(message) for message in messages if message.get("role") == role]
        if not texts:
            raise RowError(f"no {role} message", f"expected a message of role {role!r}, for {part!r}")
        return texts[-1] if part in _LAST else "\n".join(texts)


def field_of(row: Mapping[str, Any], path: str) -> Any:
    """Return the value of a field, ``a.b`` for field ``b`` of field ``a``; a name with a dot comes first.

    Raises:
        RowError: the row has no such field, or nothing in it.
    """
    value: Any = row.get(path)
    if value is None:
        value = row
        for name in path.split("."):
            value = from_cell(value)  # an object, in a table's cell, is its text
            value = value.get(name) if isinstance(value, dict) else None
    if value is None:
        raise RowError(f"no {path!r}", f"expected a field {path!r}; the row has {', '.join(map(repr, row))}")
    return value


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    # An Example's answer is `{"label", "text"}`, the question of some sets `{"stem", …}`.
    if isinstance(value, dict):
        for name in ("text", "stem"):
            if isinstance(value.get(name), str):
                return str(value[name])
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _content(message: Mapping[str, Any]) -> str:
    try:
        return content_text(message.get("content"))
    except (TypeError, KeyError):
        found = describe(message.get("content"))
        raise RowError(
            "a content without text", f"found {found}; expected a string or parts of text"
        ) from None


def _message_text(message: Mapping[str, Any]) -> str:
    calls = message.get("tool_calls")
    written = orjson.dumps(calls, option=orjson.OPT_SORT_KEYS).decode() if calls else None
    return "\n".join(filter(None, (reasoning_of(message), _content(message), written)))


def normalised(text: str) -> str:
    """Return a text without differences of Unicode form, case and white space.

    >>> normalised("  Ｈello   WORLD ")
    'hello world'
    """
    return " ".join(_folded(text).split())


def tokens_of(text: str) -> list[str]:
    """Return the words and numbers of a text, without differences of case, punctuation and Unicode form.

    >>> tokens_of("It's £3.50 — ＯＫ?")
    ['it', 's', '3', '50', 'ok']
    """
    if not text.isascii():
        text = _without_punctuation(text)
    return text.translate(_ASCII).split() if text.isascii() else _token().findall(_folded(text))


def normalised_bytes(texts: Sequence[str]) -> list[bytes]:
    r"""Return ``normalised`` of many texts in UTF-8, in a third of the time.

    >>> normalised_bytes(["Hello \n WORLD", "Ｈi"])
    [b'hello world', b'hi']
    """
    joined = "\0".join([text.strip() if text.isascii() else normalised(text) for text in texts])
    if not texts or joined.count("\0") >= len(texts):
        return [normalised(text).encode("utf-8", "surrogatepass") for text in texts]
    data = np.frombuffer(joined.encode("utf-8", "surrogatepass").translate(_FOLDED_BYTES), np.uint8)
    # One space remains of several. There are none around a text, so the next byte decides.
    spaces = data == ord(" ")
    spaces[:-1] &= spaces[1:]
    return (data[~spaces] if spaces.any() else data).tobytes().split(b"\0")


def word_lines(texts: Sequence[str]) -> bytes:
    r"""Return the words of ``tokens_of`` in UTF-8, a line for each text, with spaces between and around them.

    >>> word_lines(["It's £3.50", "OK"])
    b'it s 3 50\nok\n'
    """
    joined = "\0".join([*(text if text.isascii() else _spaced(text) for text in texts), ""])
    if joined.count("\0") > len(texts):
        return word_lines([text.replace("\0", " ") for text in texts])
    return joined.encode("utf-8", "surrogatepass").translate(_WORD_BYTES)


def spans_of(text: str) -> list[tuple[int, int]] | None:
    """Return where the tokens of ``tokens_of`` begin and end in a text.

    It is ``None`` for the few texts whose Unicode forms divide their tokens in another way.

    >>> spans_of("It's 3")
    [(0, 2), (3, 4), (5, 6)]
    """
    spans = [found.span() for found in _token().finditer(text)]
    return spans if text.isascii() or len(spans) == len(tokens_of(text)) else None


@cache
def _token() -> re.Pattern[str]:
    # Made when it is needed, because to look at all characters takes 15 ms.
    # Most vowels of Hindi or Tamil are marks, which `\w` does not match. Beyond the BMP, whole blocks are
    # enough.
    marks = "".join(c for c in map(chr, range(0x300, 0x10000)) if unicodedata.category(c)[0] == "M")
    inside = rf"[{marks}{_IGNORABLE}\U00010a01-\U00011fff\U0001e000-\U0001e94a]"
    letters = rf"[^\W{_UNSPACED}_]"
    # Possessive, because each part of a word that could be given back takes memory.
    return re.compile(rf"[{_UNSPACED}]{inside}*+|{letters}++(?:{inside}++{letters}*+)*+")


def _without_punctuation(text: str) -> str:
    for mark in _PUNCTUATION:
        text = text.replace(mark, " ")
    return text


def _spaced(text: str) -> str:
    """Return a text of the same tokens: in ASCII, or with spaces between them."""
    text = _without_punctuation(text)
    return text if text.isascii() else " ".join(tokens_of(text))


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    # Twice, because folding the case of some letters gives forms that are not composed.
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", _IGNORED.sub("", text)).casefold())
