"""What is wrong with a row of tokens: the faults that training does not show.

Each check takes ids and mask as they are, wherever they come from: made a moment ago, or out of a
finished shard. Where the messages are known too, the mask is compared with them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from dataprep.errors import RowError
from dataprep.quality.conversations import Finding
from dataprep.records import describe
from dataprep.tokens.continuing import decode_after, goes_on
from dataprep.tokens.fitting import spans_of
from dataprep.tokens.layouts import Encoded, Laid, Layout, Messages, Plan, Segment
from dataprep.tokens.tokenizer import Tokenizer

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
    encoded: Encoded, messages: Messages | None, tokenizer: Tokenizer, layout: Layout
) -> list[Finding]:
    """What is wrong with a row of tokens; nothing where it is sound. ``Linter`` is faster for many rows."""
    return [*Linter(tokenizer, layout).problems(encoded, messages)]


class Linter:
    """Looks at rows of tokens.

    Args:
        tokenizer: the tokenizer that made them.
        layout: the layout that they are in.
    """

    def __init__(self, tokenizer: Tokenizer, layout: Layout) -> None:
        self.tokenizer = tokenizer
        self.layout = layout
        self._names = {number: name for name, number in tokenizer.specials.items()}
        self._special = self._names.__contains__
        self._ends = {tokenizer.specials[name] for name in layout.ends if name in tokenizer.specials}
        names = sorted(tokenizer.specials, key=len, reverse=True)
        self._named = re.compile("|".join(map(re.escape, names)) or "(?!)")

    def problems(
        self, encoded: Encoded, messages: Messages | None = None, laid: Laid | None = None
    ) -> Iterator[Finding]:
        """What is wrong with a row; nothing where it is sound.

        Args:
            encoded: the row.
            messages: the conversation that it was made of. Without it, an answer that is not the one
                meant, and the name of a special token in a text, cannot be found.
            laid: in place of ``messages``, what the layout has read of them.
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
                roles, contents = laid or self.layout.read(messages or ())
                plan = self.layout.plan(roles)
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
            wanted = " or ".join(sorted(self.layout.ends)) or "a special token"
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
        if not self.layout.exact:
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
        """Special tokens that the layout did not put where they are: they came out of a content."""
        more = Counter(found) - Counter(laid) if found != laid else None
        for name, count in (more or {}).items():
            yield Finding(SPECIAL, f"{name} stands {count:,} times more than the layout puts it")
        if more is not None and not more and found != laid[: len(found)]:
            yield Finding(SPECIAL, f"found {' '.join(found)}; expected {' '.join(laid)}")
