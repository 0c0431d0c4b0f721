"""GSM8K: whether the final number of a reply is the gold one.

Two ways of reading the number, both as the task ``gsm8k`` (version 3) of EleutherAI's lm-evaluation-harness
defines them, so that the figures can stand beside published ones:

- strict: what follows the first ``#### ``, as the set's own solutions end;
- flexible: the last number of the reply, whatever stands around it.

Numbers are the same when their texts are, after ``,``, ``$`` and a full stop at the end are removed:
``1,600.`` is ``1600``, but ``16.0`` is not ``16``. That is strict, and it is how the figure is defined.

Source: https://github.com/EleutherAI/lm-evaluation-harness, lm_eval/tasks/gsm8k/gsm8k.yaml (filters
``strict-match`` and ``flexible-extract``, metric ``exact_match``).
"""

from __future__ import annotations

import re

_STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_IGNORED = re.compile(r"[,$]")
_SOLUTION = re.compile(r"(?s).*#### ")


def strict_number(reply: str) -> str | None:
    """What stands as a number after the first ``#### ``; ``None`` where nothing does."""
    match = _STRICT.search(reply)
    return match[1] if match else None


def flexible_number(reply: str) -> str | None:
    """The last number of a reply, or what looks like one (``..``); ``None`` where there is none."""
    last = None
    for last in _FLEXIBLE.finditer(reply):  # noqa: B007 - the last one
        pass
    return last[0] if last else None


def same_number(found: str | None, gold: str) -> bool:
    """Whether a number that was read is the gold one; a gold solution may come with its way there."""
    return found is not None and _plain(found) == _plain(gold)


def _plain(text: str) -> str:
    plain = _SOLUTION.sub("", _IGNORED.sub("", text))
    # Python's `$` would also find the place before a newline at the end, which numbers do not have.
    return re.sub(r"\.$", "", plain).lower()
