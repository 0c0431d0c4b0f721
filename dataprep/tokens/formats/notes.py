"""Remarks on a chat format that hold for every row, so that ``lint-tokens`` makes them once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dataprep.core.errors import RowError
from dataprep.tokens.formats.base import ChatFormat

_ANSWER = "zqanswerqz"  # a word that no template contains
_CONVERSATION = [
    {"role": "user", "content": "zqquestionqz"},
    {"role": "assistant", "content": _ANSWER},
]


def notes_on(chat_format: ChatFormat) -> list[str]:
    """Return sentences about the loss mask of a chat template that deserve a look."""
    if chat_format.name != "template":  # the masks of named formats are documented
        return []
    try:
        # Two turns, as many templates end the last one in another way.
        plan, texts, _ = chat_format.write({"messages": _CONVERSATION * 2})
        runs = [*plan.runs(texts)]
    except RowError:
        return []
    return list(dict.fromkeys(note for run in runs for note in _notes(run)))


def _notes(run: Sequence[tuple[str, bool]]) -> Iterator[str]:
    text = "".join(piece for piece, _ in run)
    before, found, behind = text.partition(_ANSWER)
    if not found:
        return
    names = [piece for piece, special in run if special]
    if not any(name in behind for name in names):
        yield (
            "the chat template has no special token behind an answer in the loss: a model does not learn "
            "where to stop"
        )
    if before.strip():
        yield f"the chat template has text before an answer in the loss: {before!r}"
    for name in names:
        behind = behind.replace(name, "", 1)
    if behind:
        yield f"the chat template has text behind an answer in the loss: {behind!r}"
