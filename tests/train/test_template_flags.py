"""Variables of a chat template, the loss of messages and the template itself, from training to evaluation."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from dataprep.cli.app import app
from dataprep.core.errors import InputError, UsageError
from dataprep.evaluate.evaluator import evaluate_file
from dataprep.evaluate.items import read_training
from dataprep.evaluate.local_model import encoder_of, template_options
from dataprep.evaluate.settings import Settings
from dataprep.models.loading import load
from dataprep.teacher.settings import MODEL
from dataprep.tokens.options import ShardOptions
from dataprep.tokens.shards.reading import Shards
from dataprep.tokens.tokenize import tokenize_files
from dataprep.tokens.tokenizers.loading import load_tokenizer
from dataprep.train.run import train
from tests import chat_templates
from tests.students import rows, write_rows
from tests.train.test_rows_and_flags import options

TEMPLATE = chat_templates.LLAMA3.replace(
    "{% for message", "{{ 'level ' + (level | default('none')) + ', ' }}{% for message", 1
)
WITH_TOOLS = TEMPLATE.replace("level ", "tools, level ", 1)


@pytest.fixture(scope="module")
def model(place, tmp_path_factory):
    """A model's directory with two templates, of which one is for tools."""
    folder = tmp_path_factory.mktemp("models") / "m"
    shutil.copytree(place / "student", folder)
    config = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text(WITH_TOOLS)
    return folder


def given(model, **settings):
    """Options of a short run on the model."""
    return {"model": str(model), "tokenizer": None, "chat_format": None, "steps": 1, **settings}


def test_a_run_records_its_variables_and_evaluate_asks_with_them(place, model, tmp_path):
    """In the rows, in the run's options, in the saved template, in prompts and in the loss."""
    args = {"level": "high"}
    path = train(
        place / "train.jsonl",
        (),
        tmp_path / "run",
        options=options(place, **given(model, template_args=args)),
    ).path
    shards = Shards.open(path / "tokens" / "train")
    text = load_tokenizer(model).decode(shards.document(0)[0].tolist())
    assert text.startswith("<|begin_of_text|>level high, ")
    assert 'template_arg = ["level=\\"high\\""]' in (path / "options.toml").read_text()
    assert (path / "chat_template.jinja").read_bytes() == TEMPLATE.encode()
    assert (path / "additional_chat_templates" / "tool_use.jinja").read_bytes() == WITH_TOOLS.encode()
    training = read_training(str(path))
    assert training.template_args == args
    student = load(str(path), template_options(training))
    asked = [{"role": "user", "content": "Hi"}]
    prompt = student.prompt(asked)
    assert student.decode(prompt, special=True).startswith("<|begin_of_text|>level high, ")
    answered = [*asked, {"role": "assistant", "content": "Ho"}]
    (row,) = encoder_of(str(path), "template", training).encode_messages([answered])
    assert row.ids[: len(prompt)] == prompt
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert "tools, level high" in student.decode(student.prompt(asked, tools=tools), special=True)
    losses = [
        evaluate_file(place / "eval.jsonl", model=path, settings=Settings(metric="loss", **settings))
        .results[0]
        .figures[0]
        .value
        for settings in ({}, {"template_args": args}, {"template_args": {"level": "zzz " * 9}})
    ]
    assert losses[0] == losses[1] != losses[2]
    # Another run can begin with the same options, from the file.
    again = CliRunner().invoke(
        app,
        [
            "train",
            str(place / "train.jsonl"),
            "--config",
            str(path / "options.toml"),
            "-o",
            str(tmp_path / "b"),
        ],
    )
    assert again.exit_code == 0, (again.output, again.exception)
    assert read_training(str(tmp_path / "b")).template_args == args


def test_shards_keep_their_variables(place, model, tmp_path):
    """A run on shards takes theirs; others are refused, as are flags that are for rows."""
    tokenize_files(
        place / "train.jsonl",
        tmp_path / "shards",
        tokenizer=model,
        options=ShardOptions(template_args={"level": "high"}, loss="last"),
    )
    made = Shards.open(tmp_path / "shards").manifest["options"]
    assert (made["template_args"], made["loss"], made["split_thinking"]) == ({"level": "high"}, "last", False)
    path = train(tmp_path / "shards", (), tmp_path / "run", options=options(place, **given(model))).path
    assert read_training(str(path)).template_args == {"level": "high"}
    for settings, says in (
        ({"template_args": {"level": "low"}}, "--template-arg: .* was made without it, or with another"),
        ({"loss": "last"}, "--loss and --split-thinking are for rows"),
        ({"split_thinking": True}, "--loss and --split-thinking are for rows"),
    ):
        with pytest.raises(UsageError, match=says):
            train(tmp_path / "shards", (), tmp_path / "b", options=options(place, **given(model, **settings)))


def test_shards_of_a_template_need_it(place, model, tmp_path):
    """The message names the shards and what lacks the template, not a flag that nobody gave."""
    shards = tmp_path / "shards"
    tokenize_files(place / "train.jsonl", shards, tokenizer=model)
    for number, student in enumerate(("llama-tiny", str(place / "student"))):
        chosen = options(place, **given(student))
        expected = (
            f"{shards}: made with the chat template of a model, and {student} has none; give the "
            "tokenizer's directory, with that template as chat_template.jinja, with --tokenizer DIR"
        )
        for data, held in ((shards, ()), (place / "train.jsonl", shards)):
            with pytest.raises(UsageError) as caught:
                train(data, held, tmp_path / "a", options=chosen)
            assert str(caught.value) == expected
        chosen = options(place, **given(student, tokenizer=str(model)))
        train(shards, (), tmp_path / f"run {number}", options=chosen)
    chosen = options(place, **given("llama-tiny", chat_format="template"))
    with pytest.raises(UsageError, match="--chat-format template: llama-tiny has no chat template; give the"):
        train(shards, (), tmp_path / "a", options=chosen)


def test_the_loss_is_of_the_messages_that_are_chosen(place, tmp_path):
    """By --loss and by the messages' own marks; thinking is split off before."""
    found = rows(8)
    for number, row in enumerate(found):
        row["messages"] += [
            {"role": "user", "content": "Again?"},
            {"role": "assistant", "content": "<think>Hm.</think>Yes.", "loss": number % 2 == 0},
        ]
    data = write_rows(tmp_path / "rows.jsonl", found)
    texts = {}
    for which in ("all", "last", "marked"):
        settings = options(place, loss=which, split_thinking=which == "all")
        path = train(data, (), tmp_path / which, options=settings).path
        shards = Shards.open(path / "tokens" / "train")
        decode = load_tokenizer(place / "tokenizer.json").decode
        documents = [shards.document(number) for number in range(len(shards))]
        texts[which] = [decode(ids[mask].tolist()) for ids, mask in documents]
    assert [len(texts[which]) for which in texts] == [8, 4, 4]
    assert all("Yes." in text and "<think>" not in text for text in texts["all"][::2])
    assert set(texts["last"]) == set(texts["marked"]) == {"<think>Hm.</think>Yes.<|eot_id|>"}
    assert all("Yes." not in text for text in texts["all"][1::2])


REFUSED = {
    "--loss": {"loss": "last"},
    "--split-thinking": {"split_thinking": True},
    "--template-arg": {"template_args": {"x": 1}},
}


@pytest.mark.parametrize("flag", REFUSED)
def test_objectives_without_chat_rows_refuse_the_flags(place, tmp_path, flag):
    """Soft labels and rationales for an encoder-decoder have no chat template."""
    soft = write_rows(tmp_path / "soft.jsonl", [{"text": str(n), "label": n % 2} for n in range(4)])
    with pytest.raises(UsageError, match=f"{flag}: not for soft labels"):
        train(
            soft, (), tmp_path / "b", options=options(place, model="auto", chat_format=None, **REFUSED[flag])
        )
    labelled = [
        {"id": str(n), "question": f"{n}?", "choices": ["a", "b"], "answer": {"label": "a", "text": "a"},
         "solution": "Since a.", "rationales": {"t": "As a."}, "status": {"t": "ok"},
         "task": "multiple_choice", "source": "arc"}
        for n in range(4)
    ]  # fmt: skip
    data = write_rows(tmp_path / "labelled.jsonl", labelled)
    given = {"model": "t5-tiny", "chat_format": None, "tokenizer": None, **REFUSED[flag]}
    with pytest.raises((UsageError, InputError), match=f"{flag}|has no variables"):
        train(data, (), tmp_path / "c", options=options(place, **given))


def test_generate_sends_the_variables(monkeypatch, tmp_path):
    """As `chat_template_kwargs`, beside those of --param; they are part of the journal's key."""
    from dataprep.teacher import local

    seen = []
    monkeypatch.setenv(MODEL, "m")
    monkeypatch.setattr(local, "generate_locally", lambda *given, **_: seen.append(given[2]) or 1 / 0)
    (tmp_path / "q.jsonl").write_text('{"id": "1", "messages": [{"role": "user", "content": "a"}]}\n')
    command = ["generate", str(tmp_path / "q.jsonl"), "-o", str(tmp_path / "r.jsonl")]
    command += ["--engine", "transformers"]
    for flags in (
        [],
        ["--template-arg", "enable_thinking=false"],
        ["--template-arg", "a=x", "--param", 'chat_template_kwargs={"a": 1, "b": 2}', "--param", "seed=1"],
    ):
        CliRunner().invoke(app, [*command, *flags])
    assert [dict(config.extra) for config in seen] == [
        {},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"chat_template_kwargs": {"a": "x", "b": 2}, "seed": 1},
    ]
    assert len({config.key([]) for config in seen}) == 3
