"""What ``generate`` shows: a line that moves while it asks, and the summary.

The bar of a run: loss, tokens a second, memory, time left.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from dataprep.teacher.client import Progress
    from dataprep.teacher.generate import GenerateReport
    from dataprep.teacher.settings import Pacing

WINDOW_SECONDS = 30.0
REFRESH_SECONDS = 0.25
BAR = 20
LONGEST_LEFT = 1e6
"""Seconds: a longer time is not worth telling, as nothing has come for a while."""


class Speed:
    """How much a minute's worth of work is: a rate over the last ``WINDOW_SECONDS``."""

    def __init__(self) -> None:
        self._points: list[tuple[float, float]] = []

    def __call__(self, now: float, count: float) -> float:
        """What came a second, given the count so far."""
        self._points.append((now, count))
        while len(self._points) > 2 and now - self._points[0][0] > WINDOW_SECONDS:
            del self._points[0]
        since, before = self._points[0]
        return (count - before) / (now - since) if now > since else 0.0


@contextmanager
def asking_bar(
    total: Callable[[], int], pacing: Pacing, quiet: bool
) -> Iterator[Callable[[Progress], None] | None]:
    """A callback that keeps a line on the terminal up to date; ``None`` where none is wanted.

    Args:
        total: how many requests there are; asked only where a line is shown.
        pacing: the prices, and the limit.
        quiet: show nothing.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    requests, answers, tokens = Speed(), Speed(), Speed()
    wanted, shown = min(total(), pacing.limit or sys.maxsize), 0.0
    priced = bool(pacing.price_in or pacing.price_out)
    with Live(Text("generate: reading the journal"), console=Console(stderr=True), transient=True) as live:

        def watch(progress: Progress) -> None:
            nonlocal shown
            now = time.monotonic()
            if now - shown < REFRESH_SECONDS:
                return
            shown = now
            spoken = progress.prompt_tokens + progress.completion_tokens
            rates = requests(now, progress.sent), tokens(now, spoken)
            done = progress.settled + progress.answered + progress.failed
            pace = answers(now, done - progress.settled)
            line = line_of(progress, wanted, rates, pace, priced)
            live.update(Text(line, no_wrap=True, overflow="ellipsis"))

        yield watch


def line_of(progress: Progress, wanted: int, rates: tuple[float, float], pace: float, priced: bool) -> str:
    """The line: done, failed, in flight, requests and tokens a second, cost so far and projected, time left.

    Args:
        progress: what was done so far.
        wanted: how many requests there are.
        rates: requests and tokens a second.
        pace: answers a second.
        priced: whether prices are known.
    """
    done = progress.settled + progress.answered
    left = max(0, wanted - done - progress.failed)
    filled = min(BAR, round(BAR * (done + progress.failed) / wanted)) if wanted else 0
    parts = [
        "━" * filled + "╌" * (BAR - filled),
        f"{done:,}/{wanted:,} done" if wanted else f"{done:,} done",
        f"{progress.failed:,} failed",
        f"{progress.in_flight:,} in flight",
        *([f"{progress.waiting:,} waiting"] if progress.waiting else []),
        f"{rates[0]:.1f} requests/s",
        f"{rates[1]:,.0f} tokens/s",
    ]
    if priced:
        each = (progress.cost - progress.cost_before) / progress.answered if progress.answered else 0.0
        parts.append(f"${progress.cost:.2f} so far, ${progress.cost + each * left:.2f} in the end")
    if progress.paused:
        parts.append(f"paused for {duration(progress.paused)}: {progress.last_error}")
    if progress.stopped:
        parts.append(f"stopping: {progress.stopped}")
    elif left < pace * LONGEST_LEFT:
        parts.append(f"{duration(left / pace)} left")
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """Seconds as ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


class Shown:
    """What ``generate`` says at its end."""

    def __init__(self, journal: str, *, quiet: bool, as_json: bool) -> None:
        self._journal = journal
        self._silent = quiet or as_json
        self._as_json = as_json

    def _say(self, text: str) -> None:
        if not self._silent:
            print(text, file=sys.stderr)

    def exported(self, paths: list[Path], requests: int) -> None:
        """The files of a batch."""
        if self._as_json:
            self._print({"command": "generate", "requests": requests, "files": list(map(str, paths))})
        for path in paths:
            self._say(f"generate: wrote {path}")
        self._say(f"generate: requests in batch files: {requests:,}")

    def imported(self, ledger: str) -> None:
        """The lines of a batch's results."""
        self._say(f"generate: results: {ledger} → {self._journal}")

    def finish(self, report: GenerateReport) -> None:
        """What became of the requests, and how to go on."""
        done = report.progress
        if self._as_json:
            self._print(summary_of(report, self._journal))
            return
        if report.torn:
            aside = "is set aside, and asked again" if done.sent else "counts for nothing"
            self._say(f"{self._journal}: its last line was torn, and {aside}")
        if report.twice:
            self._say(f"  ids that several requests have, of which only the first is asked: {report.twice}")
        self._say(f"generate: {report.ledger} → {self._journal}")
        if done.sent:
            cost = f", ${done.cost:.4f} so far" if done.cost else ""
            tokens = done.prompt_tokens + done.completion_tokens
            self._say(f"  requests sent: {done.sent:,}, tokens: {tokens:,}{cost}")
        if done.stopped:
            self._say(f"  stopped: {done.stopped}")
        if done.failed and done.last_error:
            self._say(f"  last failure: {done.last_error}")
        if report.ledger.failed["failed"] or report.ledger.dropped["not asked yet"]:
            self._say("  run the same command again to ask for what is missing")

    def _print(self, summary: dict[str, Any]) -> None:
        print(orjson.dumps(summary, option=orjson.OPT_INDENT_2).decode(), file=sys.stderr)


def summary_of(report: GenerateReport, journal: str) -> dict[str, Any]:
    """The summary as a JSON object."""
    done = report.progress
    return {
        "command": "generate",
        "journal": journal,
        **report.ledger.to_json(),
        "sent": done.sent,
        "answered": done.answered,
        "prompt_tokens": done.prompt_tokens,
        "completion_tokens": done.completion_tokens,
        "cost": done.cost,
        "stopped": done.stopped or None,
        "interrupted": report.interrupted,
        "torn_line_set_aside": report.torn,
    }


TrainingShown = tuple[Callable[[dict[str, Any]], None], Callable[[str], None]]


@contextmanager
def shown(*, silent: bool) -> Iterator[TrainingShown]:
    """What is called with each line of metrics, and what with each sentence.

    On a terminal a bar is drawn over and over; elsewhere a line is printed for each measurement on held-out
    rows, and for a twentieth of the steps.
    """
    if silent:
        yield _ignore, _ignore
    elif not sys.stderr.isatty():
        yield _Lines(), lambda text: print(text, file=sys.stderr)
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("train"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
        )
        console = Console(stderr=True, soft_wrap=True)
        with Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
            yield _Bar(bar), lambda text: console.print(text, markup=False, highlight=False)


class _Bar:
    """Draws the bar anew at each step."""

    def __init__(self, bar: Any) -> None:
        self._bar, self._task = bar, None

    def __call__(self, line: dict[str, Any]) -> None:
        if "loss" not in line:
            self._bar.console.print(_measured(line), markup=False, highlight=False)
            return
        if self._task is None:
            self._task = self._bar.add_task("", total=line["steps"])
        self._bar.update(self._task, completed=line["step"], description=_facts(line))
        self._bar.refresh()


class _Lines:
    """Prints a line now and then."""

    def __call__(self, line: dict[str, Any]) -> None:
        if "loss" not in line:
            print(_measured(line), file=sys.stderr)
        elif line["step"] in (1, line["steps"]) or line["step"] % max(line["steps"] // 20, 1) == 0:
            print(f"step {line['step']:,} of {line['steps']:,}: {_facts(line)}", file=sys.stderr)


def _measured(line: dict[str, Any]) -> str:
    return f"after {line['step']:,} steps: loss on held-out rows {line['eval_loss']:.4f}"


def _facts(line: dict[str, Any]) -> str:
    rate, memory = line["tokens_per_second"], line["memory_mb"]
    return f"loss {line['loss']:.4f}, {rate:,.0f} tokens/s, {memory:,.0f} MB"


def _ignore(_: Any) -> None:
    """Say nothing."""
