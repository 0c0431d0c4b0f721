"""Run programs that a model wrote, with their tests, in confined processes.

``child.py`` is the code of these processes. ``self_test.check_confinement`` tries the confinement before the
first program; if it does not hold here, no program is run at all.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from dataprep.core.errors import UsageError
from dataprep.teacher.journal.line import without_halves

# The means that keep a program from files, in the order in which they are tried.
Guard = Literal["landlock", "mounts"]
GUARDS: tuple[Guard, ...] = ("landlock", "mounts")
_CONFINED = str(Path(__file__).with_name("child.py"))
# A program may take this many times its processor time: on a busy machine it has to wait for its turn.
PATIENCE = 4
_REPORT_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a program."""

    seconds: int = 10  # processor time; `PATIENCE` times as much may pass on the clock
    memory: int = 512 << 20  # address space in bytes


class Verdict(NamedTuple):
    """The result of a program."""

    # `wrong`: an assertion failed. `error`: anything else was raised. `ended`: the process ended too early.
    outcome: Literal["passed", "wrong", "error", "timeout", "ended"]
    detail: str = ""


class NotConfined(UsageError):
    """Raised if the process could not confine itself, and therefore ran nothing."""


def run_program(program: str, tests: Sequence[str], limits: Limits, guard: Guard) -> Verdict:
    """Run a program and then its tests, confined; raise ``NotConfined`` and run nothing if that fails."""
    # The child repeats this token only after the last test, so a program that ends early cannot pass.
    token = secrets.token_hex(32).encode()
    job = {
        "program": without_halves(program),
        "tests": [without_halves(test) for test in tests],
        "limits": {"seconds": limits.seconds, "memory": limits.memory},
        "guard": guard,
    }
    # An empty folder: a program can read no file of the user by a relative path.
    with tempfile.TemporaryDirectory(prefix="dataprep-") as folder:
        text = json.dumps(job).encode()
        report = _report(b"%08d" % len(text) + text + token, folder, limits.seconds)
    if report is None:
        return Verdict("timeout", f"more than {limits.seconds} seconds of the processor")
    if report == token:
        return Verdict("passed")
    if report.startswith(token):
        raise NotConfined(report.removeprefix(token).decode("utf-8", "replace"))
    try:
        fields = json.loads(report)
        detail = f"{fields['failed']} in the {fields['step']}: {fields['detail']}"
        wrong = fields["failed"] == "AssertionError" and fields["step"] == "tests"
    except (ValueError, TypeError, KeyError, RecursionError):
        return Verdict("ended", "the process ended before its tests had passed")
    return Verdict("wrong" if wrong else "error", without_halves(detail) or "")


def _report(message: bytes, folder: str, seconds: int) -> bytes | None:
    """Return the report of a confined process, or ``None`` if it takes too long; end it in any case."""
    deadline = time.monotonic() + PATIENCE * seconds
    source, give = os.pipe()
    hear, target = os.pipe()
    # None of the user's environment, which may hold keys. A fixed hash seed makes results repeatable.
    environment = {"HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
    with open(hear, "rb", buffering=0), open(give, "wb", buffering=0) as job:
        try:
            child = subprocess.Popen(  # noqa: S603 - our own file; the program is confined in it
                [sys.executable, "-I", "-S", "-B", "-X", "utf8", _CONFINED, str(source), str(target)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env=environment,
                pass_fds=(source, target),
                # In a session of its own, so that Ctrl-C reaches evaluate alone, which then ends the child.
                start_new_session=True,
            )
        finally:
            os.close(source)
            os.close(target)
        try:
            with suppress(BrokenPipeError):
                job.write(message)  # read by our own code before the program begins
            report = _read_report(hear, deadline)
            # The pipe is closed: the process has ended, is about to end, or has closed its end by itself.
            with suppress(subprocess.TimeoutExpired):
                if not report and child.wait(max(0.0, deadline - time.monotonic())) == -signal.SIGXCPU:
                    return None
            return report
        finally:
            child.kill()  # it has no children: it cannot start a process
            child.wait()


def _read_report(pipe: int, deadline: float) -> bytes | None:
    report = b""
    # A program that found the pipe could write without end, so no more than a report is read.
    while len(report) < _REPORT_BYTES:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            return None
        piece = os.read(pipe, _REPORT_BYTES - len(report))
        if not piece:
            break
        report += piece
    return report
