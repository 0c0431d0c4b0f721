"""The student's card: what it was trained on, how, and what came of it.

The loss curve of a run, as a picture.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataprep import __version__
from dataprep.train.options import TrainOptions
from dataprep.train.run_dir import RunFolder

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


def write_card(
    place: Path, objective: str, options: TrainOptions, facts: Mapping[str, Any], results: Mapping[str, Any]
) -> None:
    """Write ``README.md`` into a directory."""
    pipeline = "text-classification" if objective == "soft-label" else "text-generation"
    # Only a directory with a configuration is one that transformers loads.
    library = ["library_name: transformers"] if (place / "config.json").is_file() else []
    lines = [
        "---",
        *library,
        f"pipeline_tag: {pipeline}",
        "---",
        "",
        f"# {place.resolve().parent.name}",
        "",
        f"A student trained with dataprep {__version__}: objective `{objective}`, model `{options.model}`"
        + (f", {facts['parameters']:,} parameters." if "parameters" in facts else "."),
        "",
        *_student(facts),
        "## Data",
        "",
        "| part | file | rows | SHA-256 |",
        "| --- | --- | --- | --- |",
        *_data(facts),
        "",
        "## Results",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {_words(name)} | {_shown(value)} |" for name, value in results.items() if name != "sample"),
        "",
        *_sample(results.get("sample")),
        "## Options",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {_words(name)} | {_shown(value)} |" for name, value in options.to_json().items()),
        "",
    ]
    (place / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _student(facts: Mapping[str, Any]) -> list[str]:
    """What is known of the student itself, beside its size."""
    tokenizer = facts.get("tokenizer") or {}
    known = {
        "class": facts.get("class"),
        "chat format of conversations": facts.get("chat_format"),
        "tokenizer": tokenizer.get("kind"),
        "tokenizer's fingerprint": tokenizer.get("fingerprint"),
        "LoRA": facts.get("lora"),
    }
    rows = [f"| {name} | {_shown(value)} |" for name, value in known.items() if value]
    return ["## Student", "", "| | |", "| --- | --- |", *rows, ""] if rows else []


def _data(facts: Mapping[str, Any]) -> list[str]:
    rows = facts.get("rows", {})
    return [
        f"| {part} | {each['name']} | {rows.get(part, '')} | `{each['sha256']}` |"
        for part, inputs in facts.get("data", {}).items()
        for each in inputs
    ]


def _sample(sample: Mapping[str, str] | None) -> list[str]:
    if sample is None:
        return []
    return [
        "## A sample",
        "",
        *_quoted(sample["prompt"]),
        "",
        "It answers:",
        "",
        *_quoted(sample["answer"]),
        "",
    ]


def _quoted(text: str) -> list[str]:
    return ["~~~~text", text.replace("~~~~", "~ ~ ~ ~"), "~~~~"]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_shown(inner)}" for name, inner in value.items())
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")
