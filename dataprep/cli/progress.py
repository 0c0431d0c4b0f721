"""Show progress on standard error: bars on a terminal, and a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from dataprep.teacher.client import Progress
    from dataprep.teacher.settings import Pacing

# Smaller inputs are done before anyone could read a bar.
PROGRESS_BYTES = 16 << 20
WINDOW_SECONDS = 30.0
REFRESH_SECONDS = 0.25
BAR = 20
# With a longer time left than this, in seconds, nothing has come for a while, and a guess would be wrong.
LONGEST_LEFT = 1e6

Log = Callable[[str], None]
OnMetrics = Callable[[dict[str, Any]], None]


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
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
        yield bar, redraw


@contextmanager
def bytes_bar(
    label: str, inputs: Iterable[str], passes: int, quiet: bool
) -> Iterator[Callable[[int], None] | None]:
    """Yield a callback that moves a bar by bytes of input, read ``passes`` times; ``None`` without a bar."""
    # Standard input and remote files have no size that is known before they were read.
    total = passes * sum(Path(path).stat().st_size for path in inputs if Path(path).is_file())
    if quiet or not sys.stderr.isatty() or total < PROGRESS_BYTES:
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with _bar(*columns) as (bar, redraw):
        task = bar.add_task(label, total=total)

        def advance(count: int) -> None:
            bar.advance(task, count)
            redraw()

        yield advance


@contextmanager
def steps_bar(quiet: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """Yield a callback that moves a bar for each step that is done; ``None`` without a bar."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import Progress

    tasks: dict[str, Any] = {}
    with _bar(*Progress.get_default_columns()) as (bar, redraw):

        def advance(what: str, count: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.advance(tasks[what], count)
            redraw()

        yield advance


@contextmanager
def training_bar(*, silent: bool) -> Iterator[tuple[OnMetrics, Log]]:
    """Yield a callback for each line of metrics, and one for each message."""
    if silent:
        yield lambda _: None, lambda _: None
    elif not sys.stderr.isatty():
        yield _print_metrics, lambda text: print(text, file=sys.stderr)
    else:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

        facts = TextColumn("{task.description}")
        columns = TextColumn("train"), BarColumn(), MofNCompleteColumn(), facts, TimeRemainingColumn()
        with _bar(*columns) as (bar, _):

            def log(text: str) -> None:
                bar.console.print(text, markup=False, highlight=False)

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
        print(_evaluation(line), file=sys.stderr)
    # About twenty lines, as this often goes to a log file that somebody reads.
    elif line["step"] in (1, line["steps"]) or line["step"] % max(line["steps"] // 20, 1) == 0:
        print(f"step {line['step']:,} of {line['steps']:,}: {_facts(line)}", file=sys.stderr)


def _evaluation(line: dict[str, Any]) -> str:
    return f"after {line['step']:,} steps: evaluation loss {line['eval_loss']:.4f}"


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
    """Yield a callback that keeps a line on the terminal up to date; ``None`` where none is shown."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    requests, answers, tokens = Speed(), Speed(), Speed()
    # With a limit the line counts up to it, as if there were no more requests.
    wanted, shown = min(total(), pacing.limit or sys.maxsize), 0.0
    priced = bool(pacing.price_in or pacing.price_out)
    with Live(Text("generate: reading the journal"), console=Console(stderr=True), transient=True) as live:

        def on_progress(progress: Progress) -> None:
            nonlocal shown
            now = time.monotonic()
            if now - shown < REFRESH_SECONDS:
                return
            shown = now
            spent = progress.prompt_tokens + progress.completion_tokens
            rates = requests(now, progress.sent), tokens(now, spent)
            pace = answers(now, progress.answered + progress.failed)
            line = line_of(progress, wanted, rates, pace, priced)
            live.update(Text(line, no_wrap=True, overflow="ellipsis"))

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
        parts.append(f"paused for {duration(progress.paused)}: {progress.last_error}")
    if progress.stopped:
        parts.append(f"stopping: {progress.stopped}")
    # Also false for a pace of 0, by which one cannot divide.
    elif left < pace * LONGEST_LEFT:
        parts.append(f"{duration(left / pace)} left")
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """Return seconds as ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
