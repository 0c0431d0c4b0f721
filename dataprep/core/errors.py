"""Define every error that dataprep raises on purpose.

.. code-block:: text

    DataprepError
    ├── UsageError (ValueError)         an argument or flag cannot be served
    ├── TemplateError (ValueError)      a template, of prompts or of a model's chats, cannot be used
    ├── RowError (ValueError)           one row is not what its format or dataset requires
    │   └── RowDropped                  the row is sound, but the options leave it out
    ├── InputError (ValueError)         a data file holds something it should not: path, line, reason
    ├── FileError (OSError)             a file cannot be opened, read or written
    │   ├── NotFoundError               a URL leads to no object
    │   └── ConflictError               an object that was to be new exists, or was written by another run
    ├── FetchError (OSError)            a dataset could not be downloaded, or is not what it should be
    ├── TokenizerError (ValueError)     a tokenizer's file is damaged, or it lacks what a chat format needs
    ├── WorkspaceError (OSError)        the workspace lacks what a command looks for in it
    ├── MissingDependencyError (ImportError)  an optional package is not installed
    ├── TrainingError (RuntimeError)    training cannot continue: the loss is not finite, or memory is full
    ├── WorkerError (RuntimeError)      a worker process died
    └── LedgerError (ArithmeticError)   rows in and rows accounted for do not balance (a bug)

The library raises; only the command line catches, once, and prints the message without a traceback.

A message quotes data, file names and servers, which say what they like. So the text of every error, and all
other text from outside that a person reads, is made by ``one_line``.
"""

from __future__ import annotations

import unicodedata
from typing import Literal, NamedTuple

from dataprep.core.urls import without_credentials

LINE_LENGTH = 1000
"""Maximum characters of a line that is printed. No screen shows more, and a field can have megabytes."""

_JOINERS = "\u200c\u200d"  # part of words in Persian and Indic scripts, and of emoji
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def one_line(value: object, limit: int = LINE_LENGTH) -> str:
    r"""Return text from outside as one short line: ``visible``, and ``shortened`` to ``limit`` characters.

    >>> one_line("a\x1b[31m\nb")
    'a\\x1b[31m\\nb'
    """
    # Cut twice: before, because escaping megabytes takes seconds; after, because an escape is longer.
    return shortened(visible(shortened(str(value), limit)), limit)


def visible(text: str, lines: bool = False) -> str:
    r"""Return a text with control characters, invisible marks and lone surrogates as ``\x1b``, ``\u202e``.

    With ``lines``, newlines and tabs stay as they are.
    """
    # No reply may move a terminal's cursor, reorder a line, or hold what UTF-8 and HTML cannot.
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _shows(c, lines) else c.encode("unicode_escape").decode("ascii") for c in text)


def _shows(character: str, lines: bool) -> bool:
    if character in "\n\t":
        return lines
    if unicodedata.category(character) in _UNSEEN:
        return character in _JOINERS
    code = ord(character)  # noncharacters, which HTML does not allow
    return not (code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF)


def shortened(text: str, limit: int) -> str:
    """Return a text, or the beginning and the end of one that is longer than ``limit``."""
    if len(text) <= limit:
        return text
    # The end too, because that is where an answer is, and what to do about an error.
    tail = limit // 3
    return f"{text[: limit - tail - 3].rstrip()} … {text[-tail:].lstrip()}"


class DataprepError(Exception):
    """Root of the tree: catch this to catch everything dataprep raises on purpose."""

    def __str__(self) -> str:
        return one_line(without_credentials(super().__str__()))


class UsageError(DataprepError, ValueError):
    """Raised when an argument or flag is not accepted; the command line exits with 2."""


class TemplateError(DataprepError, ValueError):
    """Raised when a template is ill-formed, names an unknown field, or gives no loss mask."""


class RowError(DataprepError, ValueError):
    """Raised by a converter or operator when one row does not have the expected layout.

    Attributes:
        reason: a few words to count rows under (``"missing field 'question'"``).
        detail: what was found in this row, and what was expected.
    """

    # `reason` never quotes the row, or the ledger would have as many reasons as rows.

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return one_line(f"{self.reason}: {self.detail}" if self.detail else self.reason)


class RowDropped(RowError):
    """Raised in place of a result for a sound row that the options leave out."""


class InputError(DataprepError, ValueError):
    """Raised when a data file holds something it should not; ``where`` is its path, with a line if known."""

    def __init__(self, where: object, message: str) -> None:
        self.where = "standard input" if where == "-" else without_credentials(str(where))
        super().__init__(self.where, message)
        self.message = message

    def __str__(self) -> str:
        return one_line(f"{self.where}: {self.message}")


class FileError(DataprepError, OSError):
    """Raised when a file cannot be opened, read or written."""

    def __init__(self, path: object, message: str) -> None:
        self.path = without_credentials(str(path))
        super().__init__(self.path, message)
        self.message = message

    def __str__(self) -> str:
        return one_line(f"{self.path}: {self.message}")


class NotFoundError(FileError):
    """Raised when a store has no such object."""


class ConflictError(FileError):
    """Raised by a conditional write: another process has written the object."""


class FetchError(DataprepError, OSError):
    """Raised when a dataset could not be downloaded, or differs from the expected one."""


class TokenizerError(DataprepError, ValueError):
    """Raised when a tokenizer's file is damaged or of an unknown kind, or lacks a special token."""


class WorkspaceError(DataprepError, OSError):
    """Raised when the workspace lacks a file or folder that a command needs."""


class MissingDependencyError(DataprepError, ImportError):
    """Raised when an optional package is needed and not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}: run `pip install 'dataprep[{extra}]'`")


class TrainingError(DataprepError, RuntimeError):
    """Raised when training cannot continue, for example because the loss is not finite."""


class WorkerError(DataprepError, RuntimeError):
    """Raised when a worker process dies before it answers."""


class LedgerError(DataprepError, ArithmeticError):
    """Raised when a command's rows do not balance: a bug in dataprep, never the data's fault."""


class Location(NamedTuple):
    """Where a row is: prints as ``path:line`` in JSON Lines, as ``path: row N`` in an array or a table.

    The number is counted from 1: lines of the file, blank ones too, or rows. ``-`` is standard input.
    """

    path: str
    number: int
    unit: Literal["line", "row"] = "line"

    # The reader makes one per row, because only it knows what its number counts. A tuple is cheap to make,
    # and the text is built only when a message needs it.
    def __str__(self) -> str:
        name = "standard input" if self.path == "-" else without_credentials(self.path)
        return f"{name}:{self.number}" if self.unit == "line" else f"{name}: row {self.number}"


class located:
    """Turn a ``RowError`` that is raised inside into an ``InputError`` that says where the row is.

    ``hint``, which says what to do, is added to the message.

    >>> with located(Location("qa.jsonl", 17)):
    ...     raise RowError("field 'question' is empty", "expected a text")
    Traceback (most recent call last):
    dataprep.core.errors.InputError: qa.jsonl:17: field 'question' is empty: expected a text
    """

    # A class, not a generator with @contextmanager: it is entered once per row, and costs a third.
    __slots__ = ("_hint", "_where")

    def __init__(self, where: object, hint: str = "") -> None:
        self._where = where
        self._hint = hint

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        # JSON may be nested deeper than Python's functions, which can only mean this row.
        if isinstance(error, RecursionError):
            error = RowError("nested too deeply", "no trainer needs more than a few levels")
        if isinstance(error, RowError):
            raise InputError(self._where, f"{error}; {self._hint}" if self._hint else str(error)) from None


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the error's class where it has no message."""
    # Libraries raise errors of many lines, and some (AssertionError, TimeoutError) with none.
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
