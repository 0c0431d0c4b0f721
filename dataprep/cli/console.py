"""Print what commands have to say: data on standard output, everything else on standard error.

Commands print with these functions only. Their texts quote data, file names and servers, and each of them
passes through ``one_line`` here.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from io import StringIO
from itertools import islice
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any, ParamSpec, TextIO, TypeVar

import orjson

from dataprep.core.errors import DataprepError, FileError, one_line, visible
from dataprep.core.provenance import report
from dataprep.core.urls import without_credentials

if TYPE_CHECKING:
    from collections import Counter

    from rich.table import Table

    from dataprep.core.ledger import Ledger

# JSON has escapes for the characters that a terminal may act on, so its readers get them all the same.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
# Characters of a table's cell. A longer one would leave no space for the numbers beside it.
CELL = 120
# The counts that a manifest keeps of a command whose only output is its journal.
_COUNTS = ("in", "out", "dropped", "failed", "sent", "answered", "prompt_tokens", "completion_tokens", "cost")
# Rows of a table. Sources come from data, where each row may have one of its own.
ROWS = 100

P = ParamSpec("P")
R = TypeVar("R")


def guard_stdout(command: Callable[P, R]) -> Callable[P, R | None]:
    """Return the command, ended silently when its reader has gone (``dataprep … | head``)."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            try:
                result = command(*args, **kwargs)
            except SystemExit:  # after `--help`
                sys.stdout.flush()
                raise
            # The interpreter's own flush, at its end, would print an error in its own words.
            sys.stdout.flush()
        except BrokenPipeError:
            _give_up_stdout()
            return None
        except OSError as error:
            # FileError is an OSError too, and has its own place and exit code.
            if isinstance(error, DataprepError):
                raise
            _give_up_stdout()
            where = error.filename or "standard output"
            raise FileError(where, f"cannot be written: {error.strerror or error}") from error
        return result

    return run


def _give_up_stdout() -> None:
    # The interpreter flushes standard output once more at its end, which would fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Mapping):
        return {_printable(name): _printable(inner) for name, inner in value.items()}
    return [*map(_printable, value)] if isinstance(value, list | tuple) else value


def print_json(value: Any, file: TextIO | None = None) -> None:
    """Print a value as indented JSON, on standard output by default."""
    try:
        text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    except TypeError:  # a file's name that is not valid Unicode
        text = orjson.dumps(_printable(value), option=orjson.OPT_INDENT_2).decode()
    print(_UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text), file=file)


def print_line(line: bytes) -> None:
    """Print a row on standard output; characters that a terminal may act on become escapes of JSON."""
    text = line.strip().decode("utf-8", "backslashreplace")
    print(_UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def has_colours(file: TextIO) -> bool:
    """Return whether what is printed there may have colours: not in a pipe, nor with NO_COLOR."""
    from rich.console import Console

    console = Console(file=file)
    return console.is_terminal and not console.no_color and console.color_system is not None


def say(*lines: object, file: TextIO | None = None) -> None:
    """Print each text as one line, on standard error by default."""
    # Without the check `print` would print an empty line.
    if lines:
        print(*map(one_line, lines), sep="\n", file=file or sys.stderr)


def print_text(*parts: Any, min_width: int = 60, colour: bool = False, file: TextIO | None = None) -> None:
    """Print texts and tables that rich renders, at least ``min_width`` characters wide."""
    from rich.console import Console

    # rich ends the process by itself when a pipe is closed, with exit code 1. So it renders into memory,
    # and `print` raises the error that `guard_stdout` handles.
    text = StringIO()
    width = max(min_width, get_terminal_size().columns)
    # Texts come from data: without markup and emoji, `[red]` and `:cat:` in a source's name stay as they are.
    console = Console(
        file=text, width=width, highlight=False, markup=False, emoji=False, force_terminal=colour or None
    )
    for part in parts:
        console.print(visible(part, lines=True) if isinstance(part, str) else part, soft_wrap=colour)
    # rich pads each line to the full width, which wraps when the output is read in a narrower window.
    print("\n".join(line.rstrip() for line in text.getvalue().removesuffix("\n").split("\n")), file=file)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], names: int = 1) -> Table:
    """Return a table without lines; after the first ``names`` columns come numbers, aligned to the right.

    After ``ROWS`` rows, the last one says how many more there are.
    """
    from rich.table import Table

    shown = Table(*(one_line(name, CELL) for name in head), box=None, pad_edge=False)
    for column in shown.columns[names:]:
        # A column without a name holds bars or notes, which start at the left.
        column.justify = "right" if column.header else "left"
    rest = iter(rows)
    for row in islice(rest, ROWS):
        shown.add_row(*(one_line(cell, CELL) for cell in row))
    left = sum(1 for _ in rest)
    if left:
        shown.add_row(f"… and {left:,} more, which --json lists")
    return shown


def counted(counts: Mapping[str, int]) -> str:
    """Return counts as ``ok: 1,200, empty: 3``."""
    return ", ".join(f"{name}: {count:,}" for name, count in counts.items())


def status_lines(statuses: Mapping[str, Counter[str]]) -> list[str]:
    """Return a line for each teacher with the statuses of its rationales, the most frequent first."""
    return [f"  {teacher}: {counted(dict(counts.most_common()))}" for teacher, counts in statuses.items()]


class Summary:
    """The summary of a command, on standard error: lines as they come, or one JSON object at the end."""

    def __init__(self, command: str, *, quiet: bool, as_json: bool) -> None:
        self._command = command
        self._silent = quiet or as_json
        self.as_json = as_json
        self._outputs: list[dict[str, Any]] = []

    def say(self, *lines: str) -> None:
        """Print lines, unless the summary is to be JSON or nothing."""
        if not self._silent:
            say(*lines)

    def add(
        self,
        name: str,
        ledger: Ledger,
        output: str | None,
        *,
        hint: str | None = None,
        note: str = "",
        facts: Mapping[str, Any] | None = None,
        lines: Iterable[str] = (),
    ) -> None:
        """Report an output that was written.

        Args:
            name: what was done.
            ledger: its rows.
            output: where they went; ``-`` or ``None`` is standard output.
            hint: why it may have no rows.
            note: text before the ledger.
            facts: further entries of the JSON object.
            lines: further lines.
        """
        from dataprep.core.io import printable

        # A file's name need not be valid Unicode, which JSON must be.
        path = printable(output or "-")
        counts = {"name": name, **ledger.to_json()}
        step = {**counts, **(facts or {}), "output": path}
        report({**counts, "output": output or "-"})
        self._outputs.append(step | ({"hint": hint} if hint else {}))
        where = "standard output" if output is None or output == "-" else without_credentials(output)
        self.say(f"{name}: {note}{ledger} → {where}", *lines)
        # A pipeline would continue with nothing, and exit code 0 would hide it.
        if not ledger.rows_out:
            self.say(f"warning: no row was written to {where}{f': {hint}' if hint else ''}")

    def finish(self, document: Mapping[str, Any] | None = None) -> None:
        """Print the JSON object if it was asked for: the command with a document, or with its outputs."""
        if document is not None and "in" in document and not self._outputs:
            # `generate` says here what was asked and paid for.
            report({"name": self._command} | {name: document[name] for name in _COUNTS if name in document})
        if self.as_json:
            print_json({"command": self._command, **(document or {"outputs": self._outputs})}, sys.stderr)
