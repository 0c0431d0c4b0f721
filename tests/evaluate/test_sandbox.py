"""Programs of a model's: confined, bounded, and passed only where every test was reached and passed.

The verdict comes from a process that the program cannot reach.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dataprep.core.errors import UsageError
from dataprep.evaluate.sandbox import run as sandbox
from dataprep.evaluate.sandbox.calls import Peer
from dataprep.evaluate.sandbox.run import (
    PROBES,
    Limits,
    NotConfined,
    check_confinement,
    escapes,
    readable,
    run_program,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="programs are confined on Linux only")

SHORT = Limits(seconds=3)
ADD = "def add(a, b):\n    return a + b\n"
TESTS = ["assert add(1, 2) == 3", "assert add(-1, 1) == 0"]


@pytest.fixture(scope="session")
def guards():
    """The guards that this kernel gives; a kernel that lacks one is no failure of this package."""
    found = []
    for guard in sandbox.GUARDS:
        try:
            if run_program("", [], SHORT, guard).outcome == "passed":
                found.append(guard)
        except NotConfined:
            continue
    return found


@pytest.fixture(scope="session")
def guard(guards):
    """The guard that the command would choose: every program of this module runs under it."""
    if not guards:
        pytest.skip("nothing confines here")
    return guards[0]


def outcome(program, guard, tests=(), limits=SHORT):
    """What comes of a program."""
    return run_program(program, list(tests), limits, guard).outcome


def mismatches(programs, expected, guard, tests=(), limits=SHORT):
    """The programs that end in another way than in one of the expected outcomes."""
    # Most of them wait for the kernel or the clock, so they run side by side.
    with ThreadPoolExecutor(4) as pool:
        verdicts = pool.map(lambda program: run_program(program, list(tests), limits, guard), programs)
        pairs = zip(programs, verdicts, strict=True)
        return [(program, verdict) for program, verdict in pairs if verdict.outcome not in expected]


def test_something_confines_here_or_code_is_refused():
    """Either a guard holds every probe, or nothing is run."""
    try:
        assert check_confinement(SHORT) in sandbox.GUARDS
    except UsageError as error:
        assert "cannot be confined" in str(error)  # noqa: PT017 - one of two outcomes


@pytest.mark.medium
def test_no_probe_gets_through(guard):
    """What the command tries before the first program fails."""
    assert escapes(guard, SHORT) == []


def test_the_other_guards_hold_too(guards):
    """A few programs of each kind under every further guard; the first one runs all of this module."""
    passing = [ADD, "import re, json, math, heapq, bisect, decimal\n" + ADD]
    stopped = [
        "import os\nos._exit(0)",
        "import socket\nsocket.create_connection(('127.0.0.1', 9), 1)",
        "open('../escaped', 'w')",
        "import os\nos.fork()",
        "x = 'x' * 10 ** 10",
        "while True: pass",
    ]
    for other in guards[1:]:
        assert mismatches(passing, ["passed"], other, TESTS) == []
        assert mismatches(stopped, ["error", "ended", "timeout"], other, limits=Limits(seconds=1)) == []


def test_a_right_program_passes_and_a_wrong_one_does_not(guard):
    """Passed means all tests; what failed is told."""
    assert outcome(ADD, guard, TESTS) == "passed"
    verdict = run_program("def add(a, b):\n    return a - b\n", TESTS, SHORT, guard)
    assert (verdict.outcome, verdict.detail) == ("wrong", "AssertionError in the tests: ")
    assert run_program("def sub(): pass", TESTS, SHORT, guard).detail.startswith("NameError in the tests")
    assert run_program("def add(a, b:", TESTS, SHORT, guard).detail.startswith("SyntaxError in the program")
    assert outcome("assert False", guard, TESTS) == "error"


def test_what_honest_programs_do_is_allowed(guard):
    """The standard library, much output, an empty folder as home, no input."""
    programs = [
        "import re, json, math, heapq, bisect, decimal, fractions, datetime, itertools, collections, typing",
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int = 1\nassert P() == P(1)",
        "import sys\nsys.setrecursionlimit(5000)\ndef f(n): return n and f(n - 1)\nf(4000)",
        "print('x' * 10 ** 7)\nimport sys\nsys.stderr.write('y' * 10 ** 7)",
        "if __name__ == '__main__':\n    raise SystemExit(1)",
        "import os\nassert os.listdir() == [] and os.environ.get('USER') is None",
        "import os, tempfile\nassert os.path.expanduser('~') == os.getcwd()",
        "import sys\nassert sys.stdin.read() == ''",
        "import random, time\ntime.sleep(0.01)\nrandom.seed(1)\nrandom.random()",
    ]
    assert mismatches(programs, ["passed"], guard) == []


def test_a_program_that_cheats_does_not_pass(guard):
    """Ending early, patching Python, or writing anything anywhere is no substitute for passing the tests.

    Nor is a result that is equal to everything, or a message as the harness sends them.
    """
    programs = [
        "import os\nos._exit(0)",
        "import sys\nsys.exit(0)",
        "exit_code = 0\nraise SystemExit",
        "quit()",
        "import os\nos.kill(os.getpid(), 9)",
        "import os\nos.abort()",
        "import ctypes\nctypes.string_at(0)",
        "import builtins\nbuiltins.AssertionError = ZeroDivisionError\nbuiltins.exec = print",
        "import os, sys\nos.write = os.read = sys.exit = os._exit = lambda *_: b'passed'",
        "import json\njson.dumps = lambda *_: '{}'",
        "for number in range(64):\n    try:\n        __import__('os').write(number, b'passed' * 20)\n"
        "    except OSError:\n        pass",
        "for number in range(64):\n    try:\n        __import__('os').close(number)\n"
        "    except OSError:\n        pass",
        "import sys\nsys.modules.clear()",
        "import atexit, os\natexit.register(os._exit, 0)\nraise ValueError",
        "import sys\nsys.excepthook = lambda *_: None\n1 / 0",
        "class E(Exception):\n    def __str__(self): raise E\nraise E",
        "raise Exception('\\ud800')",
        "raise BaseException",
        "raise KeyboardInterrupt",
        "raise GeneratorExit",
    ]
    assert mismatches(programs, ["wrong", "error", "ended"], guard, ["assert False"]) == []
    assert mismatches(CHEATS, ["wrong", "error", "ended"], guard, TESTS) == []


# An object that agrees to everything.
YES = (
    "class Yes:\n    __eq__ = __lt__ = __gt__ = __le__ = __ge__ = __contains__ = lambda *_: True\n"
    "    __ne__ = lambda *_: False\n    __sub__ = __rsub__ = __add__ = __abs__ = __hash__ = lambda *_: 0\n"
    "    __getattr__ = lambda *_: (lambda *_: True)\n"
)
CHEATS = [
    YES + "def add(a, b): return Yes()",
    YES + "class add(Yes):\n    def __init__(self, a, b): pass",
    "class Yes(int):\n    __eq__ = lambda *_: True\n    __hash__ = int.__hash__\ndef add(a, b): return Yes(7)",  # noqa: E501
    "class Yes(list):\n    __eq__ = lambda *_: True\ndef add(a, b): return Yes()",
    "class Meta(type):\n    __eq__ = lambda *_: True\n    __hash__ = type.__hash__\n"
    "class add(metaclass=Meta):\n    def __new__(cls, a, b): return add",
    "from unittest.mock import ANY\ndef add(a, b): return ANY",
    "from unittest.mock import MagicMock as add",
    "import os\ndef add(a, b): os._exit(0)",
    "import sys\ndef add(a, b): sys.exit(0)",
    "def add(a, b): raise StopIteration",
    "def add(a, b):\n    while True: yield 3",
    "def add(a, b): return float('nan')",
    "def add(a, b): return 'x' * 10 ** 9",
    "def add(a, b):\n    found = []\n    found.append(found)\n    return found",
    "import sys\nframe = sys._getframe()\nwhile frame.f_back: frame = frame.f_back\n"
    "for name in ('judge', 'report', 'main'): frame.f_globals[name] = lambda *_: {'outcome': 'passed'}\n"
    "def add(a, b): return 7",
    "import gc\nfor found in gc.get_objects():\n    if type(found).__name__ == 'Peer':\n"
    "        for _ in range(9): found._send(['result', 3, []])\n",
    "import gc\npeer = [found for found in gc.get_objects() if type(found).__name__ == 'Peer'][0]\n"
    "peer.encode = lambda value: ['named', 'os', '_exit']\ndef add(a, b): return 7",
    "import gc\npeer = [found for found in gc.get_objects() if type(found).__name__ == 'Peer'][0]\n"
    "peer.encode = lambda value: ['yours', 0]\ndef add(a, b): return 7",
    "import os\nfor number in range(64):\n"
    '    for text in (b\'passed\', b\'{"outcome": "passed", "detail": ""}\', b\'000000000017["result", 3, []]\'):\n'  # noqa: E501
    "        try: os.write(number, text)\n        except OSError: pass",
    "import os\nfor number in range(64):\n    try:\n        os.set_blocking(number, False)\n"
    "        os.write(number, os.read(number, 99))\n    except OSError: pass",
    "import builtins\nbuiltins.compile = lambda *a, **b: (lambda: 0).__code__\ndef add(a, b): return 7",
    "import sys\nsys.settrace(lambda *_: None)\nsys.setprofile(lambda *_: None)\ndef add(a, b): return 7",
    "import threading\nthreading.Thread(target=print).start()\ndef add(a, b): return a + b",
]


@pytest.mark.medium
def test_a_program_does_not_judge_itself(guard):
    """What the tests compare with is theirs: a program brings neither `set` nor `isclose`, nor sees one."""
    right = "def f(x): return 3\n"
    attempts = [
        ("assert set(f(3)) == set([1])", "def set(x): return 0\ndef f(x): return [2]"),
        ("import math\nassert math.isclose(f(2), 4)", "class math:\n    isclose = lambda *_: True\n" + right),
        ("assert math.isclose(f(2), 4)", "class math:\n    isclose = lambda *_: True\n" + right),
        ("assert f(1) == 4", "import sys\nf = sys"),
        ("assert isclose(f(1), 2)", "def isclose(a, b): return True\n" + right),
        ("assert Counter(f(1)) == Counter([2])", "def Counter(x): return 1\ndef f(x): return [1]"),
        ("assert abs(f(1) - 2) < 1", YES + "def f(x): return Yes()"),
        ("assert f(1) < 2", YES + "def f(x): return Yes()"),
        ("assert f(1) in [2, 4]", YES + "def f(x): return Yes()"),
        ("assert 2 in f(1)", YES + "def f(x): return Yes()"),
        ("assert f(1) == 3\nimport sys\nsys.exit(0)", right),
        ("try:\n    f(1)\nexcept BaseException:\n    pass", "import os\ndef f(x): os._exit(0)"),
    ]
    passed = [
        (test, program)
        for test, program in attempts
        if run_program(program, [test], SHORT, guard).outcome == "passed"
    ]
    assert passed == []


def test_a_program_reaches_only_objects_that_the_tests_hand_out():
    """It can ask for calls while the tests wait, but not of functions that it names, or of hidden parts."""
    handed = {"lambda": lambda x: x + 1, "generator": iter([1]).__iter__()}
    here, there = os.pipe(), os.pipe()
    peer = Peer(here[0], there[1], trusted=False)
    numbers = {name: ["yours", peer.encode(value)[1]] for name, value in handed.items()}
    empty = ["dict", []]

    def asked(kind, *sent):
        peer._answer(kind, list(sent))
        length = int(os.read(there[0], 12))
        return json.loads(os.read(there[0], length))

    try:
        assert asked("call", numbers["lambda"], ["list", [2]], empty)[:2] == ["result", 3]
        assert asked("next", numbers["generator"])[:2] == ["result", 1]
        refused = [
            ("call", ["named", "operator", "attrgetter"], ["list", ["__globals__"]], empty),
            ("call", ["named", "builtins", "eval"], ["list", ["1"]], empty),
            ("call", ["named", "os", "_exit"], ["list", [0]], empty),
            ("getattr", numbers["lambda"], "__globals__"),
            ("getattr", numbers["generator"], "gi_frame"),
            ("getattr", ["named", "random", ""], "_os"),
            ("setattr", numbers["lambda"], "x", 1),
            ("getitem", ["dict", []], "x"),
            ("call", 3, ["list", []], empty),
            ("run", "1"),
            ("call",),
        ]
        assert [sent for sent in refused if asked(*sent)[0] != "error"] == []
    finally:
        for pipe in (*here, *there):
            os.close(pipe)


@pytest.mark.medium
def test_tests_use_what_a_program_defines(guard):
    """Values, changes to arguments, objects, classes, generators, errors, functions as arguments."""
    node = "class Node:\n    def __init__(self, v): self.v, self.left, self.right = v, None, None\n"
    depth = "def depth(n): return 0 if n is None else 1 + max(depth(n.left), depth(n.right))"
    attempts = [
        ("assert sum(10, 15) == 25", "def sum(a, b): return a + b"),
        ("x = [3, 1]\nsort(x)\nassert x == [1, 3]", "def sort(x): x.sort()"),
        ("assert list(f(3)) == [0, 1, 2]", "def f(n): yield from range(n)"),
        ("assert f() == {'a': (1, 2.5, None), b'c': {1}}", "def f(): return {'a': (1, 2.5, None), b'c': {1}}"),  # noqa: E501
        ("r = Node(1)\nr.left = Node(2)\nassert depth(r) == 2", node + depth),
        ("assert total([Node(5), Node(2)]) == 7", node + "def total(ns): return sum(n.v for n in ns)"),
        ("assert apply(lambda x: x + 1, [1, 2]) == [2, 3]", "def apply(f, xs): return [f(x) for x in xs]"),
        ("assert kinds([1, 'a'], int) == [1]", "def kinds(xs, t): return [x for x in xs if isinstance(x, t)]"),  # noqa: E501
        ("assert f('aab') == Counter('aab')", "from collections import Counter\nf = Counter"),
        ("from fractions import *\nassert f(1) == Fraction(1, 2)", "import fractions\n"
         "def f(x): return fractions.Fraction(x, 2)"),
        ("assert f(5) == 5 ** 9000", "def f(x): return x ** 9000"),
        ("assert f() == (1, 2) and f().x == 1", "import collections\nP = collections.namedtuple('P', 'x y')\n"
         "def f(): return P(1, 2)"),
        ("assert math.isclose(f(2), 4.0)", "import math\ndef f(x): return math.pow(x, 2)"),
        (
            "assert size((1, 'a')) == sys.getsizeof((1, 'a'))",
            "import sys\ndef size(x): return sys.getsizeof(x)",
        ),
        ("def check(candidate):\n    assert candidate(1, 2) == 3\ncheck(add)", ADD),
        ("try:\n    f(-1)\nexcept ValueError as error:\n    assert str(error) == 'no'\nelse:\n    assert False",  # noqa: E501
         "def f(x): raise ValueError('no')"),
        ("class T:\n    def __init__(self): self.v = 3\nassert value(T()) == 3", "def value(t): return t.v"),
        ("assert isinstance(f(1), list)", "class L(list): pass\ndef f(x): return L([x])"),
        ("assert X == 3\nassert inc() == 4\nassert X == 4", "X = 3\ndef inc():\n    global X\n    X += 1\n    return X"),  # noqa: E501
        ("assert str(f(1)) == 'P(1)'", "class P:\n    def __init__(self, x): self.x = x\n"
         "    def __repr__(self): return f'P({self.x})'\ndef f(x): return P(x)"),
        ("assert f(1) == f(1) != f(2)", "from dataclasses import dataclass\n@dataclass\nclass D:\n    x: int\nf = D"),  # noqa: E501
        ("assert sorted([3, 1], key=key) == [3, 1]", "def key(x): return -x"),
        ("assert add(1, 2) == 3", "import os\nos.write = os.read = os._exit = None\n" + ADD),
    ]  # fmt: skip
    verdicts = [(test, run_program(program, [test], SHORT, guard)) for test, program in attempts]
    assert [(test, verdict) for test, verdict in verdicts if verdict.outcome != "passed"] == []


def test_what_a_program_says_is_only_a_detail(guard):
    """Its errors are called what it calls them, in a line without control characters, and end no command."""
    program = "class NotConfined(Exception): pass\nprint('\\x1b[31m')\nraise NotConfined('\\x1b]0;red\\x07\\n\\ntwo é')"  # noqa: E501
    verdict = run_program(program, TESTS, SHORT, guard)
    assert verdict == ("error", r"NotConfined in the program: \x1b]0;red\x07\n\ntwo é")
    for name in ("Refused", "Ended", "SystemExit", "KeyboardInterrupt"):
        program = f"class {name}(BaseException): pass\ndef add(a, b): raise {name}('x' * 10_000)"
        verdict = run_program(program, TESTS, SHORT, guard)
        assert (verdict.outcome, len(verdict.detail) < 300) == ("error", True)
    assert "\x1b" not in readable(guard)


def test_a_patched_interpreter_does_not_hide_a_right_answer(guard):
    """What a program does to Python's own functions does not reach the harness either."""
    assert outcome("import os\nos.write = os._exit = None\n" + ADD, guard, TESTS) == "passed"


@pytest.mark.medium
def test_a_program_that_does_not_end_is_ended(guard):
    """Loops, sleeps and ignored signals end with the limit, and nothing of them is left."""
    programs = [
        "while True: pass",
        "try:\n    while True: pass\nexcept BaseException:\n    pass",
        "import signal\nfor n in range(1, 32):\n    try:\n        signal.signal(n, signal.SIG_IGN)\n"
        "    except OSError:\n        pass\nwhile True: pass",
        "class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E",
    ]
    begin = time.monotonic()
    assert mismatches(programs, ["timeout", "ended"], guard, limits=Limits(seconds=1)) == []
    assert time.monotonic() - begin < len(programs) * 4 * sandbox.PATIENCE


@pytest.mark.slow
def test_a_program_that_waits_has_the_clock_s_limit(guard, monkeypatch):
    """A program that uses no processor ends too, and one on a busy machine is not hurried by it."""
    assert outcome("import time\ntime.sleep(1.5)", guard, limits=Limits(seconds=1)) == "passed"
    monkeypatch.setattr(sandbox, "PATIENCE", 1)
    assert outcome("import time\ntime.sleep(1000)", guard, limits=Limits(seconds=1)) == "timeout"


def test_a_memory_hog_is_stopped(guard):
    """Memory ends at the limit, for the program alone."""
    for program in ("x = 'x' * 10 ** 10", "x = []\nwhile True: x.append(bytes(1 << 20))"):
        assert run_program(program, [], SHORT, guard).detail.startswith("MemoryError"), program


def test_a_network_is_out_of_reach(guard):
    """Not even a server on this machine can be reached, over TCP or a socket in the file system."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        program = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)"
        assert outcome(program, guard) == "error"
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()
    assert outcome("import socket\nsocket.socketpair()", guard) == "error"
    assert outcome("import asyncio\nasyncio.run(asyncio.sleep(0))", guard) == "error"


def test_nothing_can_be_written(guard, tmp_path):
    """Files, folders, links, modes and times stay as they are, whoever owns them."""
    attempts = [
        "open(PLACE + '/new', 'w')",
        "open(PLACE + '/kept', 'a').write('x')",
        "open(PLACE + '/kept', 'w')",
        "os.truncate(PLACE + '/kept', 0)",
        "os.remove(PLACE + '/kept')",
        "os.rename(PLACE + '/kept', PLACE + '/moved')",
        "os.link(PLACE + '/kept', 'linked')",
        "os.symlink('/', PLACE + '/root')",
        "os.mkdir(PLACE + '/folder')",
        "os.mkfifo(PLACE + '/pipe')",
        "os.chmod(PLACE + '/kept', 0)",
        "os.chown(PLACE + '/kept', 1, 1)",
        "os.utime(PLACE + '/kept', (0, 0))",
        "os.setxattr(PLACE + '/kept', 'user.x', b'x')",
        "open('../escaped', 'w')",
        "os.memfd_create('m')",
    ]
    kept = tmp_path / "kept"
    kept.write_text("kept", encoding="utf-8")
    before = kept.stat()
    programs = [f"import os\nPLACE = {str(tmp_path)!r}\n{attempt}" for attempt in attempts]
    assert mismatches(programs, ["error"], guard) == []
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert kept.read_text(encoding="utf-8") == "kept"
    after = kept.stat()
    assert (before.st_mode, before.st_mtime_ns, before.st_uid) == (
        after.st_mode,
        after.st_mtime_ns,
        after.st_uid,
    )


def test_files_of_the_user_cannot_be_read(guards, tmp_path):
    """Landlock keeps a program from what it could put into an error message."""
    if "landlock" not in guards:
        pytest.skip("no Landlock here")
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    for path in (tmp_path / "secret", "/etc/passwd", f"/proc/{os.getpid()}/environ"):
        assert outcome(f"open({str(path)!r}).read()", "landlock") == "error", path


def test_no_process_is_started_or_touched(guard):
    """No fork, command or thread, and no signal or limit for any other process; the parent lives on."""
    attempts = [
        "os.fork()",
        "while True: os.fork()",
        "os.execv('/bin/true', ['true'])",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "__import__('subprocess').run(['true'])",
        "__import__('threading').Thread(target=print).start()",
        "__import__('multiprocessing').Process(target=print).start()",
        "os.kill(os.getppid(), 9)",
        "os.killpg(os.getpgid(os.getppid()), 9)",
        "os.kill(-1, 9)",
        "__import__('signal').pidfd_send_signal(0, 9)",
        "__import__('resource').prlimit(os.getppid(), 0, (1, 1))",
        "__import__('resource').setrlimit(__import__('resource').RLIMIT_AS, (-1, -1))",
        "__import__('fcntl').fcntl(0, 8, os.getppid())",
        "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
        "os.setuid(0)",
        "os.setsid()",
        "os.unshare(0) if hasattr(os, 'unshare') else os.setsid()",
    ]
    assert mismatches([f"import os\n{attempt}" for attempt in attempts], ["error"], guard) == []


def test_system_calls_made_directly_are_refused_too(guard):
    """A program with the C library in its hands is confined like one without."""
    calls = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
    for call in (
        "socket(2, 1, 0)",
        "fork()",
        "unshare(0x10000000)",
        "ptrace(16, 1, 0, 0)",
        "syscall(425, 1, 0)",
    ):
        assert outcome(f"{calls}assert libc.{call} >= 0", guard) in ("error", "ended"), call


def test_a_child_does_not_outlive_its_parent(guard, tmp_path):
    """Killed in the middle, evaluate leaves no program running."""
    code = (
        "from dataprep.evaluate.sandbox.run import *\n"
        f"run_program('import time; time.sleep(55)', [], Limits(60), {guard!r})"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"TMPDIR": str(tmp_path)})
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    deadline = time.monotonic() + 20
    found = []
    while not found and time.monotonic() < deadline:
        time.sleep(0.05)
        found = children.read_text().split()
    time.sleep(0.5)  # until it has asked the kernel to end with its parent
    parent.kill()
    parent.wait()
    assert found
    state = Path(f"/proc/{found[0]}/stat")
    while state.exists() and ") Z " not in state.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert time.monotonic() < deadline


def test_programs_run_side_by_side(guard):
    """Each has its own processes; none hears of another."""
    found = {}

    def run(number):
        found[number] = outcome(
            f"x = {number}", guard, [f"assert x == {number}", f"assert {number} % 2 == 0"]
        )

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: "wrong" if number % 2 else "passed" for number in range(6)}


@pytest.mark.medium
def test_nothing_is_left_behind(guard, tmp_path, monkeypatch):
    """The empty folder is gone when the program is, and no descriptor stays open."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert outcome(ADD, guard, TESTS) == "passed"
    assert outcome("while True: pass", guard, limits=Limits(seconds=1)) == "timeout"
    assert (list(tmp_path.iterdir()), len(list(Path("/proc/self/fd").iterdir()))) == ([], before)


def test_a_large_program_reaches_its_process(guard):
    """A job longer than a pipe holds is passed whole, with any text in it."""
    program = "x = '''" + "é\ud800" * 100_000 + "'''\n"
    assert outcome(program, guard, ["assert len(x) == 200_000"]) == "passed"


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_where_nothing_confines_code_is_refused(platform, monkeypatch):
    """No program runs unconfined, on any platform."""
    monkeypatch.setattr(sandbox.sys, "platform", platform)
    with pytest.raises(UsageError, match=f"confined on {platform}.*Linux"):
        check_confinement(SHORT)


@pytest.mark.medium
def test_a_probe_that_gets_through_is_a_refusal(monkeypatch):
    """The command trusts what it tried, not what the kernel's version promises."""
    monkeypatch.setitem(PROBES, "add numbers", "1 + 1")
    with pytest.raises(UsageError, match=r"cannot be confined here .*could add numbers.*so none is run"):
        check_confinement(SHORT)


def test_a_guard_that_is_not_to_be_had_is_no_confinement():
    """A process that cannot confine itself says so, and runs nothing."""
    with pytest.raises(NotConfined, match="there is no guard 'hope'"):
        run_program("", [], SHORT, "hope")
