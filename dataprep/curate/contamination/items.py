"""Read test rows as the distinct texts that training rows must not repeat."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataprep.core import io as files
from dataprep.core.errors import InputError, Location, RowError, located
from dataprep.curate.contamination.wording import part_of, question_digest
from dataprep.curate.texts import spans_of, tokens_of

SHORTEST = 4
"""Number of tokens from which on a text counts where it stands inside another one."""

SENTENCE = 8
"""Number of tokens from which on a text counts where it is only a part of a longer sentence."""

_JOINING_WORDS = """
of the and s de der den del di da du la le el al ul von van bin ibn
"""
JOINING = frozenset(_JOINING_WORDS.split())
"""Words that stand inside a name, as in "Kingdom of the Netherlands", or in "Newton's" behind it."""

_SENTENCE_END = re.compile(r"[^\s,'’-]|\n")  # between two tokens of which no sentence has both
# Words that begin sentences and questions: written with a capital, they are no names.
_USUAL_WORDS = """
a after all an and any are as at both but by did do does each every for from had has have he her
his how i if in into is it its many more much my no of on one or our she so some than that the their
then there these they this to two was we were what when where which while who whose why will with
you your
"""
USUAL = frozenset(_USUAL_WORDS.split())

_PRONOUNS_WORDS = """
i he she him her his hers himself herself
"""
PRONOUNS = frozenset(_PRONOUNS_WORDS.split())  # they change with a name


@dataclass(frozen=True, slots=True)
class Item:
    """A test row: where it stands, and what names it."""

    where: Location
    id: str | None
    digest: str | None  # of its question, see ``wording.question_digest``


@dataclass(slots=True)
class Text:
    """A text of one test row, or the same text of several.

    Attributes:
        tokens: its tokens.
        names: for each token, whether it is the name of somebody or something.
        inside: for each token, whether it has a capital letter inside a sentence; a title has none.
        capital: whether it begins with a capital letter.
        items: numbers of the test rows that have it.
    """

    tokens: list[str]
    names: list[bool]
    inside: list[bool]
    capital: bool = False
    items: list[int] = field(default_factory=list)


def read_items(paths: Sequence[str], fields: Sequence[str]) -> tuple[list[Item], list[Text]]:
    """Return the test rows of files, and their distinct texts.

    Raises:
        InputError: a row lacks one of the fields, or a file has no rows.
    """
    items: list[Item] = []
    texts: dict[tuple[str, ...], Text] = {}
    for path in paths:
        before = len(items)
        for where, row in files.read_rows(path):
            with located(where, "name the parts of test rows to look for with --fields"):
                refuse_document(row)
                parts = [part_of(row, name, SHORTEST) for name in fields]
                # A question of a few words counts with its choices, and alone where it is all of a question.
                alone = [part_of(row, name) for name in fields]
            name = row.get("id")
            digest = question_digest(row, fields[0])
            items.append(Item(where, None if name is None else str(name), digest))
            for tokens, made in (_told_apart(alone) | _told_apart(parts)).items():
                texts.setdefault(tokens, made).items.append(len(items) - 1)
        if len(items) == before:
            raise InputError(path, "the file is empty; expected test rows")
    # A short text that many rows have, such as "yes", is no sign of any of them.
    many = max(3, len(items) // 100)
    kept = [text for text in texts.values() if len(text.tokens) >= SHORTEST or len(text.items) < many]
    _leave_names(kept)
    return items, kept


def refuse_document(row: Mapping[str, Any]) -> None:
    """Raise ``RowError`` for SQuAD's document, which holds many rows."""
    articles = row.get("data")
    first = articles[0] if isinstance(articles, list) and articles else None
    if isinstance(first, dict) and "paragraphs" in first:
        hint = "make rows of it with `dataprep convert squad --to example`"
        raise RowError("a document of articles", f"found 'paragraphs' in 'data'; expected rows: {hint}")


def _told_apart(parts: Iterable[str]) -> dict[tuple[str, ...], Text]:
    """Return the texts of a row that are long enough to be told from others; else its first one."""
    texts = {tuple(text.tokens): text for part in parts if (text := _text_of(part)).tokens}
    return {key: text for key, text in texts.items() if len(key) >= SHORTEST} or dict([*texts.items()][:1])


def _text_of(text: str) -> Text:
    tokens, spans = tokens_of(text), spans_of(text)
    if not spans or len(spans) != len(tokens):
        return Text(tokens, [False] * len(tokens), [False] * len(tokens))
    big = [text[begin].isupper() for begin, _ in spans]
    ends = [end for _, end in spans[:-1]]
    starts = [True, *(is_end(text[end:begin]) for end, (begin, _) in zip(ends, spans[1:], strict=True))]
    inside = [capital and not start for capital, start in zip(big, starts, strict=True)]
    if _is_title(tokens, big, starts):
        inside = [False] * len(tokens)
    names = [capital and token not in USUAL for token, capital in zip(tokens, big, strict=True)]
    return Text(tokens, names, inside, big[0])


def _is_title(tokens: Sequence[str], big: Sequence[bool], starts: Sequence[bool]) -> bool:
    """Return whether a text has capitals because it is a title, "Who Was He", and not because of names."""
    columns = zip(tokens, big, starts, strict=True)
    words = [(word in USUAL, capital) for word, capital, start in columns if not start and word != "i"]
    capitals = sum(capital for _, capital in words)
    return capitals == len(words) or (2 * capitals > len(words) and (True, True) in words)


def is_end(between: str) -> bool:
    """Return whether a sentence ends between two tokens."""
    return _SENTENCE_END.search(between) is not None


def _leave_names(texts: Sequence[Text]) -> None:
    """Take a word at the beginning of a sentence for a name only if no text has it in lower case."""
    lower: set[str] = set()
    for text in texts:
        lower.update(token for token, big in zip(text.tokens, text.names, strict=True) if not big)
    for text in texts:
        columns = zip(text.tokens, text.names, text.inside, strict=True)
        text.names = [
            token in PRONOUNS or inside or (big and token not in lower) for token, big, inside in columns
        ]
        _join(text)


def _join(text: Text) -> None:
    """Take the words between two parts of a name for a part of it, as in "Kingdom of the Netherlands"."""
    last = None  # the last token of a name
    for place, is_name in enumerate(text.names):
        if is_name and last is not None:
            text.names[last + 1 : place] = [True] * (place - last - 1)
        if is_name:
            last = place
        elif last == place - 1 and text.tokens[place] == "s":
            text.names[place], last = True, place
        elif text.tokens[place] not in JOINING:
            last = None
