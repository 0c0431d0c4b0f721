"""Options of `dataprep capture`. This module imports nothing heavy: `--help` reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dataprep.core.errors import UsageError
from dataprep.core.options import check, option, parse_names
from dataprep.train.options import DEVICES, PRECISIONS


def _parse_temperatures(texts: Sequence[str]) -> tuple[float, ...]:
    names = parse_names(texts)
    try:
        return tuple(map(float, names))
    except ValueError:
        raise UsageError(f"--temperature {','.join(names)}: expected numbers, such as 1,2") from None


@dataclass(frozen=True, slots=True)
class CaptureOptions:
    """Options of a capture; each field has the help text of its flag."""

    top_k: int = option(64, "Number of tokens to keep at each position.", metavar="K", min=1)
    temperatures: tuple[float, ...] = option(
        (1.0, 2.0),
        "Temperatures of students to train, 2 bytes a token for each; only 1 with --base-url.",
        flag="--temperature",
        metavar="T,...",
        parse=_parse_temperatures,
        shown=["1,2"],
    )
    batch_size: int = option(8, "Documents per batch.", metavar="N", min=1)
    device: str = option("auto", "Device; auto takes a GPU if there is one.", choices=DEVICES)
    precision: str = option(
        "auto", "Number format; auto is bfloat16 on a GPU that has it, else float32.", choices=PRECISIONS
    )
    concurrency: int = option(
        32, "With --base-url: maximum number of requests in flight.", metavar="N", min=1
    )
    retries: int = option(6, "With --base-url: further attempts after a failed one.", metavar="N", min=0)
    timeout: float = option(
        120.0, "With --base-url: maximum time of one attempt.", metavar="SECONDS", above=0
    )

    def __post_init__(self) -> None:
        check(self)
        shown = ",".join(f"{value:g}" for value in self.temperatures)
        if not self.temperatures or len(set(self.temperatures)) < len(self.temperatures):
            raise UsageError(f"--temperature {shown}: expected different numbers, such as 1,2")
        if not all(0 < value < float("inf") for value in self.temperatures):
            raise UsageError(f"--temperature {shown}: must be numbers above 0")
