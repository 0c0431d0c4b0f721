"""Extract the answer from a reply: a choice, a number, or a program."""

from __future__ import annotations

import re

# GSM8K: as the task `gsm8k` (version 3) of EleutherAI's lm-evaluation-harness defines both ways of reading,
# so that scores can stand beside published ones (lm_eval/tasks/gsm8k/gsm8k.yaml, filters `strict-match` and
# `flexible-extract`, metric `exact_match`; https://github.com/EleutherAI/lm-evaluation-harness).
_STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_IGNORED = re.compile(r"[,$]")
_SOLUTION = re.compile(r"(?s).*#### ")
# A block may lack its end if a reply was cut off.
_FENCED = re.compile(r"^[ \t]*```[ \t]*(\w*)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
_PYTHON = ("python", "python3", "py", "")


def strict_number(reply: str) -> str | None:
    """Return the number after the first ``#### ``; ``None`` if there is none."""
    match = _STRICT.search(reply)
    return match[1] if match else None


def flexible_number(reply: str) -> str | None:
    """Return the last number of a reply, or text that looks like one (``..``); ``None`` if there is none."""
    last = None
    for last in _FLEXIBLE.finditer(reply):  # noqa: B007 - the last one
        pass
    return last[0] if last else None


def same_number(number: str | None, reference: str) -> bool:
    """Check that a number is the reference, which may come with its solution before it."""
    # Texts are compared without `,`, `$` and a full stop at the end: `1,600.` is `1600`, but `16.0` is not
    # `16`. That is strict, and it is how the score is defined.
    return number is not None and _plain(number) == _plain(reference)


def _plain(text: str) -> str:
    plain = _SOLUTION.sub("", _IGNORED.sub("", text))
    # Python's `$` also matches before a newline at the end, which numbers do not have.
    return re.sub(r"\.$", "", plain).lower()


def program_of(reply: str) -> str:
    """Return the first block of Python between fences, or without one the whole reply."""
    text = reply.replace("\r\n", "\n")
    for language, code in _FENCED.findall(text):
        if language.lower() in _PYTHON:
            return str(code)
    return text


def shown_tests(prompt: str) -> tuple[str, ...]:
    """Return the assertions in a prompt's last block between fences, as one text; none without them."""
    blocks = [code for language, code in _FENCED.findall(prompt) if language.lower() in _PYTHON]
    if not blocks or not re.search(r"^\s*assert\b", blocks[-1], re.MULTILINE):
        return ()
    # One text, not a list: a statement may span lines, and they run in their order anyway.
    return (blocks[-1].strip("\n"),)
