"""A run's directory: what was chosen, what was measured, and in the end the student itself.

options.json     what was chosen, and what the data were
metrics.jsonl    a line a step, and one for each measurement on held-out rows
loss.png         their curve
checkpoints/     states to go on from
tokens/          the rows of chats as token shards
tensorboard/     the metrics for TensorBoard, where it was asked for
README.md        the student's card
config.json, model.safetensors, tokenizer.json, …   the student, as ``transformers`` loads it
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from dataprep import __version__
from dataprep.core.errors import FileError, InputError, UsageError, first_line
from dataprep.core.io import writing
from dataprep.train.options import TrainOptions

OPTIONS, METRICS, CHECKPOINTS, BRANCH = "options.json", "metrics.jsonl", "checkpoints", "branch"
BOARD, TOKENS = "tensorboard", "tokens"


def new_folder(root: str | Path, now: datetime) -> Path:
    """A directory for a run that begins now: ``runs/2026-11-21_14-30-00`` below ``root``."""
    base = Path(root) / "runs"
    stamp = now.strftime("%Y-%m-%d_%H-%M-%S")
    names = [stamp, *(f"{stamp}-{number}" for number in range(2, 1000))]
    return next(base / name for name in names if not (base / name).exists())


def newest_folder(root: str | Path) -> Path | None:
    """The run that began last below ``root``; ``None`` where there is none."""
    base = Path(root) / "runs"
    found = sorted(base.glob(f"*/{OPTIONS}")) if base.is_dir() else []
    return found[-1].parent if found else None


class RunFolder:
    """A run's directory.

    Attributes:
        path: where it is.
        checkpoints: the folder of checkpoints.
        branch: the folder of a checkpoint that another run goes on from.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoints = self.path / CHECKPOINTS
        self.branch = self.path / BRANCH
        self._metrics = self.path / METRICS
        self._new = False

    def begin(self, options: TrainOptions, *, resume: bool) -> None:
        """Make the directory; or, to go on with a run, see that it was begun with the same options.

        Raises:
            UsageError: the directory holds something else, or the run was begun with other options.
            FileError: it cannot be written.
        """
        recorded = self.recorded()
        if resume and recorded is not None:
            self._new = False
            if other := options.differences(recorded["options"]):
                raise UsageError(
                    f"--resume: the run in {self.path} was begun with another {', '.join(other)}: give the "
                    "same, or begin a new run"
                )
            return
        self.check_free()
        self._new = True
        with writing(str(self.path)):
            self.path.mkdir(parents=True, exist_ok=True)
            self._metrics.write_bytes(b"")
            self._write(options.to_json(), None)

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Take a run back that ends before anything is trained, so that it can be begun again here.

        What was there before ``begin``, an empty directory or a run to go on with, stays.
        """
        try:
            yield
        except BaseException:
            if self._new:
                for name in (OPTIONS, METRICS):
                    (self.path / name).unlink(missing_ok=True)
                shutil.rmtree(self.path / TOKENS, ignore_errors=True)
                with suppress(OSError):  # where somebody else has put something into it
                    self.path.rmdir()
            raise

    def record(self, facts: Mapping[str, Any], *, resume: bool) -> None:
        """Record what is known of data and student; or see that the data are the same.

        Raises:
            UsageError: the run was begun on other data.
        """
        recorded = self.recorded()
        assert recorded is not None
        plain = orjson.loads(orjson.dumps(facts))
        before = recorded["facts"]
        if resume and before is not None and before.get("data") != plain.get("data"):
            raise UsageError(
                f"--resume: the data of the run in {self.path} were others (by their SHA-256): give the same "
                "files, or begin a new run"
            )
        with writing(str(self.path)):
            self._write(recorded["options"], plain)

    def _write(self, options: Mapping[str, Any], facts: Mapping[str, Any] | None) -> None:
        document = {"dataprep": __version__, "options": options, "facts": facts}
        partial = self.path / f".{OPTIONS}.partial"
        partial.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
        partial.replace(self.path / OPTIONS)

    def check_free(self) -> None:
        """Raise ``UsageError`` unless a run can begin here: there is nothing, or an empty directory."""
        if self.path.is_dir() and any(self.path.iterdir()):
            has = "a run" if (self.path / OPTIONS).is_file() else "other files"
            raise UsageError(
                f"-o {self.path}: the directory holds {has} already; --resume goes on with a run"
            )
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"-o {self.path}: expected a directory, found a file")

    def recorded(self) -> dict[str, Any] | None:
        """What ``options.json`` holds; ``None`` where no run was begun here.

        Raises:
            InputError: it is damaged.
        """
        path = self.path / OPTIONS
        try:
            found = orjson.loads(path.read_bytes())
            return {"options": dict(found["options"]), "facts": found["facts"]}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(path, f"damaged: {error}; begin the run anew in another directory") from None

    def add(self, line: Mapping[str, Any]) -> None:
        """Add a line of metrics."""
        with writing(str(self._metrics)), self._metrics.open("ab") as out:
            out.write(orjson.dumps(line) + b"\n")

    def size(self) -> int:
        """How many bytes of metrics there are."""
        return self._metrics.stat().st_size if self._metrics.is_file() else 0

    def cut(self, size: int) -> None:
        """Forget the metrics after a checkpoint."""
        with writing(str(self._metrics)):
            os.truncate(self._metrics, size)

    def lines(self) -> list[dict[str, Any]]:
        """All lines of metrics."""
        return [orjson.loads(line) for line in self._metrics.read_bytes().splitlines()]

    def summary(self) -> dict[str, Any]:
        """Losses on the held-out rows before and after, the last training loss, time and tokens."""
        lines = self.lines()
        steps = [line for line in lines if "loss" in line]
        held_out = [line for line in lines if "eval_loss" in line]
        found: dict[str, Any] = {
            "steps": steps[-1]["step"] if steps else 0,
            "tokens": sum(line["tokens"] for line in steps),
            "seconds": sum(line["seconds"] for line in steps),
            "loss_first": steps[0]["loss"] if steps else None,
            "loss_last": steps[-1]["loss"] if steps else None,
        }
        if held_out:
            found |= {"eval_loss_before": held_out[0]["eval_loss"], "eval_loss": held_out[-1]["eval_loss"]}
            parts = {name: value for name, value in held_out[-1].items() if name.startswith("eval_loss_")}
            found |= parts
        return found

    @contextmanager
    def saving(self) -> Iterator[Path]:
        """A hidden folder for the student's files; they are put into place together at the end.

        Raises:
            FileError: they cannot be written; nothing half-written is left.
        """
        partial = self.path / ".student.partial"
        shutil.rmtree(partial, ignore_errors=True)
        try:
            with writing(str(self.path)):
                partial.mkdir()
                yield partial
                # `config.json` comes last: without it, the directory is no model.
                for file in sorted(partial.iterdir(), key=lambda each: each.name == "config.json"):
                    if file.is_dir():  # which cannot take the place of one that is not empty
                        shutil.rmtree(self.path / file.name, ignore_errors=True)
                    file.replace(self.path / file.name)
        except (RuntimeError, _writers_error()) as error:
            if not any(word in str(error) for word in ("space", "write", "os error")):
                raise
            raise FileError(self.path, f"the student cannot be written: {first_line(error)}") from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _writers_error() -> type[Exception]:
    """What safetensors raises on a full disk; torch's own writer raises ``RuntimeError``."""
    from safetensors import SafetensorError

    error: type[Exception] = SafetensorError
    return error


@contextmanager
def interrupted(folder: RunFolder, tell: Callable[[str], None]) -> Iterator[None]:
    """Say how to go on with a run that is stopped by Ctrl-C, or by a request to end."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        steps = sorted(path.stem.removeprefix("step-") for path in folder.checkpoints.glob("step-*.pt"))
        start = (
            f"goes on after step {int(steps[-1]):,}" if steps else "begins anew: there is no checkpoint yet"
        )
        tell(f"interrupted: the same command with -o {folder.path} --resume {start}")
        raise
