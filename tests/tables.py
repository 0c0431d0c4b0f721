"""Run a test for every row of a table, as one item with a list of the rows that fail."""

import copy
import functools
import inspect

import pytest


def table(names, rows):
    """Decorate a test as ``pytest.mark.parametrize`` does, but make one item out of all rows.

    A table of a hundred short texts is one fact; as a hundred items it costs more than the code it tests.

    Args:
        names: the arguments that a row gives; a string for one argument, whose values the rows then are.
        rows: the cases.
    """
    single = isinstance(names, str)

    def decorate(test):
        signature = inspect.signature(test)
        given = {names} if single else set(names)
        others = [value for name, value in signature.parameters.items() if name not in given]

        @functools.wraps(test)
        def all_rows(**fixtures):
            failures = []
            for row in rows:
                # A copy, so that a test which changes its row changes none for the others.
                values = copy.deepcopy({names: row} if single else dict(zip(names, row, strict=True)))
                try:
                    test(**fixtures, **values)
                except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - shown below
                    failures.append(f"{row!r}: {type(error).__name__}: {error}")
            assert not failures, f"{len(failures)} of {len(rows)} rows fail:\n" + "\n".join(failures)

        all_rows.__signature__ = signature.replace(parameters=others)
        return all_rows

    return decorate
