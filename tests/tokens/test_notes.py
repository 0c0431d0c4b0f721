"""What `lint-tokens` says about a chat template: once, and not for each row."""

import json

import pytest
from typer.testing import CliRunner

from dataprep.cli.app import app
from dataprep.tokens.formats.loading import chat_format_of
from dataprep.tokens.formats.notes import notes_on
from tests.chat_oracle import TEMPLATES, encoder_of, make_pair
from tests.helpers import chat, write_jsonl

NO_END = "no special token behind an answer in the loss"
EXPECTED = {
    "end_nowhere": [NO_END],
    "end_only_behind_last": [NO_END],
    "own_marks_without_end": [NO_END],
    "own_marks_with_header": [
        "text before an answer in the loss: '<|im_start|>assistant\\n'",
        "text behind an answer in the loss: '\\n'",
    ],
    "own_marks_with_newline": ["text behind an answer in the loss: '\\n'"],
    "own_marks_with_think_block": ["text before an answer in the loss: '<think>\\n\\n</think>\\n\\n'"],
    "end_behind_line": ["text behind an answer in the loss: '\\n'"],
    "instructions_in_brackets": ["text behind an answer in the loss: ' '"],
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A tokenizer, and its directory."""
    return make_pair(tmp_path_factory.mktemp("tokenizers"), "gpt2")


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_noted_for_its_mask(pair, name):
    """An answer without an end, and text besides the answer; most templates have neither."""
    found = notes_on(encoder_of(pair, TEMPLATES[name]).chat_format)
    expected = EXPECTED.get(name, [])
    assert len(found) == len(expected)
    assert all(part in note for part, note in zip(expected, found, strict=True))


def test_named_formats_need_no_note():
    """Their masks are in the docs."""
    assert not any(notes_on(chat_format_of(name)) for name in ("llama3", "chatml", "llama2", "plain"))


def test_lint_tokens_says_it_once(pair, tmp_path):
    """Below the summary and in the JSON; the rows are no problems."""
    (pair.folder / "chat_template.jinja").write_text(TEMPLATES["end_nowhere"], "utf-8")
    write_jsonl(tmp_path / "rows.jsonl", [chat("Q", "A")] * 3)
    command = ["lint-tokens", str(tmp_path / "rows.jsonl"), "--tokenizer", str(pair.folder)]
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0, (shown.output, shown.exception)
    assert shown.output.count(NO_END) == 1
    report = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert [NO_END in note for note in report["notes"]] == [True]
    assert report["problems"] == {}
