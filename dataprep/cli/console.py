"""What commands print. Data goes to standard output, everything else to standard error."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import orjson

from dataprep.core.errors import DataprepError, FileError
from dataprep.core.ledger import Ledger

P = ParamSpec("P")
R = TypeVar("R")

PROGRESS_BYTES = 16 << 20  # smaller inputs are done before a bar could be read


def careful_with_stdout(command: Callable[P, R]) -> Callable[P, R | None]:
    """The command, ended without a word when its reader is gone (``dataprep … | head``).

    A standard output that cannot be written otherwise, such as one on a full disk, is a ``FileError``.
    """

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            result = command(*args, **kwargs)
            sys.stdout.flush()
        except BrokenPipeError:
            _give_up_stdout()
            return None
        except OSError as error:
            if isinstance(error, DataprepError):
                raise
            _give_up_stdout()
            where = error.filename or "standard output"
            raise FileError(where, f"cannot be written: {error.strerror or error}") from error
        return result

    return run


def _give_up_stdout() -> None:
    """Let what is still to be written go nowhere: the interpreter flushes once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Summary:
    """Collects what a command did and prints it on standard error at the end."""

    def __init__(self, command: str, *, quiet: bool, as_json: bool) -> None:
        self._command = command
        self._quiet = quiet
        self._as_json = as_json
        self._steps: list[dict[str, Any]] = []

    def add(self, name: str, ledger: Ledger, output: str, hint: str | None = None) -> None:
        """One output that was written; ``hint`` says why it may have no rows."""
        written = output.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        self._steps.append({"name": name, **ledger.to_json(), "output": written})
        if hint:
            self._steps[-1]["hint"] = hint
        if not self._quiet and not self._as_json:
            where = "standard output" if output == "-" else output
            print(f"{name}: {ledger} → {where}", file=sys.stderr)
            if not ledger.rows_out:
                print(f"warning: no row was written to {where}{f': {hint}' if hint else ''}", file=sys.stderr)

    def finish(self) -> None:
        """Print the JSON summary where it was asked for."""
        if self._as_json:
            summary = {"command": self._command, "outputs": self._steps}
            print(orjson.dumps(summary, option=orjson.OPT_INDENT_2).decode(), file=sys.stderr)


@contextmanager
def progress(label: str, inputs: Iterable[str], passes: int, quiet: bool) -> Iterator[Any]:
    """A callback that moves a progress bar by bytes of input; ``None`` where no bar is wanted.

    A bar is shown on a terminal only, and only for inputs that take a while. It has no thread of its
    own: worker processes can be forked beside it.
    """
    total = passes * sum(Path(path).stat().st_size for path in inputs if Path(path).is_file())
    if quiet or not sys.stderr.isatty() or total < PROGRESS_BYTES:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    bar = Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True)
    with bar:
        task, shown = bar.add_task(label, total=total), time.monotonic()

        def advance(count: int) -> None:
            nonlocal shown
            bar.advance(task, count)
            if time.monotonic() - shown > 0.1:
                shown = time.monotonic()
                bar.refresh()

        yield advance
