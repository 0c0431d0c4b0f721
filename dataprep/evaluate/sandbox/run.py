"""Programs of a model's, run with their tests in confined processes: ``confined`` is what runs in them.

What confines them is tried out before the first program, by programs that try to get through; where one
does, or where nothing here confines, no program is run at all.
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
from typing import Any, Literal, NamedTuple

from dataprep.core.errors import UsageError
from dataprep.teacher.journal.line import without_halves

Guard = Literal["landlock", "mounts"]
GUARDS: tuple[Guard, ...] = ("landlock", "mounts")
"""What keeps a program from files, in the order in which they are tried."""

_CONFINED = str(Path(__file__).with_name("child.py"))

PATIENCE = 4
"""How much longer than its processor time a program may take: on a busy machine it has to wait its turn."""

_REPORT_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use.

    Attributes:
        seconds: of the processor; of the clock ``PATIENCE`` times as many.
        memory: bytes of address space.
    """

    seconds: int = 10
    memory: int = 512 << 20


class Verdict(NamedTuple):
    """What came of a program.

    Attributes:
        outcome: ``passed`` all tests; ``wrong`` where an assertion failed; ``error`` where anything else was
            raised; ``timeout``; ``ended`` where the process was gone before its tests had passed.
        detail: what it raised, and where.
    """

    outcome: Literal["passed", "wrong", "error", "timeout", "ended"]
    detail: str = ""


class NotConfined(UsageError):
    """Raised when the process could not confine itself, and ran nothing."""


def run_program(program: str, tests: Sequence[str], limits: Limits, guard: Guard) -> Verdict:
    """Run a program and then its tests, confined.

    Raises:
        NotConfined: the process could not be confined; nothing was run.
    """
    token = secrets.token_hex(32).encode()
    job = {
        "program": without_halves(program),
        "tests": [without_halves(test) for test in tests],
        "limits": {"seconds": limits.seconds, "memory": limits.memory},
        "guard": guard,
    }
    with tempfile.TemporaryDirectory(prefix="dataprep-") as folder:
        said = _said_by(_message(job, token), folder, limits.seconds)
    if said is None:
        return Verdict("timeout", f"more than {limits.seconds} seconds of the processor")
    if said == token:
        return Verdict("passed")
    if said.startswith(token):
        raise NotConfined(said.removeprefix(token).decode("utf-8", "replace"))
    try:
        report = json.loads(said)
        detail = f"{report['failed']} in the {report['step']}: {report['detail']}"
        wrong = report["failed"] == "AssertionError" and report["step"] == "tests"
    except (ValueError, TypeError, KeyError, RecursionError):
        return Verdict("ended", "the process ended before its tests had passed")
    return Verdict("wrong" if wrong else "error", without_halves(detail) or "")


def _message(job: dict[str, Any], token: bytes) -> bytes:
    text = json.dumps(job).encode()
    return b"%08d" % len(text) + text + token


def _said_by(message: bytes, folder: str, seconds: int) -> bytes | None:
    """What a confined process reports; ``None`` where it takes too long. It is gone afterwards."""
    deadline = time.monotonic() + PATIENCE * seconds
    source, give = os.pipe()
    hear, target = os.pipe()
    # Nothing of the user's environment; hashing is the same each time, so that results are.
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
                start_new_session=True,
            )
        finally:
            os.close(source)
            os.close(target)
        try:
            with suppress(BrokenPipeError):
                job.write(message)  # read by our own code before the program begins
            said = _heard(hear, deadline)
            # Its end of the pipe is closed, so it has ended, or is about to, or has closed it by itself.
            with suppress(subprocess.TimeoutExpired):
                if not said and child.wait(max(0.0, deadline - time.monotonic())) == -signal.SIGXCPU:
                    return None
            return said
        finally:
            child.kill()  # it has no children: it cannot start a process
            child.wait()


def _heard(place: int, deadline: float) -> bytes | None:
    """What comes out of a pipe until its end, as far as a report may go; ``None`` past the deadline."""
    heard = b""
    while len(heard) < _REPORT_BYTES:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([place], [], [], left)[0]:
            return None
        piece = os.read(place, _REPORT_BYTES - len(heard))
        if not piece:
            break
        heard += piece
    return heard
