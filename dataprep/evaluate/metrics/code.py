"""MBPP: the program that a reply holds, and the tests that a prompt shows."""

from __future__ import annotations

import re

# A block may lack its end where a reply was cut off.
_FENCED = re.compile(r"^[ \t]*```[ \t]*(\w*)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
_PYTHON = ("python", "python3", "py", "")


def program_of(reply: str) -> str:
    """The code of a reply: its first block of Python between fences, or where there is none all of it."""
    text = reply.replace("\r\n", "\n")
    for language, code in _FENCED.findall(text):
        if language.lower() in _PYTHON:
            return str(code)
    return text


def shown_tests(prompt: str) -> tuple[str, ...]:
    """The assertions that a prompt shows in its last block between fences; none where it shows no such.

    They are one text: a statement may span lines, and they run in their order anyway.
    """
    blocks = [code for language, code in _FENCED.findall(prompt) if language.lower() in _PYTHON]
    if not blocks or not re.search(r"^\s*assert\b", blocks[-1], re.MULTILINE):
        return ()
    return (blocks[-1].strip("\n"),)
