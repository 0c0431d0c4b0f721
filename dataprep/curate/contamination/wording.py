"""Take the question out of a prompt: words that all prompts of a dataset share say nothing about a row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from hashlib import blake2b
from string import Formatter
from typing import Any

from dataprep.core.errors import RowError
from dataprep.curate.texts import TextOf, tokens_of
from dataprep.datasets import registry
from dataprep.datasets.templates import DEFAULT_SYSTEM, LETTER_SYSTEM, default_template

# The first two lines of choices: "(a) …" and "(b) …", "A. …" and "B. …", "1) …" and "2) …".
_CHOICES = re.compile(r"\n\s*\(?([Aa1])[).:]\s[^\n]*\n\s*\(?[Bb2][).:]\s")
_HEADING = re.compile(r"\n\s*(?:answer )?choices:\s*$", re.IGNORECASE)
_WORDS = 3  # a template with fewer words around its fields is no sign of a dataset


def question_in(text: str, at_least: int = 1) -> str:
    r"""Return the question in a prompt of ``dataprep convert``, without passage, tests and instructions.

    Lettered choices behind the question are left out, too, if that leaves ``at_least`` tokens.

    >>> question_in("Where is ice made?\n\n(a) an oven\n(b) a freezer")
    'Where is ice made?'
    """
    for system in (DEFAULT_SYSTEM, LETTER_SYSTEM):
        text = text.removeprefix(system).lstrip() if text.startswith(system) else text
    for pattern in _patterns():
        found = pattern.fullmatch(text.strip())
        if found:
            text = found["question"]
            break
    choices = _CHOICES.search(text)
    if choices:
        stem = _HEADING.sub("", text[: choices.start()])
        text = stem if len(tokens_of(stem)) >= at_least else text
    return text


def part_of(row: Mapping[str, Any], field: str, at_least: int = 1) -> str:
    """Return the text of a part of a row, and of the question what ``question_in`` leaves of it."""
    text = TextOf(field)(row)
    return question_in(text, at_least) if field == "question" and "messages" in row else text


def question_digest(row: Mapping[str, Any], field: str = "question") -> str | None:
    """Return a digest of a row's question, the same for a chat row, an Example and a source row.

    A row without a question has that of another field; ``None`` if it has neither.
    """
    for part in dict.fromkeys(("question", field)):
        try:
            tokens = tokens_of(question_in(TextOf(part)(row)))
        except RowError:
            continue
        if tokens:
            return blake2b(" ".join(tokens).encode(), digest_size=12).hexdigest()
    return None


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    templates = sorted({default_template(name).user for name in registry.names()})
    return tuple(pattern for template in templates if (pattern := _pattern(template)) is not None)


def _pattern(template: str) -> re.Pattern[str] | None:
    written, words = "", 0
    fields = set()
    for literal, field, _, _ in Formatter().parse(template.strip()):
        written += re.escape(literal)
        words += len(tokens_of(literal))
        if field is not None:
            written += f"(?P<{field}>.*{'' if field == 'context' else '?'})"
            fields.add(field)
    return re.compile(written, re.DOTALL) if words >= _WORDS and "question" in fields else None
