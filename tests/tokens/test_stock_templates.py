"""Chat templates of every behaviour that published ones have: ids and masks as transformers makes them."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataprep.core.errors import RowError
from dataprep.tokens.formats.model_template import ChatTemplate
from tests.chat_oracle import (
    EOS,
    KINDS,
    MARKED,
    TEMPLATES,
    check_rows,
    clock,
    encoder_of,
    expected_of,
    explain,
    is_equal,
    make_pair,
    options_of,
    save_tokenizer,
)
from tests.chat_rows import ROWS, TOOLS, assistant, call, tool_rows, user
from tests.real import ROOT


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A tokenizer of each kind, loaded by both programs."""
    folder = tmp_path_factory.mktemp("tokenizers")
    return {kind: make_pair(folder, kind) for kind in KINDS}


# --- the reference itself


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", TEMPLATES)
def test_the_reference_is_what_transformers_gives(pairs, name):
    """Marked copies write the text of their templates; ids and masks are those of apply_chat_template."""
    taken = 0
    for kind, row in itertools.product(("gpt2", "llama3", "metaspace legacy"), ROWS.values()):
        theirs = pairs[kind].theirs
        expected = expected_of(theirs, row, TEMPLATES[name], MARKED[name])
        if isinstance(expected, Exception):
            continue
        taken += 1
        options = options_of(row)
        with clock():
            plain = theirs.apply_chat_template(row["messages"], chat_template=TEMPLATES[name], **options)
            options |= {"chat_template": MARKED[name], "return_assistant_tokens_mask": True}
            marked = theirs.apply_chat_template(row["messages"], **options)
        assert expected.ids == plain["input_ids"] == marked["input_ids"]
        for at, pair in enumerate(zip(expected.mask, marked["assistant_masks"], strict=True)):
            # transformers leaves out the rest of a span's last character if it is several tokens.
            assert pair in ((0, 0), (1, 1)) or expected.offsets[at] == expected.offsets[at - 1]
        assert any(marked["assistant_masks"])
    assert taken >= 3 * 5


def test_every_template_is_marked_or_marks_itself():
    """A template without a marked copy has marks of its own."""
    for name, template in TEMPLATES.items():
        assert "{%- generation %}" in MARKED[name]
        assert ("{%- generation %}" in template) == (template == MARKED[name])
    page = (ROOT / "docs" / "tokens.md").read_text("utf-8")
    assert [name for name in TEMPLATES if f"`{name}`" not in page] == []


# --- and dataprep beside it


# Each template with every other kind of tokenizer, and each kind with every other template.
PAIRS = [
    pytest.param(name, kind, marks=pytest.mark.slow if (number + other) % 2 else ())
    for number, name in enumerate(TEMPLATES)
    for other, kind in enumerate(KINDS)
]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_ids_and_masks_are_those_of_transformers(pairs, name, kind):
    """Token for token, on every row that the template takes; the others are errors."""
    rows = [row for title, row in ROWS.items() if "thoughts" not in title or "think" not in kind]
    check_rows(pairs[kind], name, rows)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_marked_copy_gives_the_same(pairs, name):
    """A template's marks are its author's word: ids and mask are the same as without a copy."""
    check_rows(pairs["gpt2"], name, ROWS.values(), template=MARKED[name])


@pytest.mark.medium
@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", TEMPLATES)
def test_rows_of_any_shape_are_as_transformers_has_them(pairs, name):
    """Roles, reasoning, calls and texts in any combination: the same ids and mask, or errors for errors."""
    encoders = {kind: encoder_of(pair, TEMPLATES[name]) for kind, pair in pairs.items()}

    @given(st.sampled_from([*KINDS]), st.data())
    @settings(max_examples=settings().max_examples // 5)  # of 34 templates each
    def compare(kind, data):
        row = data.draw(tool_rows(marks="think" not in kind))
        pair = pairs[kind]
        found, *again = encoders[kind].encode_rows([row] * 3)
        expected = expected_of(pair.theirs, row, TEMPLATES[name], MARKED[name])
        assert is_equal(expected, found), explain(pair, row, expected, found)
        # The second row of a shape makes what later ones use; no row depends on the rows before it.
        assert all(is_equal(expected, other) for other in again), explain(pair, row, expected, again[-1])

    compare()


def test_special_tokens_that_swallow_white_space(tmp_path):
    """Phi-3's take the white space behind them: the same ids, and no header is in the loss for it."""
    pair = save_tokenizer(tmp_path, KINDS["gpt2"](), rstrip=True)
    header = pair.ours.special("<|assistant|>")
    for template in TEMPLATES.values():
        found_rows = encoder_of(pair, template).encode_rows(ROWS.values())
        for row, found in zip(ROWS.values(), found_rows, strict=True):
            expected = expected_of(pair.theirs, row, template)
            assert is_equal(expected, found, masks=False), explain(pair, row, expected, found)
            if not isinstance(found, RowError):
                pairs = [*zip(found.ids, found.mask, strict=True)]
                assert (header, 1) not in pairs, explain(pair, row, expected, found)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_special_token_in_a_text_is_an_error(pairs, name):
    """A content or a reasoning that names a special token is refused, also where it is left out."""
    pair = pairs["gpt2"]
    rows = [
        {"messages": [user(f"the {EOS}?"), assistant("the dog")]},
        {"messages": [user("the dog?"), assistant(f"a {EOS} of it")]},
        {"messages": [user("the dog?"), assistant("it is", reasoning_content=f"so {EOS}")]},
    ]
    for found in encoder_of(pair, TEMPLATES[name]).encode_rows(rows):
        assert found.reason == "name of a special token inside content"
        assert EOS in found.detail


def test_a_long_conversation_takes_few_renderings(pairs, monkeypatch):
    """Turns of one kind between the same texts share what tells their mask, whatever their calls say."""
    pair, name, count = pairs["gpt2"], "everything_of_a_thinking_model", 40
    messages = [user("Do it.")]
    for number in range(count):
        arguments = {"city": f"P{number}", "days": list(range(number % 3))}
        calls = [call("weather", arguments)]
        messages.append(assistant("", reasoning_content=f"Hm {number}.", tool_calls=calls))
        messages.append(
            {"role": "tool", "tool_call_id": "call_0", "name": "weather", "content": f"x{number}"}
        )
    row = {"messages": [*messages, assistant("Done.")], "tools": TOOLS}
    encoder, rendered = encoder_of(pair, TEMPLATES[name]), []
    render = ChatTemplate.render

    def counted(*arguments, **named):
        rendered.append(named)
        return render(*arguments, **named)

    monkeypatch.setattr(ChatTemplate, "render", counted)
    (found,) = encoder.encode_rows([row])
    expected = expected_of(pair.theirs, row, TEMPLATES[name], MARKED[name])
    assert is_equal(expected, found), explain(pair, row, expected, found)
    assert len(rendered) < count
