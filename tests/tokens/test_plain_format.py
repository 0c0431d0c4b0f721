"""`--chat-format plain`: roles by name and the token that ends texts, for base models without marks."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core.errors import RowError, TokenizerError, UsageError
from dataprep.models.student import stop_tokens
from dataprep.tokens.encoder import Encoder
from dataprep.tokens.export import save_pretrained
from dataprep.tokens.formats.loading import chat_format_for, chat_format_of, end_of_text
from dataprep.tokens.options import spans_of
from dataprep.tokens.tokenizers.loading import load_tokenizer
from tests.helpers import chat
from tests.tokens.test_model_templates import byte_level

tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")

ROWS = [
    chat("What?", "It is\nthis: é."),
    chat("the quick fox?", "(so) 12 hens.", "And then?", "the lazy dog"),
    chat("quick", " the dog\n\nsleeps. ", system="Be brief."),
]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A base model's directory: one special token, and no chat template."""
    return base_model(tmp_path_factory.mktemp("base"), "<|endoftext|>")


def base_model(path, end, **config):
    """Write a tokenizer whose only special token is the end of a text."""
    made = byte_level()
    made.add_special_tokens([tokenizers.AddedToken(end, normalized=False)])
    made.save(str(path / "tokenizer.json"))
    if config:
        (path / "tokenizer_config.json").write_text(json.dumps(config))
    return path


def text_of(tokenizer, encoded):
    """The tokens' text, what is in the loss between brackets."""
    text, start = "", 0
    for first, last in spans_of(encoded.mask):
        text += tokenizer.decode(encoded.ids[start:first]) + f"⟦{tokenizer.decode(encoded.ids[first:last])}⟧"
        start = last
    return text + tokenizer.decode(encoded.ids[start:])


def test_the_form_of_a_conversation(folder):
    """Role, colon, text; an answer begins with its space and ends with the token, both in the loss."""
    tokenizer = load_tokenizer(folder)
    chat_format = chat_format_for("plain", tokenizer, folder)
    (encoded,) = Encoder(tokenizer, chat_format).encode_rows(
        [{"messages": chat("Q", "A", "R", "B", system="S")["messages"]}]
    )
    assert text_of(tokenizer, encoded) == (
        "System: S\n\nUser: Q\n\nAssistant:⟦ A<|endoftext|>⟧User: R\n\nAssistant:⟦ B<|endoftext|>⟧"
    )
    prompt = Encoder(tokenizer, chat_format).encode_prompt(
        {"messages": chat("Q", "A", "R", "B")["messages"][:3]}
    )
    assert tokenizer.decode(prompt) == "User: Q\n\nAssistant: A<|endoftext|>User: R\n\nAssistant:"
    assert stop_tokens(tokenizer, chat_format) == [tokenizer.special_tokens["<|endoftext|>"]]


def test_ids_and_mask_are_those_of_the_saved_template(folder, tmp_path):
    """A student's directory gives the same tokens in transformers, prompts too."""
    tokenizer = load_tokenizer(folder)
    chat_format = chat_format_for("plain", tokenizer, folder)
    save_pretrained(tokenizer, chat_format, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    encoder = Encoder(tokenizer, chat_format)
    for row in ROWS:
        messages = row["messages"]
        (encoded,) = encoder.encode_rows([row])
        done = theirs.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
        assert encoded.ids == done["input_ids"]
        assert [*encoded.mask] == done["assistant_masks"]
        asked = messages[:-1]
        assert encoder.encode_prompt({"messages": asked}) == theirs.apply_chat_template(
            asked, add_generation_prompt=True, return_dict=False
        )


roles = st.lists(st.sampled_from(["system", "user", "assistant"]), max_size=4)
texts = st.text(alphabet="the fox 1(\n:é", min_size=1, max_size=8).filter(str.strip)


@given(roles, st.data())
def test_any_order_of_roles_is_written(folder, order, data):
    """Where the row itself is sound, the text is what the parts say."""
    messages = [{"role": role, "content": data.draw(texts)} for role in [*order, "user", "assistant"]]
    tokenizer = load_tokenizer(folder)
    chat_format = chat_format_for("plain", tokenizer, folder)
    try:
        (encoded,) = Encoder(tokenizer, chat_format).encode_rows([{"messages": messages}])
    except RowError:
        return
    if isinstance(encoded, RowError):
        return
    expected = "".join(
        f"Assistant: {message['content']}<|endoftext|>"
        if message["role"] == "assistant"
        else f"{message['role'].capitalize()}: {message['content']}\n\n"
        for message in messages
    )
    assert tokenizer.decode(encoded.ids) == expected


ENDS = {
    "a usual one": ("<|endoftext|>", {}, "<|endoftext|>"),
    "that of the directory": ("<|eos|>", {"eos_token": "<|eos|>"}, "<|eos|>"),
    "as an object": ("<|eos|>", {"eos_token": {"content": "<|eos|>"}}, "<|eos|>"),
    "a directory's that the tokenizer lacks": ("</s>", {"eos_token": "<|eos|>"}, "</s>"),
}


@pytest.mark.parametrize("name", ENDS)
def test_the_end_is_the_tokenizers_own(tmp_path, name):
    """What its directory says, else a usual name; formats with other ends are other formats."""
    token, config, expected = ENDS[name]
    folder = base_model(tmp_path, token, **config)
    tokenizer = load_tokenizer(folder)
    chat_format = chat_format_for("plain", tokenizer, folder)
    assert end_of_text(tokenizer, folder / "tokenizer.json") == expected
    assert chat_format.stop_tokens == {expected}
    assert (chat_format.fingerprint == chat_format_of("plain").fingerprint) == (expected == "<|endoftext|>")


def test_a_tokenizer_without_an_end_is_an_error(tmp_path):
    """The error says what it has."""
    folder = base_model(tmp_path, "<|other|>")
    with pytest.raises(TokenizerError, match=r"no special token that ends a text.* it has <\|other\|>"):
        chat_format_for("plain", load_tokenizer(folder), folder)


def test_options_without_effect_are_refused():
    """A date, a template and variables belong to other formats."""
    for options in ({"date": "2024-07-26"}, {"path": "x"}, {"template_args": {"x": 1}}):
        with pytest.raises(UsageError, match="'plain'"):
            chat_format_of("plain", **options)


FITTING = {
    ("<|endoftext|>",): "plain",
    ("<|im_start|>", "<|im_end|>", "<|endoftext|>"): "chatml",
    ("<s>", "</s>"): "llama2",
    ("<|x|>",): None,
}


@pytest.mark.parametrize("names", FITTING)
def test_the_error_of_another_format_names_the_one_that_fits(tmp_path, names):
    """The default for a tokenizer without a template is llama3, which most tokenizers cannot write."""
    made = byte_level()
    made.add_special_tokens([*names])
    made.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(tmp_path)
    chat_format = chat_format_for(None, tokenizer, tmp_path)
    with pytest.raises(TokenizerError, match="choose a chat format") as caught:
        Encoder(tokenizer, chat_format).encode_rows(ROWS[:1])
    found = re.search(r"for this tokenizer: --chat-format (\w+)$", str(caught.value))
    assert (found and found[1]) == FITTING[names]
