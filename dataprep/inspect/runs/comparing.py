"""Put runs side by side: the options and data that differ, steps, losses, figures, speed and memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from dataprep.core import provenance
from dataprep.core.errors import UsageError
from dataprep.inspect.runs.reading import BASELINES, Run, read_run

# Options about how a run is shown and saved. They change nothing that is compared.
_NOT_COMPARED = ("save_every", "keep", "keep_checkpoints", "tensorboard")

# By objective, the options that decide what the loss is of the same rows.
_LOSS = {"sft": ("loss",), "distillation": ("loss", "teacher_share"), "soft-label": ("alpha",)}
# Beginning of the names of a loss's parts in the metrics.
_PART = "eval_loss_"


@dataclass(frozen=True, slots=True)
class Line:
    """A fact about every run.

    Attributes:
        part: what it is about, such as `options` or `losses`.
        name: its name.
        values: the value for each run, as JSON has it; ``None`` where a run has none.
    """

    part: str
    name: str
    values: tuple[Any, ...]

    @property
    def differs(self) -> bool:
        """True if not all runs have the same value."""
        return any(value != self.values[0] for value in self.values[1:])


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Runs side by side.

    Attributes:
        runs: the runs, in the order in which they were given.
        names: the shortest ends of their paths that tell them apart.
        lines: the facts, of options only those that differ.
    """

    runs: list[Run]
    names: list[str]
    lines: list[Line]

    def warnings(self) -> list[str]:
        """Return a sentence for each run that is not finished, and for what makes figures incomparable."""
        warnings = [
            f"{run.path}: {run.state}" + (f": {run.problem}" if run.problem else "")
            for run in self.runs
            if run.state != "finished"
        ]
        objectives = {run.objective for run in self.runs if run.objective}
        if len(objectives) > 1:
            named = ", ".join(sorted(objectives))
            warnings.append(f"the runs have different objectives ({named}): their losses are not comparable")
        elif len(losses := {*map(_loss_of, self.runs)} - {""}) > 1:
            warnings.append(
                f"the runs have different losses ({'; '.join(sorted(losses))}), which are not comparable: "
                "compare their parts, or figures"
            )
        rows = {_digests(run, "eval") for run in self.runs}
        tokenizers = {_tokenizer(run) for run in self.runs}
        for what, found in (("evaluation rows", rows), ("tokenizers", tokenizers)):
            # A run without them yet, or with none, differs from no other run.
            if len(found - {None}) > 1:
                warnings.append(f"the runs have different {what}: their evaluation losses are not comparable")
        return warnings

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield a flat row for each run."""
        for number, run in enumerate(self.runs):
            cells = {
                line.name if line.part in ("", "run") else f"{line.part}: {line.name}": line.values[number]
                for line in self.lines
            }
            yield {"run": run.path, **cells}

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as a JSON object."""
        runs = []
        for number, run in enumerate(self.runs):
            parts: dict[str, dict[str, Any]] = {}
            for line in self.lines:
                parts.setdefault(line.part, {})[line.name] = line.values[number]
            runs.append({"path": run.path, "problem": run.problem, **parts})
        return {"command": "compare", "runs": runs, "warnings": self.warnings()}


def compare_runs(paths: Sequence[str | Path]) -> RunComparison:
    """Put runs of `train` side by side, also runs in progress and runs of different objectives.

    Args:
        paths: the directories of the runs.

    Raises:
        UsageError: there are no paths, one is given twice, or is no directory.
        FileError: a directory is no run.
    """
    # `runs/*` also names the manifests that `train` writes beside its runs.
    given = [str(path) for path in paths if not str(path).endswith(provenance.SUFFIX)]
    if not given:
        raise UsageError("there is nothing to compare: give the directories of runs")
    if repeated := [path for path in given if given.count(path) > 1]:
        raise UsageError(f"{repeated[0]} is given twice")
    runs = [read_run(path) for path in given]
    return RunComparison(runs, _short(given), [*_lines(runs)])


def _short(paths: Sequence[str]) -> list[str]:
    """Return the shortest ends of paths that are different."""
    parts = [PurePath(path).parts for path in paths]
    for length in range(1, max(map(len, parts))):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return list(paths)


def _lines(runs: Sequence[Run]) -> Iterator[Line]:
    yield Line("run", "state", tuple(run.state for run in runs))
    yield Line("run", "objective", tuple(run.objective for run in runs))
    yield Line("run", "dataprep", tuple(run.facts.get("dataprep") for run in runs))
    keys = dict.fromkeys(key for run in runs for key in run.options)
    for key in keys:
        line = Line("options", key, tuple(_plain(_option(run, key)) for run in runs))
        if key not in (*_NOT_COMPARED, "data", "eval", "rejects") and line.differs:
            yield line
    for name in ("train", "eval"):
        yield from _if_any("data", name, [_files(run, name) for run in runs])
        for fact in ("rows", "tokens"):
            yield from _if_any("data", f"{name} {fact}", [_count(run, fact, name) for run in runs])
    yield from _if_any("data", "tokenizer", [name and name[:12] for name in map(_tokenizer, runs)])
    for name in ("model", "class", "parameters"):
        yield from _if_any("model", name, [_plain(run.facts.get(name)) for run in runs])
    yield from _of_training(runs)


def _of_training(runs: Sequence[Run]) -> Iterator[Line]:
    last = [run.steps[-1] if run.steps else {} for run in runs]
    yield Line("training", "steps", tuple(run.total("steps") for run in runs))
    yield from _if_any("training", "steps planned", [line.get("steps") for line in last])
    yield from _if_any("training", "kept step", [run.kept_step for run in runs])
    for name in ("tokens", "seconds"):
        yield Line("training", name, tuple(run.total(name) for run in runs))
    yield Line("training", "tokens a second", tuple(run.tokens_per_second for run in runs))
    yield from _if_any("training", "share of the device's peak", [run.mfu for run in runs])
    memory = [max((line.get("memory_mb") or 0 for line in run.steps), default=0) for run in runs]
    yield Line("training", "peak memory in MB", tuple(value or None for value in memory))
    losses = [run.losses() for run in runs]
    yield Line("losses", "training, first", tuple(found.get("loss_first") for found in losses))
    yield Line("losses", "training, last", tuple(found.get("loss_last") for found in losses))
    yield from _if_any("losses", "evaluation, before", [found.get("eval_loss_before") for found in losses])
    yield from _if_any("losses", "evaluation, after", [run.after.get("eval_loss") for run in runs])
    for name in dict.fromkeys(name for run in runs for name in run.after if name.startswith(_PART)):
        part = f"evaluation of {name.removeprefix(_PART)}, after"
        yield Line("losses", part, tuple(run.after.get(name) for run in runs))
    # A loss that is NaN is recorded as null.
    measured = [[line["eval_loss"] for line in run.evaluations[1:]] for run in runs]
    numbers = [[loss for loss in found if loss is not None] for found in measured]
    yield from _if_any("losses", "evaluation, best", [min(found, default=None) for found in numbers])
    figures = [run.figures() for run in runs]
    for name in dict.fromkeys(name for found in figures for name in found):
        for number, when in enumerate(("before", "after")):
            values = [found.get(name, (None, None))[number] for found in figures]
            yield from _if_any("figures", f"{name}, {when}", values)
    for name in BASELINES:
        yield from _if_any("figures", name, [run.baseline(name) for run in runs])


def _if_any(part: str, name: str, values: Sequence[Any]) -> Iterator[Line]:
    if any(value is not None for value in values):
        yield Line(part, name, tuple(values))


def _option(run: Run, key: str) -> Any:
    """Return an option as it was given, or else as the run chose it by its model and rows."""
    value, chosen = run.options.get(key), run.facts.get(key)
    return chosen if value is None and isinstance(chosen, int | float | str) else value


def _loss_of(run: Run) -> str:
    """Return what a run's loss is made of beside its rows: `alpha 0.5, temperature 2`; empty if unknown."""
    if run.objective == "rationale":
        parts = run.facts.get("parts")
        values = {name: _nested(parts, name, "weight") for name in parts} if isinstance(parts, dict) else {}
    else:
        values = {name: _option(run, name) for name in _LOSS.get(run.objective or "", ())}
        # A teacher without a share in the loss changes nothing.
        if values.get("alpha") or values.get("teacher_share"):
            values |= {
                name: _option(run, name) for name in ("temperature", "teacher_model", "teacher_logits")
            }
    shown = {
        name: f"{value:g}" if isinstance(value, int | float) else value for name, value in values.items()
    }
    return ", ".join(f"{name} {value}" for name, value in shown.items() if value is not None)


def _nested(values: Mapping[str, Any], *names: str) -> Any:
    for name in names:
        inner = values.get(name)
        if not isinstance(inner, Mapping):
            return inner if name == names[-1] else None
        values = inner
    return None


def _count(run: Run, fact: str, part: str) -> Any:
    counts = run.facts.get(fact)
    return counts.get(part) if isinstance(counts, Mapping) else None


def _files_of(run: Run, part: str) -> list[dict[str, Any]]:
    data = run.facts.get("data")
    found = data.get(part) if isinstance(data, Mapping) else None
    return [file for file in found if isinstance(file, dict)] if isinstance(found, list) else []


def _files(run: Run, part: str) -> str | None:
    """Return names of files, each with the beginning of its SHA-256; `None` without facts about them."""
    files = _files_of(run, part)
    return ", ".join(f"{file.get('name')} ({str(file.get('sha256'))[:8]})" for file in files) or None


def _digests(run: Run, part: str) -> tuple[str, ...] | None:
    """Return the SHA-256 of files, by which equal data are known whatever their names are."""
    files = _files_of(run, part)
    if part == "eval" and run.is_cross_fit:
        # Each teacher is measured on the training rows that it has not seen.
        files = files or _files_of(run, "train")
    return tuple(sorted(str(file.get("sha256")) for file in files)) or None


def _tokenizer(run: Run) -> str | None:
    """Return the fingerprint of the tokenizer, if the run has one."""
    found = _nested(run.facts, "tokenizer", "fingerprint")
    return str(found) if found else None


def _plain(value: Any) -> Any:
    # A list would be no cell of a table.
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
