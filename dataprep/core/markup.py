"""Write YAML and Markdown whose texts come from data: no text becomes a part of their structure."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from dataprep.core.errors import one_line

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_YAML_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
# A colon is a mark in an address and in the name of an emoji.
_MARKS = re.compile(r"([\\`*_{}\[\]<>#!|~$&@]|:(?=//|[\w+-]+:))")
_WWW = re.compile(r"(?i)\bwww\.")
_RUN = re.compile(r"`+")


def yaml_of(value: Any, indent: str = "") -> str:
    """Return objects and lists as YAML in block style; texts that YAML may read otherwise are quoted."""
    lines = []
    if isinstance(value, dict):
        for key, item in value.items():
            nested = isinstance(item, dict | list) and bool(item)
            deeper = indent if isinstance(item, list) else f"{indent}  "
            name = yaml_of(str(key))
            lines.append(
                f"{indent}{name}:" + (f"\n{yaml_of(item, deeper)}" if nested else f" {_flow(item)}\n")
            )
        return "".join(lines)
    if isinstance(value, list):
        for item in value:
            nested = isinstance(item, dict) and bool(item)
            text = yaml_of(item, f"{indent}  ") if nested else f"{indent}  {_flow(item)}\n"
            lines.append(f"{indent}- {text[len(indent) + 2 :]}")
        return "".join(lines)
    return _flow(value)


def _flow(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _YAML_WORDS:
        return value
    # JSON is YAML, apart from characters that YAML forbids or takes for the end of a line.
    return "".join(c if _is_printed(c) else f"\\u{ord(c):04x}" for c in orjson.dumps(value).decode())


def _is_printed(character: str) -> bool:
    # Those beyond U+FFFF are all allowed, and have no escape of four digits.
    code = ord(character)
    return code > 0xFFFF or (
        code < 0xFFFE and unicodedata.category(character) not in {"Cc", "Cf", "Zl", "Zp"}
    )


def code_of(text: str, limit: int = 200) -> str:
    r"""Return a text as code in one line of Markdown, also in a cell of a table.

    >>> code_of("a|b `c`")
    '`` a\\|b `c` ``'
    """
    shown = one_line(text, limit)
    if not shown.strip():
        return "(empty)"
    fence = "`" * (max((len(run) for run in _RUN.findall(shown)), default=0) + 1)
    # Markdown removes one space on both sides of the text, if there are two.
    at_edge = shown[0] == "`" or shown[-1] == "`" or (shown[0] == shown[-1] == " ")
    pad = " " if at_edge else ""
    return f"{fence}{pad}{shown}{pad}{fence}".replace("|", "\\|")


def plain_of(text: str, limit: int = 200) -> str:
    """Return a text as one line of Markdown that shows it as it is, without marks, links and HTML."""
    escaped = _MARKS.sub(r"\\\1", one_line(text, limit))
    return _WWW.sub(lambda found: f"{found[0][:-1]}\\.", escaped)


def table_of(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0) -> str:
    """Return a table of cells that are Markdown already; the last ``numbers`` columns are aligned right."""
    plain = len(head) - numbers
    rules = ["---"] * plain + ["---:"] * numbers
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rules, *rows))


def fenced(lines: Iterable[str], language: str = "") -> str:
    """Return lines as a block of code, inside a fence that none of them can close."""
    shown = [*lines]
    longest = max((len(run) for line in shown for run in _RUN.findall(line)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n" + "".join(f"{line}\n" for line in shown) + f"{fence}\n"


def command_line(words: Iterable[str]) -> str:
    r"""Return a command for a shell in one line, its words quoted where they must be.

    >>> command_line(["merge", "a b", "c\n"])
    "merge 'a b' $'c\\x0a'"
    """
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    if one_line(word, max(len(word), 1)) == word:
        return shlex.quote(word)
    return f"$'{''.join(map(_in_dollar_quotes, word))}'"


def _in_dollar_quotes(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a name that is not Unicode
        return f"\\x{code - 0xDC00:02x}"
    if character in "'\\":
        return f"\\{character}"
    if one_line(character) == character:
        return character
    return f"\\x{code:02x}" if code < 0x80 else f"\\U{code:08x}"
