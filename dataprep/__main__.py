"""The ``dataprep`` command: runs the app, and is the one place that catches dataprep's errors."""

from __future__ import annotations

import gc
import os
import signal
import sys
from io import TextIOWrapper
from types import FrameType


def main() -> None:
    """Run the command line and exit: 0 done, 1 data or world wrong, 2 usage wrong, 130 interrupted."""
    # Starting up makes tens of thousands of objects that stay: not worth looking for garbage among.
    gc.set_threshold(50_000)
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    for stream in (sys.stdout, sys.stderr):  # file names need not be valid Unicode, nor terminals UTF-8
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # No command does linear algebra; numpy's threads for it would only keep processes from forking.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    signal.signal(signal.SIGTERM, _terminate)
    try:
        _run(debug)
    except KeyboardInterrupt:
        sys.exit(130)


def _run(debug: bool) -> None:
    # The imports are in here so that a worker process, which imports this module, pays for none.
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
    """End as on Ctrl-C: unfinished outputs are removed on the way out."""
    sys.exit(143)


if __name__ == "__main__":
    main()
