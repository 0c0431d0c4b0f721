"""Memory: what a row adds to the peak of each command, in processes of their own."""

import pytest

from benchmarks.memory import growth


@pytest.mark.slow
def test_a_row_adds_little_to_the_memory_of_each_command(tmp_path):
    """No command holds its rows, ids or texts: caches grow by little from 20,000 rows to 100,000."""
    # Before ids were kept in a database, a row added 280 to 2,500 bytes.
    too_much = {name: found for name, found in growth(tmp_path, 20_000).items() if found > 200}
    assert not too_much
