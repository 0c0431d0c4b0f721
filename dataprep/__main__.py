"""Run the ``dataprep`` command, and turn dataprep's errors into messages and exit codes."""

from __future__ import annotations

import gc
import os
import signal
import sys
from io import TextIOWrapper
from types import FrameType


def main() -> None:
    """Run the command line and exit: 0 done, 1 wrong data, 2 wrong usage, 130 interrupted."""
    # Starting up makes tens of thousands of objects that stay: collecting garbage among them finds nothing.
    gc.set_threshold(50_000)
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    # File names need not be valid Unicode, and a terminal need not be UTF-8.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # No command does linear algebra with numpy, and a process with its threads cannot be forked safely.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    signal.signal(signal.SIGTERM, _terminate)
    try:
        _run(debug)
    except KeyboardInterrupt:
        sys.exit(130)


def _run(debug: bool) -> None:
    # Imported here, because worker processes import this module and need none of it.
    from dataprep.cli.app import app
    from dataprep.core.errors import DataprepError, TemplateError, UsageError

    try:
        app(prog_name="dataprep")
    except DataprepError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError | TemplateError) else 1)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    # The default handler would end the process at once, and leave unfinished outputs behind.
    sys.exit(143)


if __name__ == "__main__":
    main()
