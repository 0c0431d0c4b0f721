"""The date that a chat template writes: by flag, by the workspace's file, or asked for once."""

import json

import pytest
from typer.testing import CliRunner

from dataprep.cli import dates
from dataprep.cli.app import app
from dataprep.core.errors import FileError, UsageError
from dataprep.core.options import canonical_date
from dataprep.datasets.workspace import Workspace
from dataprep.evaluate.settings import Settings
from dataprep.tokens.options import ShardOptions
from dataprep.tokens.shards.reading import Shards
from dataprep.train.options import TrainOptions
from tests import chat_templates as templates
from tests.helpers import chat, write_jsonl

tokenizers = pytest.importorskip("tokenizers")
NAMES = ("<s>", "</s>", "<|im_start|>", "<|im_end|>")
WRITES = templates.CHATML.replace("{% for", "{{ strftime_now('%d %B %Y') + ' ' }}{% for", 1)
# As Llama 3.2's own: a date of its own where there is no clock.
ASKS = templates.CHATML.replace(
    "{% for", "{{ strftime_now('%Y-%m-%d') if strftime_now is defined else 'long ago' }}{% for", 1
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A workspace with rows, as the current folder, and a model's directory."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, initial_alphabet=letters, show_progress=False)
    made.train_from_iterator(["a b"], trainer)
    made.add_special_tokens([*NAMES])
    templates.model_directory(tmp_path / "m", WRITES, NAMES)
    made.save(str(tmp_path / "m" / "tokenizer.json"))
    (tmp_path / "m" / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>"}))
    (tmp_path / "raw").mkdir()
    write_jsonl(tmp_path / "rows.jsonl", [chat("Q", "A")])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words, **options):
    """Run a command."""
    return CliRunner().invoke(app, [*map(str, words)], **options)


def tokenize(*words, **options):
    """Run `tokenize`, and return the text of the first document."""
    done = run("tokenize", "rows.jsonl", "-o", "tokens", "--tokenizer", "m", *words, **options)
    assert done.exit_code == 0, done.output
    shards = Shards.open("tokens")
    return shards.load_tokenizer().decode(shards.document(0)[0].tolist())


FORMS = {
    "2024-07-26": "26 Jul 2024",
    "2024-07-06": "06 Jul 2024",
    "26 Jul 2024": "26 Jul 2024",
    "6 Jul 2024": "6 Jul 2024",
    "2024-13-01": "2024-13-01",
    "today": "today",
    None: None,
}


@pytest.mark.parametrize("given", FORMS)
def test_a_date_has_two_forms(given):
    """Options keep one of them, so that shards of both are the same."""
    assert canonical_date(given) == FORMS[given]
    assert ShardOptions(date=given).date == TrainOptions(date=given).date == FORMS[given]
    if given in ("today", "2024-13-01"):
        with pytest.raises(UsageError, match="not a date"):
            Settings(date=given)
    else:
        assert Settings(date=given).date == FORMS[given]


def test_both_forms_give_the_same_tokens(place):
    """The second run finds the shards of the first."""
    assert tokenize("--date", "2024-07-26").startswith("26 July 2024 <|im_start|>")
    done = run("tokenize", "rows.jsonl", "-o", "tokens", "--tokenizer", "m", "--date", "26 Jul 2024")
    assert "up to date" in done.output
    assert not (place / "dataprep.toml").exists()
    assert run("lint-tokens", "rows.jsonl", "--tokenizer", "m", "--date", "2024-07-26").exit_code == 0


@pytest.mark.parametrize("template", [WRITES, ASKS])
@pytest.mark.parametrize(
    "command", [["tokenize", "-o", "tokens", "--tokenizer", "m"], ["lint-tokens", "--tokenizer", "m"]]
)
def test_without_a_date_the_error_says_both_ways(place, template, command):
    """Also for a template that would write another date without a clock, as transformers gives it one."""
    (place / "m" / "chat_template.jinja").write_text(template)
    error = run(*command, "rows.jsonl").exception
    assert isinstance(error, UsageError)
    assert "--date 2024-07-26" in str(error)
    assert "dataprep.toml" in str(error)
    assert not (place / "tokens").exists()


@pytest.mark.parametrize(
    "text", ['date = "2024-07-26"\n', "date = 2024-07-26\n[other]\nx = 1\n", 'date = "26 Jul 2024"']
)
def test_the_date_of_the_workspace_is_used(place, text):
    """As a text in either form, or as a date of TOML; a flag wins."""
    (place / "dataprep.toml").write_text(text)
    assert tokenize().startswith("26 July 2024 ")
    assert tokenize("--date", "2025-01-02").startswith("02 January 2025 ")
    assert run("lint-tokens", "rows.jsonl", "--tokenizer", "m").exit_code == 0
    # A chat format that writes no date by itself has none.
    assert tokenize("--chat-format", "chatml").startswith("<|im_start|>user")


def test_a_date_is_asked_for_once_at_a_terminal(place, monkeypatch):
    """The answer is stored in the workspace, and later runs read it there."""
    monkeypatch.setattr(dates, "_at_terminal", lambda: True)
    (place / "dataprep.toml").write_text("[other]\nx = 1\n")
    assert tokenize(input="tomorrow\n2024-07-26\n").startswith("26 July 2024 ")
    assert (place / "dataprep.toml").read_text() == 'date = "2024-07-26"\n[other]\nx = 1\n'
    monkeypatch.setattr(dates, "_ask", lambda _: pytest.fail("asked again"))
    assert tokenize().startswith("26 July 2024 ")


def test_outside_of_a_workspace_nobody_is_asked(place, monkeypatch):
    """The answer would have no place."""
    (place / "raw").rmdir()
    monkeypatch.setattr(dates, "_at_terminal", lambda: True)
    error = run("lint-tokens", "rows.jsonl", "--tokenizer", "m").exception
    assert isinstance(error, UsageError)
    assert "--date 2024-07-26" in str(error)


@pytest.mark.usefixtures("place")
def test_the_workspace_may_be_another_folder(tmp_path_factory):
    """`--workspace` names it."""
    other = tmp_path_factory.mktemp("other")
    (other / "raw").mkdir()
    Workspace(other).write_date("2024-07-26")
    assert tokenize("--workspace", other).startswith("26 July 2024 ")


WRONG = {"date = 3": "found 3 as its date", "date = ": "not a TOML file", 'date = "today"': "not a date"}


@pytest.mark.parametrize("text", WRONG)
def test_a_file_that_is_wrong_is_an_error(place, text):
    """Of the file, and it is not written to."""
    (place / "dataprep.toml").write_text(text)
    error = run("tokenize", "rows.jsonl", "-o", "tokens", "--tokenizer", "m").exception
    assert isinstance(error, FileError)
    assert WRONG[text] in str(error)
    assert "dataprep.toml" in str(error)
    if text == "date = ":
        with pytest.raises(FileError, match="not a TOML file"):
            Workspace(place).write_date("2024-07-26")
    assert (place / "dataprep.toml").read_text() == text


def test_train_takes_the_date_of_the_workspace(place, monkeypatch):
    """For chat rows of a model whose template writes one, also of the hub; else there is none."""
    from dataprep.models import student
    from dataprep.train import run as running

    seen, local = [], student.model_directory
    monkeypatch.setattr(running, "train", lambda *_, options, **__: seen.append(options.date) or 1 / 0)
    monkeypatch.setattr(student, "model_directory", lambda name: "m" if name == "a/b" else local(name))
    (place / "dataprep.toml").write_text('date = "2024-07-26"')
    write_jsonl(place / "soft.jsonl", [{"text": "a", "probs": [0.5, 0.5]}])
    runs = {
        ("rows.jsonl", "m"): "26 Jul 2024",
        ("rows.jsonl", "a/b"): "26 Jul 2024",
        ("rows.jsonl", "m", "--date", "2025-01-02"): "02 Jan 2025",
        ("soft.jsonl", "m"): None,
        ("rows.jsonl", "llama-tiny"): None,
        ("rows.jsonl", "auto"): None,
        ("rows.jsonl", "m", "--chat-format", "chatml"): None,
    }
    for rows, model, *flags in runs:
        run("train", rows, "--model", model, *flags)
    assert seen == [*runs.values()]
