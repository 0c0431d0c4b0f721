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
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dataprep.core.conversations import Finding
from dataprep.core.records import describe
from dataprep.tokens.formats.base import NAMED, ChatFormat, Plan, Segment, Slot, Written
from dataprep.tokens.options import Encoded, spans_of
from dataprep.tokens.tokenizers.base import Tokenizer, decode_part

if TYPE_CHECKING:
    from numpy.typing import NDArray

LENGTHS = "ids and mask differ in length"
UNKNOWN = "unknown token"
NOT_IN_LOSS = "no token in the loss"
OPEN_END = "end of turn not in the loss"
OTHER_TEXT = "text in the loss is not the answer"
SPECIAL = "special token inside content"
CUT = "cut answer"
KINDS = (LENGTHS, UNKNOWN, NOT_IN_LOSS, OPEN_END, OTHER_TEXT, SPECIAL, NAMED, CUT)

_NOT_UTF8 = "\ufffd".encode()
# Two bytes that UTF-8 never contains: they stand for special tokens, and for all other tokens without text.
_SPECIAL, _NO_TEXT = b"\xff", b"\xfe"
_LONGEST_TOKEN = 256  # bytes, of all but a few tokens of any vocabulary


class _Expected(NamedTuple):
    """The pieces that the chat format puts into conversations with a certain plan."""

    special_tokens: NDArray[np.int64]  # the ids of the special tokens
    in_loss: tuple[bytes | int, ...]  # the text in the loss: fixed bytes, and indexes of the row's texts
    spans: int  # the number of spans in the loss


class _Table(NamedTuple):
    """Properties of every id of the vocabulary, as arrays: special token, bytes."""

    special: NDArray[np.bool_]
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
        self._expected: dict[Plan, _Expected] = {}

    def __getstate__(self) -> dict[str, object]:
        # The table is large, and quicker to make than to send to another process. Plans are of one process.
        return {name: value for name, value in self.__dict__.items() if name != "_table"} | {"_expected": {}}

    def problems(self, encoded: Encoded, written: Written | None = None) -> Iterator[Finding]:
        """Yield the faults of a row; ``written`` is the conversation that it was made from, if known."""
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
        if written is None:
            for number, span in enumerate(spans, 1):
                yield from self._check_answer(f"answer {number}", ids, span)
            return
        yield from self._compare(written, ids, spans)

    def _compare(self, written: Written, ids: list[int], spans: list[tuple[int, int]]) -> Iterator[Finding]:
        plan, texts, _ = written
        answers = [*plan.runs(texts)]
        where = plan.where
        if len(where) != len(answers):
            where = tuple(f"answer {number + 1}" for number in range(len(answers)))
        for name, answer, span in zip(where, answers, spans, strict=False):
            yield from self._check_answer(name, ids, span, answer, joined=plan.joined)
        for name in where[len(spans) :] if spans else ():
            yield Finding(CUT, f"{name}: no token of it is in the loss")
        for start, end in spans[len(answers) :]:
            text = describe(self.tokenizer.decode(ids[start:end]))
            yield Finding(OTHER_TEXT, f"found {text} at token {start + 1:,}; expected no further answer")
        expected = [piece.text for piece in plan.pieces if isinstance(piece, Segment) and piece.special]
        yield from _compare_special(expected, [self._names[number] for number in filter(self._special, ids)])
        for index, content in enumerate(texts):
            if match := self._named.search(content):
                hint = "is the text in a chat format already?"
                yield Finding(NAMED, f"messages[{index}]: found {match.group()!r} in the text; {hint}")

    def _check_answer(
        self,
        where: str,
        ids: list[int],
        span: tuple[int, int],
        answer: Sequence[tuple[str, bool]] = (),
        *,
        joined: bool = False,
    ) -> Iterator[Finding]:
        """Check one span of tokens in the loss, and compare it with the pieces that it should be."""
        start, end = span
        names = [self._names[number] for number in filter(self._special, ids[start:end])]
        expected = [text for text, special in answer if special]
        stopped = ids[end - 1] in self._stop
        if not answer:
            expected = names if stopped and len(names) == 1 else []
        more = [name for at, name in enumerate(names) if at >= len(expected) or name != expected[at]]
        if more:
            token = next(at for at in range(start, end) if self._names.get(ids[at]) == more[0]) + 1
            yield Finding(SPECIAL, f"{where}: {more[0]} is in the loss at token {token:,}")
        # A row that was truncated ends inside its last answer; elsewhere an answer must have its stop token.
        last = end == len(ids) and bool(self._stop)
        open_end = len(names) < len(expected) if answer else bool(self._stop) and not stopped
        if open_end and last:
            yield Finding(CUT, f"{where}: it breaks off at token {end:,}, the row's last")
        elif open_end:
            wanted = " or ".join(sorted(self.chat_format.stop_tokens)) or "a special token"
            yield Finding(OPEN_END, f"{where}: expected {wanted} in the loss at token {end + 1:,}")
        if more:
            return
        text = self._text_of(ids, start, end)
        if not answer:
            if not text.strip(_SPECIAL):
                yield Finding(OTHER_TEXT, f"{where}: found its end of turn and nothing else")
            return
        pieces = [
            _SPECIAL if special else piece.encode("utf-8", "surrogatepass") for piece, special in answer
        ]
        wanted_text = b"".join(pieces)
        if open_end:  # the end that is missing was reported already
            text, wanted_text = text.rstrip(_SPECIAL), wanted_text.rstrip(_SPECIAL)
        yield from self._compare_text(where, text, wanted_text, open_end and last, joined)

    def _text_of(self, ids: list[int], start: int, end: int) -> bytes:
        """Return the bytes of a span, with one byte in the place of each special token."""
        parts = []
        behind_special = self._special(ids[start - 1]) if start else None
        for special, group in groupby(ids[start:end], key=self._special):
            body = [*group]
            if special:
                parts += [_SPECIAL] * len(body)
            else:
                parts.append(decode_part(self.tokenizer, body, behind_special))
            behind_special = special
        return b"".join(parts)

    def _compare_text(
        self,
        where: str,
        text: bytes,
        wanted: bytes,
        cut: bool,
        joined: bool,
    ) -> Iterator[Finding]:
        """Check that the text in the loss is the answer, or the beginning of it where it was cut."""
        if text == wanted:
            return
        if not self.chat_format.exact:
            text, wanted = _stripped(text), _stripped(wanted)
        # A token that crosses the border of the loss is in it as a whole.
        if joined and wanted and wanted in text and len(text) - len(wanted) <= _LONGEST_TOKEN:
            return
        whole = text
        for _ in range(3):  # the bytes of a character that was cut, which some tokenizers decode one by one
            whole = whole.removesuffix(_NOT_UTF8)
        begins = bool(text) and (wanted.startswith(whole) or wanted.startswith(text))
        if text == wanted or (begins and cut):
            return
        body, size = text.rstrip(_SPECIAL), len(wanted.rstrip(_SPECIAL))
        if body != text and body and wanted.startswith(body):
            yield Finding(CUT, f"{where}: found the first {len(body):,} of its {size:,} bytes")
            return
        found, expected = [
            describe(shown.replace(_SPECIAL, b"").decode("utf-8", "replace")) for shown in (text, wanted)
        ]
        yield Finding(OTHER_TEXT, f"{where}: found {found}; expected {expected}")

    def all_sound(
        self,
        ids: NDArray[np.uint32],
        mask: NDArray[np.uint8],
        lengths: NDArray[np.int64],
        rows: Sequence[Written],
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
        expected = [self._expected.get(row.plan) or self._make_expected(row.plan) for row in rows]
        special = np.flatnonzero(self._table.special[ids])  # the positions of special tokens
        counts = np.diff(np.searchsorted(special, borders))  # special tokens of each row
        return (
            np.array_equal(counts, [row.special_tokens.size for row in expected])
            and np.array_equal(ids[special], np.concatenate([row.special_tokens for row in expected]))
            and self._spans_are_whole(mask, borders, expected)
            and self._texts_are_answers(ids[mask.view(np.bool_)], rows, expected)
            and not self._may_name_special(rows)
        )

    @cached_property
    def _table(self) -> _Table:
        tokenizer = self.tokenizer
        special = np.zeros(tokenizer.vocab_size, dtype=np.bool_)
        special[[*tokenizer.special_tokens.values()]] = True
        text = np.array([token or _NO_TEXT for token in tokenizer.token_bytes or ()], dtype=np.object_)
        text[special] = _SPECIAL
        return _Table(special, text)

    def _spans_are_whole(
        self, mask: NDArray[np.uint8], borders: NDArray[np.int64], expected: list[_Expected]
    ) -> bool:
        """Check that each row has as many spans in the loss as its plan, and at least one."""
        if mask[borders[:-1]].any():  # the span of one row could then touch that of the row before
            return False
        begins = np.flatnonzero(np.diff(mask) == 1) + 1
        counts = [row.spans for row in expected]
        return min(counts) > 0 and np.array_equal(np.diff(np.searchsorted(begins, borders)), counts)

    def _texts_are_answers(
        self, in_loss: NDArray[np.uint32], rows: Sequence[Written], expected: list[_Expected]
    ) -> bool:
        """Check that the tokens in the loss are the plans' answers; special tokens were compared before."""
        wanted = [
            row.texts[piece].encode("utf-8", "surrogatepass") if type(piece) is int else piece
            for row, recipe in zip(rows, expected, strict=True)
            for piece in recipe.in_loss
        ]
        # One comparison of two byte strings for the whole block; that spans belong to their rows was checked
        # before.
        return b"".join(self._table.text[in_loss].tolist()) == b"".join(wanted)  # type: ignore[arg-type]

    def _may_name_special(self, rows: Sequence[Written]) -> bool:
        text = "\n".join(["\n".join(row.texts) for row in rows])
        # Most names begin alike (`<|`), and a search for that is far quicker than the regular expression.
        return self._prefix in text and self._named.search(text) is not None

    def _make_expected(self, plan: Plan) -> _Expected:
        names = [piece.text for piece in plan.pieces if isinstance(piece, Segment) and piece.special]
        special_tokens = np.array([self.tokenizer.special(name) for name in names], dtype=np.int64)
        in_loss = tuple(_expected_bytes(piece) for piece in plan.pieces if piece.in_loss)
        # Texts of slots are never empty here: a plan of slots serves rows with a text for each.
        spans = sum(1 for learned, _ in groupby(plan.pieces, key=lambda piece: piece.in_loss) if learned)
        expected = _Expected(special_tokens, in_loss, spans)
        if any(isinstance(piece, Slot) for piece in plan.pieces):
            self._expected[plan] = expected
        return expected


def _expected_bytes(piece: Segment | Slot) -> bytes | int:
    if isinstance(piece, Slot):
        return piece.index
    return _SPECIAL if piece.special else piece.text.encode("utf-8", "surrogatepass")


def _stripped(text: bytes) -> bytes:
    """Return a text without white space at its ends and beside special tokens."""
    return _SPECIAL.join([part.strip() for part in text.split(_SPECIAL)])


def _compare_special(expected: list[str], found: list[str]) -> Iterator[Finding]:
    """Find special tokens that the chat format did not write: they come from a content."""
    more = Counter(found) - Counter(expected) if found != expected else None
    for name, count in (more or {}).items():
        yield Finding(SPECIAL, f"{name} stands {count:,} times more than the chat format puts it")
    if more is not None and not more and found != expected[: len(found)]:
        yield Finding(SPECIAL, f"found {' '.join(found)}; expected {' '.join(expected)}")
