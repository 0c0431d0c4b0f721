"""Evaluation while a student trains: loss and figures on the evaluation rows, and the best step's weights.

The best step follows from the lines of metrics alone. A resumed run, whose metrics are cut to its checkpoint,
therefore keeps the step that a run without interruption keeps.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dataprep.core.errors import FileError, UsageError
from dataprep.train.checkpoints import Checkpoints, checkpoint_name, checkpoints_in
from dataprep.train.hardware.device import explain_out_of_memory, precision_of
from dataprep.train.objective import Objective, TrainContext, mean_losses, weighted_loss

if TYPE_CHECKING:
    from dataprep.train.options import TrainOptions

# The value of --keep-best that names the evaluation loss; lower is better for it alone.
LOSS = "loss"
# Evaluations of a run with --keep-best and without --eval-every, unless it has more epochs.
EVALUATIONS = 10


@dataclass(slots=True)
class BestStep:
    """The step with the best value of a metric; the earlier one of equals.

    Attributes:
        metric: `loss`, or a figure of the objective, for which higher is better.
        steps: the steps that were better than all before them; the last one is the best.
        value: the best value.
        before: the value before the first step, whose weights are never kept: nothing was trained yet.
        since: number of evaluations after the best one.
    """

    metric: str
    steps: list[int] = field(default_factory=list)
    value: float = math.nan
    before: float = math.nan
    since: int = 0

    def add(self, line: Mapping[str, Any]) -> bool:
        """Count an evaluation, and return whether it is the best so far."""
        found = line["eval_loss"] if self.metric == LOSS else line.get(self.metric)
        # A figure can be undefined, such as kappa where all rows have one class.
        value = math.nan if found is None else float(found)
        if not line["step"]:
            self.before = value
            return False
        if not self.is_better(value, self.value):
            self.since += 1
            return False
        self.steps.append(line["step"])
        self.value, self.since = value, 0
        return True

    def is_better(self, value: float, other: float) -> bool:
        """Return whether a value is better than another; any number is better than none."""
        if math.isnan(value) or math.isnan(other):
            return not math.isnan(value)
        return value < other if self.metric == LOSS else value > other

    def as_of(self, step: int) -> int | None:
        """Return the best step among the first ones."""
        number = bisect_right(self.steps, step)
        return self.steps[number - 1] if number else None

    def describe(self) -> dict[str, Any]:
        """Return the best step for the records; empty if there is none."""
        return {"step": self.steps[-1], "metric": self.metric, "value": self.value} if self.steps else {}


def settle_keep_best(objective: Objective, steps: int, per_epoch: int) -> TrainContext:
    """Check `--keep-best`, and return the run's context with `eval_every` set.

    Args:
        objective: the objective, whose context has the options.
        steps: number of steps of the run.
        per_epoch: number of steps of an epoch.
    """
    context = objective.context
    options: TrainOptions = context.options
    names = (LOSS, *objective.figures())
    if options.keep_best not in names:
        found = f"must be one of {', '.join(names)}, which this run measures"
        more = "" if options.measure else "; --measure N has the student answer evaluation rows"
        if objective.measures_quickly:
            more = "; other figures need evaluation rows with a label" if len(names) == 1 else ""
        raise UsageError(f"--keep-best {options.keep_best}: {found}{more}")
    if options.qat is not None:
        raise UsageError("--qat compares two students after their last steps: leave --keep-best out")
    if not options.eval_every:
        every = max(min(per_epoch, steps // EVALUATIONS), 1)
        context.log(f"--keep-best: an evaluation every {every:,} steps; --eval-every sets another number")
        context = replace(context, options=replace(options, eval_every=every))
    return context


class Evaluator:
    """Evaluate a student, and keep the weights of its best step.

    Args:
        objective: the objective, with the evaluation rows.
        context: options, directory and processes of the run.
        module: the module whose forward pass returns loss and summed losses, as it is wrapped.
        checkpoints: writes the weights.

    Attributes:
        step: the step of the last evaluation; -1 before the first one.
        stops: whether `--patience` ends the run.
        warnings: what the user should know about the best step.
    """

    def __init__(
        self, objective: Objective, context: TrainContext, module: nn.Module, checkpoints: Checkpoints
    ) -> None:
        self.objective, self.context, self.module = objective, context, module
        self.checkpoints, self.folder = checkpoints, context.run_dir.best
        metric = context.options.keep_best
        # Only the first process's decides: the others take its decisions over.
        self.best = None if metric is None else BestStep(metric)
        asked = bool(context.options.measure) or metric not in (None, LOSS)
        self.measures = objective.measures_quickly or asked
        self.step, self.stops = -1, False
        self.warnings: list[str] = []

    def resume(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Continue after the evaluations in lines of metrics, which the first process has read."""
        step = -1
        for line in lines:
            if "eval_loss" in line:
                step = line["step"]
                if self.best is not None:
                    self.best.add(line)
        if self.context.world.first and self.best is not None and self.best.steps:
            path = self._path(self.best.steps[-1])
            if not path.is_file():
                raise FileError(
                    path, "the weights of the best step are not there: bring them back, or start a new run"
                )
        self.step = int(self.context.world.agree(str(step)))
        self._agree()

    def evaluate(self, step: int, *, last: bool) -> dict[str, Any]:
        """Return the line of metrics of an evaluation, and write the weights if they are the best.

        Those of the `last` step are not written, because they stay in memory.
        """
        line = {"step": step} | self._measure()
        is_best = False
        if self.best is not None:
            is_best = self.best.add(line)
            line |= {"best": found} if (found := self.best.describe()) else {}
        self.step = step
        # All processes take part: sharded weights are gathered.
        if self._agree(is_best) and not last:
            self.checkpoints.save_weights(step, self.folder)
            self._remove_superseded()
        return line

    def restore(self, done: int, steps: int) -> None:
        """Put the weights of the best step into the student; `done` of the run's steps were taken.

        For the first process, whose student is saved.
        """
        best, context = self.best, self.context
        if best is None:
            return
        if self.stops and done < steps:
            context.log(
                f"--patience {context.options.patience}: the run ends after {done:,} of {steps:,} steps, "
                f"because {best.since} evaluations had no better {best.metric}"
            )
        if not best.steps:
            self._warn(f"--keep-best {best.metric}: no evaluation had a value; the last step is kept")
            return
        kept = best.steps[-1]
        context.log(f"--keep-best: step {kept:,} of {done:,}, with {best.metric} {best.value:.4f}")
        if not math.isnan(best.before) and not best.is_better(best.value, best.before):
            self._warn(
                f"no step has a better {best.metric} than before training ({best.before:.4f}): try other "
                "learning rates, more epochs, or more rows"
            )
        if kept != done:
            weights = self.checkpoints.read(self._path(kept), "start a new run")["weights"]
            own = {name.removeprefix("model."): value for name, value in weights.items()}
            # Frozen weights are not in the file, because training does not change them.
            found = self.objective.student.model.load_state_dict(own, strict=False)
            assert not found.unexpected_keys, found.unexpected_keys

    @torch.no_grad()
    def _measure(self) -> dict[str, Any]:
        """Return the loss on the evaluation rows, its parts, and figures."""

        # Through the wrapped module: with FSDP, only its forward pass gathers the weights.
        def loss_sums(tensors: dict[str, Tensor]) -> Mapping[str, Tensor]:
            sums: Mapping[str, Tensor] = self.module(tensors, dict.fromkeys(weights, 0.0))[1]
            return sums

        objective, weights = self.objective, self.objective.weights
        options, world = self.context.options, self.context.world
        model = objective.student.model.eval()
        with explain_out_of_memory(options):
            with precision_of(options, world.device):
                rows = objective.data.eval
                means = mean_losses(loss_sums, weights, rows, options.batch_size, world.device, world)
            figures = objective.measure(world) if self.measures else {}
        model.train()
        # Evaluation rows may only have parts of weight 0 (gold labels, while the teacher's weight is 1).
        # A weighted loss of 0 would look as if all was learned, so these parts are added as they are.
        in_loss = any(weights[name] for name in means)
        loss = weighted_loss(weights, means) if in_loss else sum(means.values())
        parts = {f"eval_loss_{name}": value for name, value in means.items()} if len(weights) > 1 else {}
        return {"eval_loss": loss, **parts, **figures}

    def _agree(self, is_best: bool = False) -> bool:
        """Take over the first process's decisions: whether the run ends, and whether a step is the best."""
        patience = self.context.options.patience
        stops = patience is not None and self.best is not None and self.best.since >= patience
        agreed = self.context.world.agree(f"{stops} {is_best}")
        self.stops = agreed.startswith("True")
        return agreed.endswith("True")

    def _remove_superseded(self) -> None:
        """Remove the weights of steps that neither the run nor a checkpoint would keep any more."""
        if self.best is None or not self.context.world.first:
            return
        # --resume can continue from any checkpoint, with the best step up to it.
        steps = [step for step, _ in self._numbered(self.checkpoints.folder)]
        needed = {self.best.steps[-1], *map(self.best.as_of, steps)}
        for step, path in self._numbered(self.folder):
            if step not in needed:
                path.unlink(missing_ok=True)

    def _numbered(self, folder: Path) -> list[tuple[int, Path]]:
        return [(int(path.stem.rpartition("-")[2]), path) for path in checkpoints_in(folder)]

    def _path(self, step: int) -> Path:
        return self.folder / checkpoint_name(step)

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self.context.log(f"warning: {text}")
