"""Every chat row of GSM8K, MBPP and SQuAD: ids and masks as transformers makes them, and nothing to lint."""

import functools

import pytest

import dataprep
from dataprep.tokens.formats.loading import chat_format_of
from dataprep.tokens.linter import Linter
from dataprep.tokens.options import spans_of, truncate
from dataprep.tokens.tokenizers.loading import load_tokenizer
from tests import chat_templates as templates
from tests.real import DATA, LLAMA3, needs, needs_llama3
from tests.tokens.test_chat_formats import DATE
from tests.tokens_fakes import encode, encode_one

pytestmark = [pytest.mark.slow, needs("gsm8k", "mbpp", "squad"), needs_llama3]
SETS = {
    "gsm8k train": ("gsm8k", "gsm8k/train.jsonl", 7473),
    "gsm8k test": ("gsm8k", "gsm8k/test.jsonl", 1319),
    "mbpp": ("mbpp", "mbpp/mbpp.jsonl", 974),
    "squad": ("squad", "squad/dev-v2.0.json", 2910),
}


@functools.cache
def llama3():
    """The published tokenizer, as every command loads it."""
    return load_tokenizer(LLAMA3)


def rows_of(name):
    """The messages of all chat rows of a set."""
    dataset, path, count = SETS[name]
    rows = [row["messages"] for row in dataprep.convert(dataset, DATA / path)]
    assert len(rows) == count
    return rows


@pytest.mark.parametrize("name", SETS)
def test_ids_and_masks_are_those_of_transformers(name):
    """Token for token, on every row: what apply_chat_template gives, with its assistant mask."""
    pytest.importorskip("transformers")
    rows = rows_of(name)
    theirs = templates.transformers_llama3(templates.LLAMA3_MARKED)
    done = encode(llama3(), chat_format_of("llama3"), rows)
    for start in range(0, len(rows), 500):
        batch = theirs.apply_chat_template(
            rows[start : start + 500], return_dict=True, return_assistant_tokens_mask=True
        )
        for mine, ids, mask in zip(done[start:], batch["input_ids"], batch["assistant_masks"], strict=False):
            assert mine.ids == ids
            assert mine.mask == bytearray(mask)


@pytest.mark.parametrize("name", SETS)
def test_nothing_is_found_in_the_published_sets(name):
    """The linter raises no false alarm, with the messages and without; batches are as single rows."""
    rows, tokenizer, chat_format = rows_of(name), llama3(), chat_format_of("llama3")
    linter, done = Linter(tokenizer, chat_format), encode(tokenizer, chat_format, rows)
    for row, encoded in zip(rows, done, strict=True):
        assert encoded == encode_one(tokenizer, chat_format, row)
        assert not [
            *linter.problems(encoded, chat_format.write({"messages": row})),
            *linter.problems(encoded),
        ]


def test_every_cut_answer_of_a_set_is_found():
    """Rows truncated to any length are what they were up to it, and the linter says so of each."""
    tokenizer, chat_format = llama3(), chat_format_of("llama3")
    linter, rows = Linter(tokenizer, chat_format), rows_of("mbpp")
    for number, row in enumerate(rows):
        encoded = encode_one(tokenizer, chat_format, row)
        start, end = spans_of(encoded.mask)[0]
        done, cut = truncate(encoded, start + 1 + number % (end - start), "truncate")
        found = [finding.kind for finding in linter.problems(done, chat_format.write({"messages": row}))]
        assert found == ["cut answer"] * cut


@pytest.mark.parametrize("template", [templates.LLAMA3, templates.LLAMA3_MARKED], ids=["prompts", "marks"])
def test_a_model_directorys_template_gives_the_same(tmp_path, template):
    """The template as a chat format, on every row of a set."""
    tokenizer, rows = llama3(), rows_of("gsm8k test")
    path = templates.model_directory(tmp_path / "m", template)
    chat_format = chat_format_of("template", path=path, special_tokens=tokenizer.special_tokens)
    assert encode(tokenizer, chat_format, rows) == encode(tokenizer, chat_format_of("llama3"), rows)


def test_a_tokenizer_json_gives_the_same(tmp_path):
    """Llama 3's tokenizer as transformers saves it, with its template and date: ids of the rank file."""
    pytest.importorskip("transformers")
    theirs, rows = templates.transformers_llama3(templates.LLAMA3_MARKED), rows_of("mbpp")
    theirs.save_pretrained(tmp_path)
    saved = load_tokenizer(tmp_path)
    assert (saved.kind, saved.vocab_size) == ("huggingface", llama3().vocab_size)
    done = encode(llama3(), chat_format_of("llama3"), rows)
    for chat_format in (
        chat_format_of("llama3"),
        chat_format_of("template", path=tmp_path, special_tokens=saved.special_tokens),
    ):
        assert encode(saved, chat_format, rows) == done


@pytest.mark.parametrize("name", SETS)
def test_strip_and_date_are_those_of_transformers(name):
    """Llama 3.2's own template, which trims and dates, is the chat format with both options."""
    pytest.importorskip("transformers")
    rows = rows_of(name)
    theirs = templates.transformers_llama3(templates.LLAMA3_MARKED)
    done = encode(llama3(), chat_format_of("llama3", strip=True, date=DATE), rows)
    ids = theirs.apply_chat_template(
        rows, chat_template=templates.LLAMA32, date_string=DATE, return_dict=False
    )
    assert [each.ids for each in done] == ids
