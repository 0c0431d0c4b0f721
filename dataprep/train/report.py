"""The report of a run: the curve of its losses, and the student's model card."""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from dataprep import __version__
from dataprep.core.errors import one_line, shortened, visible
from dataprep.core.io import write_text, writing
from dataprep.train.options import TrainOptions
from dataprep.train.run_dir import RunDir

TRAINING, EVALUATION, INK = "#2a6f97", "#d1495b", "#333333"
MOST = 30  # entries of a distribution in the card
SAMPLE = 20_000  # characters of a sample's prompt or answer in the card
# Characters that mean something in Markdown; not the underscore of `learning_rate`, which is inside a word.
_MARKUP = re.compile(r"[\\`*\[\]<>&|~$]|(?<!\w)_|_(?!\w)")
_HTML = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def draw_curve(run_dir: RunDir) -> Path | None:
    """Write `loss.png`: the smoothed training loss by step, the evaluation loss, and below it figures."""
    lines = run_dir.metrics()
    steps = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    measured = [(line["step"], line["eval_loss"]) for line in lines if "eval_loss" in line]
    if importlib.util.find_spec("matplotlib") is None or not steps:
        return None
    # Figure, not pyplot: pyplot needs a display or changes the program's global state.
    from matplotlib.figure import Figure

    measured_figures = figures_of(lines)
    figure = Figure(figsize=(7, 6.5 if measured_figures else 4), layout="constrained")
    axes = figure.add_subplot(2 if measured_figures else 1, 1, 1)
    axes.plot(*zip(*steps, strict=True), color=TRAINING, alpha=0.25, linewidth=1)
    axes.plot(*zip(*_smoothed(steps), strict=True), color=TRAINING, linewidth=2, label="training")
    if measured:
        # Two points are not a course: a line between them would say that the loss fell evenly.
        line: dict[str, Any] = {
            "linestyle": "-" if len(measured) > 2 else "none",
            "linewidth": 2,
            "marker": "o",
        }
        axes.plot(*zip(*measured, strict=True), color=EVALUATION, label="evaluation rows", **line)
    if best := next((line["best"] for line in reversed(lines) if "best" in line), None):
        label = f"kept: step {best['step']:,}, {best['metric']} {best['value']:.4f}"
        axes.axvline(best["step"], color=INK, linestyle=":", linewidth=1, label=label)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    low, high = curve_scale(steps, measured)
    axes.set_ylim(low, high)
    above = [f"training, step {step:,}: {loss:.2f}" for step, loss in steps[:1] if loss > high]
    above += [f"evaluation rows, step {step:,}: {loss:.2f}" for step, loss in measured[:1] if loss > high]
    if above:
        note = "\n".join(["above the scale:", *above])
        # Below the legend, where a curve that falls leaves room.
        axes.text(0.98, 0.8, note, transform=axes.transAxes, ha="right", va="top", fontsize=8, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK)
    axes.legend(frameon=False, loc="upper right")
    if measured_figures:
        _draw_figures(figure.add_subplot(2, 1, 2, sharex=axes), measured_figures)
    path = run_dir.path / "loss.png"
    # Without the version of matplotlib in it, equal runs write equal files.
    with writing(str(path)):
        figure.savefig(path, dpi=150, metadata={"Software": None})
    return path


def figures_of(lines: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """Return the figures in lines of evaluations by name, as pairs of step and value."""
    figures: dict[str, list[tuple[int, float]]] = {}
    for line in lines:
        for name, value in line.items() if "eval_loss" in line else ():
            # Losses have a plot of their own, and counts of rows are whole numbers.
            if isinstance(value, float) and not name.startswith("eval_loss"):
                figures.setdefault(name, []).append((line["step"], value))
    return figures


def _draw_figures(axes: Any, figures: Mapping[str, list[tuple[int, float]]]) -> None:
    for name, points in figures.items():
        # The same in all evaluations: they are figures of a system without any skill.
        baseline = name in ("chance", "majority")
        style = {"color": INK, "linestyle": "--", "linewidth": 1} if baseline else {"marker": "o"}
        axes.plot(*zip(*points, strict=True), label=name.replace("_", " "), **style)
    axes.set_xlabel("step")
    axes.set_ylabel("on evaluation rows")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK)
    axes.legend(frameon=False, fontsize=8)


def curve_scale(
    steps: Sequence[tuple[int, float]], measured: Sequence[tuple[int, float]]
) -> tuple[float, float]:
    """Return the lowest and the highest loss on the curve's axis."""
    # A new model's first losses are several times its later ones, and would press all others to the bottom.
    # So the first tenth of the steps does not count, nor the evaluation before them.
    begun = steps[len(steps) // 10][0]
    losses = sorted(loss for step, loss in [*steps, *measured] if step >= begun and math.isfinite(loss))
    low, high = losses[0], losses[-1]
    margin = 0.06 * (high - low) or 0.06 * high or 1.0
    return max(low - margin, 0.0), high + margin


def _smoothed(steps: list[tuple[int, float]]) -> list[tuple[int, Any]]:
    # An exponential mean whose weights halve every twentieth of the run.
    keep = 0.5 ** (1 / max(len(steps) / 20, 1))
    smoothed, mean, weight = [], 0.0, 0.0
    for step, loss in steps:
        mean, weight = keep * mean + (1 - keep) * loss, keep * weight + (1 - keep)
        # Divided by the weights so far: the mean of the first steps would be too low.
        smoothed.append((step, mean / weight))
    return smoothed


def write_card(
    folder: Path, objective: str, options: TrainOptions, facts: Mapping[str, Any], results: Mapping[str, Any]
) -> None:
    """Write `README.md` into a run's directory."""
    pipeline = "text-classification" if objective == "soft-label" else "text-generation"
    # transformers loads only a directory with a configuration; the tiny network has none.
    library = ["library_name: transformers"] if (folder / "config.json").is_file() else []
    about = f"A student trained with dataprep {__version__}: objective {_code(objective)}, "
    about += f"model {_code(options.model)}"
    about += f", {facts['parameters']:,} parameters." if "parameters" in facts else "."
    rows = facts.get("rows", {})
    lines = ["---", *library, f"pipeline_tag: {pipeline}", "---", ""]
    lines += [f"# {markdown(folder.resolve().name)}", ""]
    lines += [about, "", *_student(facts), "## Data", "", "| part | file | rows | SHA-256 |"]
    lines += ["| --- | --- | --- | --- |"]
    lines += [
        f"| {part} | {markdown(file['name'])} | {rows.get(part, '')} | {_code(file['sha256'])} |"
        for part, inputs in facts.get("data", {}).items()
        for file in inputs
    ]
    lines += ["", *_table("Results", {name: value for name, value in results.items() if name != "sample"})]
    if sample := results.get("sample"):
        lines += ["## A sample", "", *_quoted(sample["prompt"]), "", "It answers:", ""]
        lines += [*_quoted(sample["answer"]), ""]
    lines += _table("Options", options.to_json())
    write_text("\n".join(lines), str(folder / "README.md"))


def _student(facts: Mapping[str, Any]) -> list[str]:
    tokenizer = facts.get("tokenizer") or {}
    values = {
        "class": facts.get("class"),
        "chat format of conversations": facts.get("chat_format"),
        "tokenizer": tokenizer.get("kind"),
        "tokenizer's fingerprint": tokenizer.get("fingerprint"),
        "LoRA": facts.get("lora"),
        "threads": facts.get("threads"),
    }
    values = {name: value for name, value in values.items() if value}
    return _table("Student", values) if values else []


def _table(title: str, values: Mapping[str, Any]) -> list[str]:
    rows = [f"| {markdown(name.replace('_', ' '))} | {_shown(value)} |" for name, value in values.items()]
    return [f"## {title}", "", "| | |", "| --- | --- |", *rows, ""]


def _quoted(text: str) -> list[str]:
    # A fence in the text would end the block: its tildes are spread.
    shown = visible(shortened(text, SAMPLE), lines=True)
    return ["~~~~text", shown.replace("~~~~", "~ ~ ~ ~"), "~~~~"]


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        parts = {
            name: f"({_shown(part)})" if isinstance(part, Mapping) else _shown(part)
            for name, part in islice(value.items(), MOST)
        }
        shown = ", ".join(f"{markdown(name)}: {part}" for name, part in parts.items())
        return shown + (f" and {len(value) - MOST:,} more" if len(value) > MOST else "")
    if isinstance(value, list):
        return "; ".join(map(_shown, value))
    return "" if value is None else markdown(value)


def markdown(value: object) -> str:
    """Return text from outside as Markdown that shows it as it is, in one line, also in a table's cell."""
    return _MARKUP.sub(lambda found: _HTML.get(found[0], "\\" + found[0]), one_line(value))


def _code(value: object) -> str:
    text = one_line(value)
    # A fence longer than any in the text; a space keeps a backtick at its edge apart from the fence.
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}"
