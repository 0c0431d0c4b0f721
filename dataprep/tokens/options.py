"""Options of turning chat rows into token shards. This module imports nothing heavy: help texts read it."""

from __future__ import annotations

from dataclasses import dataclass

from dataprep.core.errors import UsageError
from dataprep.core.options import check, option
from dataprep.tokens.truncation import TRUNCATIONS


# The manifest of shards lists the options in this order: another order would change its bytes.
@dataclass(frozen=True, slots=True)
class ShardOptions:
    """The options of making shards; each field has the help text of its flag.

    Raises:
        UsageError: a value is not accepted, or two options exclude each other.
    """

    pack: int | None = option(None, "Pack documents into sequences of N tokens.", metavar="N", min=2)
    split_long: bool = option(False, "Divide documents that are longer than a sequence.")
    seed: int = option(42, "Seed of the sequences' order.", metavar="N")
    max_length: int | None = option(
        None,
        "Maximum number of tokens per row. Defaults to N of --pack; with --student, to 256.",
        metavar="N",
    )
    truncation: str = option(
        "error", "What to do with longer rows. With --student, defaults to truncate.", choices=TRUNCATIONS
    )
    strip: bool = option(False, "Strip white space around contents.")
    date: str | None = option(
        None, "Put a date line, such as '26 Jul 2024', into the system message.", metavar="DATE"
    )

    def __post_init__(self) -> None:
        check(self)
        if self.max_length is not None and self.max_length < 2:  # not a `min` of the flag: --student takes 1
            raise UsageError(f"--max-length {self.max_length}: must be 2 or more")
        if self.split_long and self.pack is None:
            raise UsageError("--split-long needs --pack N: it divides documents longer than a sequence")
        if self.pack and self.max_length and self.max_length > self.pack and not self.split_long:
            raise UsageError(
                f"--max-length {self.max_length} is longer than a sequence (--pack {self.pack}): "
                "give --split-long, or a shorter length"
            )

    @property
    def limit(self) -> int | None:
        """Maximum number of tokens per row; ``None`` for any number."""
        return self.pack if self.max_length is None and not self.split_long else self.max_length
