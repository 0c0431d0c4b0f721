"""What several test modules use: rows in files, and the command run in this process or in its own."""

import contextlib
import gc
import io
import json
import os
import signal
import subprocess
import sys
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from dataprep.__main__ import main


@dataclass(frozen=True)
class Ran:
    """The result of a command: exit code, bytes on standard output, text on standard error."""

    code: int
    out: bytes
    err: str


def write_jsonl(path, rows):
    """Write ``rows`` to ``path`` as JSON Lines, with Python's json, and return the path."""
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_jsonl(path):
    """Return the rows of a JSON Lines file, read by Python's json."""
    return [json.loads(line) for line in Path(path).read_bytes().split(b"\n") if line]


def listing(folder):
    """Return the names in a folder, hidden ones too, but those of the manifests of the files in it."""
    names = {path.name for path in Path(folder).iterdir()}
    return sorted(names - {f"{name}.manifest.json" for name in names})


def chat(*contents, system=None, **fields):
    """Return a chat row in which user and assistant take turns, with further ``fields``."""
    turns = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(contents)]
    first = [] if system is None else [{"role": "system", "content": system}]
    return {"messages": first + turns, **fields}


def run_here(arguments, *, cwd, input=b"", env=None):
    """Run the command in this process, and return the same as ``run_alone`` would.

    Args:
        arguments: the command line, without the program's name.
        cwd: the working directory of the command.
        input: the bytes on its standard input.
        env: all its environment variables. Defaults to those of this process.
    """
    streams = {
        "stdin": io.TextIOWrapper(io.BufferedReader(io.BytesIO(input)), encoding="utf-8"),
        "stdout": io.TextIOWrapper(io.BytesIO(), encoding="utf-8"),
        "stderr": io.TextIOWrapper(io.BytesIO(), encoding="utf-8", line_buffering=True),
    }
    with contextlib.ExitStack() as stack:
        for name, stream in streams.items():
            stack.enter_context(mock.patch.object(sys, name, stream))
        stack.enter_context(mock.patch.object(sys, "argv", ["dataprep", *map(str, arguments)]))
        stack.enter_context(mock.patch.dict(os.environ, env or {}, clear=env is not None))
        stack.enter_context(contextlib.chdir(cwd))
        stack.callback(gc.set_threshold, *gc.get_threshold())
        for number in (signal.SIGTERM, signal.SIGHUP):
            stack.callback(signal.signal, number, signal.getsignal(number))
        stack.enter_context(_interpreter_warnings())
        code = _exit_code(main)
    for name in ("stdout", "stderr"):
        streams[name].flush()
    out, err = (streams[name].buffer.getvalue() for name in ("stdout", "stderr"))
    return Ran(code, out, err.decode())


@contextlib.contextmanager
def _interpreter_warnings():
    """Print warnings as a fresh interpreter does, where pytest would make errors of them."""

    def show(message, category, filename, lineno, file=None, line=None):
        (file or sys.stderr).write(warnings.formatwarning(message, category, filename, lineno, line))

    with warnings.catch_warnings():
        warnings.resetwarnings()
        for quiet in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", quiet)
        warnings.showwarning = show
        yield


def _exit_code(function):
    """Call ``function`` and return the exit code that the interpreter would have ended with."""
    try:
        function()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:  # noqa: BLE001 - the interpreter prints it too
        traceback.print_exc()
        return 1
    return 0


def run_alone(arguments, *, cwd, program=("-m", "dataprep"), **options):
    """Run the command in a process of its own; ``options`` go to ``subprocess.run``."""
    command = [sys.executable, *program, *map(str, arguments)]
    defaults = {"timeout": 60, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if "input" not in options:
        defaults["stdin"] = subprocess.DEVNULL
    done = subprocess.run(command, check=False, cwd=cwd, **(defaults | options))
    return Ran(done.returncode, done.stdout or b"", (done.stderr or b"").decode())
