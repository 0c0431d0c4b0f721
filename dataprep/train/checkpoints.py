"""Checkpoints: everything that a run needs to continue as if it had never stopped.

Each is one file, written under another name, flushed to the disk and renamed, so it is whole or missing. It
ends with a mark and the SHA-256 of everything before it, by which damage is noticed.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from io import BufferedWriter
from pathlib import Path
from typing import IO, Any

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)
from torch.optim import Optimizer

from dataprep.core.errors import FileError, TrainingError, first_line
from dataprep.core.io import replacing
from dataprep.train.hardware.distributed import World
from dataprep.train.machines import wait_for
from dataprep.train.run_dir import RunDir

_NAME = re.compile(r"step-(\d{8,})\.pt")
# The end of a checkpoint, before its digest. torch reads its part of the file from the front.
_MARK = b"\nsha256: "
_END = len(_MARK) + hashlib.sha256().digest_size
_PARTS = {"step": int, "world": int, "weights": dict, "optimizer": dict, "generators": list, "facts": dict}


class Checkpoints:
    """The checkpoints of a run."""

    def __init__(self, run_dir: RunDir, module: nn.Module, optimizer: Optimizer, world: World) -> None:
        self.run_dir, self.module, self.optimizer, self.world = run_dir, module, optimizer, world
        self.folder = run_dir.checkpoints

    def save(self, done: int, facts: Mapping[str, int], *, keep: int, folder: Path | None = None) -> None:
        """Write the state after `done` steps, and keep the last `keep` checkpoints of the folder."""
        folder = folder or self.folder
        # All processes take part, even though only the first one writes: sharded weights are gathered.
        full = StateDictOptions(full_state_dict=True, cpu_offload=True)
        weights, optimizer = get_state_dict(self.module, self.optimizer, options=full)
        states = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            states["cuda"] = torch.cuda.get_rng_state()
        generators: list[Any] = [states] * self.world.size
        if self.world.size > 1:
            torch.distributed.all_gather_object(generators, states)
        state = {"step": done, "weights": weights, "optimizer": optimizer, "generators": generators}
        self._publish(folder, state | {"facts": dict(facts)}, keep)

    def save_weights(self, done: int, folder: Path) -> None:
        """Write the trained weights alone after `done` steps, in the format of a checkpoint."""
        trained = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
        weights = get_model_state_dict(self.module, options=trained)
        state = {"step": done, "weights": weights, "optimizer": {}, "generators": [], "facts": {"metrics": 0}}
        self._publish(folder, state)

    def _publish(self, folder: Path, state: dict[str, Any], keep: int | None = None) -> None:
        """Write a state with the first process; with `keep`, publish it in place of older ones."""
        try:
            if self.world.first:
                state |= {"world": self.world.size, "digest": True}
                self._write(folder / checkpoint_name(state["step"]), state)
                if keep is not None:
                    for path in checkpoints_in(folder)[:-keep]:
                        path.unlink(missing_ok=True)
                    self.run_dir.publish()
        finally:  # also after an error: the others would wait forever for a process that has failed
            self.world.wait()

    def _write(self, path: Path, state: dict[str, Any]) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as unfinished, BufferedWriter(unfinished) as file:
                digest = _Digest(file)
                torch.save(state, digest)
                file.write(_MARK + digest.sha256.digest())
                file.flush()
                os.fsync(file.fileno())
            _flush_folder(path.parent)
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
        # The first process decides: a folder that machines share can look older on one of them.
        paths = checkpoints_in(self.folder) if self.world.first else []
        name = self.world.agree(paths[-1].name if paths else "")
        if not name:
            return None
        wait_for(self.folder / name)
        return self.folder / name

    def read(self, path: Path, advice: str) -> dict[str, Any]:
        """Read a checkpoint, and check that it is whole; errors end with the advice."""
        try:
            checked = _is_whole(path)
            # weights_only: a checkpoint from elsewhere must not run code. mmap: the file is not copied first.
            state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
            _check_parts(state, checked)
        except Exception as error:  # noqa: BLE001 - a damaged file makes its reader raise anything
            raise FileError(path, f"damaged: {first_line(error)}; {advice}") from None
        return state

    def load(self, path: Path) -> dict[str, Any]:
        """Load a checkpoint, and return its step and facts."""
        state = self.read(path, "remove it, and --resume continues with the one before")
        size = state["world"]
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
            generators = state["generators"][self.world.rank]
            torch.set_rng_state(generators["cpu"])
            if "cuda" in generators and torch.cuda.is_available():
                torch.cuda.set_rng_state(generators["cuda"])
        except (RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
            # torch's messages list every tensor that differs.
            reason = " ".join(str(error).split())[:300]
            raise TrainingError(f"{path}: a checkpoint of another model: {reason}") from None
        return {"step": state["step"], **state["facts"]}


class _Digest:
    """A file for `torch.save`, which writes from front to end, with the SHA-256 of what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.sha256 = file, hashlib.sha256()

    def write(self, data: Any) -> int:
        self.sha256.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def _is_whole(path: Path) -> bool:
    """Return whether a checkpoint has a digest; raise `ValueError` if it is that of another content."""
    left = path.stat().st_size - _END
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while left > 0 and (piece := file.read(min(left, 1 << 20))):
            sha256.update(piece)
            left -= len(piece)
        end = file.read(_END)
    if not end.startswith(_MARK):  # cut short, which torch notices, or of a version without digests
        return False
    if end != _MARK + sha256.digest():
        raise ValueError("its content is not what was written")
    return True


def _check_parts(state: Any, checked: bool) -> None:
    if not isinstance(state, dict) or not all(isinstance(state.get(part), of) for part, of in _PARTS.items()):
        raise ValueError("it is not a checkpoint of a run")
    if type(state["facts"].get("metrics")) is not int or state["step"] < 0:
        raise ValueError("it is not a checkpoint of a run")
    if state.get("digest") and not checked:
        raise ValueError("its digest is not there")


def checkpoint_name(step: int) -> str:
    """Return the name of the checkpoint after a step."""
    return f"step-{step:08d}.pt"


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
