"""What a journal holds, by entry: read on all cores where it is long, and kept up to date line by line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import orjson

from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.errors import InputError, RowError, UsageError
from dataprep.teacher.journal.line import OUTCOMES, Outcome, check_response, outcome_of

_CODES = {outcome: number for number, outcome in enumerate(OUTCOMES)}
_SHIFT = 3  # an entry's low bits hold its outcome, the bits above them the max_tokens it was asked with
_OK = _CODES["ok"]


def entry_of(identity: str, key: str, sample: int = 0) -> str:
    """What an answer is known by: its request's id and key, and which of several answers it is."""
    return f"{identity}\0{key}\0{sample}" if sample else f"{identity}\0{key}"


def _entry_and_code(line: Mapping[str, Any]) -> tuple[str, int]:
    sample = line.get("sample")
    entry = entry_of(line["id"], line["key"], sample) if sample else f"{line['id']}\0{line['key']}"
    if line["error"] is None and line["finish_reason"] == "stop" and (line["response"] or "").strip():
        return entry, _OK  # nearly every line: asked here for its speed
    code, limit = _CODES[outcome_of(line)], line.get("max_tokens") or 0
    return entry, code if code == _OK else code | limit << _SHIFT


class Index:
    """What a journal holds; about 250 bytes an entry.

    Attributes:
        lines: how many lines it has.
        prompt_tokens, completion_tokens: the sum of their usage.
        names: models, each with what its teacher is called.
        torn: whether the last line is the beginning of one.
        unended: whether the last line is whole, and only its newline is missing.
    """

    def __init__(self) -> None:
        self.lines = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.names: set[tuple[str, str]] = set()
        self.torn = False
        self.unended = False
        self._entries: dict[str, int] = {}

    def add(self, line: Mapping[str, Any]) -> None:
        """Take a line in. A complete answer stays, whatever comes after it."""
        part = _Part()
        part.add(line)
        self.take(part)

    def take(self, part: _Part) -> None:
        """Take in the lines that follow those it has."""
        self.lines += part.lines
        self.prompt_tokens += part.prompt_tokens
        self.completion_tokens += part.completion_tokens
        self.names |= part.names
        for entry, code in part.others.items():
            if self._entries.get(entry) != _OK:
                self._entries[entry] = code
        self._entries.update(dict.fromkeys(part.answered, _OK))

    def check_teacher(self, model: str, teacher: str, journal: str) -> None:
        """Raise ``UsageError`` where the model's answers are there under another teacher's name.

        They would be taken for answered, and the new name would have none of them.
        """
        others = {name for known, name in self.names if known == model}
        if others and teacher not in others:
            raise UsageError(
                f"{journal} has the answers of {model!r} under the name {min(others)!r}: give --teacher "
                f"{min(others)!r}, or another journal for {teacher!r}"
            )

    def done(self, entry: str) -> bool:
        """Whether an entry has a complete answer."""
        return self._entries.get(entry) == _OK

    def get(self, entry: str) -> tuple[Outcome, int] | None:
        """An entry's outcome and the ``max_tokens`` it was asked with; ``None`` where it has no line.

        A complete answer comes without the latter: 0.
        """
        code = self._entries.get(entry)
        return None if code is None else (OUTCOMES[code & 7], code >> _SHIFT)

    def __len__(self) -> int:
        return len(self._entries)


@dataclass(slots=True)
class _Part:
    """Some lines of a journal, in order.

    Attributes:
        answered: entries with a complete answer.
        others: the last code of entries without one; it may be that of an answered entry too.
        wrong: the first line that is none of a journal: its number among the lines, and what it holds.
        tail: what follows the last newline; it is not among the lines.
    """

    lines: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    answered: list[str] = field(default_factory=list)
    others: dict[str, int] = field(default_factory=dict)
    names: set[tuple[str, str]] = field(default_factory=set)
    wrong: tuple[int, bytes] | None = None
    tail: bytes = b""

    def add(self, line: Mapping[str, Any]) -> None:
        entry, code = _entry_and_code(line)
        if usage := line.get("usage"):
            self.prompt_tokens += usage.get("prompt_tokens") or 0
            self.completion_tokens += usage.get("completion_tokens") or 0
        self.names.add((line.get("model") or "", line["teacher"]))
        self.lines += 1
        if code == _OK:
            self.answered.append(entry)
        else:
            self.others[entry] = code


def _part_of(block: files.Block) -> _Part:
    part, loads = _Part(), orjson.loads
    lines = block.read().split(b"\n")
    part.tail = lines.pop()
    for number, line in enumerate(lines, 1):
        try:
            if line and not line.isspace():
                part.add(loads(line))
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            part.wrong = number, line
            break
    part.lines = len(lines)
    return part


def read_index(path: str | Path) -> Index:
    """What a journal holds; a last line without its end is only noted.

    Raises:
        InputError: another line is none of a journal.
        FileError: the file cannot be read.
    """
    index = Index()
    if not Path(path).exists():
        return index
    for part in _parts(str(path)):
        if part.wrong is not None:
            _refuse(str(path), index.lines + part.wrong[0], part.wrong[1])
        index.take(part)
        if part.tail:
            try:
                index.add(orjson.loads(part.tail))
                index.unended = True
            except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
                index.torn = True
    return index


def _parts(path: str) -> Iterator[_Part]:
    blocks = files.read_blocks(path)
    if Path(path).stat().st_size <= engine.AUTO_WORKERS_BYTES:
        yield from map(_part_of, blocks)
        return
    with engine.Pool(_part_of, engine.available_cores()) as pool:
        yield from pool.map(blocks)


def _refuse(path: str, number: int, line: bytes) -> NoReturn:
    reason = "fields are missing"
    try:
        check_response(orjson.loads(line))
    except (orjson.JSONDecodeError, RowError) as found:
        reason = str(found)
    raise InputError(
        f"{path}:{number}",
        f"no line of a journal: {reason}; mend or remove the line, or start over with --fresh",
    ) from None
