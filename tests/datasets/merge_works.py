"""Works of a merge that die or take their time once a marker file tells them; workers import them."""

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dataprep.datasets.merge_exchange import Join, Split

MARKS = "MERGE_MARKS"  # a folder, which this process tells to its works


def _once(folder, name):
    """Return whether this is the first call of this name."""
    with suppress(FileExistsError):
        Path(folder, name).touch(exist_ok=False)
        return True
    return False


@dataclass(frozen=True)
class DyingJoin(Join):
    """Join, and kill the process the first time, before anyone hears of it."""

    folder: str = ""

    def __post_init__(self):
        object.__setattr__(self, "folder", os.environ[MARKS])

    def __call__(self, bucket, pieces):
        """Join the pieces."""
        made = super().__call__(bucket, pieces)
        if bucket == 1 and _once(self.folder, "join"):
            os.kill(os.getpid(), signal.SIGKILL)
        return made


@dataclass(frozen=True)
class DyingSplit(Split):
    """Divide, and kill the process the first time."""

    folder: str = ""

    def __post_init__(self):
        object.__setattr__(self, "folder", os.environ[MARKS])

    def __call__(self, portions):
        """Divide the portions."""
        pieces = super().__call__(portions)
        if _once(self.folder, "split"):
            os.kill(os.getpid(), signal.SIGKILL)
        return pieces


@dataclass(frozen=True)
class SlowJoin(Join):
    """Join, and take a while after the parts are there; say so in a file."""

    folder: str = ""

    def __post_init__(self):
        object.__setattr__(self, "folder", os.environ[MARKS])

    def __call__(self, bucket, pieces):
        """Join the pieces."""
        made = super().__call__(bucket, pieces)
        Path(self.folder, f"{bucket}.{os.urandom(4).hex()}").touch()
        time.sleep(0.3)
        return made
