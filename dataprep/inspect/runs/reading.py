"""Read a run's directory as far as it is there: a run can be finished, in progress, or have ended early."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

from dataprep.core.errors import FileError, UsageError, first_line
from dataprep.core.io import check_local, printable
from dataprep.core.options import to_config
from dataprep.train.options import TrainOptions
from dataprep.train.run_dir import FACTS, METRICS, OPTIONS, RESULTS, fold_name

State = Literal["finished", "in progress", "not finished", "damaged"]
# Values that no skill is needed for. They are the same before and after.
BASELINES = ("majority", "chance")
_NUMBERS = (int, float)  # of JSON; `isinstance` would also take its true and false
# Numbers that a step's line can lack.
_OPTIONAL = ("loss", "steps", "mfu", "memory_mb")


@dataclass(slots=True)
class Run:
    """A run, with everything that its directory says.

    The steps of a run with `--cross-fit` are in the runs of its folds. It has the facts that all of them
    share, and results with sums and means over them.

    Attributes:
        path: the directory, as it was given.
        state: `not finished` if no process works on it and it has no results.
        problem: what is wrong with its files; empty if nothing is.
        options: the options by their key, defaults included.
        facts: facts about data and model.
        steps: the lines of metrics of its steps.
        evaluations: the lines of metrics of its evaluations.
        results: the results of a finished run.
    """

    path: str
    state: State = "finished"
    problem: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)

    @property
    def objective(self) -> str | None:
        """The name of the objective; of a run of an earlier version, what its records show."""
        facts, chosen = self.facts, self.options.get("objective")
        if "objective" in facts:
            return str(facts["objective"])
        if chosen not in (None, "auto"):
            return str(chosen)
        return "soft-label" if "classes" in facts else "rationale" if "parts" in facts else None

    @property
    def is_cross_fit(self) -> bool:
        """True if its folds are runs of their own."""
        return bool(self.options.get("cross_fit"))

    def total(self, name: str) -> Any:
        """Return the number of steps, or their tokens or seconds; `None` of a cross-fit run in progress."""
        if self.is_cross_fit:
            return self.results.get(name)
        if name == "steps":
            return self.steps[-1]["step"] if self.steps else 0
        return sum(line[name] for line in self.steps)

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens of all steps by their time; evaluations and checkpoints do not count."""
        seconds = self.total("seconds")
        return self.total("tokens") / seconds if seconds else None

    @property
    def mfu(self) -> float | None:
        """The mean share of the device's peak of the steps, weighted by their time, where it was measured."""
        pairs = [(line["mfu"], line["seconds"]) for line in self.steps if line.get("mfu") is not None]
        seconds = sum(weight for _, weight in pairs)
        return sum(share * weight for share, weight in pairs) / seconds if seconds else None

    def losses(self) -> Mapping[str, Any]:
        """Return the losses of the first and last step, and of the evaluation before them, by their names."""
        if self.is_cross_fit:  # means over its folds
            return self.results
        losses = {"loss_first": self.steps[0], "loss_last": self.steps[-1]} if self.steps else {}
        before = {"eval_loss_before": self.evaluations[0]["eval_loss"]} if self.evaluations else {}
        return {name: line["loss"] for name, line in losses.items()} | before

    @property
    def kept_step(self) -> int | None:
        """The step that ``--keep-best`` kept, so far; ``None`` without it."""
        best = self.evaluations[-1].get("best") if self.evaluations else None
        return best.get("step") if isinstance(best, dict) else None

    @property
    def after(self) -> dict[str, Any]:
        """The evaluation of the student that is saved, or would be now; empty if none followed the first."""
        if self.is_cross_fit:
            losses = {name: value for name, value in self.results.items() if name.startswith("eval_loss")}
            return {name: value for name, value in losses.items() if name != "eval_loss_before"}
        by_step = {line["step"]: line for line in self.evaluations[1:]}
        return by_step.get(self.kept_step, self.evaluations[-1]) if by_step else {}

    def figures(self) -> dict[str, tuple[float | None, float | None]]:
        """Return the figures before and after the training by name; ``None`` where they were not measured."""
        first = _figures(self.evaluations[0]) if self.evaluations else {}
        # A finished run measures the saved student once more.
        last = _figures(self.after) | _figures(self.results.get("metrics") or {})
        return {name: (first.get(name), last.get(name)) for name in dict.fromkeys((*first, *last))}

    def baseline(self, name: str) -> float | None:
        """Return what the figures of choices and classes are compared with: one of ``BASELINES``."""
        found = (self.results.get(part) or {} for part in ("baselines", "metrics"))
        values = (each.get(name) for each in (*found, self.after))
        return next((float(value) for value in values if isinstance(value, int | float)), None)


def _figures(line: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in line.items()
        # Whole numbers count rows.
        if type(value) is float and name not in BASELINES and not name.startswith("eval_loss")
    }


def read_run(path: str) -> Run:
    """Return a run; what is damaged is said in its `problem`.

    Raises:
        UsageError: the path is a URL, or no directory.
        FileError: the directory is no run of `train`, or cannot be read.
    """
    check_local(path, "a run to compare")
    folder = Path(path)
    if not folder.is_dir():
        found = "found a file" if folder.exists() else "no such directory"
        raise UsageError(
            f"{path}: {found}; expected the directory of a run, as `dataprep train -o DIR` makes it"
        )
    if not any((folder / name).exists() for name in (OPTIONS, FACTS, METRICS)):
        # The folder `runs/` has runs inside.
        inside = sorted(file.parent.name for file in folder.glob(f"*/{OPTIONS}"))
        advice = (
            f"give the runs inside, such as {path}/{inside[0]}" if inside else "expected a run of `train`"
        )
        raise FileError(path, f"not a run: it has no {OPTIONS}; {advice}")
    run, problems = Run(printable(path)), list[str]()
    given = _document(folder / OPTIONS, tomllib.loads, problems)
    run.options = to_config(TrainOptions()) | (given or {})
    run.facts = _document(folder / FACTS, orjson.loads, problems) or {}
    if run.is_cross_fit:
        run.facts = _shared_facts(folder) | run.facts
    for line in _metrics(folder / METRICS, problems):
        (run.steps if "loss" in line else run.evaluations).append(line)
    document = _document(folder / RESULTS, orjson.loads, problems, required=False)
    run.results = {} if document is None else _results(document, problems)
    if _is_locked(folder):
        run.state = "in progress"
    elif problems:
        run.state = "damaged"
    elif not run.results:
        run.state = "not finished"
    if run.is_cross_fit and not run.results:
        problems.append(f"its folds are runs: compare {path}/{fold_name(0)} and the others")
    run.problem = "; ".join(problems)
    return run


def _shared_facts(folder: Path) -> dict[str, Any]:
    """Return the facts that all folds of a cross-fit run share, beside those about their rows."""
    places = sorted(folder.glob(f"fold-*/{FACTS}"))
    first, *others = [_document(place, orjson.loads, []) or {} for place in places] or [{}]
    return {
        name: value
        for name, value in first.items()
        if name not in ("data", "rows", "tokens") and all(other.get(name) == value for other in others)
    }


def _document(
    path: Path, parse: Callable[[str], Any], problems: list[str], *, required: bool = True
) -> dict[str, Any] | None:
    try:
        document = parse(path.read_text("utf-8"))
    except FileNotFoundError:
        # A run in progress writes its facts after it has read its rows.
        if required and path.name == OPTIONS:
            problems.append(f"{path.name} is missing")
        return None
    except (OSError, ValueError, RecursionError) as error:
        problems.append(f"{path.name} cannot be read: {first_line(error)}")
        return None
    if not isinstance(document, dict):
        problems.append(f"{path.name} has no object")
        return None
    return document


def _results(document: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """Return the results of a run, without the parts that are no objects."""
    results = document.get("results")
    if not isinstance(results, dict):
        problems.append(f"{RESULTS} has no object results")
        return {}
    wrong = [name for name in ("metrics", "baselines") if not isinstance(results.get(name) or {}, dict)]
    problems += [f"{RESULTS}: results.{name} is no object" for name in wrong]
    sums = [name for name in ("steps", "tokens", "seconds") if type(results.get(name, 0)) not in _NUMBERS]
    problems += [f"{RESULTS}: results.{name} is no number" for name in sums]
    wrong += sums
    return {name: value for name, value in results.items() if name not in wrong}


def _metrics(path: Path, problems: list[str]) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        problems.append(f"{path.name} cannot be read: {error.strerror}")
        return
    # Text behind the last newline is a line that a run in progress is writing.
    for number, line in enumerate(lines[:-1], 1):
        try:
            found = orjson.loads(line)
            _check_line(found)
            yield found
        except (ValueError, TypeError, LookupError, AttributeError):
            problems.append(f"{path.name}:{number} is no line of metrics")
            return


def _check_line(line: dict[str, Any]) -> None:
    """Raise an error unless the fields of a line of metrics that are computed with are numbers."""
    if "loss" in line:
        numbers, optional = [line["step"], line["tokens"], line["seconds"]], list(map(line.get, _OPTIONAL))
    else:
        # An evaluation's loss can be NaN, which is null in JSON.
        numbers, optional = [line["step"]], [line["eval_loss"], (line.get("best") or {}).get("step")]
    numbers += [value for value in optional if value is not None]
    if any(type(value) not in _NUMBERS for value in numbers):
        raise ValueError


def _is_locked(folder: Path) -> bool:
    """Return whether a process trains in a directory, which it locks for that time."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return False
    directory = os.open(folder, os.O_RDONLY)
    try:
        # Released at once: a run that starts at this moment would find the directory locked.
        fcntl.flock(directory, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        with suppress(OSError):
            os.close(directory)
    return False
