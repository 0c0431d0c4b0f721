"""A run's directory: options, metrics, checkpoints, the student itself, its loss curve and its model card.

- options.toml: data and options; `dataprep train --config options.toml` repeats the run
- facts.json: facts about data and model
- metrics.jsonl: a line for each step, and one for each evaluation
- results.json: the results of a finished run
- loss.png: the curve of both losses
- checkpoints/: states to continue from; a finished run needs none
- best/: the weights of the best step, with `--keep-best`; a finished run needs none
- tokens/: chat rows as token shards
- tensorboard/: the metrics for TensorBoard, with `--tensorboard`
- README.md: the student's model card
- config.json, model.safetensors, tokenizer.json, …: the student, as `transformers` loads it
"""

from __future__ import annotations

import os
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from dataprep import __version__
from dataprep.core.errors import FileError, InputError, UsageError, first_line
from dataprep.core.io import new_folder, write_text, writing
from dataprep.core.options import absolute, to_config, to_toml
from dataprep.core.records import describe
from dataprep.tokens.shards.writing import locked
from dataprep.train.machines import wait_for
from dataprep.train.options import TrainOptions

if TYPE_CHECKING:
    from dataprep.train.hardware.distributed import World
    from dataprep.train.remote import RemoteRun

OPTIONS, FACTS, METRICS, TOKENS = "options.toml", "facts.json", "metrics.jsonl", "tokens"
RESULTS = "results.json"
# The record of a cross-fit run: for each row of its data, the fold that holds it.
FOLDS_FILE = "folds.json"
# The fields that a line of metrics must have: of a step, or of an evaluation.
_STEP, _EVALUATION = ("step", "loss", "tokens", "seconds"), ("step", "eval_loss")


def fold_name(number: int) -> str:
    """Return the name of the directory of the run of `--cross-fit` that has not seen a fold."""
    return f"fold-{number}"


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


@contextmanager
def working_in(path: Path) -> Iterator[None]:
    """Create a run's directory, and keep other runs out of it until the end."""
    if path.exists() and not path.is_dir():
        raise UsageError(f"-o {path}: expected a directory, found a file")
    with writing(str(path)):
        path.mkdir(parents=True, exist_ok=True)
    # Two runs would write into each other's metrics and checkpoints.
    with locked(path, "another run works in it: wait for it, or give another directory with -o"):
        try:
            yield
        finally:
            with suppress(OSError):  # not empty: the run took a step
                path.rmdir()


class RunDir:
    """A run's directory.

    Args:
        path: the directory, of this machine or shared by all machines.
        remote: where the run is kept, if the directory is only this machine's copy of it.
        name: what the user knows the run by. Defaults to the path.
    """

    def __init__(self, path: str | Path, remote: RemoteRun | None = None, name: str = "") -> None:
        self.path, self.remote, self.name = Path(path), remote, name or str(path)
        # `branch` has the checkpoint that the second student of `--qat` starts from.
        # `best` has the weights of the best step of `--keep-best`.
        self.checkpoints, self.branch = self.path / "checkpoints", self.path / "branch"
        self.best = self.path / "best"
        self._metrics = self.path / METRICS
        self._new = False

    def inside(self, name: str) -> RunDir:
        """Return the directory of another run, in this one."""
        return RunDir(self.path / name, self.remote, f"{self.name}/{name}")

    def publish(self, *, last: bool = False) -> None:
        """Bring the files to where the run is kept."""
        if self.remote is not None:
            self.remote.publish(last=last)

    def share(self, world: World, path: Path) -> None:
        """Wait until all processes see a file that the first one has written."""
        if world.first:
            self.publish()
        world.wait()
        if self.remote is not None:
            self.remote.fetch(world)
        wait_for(path)

    def begin(
        self,
        options: TrainOptions,
        data: Sequence[str],
        eval_data: Sequence[str],
        rejects: str | Path | None = None,
        *,
        resume: bool,
    ) -> None:
        """Create the directory; when resuming, check that the options are the same."""
        recorded = self._read(OPTIONS, tomllib.loads)
        if resume and recorded is not None:
            if other := options.differences(recorded):
                raise UsageError(
                    f"--resume: the run in {self.name} was begun with another {', '.join(other)}: give the "
                    "same, or begin a new run"
                )
            return
        if self.path.is_dir() and any(self.path.iterdir()):
            has = "a run" if (self.path / OPTIONS).is_file() else "other files"
            raise UsageError(f"-o {self.name}: the directory holds {has} already; --resume continues a run")
        self._new = True
        with writing(str(self.path)):
            self.path.mkdir(parents=True, exist_ok=True)
            self._metrics.write_bytes(b"")
            paths: dict[str, Any] = {"data": [*map(absolute, data)], "eval": [*map(absolute, eval_data)]}
            if rejects is not None:
                paths["rejects"] = str(Path(rejects).absolute())
            head = f"# dataprep {__version__}: `dataprep train --config FILE` repeats this run.\n"
            self._write(OPTIONS, head + to_toml(paths | to_config(options)))

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Remove a new run that fails before its first step."""
        try:
            yield
        except BaseException:
            if self._new:
                # Another program may have put files into the directory: they stay.
                for name in (OPTIONS, FACTS, METRICS):
                    (self.path / name).unlink(missing_ok=True)
                shutil.rmtree(self.path / TOKENS, ignore_errors=True)
                if self.remote is not None:
                    self.remote.remove()
            raise

    def record(self, facts: Mapping[str, Any], *, resume: bool) -> None:
        """Record facts; when resuming, check that the data are the same."""
        # As read back from the file: tuples become lists, which would otherwise differ.
        plain = orjson.loads(orjson.dumps(facts))
        before = self._read(FACTS, orjson.loads)
        # Only the data: the number of parameters or the class's name can change with a library's version.
        if resume and before is not None and before.get("data") != plain.get("data"):
            raise UsageError(
                f"--resume: the data of the run in {self.name} were others (by their SHA-256): give the same "
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
            document = parse(path.read_text("utf-8"))
            if not isinstance(document, dict):
                raise ValueError(f"found {describe(document)}, expected an object")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            reason = first_line(error)
            raise InputError(path, f"damaged: {reason}; start a new run in another directory") from None
        return document

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
        if (found := self.metrics_size()) < size:
            raise InputError(
                self._metrics,
                f"found {found:,} bytes; the checkpoint was written after {size:,}: bring the file back, or "
                "start a new run",
            )
        with writing(str(self._metrics)):
            os.truncate(self._metrics, size)

    def metrics(self) -> list[dict[str, Any]]:
        """Return all lines of metrics."""
        try:
            lines = self._metrics.read_bytes().split(b"\n")
        except OSError as error:
            raise FileError(self._metrics, f"cannot be read: {error.strerror}") from None
        return [_metrics_of(line, f"{self._metrics}:{n}") for n, line in enumerate(lines, 1) if line]

    def summary(self) -> dict[str, Any]:
        """Return steps, tokens, seconds, and the first and last losses."""
        lines = self.metrics()
        steps = [line for line in lines if "loss" in line]
        evaluations = [line for line in lines if "eval_loss" in line]
        if not steps:
            raise InputError(self._metrics, "damaged: it has no line of a step; start a new run")
        summary: dict[str, Any] = {
            "steps": steps[-1]["step"],
            "tokens": sum(line["tokens"] for line in steps),
            "seconds": sum(line["seconds"] for line in steps),
            "loss_first": steps[0]["loss"],
            "loss_last": steps[-1]["loss"],
        }
        if (planned := steps[-1].get("steps", summary["steps"])) > summary["steps"]:
            summary["planned_steps"] = planned  # --patience ended the run
        if evaluations:
            # The student has the weights of the best step, if one was kept.
            best = evaluations[-1].get("best", {})
            kept = {line["step"]: line for line in evaluations}[best.get("step", evaluations[-1]["step"])]
            summary |= {"eval_loss_before": evaluations[0]["eval_loss"], "eval_loss": kept["eval_loss"]}
            summary |= {name: value for name, value in kept.items() if name.startswith("eval_loss_")}
            summary |= {"best": best} if best else {}
        return summary

    @contextmanager
    def saving(self) -> Iterator[Path]:
        """Yield a folder for the student's files, and move them into place at the end."""
        from safetensors import SafetensorError

        try:
            # In the run's directory, so that moving the files is a rename on the same disk.
            with writing(str(self.path)), new_folder(self.path / "student", 0o777) as partial:
                yield partial
                # safetensors lets only the owner read its files, whatever the umask allows.
                mode = partial.stat().st_mode & 0o666
                for file in partial.rglob("*.safetensors"):
                    file.chmod(mode)
                # config.json last: without it, the directory does not load as a model.
                for file in sorted(partial.iterdir(), key=lambda file: file.name == "config.json"):
                    if file.is_dir():  # cannot replace a directory that is not empty
                        shutil.rmtree(self.path / file.name, ignore_errors=True)
                    file.replace(self.path / file.name)
        except (FileError, RuntimeError, SafetensorError) as error:
            # A full disk, as torch (RuntimeError) and safetensors report it.
            is_file = isinstance(error, FileError)
            if not is_file and not any(word in str(error) for word in ("space", "write", "os error")):
                raise
            reason = (
                error.message if isinstance(error, FileError) else f"cannot be written: {first_line(error)}"
            )
            hint = "free some space, and --resume continues from the last checkpoint"
            raise FileError(self.path, f"the student {reason}; {hint}") from None

    def finish(self, results: Mapping[str, Any]) -> None:
        """Record the results of a run whose student is saved."""
        files = sorted([*self.path.glob("*.safetensors"), *self.path.glob("config.json")])
        document = {"results": results, "files": {file.name: file.stat().st_size for file in files}}
        with writing(str(self.path)):
            self._write(RESULTS, orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")

    def finished(self) -> dict[str, Any] | None:
        """Return the results of a finished run whose student is still there, else `None`."""
        document = self._read(RESULTS, orjson.loads) or {}
        results, files = document.get("results"), document.get("files")
        if not isinstance(results, dict) or not isinstance(files, dict) or not files:
            return None
        sizes = {name: (self.path / name).stat().st_size for name in files if (self.path / name).is_file()}
        return _with_nan(results) if sizes == files else None

    def remove_checkpoints(self, *, branch: bool = True) -> None:
        """Remove the checkpoints of a finished run, which are several times as large as the student."""
        for folder in (self.checkpoints, self.best, *([self.branch] if branch else [])):
            for pattern in ("step-*.pt", ".step-*.partial"):
                for path in folder.glob(pattern):
                    path.unlink(missing_ok=True)
            with suppress(OSError):  # not there, or it holds something else
                folder.rmdir()


def _with_nan(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return metrics or results with the losses of evaluations that were NaN; JSON has null for them."""
    losses = (name for name, value in found.items() if value is None and name.startswith("eval_loss"))
    return {**found, **dict.fromkeys(losses, nan)}


def _metrics_of(line: bytes, where: str) -> dict[str, Any]:
    try:
        found = _with_nan(orjson.loads(line))
        for names in (_STEP, _EVALUATION):
            if all(type(found.get(name)) in (int, float) for name in names):
                metrics: dict[str, Any] = found
                return metrics
        reason = "not a line of metrics"
    except (ValueError, AttributeError) as error:
        reason = first_line(error)
    raise InputError(where, f"damaged: {reason}; bring the file back, or start a new run")


@contextmanager
def advise_on_interrupt(run_dir: RunDir, log: Callable[[str], None]) -> Iterator[None]:
    """Log how to resume a run that is stopped by Ctrl-C or SIGTERM."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        steps = [int(path.stem.removeprefix("step-")) for path in run_dir.checkpoints.glob("step-*.pt")]
        start = "starts again: there is no checkpoint yet"
        if steps:
            start = f"continues after step {max(steps):,}"
        log(f"interrupted: the same command with -o {run_dir.name} --resume {start}")
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
                    # A figure can be undefined, and the best step is no curve.
                    if name not in ("step", "steps") and isinstance(value, int | float):
                        writer.add_scalar(name, value, line["step"])

            for line in run_dir.metrics():
                add(line)
            yield add
