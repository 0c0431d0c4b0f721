"""The loss curve of a run, as a picture."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from dataprep.train.run_folder import RunFolder

TRAINED, HELD_OUT, INK = "#2a6f97", "#d1495b", "#333333"


def draw_curve(folder: RunFolder) -> Path | None:
    """Write ``loss.png``: training loss by step, smoothed, and the loss on held-out rows.

    Returns:
        Where it is; ``None`` where matplotlib (extra ``plots``) is not installed, or nothing was measured.
    """
    lines = folder.lines()
    steps = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    measured = [(line["step"], line["eval_loss"]) for line in lines if "eval_loss" in line]
    if importlib.util.find_spec("matplotlib") is None or not steps:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(*zip(*steps, strict=True), color=TRAINED, alpha=0.25, linewidth=1)
    axes.plot(*zip(*_smoothed(steps), strict=True), color=TRAINED, linewidth=2, label="training")
    if measured:
        axes.plot(
            *zip(*measured, strict=True), color=HELD_OUT, marker="o", linewidth=2, label="held-out rows"
        )
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK)
    axes.legend(frameon=False)
    path = folder.path / "loss.png"
    figure.savefig(path, dpi=150, metadata={"Software": None})
    return path


def _smoothed(steps: list[tuple[int, float]]) -> list[tuple[int, Any]]:
    """A running mean over a twentieth of the steps, each value's weight halved every so many steps."""
    keep = 0.5 ** (1 / max(len(steps) / 20, 1))
    found, mean, weight = [], 0.0, 0.0
    for step, loss in steps:
        mean, weight = keep * mean + (1 - keep) * loss, keep * weight + (1 - keep)
        found.append((step, mean / weight))
    return found
