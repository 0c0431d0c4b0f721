"""Which of several prompts' answers hold: those of the requests at hand, put last in the journal again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from dataprep import files
from dataprep.responses import OUTCOMES, outcome_of
from dataprep.teacher.feed import Feed
from dataprep.teacher.journal import Journal


def make_current(journal: Journal, feed: Feed, teacher: str) -> int:
    """Repeat answers behind those to other prompts of the same ids; returns how many lines that took.

    Whoever reads a journal takes the last key of an id for the current one. When a prompt or a setting was
    changed and then changed back, the answers of the present key are there already, and nothing is sent for
    them: they are written once more, marked ``"repeated": true`` and without usage, as nobody paid again.
    """
    if len(journal.index) <= len(feed.keys):  # about nothing else, as nearly always
        return 0
    last: dict[str, str] = {}
    for line in _lines(journal, teacher):
        if line["id"] in feed.keys:
            last[line["id"]] = line["key"]
    stale = {identity for identity, key in last.items() if key != feed.keys[identity]}
    best: dict[tuple[str, int], dict[str, Any]] = {}
    for line in _lines(journal, teacher) if stale else ():
        if line["id"] in stale and line["key"] == feed.keys[line["id"]]:
            place = line["id"], line.get("sample") or 0
            if place not in best or _rank(line) <= _rank(best[place]):
                best[place] = line
    if best:
        journal.append({**line, "usage": None, "repeated": True} for line in best.values())
    return len(best)


def _rank(line: dict[str, Any]) -> int:
    return OUTCOMES.index(outcome_of(line))


def _lines(journal: Journal, teacher: str) -> Iterator[dict[str, Any]]:
    for _, data in files.read_lines(str(journal.path)):
        line = orjson.loads(data)
        if line["teacher"] == teacher:
            yield line
