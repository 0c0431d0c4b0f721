"""Rows of the published sets with every test template: 0 other ids, 0 wrong masks."""

import functools

import pytest

import dataprep
from dataprep.tokens.tokenizers.loading import load_tokenizer
from tests.chat_oracle import KINDS, TEMPLATES, Pair, check_rows, make_pair, transformers
from tests.chat_rows import ROWS
from tests.chat_templates import transformers_llama3
from tests.real import DATA, needs_llama3, needs_sets
from tests.test_real_data import CHOICE_SETS

pytestmark = needs_sets
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


@pytest.mark.sampled(4)
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


@needs_llama3
@pytest.mark.slow
@pytest.mark.parametrize("name", ["content_behind_two_newlines", "content_stripped", "date_as_text"])
def test_llama3s_own_tokenizer(tmp_path, rows, name):
    """The published tokenizer, with templates that write its special tokens."""
    transformers_llama3(TEMPLATES[name]).save_pretrained(tmp_path)
    pair = Pair(transformers.AutoTokenizer.from_pretrained(tmp_path), load_tokenizer(tmp_path), tmp_path)
    sample = [*ROWS.values(), *rows[::50]]
    assert check_rows(pair, name, sample) >= len(rows[::50])
