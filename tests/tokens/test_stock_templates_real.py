"""Rows of the published sets with every test template: 0 other ids, 0 wrong masks."""

import functools

import pytest

import dataprep
from tests.chat_oracle import KINDS, TEMPLATES, check_rows, make_pair
from tests.test_real_data import CHOICE_SETS, DATA

pytestmark = pytest.mark.skipif(
    not (DATA / "gsm8k").is_dir(),
    reason=f"no published sets in {DATA}; set DATAPREP_REAL_DATA to their folder",
)
SETS = [
    ("gsm8k", "gsm8k/train.jsonl", 7473),
    ("gsm8k", "gsm8k/test.jsonl", 1319),
    ("mbpp", "mbpp/mbpp.jsonl", 974),
    ("squad", "squad/dev-v2.0.json", 2910),
    *CHOICE_SETS,
]


@pytest.fixture(scope="module")
def rows():
    """The chat rows of all sets, as convert makes them."""
    found = []
    for dataset, path, count in SETS:
        made = [*dataprep.convert(dataset, DATA / path)]
        assert len(made) == count
        found += made
    return found


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A tokenizer of each kind, loaded by both programs, made when it is asked for."""
    folder = tmp_path_factory.mktemp("tokenizers")
    return functools.cache(functools.partial(make_pair, folder))


def without_system(row):
    """A row without its system message, for templates that refuse one."""
    return {"messages": [message for message in row["messages"] if message["role"] != "system"]}


# Each template with one kind of tokenizer, and each kind with several templates.
CASES = [(name, [*KINDS][number % len(KINDS)]) for number, name in enumerate(TEMPLATES)]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_sample_of_all_sets(pairs, rows, name, kind):
    """Every 500th row of the sets, by every template."""
    sample = [without_system(row) if "alternate" in name else row for row in rows[::500]]
    assert check_rows(pairs(kind), name, sample) == len(sample)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_all_rows_of_all_sets(pairs, rows, name, kind):
    """Every row of the sets, by every template."""
    sample = [without_system(row) if "alternate" in name else row for row in rows]
    assert check_rows(pairs(kind), name, sample) == sum(count for _, _, count in SETS)
