"""Orders and samples against Python's own generator."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core.errors import RowDropped
from dataprep.core.io import read_blocks
from dataprep.core.io.part_files import CHUNK_VARIABLE
from dataprep.core.parallel import per_row, run_operator
from dataprep.core.sampling import Reservoir, counting, rows_at, rows_of_chunks, shuffled_order
from tests.engines import engine_on
from tests.helpers import write_jsonl

SEEDS = [0, 1, 2, 42, -1, -42, 2**31, 2**32, 2**63 + 1, 2**70 + 3, -(10**60)]
# Around each power of two the generator's numbers get another bit.
SIZES = sorted({size + more for size in (2**k for k in range(14)) for more in (-1, 0, 1)} | set(range(40)))


def shuffled(size, seed):
    """What random.seed(seed); random.shuffle(rows) makes of the row numbers."""
    rows = list(range(size))
    random.Random(seed).shuffle(rows)
    return rows


def naive_sample(rows, size, seed):
    """Reservoir sampling as the documentation describes it, word for word."""
    generator = random.Random(seed)
    kept = []
    for i, row in enumerate(rows, 1):
        if i <= size:
            kept.append(row)
            continue
        j = generator.randrange(i)
        if j < size:
            kept[j] = row
    return kept


@pytest.mark.sampled(3)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_order_is_that_of_python(seed):
    """Anyone can reproduce the order with random.seed and random.shuffle, at every size."""
    for size in SIZES:
        assert shuffled_order(size, seed).tolist() == shuffled(size, seed), size


def test_the_order_is_that_of_the_global_generator():
    """random.seed(S); random.shuffle(rows), as the documentation puts it, gives the very order."""
    state = random.getstate()
    try:
        random.seed(42)
        rows = list(range(1000))
        random.shuffle(rows)
        after = random.getstate()
        assert shuffled_order(1000, 42).tolist() == rows
        assert random.getstate() == after
    finally:
        random.setstate(state)


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 100_003, 131_072, 131_073])
def test_the_order_holds_across_blocks_of_words(size):
    """Where one block of the generator's words does not suffice, the next goes on seamlessly."""
    assert shuffled_order(size, 7).tolist() == shuffled(size, 7)


@pytest.mark.slow
def test_the_order_holds_for_a_million_rows():
    """The order of a large file is Python's too."""
    assert np.array_equal(shuffled_order(1_200_003, 42), np.array(shuffled(1_200_003, 42)))


@given(st.integers(0, 3000), st.integers())
def test_the_order_is_that_of_python_for_any_seed(size, seed):
    """Size and seed may be anything."""
    assert shuffled_order(size, seed).tolist() == shuffled(size, seed)


def test_the_order_can_index_rows():
    """The order is an array of row numbers that fits rows of any number."""
    order = shuffled_order(10, 1)
    assert (order.dtype, order.shape) == (np.dtype(np.int64), (10,))
    assert shuffled_order(0, 1).shape == (0,)


@given(st.integers(0, 60), st.integers(1, 30), st.integers())
def test_a_sample_is_the_described_one(rows, size, seed):
    """Anyone can reproduce the sample from the documentation's two sentences."""
    reservoir = Reservoir(size, seed)
    for row in range(rows):
        reservoir.add(row)
    assert reservoir.rows == naive_sample(range(rows), size, seed)
    assert reservoir.seen == rows


def test_a_sample_leaves_the_global_generator_alone():
    """A command's sample neither depends on nor disturbs the program's own random numbers."""
    before = random.getstate()
    reservoir = Reservoir(3, 42)
    for row in range(100):
        reservoir.add(row)
    assert random.getstate() == before


def test_every_row_is_as_likely_as_the_others():
    """A sample is uniform: over 4,000 seeds each of 10 rows is drawn about 1,200 times."""
    drawn = [0] * 10
    for seed in range(4000):
        reservoir = Reservoir(3, seed)
        for row in range(10):
            reservoir.add(row)
        for row in reservoir.rows:
            drawn[row] += 1
    assert sum(drawn) == 12_000
    assert all(abs(count - 1200) < 5 * 29 for count in drawn)  # 29: the standard deviation


def test_seeds_give_different_samples():
    """Another seed draws another sample."""
    samples = set()
    for seed in range(20):
        reservoir = Reservoir(5, seed)
        for row in range(1000):
            reservoir.add(row)
        samples.add(tuple(reservoir.rows))
    assert len(samples) == 20


def doubled(row):
    """An operator that drops a part of the rows."""
    if not row["n"] % 3:
        raise RowDropped("a third")
    return b'{"n": %d}' % (2 * row["n"])


@given(st.integers(1, 60), st.integers(20, 200), st.data())
def test_rows_are_fetched_by_their_numbers(tmp_path_factory, count, size, data):
    """The rows at some numbers, in the order of these, whatever the chunks are."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_jsonl(path, [{"n": number} for number in range(count)])
    made = [b'{"n": %d}' % (2 * number) for number in range(count) if number % 3]
    numbers = data.draw(st.lists(st.integers(0, len(made) - 1), unique=True)) if made else []
    with pytest.MonkeyPatch.context() as patch, engine_on("portable"):
        patch.setenv(CHUNK_VARIABLE, str(size))
        operator, counts = per_row(doubled), {("other", 1): 1}
        for _, outcome in run_operator(counting(operator), read_blocks(str(path))):
            assert outcome.data is None
            for key, number in outcome.counts.items():
                counts[key] = counts.get(key, 0) + number
        rows = rows_of_chunks(counts)
        assert sum(rows) == len(made)
        assert counts == {("other", 1): 1}
        assert rows_at(numbers, operator, read_blocks(str(path)), rows) == [
            made[number] for number in numbers
        ]
