"""The loop: steps over batches, with measurements on held-out rows and checkpoints between them.

What a step does depends on its number, the options and the seed, and on nothing that happened before but the
weights and the optimizer's state; so a run that was killed goes on from a checkpoint as if nothing had been.

Memory: how much was in use, and what helps where there is not enough.

``--compile``: what torch's compiler makes of a run, and what it leaves alone.

Attention inside documents depends on where each of them ends. Compiled, it would be compiled anew for
nearly every batch, for minutes; so it is called as it is, and what lies between two calls of it is compiled
once, for all lengths.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dataprep.core.errors import TrainingError
from dataprep.train.batches import Plan
from dataprep.train.checkpoints import Checkpoints
from dataprep.train.distributed import World, spread
from dataprep.train.objective import Batch, Objective, Setup, TrainingSet
from dataprep.train.options import TrainOptions, factor, make_optimizer
from dataprep.train.tensorboard import Board, board_of

if TYPE_CHECKING:
    from dataprep.train.run_dir import RunFolder


def compiled(step: nn.Module) -> Any:
    """A module whose forward pass is compiled."""
    import torch
    from transformers import AttentionInterface

    from dataprep.train.layers import encoder_decoder, packed_attention

    for room in (packed_attention, encoder_decoder):
        AttentionInterface.register(room.NAME, torch.compiler.disable(room.attend))
    return torch.compile(step, dynamic=True)


@contextmanager
def explained(options: TrainOptions) -> Iterator[None]:
    """Turn a lack of memory into a ``TrainingError`` that says what helps."""
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        full = isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(
            error
        )
        if not full:
            raise
        advice = []
        if options.batch_size > 1:
            size = options.batch_size
            part = next(each for each in range(size // 2, 0, -1) if size % each == 0)
            many = size // part * options.accumulate
            advice.append(f"--batch-size {part} --accumulate {many} (the same loss)")
        if not options.gradient_checkpointing:
            advice.append("--gradient-checkpointing")
        advice += ["a shorter --max-length with --truncation drop"]
        if options.lora is None:
            advice.append("--lora 16")
        raise TrainingError(f"memory is full; what helps, in this order: {', '.join(advice)}") from None


def memory_mb() -> float:
    """The most memory that was in use so far, in MB: the GPU's, or this process's."""
    import torch

    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 1e6
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


Watch = Callable[[dict[str, Any]], None]


class Step(nn.Module):
    """A model and what it is trained for as one module, whose forward pass gives the loss.

    Wrappers for several processes see all weights used inside it, the output layer's among them.
    """

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(
        self, tensors: Mapping[str, Tensor], scales: Mapping[str, float]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """``Σ scale · sum`` over the parts of the loss, and the sums themselves."""
        sums = self.objective.sums(self.model, tensors)
        used = [sums[name] * scales[name] for name in sums]
        loss = torch.stack(used).sum() if used else 0.0 * next(self.model.parameters()).sum()
        return loss, {name: value.detach() for name, value in sums.items()}


class Loop:
    """One run.

    Args:
        setup: model, objective and data.
        options: what was chosen.
        world: the processes of the run.
        folder: where metrics and checkpoints go.
        watch: called with every line of metrics.
    """

    def __init__(
        self, setup: Setup, options: TrainOptions, world: World, folder: RunFolder, watch: Watch
    ) -> None:
        self.setup, self.options, self.world, self.folder, self.watch = setup, options, world, folder, watch
        self.plan = Plan.of(len(setup.training), options, world)
        self.rate = options.learning_rate or setup.learning_rate
        setup.model.to(world.device)
        self.step = spread(Step(setup.model, setup.objective), world, fsdp=options.fsdp)
        self.optimizer = make_optimizer(self.step, options, self.rate)
        self.checkpoints = Checkpoints(folder.checkpoints, self.step, self.optimizer, world)
        self.call = compiled(self.step) if options.compile else self.step
        self.board: Board | None = None

    def run(self, *, resume: bool = False) -> dict[str, Any]:
        """Train to the end; the losses on the held-out rows before and after."""
        first = self._resume() if resume or self.setup.start else 0
        shows = self.options.tensorboard and self.world.first
        with board_of(self.folder) if shows else nullcontext() as self.board:
            self._steps(first)
        if self.options.fsdp:
            self._gather()
        return self.folder.summary()

    def _steps(self, first: int) -> None:
        """Take the steps from ``first`` on, with what comes between them."""
        if first == 0:
            self.measure(0)
        self.setup.model.train()
        for number, items in self.plan.of_steps(first):
            with explained(self.options):
                line = self._take(number, items)
            self._record(line)
            self._afterwards(number + 1)

    def _gather(self) -> None:
        """Put the divided weights together in the first process."""
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
        weights = get_model_state_dict(self.step, options=whole)
        if self.world.first and self.setup.adopt is not None:
            own = {name.removeprefix("model."): value for name, value in weights.items()}
            self.setup.adopt(own)

    def _afterwards(self, done: int) -> None:
        """What comes after a step: ``done`` are done."""
        last = done == self.plan.steps
        every = self.options.eval_every
        if last or (every and done % every == 0):
            self.measure(done)
        if done == self.setup.branch:  # first: a run that goes on from its checkpoint comes here no more
            branch = Checkpoints(self.folder.branch, self.step, self.optimizer, self.world)
            branch.save(done, {"metrics": self.folder.size()}, keep=1)
        if self.options.save_every and done % self.options.save_every == 0 and not last:
            self.checkpoints.save(done, {"metrics": self.folder.size()}, keep=self.options.keep)

    def _resume(self) -> int:
        """The step to go on with."""
        found = self.checkpoints.latest() or self.setup.start
        state = {"step": 0, "metrics": 0} if found is None else self.checkpoints.load(found)
        if self.world.first:
            self.folder.cut(state["metrics"])
        return int(state["step"])

    def _take(self, number: int, items: list[int]) -> dict[str, Any]:
        """One step of the optimizer; its line of metrics."""
        start = time.perf_counter()
        rate = self.rate * factor(number, self.plan.steps, self.options.warmup, self.options.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        micro = [(bool(each), self.setup.training.batch(each or items[:1])) for each in self._shares(items)]
        counts = self._total(batch.counts for real, batch in micro if real)
        scales = self._scales(counts)
        sums: dict[str, float] = dict.fromkeys(counts, 0.0)
        for place, (real, batch) in enumerate(micro):
            used = scales if real else dict.fromkeys(scales, 0.0)  # so that all processes do the same
            found = self._pass(batch, used, last=place == len(micro) - 1)
            for name, value in found.items():
                sums[name] += float(value) if real else 0.0
        tokens = int(
            self.world.total({"tokens": sum(batch.tokens for real, batch in micro if real)})["tokens"]
        )
        sums = self.world.total(sums)
        parts = {name: sums[name] / counts[name] for name in sums if counts[name]}
        loss = self._weighted(parts)
        norm = self._norm()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._blame(number, items, loss)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - start
        line = {"step": number + 1, "steps": self.plan.steps, "loss": loss}
        line |= {f"loss_{name}": value for name, value in parts.items()} if len(parts) > 1 else {}
        line |= {"learning_rate": rate, "gradient_norm": norm, "tokens": tokens, "items": len(items)}
        return line | {"seconds": seconds, "tokens_per_second": tokens / seconds, "memory_mb": memory_mb()}

    def _shares(self, items: list[int]) -> list[list[int]]:
        """The items of this process's batches in a step; as many as every other's, so some may be empty."""
        size = self.options.batch_size
        mine = self.world.share(items)
        number = math.ceil(math.ceil(len(items) / self.world.size) / size)
        return [mine[place * size : (place + 1) * size] for place in range(number)]

    def _total(self, counts: Iterator[dict[str, int]]) -> dict[str, float]:
        total: dict[str, float] = dict.fromkeys(self.setup.objective.weights, 0)
        for each in counts:
            for name, value in each.items():
                total[name] += value
        return self.world.total(total)

    def _scales(self, counts: Mapping[str, float]) -> dict[str, float]:
        """What each part's sum is multiplied by; wrappers for several processes divide by their number."""
        weights = self.setup.objective.weights
        return {
            name: self.world.size * weights[name] / count if count else 0.0 for name, count in counts.items()
        }

    def _weighted(self, parts: Mapping[str, float]) -> float:
        return sum(self.setup.objective.weights[name] * value for name, value in parts.items())

    def _pass(self, batch: Batch, scales: Mapping[str, float], *, last: bool) -> dict[str, Tensor]:
        """Forward and backward; gradients are exchanged after the last batch of a step."""
        tensors = {name: each.to(self.world.device) for name, each in batch.tensors.items()}
        with ExitStack() as stack:
            if not last and hasattr(self.step, "no_sync"):
                stack.enter_context(self.step.no_sync())
            if hasattr(self.step, "set_requires_gradient_sync"):
                self.step.set_requires_gradient_sync(last)
            with self.precision():
                loss, sums = self.call(tensors, scales)
            loss.backward()
        return sums

    def precision(self) -> Any:
        """The number format that models compute in."""
        kind = precision_of(self.options, self.world)
        if kind == "float32":
            return nullcontext()
        return torch.autocast(self.world.device.type, dtype=torch.bfloat16)

    def _norm(self) -> float:
        """The gradient's norm, before it was cut."""
        trained = [each for each in self.step.parameters() if each.grad is not None]
        limit = self.options.clip or float("inf")
        norm = nn.utils.clip_grad_norm_(trained, limit)
        return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)

    @torch.no_grad()
    def measure(self, step: int) -> None:
        """The loss on the held-out rows, recorded under ``step``.

        Where they have only parts that nothing is trained for (gold labels, and the teacher's share is 1),
        these are what is measured: a loss of 0 would say that all is learned.
        """
        data = self.setup.held_out
        if data is None:
            return
        self.setup.model.eval()
        with explained(self.options), self.precision():
            parts = self._mean_parts(data)
        self.setup.model.train()
        trained = any(self.setup.objective.weights[name] for name in parts)
        line = {"step": step, "eval_loss": self._weighted(parts) if trained else sum(parts.values())}
        if len(self.setup.objective.weights) > 1:
            line |= {f"eval_loss_{name}": value for name, value in parts.items()}
        self._record(line)

    def _mean_parts(self, data: TrainingSet) -> dict[str, float]:
        """Each part of the loss, as a mean over all tokens of a set."""
        sums: dict[str, float] = dict.fromkeys(self.setup.objective.weights, 0.0)
        counts: dict[str, float] = dict.fromkeys(sums, 0.0)
        size = self.options.batch_size
        numbers = list(range(len(data)))
        for start in range(0, len(numbers), size * self.world.size):
            together = numbers[start : start + size * self.world.size]
            mine = self.world.share(together)
            batch = data.batch(mine or together[:1])
            tensors = {name: each.to(self.world.device) for name, each in batch.tensors.items()}
            _, found = self.step(tensors, dict.fromkeys(sums, 0.0))
            for name, value in found.items() if mine else ():
                sums[name] += float(value)
                counts[name] += batch.counts[name]
        sums, counts = self.world.total(sums), self.world.total(counts)
        return {name: sums[name] / counts[name] for name in sums if counts[name]}

    def _record(self, line: dict[str, Any]) -> None:
        if self.world.first:
            self.folder.add(line)
            if self.board is not None:
                self.board.add(line)
            self.watch(line)

    def _blame(self, number: int, items: Sequence[int], loss: float) -> None:
        """Raise ``TrainingError`` that names the rows whose loss is no number."""
        training = self.setup.training
        what = f"the loss is {loss}" if not math.isfinite(loss) else "the gradient is no finite number"
        rows = []
        with torch.no_grad():
            for item in items if self.world.size == 1 else ():
                batch = training.batch([item])
                tensors = {name: each.to(self.world.device) for name, each in batch.tensors.items()}
                with self.precision():
                    _, sums = self.step(tensors, dict.fromkeys(batch.counts, 0.0))
                if not all(math.isfinite(value) for value in sums.values()):
                    rows.append(training.where(item))
        if 0 < len(rows) < len(items):
            cause = "on " + ", ".join(rows[:8]) + (f" and {len(rows) - 8:,} more" if len(rows) > 8 else "")
        else:
            named = ", ".join(training.where(item) for item in items[:8])
            cause = f"on no row in particular: the step had {named}" + (" …" if len(items) > 8 else "")
        raise TrainingError(
            f"step {number + 1}: {what}, {cause}; lower --learning-rate, lengthen --warmup, or look at these "
            "rows; the last checkpoint is as it was before"
        )


def precision_of(options: TrainOptions, world: World) -> str:
    """``float32`` or ``bfloat16``."""
    if options.precision != "auto":
        return options.precision
    return "bfloat16" if world.device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
