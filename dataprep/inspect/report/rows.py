"""Write rows as chats in HTML: every text escaped, long ones shortened visibly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from dataprep.core.html import escaped
from dataprep.inspect.diff.fields import word_changes
from dataprep.inspect.report.figures import ShownRow, ShownText
from dataprep.tokens.lint_page import html_of

_ROLES = ("system", "developer", "user", "assistant", "tool")
_COLOURS = {"reasoning": "reasoning", "rationale": "reasoning", "call": "call"}
_COLOURS |= {"question": "user", "choices": "user", "answer": "assistant"}
_SAME = 120  # characters at the beginning and at the end of a long part that two texts share
_SHORT = 80  # characters of a field that stands in the list of fields


@dataclass(frozen=True)
class Limits:
    """Limits of the page for a row: a page must not become too large."""

    text: int = 2000  # characters of a text
    tokens: int = 600  # tokens of a row
    texts: int = 30  # texts of a row


def article(
    row: ShownRow,
    limits: Limits,
    level: int = 3,
    *,
    is_open: bool = False,
    other: ShownRow | None = None,
    fact: str = "",
) -> str:
    """Return a row as an article.

    Args:
        row: the row.
        limits: how much of it is shown.
        level: level of the heading.
        is_open: whether its tokens are shown at once.
        other: a similar row; what differs from it is marked, and long parts that do not are left out.
        fact: what to say beside the row's length.
    """
    texts = row.texts[: limits.texts]
    facts = [_counted(row.length, "character"), *([fact] if fact else [])]
    if row.token_count:
        facts.append(f"{_counted(row.token_count, 'token')}, {row.in_loss:,} in the loss")
    parts = [
        f"<article>\n<h{level}><bdi>{escaped(row.where)}</bdi></h{level}>\n",
        f'<p class="note">{"; ".join(facts)}</p>\n',
        *(_text(text, limits, like) for text, like in _beside(texts, other) if not _is_short(text)),
    ]
    more = len(row.texts) - len(texts) + row.more
    if more:
        parts.append(f'<p class="more">{_counted(more, "text")} more</p>\n')
    parts += _fields([text for text in texts if _is_short(text)])
    parts += _tokens(row, limits, is_open)
    return "".join((*parts, "</article>\n"))


def _is_short(text: ShownText) -> bool:
    is_field = text.kind == "field" and not text.role
    return is_field and len(text.text) <= _SHORT and "\n" not in text.text and not text.more


def _beside(texts: Sequence[ShownText], other: ShownRow | None) -> Iterator[tuple[ShownText, str | None]]:
    """Yield each text with the text at its place in another row."""
    others = () if other is None else other.texts
    for text, like in zip_longest(texts, others[: len(texts)]):
        is_like = like is not None and (text.role, text.kind) == (like.role, like.kind)
        yield text, like.text if is_like else None


def _text(text: ShownText, limits: Limits, like: str | None = None) -> str:
    # A role comes from the data, and only known ones may become the name of a class.
    colour = _COLOURS.get(text.kind) or _COLOURS.get(text.role, text.role)
    kind = f" {colour}" if colour in (*_ROLES, "reasoning", "call") else ""
    names = {"reasoning": f"{text.role}’s reasoning", "call": f"{text.role} calls", "tools": ""}
    who = " ".join(
        filter(None, (names.get(text.kind, text.role), text.title if text.kind != "reasoning" else ""))
    )
    shown = shortened(text, limits.text) if like is None else compared(text, like, limits.text)
    code = " code" if text.kind in ("call", "tools") else ""
    body = f'<div class="text{code}" dir="auto">{shown}</div>'
    if text.kind in ("reasoning", "tools"):
        length = _counted(len(text.text) + text.more, "character")
        body = f"<details><summary>{escaped(who)}, {length}</summary>{body}</details>"
        return f'<div class="turn{kind}">{body}</div>\n'
    return f'<div class="turn{kind}"><p><bdi>{escaped(who)}</bdi></p>{body}</div>\n'


def shortened(text: ShownText, limit: int) -> str:
    """Return a text in HTML, with the number of characters that are left out at its end."""
    shown = text.text[:limit]
    more = len(text.text) - len(shown) + text.more
    return escaped(shown, lines=True) + _left_out(more)


def _left_out(more: int) -> str:
    return f'… <span class="more">{_counted(more, "character")} more</span>' if more else ""


def compared(text: ShownText, like: str, limit: int) -> str:
    """Return a text in HTML, with marks where it differs from another one.

    Of a long part that both have, only the beginning and the end are shown.
    """
    parts: list[str] = []
    shown, more = 0, text.more
    for kind, part in word_changes(like, text.text):
        if kind == "removed":
            continue
        first, last = part.rfind(" ", 0, _SAME) + 1, part.find(" ", max(len(part) - _SAME, 0))
        if shown >= limit:
            more += len(part)
        elif kind == "same" and 0 < first < last - _SAME:
            left = f'… <span class="more">{_counted(last - first, "character")} the same</span> …'
            parts += [escaped(part[:first], lines=True), left, escaped(part[last:], lines=True)]
            shown += len(part) - (last - first)
        else:
            cut = part[: limit - shown]
            body = "" if kind == "same" else cut.rstrip()
            parts += [f"<mark>{escaped(body, lines=True)}</mark>"] if body else []
            parts.append(escaped(cut[len(body) :], lines=True))
            shown += len(cut)
            more += len(part) - len(cut)
    return "".join(parts) + _left_out(more)


def _fields(texts: list[ShownText]) -> Iterator[str]:
    if texts:
        yield '<dl class="fields">\n'
        for text in texts:
            yield f"<dt>{escaped(text.title[:_SHORT])}</dt><dd><bdi>{escaped(text.text)}</bdi></dd>\n"
        yield "</dl>\n"


def _tokens(row: ShownRow, limits: Limits, is_open: bool) -> Iterator[str]:
    if row.fault:
        yield f'<p class="note">It has no tokens: {escaped(row.fault[:500])}</p>\n'
    if not row.tokens:
        return
    shown = row.tokens[: limits.tokens]
    more = row.token_count - len(shown)
    yield f"<details{' open' if is_open else ''}><summary>Tokens and loss mask</summary>\n"
    yield f'<div class="row" dir="auto">{"".join(html_of(shown))}</div>\n'
    if more:
        yield f'<p class="more">{_counted(more, "token")} more</p>\n'
    yield "</details>\n"


def _counted(count: int, unit: str) -> str:
    return f"{count:,} {unit}{'' if count == 1 else 's'}"
