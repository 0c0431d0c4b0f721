"""Texts from data in YAML, Markdown and command lines."""

import shlex
import subprocess

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from dataprep.core.errors import one_line
from dataprep.core.markup import code_of, command_line, fenced, plain_of, table_of, yaml_of

MARKDOWN = MarkdownIt("commonmark").enable("table")
ANY = st.text(st.characters(codec="utf-8"), max_size=30)
MARKS = st.text(st.sampled_from("`|\\*_[]()<>!#~&;:/-+=.1a \n\"'"), max_size=20)


def inline(text):
    """The tokens of the one paragraph or cell that a text should be."""
    return [token for block in MARKDOWN.parse(text) for token in block.children or ()]


@given(st.recursive(ANY | st.integers(-9, 9) | st.none() | st.booleans(), lambda inner: (
    st.lists(inner.filter(lambda item: not isinstance(item, list)), max_size=3)
    | st.dictionaries(ANY, inner, max_size=3)
), max_leaves=8).map(lambda value: {"value": value}))  # fmt: skip
@example({"value": ["---", "a: b", "\x85\u2028\ufeff", "😀", "yes", "", {}]})
def test_yaml_gives_every_text_back(value):
    """No text of data is read as something else, or ends the header of a card."""
    written = yaml_of(value)
    assert yaml.safe_load(written) == value
    assert "\n---" not in f"\n{written}"


@given(ANY | MARKS)
@example("a`b")
@example(" ` ")
def test_code_is_one_piece_of_code(text):
    """A name with quotes, newlines, pipes, HTML or backticks is shown as it is, alone and in a table."""
    shown = one_line(text, 200)
    if not shown.strip():
        assert code_of(text) == "(empty)"
        return
    written = code_of(text)
    tokens = MARKDOWN.parse(table_of(("a", "b"), [(written, "2")], 1))
    cells = [token for token in tokens if token.type == "inline"]
    assert len(cells) == 4
    (code,) = cells[2].children
    assert (code.type, code.content) == ("code_inline", shown)


@given(ANY | MARKS)
@example("<script>alert(1)</script> [a](b) ![c](d) <https://e> **f** &amp; `g`")
def test_plain_text_has_no_marks(text):
    """A title or a licence's name is text: no HTML, link, image, emphasis or code."""
    tokens = inline(f"# x{plain_of(text)}y")
    assert {token.type for token in tokens} <= {"text", "text_special"}
    assert "".join(token.content for token in tokens) == f"x{one_line(text, 200)}y"


@pytest.mark.parametrize("text", ["https://a.example", "www.a.example", "@someone", ":smile:", "$x$"])
def test_the_hub_makes_nothing_of_plain_text(text):
    """Addresses, people, emoji and formulas, which the hub's Markdown has too, are broken up."""
    assert plain_of(text) != text


@given(st.lists(ANY, max_size=4))
def test_a_block_of_code_ends_where_its_lines_end(texts):
    """No line of a command closes the block that it stands in."""
    lines = [one_line(text) for text in [*texts, "```", "````"]]
    (block,) = MARKDOWN.parse(fenced(lines, "sh"))
    assert block.type == "fence"
    assert block.content == "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize("word", ["a b", "it's", "a\nb", "\x1b[31m", "é\n'\\", "$(x)", "*", "", "😀\u202e"])
def test_a_shell_reads_the_words_of_a_command_line(word):
    """Also words that a terminal must not get as they are."""
    line = command_line([word])
    assert line == one_line(line)
    script = ["bash", "-c", f"printf %s {line}"]
    assert subprocess.run(script, capture_output=True, check=True).stdout.decode() == word


def test_usual_words_are_quoted_as_a_person_does():
    """Quotes appear only where a shell needs them."""
    assert command_line(["merge", "a.jsonl", "b c.jsonl"]) == shlex.join(["merge", "a.jsonl", "b c.jsonl"])
