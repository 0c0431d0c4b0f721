"""Read requests to teachers, as ``dataprep prompt`` writes them."""

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
    """A request: the row's id, the messages, the choices if any, and the key if it is known."""

    id: str
    messages: list[dict[str, str]]
    choices: tuple[str, ...] = ()
    key: str = ""

    def whole(self) -> Request:
        """Return the request itself, as ``Keyed.whole`` does."""
        return self


def request_of(row: Mapping[str, Any]) -> Request:
    """Return the request in a row ``{id, messages, …}``."""
    identity, messages = row.get("id"), row.get("messages")
    if type(identity) is not str or not identity or "\0" in identity:
        raise RowError("no id", f"expected a text in 'id', found {describe(identity)}")
    if type(messages) is not list or not messages:
        raise RowError("no messages", f"expected a list of messages, found {describe(messages)}")
    try:
        for message in messages:
            if message["role"] not in ROLES or type(message["content"]) is not str:
                raise TypeError
    # Reasons are looked for only here, which keeps long files fast.
    except (KeyError, TypeError):
        raise _malformed(messages) from None
    # Servers would continue such a message or refuse it.
    if messages[-1]["role"] == "assistant":
        raise RowError("no question", "the last message is the assistant's; expected one that asks")
    choices = row.get("choices")
    return Request(identity, messages, _choices(choices) if choices else ())


def _malformed(messages: list[Any]) -> RowError:
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
    """Return the number of rows of a file, for a progress bar; 0 for standard input (read once)."""
    return 0 if str(path) == files.STDIO else sum(1 for _ in files.read_lines(str(path)))


class Lines:
    """The lines of a block, read when the first of them is needed."""

    def __init__(self, block: files.Block) -> None:
        self._block = block
        self._lines: list[bytes] | None = None

    def __getitem__(self, number: int) -> bytes:
        if self._lines is None:
            self._lines = self._block.read().split(b"\n")
        return self._lines[number]


@dataclass(slots=True)
class Keyed:
    """A request of which only id and key were read, as is enough for most of a resumed run.

    Attributes:
        id: the row's id.
        key: its ``GenerationConfig.key``.
        lines: the lines of its block.
        number: its line among them, counted from 0.
    """

    id: str
    key: str
    lines: Lines
    number: int

    def whole(self) -> Request:
        """Parse and return the request itself."""
        return request_of(parse_line(self.lines[self.number]))


def read_keyed(path: str | Path, config: GenerationConfig) -> Iterator[Keyed]:
    """Yield the requests of a long JSON Lines file with their keys, which all cores compute."""
    # Workers return only ids and keys. The blocks stay here, for the few requests whose messages are needed.
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
    """Return whether a file is worth several processes, and can be divided into byte ranges."""
    place = Path(path)
    if str(path) == files.STDIO or not place.is_file() or not files.format_of(str(path)).is_plain_lines:
        return False
    return place.stat().st_size > engine.AUTO_WORKERS_BYTES


Rows = list[tuple[int, str, str]]


def _keys_of(config: GenerationConfig, block: files.Block) -> tuple[Rows, int, tuple[int, str] | None]:
    """Return number, id and key of each row; the number of lines; and the first bad row, if any."""
    lines = block.read().removesuffix(b"\n").split(b"\n")
    rows: Rows = []
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            request = request_of(parse_line(line))
        except RowError as error:
            return rows, len(lines), (number + 1, str(error))
        rows.append((number, request.id, config.key(request.messages)))
    return rows, len(lines), None


def read_requests(path: str | Path) -> Iterator[Request]:
    """Yield the requests of a file, in order."""
    source = str(path)
    for where, row in files.read_rows(source):
        with located(where):
            yield request_of(row)
