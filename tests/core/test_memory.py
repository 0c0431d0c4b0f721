"""Memory: what a row adds to the peak of each command, in processes of their own."""

import json
import subprocess
import sys

import pytest

MEASURE = """
import json, sys
from pathlib import Path
from benchmarks.memory import growth
found = growth(Path(sys.argv[1]), 20_000)
print(json.dumps(found))
"""


@pytest.mark.slow
def test_a_row_adds_little_to_the_memory_of_each_command(tmp_path):
    """No command holds its rows, ids or texts: caches grow by little from 20,000 rows to 100,000."""
    # From a small process: the peak of a process counts from that of the one that starts it.
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    # Before ids were kept in a database, a row added 280 to 2,500 bytes, and 5,000 to Parquet, whose buffers
    # of some groups of rows are not full with so few.
    found = json.loads(done.stdout.splitlines()[-1])
    allowed = {"prompt to Parquet": 1_000}
    assert not {name: grown for name, grown in found.items() if grown > allowed.get(name, 250)}
