"""Several processes, started by ``torchrun``: who this one is, and what they agree on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed, nn

from dataprep.core.errors import UsageError


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a run.

    Attributes:
        rank: the number of this one, from 0.
        size: how many there are.
        device: where this one's model is.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def total(self, counts: Mapping[str, float]) -> dict[str, float]:
        """Each number, added up over all processes, which must have the same names."""
        if self.size == 1:
            return dict(counts)
        values = torch.tensor(
            [counts[name] for name in sorted(counts)], dtype=torch.float64, device=self.device
        )
        distributed.all_reduce(values)
        return dict(zip(sorted(counts), values.tolist(), strict=True))

    def agree(self, value: str | None) -> str:
        """The first process's value, in all of them."""
        found = [value]
        if self.size > 1:
            distributed.broadcast_object_list(found)
        assert found[0] is not None
        return found[0]

    def wait(self) -> None:
        """Go on once all have come here."""
        if self.size > 1:
            distributed.barrier()

    def share(self, items: list[int]) -> list[int]:
        """This process's equal share of the items of a step, in the order of the processes."""
        each = -(-len(items) // self.size)
        return items[self.rank * each : (self.rank + 1) * each]


@contextmanager
def processes(wanted: str = "auto") -> Iterator[World]:
    """The processes that ``torchrun`` started; without it, this one alone.

    Args:
        wanted: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        UsageError: there is no GPU, or not one for each process.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield World(0, 1, _device(wanted, 0))
        return
    device = _device(wanted, int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(distributed.get_rank(), distributed.get_world_size(), device)
    finally:
        distributed.destroy_process_group()


def _device(wanted: str, local: int) -> torch.device:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "--device cuda: torch finds no GPU on this machine; leave the option out to use the CPU"
        )
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if local >= torch.cuda.device_count():
        raise UsageError(
            f"torchrun: process {local} of this machine has no GPU of its own (there are "
            f"{torch.cuda.device_count()}); start as many processes as GPUs: --nproc-per-node"
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def spread(step: nn.Module, world: World, *, fsdp: bool) -> nn.Module:
    """The module whose forward pass gives the loss, with gradients that are averaged over all processes."""
    if fsdp:
        return _sharded(step, world)
    if world.size == 1:
        return step
    from torch.nn.parallel import DistributedDataParallel

    return DistributedDataParallel(
        step,
        device_ids=[world.device.index] if world.device.type == "cuda" else None,
        find_unused_parameters=True,
    )


def _sharded(step: nn.Module, world: World) -> nn.Module:
    """Each block of the model is put together when it is needed, and let go afterwards."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if world.size == 1:
        raise UsageError("--fsdp divides the model among processes: start several with torchrun")
    mesh = init_device_mesh(world.device.type, (world.size,))
    for module in list(step.modules()):
        if isinstance(module, nn.ModuleList):
            for block in module:
                fully_shard(block, mesh=mesh)
    fully_shard(step, mesh=mesh)
    return step
