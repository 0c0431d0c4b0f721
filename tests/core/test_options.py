"""Options that are declared in a dataclass, and values that are written as TOML."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core.errors import UsageError
from dataprep.core.options import check, option, options_of, parse_names, parse_size, to_toml

SCALARS = st.text() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)


@dataclass(frozen=True)
class Options:
    """One option of each kind."""

    mode: str = option("fast", "A choice.", choices=("fast", "exact"))
    batch_size: int = option(8, "A number.", min=1, max=64)
    rate: float | None = option(None, "A number above 0.", flag="--learning-rate", above=0)
    names: tuple[str, ...] = option((), "Names.", parse=parse_names)
    weights: dict = option(dict, "Weights.")
    plain: int = 0


@given(st.dictionaries(st.text(), SCALARS | st.lists(SCALARS)))
def test_what_is_written_is_read_again(values):
    """Every key and value that a run records comes back as it was."""
    assert tomllib.loads(to_toml(values)) == values


def test_what_toml_cannot_hold():
    """None is left out; a file name that is not UTF-8 can be written, though not found again."""
    assert to_toml({"a": None, "b": "x\x7f\udcff"}) == 'b = "x\\u007F\\\\xff"\n'
    assert tomllib.loads(to_toml({"b": "x\udcff"})) == {"b": "x\\xff"}


def test_the_options_of_a_class():
    """Each field that is an option has its flag, its key in a file, and its default."""
    found = {name: (option.flag, option.key, default) for name, option, default in options_of(Options)}
    assert found == {
        "mode": ("--mode", "mode", "fast"),
        "batch_size": ("--batch-size", "batch_size", 8),
        "rate": ("--learning-rate", "learning_rate", None),
        "names": ("--names", "names", ()),
        "weights": ("--weights", "weights", {}),
    }
    assert Options().weights is not Options().weights


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mode": "slow"}, "--mode slow: must be one of fast, exact"),
        ({"batch_size": 0}, "--batch-size 0: must be 1 or more"),
        ({"batch_size": 65}, "--batch-size 65: must be 64 or less"),
        ({"rate": 0.0}, "--learning-rate 0.0: must be a number above 0"),
        ({"rate": float("nan")}, "--learning-rate nan: must be a number above 0"),
        ({"rate": float("inf")}, "--learning-rate inf: must be a number above 0"),
    ],
)
def test_values_are_checked(values, message):
    """A value that is not accepted is reported by its flag."""
    with pytest.raises(UsageError, match=message):
        check(Options(**values))
    check(Options())


@dataclass(frozen=True)
class Typed:
    """An option of each type."""

    switch: bool = option(False, "A switch.")
    count: int | None = option(None, "A number.")
    rate: float = option(1.0, "A number.")
    name: str = option("x", "A text.")
    style: Literal["a", "b"] | None = option(None, "A choice.")
    names: tuple[str, ...] = option((), "Names.")
    weights: Mapping[str, float] = option(dict, "Weights.")

    def __post_init__(self):
        check(self)


def test_types_are_checked_as_the_command_line_checks_them():
    """A value of another type is an error that names the flag; it never reaches the work."""
    bad = {
        "switch": ("yes", 1, None),
        "count": ("3", 2.5, True),
        "rate": ("3", True, None),
        "name": (3, None, ["x"]),
        "style": ("c", 1),
        "names": ("ab", 3, (1,), None),
        "weights": ("a=1", [("a", 1)], None),
    }
    for name, values in bad.items():
        for value in values:
            with pytest.raises(UsageError, match=rf"--{name} .*(expected|must be)"):
                Typed(**{name: value})
    Typed(True, 3, 2, Path("x"), "a", ["x"], {"a": 1})
    Typed(count=None, rate=np.float32(2), names=())
    Typed(count=np.int64(3))


def test_sizes_and_names():
    """Sizes have powers of 1,024; names are separated by commas."""
    assert [parse_size(text) for text in ("1", "2k", "1.5 KiB", "3MB")] == [1, 2048, 1536, 3 << 20]
    for text in ("", "K", "0", "-1M", "nan", "1e999", "a lot"):
        with pytest.raises(UsageError, match="is not a size"):
            parse_size(text)
    assert parse_names(["a, b", "c,,"]) == ("a", "b", "c")
