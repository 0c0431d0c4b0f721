"""Show progress on standard error: bars on a terminal, and a line every half minute elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from dataprep.cli.console import say
from dataprep.core.errors import one_line
from dataprep.core.ledger import RESUMED, listening

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from dataprep.teacher.client import Progress
    from dataprep.teacher.settings import Pacing

# Smaller inputs are done before anyone could read a bar.
PROGRESS_BYTES = 16 << 20
WINDOW_SECONDS = 30.0
REFRESH_SECONDS = 0.25
# Without a bar, a line comes this often while work continues.
LINE_SECONDS = 30.0
BAR = 20
# With a longer time left than this, in seconds, nothing has come for a while, and a guess would be wrong.
LONGEST_LEFT = 1e6
WORDS = 100  # characters of a server's words in a line of progress

Log = Callable[[str], None]
OnMetrics = Callable[[dict[str, Any]], None]
P = ParamSpec("P")
R = TypeVar("R")


class _Pulse:
    """When the last line of progress was printed, and whether a bar makes lines unnecessary."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        # A worker process that is forked from this one prints nothing.
        self.process, self.bars, self.last = os.getpid(), 0, time.monotonic()

    def due(self) -> bool:
        now = time.monotonic()
        if self.bars or now - self.last < LINE_SECONDS or os.getpid() != self.process:
            return False
        self.last = now
        return True


_pulse = _Pulse()


class _Count:
    """Count what is done, by its kind, and print a line when one is due."""

    def __init__(self, label: str) -> None:
        self._label = label
        # By kind: the number of things done, the number that came first, and the time of these.
        self._done: dict[str, tuple[int, int, float]] = {}

    def __call__(self, what: str, count: int, total: int = 0) -> None:
        if what == RESUMED:  # said at once, because it explains the figures that follow
            say(f"{self._label}: {count:,} {what}")
            return
        before, first, since = self._done.get(what, (0, count, time.monotonic()))
        self._done[what] = (done := before + count), first, since
        if _pulse.due():
            # Nobody knows when the first ones were begun, so they do not count for the speed.
            say(f"{self._label}: {_done_of(what, done, total, done - first, time.monotonic() - since)}")


def _done_of(what: str, done: int, total: int, timed: int, seconds: float) -> str:
    """Return how many are done and the time left, if `timed` of them took some `seconds`."""
    # Compressed input has more bytes than its file.
    if not 0 < done <= total:
        return f"{done:,} {what}"
    shown = f"{done:,} of {total:,} {what}"
    if not timed and done < total:
        return shown
    return f"{shown}, {duration(seconds * (total - done) / max(timed, 1))} left"


def with_progress_lines(name: str, command: Callable[P, R]) -> Callable[P, R]:
    """Return the command, which prints a line every half minute while no bar shows its progress."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        _pulse.start()
        # With --json, standard error holds one JSON object only. Of the processes of torchrun, one reports.
        others = os.environ.get("RANK", "0") != "0"
        if others or kwargs.get("quiet") or kwargs.get("as_json"):
            return command(*args, **kwargs)
        with listening(_Count(name)):
            return command(*args, **kwargs)

    return run


@contextmanager
def _bar(*columns: Any) -> Iterator[tuple[Bar, Callable[[], None]]]:
    """Yield a progress bar, and a function that redraws it if that is due."""
    from rich.console import Console
    from rich.progress import Progress

    drawn = 0.0

    def redraw() -> None:
        nonlocal drawn
        # Blocks come much faster than anyone can read; drawing for each would slow down the work.
        if (now := time.monotonic()) - drawn > REFRESH_SECONDS:
            drawn = now
            bar.refresh()

    # Without a thread that refreshes it: worker processes are forked beside the bar, and a fork while another
    # thread holds a lock can wait for ever.
    console = Console(stderr=True, soft_wrap=True)
    with _no_lines(), Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
        yield bar, redraw


@contextmanager
def _no_lines() -> Iterator[None]:
    _pulse.bars += 1
    try:
        yield
    finally:
        _pulse.bars -= 1


def _description() -> Any:
    from rich.progress import TextColumn

    # The data name what is done, and `[red]` in a name is no markup.
    return TextColumn("{task.description}", markup=False)


@contextmanager
def bytes_bar(
    label: str, inputs: Iterable[str], passes: int, quiet: bool
) -> Iterator[Callable[[int], None] | None]:
    """Yield a callback for bytes of input, read ``passes`` times; it moves a bar or prints lines."""
    if quiet:
        yield None
        return
    # Standard input has no size that is known before it was read.
    from dataprep.core.io import files_of, is_url, size_of

    # To ask a store for the size of each part would cost more than a bar is worth.
    parts = (part for path in inputs for part in ([path] if is_url(path) else files_of(path)))
    total = passes * sum(map(size_of, parts))
    if not sys.stderr.isatty() or total < PROGRESS_BYTES:
        count = _Count(label)
        yield lambda done: count("bytes", done, total)
        return
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn

    with _bar(_description(), BarColumn(), DownloadColumn(), TimeRemainingColumn()) as (bar, redraw):
        task = bar.add_task(one_line(label), total=total)

        def advance(count: int) -> None:
            bar.advance(task, count)
            redraw()

        yield advance


@contextmanager
def steps_bar(label: str, quiet: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """Yield a callback for steps that are done, by kind; it moves a bar or prints lines."""
    if quiet:
        yield None
        return
    if not sys.stderr.isatty():
        yield _Count(label)
        return
    from rich.progress import BarColumn, TaskProgressColumn, TimeRemainingColumn

    tasks: dict[str, Any] = {}
    with _bar(_description(), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()) as (bar, redraw):

        def advance(what: str, count: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(one_line(what), total=total)
            bar.advance(tasks[what], count)
            redraw()

        yield advance


@contextmanager
def training_bar(*, silent: bool) -> Iterator[tuple[OnMetrics, Log]]:
    """Yield a callback for each line of metrics, and one for each message."""
    if silent:
        yield lambda _: None, lambda _: None
    elif not sys.stderr.isatty():
        yield _print_metrics, say
    else:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

        columns = TextColumn("train"), BarColumn(), MofNCompleteColumn(), _description()
        with _bar(*columns, TimeRemainingColumn()) as (bar, _):

            def log(text: str) -> None:
                bar.console.print(one_line(text), markup=False, highlight=False, emoji=False)

            def on_metrics(line: dict[str, Any]) -> None:
                if "loss" not in line:
                    log(_evaluation(line))
                    return
                if not bar.tasks:
                    bar.add_task("", total=line["steps"])
                bar.update(bar.tasks[0].id, completed=line["step"], description=_facts(line))
                # A step takes longer than drawing, and the last one must be shown.
                bar.refresh()

            yield on_metrics, log


def _print_metrics(line: dict[str, Any]) -> None:
    if "loss" not in line:
        say(_evaluation(line))
        return
    # About twenty lines, as this often goes to a log file that somebody reads; more in a run of hours.
    twentieth = line["step"] % max(line["steps"] // 20, 1) == 0
    if line["step"] in (1, line["steps"]) or twentieth or _pulse.due():
        _pulse.last = time.monotonic()
        say(f"step {line['step']:,} of {line['steps']:,}: {_facts(line)}")


def _evaluation(line: dict[str, Any]) -> str:
    # Parts of the loss would make the line long. Figures of the objective are shares, and not counts.
    figures = [
        f", {name} {value:.4f}"
        for name, value in line.items()
        if isinstance(value, float) and not name.startswith("eval_loss")
    ]
    return f"after {line['step']:,} steps: evaluation loss {line['eval_loss']:.4f}{''.join(figures)}"


def _facts(line: dict[str, Any]) -> str:
    rate, memory = line["tokens_per_second"], line["memory_mb"]
    return f"loss {line['loss']:.4f}, {rate:,.0f} tokens/s, {memory:,.0f} MB"


class Speed:
    """A rate per second over the last ``WINDOW_SECONDS``."""

    def __init__(self) -> None:
        self._points: list[tuple[float, float]] = []

    def __call__(self, now: float, count: float) -> float:
        """Return the rate, given the time and the count so far."""
        self._points.append((now, count))
        # Two points stay, however old: after a long pause there is still a rate.
        while len(self._points) > 2 and now - self._points[0][0] > WINDOW_SECONDS:
            del self._points[0]
        since, before = self._points[0]
        return (count - before) / (now - since) if now > since else 0.0


@contextmanager
def asking_bar(
    total: Callable[[], int], pacing: Pacing, quiet: bool
) -> Iterator[Callable[[Progress], None] | None]:
    """Yield a callback that keeps a line on a terminal up to date, or prints lines; ``None`` if quiet.

    ``total`` counts the requests, when a line first needs their number.
    """
    if quiet:
        yield None
        return
    requests, answers, tokens = Speed(), Speed(), Speed()
    for speed in (requests, answers, tokens):
        speed(time.monotonic(), 0)
    priced = bool(pacing.price_in or pacing.price_out)
    counted: list[int] = []

    def line(progress: Progress) -> str:
        # With a limit the line counts up to it, as if there were no more requests.
        counted[:] = counted or [min(total(), pacing.limit or sys.maxsize)]
        now = time.monotonic()
        spent = progress.prompt_tokens + progress.completion_tokens
        rates = requests(now, progress.sent), tokens(now, spent)
        pace = answers(now, progress.answered + progress.failed)
        return line_of(progress, counted[0], rates, pace, priced)

    if sys.stderr.isatty():
        with _live_line(line) as on_progress:
            yield on_progress
        return

    def log(progress: Progress) -> None:
        if _pulse.due():
            say(f"generate: {line(progress)}")

    yield log


@contextmanager
def _live_line(line: Callable[[Progress], str]) -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    shown = 0.0
    start, console = Text("generate: reading the journal"), Console(stderr=True)
    with _no_lines(), Live(start, console=console, transient=True) as live:

        def on_progress(progress: Progress) -> None:
            nonlocal shown
            if (now := time.monotonic()) - shown >= REFRESH_SECONDS:
                shown = now
                live.update(Text(line(progress), no_wrap=True, overflow="ellipsis"))

        yield on_progress


def line_of(progress: Progress, wanted: int, rates: tuple[float, float], pace: float, priced: bool) -> str:
    """Return the line; ``rates`` are requests and tokens per second, ``pace`` is answers per second."""
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
        # `answered` counts this run only, so the cost of earlier runs must not be divided by it.
        spent = progress.cost - progress.cost_before
        rest = spent / progress.answered * left if progress.answered else 0.0
        parts.append(f"${progress.cost:.2f} so far, ${progress.cost + rest:.2f} in the end")
    if progress.paused:
        parts.append(f"paused for {duration(progress.paused)}: {one_line(progress.last_error, WORDS)}")
    if progress.stopped:
        parts.append(f"stopping: {one_line(progress.stopped, WORDS)}")
    # Also false for a pace of 0, by which one cannot divide.
    elif left < pace * LONGEST_LEFT:
        parts.append(f"{duration(left / pace)} left")
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """Return seconds as ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
