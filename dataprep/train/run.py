"""One run from beginning to end: options, data, model, loop, evaluation, saving."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataprep.core.errors import UsageError
from dataprep.core.optional import require
from dataprep.train.objectives.detect import objective_of, refuse_foreign
from dataprep.train.options import TrainOptions
from dataprep.train.run_dir import RunFolder, interrupted, new_folder, newest_folder
from dataprep.train.tensorboard import check_board

if TYPE_CHECKING:
    from dataprep.train.objective import Job, Setup

ROOMS = {
    "sft": "sft",
    "logits": "distillation",
    "rationale": "rationale",
    "soft-label": "soft_label.objective",
}
"""The module that sets up a run for each objective, each with a function ``setup``."""

MODELS = {"sft": "llama-tiny", "logits": "llama-tiny", "rationale": "t5-tiny", "soft-label": "tiny"}
"""The preset that is trained for each objective where no model is chosen."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a run came to.

    Attributes:
        path: its directory, which loads as a model.
        objective: what it was trained for.
        results: ``steps``, ``tokens``, ``seconds``; losses in nats a trained token (or row): of the first
            and the last step (``loss_first``, ``loss_last``), on the held-out rows before and after
            (``eval_loss_before``, ``eval_loss``); what the objective measures besides.
    """

    path: Path
    objective: str
    results: dict[str, Any]


def train(
    data: str | Path | Sequence[str | Path],
    held_out: str | Path | Sequence[str | Path] = (),
    output: str | Path | None = None,
    *,
    root: str | Path = ".",
    options: TrainOptions | None = None,
    resume: bool = False,
    watch: Callable[[dict[str, Any]], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Trained:
    """Train a student and write it, with all that was measured, into a directory.

    Under ``torchrun`` each process calls it alike, and they share the work.

    Args:
        data: files of rows in any format that dataprep reads, or a directory of token shards.
        held_out: rows that the loss is measured on.
        output: the run's directory. Default: a new one in ``runs/``; with ``resume`` the newest, if any.
        root: the folder that ``runs/`` is in.
        options: what was chosen.
        resume: go on with the run in ``output`` from its last checkpoint.
        watch: called with every line of metrics.
        tell: called with what there is to say besides, a line at a time.

    Raises:
        UsageError: an option that cannot be served, or that contradicts the data or the run so far.
        InputError: a row is of the wrong kind for the objective, or too long.
        TokenizerError: the tokenizer does not fit the model or the shards.
        TrainingError: the loss is no number, memory is full, a checkpoint is another model's.
        FileError: a file cannot be read or written.
        MissingDependencyError: the extra ``train`` is not installed, or one that an option needs.
    """
    options = options or TrainOptions()
    for package in ("torch", "transformers", "safetensors"):
        require(package, extra="train", feature="training a student")
    if options.tensorboard:
        check_board()
    paths, others = _paths(data), _paths(held_out)
    objective = objective_of(paths, options, others)
    refuse_foreign(objective, options)
    if options.model == "auto":
        options = replace(options, model=MODELS[objective])
    return _run(objective, paths, others, output, root, options, resume, watch or _ignore, tell or _ignore)


def _run(
    objective: str,
    data: list[str],
    held_out: list[str],
    output: str | Path | None,
    root: str | Path,
    options: TrainOptions,
    resume: bool,
    watch: Callable[[dict[str, Any]], None],
    tell: Callable[[str], None],
) -> Trained:
    import torch

    from dataprep.core.optional import quiet
    from dataprep.train.distributed import processes
    from dataprep.train.model_card import draw_curve, write_card
    from dataprep.train.objective import Job
    from dataprep.train.quantization import quantization_aware
    from dataprep.train.trainer import Loop

    with quiet(), processes(options.device) as world:
        folder = RunFolder(world.agree(_place(output, root, resume=resume) if world.first else None))
        if world.first:
            folder.begin(options, resume=resume)
        world.wait()
        job = Job(data, held_out, options, folder, world, tell if world.first else _ignore)
        with folder.preparing():
            setup = _prepared(objective, job, resume=resume)
        if options.qat is not None:
            with interrupted(folder, job.tell):
                setup = quantization_aware(setup, job, watch, resume=resume)
        torch.manual_seed(options.seed + world.rank)
        with interrupted(folder, job.tell):
            results = Loop(setup, options, world, folder, watch).run(resume=resume)
        if world.first:
            results |= setup.results()
            with folder.saving() as place:
                setup.save(place)
                used = replace(options, learning_rate=options.learning_rate or setup.learning_rate)
                write_card(place, objective, used, setup.facts, results)
            draw_curve(folder)
        world.wait()
    return Trained(folder.path, objective, results)


def _prepared(objective: str, job: Job, *, resume: bool) -> Setup:
    """Model, data and objective; what the data are is recorded."""
    import torch

    from dataprep.train.lora import with_updates
    from dataprep.train.quantization import checked

    torch.manual_seed(job.options.seed)
    setup: Setup = import_module(f"dataprep.train.objectives.{ROOMS[objective]}").setup(job)
    if job.options.lora is not None:
        setup = with_updates(setup, job.options.lora)
    _check_processes(setup, job)
    if job.options.qat is not None:
        checked(setup, job)
    if job.world.first:
        job.folder.record(setup.facts, resume=resume)
    return setup


def _check_processes(setup: Setup, job: Job) -> None:
    """Raise ``UsageError`` where ``--fsdp`` cannot divide the model."""
    if job.options.fsdp and setup.adopt is None:
        raise UsageError(f"--fsdp: not for the objective {setup.objective_name}; leave it out")
    if job.options.fsdp and job.world.size == 1:
        raise UsageError("--fsdp divides the model among processes: start several with torchrun")


def _place(output: str | Path | None, root: str | Path, *, resume: bool) -> str:
    """The run's directory."""
    if output is not None:
        return str(output)
    found = newest_folder(root) if resume else None
    return str(found or new_folder(root, datetime.now().astimezone()))


def _paths(given: str | Path | Sequence[str | Path]) -> list[str]:
    found = [str(given)] if isinstance(given, str | Path) else [str(path) for path in given]
    for path in found:
        if path == "-":
            raise UsageError(
                "training reads its rows again and again: give a file in place of standard input"
            )
    return found


def _ignore(_: Any) -> None:
    """Say nothing."""
