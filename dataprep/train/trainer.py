"""The trainer: steps, evaluation and checkpoints.

A step depends on its index, the options, the seed, the weights and the optimizer's state, and on nothing
else. So a run that was killed continues from a checkpoint as if it had never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from dataprep.core.errors import FileError, TrainingError
from dataprep.core.sampling import shuffled_order
from dataprep.models.loading import not_finite
from dataprep.train.checkpoints import Checkpoints
from dataprep.train.evaluation import Evaluator
from dataprep.train.hardware.device import Work, explain_out_of_memory, memory_mb, precision_of
from dataprep.train.hardware.distributed import World, wrap_model
from dataprep.train.objective import Batch, Objective, TrainContext, by_length, weighted_loss
from dataprep.train.options import EPOCHS, TrainOptions, learning_rate_factor, make_optimizer
from dataprep.train.run_dir import tensorboard_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Steps whose items are sorted by length together, but at most half of an epoch: otherwise the same rows would
# be in one step in every epoch. Of texts whose lengths are distributed log-normally (σ 0.6), in batches of 8,
# 51 % was padding without it, 21 % with 8 steps, 10 % with 32.
WINDOW = 32


@dataclass(frozen=True, slots=True)
class BatchSampler:
    """Choose the items of each step, from the seed and the step's index alone."""

    # `total` is what all steps use: items count again in each epoch. Epoch k is shuffled with `seed + k`.
    # Number of items of each epoch, which follow one another; the last one stays.
    epochs: tuple[int, ...]
    per_step: int
    total: int
    seed: int
    # Of items that are padded to the longest of their batch, which then have like lengths.
    lengths: Sequence[int] | None = None

    @classmethod
    def of(cls, data: Sized, options: TrainOptions, world: World) -> BatchSampler:
        """Return the sampler of a run over a dataset, all of whose items are those of each epoch.

        A dataset with an attribute ``epochs`` has items of its own for each of them. One with ``lengths``
        pads its items, so each step has items of like length.
        """
        per_step = options.batch_size * options.accumulate * world.size
        epochs: tuple[int, ...] = getattr(data, "epochs", (len(data),))
        assert all(epochs), "no epoch would end; datasets refuse to be empty when they are loaded"
        passes = EPOCHS if options.epochs is None else options.epochs
        whole = int(passes)
        last = epochs[min(whole, len(epochs) - 1)]
        total = round(passes * last) + sum(items - last for items in epochs[:whole])
        if options.steps is not None:
            total = options.steps * per_step
        return cls(epochs, per_step, max(total, 1), options.seed, getattr(data, "lengths", None))

    @property
    def steps(self) -> int:
        """Number of steps; the last one may have fewer items."""
        return -(-self.total // self.per_step)

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps of the first epoch."""
        return -(-self.epochs[0] // self.per_step)

    def of_steps(self, first: int) -> Iterator[tuple[int, list[int]]]:
        """Yield the index and the items of each step from `first` on."""
        # Only one epoch's order is in memory, and a resumed run starts in the middle of its epoch without
        # going through those before it.
        epoch, begin, end = -1, 0, 0
        order = None
        for step in range(first, self.steps):
            items = []
            for position in range(step * self.per_step, min((step + 1) * self.per_step, self.total)):
                # A step can end one epoch and begin the next.
                while position >= end:
                    epoch, begin, order = epoch + 1, end, None
                    end = begin + self.epochs[min(epoch, len(self.epochs) - 1)]
                if order is None:
                    order = self._order(epoch, begin, end)
                items.append(int(order[position - begin]))
            yield step, items

    def _order(self, epoch: int, begin: int, end: int) -> NDArray[np.int64]:
        """Return the items of an epoch, which has the positions from `begin` to `end` of the run."""
        order = shuffled_order(end - begin, self.seed + epoch)
        order += sum(self.epochs[: min(epoch, len(self.epochs) - 1)])
        if self.lengths is None:
            return order
        # The epoch's first items may complete a step, and its last ones begin one: they stay as they are.
        first = -begin % self.per_step
        steps = (order.size - first) // self.per_step
        whole = order[first : first + steps * self.per_step]
        window = max(min(WINDOW, steps // 2), 1) * self.per_step
        grouped = [
            by_length(part, self.lengths).reshape(-1, self.per_step)
            for part in np.split(whole, range(0, whole.size, window)[1:])
        ]
        # Shuffled again: otherwise the lengths of texts would rise over every window.
        order[first : first + whole.size] = np.concatenate(grouped)[
            shuffled_order(steps, self.seed + epoch)
        ].ravel()
        return order


class LossModule(nn.Module):
    """A model and its objective as one module, whose forward pass returns the loss.

    Wrappers for several processes only see weights that are used inside a forward pass. The output layer is
    called by the objective, outside the model's own.
    """

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(
        self, tensors: Mapping[str, Tensor], scales: Mapping[str, float]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return `Σ scale · sum` over the parts of the loss, and the detached sums."""
        sums = self.objective.loss_sums(self.model, tensors)
        scaled = [sums[name] * scales[name] for name in sums]
        # Without any part, the loss still needs a graph: backward() is called on every process.
        loss = torch.stack(scaled).sum() if scaled else 0.0 * next(self.model.parameters()).sum()
        return loss, {name: value.detach() for name, value in sums.items()}


class Trainer:
    """Train a model from beginning to end."""

    def __init__(
        self,
        objective: Objective,
        context: TrainContext,
        *,
        start: Path | None = None,
        branch: int | None = None,
    ) -> None:
        student, data = objective.student, objective.data
        self.student, self.data, self.objective = student, data, objective
        # Not the objective's context: the first student of --qat has other options and another directory.
        self.options, self.world, self.run_dir = context.options, context.world, context.run_dir
        # The checkpoint of another run to begin with, and the step to write one for another run after.
        self.on_metrics, self.start, self.branch = context.on_metrics, start, branch
        self.log = context.log
        # The error of the last evaluation. The student is saved before the run ends with it.
        self.failure: Exception | None = None
        self.sampler = BatchSampler.of(data.train, self.options, self.world)
        assert self.options.learning_rate is not None
        self.learning_rate = self.options.learning_rate
        # Before the optimizer is made: it keeps references to the parameters.
        student.model.to(self.world.device)
        self.module = wrap_model(LossModule(student.model, objective), self.world, fsdp=self.options.fsdp)
        self.optimizer = make_optimizer(self.module, self.options, self.learning_rate)
        self.checkpoints = Checkpoints(self.run_dir, self.module, self.optimizer, self.world)
        self.evaluator = Evaluator(objective, context, self.module, self.checkpoints)
        self.work = Work.of(student.model, self.world.device, self.options)
        self.forward = compile_module(self.module) if self.options.compile else self.module
        self.tensorboard: Callable[[Mapping[str, Any]], None] | None = None

    def run(self, *, resume: bool = False) -> None:
        """Train to the end, write a checkpoint, and measure the loss on the evaluation rows."""
        first = self._resume() if resume or self.start else 0
        writes = self.options.tensorboard and self.world.first
        with tensorboard_of(self.run_dir) if writes else nullcontext() as self.tensorboard:
            if first == 0:
                self.evaluate(0)
            done = self._take_steps(first)
            # Before the student is saved, which merges low-rank updates and so changes the last digits.
            try:
                if self.evaluator.step != done:
                    self.evaluate(done)
            except Exception as error:  # noqa: BLE001 - whatever it is, the steps are not to be lost by it
                self.failure = error
        if self.options.fsdp:
            self._gather()
        if self.world.first:
            self.evaluator.restore(done, self.sampler.steps)

    def _take_steps(self, first: int) -> int:
        """Take the steps from `first` on, until `--patience` ends them; return how many are done in all."""
        done = first
        self.student.model.train()
        for step, items in () if self.evaluator.stops else self.sampler.of_steps(first):
            with explain_out_of_memory(self.options):
                metrics = self.train_step(step, items)
            self._record(metrics)
            done = step + 1
            self.after_step(done)
            if self.evaluator.stops:
                break
        if first < done:
            self._save_last(done)
        return done

    def train_step(self, step: int, items: list[int]) -> dict[str, Any]:
        """Update the weights once, and return the step's metrics."""
        # Reading the batches is part of the time: the rate is what a user waits for.
        start = time.perf_counter()
        options = self.options
        steps = self.sampler.steps
        rate = self.learning_rate * learning_rate_factor(step, steps, options.warmup, options.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batches = self._micro_batches(items)
        counts, tokens, flops = self._totals(batches)
        sums = self._backward(batches, counts)
        means = {name: sums[name] / counts[name] for name in sums if counts[name]}
        loss = weighted_loss(self.objective.weights, means)
        norm = self._clip_gradients()
        # Before the optimizer's step: a NaN in Adam's averages stays there, and the next checkpoint would
        # save it.
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._raise_not_finite(step, items, loss)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - start
        metrics = {"step": step + 1, "steps": steps, "loss": loss}
        # A single part is the loss itself.
        metrics |= {f"loss_{name}": value for name, value in means.items()} if len(means) > 1 else {}
        metrics |= {"learning_rate": rate, "gradient_norm": norm, "tokens": tokens, "items": len(items)}
        speed = {"seconds": seconds, "tokens_per_second": tokens / seconds, "memory_mb": memory_mb()}
        if self.work is not None and flops:
            speed["mfu"] = flops / seconds / (self.work[1] * self.world.size)
        return metrics | speed

    def _micro_batches(self, items: list[int]) -> list[tuple[Batch, bool]]:
        """Return this process's batches of a step, as many as others have, and which are no placeholders."""
        size = self.options.batch_size
        shard = self.world.shard(items)
        number = math.ceil(math.ceil(len(items) / self.world.size) / size)
        parts = [shard[index * size : (index + 1) * size] for index in range(number)]
        # Processes exchange gradients in each backward pass. One that ran out of items would leave the
        # others waiting forever, so it computes a placeholder batch, whose loss is scaled by 0.
        return [(self.data.train.batch(part or items[:1]), bool(part)) for part in parts]

    def _totals(self, batches: Sequence[tuple[Batch, bool]]) -> tuple[dict[str, float], int, float]:
        """Return each part's count, the number of tokens, and of operations, over all processes."""
        counted = [batch for batch, counts_in in batches if counts_in]
        names = self.objective.weights
        counts = {name: sum(batch.counts.get(name, 0) for batch in counted) for name in names}
        flops = (
            sum(self.work[0].flops(batch.tensors, batch.tokens) for batch in counted) if self.work else 0.0
        )
        totals = self.world.total({"tokens": sum(batch.tokens for batch in counted), "flops": flops})
        return self.world.total(counts), int(totals["tokens"]), totals["flops"]

    def _backward(
        self, batches: Sequence[tuple[Batch, bool]], counts: Mapping[str, float]
    ) -> dict[str, float]:
        """Add up the gradients of all batches, and return the summed losses."""
        weights, sums = self.objective.weights, dict.fromkeys(counts, 0.0)
        # The wrappers average gradients over the processes; the factor `size` makes sums of them again.
        scales = {
            name: self.world.size * weights[name] / count if count else 0.0 for name, count in counts.items()
        }
        for index, (batch, counts_in) in enumerate(batches):
            used = scales if counts_in else dict.fromkeys(scales, 0.0)
            values = self._pass(batch, used, last=index == len(batches) - 1)
            for name, value in values.items() if counts_in else ():
                sums[name] += float(value)
        return self.world.total(sums)

    def _pass(self, batch: Batch, scales: Mapping[str, float], *, last: bool) -> dict[str, Tensor]:
        """Compute loss and gradients of one batch."""
        # Gradients are exchanged once a step, after its last batch: DDP and FSDP each have a switch.
        if hasattr(self.module, "set_requires_gradient_sync"):
            self.module.set_requires_gradient_sync(last)
        waits = not last and hasattr(self.module, "no_sync")
        with self.module.no_sync() if waits else nullcontext():
            with precision_of(self.options, self.world.device):
                loss, sums = self.forward(self._on_device(batch), scales)
            loss.backward()
        return sums

    def _on_device(self, batch: Batch) -> dict[str, Tensor]:
        return {name: tensor.to(self.world.device) for name, tensor in batch.tensors.items()}

    def _clip_gradients(self) -> float:
        """Clip the gradients' norm, and return what it was before."""
        parameters = [weights for weights in self.module.parameters() if weights.grad is not None]
        norm = nn.utils.clip_grad_norm_(parameters, self.options.clip or float("inf"))
        return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)

    def after_step(self, done: int) -> None:
        """Evaluate and write checkpoints where they are due; `done` steps are done."""
        last = done == self.sampler.steps
        if not last and self.options.eval_every and done % self.options.eval_every == 0:
            self.evaluate(done)
        # Before the run's own checkpoint: a run resumed from that one does not reach this step again.
        facts = {"metrics": self.run_dir.metrics_size()}
        if done == self.branch:
            self.checkpoints.save(done, facts, keep=1, folder=self.run_dir.branch)
        if self.options.save_every and done % self.options.save_every == 0 and not last:
            self.checkpoints.save(done, facts, keep=self.options.keep)

    def _save_last(self, done: int) -> None:
        """Write a checkpoint after the last step, so that nothing that follows can lose the training."""
        # Earlier ones are not needed any more: without them, there is more room for the student.
        keep = self.options.keep if self.options.keep_checkpoints else 1
        try:
            self.checkpoints.save(done, {"metrics": self.run_dir.metrics_size()}, keep=keep)
        except FileError as error:
            # The student takes a third of the room, so it may still be possible to save it.
            self.log(f"warning: {error}")

    def evaluate(self, step: int) -> None:
        """Measure the student on the evaluation rows, and record it under `step`."""
        if self.data.eval is not None:
            self._record(self.evaluator.evaluate(step, last=step == self.sampler.steps))

    def _resume(self) -> int:
        """Load the last checkpoint, and return the step to continue with."""
        path = self.checkpoints.latest() or self.start
        state = {"step": 0, "metrics": 0} if path is None else self.checkpoints.load(path)
        if self.world.first:
            # Lines of steps after the checkpoint are written again as these steps are taken again.
            self.run_dir.truncate_metrics(state["metrics"])
        self.evaluator.resume(self.run_dir.metrics() if self.world.first else ())
        return int(state["step"])

    def _gather(self) -> None:
        """Collect the sharded weights in the first process."""
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        full = StateDictOptions(full_state_dict=True, cpu_offload=True)
        weights = get_model_state_dict(self.module, options=full)
        if self.world.first:
            weights = {name.removeprefix("model."): value for name, value in weights.items()}
            self.student.load_full_state(weights)

    def _record(self, line: dict[str, Any]) -> None:
        if self.world.first:
            self.run_dir.add_metrics(line)
            if self.tensorboard is not None:
                self.tensorboard(line)
            self.on_metrics(line)

    def _raise_not_finite(self, step: int, items: Sequence[int], loss: float) -> None:
        """Raise `TrainingError` that names the rows whose loss is not finite."""
        dataset = self.data.train
        problem = f"the loss is {loss}" if not math.isfinite(loss) else "the gradient is no finite number"
        rows = []
        with torch.no_grad(), precision_of(self.options, self.world.device):
            # One process cannot run forward passes of its own: the others would wait.
            for item in items if self.world.size == 1 else ():
                batch = dataset.batch([item])
                _, sums = self.module(self._on_device(batch), dict.fromkeys(batch.counts, 0.0))
                if not all(math.isfinite(value) for value in sums.values()):
                    rows.append(dataset.describe_item(item))
        if 0 < len(rows) < len(items):
            cause = "on " + ", ".join(rows[:8]) + (f" and {len(rows) - 8:,} more" if len(rows) > 8 else "")
        else:
            named = ", ".join(dataset.describe_item(item) for item in items[:8])
            cause = f"on no row in particular: the step had {named}" + (" …" if len(items) > 8 else "")
        advice = (
            "lower --learning-rate, lengthen --warmup, or look at these rows; the last checkpoint is as it"
        )
        advice += " was before"
        # Not at a step of this run, which would have ended before: the weights were loaded like that.
        if self.world.size == 1 and (name := not_finite(self.student.model)):
            advice = f"the model's weights {name} hold NaN or infinite numbers: begin with another --model"
        raise TrainingError(f"step {step + 1}: {problem}, {cause}; {advice}")


def compile_module(module: nn.Module) -> Callable[..., Any]:
    """Return the module with a compiled forward pass."""
    from transformers import AttentionInterface

    from dataprep.train.layers import encoder_decoder, packed_attention

    # Attention inside documents depends on their lengths. Compiled, it would be compiled again for nearly
    # every batch, for minutes; so it runs as it is, and the code between two calls is compiled once.
    for layer in (packed_attention, encoder_decoder):
        AttentionInterface.register(layer.NAME, torch.compiler.disable(layer.attend))
    compiled: Callable[..., Any] = torch.compile(module, dynamic=True)
    return compiled
