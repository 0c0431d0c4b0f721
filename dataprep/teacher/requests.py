"""Requests to teachers, as ``dataprep prompt`` writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataprep import files
from dataprep.errors import InputError, RowError
from dataprep.records import describe

ROLES = ("system", "developer", "user", "assistant")


@dataclass(slots=True)
class Request:
    """What a teacher is asked: the row's id, the messages, and the choices where it has some."""

    id: str
    messages: list[dict[str, str]]
    choices: tuple[str, ...] = ()


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


def read_requests(path: str | Path) -> Iterator[Request]:
    """The requests of a file, in order.

    Raises:
        InputError: a row is no request, with its line.
        FileError: the file cannot be read.
    """
    source = str(path)
    unit = "line" if files.format_of(source).kind == "jsonl" else "row"
    for number, row in files.read_rows(source):
        try:
            yield request_of(row)
        except RowError as error:
            raise InputError(files.place(source, unit, number), str(error)) from None
