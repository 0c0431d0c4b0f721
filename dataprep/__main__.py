"""Run the ``dataprep`` command, and turn dataprep's errors into messages and exit codes."""

from __future__ import annotations

import gc
import os
import signal
import sys
from contextlib import suppress
from io import TextIOWrapper
from types import FrameType


def main() -> None:
    """Run the command line and exit.

    The exit codes are 0 done, 1 wrong data, 2 wrong usage, and 128 and its number for a signal, so 130 for
    Ctrl-C.
    """
    # Starting up makes tens of thousands of objects that stay: collecting garbage among them finds nothing.
    gc.set_threshold(50_000)
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    _prepare_streams()
    # No command does linear algebra with numpy, and a process with its threads cannot be forked safely.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # `nohup` ignores SIGHUP, and so does what it starts.
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _terminate)
    try:
        _run(debug)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        # A second signal can end what the first one made to be removed.
        if unfinished := sys.modules.get("dataprep.core.io.unfinished"):
            unfinished.remove_all()


def _run(debug: bool) -> None:
    # Imported here, because worker processes import this module and need none of it.
    from dataprep.cli.app import app
    from dataprep.cli.console import guard_stdout
    from dataprep.core.errors import DataprepError, TemplateError, UsageError

    try:
        guard_stdout(app)(prog_name="dataprep")
    except DataprepError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError | TemplateError) else 1)


def _terminate(number: int, _frame: FrameType | None) -> None:
    # The default handler would end the process at once, and leave unfinished outputs behind.
    sys.exit(128 + number)


class _Messages(TextIOWrapper):
    """Standard error: a message that nobody can take is no reason to fail."""

    def write(self, text: str) -> int:
        """Write a text, or nothing."""
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered, or nothing."""
        with suppress(OSError):
            super().flush()


def _prepare_streams() -> None:
    # A stream that was closed (`>&-`) has no file. Its number would go to the next file that is opened, and
    # whatever a library prints would end up in there. The null device stands in, opened the wrong way round
    # for rows: to read or write rows that are not there is an error. Messages may be lost.
    wrong = {"stdin": ("r", os.O_WRONLY), "stdout": ("w", os.O_RDONLY), "stderr": ("w", os.O_WRONLY)}
    for name, (mode, flags) in wrong.items():
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.open(os.devnull, flags), mode, encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stderr, TextIOWrapper) and sys.stderr is sys.__stderr__:
        sys.stderr = _Messages(sys.stderr.buffer, sys.stderr.encoding, line_buffering=True)
    # File names need not be valid Unicode, and a terminal need not be UTF-8.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
