"""`--template-arg`, `--loss` and `--split-thinking`: from the flag to tokens and shards."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from dataprep.cli.app import app
from dataprep.core.errors import UsageError
from dataprep.core.options import to_config
from dataprep.tokens.options import (
    ShardOptions,
    parse_template_args,
    spans_of,
    write_template_args,
)
from dataprep.tokens.shards.reading import Shards
from dataprep.train.options import TrainOptions
from tests.helpers import write_jsonl
from tests.tokens.test_model_templates import MARKS, byte_level

tokenizers = pytest.importorskip("tokenizers")

# A template with reasoning and two variables.
TEMPLATE = (
    "{{ '<s>' + (level | default('none')) + '\n' }}{% for m in messages %}"
    "{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and m.reasoning_content and think | default(true) %}"
    "{{ '<think>' + m.reasoning_content + '</think>' }}{% endif %}"
    "{{ m.content + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PARSED = {
    "x=1": {"x": 1},
    "x=1.5": {"x": 1.5},
    "x=true": {"x": True},
    "x=True": {"x": "True"},
    "x=null": {"x": None},
    'x="1"': {"x": "1"},
    "x=": {"x": ""},
    "x=a=b": {"x": "a=b"},
    'x={"a": [1]}': {"x": {"a": [1]}},
    "x=high effort": {"x": "high effort"},
    "x=[": {"x": "["},
}
REFUSED = {
    "x": "expected NAME=VALUE",
    "=1": "expected NAME=VALUE",
    "a b=1": "expected NAME=VALUE",
    "messages=[]": "comes from the row",
    "tools=[]": "comes from the row",
    "add_generation_prompt=true": "comes from the row",
}


@pytest.mark.parametrize("text", PARSED)
def test_a_value_is_json_or_text(text):
    """As in `--param`, but text needs no quotes."""
    assert parse_template_args([text]) == PARSED[text]


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_variable_is_refused(text):
    """The message shows the flag."""
    with pytest.raises(UsageError, match=f"--template-arg .*{REFUSED[text]}"):
        parse_template_args([text])
    with pytest.raises(UsageError, match="given twice"):
        parse_template_args(["x=1", "x=1"])


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(st.from_regex(r"\A[a-z]{1,5}\Z").filter(lambda name: name != "tools"), values))
def test_written_variables_are_read_again(variables):
    """A run's options.toml gives the run again, whatever the values are."""
    assert parse_template_args(write_template_args(variables)) == variables
    assert to_config(TrainOptions(template_args=variables))["template_arg"] == write_template_args(variables)


def message(role, content, **more):
    """A message."""
    return {"role": role, "content": content, **more}


ROWS = [
    {
        "messages": [
            message("user", "Q"),
            message("assistant", "A", reasoning_content="R", loss=True),
            message("user", "Q2"),
            message("assistant", "<think>R2</think>B"),
        ]
    },
    {
        "messages": [message("user", "Q3"), message("assistant", "C")],
        "chat_template_kwargs": {"level": "row"},
    },
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A model's directory and rows, in the current folder."""
    made = byte_level()
    made.add_special_tokens([tokenizers.AddedToken(name, normalized=False) for name in MARKS])
    (tmp_path / "m").mkdir()
    made.save(str(tmp_path / "m" / "tokenizer.json"))
    (tmp_path / "m" / "chat_template.jinja").write_text(TEMPLATE)
    (tmp_path / "m" / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>"}))
    write_jsonl(tmp_path / "rows.jsonl", ROWS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words):
    """Run a command that succeeds."""
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def texts(*flags):
    """The documents of `tokenize`, what is in the loss between brackets."""
    run("tokenize", "rows.jsonl", "-o", "tokens", "--tokenizer", "m", *flags)
    shards = Shards.open("tokens")
    tokenizer = shards.load_tokenizer()
    found = []
    for number in range(len(shards)):
        ids, mask = shards.document(number)
        text, start = "", 0
        for first, last in spans_of(bytes(mask)):
            text += tokenizer.decode(ids[start:first].tolist())
            text += f"⟦{tokenizer.decode(ids[first:last].tolist())}⟧"
            start = last
        found.append(text + tokenizer.decode(ids[start:].tolist()))
    return found


FLAGS = {
    (): (
        "<s>none\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n⟦<think>R</think>A<|im_end|>⟧\n"
        "<|im_start|>user\nQ2<|im_end|>\n<|im_start|>assistant\n⟦<think>R2</think>B<|im_end|>⟧\n"
    ),
    ("--template-arg", "think=false", "--template-arg", "level=high"): (
        "<s>high\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n⟦A<|im_end|>⟧\n"
        "<|im_start|>user\nQ2<|im_end|>\n<|im_start|>assistant\n⟦<think>R2</think>B<|im_end|>⟧\n"
    ),
    ("--template-arg", "think=false", "--split-thinking"): (
        "<s>none\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n⟦A<|im_end|>⟧\n"
        "<|im_start|>user\nQ2<|im_end|>\n<|im_start|>assistant\n⟦B<|im_end|>⟧\n"
    ),
    ("--loss", "last"): (
        "<s>none\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n<think>R</think>A<|im_end|>\n"
        "<|im_start|>user\nQ2<|im_end|>\n<|im_start|>assistant\n⟦<think>R2</think>B<|im_end|>⟧\n"
    ),
    ("--loss", "marked"): (
        "<s>none\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n⟦<think>R</think>A<|im_end|>⟧\n"
        "<|im_start|>user\nQ2<|im_end|>\n<|im_start|>assistant\n<think>R2</think>B<|im_end|>\n"
    ),
}


@pytest.mark.usefixtures("place")
def test_flags_change_the_text_and_the_mask():
    """Each in its own way; shards of other flags are others, and a row's own variables win."""
    for flags, expected in FLAGS.items():
        found = texts(*flags)
        assert found[0] == expected, flags
        if "marked" in flags:
            assert len(found) == 1
        else:
            assert found[1].startswith("<s>row\n")
        assert "up to date" in run("tokenize", "rows.jsonl", "-o", "tokens", "--tokenizer", "m", *flags)
    assert "no message in the loss" in run(
        "tokenize", "rows.jsonl", "-o", "tokens", "--tokenizer", "m", "--loss", "marked"
    )


def test_a_preset_takes_the_template_beside_its_tokenizer(place):
    """Of rows and of shards alike; a model with a template keeps its own."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from dataprep.models.student import template_folder

    run("tokenize", "rows.jsonl", "-o", "tokens", "--tokenizer", "m")
    for data in ("rows.jsonl", "tokens"):
        run("train", data, "--model", "llama-tiny", "--tokenizer", "m", "--steps", 1, "-o", f"of-{data}")
        assert (place / f"of-{data}" / "chat_template.jinja").read_text() == TEMPLATE
    (place / "other").mkdir()
    (place / "other" / "chat_template.jinja").write_text("{{ messages }}")
    assert template_folder("m", "other") == "m"
    assert template_folder("m", None) == "m"
    assert template_folder("llama-tiny", "m/tokenizer.json") == "m"
    assert template_folder("llama-tiny", "cl100k_base") is None


def test_lint_tokens_takes_the_same_flags(place):
    """What the options leave out is counted, and is no problem."""
    done = json.loads(run("lint-tokens", "rows.jsonl", "--tokenizer", "m", "--loss", "marked", "--json"))
    assert done["problems"] == {}
    assert done["dropped"] == {"no message in the loss": 1}
    both = [
        json.loads(run("lint-tokens", "rows.jsonl", "--tokenizer", "m", "--json", *flags))
        for flags in ((), ("--template-arg", "think=false", "--split-thinking"))
    ]
    assert both[0]["in_loss"] > both[1]["in_loss"]
    assert both[1]["left_out"] == {"reasoning": 2}
    (place / "o.toml").write_text('template_arg = ["think=false"]\nsplit_thinking = true\n')
    again = json.loads(run("lint-tokens", "rows.jsonl", "--tokenizer", "m", "--json", "--config", "o.toml"))
    assert again == both[1]


def test_variables_belong_to_templates():
    """A named format has none; a chat format that is an object has its own."""
    from dataprep.tokens.formats.loading import chat_format_of
    from dataprep.tokens.tokenize import prepare
    from tests.tokens_fakes import Bytes

    with pytest.raises(UsageError, match="'chatml' has no variables"):
        chat_format_of("chatml", template_args={"x": 1})
    with pytest.raises(UsageError, match="template_args belong to the chat format"):
        prepare(Bytes(), chat_format_of("chatml"), ShardOptions(template_args={"x": 1}))
