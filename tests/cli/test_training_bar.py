"""What is seen of a run while it goes on."""

import io
import re
import sys

from dataprep.cli import progress
from dataprep.cli.progress import bytes_bar, steps_bar, training_bar

LINE = {"steps": 12_000, "loss": 8.1051, "tokens_per_second": 123_456.7, "memory_mb": 12_345.6}


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self):
        """It is."""
        return True


def test_a_bar_shows_loss_rate_memory_and_time_left_on_80_columns(monkeypatch):
    """None of them is cut off where the terminal is no wider than usual."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    with training_bar(silent=False) as (watch, _):
        for step in (9_998, 9_999):
            watch(LINE | {"step": step})
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", sys.stderr.getvalue())
    line = next(each for each in plain.replace("\r", "\n").splitlines() if "9999/12000" in each)
    assert len(line.rstrip()) <= 80
    assert "loss 8.1051, 123,457 tokens/s, 12,346 MB" in line
    assert re.search(r"\d:\d\d:\d\d|-:--:--", line)


def test_without_a_terminal_a_line_now_and_then(monkeypatch):
    """A log file gets the first step, the last and a twentieth of those between them."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with training_bar(silent=False) as (watch, tell):
        tell("40 in = 40 out")
        for step in range(1, 101):
            watch(LINE | {"steps": 100, "step": step})
        watch({"step": 100, "eval_loss": 1.25})
    lines = sys.stderr.getvalue().splitlines()
    assert lines[0] == "40 in = 40 out"
    assert lines[1].startswith("step 1 of 100: loss 8.1051")
    assert lines[-1] == "after 100 steps: evaluation loss 1.2500"
    assert len(lines) == 2 + 20 + 1


def test_bars_show_names_as_they_are(monkeypatch, tmp_path):
    """A name is no markup, and moves no cursor; beside a bar no line is printed."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    with (tmp_path / "in.jsonl").open("wb") as file:
        file.truncate(17 << 20)
    with bytes_bar("[red]a[/b]\x1b[2J", [str(tmp_path / "in.jsonl")], 1, False) as advance:
        advance(5 << 20)
    with steps_bar("evaluate", False) as advance:
        advance("[/]answers\n", 1, 9)
    text = sys.stderr.getvalue()
    assert r"[red]a[/b]\x1b[2J" in text
    assert r"[/]answers\n" in text
    assert "bytes" not in text


def test_a_run_of_hours_prints_a_line_every_half_minute(monkeypatch):
    """Between the twentieths of a log file, too."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with training_bar(silent=False) as (watch, _):
        watch(LINE | {"step": 1})
        watch(LINE | {"step": 2})
        progress._pulse.last -= 31
        watch(LINE | {"step": 3})
        watch(LINE | {"step": 4})
    steps = [line.split(" of ")[0] for line in sys.stderr.getvalue().splitlines()]
    assert steps == ["step 1", "step 3"]


def test_the_time_left_follows_from_what_was_timed(monkeypatch, capsys):
    """The first ones were begun before anyone looked: without others there is no speed."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    progress._pulse.start()
    count = progress._Count("capture")
    for second in (40, 80, 120):
        now[0] = float(second)
        count("documents captured", 8, 40)
    assert capsys.readouterr().err.splitlines() == [
        "capture: 8 of 40 documents captured",
        "capture: 16 of 40 documents captured, 0:02:00 left",
        "capture: 24 of 40 documents captured, 0:01:20 left",
    ]
