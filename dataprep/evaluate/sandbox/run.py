"""Run programs that a model wrote, with their tests, in confined processes.

``child.py`` is the code of these processes, two for each program. ``check_confinement`` tries the
confinement before the first program; if it does not hold here, no program is run at all.
"""

from __future__ import annotations

import json
import os
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
# The processes import the modules of this folder alone: importing the whole package would double their start.
_START = """
import sys
folder, name = sys.argv.pop(), ""
for part in "dataprep.evaluate.sandbox".split("."):
    name += "." * bool(name) + part
    sys.modules[name] = type(sys)(name)
    sys.modules[name].__path__ = [folder]
from dataprep.evaluate.sandbox.child import main
main()
"""
_FOLDER = str(Path(__file__).resolve().parent)
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
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
    job = {"program": without_halves(program), "tests": [without_halves(test) for test in tests]}
    text = json.dumps(job).encode()
    # An empty folder: a program can read no file of the user by a relative path.
    with tempfile.TemporaryDirectory(prefix="dataprep-") as folder:
        report = _report(b"%08d" % len(text) + text, folder, limits, guard)
    if report is None:
        return Verdict("timeout", f"more than {limits.seconds} seconds of the processor")
    try:
        fields = json.loads(report)
    except ValueError:
        return Verdict("ended", "the process of the tests ended before they had passed")
    if "refused" in fields:
        raise NotConfined(fields["refused"])
    if fields["outcome"] == "timeout":
        return Verdict("timeout", f"more than {limits.seconds} seconds of the processor")
    # One line without control characters: the words are the program's.
    plain = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in fields["detail"])
    return Verdict(fields["outcome"], plain)


def _report(message: bytes, folder: str, limits: Limits, guard: Guard) -> bytes | None:
    """Return the report of the confined processes, or ``None`` if it takes too long; end them in any case."""
    deadline = time.monotonic() + PATIENCE * limits.seconds
    source, give = os.pipe()
    hear, target = os.pipe()
    # None of the user's environment, which may hold keys. A fixed hash seed makes results repeatable.
    environment = {"HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
    bounds = json.dumps({"seconds": limits.seconds, "memory": limits.memory})
    options = ["-I", "-S", "-X", "utf8", "-c", _START]
    with open(hear, "rb", buffering=0), open(give, "wb", buffering=0) as job:
        try:
            child = subprocess.Popen(  # noqa: S603 - our own code; the program is confined in it
                [sys.executable, *options, str(source), str(target), bounds, guard, _FOLDER],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env=environment,
                pass_fds=(source, target),
                # In a session of its own, so that Ctrl-C reaches evaluate alone, which then ends both.
                start_new_session=True,
            )
        finally:
            os.close(source)
            os.close(target)
        try:
            with suppress(BrokenPipeError):
                job.write(message)  # read by our own code before the program begins
            report = _read_report(hear, deadline)
            # The pipe is closed: the process has ended, or is about to end.
            with suppress(subprocess.TimeoutExpired):
                if not report and child.wait(max(0.0, deadline - time.monotonic())) == -signal.SIGXCPU:
                    return None
            return report
        finally:
            # The program's process is in the same session, and ends with that of the tests.
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _read_report(pipe: int, deadline: float) -> bytes | None:
    report = b""
    while len(report) < _REPORT_BYTES:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            return None
        piece = os.read(pipe, _REPORT_BYTES - len(report))
        if not piece:
            break
        report += piece
    return report


def readable(guard: Guard) -> str:
    """Return which files the guard lets programs read."""
    if guard == "mounts":
        return "every file that this user can read"
    folders = dict.fromkeys((sys.base_prefix, sys.base_exec_prefix, "/usr/share/zoneinfo", *LIBRARIES))
    return f"files in {', '.join(folder for folder in folders if Path(folder).exists())}"


def check_confinement(limits: Limits) -> Guard:
    """Return the first guard under which a sound program passes and no probe gets through."""
    if sys.platform != "linux":
        raise UsageError(f"--allow-code: programs cannot be confined on {sys.platform}; run this on Linux")

    reasons = []
    for guard in GUARDS:
        try:
            through = escapes(guard, limits)
        except NotConfined as error:
            reasons.append(f"{guard}: {error}")
            continue
        if not through:
            return guard
        reasons.append(f"{guard}: a test program could {', '.join(through)}")
    raise UsageError(
        f"--allow-code: programs cannot be confined here ({'; '.join(reasons)}), so none is run; "
        "use a Linux kernel of 6.2 or later with Landlock and seccomp, or one that allows user namespaces"
    )


SOUND = "import re, math, collections, itertools, heapq, datetime, string, random, functools, bisect, sys"

# By what each probe would have been able to do, its program, which must raise. PLACE is a file outside.
PROBES = {
    "connect to the network": "import socket\nsocket.create_connection(('127.0.0.1', 9), 1)",
    "make a socket": "import _socket\n_socket.socket()",
    "write a file outside its folder": "open(PLACE + '.new', 'w')",
    "truncate a file outside its folder": "open(PLACE, 'r+')\nimport os\nos.truncate(PLACE, 0)",
    "change a file's mode": "import os\nos.chmod(PLACE, 0o777)",
    "change a file's times": "import os\nos.utime(PLACE)",
    "delete a file": "import os\nos.unlink(PLACE)",
    "make a folder": "import os\nos.mkdir(PLACE + '.d')",
    "make a link": "import os\nos.symlink('/', PLACE + '.l')",
    "write into its own folder": "open('file', 'w').write('x')",
    "start a process": "import os\nif os.fork() == 0: os._exit(0)",
    "start a command": "import subprocess\nsubprocess.run(['true'])",
    "start a thread": "import _thread\n_thread.start_new_thread(print, ())",
    "replace its process": "import os, sys\nos.execv(sys.executable, ['python', '-c', ''])",
    "signal its parent": "import os\nos.kill(os.getppid(), 0)",
    "signal its group's leader's session": "import os\nos.kill(-1, 0)",
    "write its parent's memory": "import os\nopen(f'/proc/{os.getppid()}/mem', 'r+b')",
    "read its parent's memory": "import os\nopen(f'/proc/{os.getppid()}/mem', 'rb')",
    "read its parent's descriptors": "import os\nos.listdir(f'/proc/{os.getppid()}/fd')",
    "use more memory than its limit": "x = bytearray(LIMIT)",
}


_ALL_PROBES = """
through = []
for name, probe in {}:
    try:
        exec(probe, dict(PLACE=PLACE, LIMIT=LIMIT))
    except BaseException:
        continue
    through.append(name)
"""
_NONE = ["assert through == []"]


def escapes(guard: Guard, limits: Limits) -> list[str]:
    """Return the probes that got through under a guard."""
    sound = run_program(SOUND, ["assert sorted([2, 1]) == [1, 2]"], limits, guard)
    if sound.outcome != "passed":
        raise NotConfined(f"a sound program does not pass ({sound.outcome}: {sound.detail})")
    through = []
    with tempfile.TemporaryDirectory(prefix="dataprep-probes-") as folder:
        outside = Path(folder, "outside")
        outside.write_bytes(b"untouched")
        outside.chmod(0o644)
        given = f"PLACE = {str(outside)!r}\nLIMIT = {limits.memory}\n"
        # All in one program first, which takes a tenth of the time; each by itself if that does not pass.
        together = run_program(given + _ALL_PROBES.format(list(PROBES.items())), _NONE, limits, guard)
        for name, probe in PROBES.items() if together.outcome != "passed" else ():
            program = f"{given}{probe}\n"
            # Only an error counts as held: a probe that ended its own process got through as well.
            if run_program(program, [], limits, guard).outcome != "error":
                through.append(name)
        # A probe may change a file and then raise, so the folder is looked at, too.
        names = [path.name for path in Path(folder).iterdir()]
        if names != ["outside"] or outside.read_bytes() != b"untouched":
            through.append("change files")
    return through
