"""Options that say when a training row repeats a test row."""

from __future__ import annotations

from dataclasses import dataclass

from dataprep.core.errors import UsageError
from dataprep.core.options import check, option


@dataclass(frozen=True)
class Overlap:
    """Options that say when a row repeats a test row; each field has the help text of its flag."""

    fields: tuple[str, ...] = option(
        ("question",),
        "Parts of test rows to look for, each by itself: question, answer, user, messages or fields.",
        metavar="NAMES",
        kind=str,
        shown="question",
        parse=lambda text: tuple(filter(None, (name.strip() for name in text.split(",")))),
    )
    ngram: int = option(
        13, "Tokens of an n-gram. A shorter text must stand there whole.", metavar="N", min=5, max=100
    )
    overlap: float = option(
        0.5, "Share of a test row's n-grams from which on a row is dropped.", above=0, max=1
    )
    near: float = option(
        0.85,
        "Share of a test row's tokens, without names and with any numbers, in their order. 0 looks for no "
        "changed rows.",
        min=0,
        max=1,
    )

    def __post_init__(self) -> None:
        check(self)
        if not self.fields:
            raise UsageError("--fields names no part; expected such as question,answer")
