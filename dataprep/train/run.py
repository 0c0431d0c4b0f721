"""A whole training run: options, model, dataset, objective, trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from dataprep.core import provenance
from dataprep.core.errors import UsageError, first_line
from dataprep.core.io import Rejects, Unchanged, check_distinct, files_of, open_rejects
from dataprep.core.optional import quiet, require
from dataprep.core.urls import is_url
from dataprep.tokens.shards.manifest import is_shards
from dataprep.train.objectives.registry import ObjectiveSpec, choose_objective
from dataprep.train.options import TrainOptions
from dataprep.train.run_dir import (
    FOLDS_FILE,
    RunDir,
    advise_on_interrupt,
    new_run_path,
    newest_run_path,
    tensorboard_of,
    working_in,
)

if TYPE_CHECKING:
    from dataprep.train.hardware.distributed import World
    from dataprep.train.objective import TrainContext
    from dataprep.train.trainer import Trainer

# The student. The other files of a run hold times, and differ between two runs.
_STUDENT = (
    "*.safetensors",
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens*",
    "*.jinja",
)
# The same of a run with --cross-fit, and what `predict --cross-fit` needs besides.
_FOLDS = (FOLDS_FILE, "rows/*", *(f"*/{name}" for name in _STUDENT))


@dataclass(frozen=True, slots=True)
class Trained:
    """The outcome of a run.

    Attributes:
        path: its directory, which loads as a model; a text if it is a URL.
        objective: the name of its objective.
        results: `steps`, `tokens`, `seconds`; losses in nats per token in the loss (or per row): of the
            first and the last step (`loss_first`, `loss_last`), on the evaluation rows before and after
            (`eval_loss_before`, `eval_loss`); and what the objective measures.
    """

    path: Path | str
    objective: str
    results: dict[str, Any]


def train(
    data: str | Path | Sequence[str | Path],
    eval_data: str | Path | Sequence[str | Path] = (),
    output: str | Path | None = None,
    *,
    root: str | Path = ".",
    options: TrainOptions | None = None,
    resume: bool = False,
    rejects: str | Path | None = None,
    workers: int | None = None,
    on_metrics: Callable[[dict[str, Any]], None] | None = None,
    log: Callable[[str], None] | None = None,
) -> Trained:
    """Train a student, and write it with its metrics into a directory.

    Under `torchrun` every process calls it with the same arguments, and they share the work.

    Args:
        data: files of rows in any format that dataprep reads, or a directory of token shards. Each machine
            fetches those with URLs into a temporary folder.
        eval_data: rows that the evaluation loss is measured on.
        output: the run's directory. Defaults to a new one in `runs/`; with `resume`, to the newest there.
            Several machines share it. Of a URL, each has a copy in a temporary folder, and checkpoints and
            the student are written to the store when they are finished.
        root: the folder that contains `runs/`.
        options: the options.
        resume: continue the run in `output` from its last checkpoint.
        rejects: a file for bad rows. Without it, the first bad row raises.
        workers: number of processes that tokenize; `None` takes every core for large inputs.
        on_metrics: called with each line of metrics.
        log: called with each line of other messages.

    Raises:
        UsageError: an option cannot be served, or contradicts the data or the run so far.
        InputError: a row is of the wrong kind for the objective, or too long.
        TokenizerError: the tokenizer does not match the model or the shards.
        TrainingError: the loss is not finite, memory is full, or a checkpoint belongs to another model.
        FileError: a file cannot be read or written.
        MissingDependencyError: the extra `train`, or one that an option needs, is not installed.
    """
    options = options or TrainOptions()
    for package in ("torch", "transformers", "safetensors"):
        require(package, extra="train", feature="training a student")
    if options.tensorboard:
        require("tensorboard", extra="tensorboard", feature="--tensorboard")
    paths, eval_paths = _paths(data), _paths(eval_data)
    check_distinct(rejects, [], [*paths, *eval_paths])
    # The first rows are read before torch is imported: an error in them is reported within a second.
    is_local = not any(map(is_url, [*paths, *eval_paths]))
    chosen = _Chosen.of(paths, eval_paths, options, rejects) if is_local else None
    if options.cross_fit is not None:
        from dataprep.train.cross_fit import check_cross_fit, train_folds

        place = _run_path(output, root, resume=resume)
        check_cross_fit([*paths, *eval_paths, place])
        assert chosen is not None  # all files are on this machine
        options = chosen.with_model(options)
        fold = partial(train, resume=resume, workers=workers, on_metrics=on_metrics, log=log)
        data_of = chosen.paths, chosen.eval_paths
        results = train_folds(fold, *data_of, place, options, rejects, log or _ignore, resume=resume)
        provenance.wrote(place, names=_FOLDS)
        return Trained(Path(place), chosen.spec.name, results)

    from dataprep.train.hardware.distributed import processes
    from dataprep.train.machines import machine_folder
    from dataprep.train.objective import SkippedRows, TrainContext
    from dataprep.train.remote import fetched

    with quiet(), processes(options.device) as world, ExitStack() as stack:
        log = (log if world.first else None) or _ignore
        # Only the first process looks for a free name, which the others must share.
        place = world.agree(_run_path(output, root, resume=resume) if world.first else None)
        folder = Path()
        if not is_local or is_url(place):
            folder = stack.enter_context(machine_folder(world))
        if chosen is None:
            local = stack.enter_context(fetched(world, folder, [*paths, *eval_paths]))
            chosen = _Chosen.of(local[: len(paths)], local[len(paths) :], options, rejects)
        options = chosen.with_model(options)
        run_dir = stack.enter_context(_opened(place, folder, world, log, resume=resume))
        bad: Rejects = SkippedRows()
        if world.first:
            run_dir.begin(options, paths, eval_paths, rejects, resume=resume)
        if world.first or rejects is None:
            bad = stack.enter_context(open_rejects(rejects))
        world.wait()
        # After begin(), which records the options as they were given.
        options = replace(options, learning_rate=options.learning_rate or chosen.spec.learning_rate(options))
        report = (log, on_metrics or _ignore)
        data_of = chosen.paths, chosen.eval_paths
        context = TrainContext(*data_of, options, run_dir, world, *report, bad, workers)
        results = _run(chosen.spec, context, chosen.unchanged, resume=resume)
        if world.first and run_dir.remote is None:
            provenance.wrote(run_dir.path, names=_STUDENT)
    return Trained(run_dir.name if run_dir.remote else run_dir.path, chosen.spec.name, results)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The files of a run, all on this machine, and their objective."""

    paths: list[str]
    eval_paths: list[str]
    spec: ObjectiveSpec
    unchanged: Unchanged

    @classmethod
    def of(
        cls, paths: list[str], eval_paths: list[str], options: TrainOptions, rejects: str | Path | None
    ) -> _Chosen:
        # A folder of parts is read as one file; shards have a reader of their own.
        read, eval_read = ([part for path in each for part in _files(path)] for each in (paths, eval_paths))
        unchanged = Unchanged([*read, *eval_read])
        spec = choose_objective(read, options, eval_read, skip_bad=rejects is not None)
        needing = {
            "--qat compares losses": options.qat is not None,
            "--keep-best compares steps": options.keep_best is not None,
            "--measure computes figures": options.measure,
        }
        if not eval_read and (flags := [flag for flag, is_given in needing.items() if is_given]):
            raise UsageError(f"{flags[0]} on evaluation rows: give --eval FILE")
        return cls(read, eval_read, spec, unchanged)

    def with_model(self, options: TrainOptions) -> TrainOptions:
        """Return the options with the objective's smallest preset in place of `auto`."""
        return replace(options, model=self.spec.preset) if options.model == "auto" else options


def _files(path: str) -> list[str]:
    return [path] if is_shards(path) else files_of(path)


@contextmanager
def _opened(
    place: str, folder: Path, world: World, log: Callable[[str], None], *, resume: bool
) -> Iterator[RunDir]:
    """Open the directory of a run, or this machine's copy of a run in a store."""
    from dataprep.train.machines import check_machines
    from dataprep.train.remote import RemoteRun

    with ExitStack() as stack:
        if is_url(place):
            remote = RemoteRun(place, folder / "run", log)
            remote.begin(world, resume=resume)
            run_dir = RunDir(remote.folder, remote, place)
        else:
            run_dir = RunDir(place)
        if world.first:
            stack.enter_context(working_in(run_dir.path))
        check_machines(world, None if run_dir.remote else run_dir.path)
        yield run_dir


def _run(spec: ObjectiveSpec, context: TrainContext, unchanged: Unchanged, *, resume: bool) -> dict[str, Any]:
    import torch

    from dataprep.train import quantization
    from dataprep.train.evaluation import settle_keep_best
    from dataprep.train.hardware.device import computing_with, threads_for
    from dataprep.train.lora import add_lora
    from dataprep.train.machines import check_same
    from dataprep.train.objective import facts_of
    from dataprep.train.trainer import BatchSampler, Trainer

    options, world, run_dir = context.options, context.world, context.run_dir
    start = scheme = None
    with run_dir.preparing():
        # The same seed in all processes, so that they create the same weights.
        torch.manual_seed(options.seed)
        objective_class = spec.load()
        if options.fsdp and not objective_class.supports_fsdp:
            raise UsageError(f"--fsdp: not for the objective {spec.name}; leave it out")
        if options.fsdp and world.size == 1:
            raise UsageError("--fsdp shards the model among processes: start several with torchrun")
        student: Any = objective_class.load_model(context)
        objective = objective_class(student, objective_class.load_dataset(context, student), context)
        objective.settle()
        context, options = objective.context, objective.context.options
        if options.keep_best is not None:
            sampler = BatchSampler.of(objective.data.train, options, world)
            context = settle_keep_best(objective, sampler.steps, sampler.steps_per_epoch)
            objective.context = context
        # After the objective: peft changes how gradient checkpointing treats the embeddings, which must be
        # enabled by then.
        lora = {} if options.lora is None else {"lora": add_lora(student, options.lora)}
        threads = threads_for(student.model, world.device.type)
        # On a GPU they would say nothing about the run's result.
        computing = {"threads": threads} if world.device.type == "cpu" else {}
        facts = {"objective": spec.name} | facts_of(objective) | lora | computing
        check_same(world, "training data", facts["data"])
        # Several passes read the data: the objective's choice, its rows, and the digest for the records.
        unchanged.check()
        if options.qat is not None:
            scheme = quantization.check(objective)
        if world.first:
            # Now, and not after hours of training.
            student.prepare_saving()
            run_dir.record(facts, resume=resume)
    done = run_dir.finished() if resume else None
    if world.agree("yes" if world.first and done else "no") == "yes":
        return _finished(context, done or {})
    with advise_on_interrupt(run_dir, context.log), computing_with(threads):
        if options.qat is not None:
            start = quantization.train_full_precision(objective, facts, scheme, resume=resume)
        # Another seed in each process, so that dropout differs between their batches.
        torch.manual_seed(options.seed + world.rank)
        trainer = Trainer(objective, context, start=start)
        trainer.run(resume=resume)
        results = _saved(spec, objective, facts, scheme, trainer) if world.first else {}
    return _agreed(world, results)


def _agreed(world: World, results: dict[str, Any]) -> dict[str, Any]:
    """Return the first process's results in all processes, when it has written everything."""
    text = world.agree(orjson.dumps(results).decode() if world.first else None)
    return results if world.first else dict(orjson.loads(text))


def _finished(context: TrainContext, results: dict[str, Any]) -> dict[str, Any]:
    """Return the results of a run that was finished before."""
    if context.world.first:
        context.log(f"the run in {context.run_dir.path} is finished: there is nothing to resume")
        if context.options.tensorboard:
            with tensorboard_of(context.run_dir):  # writes what was measured
                pass
        _clean_up(context)
    return _agreed(context.world, results)


def _saved(
    spec: ObjectiveSpec, objective: Any, facts: dict[str, Any], scheme: Any, trainer: Trainer
) -> dict[str, Any]:
    """Save a trained student; then measure it, and write what the run shows of itself."""
    from dataprep.train import quantization
    from dataprep.train.report import draw_curve, write_card

    context = objective.context
    options, run_dir = context.options, context.run_dir
    with run_dir.saving() as folder:
        objective.student.save(folder)
    if trainer.failure is not None:
        run_dir.publish()
        raise trainer.failure
    results = run_dir.summary()
    if warnings := trainer.evaluator.warnings:
        results["warnings"] = [*warnings]
    measurements = {"sample and metrics": objective.results}
    if options.qat is not None:
        measurements["comparison of quantized students"] = lambda: {
            "quantization": quantization.compare(objective, scheme)
        }
    for what, measure in measurements.items():
        try:
            measured = measure()
            # Each of them may have its own.
            if warnings := [*results.get("warnings", ()), *measured.pop("warnings", ())]:
                measured["warnings"] = warnings
            results |= measured
        except Exception as error:  # noqa: BLE001 - the student is trained and saved, whatever it was
            warning = f"no {what}: {type(error).__name__}: {first_line(error)}; the student is saved"
            context.log(f"warning: {warning}")
            results.setdefault("warnings", []).append(warning)
    if options.qat is not None:
        with run_dir.saving() as folder:
            quantization.save_quantized(run_dir.path, folder, scheme)
    # After the quantized copy, which has no card of its own.
    write_card(run_dir.path, spec.name, options, facts, results)
    draw_curve(run_dir)
    run_dir.finish(results)
    _clean_up(context)
    return results


def _clean_up(context: TrainContext) -> None:
    from dataprep.train.quantization import FULL_PRECISION

    if not context.options.keep_checkpoints:
        context.run_dir.remove_checkpoints()
        context.run_dir.inside(FULL_PRECISION).remove_checkpoints()
    context.run_dir.publish(last=True)


def _run_path(output: str | Path | None, root: str | Path, *, resume: bool) -> str:
    if output is not None:
        return str(output)
    # Without a run to resume, a new one starts: scripts can always pass --resume.
    newest = newest_run_path(root) if resume else None
    return str(newest or new_run_path(root, datetime.now().astimezone()))


def _paths(data: str | Path | Sequence[str | Path]) -> list[str]:
    paths = [str(data)] if isinstance(data, str | Path) else [str(path) for path in data]
    if "-" in paths:
        raise UsageError("training reads its rows in every epoch: give a file instead of standard input")
    return paths


def _ignore(_: Any) -> None:
    """Do nothing with a line of metrics or a message."""
