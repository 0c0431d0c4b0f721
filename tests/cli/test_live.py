"""The line that ``generate`` keeps on a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.cli.progress import Speed, duration, line_of
from dataprep.teacher.client import Progress


def test_the_line_says_how_far_it_is():
    """Done, failed, in flight, speeds, cost so far and in the end, time left."""
    progress = Progress(
        settled=100, answered=150, failed=2, in_flight=16, waiting=3, cost=2.5, cost_before=1.0
    )
    line = line_of(progress, 502, (12.5, 3_400.0), 10.0, True)
    assert line == (
        "━━━━━━━━━━╌╌╌╌╌╌╌╌╌╌  250/502 done  2 failed  16 in flight  3 waiting  12.5 requests/s  "
        "3,400 tokens/s  $2.50 so far, $5.00 in the end  0:00:25 left"
    )


def test_a_stop_is_said_instead_of_the_time_left():
    """After Ctrl-C the user sees what is waited for."""
    assert line_of(Progress(stopped="interrupted"), 5, (0, 0), 1.0, False).endswith("stopping: interrupted")


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**7), st.floats(0, 1e6))
def test_any_progress_gives_a_line(settled, answered, wanted, pace):
    """Also where requests come from a pipe, and nobody knows how many there are."""
    line = line_of(Progress(settled=settled, answered=answered), wanted, (pace, pace), pace, True)
    assert "done" in line
    assert "\n" not in line


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00:00"), (61.4, "0:01:01"), (36_000, "10:00:00")])
def test_durations(seconds, text):
    """Hours, minutes, seconds."""
    assert duration(seconds) == text


def test_speed_is_that_of_the_last_half_minute():
    """A slow beginning is forgotten."""
    speed = Speed()
    assert speed(0, 0) == 0
    assert speed(10, 10) == 1
    for second in range(11, 60):
        found = speed(second, 10 + 100 * (second - 10))
    assert found == pytest.approx(100)
