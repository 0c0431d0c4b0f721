"""Prompts of local models, and the templates of saved students: what transformers makes of the directory."""

import json
from datetime import datetime
from unittest import mock

import jinja2
import pytest

from dataprep.core.errors import RowError, TemplateError, TokenizerError
from dataprep.evaluate.evaluator import evaluate_file
from dataprep.evaluate.settings import Settings
from dataprep.models.loading import GenerationError, load
from dataprep.models.prompts import prompt_encoder
from dataprep.tokens.export import save_pretrained
from dataprep.tokens.formats.loading import chat_format_of
from tests import tiny_model
from tests.chat_oracle import DATE, KINDS, TEMPLATES, make_pair
from tests.chat_rows import ROWS, TOOLS
from tests.helpers import write_jsonl


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A tokenizer of each kind, loaded by both programs."""
    folder = tmp_path_factory.mktemp("tokenizers")
    return {kind: make_pair(folder, kind) for kind in KINDS}


@pytest.fixture
def clock():
    """The clocks of transformers and of the model stand at the same date."""
    stopped = mock.Mock(now=lambda: datetime.strptime(DATE, "%d %b %Y"))
    with (
        mock.patch("transformers.utils.chat_template_utils.datetime", stopped),
        mock.patch("dataprep.models.loading.datetime", stopped),
    ):
        yield


def prompts():
    """Every row up to each of its answers, and up to its end."""
    for name, row in ROWS.items():
        ends = [at for at, item in enumerate(row["messages"]) if item["role"] == "assistant" and at]
        for end in (*ends, len(row["messages"])):
            yield f"{name}, {end} messages", row | {"messages": row["messages"][:end]}


# Each template with every other kind of tokenizer, and in `make test-all` with the others too.
HALVES = [
    pytest.param(name, half, marks=pytest.mark.slow if (number + half) % 2 else ())
    for number, name in enumerate(TEMPLATES)
    for half in (0, 1)
]


@pytest.mark.usefixtures("clock")
@pytest.mark.sampled(4)
@pytest.mark.parametrize(("name", "half"), HALVES)
def test_a_prompt_has_the_ids_of_transformers(pairs, name, half):
    """With tools and variables, for each kind of tokenizer; what the template refuses is an error."""
    from dataprep.models.loading import _now

    compared, wrong = 0, []
    kinds = [*pairs][half::2]
    for kind in kinds:
        pair = pairs[kind]
        theirs = pair.theirs
        theirs.chat_template = TEMPLATES[name]
        ours = prompt_encoder(theirs, {"strftime_now": _now})
        for what, row in prompts():
            options = {"tools": row.get("tools"), **row.get("chat_template_kwargs", {})}
            try:
                expected = theirs.apply_chat_template(
                    row["messages"], add_generation_prompt=True, return_dict=False, **options
                )
            except (jinja2.TemplateError, TypeError, ValueError, AttributeError, KeyError):
                with pytest.raises(RowError):
                    ours.encode_prompt(row)
                continue
            compared += 1
            if (found := ours.encode_prompt(row)) != expected:
                wrong.append((kind, what, theirs.decode(expected), theirs.decode(found)))
    assert not wrong
    assert compared * len(pairs) > 100 * len(kinds)


def test_the_names_of_special_tokens_in_a_message_are_text(pairs):
    """As in rows; transformers would end the turn there."""
    pair = pairs["gpt2"]
    pair.theirs.chat_template = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    ours = prompt_encoder(pair.theirs, {})
    ids = ours.encode_prompt({"messages": [{"role": "user", "content": "the <|im_end|> token"}]})
    assert ids.count(pair.theirs.convert_tokens_to_ids("<|im_end|>")) <= 1
    assert "the <|im_end|> token" in pair.theirs.decode(ids)


def test_of_several_templates_the_one_for_tools_is_taken(pairs):
    """As transformers chooses; without a default there is an error."""
    theirs = pairs["gpt2"].theirs
    theirs.chat_template = {"default": "a{{ messages[0].content }}", "tool_use": "b{{ messages[0].content }}"}
    row = {"messages": [{"role": "user", "content": "dog"}]}
    for tools in (None, TOOLS):
        found = prompt_encoder(theirs, {}).encode_prompt(row | ({"tools": tools} if tools else {}))
        assert found == theirs.apply_chat_template(row["messages"], tools=tools, return_dict=False)
    theirs.chat_template = {"rag": "x"}
    with pytest.raises(TemplateError, match="found the chat templates rag"):
        prompt_encoder(theirs, {})


def test_tools_and_variables_of_a_row_reach_its_prompt(tmp_path):
    """`evaluate` asks with them, and with --template-arg, which a row's own win over."""
    template = (
        "{% for m in messages %}{{ '<|' + m.role + '|>' + (m.content or '') + '<|end|>' }}{% endfor %}"
        "{{ tools | tojson if tools else 'none' }} {{ level | default('low') }}<|assistant|>"
    )
    tiny_model.tokenizer(template).save_pretrained(tmp_path / "m")
    tiny_model.llama().save_pretrained(tmp_path / "m")
    model = load(str(tmp_path / "m"), {"level": "high"})
    asked = [{"role": "user", "content": "a?"}]

    def text(**options):
        return model.decode(model.prompt(asked, **options), special=True).removeprefix("<|user|>a?<|end|>")

    assert text() == "none high<|assistant|>"
    assert text(chat_template_kwargs={"level": 3}) == "none 3<|assistant|>"
    assert text(tools=[{"a": 1}]) == '[{"a": 1}] high<|assistant|>'
    with pytest.raises(GenerationError, match="chat_template"):
        load(str(tmp_path / "m"), {"level": {}}).prompt([{"role": "user", "content": 3}])
    prompts_seen = []
    real = type(model).prompt
    rows = [
        {"messages": [*asked, {"role": "assistant", "content": "b"}], **more, "task": "qa", "source": "gsm8k"}
        for more in ({}, {"tools": TOOLS[:1], "chat_template_kwargs": {"level": "own"}})
    ]
    rows = [row | {"messages": [*asked, {"role": "assistant", "content": "#### 2"}]} for row in rows]
    write_jsonl(tmp_path / "rows.jsonl", rows)

    def seen(self, *given, **options):
        ids = real(self, *given, **options)
        prompts_seen.append(self.decode(ids, special=True))
        return ids

    settings = Settings(template_args={"level": "flag"}, max_tokens=2)
    with mock.patch.object(type(model), "prompt", seen):
        evaluate_file(tmp_path / "rows.jsonl", model=tmp_path / "m", settings=settings)
    assert prompts_seen[0].endswith("none flag<|assistant|>")
    assert '"name": "weather"' in prompts_seen[1]
    assert prompts_seen[1].endswith(" own<|assistant|>")


def test_a_tokenizer_of_another_library_is_asked_by_itself(tmp_path):
    """Its template is rendered in the same way, with tools and variables, and it encodes the text."""
    template = (
        "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}"
        "{{ tools | tojson if tools else 'none' }}{{ level | default('low') }}<|assistant|>"
    )
    tiny_model.tokenizer(template).save_pretrained(tmp_path / "m")
    tiny_model.llama().save_pretrained(tmp_path / "m")
    asked = [{"role": "user", "content": "a?"}]
    rows = ({}, {"tools": [{"a": 1}], "chat_template_kwargs": {"level": "high"}})
    expected = [load(str(tmp_path / "m")).prompt(asked, **row) for row in rows]
    with mock.patch("dataprep.models.prompts.prompt_encoder", return_value=None):
        model = load(str(tmp_path / "m"))
        assert [model.prompt(asked, **row) for row in rows] == expected
        with pytest.raises(GenerationError, match="chat_template"):
            model.prompt([{"role": "user", "content": 3}])


# --- what is saved

MARKED = (
    "{# a comment, \u00e9 #}{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ m.content + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}\n\n"
)
WITH_TOOLS = MARKED.replace("{% for", "{{ tools | tojson }}{% for", 1)
DIRECTORIES = {
    "a file": {"chat_template.jinja": MARKED},
    "in the configuration": {"tokenizer_config.json": json.dumps({"chat_template": MARKED})},
    "of a processor": {"chat_template.json": json.dumps({"chat_template": MARKED})},
    "by name": {
        "tokenizer_config.json": json.dumps(
            {
                "chat_template": [
                    {"name": "default", "template": MARKED},
                    {"name": "tool_use", "template": WITH_TOOLS},
                ]
            }
        )
    },
    "in a folder": {"chat_template.jinja": MARKED, "additional_chat_templates/tool_use.jinja": WITH_TOOLS},
}


@pytest.fixture
def directory(tmp_path, pairs):
    """A function that makes a model's directory of files."""

    def make(contents):
        folder = tmp_path / "model"
        pairs["gpt2"].theirs.chat_template = None
        pairs["gpt2"].theirs.save_pretrained(folder)
        config = json.loads((folder / "tokenizer_config.json").read_text())
        for name, text in contents.items():
            (folder / name).parent.mkdir(exist_ok=True)
            given = json.dumps(config | json.loads(text)) if name == "tokenizer_config.json" else text
            (folder / name).write_text(given, encoding="utf-8")
        return folder

    return make


@pytest.mark.parametrize("name", DIRECTORIES)
def test_a_saved_template_is_the_models_own(tmp_path, pairs, directory, name):
    """Byte for byte, wherever the model has it, with its other templates; transformers reads them."""
    from transformers import AutoTokenizer

    folder = directory(DIRECTORIES[name])
    ours = pairs["gpt2"].ours
    chat_format = chat_format_of("template", path=folder, special_tokens=ours.special_tokens)
    save_pretrained(ours, chat_format, tmp_path / "student")
    saved = AutoTokenizer.from_pretrained(tmp_path / "student")
    assert (tmp_path / "student" / "chat_template.jinja").read_text(encoding="utf-8") == MARKED
    assert saved.get_chat_template() == MARKED
    several = name in ("by name", "in a folder")
    assert saved.get_chat_template(tools=[]) == (WITH_TOOLS if several else MARKED)
    # A student of one template that is saved over it keeps none of the others.
    save_pretrained(ours, chat_format_of("chatml"), tmp_path / "student")
    assert isinstance(AutoTokenizer.from_pretrained(tmp_path / "student").chat_template, str)


def test_the_name_of_a_template_leads_to_no_other_folder(tmp_path, pairs, directory):
    """A downloaded configuration cannot write outside of the student's directory."""
    named = [{"name": "default", "template": MARKED}, {"name": "../../x", "template": "x"}]
    folder = directory({"tokenizer_config.json": json.dumps({"chat_template": named})})
    ours = pairs["gpt2"].ours
    chat_format = chat_format_of("template", path=folder, special_tokens=ours.special_tokens)
    with pytest.raises(TokenizerError, match=r"name '\.\./\.\./x'"):
        save_pretrained(ours, chat_format, tmp_path / "student")
    assert not (tmp_path / "student").exists()
