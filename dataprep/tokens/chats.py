"""Chat rows to ids and masks, a block of lines at a time: laid out, fitted, checked.

The one place where tokenizing meets tokenizers and layouts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from dataprep.engine import Outcome, apply
from dataprep.engine.outcome import LineBlock
from dataprep.errors import RowDropped, RowError
from dataprep.quality.conversations import find_in_row
from dataprep.tokens import layouts

if TYPE_CHECKING:
    from dataprep.tokens.layouts import Encoded, Layout
    from dataprep.tokens.tokenizer import Tokenizer

Row = TypeVar("Row")
Result = TypeVar("Result")

OVERFLOWS = ("error", "drop", "truncate")
# What is tried, in this order, for positions that hold no token; they are never trained on.
PADS = ("<|finetune_right_pad_id|>", "<pad>", "[PAD]", "<|pad|>", "<|end_of_text|>", "<|endoftext|>", "</s>")


def pad_id(tokenizer: Tokenizer) -> int:
    """The id to fill up with: the padding token, else the token that ends a text, else 0."""
    return next((tokenizer.specials[name] for name in PADS if name in tokenizer.specials), 0)


def messages_of(row: dict[str, Any]) -> Sequence[dict[str, Any]]:
    """The messages of a chat row.

    Raises:
        RowError: it is no well-formed chat row.
    """
    for finding in find_in_row(row):
        raise RowError(finding.kind, finding.detail)
    messages: list[dict[str, Any]] = row["messages"]
    return messages


class Encoder:
    """Encodes conversations with one tokenizer and layout; picklable.

    Attributes:
        cut: how many answers were cut since it was last set to 0.
    """

    def __init__(
        self, tokenizer: Tokenizer, layout: Layout, max_length: int | None = None, overflow: str = "error"
    ) -> None:
        self.tokenizer = tokenizer
        self.layout = layout
        self.max_length = max_length
        self.overflow = overflow
        self.cut = 0

    def __call__(self, conversations: Sequence[Sequence[dict[str, Any]]]) -> list[Encoded | RowError]:
        """Each conversation in tokens, or why it is left out."""
        try:
            found: list[Encoded | RowError] = list(encode_all(self.tokenizer, self.layout, conversations))
        except RowError:  # one of them: each on its own
            found = [self._alone(messages) for messages in conversations]
        return [
            each if isinstance(each, RowError) else self._checked(each, messages)
            for each, messages in zip(found, conversations, strict=True)
        ]

    def _alone(self, messages: Sequence[dict[str, Any]]) -> Encoded | RowError:
        try:
            (found,) = encode_all(self.tokenizer, self.layout, [messages])
        except RowError as error:
            return error
        return found

    def _checked(self, encoded: Encoded, messages: Sequence[dict[str, Any]]) -> Encoded | RowError:
        for problem in problems_of(encoded, messages, self.tokenizer, self.layout):
            return RowError(*_parts(problem))
        if self.max_length is None or len(encoded.ids) <= self.max_length:
            return encoded
        try:
            fitted = fit(encoded, self.max_length, self.overflow)
        except RowError as error:
            return error
        self.cut += 1
        return fitted


def named_layout(name: str, *, strip: bool, date: str | None, path: str | None) -> Layout:
    """The layout of a name; ``path`` is where a model directory's own template lies."""
    layout: Layout = layouts.layout_of(name, strip=strip, date=date, path=path)  # type: ignore[attr-defined,unused-ignore]
    return layout


def encode_all(
    tokenizer: Tokenizer, layout: Layout, conversations: Sequence[Sequence[dict[str, Any]]]
) -> Sequence[Encoded]:
    """Conversations in tokens."""
    together = getattr(layouts, "encode_chats", None)
    if together is not None:
        found: Sequence[Encoded] = together(tokenizer, layout, conversations)
        return found
    return [layouts.encode_chat(tokenizer, layout, messages) for messages in conversations]


def fit(encoded: Encoded, max_length: int, overflow: str) -> Encoded:
    """A row that is too long, cut; or ``RowDropped``, or ``RowError``, as ``overflow`` says."""
    theirs = getattr(layouts, "fit", None)
    if theirs is not None:
        fitted = theirs(encoded, max_length, overflow)
        whole: Encoded = fitted[0] if isinstance(fitted, tuple) else fitted
        return whole
    detail = f"found {len(encoded.ids):,} tokens; expected at most {max_length:,}"
    if overflow == "drop":
        raise RowDropped("too long")
    if overflow == "error":
        raise RowError("too long", f"{detail}; drop such rows or cut them with --overflow")
    if not any(encoded.mask[:max_length]):
        raise RowError("too long", f"{detail}, and the question alone has as many")
    return layouts.Encoded(encoded.ids[:max_length], encoded.mask[:max_length])


def problems_of(
    encoded: Encoded, messages: Sequence[dict[str, Any]], tokenizer: Tokenizer, layout: Layout
) -> Sequence[Any]:
    """What the linter finds in an encoded row."""
    try:
        from dataprep.tokens import lint  # type: ignore[attr-defined,unused-ignore]
    except ImportError:
        return () if any(encoded.mask) else ("no trained token",)
    found: Sequence[Any] = list(lint.problems_of(encoded, messages, tokenizer, layout))
    return found


def _parts(problem: Any) -> tuple[str, str]:
    """Kind and detail of a problem, as a ``RowError`` has them."""
    if isinstance(problem, str):
        kind, _, detail = problem.partition(": ")
        return kind, detail
    kind = getattr(problem, "kind", None) or getattr(problem, "reason", None) or str(problem)
    return kind, getattr(problem, "detail", "")


def over_rows(
    block: LineBlock,
    read: Callable[[dict[str, Any]], Row],
    work: Callable[[list[Row]], list[Result | RowError]],
) -> tuple[Outcome, list[Result]]:
    """A block's rows, read one by one and worked on together; what became of them, and the results.

    The rows are gone over once more only where some of them have no result.
    """
    rows: list[Row] = []

    def take(row: dict[str, Any]) -> bytes:
        rows.append(read(row))
        return b""

    outcome = apply(take, block)
    found = work(rows)
    results = [each for each in found if not isinstance(each, RowError)]
    if len(results) < len(found):
        rest = iter(found)

        def again(row: dict[str, Any]) -> bytes:
            read(row)
            each = next(rest)
            if isinstance(each, RowError):
                raise each
            return b""

        outcome = apply(again, block)
    outcome.data, outcome.size = None, 0
    return outcome, results
