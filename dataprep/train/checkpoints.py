"""Checkpoints: everything that a run needs to continue as if it had never stopped.

Each is one file, written under another name, flushed to the disk and renamed, so it is whole or missing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from io import BufferedWriter
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.optim import Optimizer

from dataprep.core.errors import FileError, TrainingError, first_line
from dataprep.core.io import replacing
from dataprep.train.distributed import World

_NAME = re.compile(r"step-(\d{8,})\.pt")


class Checkpoints:
    """The checkpoints of a run."""

    def __init__(self, folder: Path, module: nn.Module, optimizer: Optimizer, world: World) -> None:
        self.folder, self.module, self.optimizer, self.world = folder, module, optimizer, world

    def save(self, done: int, facts: Mapping[str, int], *, keep: int) -> None:
        """Write the state after `done` steps, and keep the last `keep` checkpoints."""
        # All processes take part, even though only the first one writes: sharded weights are gathered.
        full = StateDictOptions(full_state_dict=True, cpu_offload=True)
        weights, optimizer = get_state_dict(self.module, self.optimizer, options=full)
        states = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            states["cuda"] = torch.cuda.get_rng_state()
        generators: list[Any] = [states] * self.world.size
        if self.world.size > 1:
            torch.distributed.all_gather_object(generators, states)
        if self.world.first:
            state = {"step": done, "weights": weights, "optimizer": optimizer, "generators": generators}
            self._write(done, state | {"facts": dict(facts), "world": self.world.size})
            for path in checkpoints_in(self.folder)[:-keep]:
                path.unlink(missing_ok=True)
        self.world.wait()

    def _write(self, done: int, state: dict[str, Any]) -> None:
        path = self.folder / f"step-{done:08d}.pt"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(path) as unfinished, BufferedWriter(unfinished) as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            _flush_folder(self.folder)
        # On a full disk torch raises RuntimeError instead of OSError.
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or first_line(error)
            raise FileError(
                path,
                f"the checkpoint cannot be written: {reason}; earlier ones are as they were: free some "
                "space and continue with --resume",
            ) from None

    def latest(self) -> Path | None:
        """Return the newest checkpoint, or `None` if there is none."""
        paths = checkpoints_in(self.folder)
        return paths[-1] if paths else None

    def load(self, path: Path) -> dict[str, Any]:
        """Load a checkpoint, and return its step and facts."""
        try:
            # weights_only: a checkpoint from elsewhere must not run code. mmap: the file is not copied first.
            state = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
            size = state["world"]
        except Exception as error:  # noqa: BLE001 - a damaged file makes its reader raise anything
            raise FileError(
                path, f"damaged: {first_line(error)}; remove it, and --resume continues with the one before"
            ) from None
        # Each process has generators of its own, and the batches depend on the number of processes.
        if size != self.world.size:
            raise TrainingError(
                f"{path}: written by {size} processes, and there are {self.world.size} now: start as many, "
                "since rows and generators are divided among them"
            )
        full = StateDictOptions(full_state_dict=True)
        try:
            saved = {"model_state_dict": state["weights"], "optim_state_dict": state["optimizer"]}
            set_state_dict(self.module, self.optimizer, **saved, options=full)
        except (RuntimeError, KeyError, ValueError) as error:
            # torch's messages list every tensor that differs.
            reason = " ".join(str(error).split())[:300]
            raise TrainingError(f"{path}: a checkpoint of another model: {reason}") from None
        generators = state["generators"][self.world.rank]
        torch.set_rng_state(generators["cpu"])
        if "cuda" in generators and torch.cuda.is_available():
            torch.cuda.set_rng_state(generators["cuda"])
        return {"step": state["step"], **state["facts"]}


def checkpoints_in(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, the newest last."""
    names = folder.iterdir() if folder.is_dir() else ()
    # By number: the names of runs with more than 99,999,999 steps have more digits.
    numbered = sorted((int(match[1]), path) for path in names if (match := _NAME.fullmatch(path.name)))
    return [path for _, path in numbered]


def _flush_folder(folder: Path) -> None:
    # Without it, a power cut can undo the renaming. Windows does not open folders.
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
