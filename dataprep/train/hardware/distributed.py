"""Several processes that `torchrun` started, and what they exchange."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed, nn

from dataprep.core.errors import DataprepError, TrainingError, UsageError
from dataprep.train.hardware.device import check_gpu

Value = TypeVar("Value")
# While the first process tokenizes, or writes a checkpoint to a slow disk, the others wait. The backends' own
# limits, 10 minutes with NCCL, are for processes that all compute.
LONGEST_WORK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a run."""

    rank: int
    size: int
    device: torch.device
    local_rank: int = 0  # Its number among the processes of its machine.
    group: Any = None  # The processes as a group that waits for `LONGEST_WORK`.

    @property
    def first(self) -> bool:
        """True for the process that writes files and messages."""
        return self.rank == 0

    def total(self, counts: Mapping[str, float]) -> dict[str, float]:
        """Return the sum of each number over all processes; names must be the same."""
        if self.size == 1:
            return dict(counts)
        # One message for all numbers, in float64: float32 is not exact above 16 million tokens.
        values = torch.tensor(
            [counts[name] for name in sorted(counts)], dtype=torch.float64, device=self.device
        )
        distributed.all_reduce(values)
        return dict(zip(sorted(counts), values.tolist(), strict=True))

    def agree(self, value: str | None) -> str:
        """Return the first process's value in all processes."""
        values = [value]
        if self.size > 1:
            distributed.broadcast_object_list(values, group=self.group)
        assert values[0] is not None
        return values[0]

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all processes, by rank."""
        values = [value] * self.size
        if self.size > 1:
            distributed.all_gather_object(values, value, group=self.group)
        return values

    def wait(self) -> None:
        """Wait until all processes have reached this call."""
        if self.size > 1:
            distributed.barrier(group=self.group)

    def shard(self, items: list[Value]) -> list[Value]:
        """Return this process's part of the items of a step."""
        size = -(-len(items) // self.size)
        return items[self.rank * size : (self.rank + 1) * size]


@contextmanager
def processes(wanted: str = "auto") -> Iterator[World]:
    """Join the processes that `torchrun` started, or yield this process alone."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield World(0, 1, _device(wanted, 0))
        return
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    device = _device(wanted, local_rank)
    # gloo is torch's backend for the CPU; NCCL only works between GPUs.
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        group = distributed.new_group(backend="gloo", timeout=LONGEST_WORK)
        yield World(distributed.get_rank(), distributed.get_world_size(), device, local_rank, group)
    except RuntimeError as error:
        if isinstance(error, DataprepError) or not _is_lost(error):
            raise
        raise TrainingError(
            f"another process of the run has ended, and {socket.gethostname()} cannot continue without it: "
            "its own messages say why; --resume continues from the last checkpoint"
        ) from None
    finally:
        distributed.destroy_process_group()


def _is_lost(error: RuntimeError) -> bool:
    """Return whether an error means that another process can no longer be reached."""
    # gloo raises a plain RuntimeError, which names its source file.
    return isinstance(error, distributed.DistError) or any(word in str(error) for word in ("gloo", "NCCL"))


def _device(wanted: str, local: int) -> torch.device:
    check_gpu(wanted)
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if local >= torch.cuda.device_count():
        raise UsageError(
            f"torchrun: process {local} of this machine has no GPU of its own (there are "
            f"{torch.cuda.device_count()}); start as many processes as GPUs: --nproc-per-node"
        )
    # NCCL sends from the current device, which would be GPU 0 in every process.
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def wrap_model(module: nn.Module, world: World, *, fsdp: bool) -> nn.Module:
    """Wrap the loss module, so that gradients are averaged over all processes."""
    if fsdp:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(world.device.type, (world.size,))
        # A block's weights are gathered when it computes, and freed afterwards.
        lists = [blocks for blocks in module.modules() if isinstance(blocks, nn.ModuleList)]
        for block in (block for blocks in lists for block in blocks):
            fully_shard(block, mesh=mesh)
        fully_shard(module, mesh=mesh)
        return module
    if world.size == 1:
        return module
    from torch.nn.parallel import DistributedDataParallel

    devices = [world.device.index] if world.device.type == "cuda" else None
    # An encoder-decoder batch can lack a part, and a frozen weight has no gradient.
    return DistributedDataParallel(module, device_ids=devices, find_unused_parameters=True)
