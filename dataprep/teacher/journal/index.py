"""Index a journal by request and sample; a long one is read on all cores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import index
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import orjson

from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.errors import InputError, RowError, UsageError
from dataprep.teacher.journal.current import replaces
from dataprep.teacher.journal.line import FLAGS, Outcome, check_response, outcome_of


class Standing(NamedTuple):
    """The state of one sample of one request in a journal."""

    outcome: Outcome  # That of the line that counts.
    answered: int = 0  # The greatest `max_tokens` of its lines other than failures; 0 where all failed.
    tried: int = 0  # The greatest `max_tokens` of all its lines.

    def after(self, earlier: Standing | None) -> Standing:
        """Return the standing of earlier lines of the same sample and key, followed by these."""
        if earlier is None:
            return self
        return Standing(
            self.outcome if replaces(self.outcome, earlier.outcome) else earlier.outcome,
            max(self.answered, earlier.answered),
            max(self.tried, earlier.tried),
        )

    def is_settled(self, max_tokens: int, *, retry_failed: bool = True) -> bool:
        """Return whether nothing is to be asked, with this limit, for what it stands for."""
        if self.outcome in ("failed", "empty"):
            return not retry_failed
        # Only a cut-off answer can gain from a higher limit. It is asked once: whatever came of that, a
        # refusal for example, was paid for.
        return self.outcome != "length" or (self.answered if retry_failed else self.tried) >= max_tokens

    def outcome_at(self, max_tokens: int) -> Outcome:
        """Return the outcome with regard to a limit: a longer answer that failed leaves a cut-off one."""
        longer_failed = self.outcome == "length" and self.answered < max_tokens <= self.tried
        return "failed" if longer_failed else self.outcome


# Nearly all entries are complete, so they share one object, which is compared by identity.
_OK = Standing("ok")
# Raised for a line that is not a journal's while it is added.
_DAMAGED = (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, RecursionError)


def entry_of(identity: str, key: str, sample: int = 0) -> str:
    """Return the name of an answer: its request's id and key, and which of several answers it is."""
    return f"{identity}\0{key}\0{sample}" if sample else f"{identity}\0{key}"


def _standing_of(line: Mapping[str, Any]) -> Standing:
    # Nearly every line of a long journal is an answer in these words, so they are compared first.
    if line["error"] is None and line["finish_reason"] == "stop" and (line["response"] or "").strip():
        return _OK
    # `index` raises TypeError for what is no whole number, so that the line is refused as damaged.
    outcome, limit = outcome_of(line), index(line.get("max_tokens") or 0)
    if outcome == "ok":
        return _OK
    return Standing(outcome, 0 if outcome == "failed" else limit, limit)


@dataclass
class Index:
    """The content of a journal by entry, about 250 bytes each."""

    lines: int = 0
    prompt_tokens: int = 0  # The sum of the usage of all lines, as the next.
    completion_tokens: int = 0
    # Models that answered, each with its teacher's name.
    names: set[tuple[str, str]] = field(default_factory=set)
    flags: Counter[str] = field(default_factory=Counter)  # The number of lines with each flag.
    torn: bool = False  # True if the last line is incomplete.
    unended: bool = False  # True if the last line is complete except for its newline.
    _entries: dict[str, Standing] = field(default_factory=dict)

    def add(self, line: Mapping[str, Any]) -> None:
        """Add the next line."""
        part = _Part()
        part.add_flagged(line)
        self.take(part)

    def take(self, part: _Part) -> None:
        """Add the next lines, as a part of the journal."""
        self.lines += part.lines
        self.prompt_tokens += part.prompt_tokens
        self.completion_tokens += part.completion_tokens
        self.names |= part.names
        self.flags.update(part.flags)
        for entry, standing in part.others.items():
            earlier = self._entries.get(entry)
            # Nothing that follows a complete answer changes it.
            if earlier is not _OK:
                self._entries[entry] = standing.after(earlier)
        self._entries.update(dict.fromkeys(part.answered, _OK))

    def check_teacher(self, model: str, teacher: str, journal: str) -> None:
        """Raise ``UsageError`` if the journal has the model's answers under another teacher's name."""
        # The requests would count as answered, and the new name would have none of the answers.
        others = {name for known, name in self.names if known == model}
        if others and teacher not in others:
            raise UsageError(
                f"{journal} has the answers of {model!r} under the name {min(others)!r}: give --teacher "
                f"{min(others)!r}, or another journal for {teacher!r}"
            )

    def done(self, entry: str) -> bool:
        """Return whether an entry has a complete answer."""
        return self._entries.get(entry) is _OK

    def get(self, entry: str) -> Standing | None:
        """Return how far the journal answers an entry; ``None`` where it has no line of it."""
        return self._entries.get(entry)

    def __len__(self) -> int:
        return len(self._entries)


@dataclass(slots=True)
class _Part:
    """Consecutive lines of a journal."""

    lines: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    answered: list[str] = field(default_factory=list)  # Entries with a complete answer.
    # The standing of entries by their lines other than complete answers.
    others: dict[str, Standing] = field(default_factory=dict)
    names: set[tuple[str, str]] = field(default_factory=set)
    flags: list[str] = field(default_factory=list)
    # The first line that is not a journal's: its number among the lines, and its bytes.
    wrong: tuple[int, bytes] | None = None
    tail: bytes = b""  # The bytes after the last newline, which are not among the lines.

    def add(self, line: Mapping[str, Any]) -> None:
        entry, standing = entry_of(line["id"], line["key"], line.get("sample") or 0), _standing_of(line)
        if usage := line.get("usage"):
            self.prompt_tokens += usage.get("prompt_tokens") or 0
            self.completion_tokens += usage.get("completion_tokens") or 0
        self.lines += 1
        # A model under two names would be asked, and paid for, twice. A name under which nothing was
        # answered, such as a mistyped one, does not count.
        name = line.get("model") or "", line["teacher"]
        if standing is _OK:
            self.answered.append(entry)
            self.names.add(name)
        else:
            self.others[entry] = standing.after(self.others.get(entry))
            if standing.outcome != "failed":
                self.names.add(name)

    def add_flagged(self, line: Mapping[str, Any]) -> None:
        self.add(line)
        if isinstance(flags := line.get("flags"), list):
            self.flags += [flag for flag in FLAGS if flag in flags]


def _part_of(block: files.Block) -> _Part:
    part, loads = _Part(), orjson.loads
    data = block.read()
    # Hardly a line has flags, and a search in the whole block costs less than a look at each line.
    add = part.add_flagged if b'"flags"' in data else part.add
    lines = data.split(b"\n")
    del data  # the lines are copies, and rows are parsed faster in the memory that it takes
    part.tail = lines.pop()
    for number, line in enumerate(lines, 1):
        try:
            if line and not line.isspace():
                add(loads(line))
        except _DAMAGED:
            part.wrong = number, line
            break
    part.lines = len(lines)
    return part


def read_index(path: str | Path) -> Index:
    """Return the index of a journal; an incomplete last line is only noted."""
    held = Index()
    if not files.exists(path):
        return held
    for part in _parts(str(path)):
        if part.wrong is not None:
            _refuse(str(path), held.lines + part.wrong[0], part.wrong[1])
        held.take(part)
        if part.tail:
            try:
                held.add(orjson.loads(part.tail))
                held.unended = True
            except _DAMAGED:
                held.torn = True
    return held


def _parts(path: str) -> Iterator[_Part]:
    blocks = files.read_blocks(path, growing=True)
    # Starting processes takes longer than reading a short journal.
    if files.size_of(path) <= engine.AUTO_WORKERS_BYTES:
        yield from map(_part_of, blocks)
        return
    with engine.Pool(_part_of, engine.available_cores()) as pool:
        yield from pool.map(blocks)


def _refuse(path: str, number: int, line: bytes) -> NoReturn:
    reason = "fields are missing"
    try:
        check_response(orjson.loads(line))
    except (orjson.JSONDecodeError, RowError) as error:
        reason = str(error)
    advice = "correct or remove the line, or start over with --fresh"
    raise InputError(f"{path}:{number}", f"not a line of a journal: {reason}; {advice}") from None
