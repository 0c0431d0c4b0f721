"""The bar of a run: loss, tokens a second, memory, time left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Shown = tuple[Callable[[dict[str, Any]], None], Callable[[str], None]]


@contextmanager
def shown(*, silent: bool) -> Iterator[Shown]:
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
