"""Check that confinement holds, with programs that try to break out, before a model's program is run."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from dataprep.core.errors import UsageError
from dataprep.evaluate.sandbox.run import GUARDS, Guard, Limits, NotConfined, run_program


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
    "read its parent's memory": "import os\nopen(f'/proc/{os.getppid()}/mem', 'r+b')",
    "use more memory than its limit": "x = bytearray(LIMIT)",
}


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
        for name, probe in PROBES.items():
            program = f"PLACE = {str(outside)!r}\nLIMIT = {limits.memory}\n{probe}\n"
            # Only an error counts as held: a probe that ended its own process got through as well.
            if run_program(program, [], limits, guard).outcome != "error":
                through.append(name)
        # A probe may change a file and then raise, so the folder is looked at, too.
        names = [path.name for path in Path(folder).iterdir()]
        if names != ["outside"] or outside.read_bytes() != b"untouched":
            through.append("change files")
    return through
