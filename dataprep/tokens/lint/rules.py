"""What is wrong with a row of tokens: the faults that training does not show.

Each check takes ids and mask as they are, wherever they come from: made a moment ago, or out of a
finished shard. Where the messages are known too, the mask is compared with them.

Whether all rows of a batch are sound, found out at once; ``Linter`` says what is wrong where they are not.

It looks at the finished ids and mask beside the contents that they should be, as ``Linter`` does for one
row, and knows nothing of how they were made.
"""

from __future__ import annotations

import os.path
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dataprep.core.conversations import Finding
from dataprep.core.errors import RowError
from dataprep.core.records import describe
from dataprep.tokens.encoder import Batch, ByteTokenizer
from dataprep.tokens.formats.base import ChatFormat, Encoded, Laid, Messages, Plan, Segment
from dataprep.tokens.tokenizers.base import Tokenizer
from dataprep.tokens.tokenizers.prefix_space import decode_after, goes_on
from dataprep.tokens.truncation import spans_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

LENGTHS = "ids and mask differ in length"
UNKNOWN = "unknown token"
UNTRAINED = "no trained token"
OPEN_END = "untrained end of turn"
OTHER_TEXT = "trained text is not the answer"
SPECIAL = "special token inside content"
NAMED = "name of a special token inside content"
CUT = "cut answer"

KINDS = (LENGTHS, UNKNOWN, UNTRAINED, OPEN_END, OTHER_TEXT, SPECIAL, NAMED, CUT)

NOT_UTF8 = "\ufffd".encode()


def problems_of(
    encoded: Encoded, messages: Messages | None, tokenizer: Tokenizer, chat_format: ChatFormat
) -> list[Finding]:
    """What is wrong with a row of tokens; nothing where it is sound. ``Linter`` is faster for many rows."""
    return [*Linter(tokenizer, chat_format).problems(encoded, messages)]


class Linter:
    """Looks at rows of tokens.

    Args:
        tokenizer: the tokenizer that made them.
        chat_format: the chat format that they are in.
    """

    def __init__(self, tokenizer: Tokenizer, chat_format: ChatFormat) -> None:
        self.tokenizer = tokenizer
        self.chat_format = chat_format
        self._names = {number: name for name, number in tokenizer.special_tokens.items()}
        self._special = self._names.__contains__
        self._ends = {
            tokenizer.special_tokens[name] for name in chat_format.ends if name in tokenizer.special_tokens
        }
        names = sorted(tokenizer.special_tokens, key=len, reverse=True)
        self._named = re.compile("|".join(map(re.escape, names)) or "(?!)")

    def problems(
        self, encoded: Encoded, messages: Messages | None = None, laid: Laid | None = None
    ) -> Iterator[Finding]:
        """What is wrong with a row; nothing where it is sound.

        Args:
            encoded: the row.
            messages: the conversation that it was made of. Without it, an answer that is not the one
                meant, and the name of a special token in a text, cannot be found.
            laid: in place of ``messages``, what the chat format has read of them.
        """
        ids, mask, size = encoded.ids, encoded.mask, self.tokenizer.vocab_size
        if len(ids) != len(mask):
            yield Finding(LENGTHS, f"found {len(ids):,} ids and {len(mask):,} mask entries")
            return
        if ids and not (min(ids) >= 0 and max(ids) < size):
            wrong = next(number for number in ids if not 0 <= number < size)
            yield Finding(UNKNOWN, f"found id {wrong}; expected less than {size}: was it another tokenizer?")
            return
        spans = spans_of(mask)
        if not spans:
            yield Finding(UNTRAINED, f"found {len(ids):,} tokens, none of them to train on")
        if messages is not None or laid is not None:
            try:
                roles, contents = laid or self.chat_format.read(messages or ())
                plan = self.chat_format.plan(roles)
            except RowError as error:
                yield Finding(error.reason, error.detail)
                return
            yield from self._beside(roles, contents, plan, ids, spans)
            return
        for number, span in enumerate(spans, 1):
            yield from self._answer(f"answer {number}", ids, span)

    def names_special(self, text: str) -> bool:
        """Whether a special token's name stands in a text."""
        return self._named.search(text) is not None

    def _beside(
        self,
        roles: tuple[str, ...],
        contents: list[str],
        plan: Plan,
        ids: list[int],
        spans: list[tuple[int, int]],
    ) -> Iterator[Finding]:
        """What is wrong with a row beside its messages."""
        places = [number for number, role in enumerate(roles) if role == "assistant"]
        for place, span in zip(places, spans, strict=False):
            yield from self._answer(f"messages[{place}]", ids, span, contents[place])
        for place in places[len(spans) :] if spans else ():
            yield Finding(CUT, f"messages[{place}]: nothing of it is trained on")
        for start, end in spans[len(places) :]:
            shown = describe(self.tokenizer.decode(ids[start:end]))
            yield Finding(OTHER_TEXT, f"found {shown} at token {start + 1:,}; expected no further answer")
        laid = [piece.text for piece in plan if isinstance(piece, Segment) and piece.special]
        yield from self._specials(laid, [self._names[number] for number in filter(self._special, ids)])
        for number, content in enumerate(contents):
            if found := self._named.search(content):
                hint = "is the text laid out already?"
                yield Finding(NAMED, f"messages[{number}]: found {found.group()!r} in the text; {hint}")

    def _answer(
        self, place: str, ids: list[int], span: tuple[int, int], content: str | None = None
    ) -> Iterator[Finding]:
        """What is wrong with one stretch of trained tokens, and the content that it should be."""
        start, end = span
        closed = ids[end - 1] in self._ends
        body = ids[start : end - closed]
        after = goes_on(self.tokenizer, self._special(ids[start - 1]) if start else None)
        inner = next(filter(self._special, body), None)
        if inner is not None:
            token = start + body.index(inner) + 1
            yield Finding(SPECIAL, f"{place}: {self._names[inner]} is trained on at token {token:,}")
        last = end == len(ids) and bool(self._ends)
        if not closed and not last:
            wanted = " or ".join(sorted(self.chat_format.ends)) or "a special token"
            yield Finding(OPEN_END, f"{place}: expected {wanted} to be trained on at token {end + 1:,}")
        elif not closed:
            yield Finding(CUT, f"{place}: it breaks off at token {end:,}, the row's last")
        if inner is None:
            text = decode_after(self.tokenizer, body) if after else self.tokenizer.decode_bytes(body)
            yield from self._text(place, text, content, closed, last)

    def _text(
        self, place: str, found: bytes, content: str | None, closed: bool, last: bool
    ) -> Iterator[Finding]:
        """Whether trained tokens are the content that they should be, or its beginning."""
        if content is None:
            if not found:
                yield Finding(OTHER_TEXT, f"{place}: found its end of turn and nothing else")
            return
        wanted = content.encode("utf-8", "surrogatepass")
        if found == wanted:
            return
        if not self.chat_format.exact:
            found, wanted = found.strip(), wanted.strip()
        whole = found
        for _ in range(3):  # bytes of a character that was cut, each of which some tokenizers decode alone
            whole = whole.removesuffix(NOT_UTF8)
        begins = bool(found) and (wanted.startswith(whole) or wanted.startswith(found))
        if found == wanted or (begins and last and not closed):
            return
        if begins and closed:
            yield Finding(CUT, f"{place}: found the first {len(found):,} of its {len(wanted):,} bytes")
            return
        shown = describe(found.decode("utf-8", "replace"))
        yield Finding(OTHER_TEXT, f"{place}: found {shown}; expected {describe(content)}")

    @staticmethod
    def _specials(laid: list[str], found: list[str]) -> Iterator[Finding]:
        """Special tokens that the chat format did not put where they are: they came out of a content."""
        more = Counter(found) - Counter(laid) if found != laid else None
        for name, count in (more or {}).items():
            yield Finding(SPECIAL, f"{name} stands {count:,} times more than the chat format puts it")
        if more is not None and not more and found != laid[: len(found)]:
            yield Finding(SPECIAL, f"found {' '.join(found)}; expected {' '.join(laid)}")


# Bytes that UTF-8 never has: what ends of turn, and what all other tokens without text, are compared as.
END, NO_TEXT = b"\xff", b"\xfe"


class _Form(NamedTuple):
    """What the chat format makes of conversations with certain roles.

    Attributes:
        special_tokens: the special tokens that it puts into them.
        answers: which messages are answers.
    """

    special_tokens: NDArray[np.int64]
    answers: list[int]


class BatchLinter:
    """Looks at batches of rows.

    Args:
        tokenizer: the tokenizer that made them.
        chat_format: the chat format that they are in.
        linter: looks at one row.
    """

    def __init__(self, tokenizer: ByteTokenizer, chat_format: ChatFormat, linter: Linter) -> None:
        self.tokenizer = tokenizer
        self.chat_format = chat_format
        self._linter = linter
        self._vocab_size = size = tokenizer.vocab_size
        self._special = np.zeros(size, dtype=np.bool_)
        self._special[list(tokenizer.special_tokens.values())] = True
        self._end = np.zeros(size, dtype=np.bool_)
        self._end[
            [tokenizer.special_tokens[name] for name in chat_format.ends if name in tokenizer.special_tokens]
        ] = True
        self._bytes = np.array([each or NO_TEXT for each in tokenizer.token_bytes], dtype=np.object_)
        self._bytes[self._special] = NO_TEXT
        self._bytes[self._end] = END
        self._named = os.path.commonprefix([*tokenizer.special_tokens])  # noqa: RUF071 - of words, not of paths
        self._forms: dict[tuple[str, ...], _Form] = {}

    def sound(self, batch: Batch, rows: Sequence[Laid]) -> bool:
        """Whether ``Linter`` finds nothing wrong with any row.

        It may be false where it would find nothing, never true where it would find something.

        Args:
            batch: the rows, in tokens.
            rows: the conversations that they were made of, as the chat format has read them.
        """
        ids, mask, lengths = batch
        if not rows or lengths.min() < 1 or not ids.size == mask.size == lengths.sum():
            return False
        if int(ids.max()) >= self._vocab_size:
            return False
        borders = np.concatenate([[0], np.cumsum(lengths)])
        forms = [self._forms.get(roles) or self._form(roles) for roles, _ in rows]
        places = np.flatnonzero(self._special[ids])
        return (
            self._specials_are_laid(ids[places], np.searchsorted(places, borders), forms)
            and self._answers_are_closed(batch, places, borders, forms)
            and self._text_is_right(ids[mask.view(np.bool_)], rows, forms)
            and not self._has_names(rows)
        )

    @staticmethod
    def _specials_are_laid(
        special_tokens: NDArray[np.uint32], borders: NDArray[np.int64], forms: Sequence[_Form]
    ) -> bool:
        """Whether each row has the special tokens that the chat format puts into it, in their order."""
        sizes = [form.special_tokens.size for form in forms]
        laid = np.concatenate([form.special_tokens for form in forms])
        return np.array_equal(np.diff(borders), sizes) and np.array_equal(special_tokens, laid)

    def _answers_are_closed(
        self, batch: Batch, places: NDArray[np.int64], borders: NDArray[np.int64], forms: Sequence[_Form]
    ) -> bool:
        """Whether a row has a stretch of trained tokens for each answer, an end of turn last in it only."""
        ids, mask, _ = batch
        if mask[borders[:-1]].any():  # one row's stretch may touch the next row's
            return False
        edges = np.flatnonzero(np.diff(mask)) + 1
        if mask[-1]:
            edges = np.append(edges, mask.size)
        begins, ends = edges[::2], edges[1::2]
        trained_ends = places[self._end[ids[places]] & mask[places].view(np.bool_)]
        answers = np.diff(np.searchsorted(begins, borders))
        expected = [len(form.answers) for form in forms]
        return np.array_equal(trained_ends, ends - 1) and np.array_equal(answers, expected)

    def _text_is_right(
        self, trained: NDArray[np.uint32], rows: Sequence[Laid], forms: Sequence[_Form]
    ) -> bool:
        """Whether the trained tokens are the assistants' contents, each with an end of turn."""
        wanted = [
            contents[number].encode("utf-8", "surrogatepass")
            for (_, contents), form in zip(rows, forms, strict=True)
            for number in form.answers
        ]
        return b"".join(self._bytes[trained].tolist()) == END.join([*wanted, b""])

    def _has_names(self, rows: Sequence[Laid]) -> bool:
        """Whether a content may name a special token."""
        text = "\n".join(["\n".join(contents) for _, contents in rows])
        return self._named in text and self._linter.names_special(text)

    def _form(self, roles: tuple[str, ...]) -> _Form:
        pieces = self.chat_format.plan(roles)
        names = [piece.text for piece in pieces if isinstance(piece, Segment) and piece.special]
        special_tokens = np.array([self.tokenizer.special(name) for name in names], dtype=np.int64)
        answers = [number for number, role in enumerate(roles) if role == "assistant"]
        self._forms[roles] = form = _Form(special_tokens, answers)
        return form
