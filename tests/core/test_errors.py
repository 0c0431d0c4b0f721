"""Errors and optional packages: places, first lines, and what to install."""

import pytest

from dataprep.core.errors import (
    InputError,
    Location,
    MissingDependencyError,
    RowDropped,
    RowError,
    first_line,
    located,
)
from dataprep.core.optional import require


def test_located_says_where_and_what_to_do():
    """Row errors get the row's place and the hint; other errors pass unchanged."""
    where = Location("qa.jsonl", 17)
    for error in (RowError("no answer", "found null"), RowDropped("no answer", "found null")):
        with pytest.raises(InputError) as caught, located(where):
            raise error
        assert str(caught.value) == "qa.jsonl:17: no answer: found null"
    message = r"^qa\.csv: row 2: no answer; remove it$"
    with pytest.raises(InputError, match=message), located(Location("qa.csv", 2, "row"), "remove it"):
        raise RowError("no answer")
    with pytest.raises(KeyError), located(where):
        raise KeyError("other")


def test_the_first_line_of_an_error():
    """Blank lines are skipped; an error without a message is known by its class."""
    assert first_line(ValueError("\n\n  first \nsecond")) == "first"
    assert first_line(TimeoutError()) == "TimeoutError"


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    """Also where the name to import differs from the name to install, and a failed import is remembered."""
    require("pytest", extra="dev", feature="testing")
    monkeypatch.setitem(__import__("sys").modules, "dotenv", None)
    with pytest.raises(MissingDependencyError, match=r"^reading .env needs .*'dataprep\[teacher\]'"):
        require("python-dotenv", extra="teacher", feature="reading .env", module="dotenv")
