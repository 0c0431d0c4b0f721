"""Define what comes back of a chunk, and keep it as JSON beside the chunk's part.

Only plain data is kept: nothing in a file that others may have written can run.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from typing import Any

import numpy as np
import orjson

from dataprep.core.io import Block, Part
from dataprep.core.parallel.operators import Failure, Outcome

_VERSION = 2
# Data of a block and its identity are needed by its worker only.
_BLOCK = ("path", "start", "end", "unit", "first", "source")
_OUTCOME = ("lines", "rows_in", "rows_out", "too_long", "size")


@dataclass(slots=True)
class Record:
    """The result of a chunk, which travels to the driver.

    Attributes:
        number: the chunk.
        outcomes: blocks, which hold no data, with their outcomes, in order.
        parts: for each output the part that the worker wrote; ``None`` if there was nothing for it, or the
            outcomes hold it.
    """

    number: int
    outcomes: list[tuple[Block, Outcome]] = field(default_factory=list)
    parts: list[Part | None] = field(default_factory=list)

    def add(self, block: Block, outcome: Outcome) -> None:
        """Take the outcome of the next block, together with the one before if they tell no more apart."""
        # A block that holds its bytes may lack an end, and whoever counts what was read needs its size.
        end = block.end if block.data is None else block.start + len(block.data)
        block = replace(block, data=None, end=end)
        if self.outcomes and outcome.payload is None and not outcome.held:
            before, total = self.outcomes[-1]
            if before.path == block.path and not block.first and total.payload is None and not total.held:
                total.extend(outcome)
                self.outcomes[-1] = replace(before, end=before.end + block.end - block.start), total
                return
        self.outcomes.append((block, outcome))


def to_json(record: Record, fingerprint: str) -> bytes | None:
    """Return a record as JSON; ``None`` if a part of it is no plain data.

    ``fingerprint`` says what the record depends on.
    """
    try:
        return orjson.dumps(
            {
                "version": _VERSION,
                "fingerprint": fingerprint,
                "number": record.number,
                "parts": [part and astuple(part) for part in record.parts],
                "outcomes": [_outcome_json(block, outcome) for block, outcome in record.outcomes],
            }
        )
    except (TypeError, orjson.JSONEncodeError):
        return None


def from_json(data: bytes, fingerprint: str) -> Record | None:
    """Return a record that ``to_json`` wrote; ``None`` if it is of something else, or damaged."""
    try:
        read = orjson.loads(data)
        if read["version"] != _VERSION or read["fingerprint"] != fingerprint:
            return None
        outcomes = [_outcome_of(each) for each in read["outcomes"]]
        return Record(read["number"], outcomes, [part and Part(*part) for part in read["parts"]])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


def _outcome_json(block: Block, outcome: Outcome) -> dict[str, Any]:
    if outcome.held:
        raise TypeError  # it is output, which is not kept twice
    return {
        "block": {name: _plain(getattr(block, name)) for name in _BLOCK},
        **{name: getattr(outcome, name) for name in _OUTCOME},
        "dropped": list(outcome.dropped.items()),
        "failures": [
            [failure.line, failure.reason, failure.message, _plain(failure.row)]
            for failure in outcome.failures
        ],
        "counts": [[_plain(key), count] for key, count in outcome.counts.items()],
        "payload": _plain(outcome.payload),
        "sides": [rows for _, rows in outcome.sides],
    }


def _outcome_of(read: Mapping[str, Any]) -> tuple[Block, Outcome]:
    block = Block(**{name: _value(value) for name, value in read["block"].items()})
    failures = [
        Failure(line, reason, message, _value(row)) for line, reason, message, row in read["failures"]
    ]
    counts = {_value(key): count for key, count in read["counts"]}
    return block, Outcome(
        dropped=dict(read["dropped"]),
        failures=failures,
        counts=counts,
        payload=_value(read["payload"]),
        sides=[(None, rows) for rows in read["sides"]],
        **{name: read[name] for name in _OUTCOME},
    )


def _plain(value: Any) -> Any:  # noqa: PLR0911 - one for each kind of value
    """Return a value as JSON can hold it; what JSON lacks is an object with one key."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        # Paths can hold halves of surrogate pairs.
        return value if value.isascii() else {"text": _packed(value.encode("utf-8", "surrogatepass"))}
    if isinstance(value, bytes):
        return {"bytes": _packed(value)}
    if isinstance(value, np.ndarray) and value.ndim == 1 and not value.dtype.hasobject:
        return {"array": value.dtype.str, "data": _packed(value.tobytes())}
    if isinstance(value, tuple) and type(value) is tuple:
        return {"tuple": list(map(_plain, value))}
    if isinstance(value, list):
        return list(map(_plain, value))
    if isinstance(value, dict):
        return {"dict": [[_plain(key), _plain(item)] for key, item in value.items()]}
    raise TypeError(type(value))


def _value(plain: Any) -> Any:  # noqa: PLR0911 - one for each kind of value
    if isinstance(plain, list):
        return list(map(_value, plain))
    if not isinstance(plain, dict):
        return plain
    if "text" in plain:
        return base64.b85decode(plain["text"]).decode("utf-8", "surrogatepass")
    if "bytes" in plain:
        return base64.b85decode(plain["bytes"])
    if "array" in plain:
        return np.frombuffer(base64.b85decode(plain["data"]), np.dtype(plain["array"]))
    if "tuple" in plain:
        return tuple(map(_value, plain["tuple"]))
    return {_value(key): _value(item) for key, item in plain["dict"]}


def _packed(data: bytes) -> str:
    return base64.b85encode(data).decode("ascii")
