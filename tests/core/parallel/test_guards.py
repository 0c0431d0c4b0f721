"""A library's threads, signals and processes do not change how this process prints and ends."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from dataprep.core.parallel.guards import none_left, sigterm_as_before, silent_threads
from tests.cluster import left_over, running


def printed_by(name, text):
    """Print a text in a thread of that name."""
    thread = threading.Thread(target=print, args=(text,), name=name)
    thread.start()
    thread.join()


def test_threads_of_the_library_are_silent(capsys):
    """Others, and the main thread, print as ever; at the end the stream is the one that it was."""
    before = sys.stdout
    with silent_threads("ray_"):
        print("row 1")
        printed_by("ray_listener", "a node was lost")
        printed_by("another", "row 2")
        sys.stdout.flush()
    assert sys.stdout is before
    printed_by("ray_listener", "at the end")
    assert capsys.readouterr().out == "row 1\nrow 2\nat the end\n"


def test_a_stream_that_was_replaced_inside_stays():
    """It is not ours to put back."""
    before = sys.stdout
    try:
        with silent_threads("ray_"):
            sys.stdout = other = sys.stderr
        assert sys.stdout is other
    finally:
        sys.stdout = before


def test_the_handler_of_sigterm_comes_back():
    """Whatever the library has made of it."""
    before = signal.getsignal(signal.SIGTERM)
    with sigterm_as_before():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) is before


_PARENT = "import subprocess, sys; print(subprocess.Popen(['sleep', '60']).pid, flush=True); sys.stdin.read()"


@pytest.mark.sampled(2)
@pytest.mark.parametrize("program", ["library", "another"])
def test_orphans_of_a_program_are_ended(tmp_path, program):
    """And nothing of another program's."""
    link = tmp_path / "library"
    link.symlink_to(sys.executable)
    with subprocess.Popen([link, "-c", _PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        orphan = int(parent.stdout.readline())
        with none_left(program):
            parent.kill()
            parent.wait()
        try:
            assert bool(left_over({orphan}, 1)) is (program == "another")
        finally:
            for pid in running({orphan}):
                os.kill(pid, signal.SIGKILL)
