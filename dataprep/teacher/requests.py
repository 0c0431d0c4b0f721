"""Requests to teachers, as ``dataprep prompt`` writes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.errors import InputError, Location, RowError, located
from dataprep.core.jsonl import parse_line
from dataprep.core.records import describe
from dataprep.models.sampling import GenerationConfig

ROLES = ("system", "developer", "user", "assistant")


@dataclass(slots=True)
class Request:
    """What a teacher is asked: the row's id, the messages, the choices if any; its key, where it is known."""

    id: str
    messages: list[dict[str, str]]
    choices: tuple[str, ...] = ()
    key: str = ""

    def whole(self) -> Request:
        """The request itself; ``Keyed`` has to fetch it."""
        return self


def request_of(row: Mapping[str, Any]) -> Request:
    """The request in a row ``{id, messages, …}``.

    Raises:
        RowError: a field is missing or of another type.
    """
    identity, messages = row.get("id"), row.get("messages")
    if type(identity) is not str or not identity or "\0" in identity:
        raise RowError("no id", f"expected a text in 'id', found {describe(identity)}")
    if type(messages) is not list or not messages:
        raise RowError("no messages", f"expected a list of messages, found {describe(messages)}")
    try:
        for message in messages:
            if message["role"] not in ROLES or type(message["content"]) is not str:
                raise TypeError
    except (KeyError, TypeError):  # asked for once, not message by message: a long file is read in seconds
        raise _malformed(messages) from None
    if messages[-1]["role"] == "assistant":
        raise RowError("no question", "the last message is the assistant's; expected one that asks")
    choices = row.get("choices")
    return Request(identity, messages, _choices(choices) if choices else ())


def _malformed(messages: list[Any]) -> RowError:
    """Which message is none, and why."""
    for message in messages:
        if type(message) is not dict or message.get("role") not in ROLES:
            return RowError("not a message", f"expected one of the roles {ROLES}, found {describe(message)}")
        if type(message.get("content")) is not str:
            return RowError("not a message", f"expected a text as 'content', found {describe(message)}")
    return RowError("not a message", f"found {describe(messages)}")


def _choices(value: Any) -> tuple[str, ...]:
    if type(value) is not list or not all(type(choice) is str for choice in value):
        raise RowError("malformed choices", f"expected texts, found {describe(value)}")
    return tuple(value)


def count_requests(path: str | Path) -> int:
    """How many rows a file has, for a progress bar: 0 for standard input, which can be read only once.

    Raises:
        FileError: the file cannot be read.
    """
    return 0 if str(path) == files.STDIO else sum(1 for _ in files.read_lines(str(path)))


class Lines:
    """The lines of a block, read when one of them is asked for."""

    def __init__(self, block: files.Block) -> None:
        self._block = block
        self._lines: list[bytes] | None = None

    def __getitem__(self, number: int) -> bytes:
        if self._lines is None:
            self._lines = self._block.read().split(b"\n")
        return self._lines[number]


@dataclass(slots=True)
class Keyed:
    """A request of which only id and key are at hand, as for nearly all of a run that is resumed.

    Attributes:
        id: the row's id.
        key: what ``GenerationConfig.key`` makes of it.
        lines: where the row is.
        number: on which of them, counted from 0.
    """

    id: str
    key: str
    lines: Lines
    number: int

    def whole(self) -> Request:
        """The request itself."""
        return request_of(parse_line(self.lines[self.number]))


def read_keyed(path: str | Path, config: GenerationConfig) -> Iterator[Keyed]:
    """The requests of a long JSON Lines file with their keys, which all cores make.

    Raises:
        InputError: a row is no request, with its line.
        FileError: the file cannot be read.
    """
    given, before = deque[files.Block](), 0

    def blocks() -> Iterator[files.Block]:
        for block in files.read_blocks(str(path)):
            given.append(block)
            yield block

    with engine.Pool(partial(_keys_of, config), engine.available_cores()) as pool:
        for rows, count, bad in pool.map(blocks()):
            lines = Lines(given.popleft())
            for number, identity, key in rows:
                yield Keyed(identity, key, lines, number)
            if bad is not None:
                raise InputError(Location(str(path), before + bad[0]), bad[1])
            before += count


def is_long(path: str | Path) -> bool:
    """Whether a file is worth several processes, and can be given to them by byte ranges."""
    place = Path(path)
    if str(path) == files.STDIO or not place.is_file() or not files.format_of(str(path)).is_plain_lines:
        return False
    return place.stat().st_size > engine.AUTO_WORKERS_BYTES


Rows = list[tuple[int, str, str]]


def _keys_of(config: GenerationConfig, block: files.Block) -> tuple[Rows, int, tuple[int, str] | None]:
    """The rows' places, ids and keys; how many lines there are; the first bad one, if any, and why."""
    lines = block.read().removesuffix(b"\n").split(b"\n")
    found: Rows = []
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            request = request_of(parse_line(line))
        except RowError as error:
            return found, len(lines), (number + 1, str(error))
        found.append((number, request.id, config.key(request.messages)))
    return found, len(lines), None


def read_requests(path: str | Path) -> Iterator[Request]:
    """The requests of a file, in order.

    Raises:
        InputError: a row is no request, with its line.
        FileError: the file cannot be read.
    """
    source = str(path)
    for where, row in files.read_rows(source):
        with located(where):
            yield request_of(row)
