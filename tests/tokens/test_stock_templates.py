"""Chat templates of every behaviour that published ones have: ids and masks as transformers makes them."""

from unittest import mock

import pytest

from tests.chat_oracle import DATE, KINDS, MARKED, ROWS, TEMPLATES, expected_of, make_pair


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A tokenizer of each kind, loaded by both programs."""
    folder = tmp_path_factory.mktemp("tokenizers")
    return {kind: make_pair(folder, kind) for kind in KINDS}


@pytest.fixture(autouse=True)
def today():
    """The clock of transformers stands at the date that dataprep is given."""
    from datetime import datetime

    clock = mock.Mock(now=lambda: datetime.strptime(DATE, "%d %b %Y"))
    with mock.patch("transformers.utils.chat_template_utils.datetime", clock):
        yield


# --- the reference itself


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_reference_is_what_transformers_gives(pairs, name):
    """Marked copies write the text of their templates; ids and masks are those of apply_chat_template."""
    taken = 0
    for kind, row in [(kind, row) for kind in ("gpt2", "llama3", "metaspace first") for row in ROWS.values()]:
        theirs = pairs[kind].theirs
        expected = expected_of(theirs, row, TEMPLATES[name], MARKED[name])
        if isinstance(expected, Exception):
            continue
        taken += 1
        options = {"tools": row.get("tools"), "date_string": DATE, **row.get("chat_template_kwargs", {})}
        plain = theirs.apply_chat_template(row["messages"], chat_template=TEMPLATES[name], **options)
        marked = theirs.apply_chat_template(
            row["messages"], chat_template=MARKED[name], return_assistant_tokens_mask=True, **options
        )
        assert expected.ids == plain["input_ids"] == marked["input_ids"]
        assert expected.mask == marked["assistant_masks"]
        assert any(expected.mask)
    assert taken >= 12


def test_every_template_is_marked_or_marks_itself():
    """A template without a marked copy has marks of its own."""
    for name, template in TEMPLATES.items():
        assert "{%- generation %}" in MARKED[name]
        assert ("{%- generation %}" in template) == (template == MARKED[name])
    assert len(TEMPLATES) == 34
