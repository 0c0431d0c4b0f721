"""Check that the machines of a run fit together, and share files among them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from dataprep import __version__
from dataprep.core.errors import FileError, UsageError
from dataprep.core.io import temporary_folder, writing

if TYPE_CHECKING:
    from dataprep.train.hardware.distributed import World

# Seconds until a file of one machine is seen on another; network file systems keep folders in a cache.
LONGEST_SIGHT = 60.0
_POLL_SECONDS = 0.05


def check_machines(world: World, folder: Path | None) -> None:
    """Check that all machines have the same versions, and see what the first process writes in a folder.

    Args:
        world: the processes.
        folder: the run's directory; `None` if each machine has a copy of its own.

    Raises:
        UsageError: on every machine, with the name of one that differs.
    """
    import torch

    if world.size == 1:
        return
    name = world.agree(f".{uuid4().hex}.probe" if world.first else None)
    probe = None if folder is None else folder / name
    if probe is not None and world.first:
        with writing(str(folder)):
            probe.touch()
    world.wait()
    versions = {"dataprep": __version__, "torch": torch.__version__}
    sees = probe is None or _appears(probe, LONGEST_SIGHT / 6)
    found = world.gather((socket.gethostname(), versions, sees))
    if probe is not None and world.first:
        probe.unlink(missing_ok=True)
    first, expected, _ = found[0]
    for name, others, sees in found:
        for package, version in others.items():
            if version != expected[package]:
                raise UsageError(
                    f"the machine {name} has {package} {version}, and {first} has {expected[package]}: "
                    "install the same version on both"
                )
        if not sees:
            raise UsageError(
                f"-o {folder}: the machine {name} does not see the files that {first} writes there: give a "
                "folder that all machines share, or a URL"
            )


def check_same(world: World, what: str, value: object) -> None:
    """Raise ``UsageError``, on every machine, if a process has another value than the first one."""
    found = world.gather((socket.gethostname(), value))
    for name, other in found:
        if other != found[0][1]:
            raise UsageError(
                f"the machine {name} has other {what} than {found[0][0]} (by their SHA-256): give the same "
                "files to all machines"
            )


def wait_for(path: Path) -> None:
    """Wait until this machine sees a file that the first process has written."""
    if not _appears(path, LONGEST_SIGHT):
        raise FileError(
            path, f"the first process wrote it, and {socket.gethostname()} does not see it: is it shared?"
        )


def _appears(path: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


@contextmanager
def machine_folder(world: World) -> Iterator[Path]:
    """Yield a new temporary folder that the processes of a machine share; it is removed at the end."""
    # Two machines of a test can have one name.
    machine = socket.gethostname(), os.environ.get("GROUP_RANK", "")
    with ExitStack() as stack:
        made = str(stack.enter_context(temporary_folder())) if world.local_rank == 0 else ""
        folders = {place: path for place, path in world.gather((machine, made)) if path}
        yield Path(folders[machine])
        world.wait()
