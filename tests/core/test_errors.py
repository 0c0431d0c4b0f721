"""Errors and optional packages: places, first lines, and what to install."""

import pytest

from dataprep.core.errors import (
    LINE_LENGTH,
    FetchError,
    FileError,
    InputError,
    Location,
    MissingDependencyError,
    RowDropped,
    RowError,
    TemplateError,
    TokenizerError,
    UsageError,
    first_line,
    located,
    one_line,
)
from dataprep.core.optional import require
from tests.tables import table


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
    # Only a row that is nested too deeply makes Python's functions go too deep.
    with pytest.raises(InputError, match=r"^qa\.jsonl:17: nested too deeply"), located(where):
        raise RecursionError


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


@table(
    ("text", "shown"),
    [
        ("a\x1b[31mb", r"a\x1b[31mb"), ("a\nb\r\tc\0", r"a\nb\r\tc\x00"), ("\x9b2J\x7f", r"\x9b2J\x7f"),
        ("\u202egnp.exe", r"\u202egnp.exe"), ("a\u2028b\u0085", r"a\u2028b\x85"), ("\ud800", r"\ud800"),
        ("é 你好 👩‍🚀 (a) \\", "é 你好 👩‍🚀 (a) \\"), (17, "17"), ("", ""), ("  a", "  a"),
        (r"\x1b", r"\x1b"),
    ],
)  # fmt: skip
def test_text_from_outside_is_one_visible_line(text, shown):
    """Control characters, line ends and invisible marks are escapes; words in any script stay."""
    assert one_line(text) == shown
    assert one_line(one_line(text)) == shown


@pytest.mark.parametrize("text", ["x" * 5_000_000, "\x1b" * 5_000_000, "\U000e0001" * 999, "a\n" * 900])
def test_text_from_outside_is_short(text):
    """Megabytes become a line; beginning and end stay."""
    found = one_line(text)
    assert len(found) <= LINE_LENGTH
    assert " … " in found


def test_the_text_of_every_error_is_one_short_line():
    """Whoever prints an error, also with --debug, prints nothing that a terminal acts on."""
    evil = "\x1b[31m\n" + "x" * 9_000
    errors = [kind(evil) for kind in (FetchError, TokenizerError, UsageError, TemplateError)]
    errors += [InputError(evil, evil), FileError(evil, evil), RowError(evil, evil), RowError(evil)]
    with pytest.raises(InputError) as caught, located(Location(evil, 1), evil):
        raise RowError(evil, evil)
    for error in [*errors, caught.value]:
        assert len(str(error)) <= LINE_LENGTH
        assert str(error).isprintable()
    # What to do stands at the end, and stays.
    assert str(InputError("a.jsonl:1", f"{evil}; remove it")).endswith("x; remove it")
