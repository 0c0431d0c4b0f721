"""Confine this process, then run one program with its tests.

It is started as ``python -I -S child.py JOB REPORT``, with two file descriptors, and imports nothing from
this package. JOB gives 8 digits (the length of the JSON after them), the JSON ``{"program", "tests",
"limits", "guard"}``, and the token of 64 characters. REPORT receives

- the token if all tests passed;
- the token and a reason if the process could not be confined;
- JSON ``{"failed", "step", "detail"}`` if the program did not pass.

The kernel does the confining: Landlock or read-only mounts for files, seccomp for system calls, a network
namespace if the kernel gives one, resource limits. A program cannot write anything, start a process or
thread, make a socket, or touch another process.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import signal
import struct
import sys
import types
from collections.abc import Callable
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)

# prctl(2), unshare(2), mount(2), landlock(7) and seccomp(2).
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWNET = 0x20000, 0x8000000, 0x10000000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
MOUNT_SETATTR, LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 442, 444, 445, 446
AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = -100, 0x8000, 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
# The first version that also guards truncation, the last way to change a file that is opened for reading.
LANDLOCK_VERSION = 3

# The system calls that a program may make, with their numbers on each machine. All others fail.
CALLS = {
    "x86_64": {
        "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7,
        "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13,
        "rt_sigprocmask": 14, "rt_sigreturn": 15, "ioctl": 16, "pread64": 17, "readv": 19, "writev": 20,
        "access": 21, "select": 23, "sched_yield": 24, "mremap": 25, "madvise": 28, "dup": 32, "dup2": 33,
        "nanosleep": 35, "getitimer": 36, "alarm": 37, "setitimer": 38, "getpid": 39, "exit": 60,
        "kill": 62, "uname": 63, "fcntl": 72, "getdents": 78, "getcwd": 79, "chdir": 80, "readlink": 89,
        "gettimeofday": 96, "getrlimit": 97, "getrusage": 98, "sysinfo": 99, "times": 100, "getuid": 102,
        "getgid": 104, "geteuid": 107, "getegid": 108, "getppid": 110, "sigaltstack": 131, "gettid": 186,
        "time": 201, "futex": 202, "sched_getaffinity": 204, "getdents64": 217, "restart_syscall": 219,
        "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231,
        "tgkill": 234, "openat": 257, "newfstatat": 262, "readlinkat": 267, "faccessat": 269, "pselect6": 270,
        "ppoll": 271, "dup3": 292, "pipe2": 293, "prlimit64": 302, "getrandom": 318, "statx": 332,
        "rseq": 334, "close_range": 436, "faccessat2": 439,
    },
    "aarch64": {
        "getcwd": 17, "dup": 23, "dup3": 24, "fcntl": 25, "ioctl": 29, "faccessat": 48, "chdir": 49,
        "openat": 56, "close": 57, "pipe2": 59, "getdents64": 61, "lseek": 62, "read": 63, "write": 64,
        "readv": 65, "writev": 66, "pread64": 67, "pselect6": 72, "ppoll": 73, "readlinkat": 78,
        "newfstatat": 79, "fstat": 80, "exit": 93, "exit_group": 94, "futex": 98, "nanosleep": 101,
        "getitimer": 102, "setitimer": 103, "clock_gettime": 113, "clock_getres": 114,
        "clock_nanosleep": 115, "sched_getaffinity": 123, "sched_yield": 124, "restart_syscall": 128,
        "kill": 129, "tgkill": 131, "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135,
        "rt_sigreturn": 139, "times": 153, "uname": 160, "getrlimit": 163, "getrusage": 165,
        "gettimeofday": 169, "getpid": 172, "getppid": 173, "getuid": 174, "geteuid": 175, "getgid": 176,
        "getegid": 177, "gettid": 178, "sysinfo": 179, "brk": 214, "munmap": 215, "mremap": 216,
        "mmap": 222, "mprotect": 226, "madvise": 233, "prlimit64": 261, "getrandom": 278, "statx": 291,
        "rseq": 293, "close_range": 436, "faccessat2": 439,
    },
}  # fmt: skip
# These calls are allowed only if an argument (counted from 0) has one of a few values: signals to the process
# itself, as `abort` sends one; its own limits; nothing by which the kernel signals or writes to terminals.
CAREFUL = {"kill": 0, "tgkill": 0, "prlimit64": 0, "fcntl": 1, "ioctl": 1}
F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC = 0, 1, 2, 3, 4, 1030
TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX = 0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


class Refused(Exception):
    """Raised if the kernel lacks a means of confinement."""


def checked(what: str, result: int) -> int:
    """Return the result of a call of the C library, or raise ``Refused`` if it failed."""
    if result < 0:
        raise Refused(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def limit_resources(seconds: int, memory: int) -> None:
    """Limit time, memory and open files; allow no process, no core dump and no byte in a file."""
    # First comes SIGXCPU, and a second later SIGKILL for a program that ignores it.
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    for kind, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (value, value))


def enter_namespaces(mounts: bool) -> bool:
    """Enter a new network namespace and, with ``mounts``, a new mount namespace; return whether it worked."""
    wanted = CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC | (CLONE_NEWNS if mounts else 0)
    return int(LIBC.unshare(wanted)) == 0


def make_read_only() -> None:
    """Turn every mount read-only, in a mount namespace of this process alone."""
    checked("mount namespace", -1 if not enter_namespaces(mounts=True) else 0)
    checked("private mounts", LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    wanted = ctypes.create_string_buffer(struct.pack("=4Q", MOUNT_ATTR_RDONLY, 0, 0, 0), 32)
    done = LIBC.syscall(MOUNT_SETATTR, AT_FDCWD, b"/", AT_RECURSIVE, wanted, 32)
    checked("read-only mounts", done)


def guard_files(folder: str) -> None:
    """Have Landlock forbid all but reading Python's own files, the system's libraries and the folder."""
    version = LIBC.syscall(LANDLOCK_CREATE, None, 0, 1)
    if version < LANDLOCK_VERSION:
        raise Refused(f"Landlock: found version {max(version, 0)}, expected {LANDLOCK_VERSION} or later")
    rights = (1 << (16 if version >= 5 else 15)) - 1
    facts = [rights]
    if version >= 4:
        facts.append(3)  # TCP: bind and connect
    if version >= 6:
        facts.append(3)  # abstract UNIX sockets and signals: none outside
    wanted = struct.pack(f"={len(facts)}Q", *facts)
    rules = checked("Landlock", LIBC.syscall(LANDLOCK_CREATE, wanted, len(wanted), 0))
    readable = [folder, sys.base_prefix, sys.base_exec_prefix, "/usr/share/zoneinfo"]
    for path in {*readable, "/lib", "/lib64", "/usr/lib", "/usr/lib64"}:
        _allow(rules, path, EXECUTE | READ_FILE | READ_DIR)
    _allow(rules, "/dev/null", READ_FILE | WRITE_FILE)
    for path in ("/dev/urandom", "/dev/random", "/dev/zero"):
        _allow(rules, path, READ_FILE)
    checked("Landlock", LIBC.syscall(LANDLOCK_RESTRICT, rules, 0))
    os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    if not os.path.exists(path):  # noqa: PTH110 - it starts faster without pathlib
        return
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rule = struct.pack("=Qi", rights, place)
    checked(f"Landlock, {path}", LIBC.syscall(LANDLOCK_ADD, rules, 1, rule, 0))
    os.close(place)


def allowed_values(name: str) -> tuple[int, ...]:
    """Return the allowed values of the argument of a call in ``CAREFUL``."""
    if name == "fcntl":
        return F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC
    if name == "ioctl":
        return TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
    return (0,) if name == "prlimit64" else (os.getpid(),)


def filter_calls() -> None:
    """Make seccomp refuse every system call that is not in ``CALLS``, or is made as on another machine."""
    # A 32-bit call has other numbers, which the list would misread.
    machine = platform.machine()
    if machine not in CALLS or sys.maxsize < 1 << 32 or sys.byteorder != "little":
        raise Refused(f"no list of system calls for the processor {machine or 'unknown'}")
    load, equal, give = 0x20, 0x15, 0x06
    allow, deny, kill = 0x7FFF0000, 0x00050001, 0x80000000  # deny: EPERM
    steps = [(load, 0, 0, 4), (equal, 1, 0, AUDIT_ARCH[machine]), (give, 0, 0, kill), (load, 0, 0, 0)]
    for name, number in CALLS[machine].items():
        if name not in CAREFUL:
            steps += [(equal, 0, 1, number), (give, 0, 0, allow)]
            continue
        values = allowed_values(name)
        steps += [(equal, 0, 2 * len(values) + 2, number), (load, 0, 0, 16 + 8 * CAREFUL[name])]
        for value in values:
            steps += [(equal, 0, 1, value), (give, 0, 0, allow)]
        steps.append((give, 0, 0, deny))
    steps.append((give, 0, 0, deny))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))
    checked("seccomp", LIBC.prctl(PR_SET_SECCOMP, 2, program, 0, 0))


def confine(limits: dict[str, int], guard: str) -> None:
    """Give up everything that a program does not need; ``guard`` keeps it from files."""
    # If evaluate is killed, its programs must not live on.
    checked("death signal", LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    limit_resources(limits["seconds"], limits["memory"])
    # Either guard keeps files from being written; Landlock also keeps the user's files from being read.
    if guard == "mounts":
        make_read_only()
    elif guard != "landlock":
        raise Refused(f"there is no guard {guard!r}")
    else:
        enter_namespaces(mounts=False)  # seccomp lets no socket be made where they are refused, too
    # Without this the kernel refuses a filter to a process that is not root's.
    checked("no new privileges", LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    if guard == "landlock":
        guard_files(os.getcwd())  # noqa: PTH109
    filter_calls()


def run(job: dict[str, Any], tell: Callable[[bytes], object]) -> bool:
    """Run the program and its tests in a module of their own; return whether nothing was raised.

    An error goes to ``tell``, as the report's JSON.
    """
    module = types.ModuleType("solution")
    sys.modules["solution"] = sys.modules["__main__"] = module
    sys.argv[:] = ["solution"]
    # Looked up before the program begins, which may replace Python's own functions.
    begin, execute, step = compile, exec, "program"
    try:
        codes = [begin(job["program"], "<program>", "exec", dont_inherit=True)]
        step = "tests"
        codes += [begin(test, "<test>", "exec", dont_inherit=True) for test in job["tests"]]
        step = "program"
        for code in codes:
            execute(code, module.__dict__)
            step = "tests"
    except BaseException as error:  # noqa: BLE001 - whatever a program raises
        tell(_said(step, error))
        return False
    return True


def _said(step: str, error: BaseException) -> bytes:
    try:
        detail = str(error)[:200]
    except BaseException:  # noqa: BLE001 - an error of the program's own, that cannot even be shown
        detail = ""
    return json.dumps({"failed": type(error).__name__, "step": step, "detail": detail}).encode()


def exactly(pipe: int, length: int) -> bytes:
    """Return ``length`` bytes of a pipe; end the process if there are fewer."""
    text = b""
    while len(text) < length:
        piece = os.read(pipe, length - len(text))
        if not piece:
            os._exit(1)
        text += piece
    return text


def main() -> None:
    """Read the job, confine the process, run the program, and write the token if all tests passed."""
    source, target = map(int, sys.argv[1:])
    # The token is read only after the last test, by functions that were looked up before the program began.
    # So a program that ends the process, or replaces Python's functions, cannot write what it has not read.
    # One that takes the interpreter apart to find the two descriptors could: the kernel keeps a program from
    # everything else, but cannot keep it from lying about itself.
    read, write, leave = os.read, os.write, os._exit
    job = json.loads(exactly(source, int(exactly(source, 8))))
    try:
        confine(job["limits"], job["guard"])
    except (Refused, OSError, ValueError) as error:
        write(target, read(source, 64) + str(error).encode("utf-8", "replace"))
        leave(1)
    if run(job, lambda said: write(target, said)):
        write(target, read(source, 64))
    leave(0)


if __name__ == "__main__":
    main()
