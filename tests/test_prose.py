"""The prose checker finds what docs/style.md tells us not to write, and leaves good sentences alone."""

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
SPEC = importlib.util.spec_from_file_location("prose", ROOT / "docs" / "prose.py")
prose = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(prose)


def faults(text, kind=None):
    """The faults of a text, as lines."""
    return list(prose.check("page.md", (kind or prose.markdown)(text)))


def test_every_word_of_the_style_page_is_found():
    """No row of the table of words is without its pattern."""
    table = (ROOT / "docs" / "style.md").read_text("utf-8").partition("## Words")[2].partition("## Before")[0]
    cells = re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE)
    phrases = [phrase for cell in cells for phrase in re.findall(r"`([^`]+)`", cell)]
    assert len(phrases) > 25
    assert [phrase for phrase in phrases if not faults(f"It {phrase} here.\n")] == []


def test_good_sentences_have_no_fault():
    """Neither code, links nor ordinary English that is near a listed phrase is reported."""
    text = (
        "# How to convert a file\n\nRows with `held-out` are code. See [here](trouble.md).\n\n"
        "```sh\ndataprep is none of these\n```\n\n- Seeds are numbers.\n"
        "- The command goes on to the next file. Tokens are integers. Why?\n"
        "\nWhat is a token?\n\n| a `|` b | the seed is 3 |\n| --- | --- |\n"
    )
    assert faults(text) == []


def test_a_fault_names_its_line_and_what_to_write():
    """A phrase that a line break divides is found on the line where it begins."""
    assert faults("Fine.\n\nFine again, which it does\nwithout a word.\n") == [
        'page.md:4: \'without a word\': write "by default", or "silently"'
    ]
    (inverted,) = faults("It works. Trained is every token.\n")
    assert "begin with the subject" in inverted
    (clause,) = faults("Whether the file exists.\n")
    assert "begin with a verb" in clause
    (long,) = faults("word " * 41 + ".\n")
    assert long.startswith("page.md:1: a sentence of 41 words")


def test_python_is_checked_in_docstrings_comments_and_messages():
    """Each kind of text of a module is read, and names and short constants are not."""
    source = (
        'def held_out(path):\n    """What a file holds."""\n    # It is none of these.\n'
        "    raise ValueError(f'{path}: the house is full')\n    return 'raw row', trouble\n"
    )
    assert [fault.split(": ")[0] for fault in faults(source, prose.python)] == [
        "page.md:2",
        "page.md:4",
        "page.md:3",
    ]
