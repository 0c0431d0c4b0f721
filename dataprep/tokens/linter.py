"""Find faults in a row of tokens that training would not show.

The checks look at finished ids and masks, wherever they come from, and don't know how they were made. If
the conversation is known too, the mask is compared with it.
"""

from __future__ import annotations

import os.path
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dataprep.core.conversations import Finding
from dataprep.core.errors import RowError
from dataprep.core.records import describe
from dataprep.tokens.formats.base import ChatFormat, Plan, Segment, Turns
from dataprep.tokens.options import Encoded, spans_of
from dataprep.tokens.tokenizers.base import Tokenizer, continues, decode_after

if TYPE_CHECKING:
    from numpy.typing import NDArray

LENGTHS = "ids and mask differ in length"
UNKNOWN = "unknown token"
NOT_IN_LOSS = "no token in the loss"
OPEN_END = "end of turn not in the loss"
OTHER_TEXT = "text in the loss is not the answer"
SPECIAL = "special token inside content"
NAMED = "name of a special token inside content"
CUT = "cut answer"
KINDS = (LENGTHS, UNKNOWN, NOT_IN_LOSS, OPEN_END, OTHER_TEXT, SPECIAL, NAMED, CUT)

_NOT_UTF8 = "\ufffd".encode()
# Two bytes that UTF-8 never contains: they stand for stop tokens, and for all other tokens without text.
_STOP, _NO_TEXT = b"\xff", b"\xfe"


class _Expected(NamedTuple):
    """The pieces that the chat format puts into conversations with certain roles."""

    special_tokens: NDArray[np.int64]  # the ids of the special tokens
    answers: list[int]  # the indexes of the messages that are answers


class _Table(NamedTuple):
    """Properties of every id of the vocabulary, as arrays: special token, stop token, bytes."""

    special: NDArray[np.bool_]
    stop: NDArray[np.bool_]
    text: NDArray[np.object_]


class Linter:
    """Checks rows of tokens."""

    def __init__(self, tokenizer: Tokenizer, chat_format: ChatFormat) -> None:
        self.tokenizer = tokenizer
        self.chat_format = chat_format
        special_tokens = tokenizer.special_tokens
        self._names = {number: name for name, number in special_tokens.items()}
        self._special = self._names.__contains__
        self._stop = {special_tokens[name] for name in chat_format.stop_tokens if name in special_tokens}
        # The longest name first, so that a message shows the whole name.
        names = sorted(special_tokens, key=len, reverse=True)
        self._named = re.compile("|".join(map(re.escape, names)) or "(?!)")
        self._prefix = os.path.commonprefix([*special_tokens])  # noqa: RUF071 - of words, not of paths
        self._expected: dict[tuple[str, ...], _Expected] = {}

    def __getstate__(self) -> dict[str, object]:
        # The table is large, and quicker to make than to send to another process.
        return {name: value for name, value in self.__dict__.items() if name != "_table"}

    def problems(self, encoded: Encoded, turns: Turns | None = None) -> Iterator[Finding]:
        """Yield the faults of a row; ``turns`` is the conversation that it was made from, if known."""
        ids, mask, size = encoded.ids, encoded.mask, self.tokenizer.vocab_size
        # The first three faults make every further comparison meaningless, so they end it.
        if len(ids) != len(mask):
            yield Finding(LENGTHS, f"found {len(ids):,} ids and {len(mask):,} mask entries")
            return
        if ids and not (min(ids) >= 0 and max(ids) < size):
            wrong = next(number for number in ids if not 0 <= number < size)
            yield Finding(UNKNOWN, f"found id {wrong}; expected less than {size}: was it another tokenizer?")
            return
        spans = spans_of(mask)
        if not spans:
            yield Finding(NOT_IN_LOSS, f"found {len(ids):,} tokens, and the loss mask covers none of them")
        if turns is None:
            for number, span in enumerate(spans, 1):
                yield from self._check_answer(f"answer {number}", ids, span)
            return
        try:
            plan = self.chat_format.plan(turns[0])
        except RowError as error:
            yield Finding(error.reason, error.detail)
            return
        yield from self._compare(turns, plan, ids, spans)

    def _compare(
        self, turns: Turns, plan: Plan, ids: list[int], spans: list[tuple[int, int]]
    ) -> Iterator[Finding]:
        roles, contents = turns
        answers = [index for index, role in enumerate(roles) if role == "assistant"]
        for index, span in zip(answers, spans, strict=False):
            yield from self._check_answer(f"messages[{index}]", ids, span, contents[index])
        for index in answers[len(spans) :] if spans else ():
            yield Finding(CUT, f"messages[{index}]: no token of it is in the loss")
        for start, end in spans[len(answers) :]:
            text = describe(self.tokenizer.decode(ids[start:end]))
            yield Finding(OTHER_TEXT, f"found {text} at token {start + 1:,}; expected no further answer")
        expected = [piece.text for piece in plan if isinstance(piece, Segment) and piece.special]
        yield from _compare_special(expected, [self._names[number] for number in filter(self._special, ids)])
        for index, content in enumerate(contents):
            if match := self._named.search(content):
                hint = "is the text in a chat format already?"
                yield Finding(NAMED, f"messages[{index}]: found {match.group()!r} in the text; {hint}")

    def _check_answer(
        self, where: str, ids: list[int], span: tuple[int, int], content: str | None = None
    ) -> Iterator[Finding]:
        """Check one span of tokens in the loss, and compare it with the content that it should be."""
        start, end = span
        stopped = ids[end - 1] in self._stop
        body = ids[start : end - stopped]
        inner = next(filter(self._special, body), None)
        if inner is not None:
            token = start + body.index(inner) + 1
            yield Finding(SPECIAL, f"{where}: {self._names[inner]} is in the loss at token {token:,}")
        # A row that was truncated ends inside its last answer; elsewhere an answer must have its stop token.
        last = end == len(ids) and bool(self._stop)
        if not stopped and not last:
            wanted = " or ".join(sorted(self.chat_format.stop_tokens)) or "a special token"
            yield Finding(OPEN_END, f"{where}: expected {wanted} in the loss at token {end + 1:,}")
        elif not stopped:
            yield Finding(CUT, f"{where}: it breaks off at token {end:,}, the row's last")
        if inner is None:
            behind_special = self._special(ids[start - 1]) if start else None
            if continues(self.tokenizer, behind_special):
                text = decode_after(self.tokenizer, body)
            else:
                text = self.tokenizer.decode_bytes(body)
            yield from self._compare_text(where, text, content, stopped, last)

    def _compare_text(
        self, where: str, text: bytes, content: str | None, stopped: bool, last: bool
    ) -> Iterator[Finding]:
        """Check that the text in the loss is the content, or the beginning of it where it was cut."""
        if content is None:
            if not text:
                yield Finding(OTHER_TEXT, f"{where}: found its end of turn and nothing else")
            return
        wanted = content.encode("utf-8", "surrogatepass")
        if text == wanted:
            return
        if not self.chat_format.exact:
            text, wanted = text.strip(), wanted.strip()
        whole = text
        for _ in range(3):  # the bytes of a character that was cut, which some tokenizers decode one by one
            whole = whole.removesuffix(_NOT_UTF8)
        begins = bool(text) and (wanted.startswith(whole) or wanted.startswith(text))
        if text == wanted or (begins and last and not stopped):
            return
        if begins and stopped:
            yield Finding(CUT, f"{where}: found the first {len(text):,} of its {len(wanted):,} bytes")
            return
        found = describe(text.decode("utf-8", "replace"))
        yield Finding(OTHER_TEXT, f"{where}: found {found}; expected {describe(content)}")

    def all_sound(
        self,
        ids: NDArray[np.uint32],
        mask: NDArray[np.uint8],
        lengths: NDArray[np.int64],
        rows: Sequence[Turns],
    ) -> bool:
        """Return whether every row of an ``encoder.Batch`` is free of faults."""
        # A few array operations for all rows. The answer may be false although `problems` finds nothing; it
        # must never be true if that finds something.
        if self.tokenizer.token_bytes is None or not rows or len(rows) != lengths.size:
            return False
        if lengths.min() < 1 or not ids.size == mask.size == lengths.sum():
            return False
        if int(ids.max()) >= self.tokenizer.vocab_size:
            return False
        borders = np.concatenate([[0], np.cumsum(lengths)])
        expected = [self._expected.get(roles) or self._make_expected(roles) for roles, _ in rows]
        special = np.flatnonzero(self._table.special[ids])  # the positions of special tokens
        counts = np.diff(np.searchsorted(special, borders))  # special tokens of each row
        return (
            np.array_equal(counts, [row.special_tokens.size for row in expected])
            and np.array_equal(ids[special], np.concatenate([row.special_tokens for row in expected]))
            and self._answers_are_closed(ids, mask, special, borders, expected)
            and self._texts_are_contents(ids[mask.view(np.bool_)], rows, expected)
            and not self._may_name_special(rows)
        )

    @cached_property
    def _table(self) -> _Table:
        tokenizer = self.tokenizer
        special, stop = np.zeros((2, tokenizer.vocab_size), dtype=np.bool_)
        special[[*tokenizer.special_tokens.values()]] = True
        stop[[*self._stop]] = True
        text = np.array([token or _NO_TEXT for token in tokenizer.token_bytes or ()], dtype=np.object_)
        text[special] = _NO_TEXT
        text[stop] = _STOP
        return _Table(special, stop, text)

    def _answers_are_closed(
        self,
        ids: NDArray[np.uint32],
        mask: NDArray[np.uint8],
        special: NDArray[np.int64],
        borders: NDArray[np.int64],
        expected: list[_Expected],
    ) -> bool:
        """Check that each row has one span in the loss per answer, with a stop token only at its end."""
        if mask[borders[:-1]].any():  # the span of one row could then touch that of the row before
            return False
        # The mask begins with 0, so its changes are the beginning and the end of a span in turn.
        edges = np.flatnonzero(np.diff(mask)) + 1
        if mask[-1]:
            edges = np.append(edges, mask.size)
        begins, ends = edges[::2], edges[1::2]
        stops_in_loss = special[self._table.stop[ids[special]] & mask[special].view(np.bool_)]
        answers = np.diff(np.searchsorted(begins, borders))
        return np.array_equal(stops_in_loss, ends - 1) and np.array_equal(
            answers, [len(row.answers) for row in expected]
        )

    def _texts_are_contents(
        self, in_loss: NDArray[np.uint32], rows: Sequence[Turns], expected: list[_Expected]
    ) -> bool:
        """Check that the tokens in the loss are the answers' contents, each with a stop token."""
        wanted = [
            contents[index].encode("utf-8", "surrogatepass")
            for (_, contents), row in zip(rows, expected, strict=True)
            for index in row.answers
        ]
        # One comparison of two byte strings for the whole block; that spans belong to their rows was checked
        # before.
        return b"".join(self._table.text[in_loss].tolist()) == _STOP.join([*wanted, b""])

    def _may_name_special(self, rows: Sequence[Turns]) -> bool:
        text = "\n".join(["\n".join(contents) for _, contents in rows])
        # Most names begin alike (`<|`), and a search for that is far quicker than the regular expression.
        return self._prefix in text and self._named.search(text) is not None

    def _make_expected(self, roles: tuple[str, ...]) -> _Expected:
        pieces = self.chat_format.plan(roles)
        names = [piece.text for piece in pieces if isinstance(piece, Segment) and piece.special]
        special_tokens = np.array([self.tokenizer.special(name) for name in names], dtype=np.int64)
        answers = [index for index, role in enumerate(roles) if role == "assistant"]
        self._expected[roles] = expected = _Expected(special_tokens, answers)
        return expected


def _compare_special(expected: list[str], found: list[str]) -> Iterator[Finding]:
    """Find special tokens that the chat format did not write: they come from a content."""
    more = Counter(found) - Counter(expected) if found != expected else None
    for name, count in (more or {}).items():
        yield Finding(SPECIAL, f"{name} stands {count:,} times more than the chat format puts it")
    if more is not None and not more and found != expected[: len(found)]:
        yield Finding(SPECIAL, f"found {' '.join(found)}; expected {' '.join(expected)}")
