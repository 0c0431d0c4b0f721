"""Rewrite rows from one format to another: the operator, and its result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.conversations import REASONING_FIELDS, reasoning_of, split_thinking
from dataprep.core.errors import UsageError
from dataprep.core.ledger import Ledger
from dataprep.datasets.exchange import registry
from dataprep.datasets.exchange.account import CHANGED, LOST, Account
from dataprep.datasets.exchange.rows import text_of


@dataclass
class Exchange:
    """The result of an import or export.

    Attributes:
        format: the other tool's format.
        ledger: the rows that came in, went out, were dropped or failed.
        lost: the parts of rows that the format does not carry, by kind; only with ``lossy``.
        changed: the parts that mean the same and are written differently, by kind.
        files: further files that were written.
    """

    format: str
    ledger: Ledger = field(default_factory=Ledger)
    lost: dict[str, int] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)

    def take(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Add the counts of an ``Account``."""
        for (way, kind), count in sorted(counts.items()):
            kinds = self.lost if way == LOST else self.changed
            kinds[kind] = kinds.get(kind, 0) + count

    def to_json(self) -> dict[str, Any]:
        """Return everything except the ledger as a JSON object."""
        return {"format": self.format, LOST: self.lost, CHANGED: self.changed, "files": self.files}


class Rewriter:
    """Rewrite one row: a picklable function for ``per_row``.

    Args:
        name: the other tool's format.
        verb: ``"read"`` makes chat rows, ``"write"`` takes them.
        lossy: count what is lost instead of raising.
        think: reasoning is between ``<think>`` and ``</think>`` in the contents of the other tool's rows.
    """

    def __init__(self, name: str, verb: registry.Verb, *, lossy: bool, think: bool = False) -> None:
        self._arguments = (name, verb, lossy, think)
        self._account = Account("a chat row" if verb == "read" else name, lossy=lossy)
        self._rewrite = getattr(registry.load(name, verb), verb)
        if think:
            self._rewrite = partial(_thinking_read if verb == "read" else _thinking_written, self._rewrite)
        self.take_counts = self._account.take_counts

    def __reduce__(self) -> tuple[Any, ...]:
        return _rewriter, self._arguments

    def __call__(self, row: dict[str, Any]) -> bytes:
        """Return the rewritten row as one line of JSON, without its newline."""
        account = self._account
        try:
            line = orjson.dumps(self._rewrite(row, account))
        except BaseException:
            account.forget()
            raise
        if account.pending:
            account.settle()
        return line


def _rewriter(name: str, verb: registry.Verb, lossy: bool, think: bool) -> Rewriter:
    return Rewriter(name, verb, lossy=lossy, think=think)


_Rewrite = Callable[[Mapping[str, Any], Account], dict[str, Any]]


def _thinking_read(read: _Rewrite, row: Mapping[str, Any], account: Account) -> dict[str, Any]:
    made = read(row, account)
    split = split_thinking(made)
    for before, after in zip(made["messages"], split["messages"], strict=True):
        if after is not before:
            account.change("thinking split off contents")
    return split


def _thinking_written(write: _Rewrite, row: Mapping[str, Any], account: Account) -> dict[str, Any]:
    messages = row.get("messages")
    if type(messages) is list:
        row = {**row, "messages": [_with_tags(message, account) for message in messages]}
    return write(row, account)


def _with_tags(message: Any, account: Account) -> Any:
    """Return a message with its reasoning in front of its content, as models that think write it."""
    reasoning = reasoning_of(message) if type(message) is dict else None
    if reasoning is None or message.get("role") != "assistant":
        return message
    content = message.get("content")
    if content is not None and type(content) is not str:
        content = text_of(message, "a message with reasoning", account)
    account.change("reasoning written between <think> and </think>")
    # Only the text that is read, so that another one under a second name is still a loss.
    name = next(name for name in REASONING_FIELDS if message.get(name) == reasoning)
    rest = {key: value for key, value in message.items() if key != name}
    return rest | {"content": f"<think>\n{reasoning}\n</think>\n\n{content or ''}"}


def check_paths(
    inputs: str | Path | Sequence[str | Path], output: str | Path, rejects: str | Path | files.Rejects | None
) -> list[str]:
    """Return the inputs as a list; raise an error if one is missing, or would be replaced."""
    paths = [str(inputs)] if isinstance(inputs, str | Path) else [str(path) for path in inputs]
    if not paths:
        raise UsageError("there is nothing to read: give at least one file")
    files.check_apart([output], paths)
    if not isinstance(rejects, files.Rejects):
        files.check_distinct(rejects, [output], paths)
    for path in paths:
        files.check_input(path)
    return paths


def rewrite(
    rewriter: Rewriter,
    result: Exchange,
    paths: Sequence[str],
    blocks: Iterable[files.Block],
    output: str,
    workers: int | None,
    rejects: str | Path | files.Rejects | None,
    progress: engine.Progress | None,
) -> Exchange:
    """Rewrite blocks of rows into one output, and add the counts to ``result``."""
    operator = engine.per_row(rewriter, counts=rewriter.take_counts)
    count = engine.workers_for(paths, workers)
    with files.open_rejects(rejects) as bad, files.open_output(output) as out:
        counts = engine.run_into(
            blocks, operator, out, result.ledger, bad, paths=paths, workers=count, progress=progress
        )
        result.ledger.check()
    result.take(counts)
    return result
