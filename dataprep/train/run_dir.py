"""A run's directory: options, metrics, checkpoints, the student itself, its loss curve and its model card.

- options.toml: data and options; `dataprep train --config options.toml` repeats the run
- facts.json: facts about data and model
- metrics.jsonl: a line for each step, and one for each evaluation
- loss.png: the curve of both losses
- checkpoints/: states to continue from
- tokens/: chat rows as token shards
- tensorboard/: the metrics for TensorBoard, with `--tensorboard`
- README.md: the student's model card
- config.json, model.safetensors, tokenizer.json, …: the student, as `transformers` loads it
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from dataprep import __version__
from dataprep.core.errors import (
    FileError,
    InputError,
    UsageError,
    first_line,
    one_line,
    shortened,
    visible,
)
from dataprep.core.io import new_folder, write_text, writing
from dataprep.core.options import absolute, to_config, to_toml
from dataprep.train.options import TrainOptions

TRAINING, EVALUATION, INK = "#2a6f97", "#d1495b", "#333333"
SAMPLE = 20_000  # characters of a sample's prompt or answer in the card
# Characters that mean something in Markdown; not the underscore of `learning_rate`, which is inside a word.
_MARKUP = re.compile(r"[\\`*\[\]<>&|~$]|(?<!\w)_|_(?!\w)")
_HTML = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
OPTIONS, FACTS, METRICS, TOKENS = "options.toml", "facts.json", "metrics.jsonl", "tokens"


def new_run_path(root: str | Path, now: datetime) -> Path:
    """Return an unused directory for a run: `runs/2026-11-21_14-30-00` below `root`."""
    base = Path(root) / "runs"
    stamp = now.strftime("%Y-%m-%d_%H-%M-%S")
    # Two runs can begin in the same second.
    names = [stamp, *(f"{stamp}-{number}" for number in range(2, 1000))]
    return next(base / name for name in names if not (base / name).exists())


def newest_run_path(root: str | Path) -> Path | None:
    """Return the newest run below `root`, or `None` if there is none."""
    base = Path(root) / "runs"
    runs = sorted(base.glob(f"*/{OPTIONS}")) if base.is_dir() else []
    return runs[-1].parent if runs else None


class RunDir:
    """A run's directory."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        # `branch` has the checkpoint that the second student of `--qat` starts from.
        self.checkpoints, self.branch = self.path / "checkpoints", self.path / "branch"
        self._metrics = self.path / METRICS
        self._new = False

    def begin(
        self, options: TrainOptions, data: Sequence[str], eval_data: Sequence[str], *, resume: bool
    ) -> None:
        """Create the directory; when resuming, check that the options are the same."""
        recorded = self._read(OPTIONS, tomllib.loads)
        if resume and recorded is not None:
            if other := options.differences(recorded):
                raise UsageError(
                    f"--resume: the run in {self.path} was begun with another {', '.join(other)}: give the "
                    "same, or begin a new run"
                )
            return
        if self.path.is_dir() and any(self.path.iterdir()):
            has = "a run" if (self.path / OPTIONS).is_file() else "other files"
            raise UsageError(f"-o {self.path}: the directory holds {has} already; --resume continues a run")
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"-o {self.path}: expected a directory, found a file")
        self._new = True
        with writing(str(self.path)):
            self.path.mkdir(parents=True, exist_ok=True)
            self._metrics.write_bytes(b"")
            paths = {"data": [*map(absolute, data)], "eval": [*map(absolute, eval_data)]}
            head = f"# dataprep {__version__}: `dataprep train --config FILE` repeats this run.\n"
            self._write(OPTIONS, head + to_toml(paths | to_config(options)))

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Remove a new run that fails before its first step."""
        try:
            yield
        except BaseException:
            if self._new:
                for name in (OPTIONS, FACTS, METRICS):
                    (self.path / name).unlink(missing_ok=True)
                shutil.rmtree(self.path / TOKENS, ignore_errors=True)
                # Another program may have put files into the directory: they stay.
                with suppress(OSError):
                    self.path.rmdir()
            raise

    def record(self, facts: Mapping[str, Any], *, resume: bool) -> None:
        """Record facts; when resuming, check that the data are the same."""
        # As read back from the file: tuples become lists, which would otherwise differ.
        plain = orjson.loads(orjson.dumps(facts))
        before = self._read(FACTS, orjson.loads)
        # Only the data: the number of parameters or the class's name can change with a library's version.
        if resume and before is not None and before.get("data") != plain.get("data"):
            raise UsageError(
                f"--resume: the data of the run in {self.path} were others (by their SHA-256): give the same "
                "files, or begin a new run"
            )
        document = orjson.dumps({"dataprep": __version__, **plain}, option=orjson.OPT_INDENT_2)
        with writing(str(self.path)):
            self._write(FACTS, document.decode() + "\n")

    def _write(self, name: str, text: str) -> None:
        write_text(text, str(self.path / name))

    def _read(self, name: str, parse: Callable[[str], dict[str, Any]]) -> dict[str, Any] | None:
        path = self.path / name
        try:
            return parse(path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise InputError(path, f"damaged: {error}; start a new run in another directory") from None

    def add_metrics(self, line: Mapping[str, Any]) -> None:
        """Append a line of metrics."""
        # Opened for each line: a reader sees every step, and a killed run loses none.
        with writing(str(self._metrics)), self._metrics.open("ab") as out:
            out.write(orjson.dumps(line) + b"\n")

    def metrics_size(self) -> int:
        """Return the size of the metrics in bytes."""
        return self._metrics.stat().st_size if self._metrics.is_file() else 0

    def truncate_metrics(self, size: int) -> None:
        """Remove the metrics that were written after a checkpoint."""
        with writing(str(self._metrics)):
            os.truncate(self._metrics, size)

    def metrics(self) -> list[dict[str, Any]]:
        """Return all lines of metrics."""
        return [orjson.loads(line) for line in self._metrics.read_bytes().splitlines()]

    def summary(self) -> dict[str, Any]:
        """Return steps, tokens, seconds, and the first and last losses."""
        lines = self.metrics()
        steps = [line for line in lines if "loss" in line]
        evaluations = [line for line in lines if "eval_loss" in line]
        summary: dict[str, Any] = {
            "steps": steps[-1]["step"],
            "tokens": sum(line["tokens"] for line in steps),
            "seconds": sum(line["seconds"] for line in steps),
            "loss_first": steps[0]["loss"],
            "loss_last": steps[-1]["loss"],
        }
        if evaluations:
            first, last = evaluations[0], evaluations[-1]
            summary |= {"eval_loss_before": first["eval_loss"], "eval_loss": last["eval_loss"]}
            summary |= {name: value for name, value in last.items() if name.startswith("eval_loss_")}
        return summary

    @contextmanager
    def saving(self) -> Iterator[Path]:
        """Yield a folder for the student's files, and move them into place at the end."""
        from safetensors import SafetensorError

        try:
            # In the run's directory, so that moving the files is a rename on the same disk.
            with writing(str(self.path)), new_folder(self.path / "student") as partial:
                yield partial
                # config.json last: without it, the directory does not load as a model.
                for file in sorted(partial.iterdir(), key=lambda file: file.name == "config.json"):
                    if file.is_dir():  # cannot replace a directory that is not empty
                        shutil.rmtree(self.path / file.name, ignore_errors=True)
                    file.replace(self.path / file.name)
        except (RuntimeError, SafetensorError) as error:
            # A full disk, as torch (RuntimeError) and safetensors report it.
            if not any(word in str(error) for word in ("space", "write", "os error")):
                raise
            raise FileError(self.path, f"the student cannot be written: {first_line(error)}") from None


@contextmanager
def advise_on_interrupt(run_dir: RunDir, log: Callable[[str], None]) -> Iterator[None]:
    """Log how to resume a run that is stopped by Ctrl-C or SIGTERM."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        steps = sorted(path.stem.removeprefix("step-") for path in run_dir.checkpoints.glob("step-*.pt"))
        start = "starts again: there is no checkpoint yet"
        if steps:
            start = f"continues after step {int(steps[-1]):,}"
        log(f"interrupted: the same command with -o {run_dir.path} --resume {start}")
        raise


@contextmanager
def tensorboard_of(run_dir: RunDir) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Yield a function that writes a line of metrics for TensorBoard; earlier lines are written at once."""
    from torch.utils.tensorboard import SummaryWriter

    folder = run_dir.path / "tensorboard"
    with writing(str(folder)):
        # A resumed run takes the steps after its checkpoint again. TensorBoard would show both values, so
        # its files are made again from metrics.jsonl.
        if folder.is_dir():
            shutil.rmtree(folder)
        # Leaving it closes it, also after an error.
        with SummaryWriter(str(folder)) as writer:

            def add(line: Mapping[str, Any]) -> None:
                for name, value in line.items():
                    if name not in ("step", "steps"):
                        writer.add_scalar(name, value, line["step"])

            for line in run_dir.metrics():
                add(line)
            yield add


def draw_curve(run_dir: RunDir) -> Path | None:
    """Write `loss.png`: the smoothed training loss by step, and the evaluation loss."""
    lines = run_dir.metrics()
    steps = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    measured = [(line["step"], line["eval_loss"]) for line in lines if "eval_loss" in line]
    if importlib.util.find_spec("matplotlib") is None or not steps:
        return None
    # Figure, not pyplot: pyplot needs a display or changes the program's global state.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(*zip(*steps, strict=True), color=TRAINING, alpha=0.25, linewidth=1)
    axes.plot(*zip(*_smoothed(steps), strict=True), color=TRAINING, linewidth=2, label="training")
    if measured:
        axes.plot(
            *zip(*measured, strict=True), color=EVALUATION, marker="o", linewidth=2, label="evaluation rows"
        )
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK)
    axes.legend(frameon=False)
    path = run_dir.path / "loss.png"
    # Without the version of matplotlib in it, equal runs write equal files.
    figure.savefig(path, dpi=150, metadata={"Software": None})
    return path


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
    """Write `README.md` into a directory."""
    pipeline = "text-classification" if objective == "soft-label" else "text-generation"
    # transformers loads only a directory with a configuration; the tiny network has none.
    library = ["library_name: transformers"] if (folder / "config.json").is_file() else []
    about = f"A student trained with dataprep {__version__}: objective {_code(objective)}, "
    about += f"model {_code(options.model)}"
    about += f", {facts['parameters']:,} parameters." if "parameters" in facts else "."
    rows = facts.get("rows", {})
    lines = ["---", *library, f"pipeline_tag: {pipeline}", "---", ""]
    lines += [f"# {markdown(folder.resolve().parent.name)}", ""]
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
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _student(facts: Mapping[str, Any]) -> list[str]:
    tokenizer = facts.get("tokenizer") or {}
    values = {
        "class": facts.get("class"),
        "chat format of conversations": facts.get("chat_format"),
        "tokenizer": tokenizer.get("kind"),
        "tokenizer's fingerprint": tokenizer.get("fingerprint"),
        "LoRA": facts.get("lora"),
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
        return ", ".join(f"{markdown(name)}: {_shown(inner)}" for name, inner in value.items())
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
