"""The text by which rows are compared."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core.errors import RowError
from dataprep.curate import texts
from dataprep.curate.texts import TextOf, normalised, tokens_of
from tests.helpers import chat

CHAT = chat("2 + 2?", "4", "and 3 + 3?", "6", system="Be brief.")


@pytest.mark.parametrize(
    ("part", "row", "text"),
    [
        ("messages", CHAT, "Be brief.\n2 + 2?\n4\nand 3 + 3?\n6"),
        ("user", CHAT, "2 + 2?\nand 3 + 3?"),
        ("question", CHAT, "and 3 + 3?"),
        ("answer", CHAT, "6"),
        ("id", CHAT | {"id": "a"}, "a"),
        ("question", {"question": {"stem": "Why?", "choices": []}}, "Why?"),
        ("answer", {"answer": {"label": "a", "text": "yes"}}, "yes"),
        ("meta.topic", {"meta": {"topic": "algebra"}}, "algebra"),
        ("n", {"n": 3}, "3"),
        ("question", {"question": "Why?"}, "Why?"),
        (
            "messages",
            {"messages": [{"role": "assistant", "reasoning_content": "Hm.", "content": "6"}]},
            "Hm.\n6",
        ),
        ("user", {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]}, "a"),
    ],
)
def test_each_kind_of_row_has_the_same_parts(part, row, text):
    """One name means the same part of chat rows, Examples and source rows."""
    assert TextOf(part)(row) == text


@pytest.mark.parametrize(
    ("part", "row", "message"),
    [
        ("tool", CHAT, "expected a message of role 'tool'"),
        ("topic", {"question": "x"}, "expected a field 'topic'; the row has 'question'"),
        ("user", {"messages": 3}, "found a number 3 as 'messages'"),
        (
            "user",
            {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
            "expected a string or parts",
        ),
    ],
)
def test_a_row_without_the_part_is_an_error_that_names_it(part, row, message):
    """A missing part is an error with what the row has."""
    with pytest.raises(RowError, match=message):
        TextOf(part)(row)


@given(st.text())
def test_tokens_do_not_depend_on_case_wrapping_and_punctuation(text):
    """Other line breaks and punctuation between tokens give the same tokens."""
    tokens = tokens_of(text)
    assert tokens_of(" ".join(tokens)) == tokens
    assert tokens_of("\n-- ".join(tokens)) == tokens


@given(st.text(st.sampled_from("aZ9_ \t’“×−…é\u0301\x1f㎏ß中ﬁ")) | st.text(st.characters(max_codepoint=127)))
def test_the_short_way_to_tokens_gives_those_of_the_long_way(text):
    """Texts in ASCII, and with the usual marks of English, have the tokens of the definition."""
    assert tokens_of(text) == texts._token().findall(texts._folded(text))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("वह लड़की है।", ["वह", "लड़की", "है"]),  # "she is a girl"; without its vowel signs she is a boy
        ("தமிழ் மொழி", ["தமிழ்", "மொழி"]),
        ("العَرَبِيَّة", ["العَرَبِيَّة"]),
        ("שָׁלוֹם", ["שָׁלוֹם"]),
        ("ពាក្យ", ["ពា", "ក្", "យ"]),
        ("q\u0308z", ["q\u0308z"]),
    ],
)
def test_vowel_signs_and_accents_belong_to_their_word(text, tokens):
    """Words that differ in marks alone are different words, and are not cut at the marks."""
    assert tokens_of(text) == [normalised(token) for token in tokens]
    assert [text[slice(*span)] for span in texts.spans_of(text)] == tokens


def test_characters_that_nobody_sees_make_no_difference():
    """Soft hyphens, joiners, zero-width spaces and a byte order mark neither divide nor distinguish words."""
    text = "\ufeffmulti\u00adpli\u200bca\u2060tion \u200ftable\ufe0f"
    assert tokens_of(text) == ["multiplication", "table"]
    assert normalised(text) == "multiplication table"
    assert len(texts.spans_of(text)) == 2


@given(st.text())
def test_normalising_twice_changes_nothing(text):
    """The normal form of a text is its own normal form."""
    assert normalised(normalised(text)) == normalised(text)
