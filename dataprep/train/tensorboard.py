"""A run's metrics for TensorBoard, in ``tensorboard/`` of its directory.

``metrics.jsonl`` is what was measured. When a run begins or goes on, what is shown is made of it anew: so
steps after its checkpoint, which are taken again, are not shown twice.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dataprep.core.io import writing
from dataprep.core.optional import require
from dataprep.train.run_dir import BOARD, RunFolder

_PLACES = ("step", "steps")


def check_board() -> None:
    """Raise ``MissingDependencyError`` unless TensorBoard is installed."""
    require("tensorboard", extra="tensorboard", feature="--tensorboard")


class Board:
    """What is shown of a run.

    Args:
        writer: torch's ``SummaryWriter``.
    """

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def add(self, line: Mapping[str, Any]) -> None:
        """Show a line of metrics, each by its name in ``metrics.jsonl``, at its step."""
        for name, value in line.items():
            if name not in _PLACES:
                self._writer.add_scalar(name, value, line["step"])


@contextmanager
def board_of(folder: RunFolder) -> Iterator[Board]:
    """What is shown of the run in a directory, with what it has measured so far.

    Raises:
        FileError: it cannot be written.
    """
    from torch.utils.tensorboard import SummaryWriter

    place = folder.path / BOARD
    with writing(str(place)):
        if place.is_dir():
            shutil.rmtree(place)
        writer = SummaryWriter(str(place))
        try:
            board = Board(writer)
            for line in folder.lines():
                board.add(line)
            yield board
        finally:
            writer.close()
