"""The strings of teachers' rationales: the grammar, both ways."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dataprep.answers.rationale import Parsed, Teachers, parse, render
from dataprep.core.errors import DataprepError, RowError, UsageError
from tests import strategies as some
from tests.tables import table

LETTERS = "abcdefghijklmnopqrstuvwxyz"
CUE = "Let's think step by step."
METALS = ["wool", "tin", "a plant"]
BLOCK = "\n\nQ: Which melts?\nAnswer Choices:\n(a) wool\n(b) tin\n(c) a plant"
FIRST = "Tin melts. Thus, the answer is (b) tin"
SAMPLE = (
    "Welding is the process of joining metals together. To permanently attach metal legs to a chair, "
    "you can Weld the metal together to get it to stay firmly in place. Thus, the answer is (a) Weld "
    "the metal together to get it to stay firmly in place\n\nQ: To permanently attach metal legs to "
    "a chair, you can\nAnswer Choices:\n(a) Weld the metal together to get it to stay firmly in "
    "place\n(b) Nail the metal together to get it to stay firmly in place llama rationale: Let's "
    "think step by step.\nFirst, the metal legs must be firmly attached to the chair.\nSecond, the "
    "weld must hold."
)

# What rationales hold that looks like a part of the grammar.
TRAPS = (
    "Q:", "\n\nQ: ", "\nQ: What?", "Thus, the answer is", " Thus, the answer is (b) ", "Answer Choices:",
    "\n(a) ", "(c)", "\nA: ", CUE, " rationale:", " the rationale: ", "the llama rationale, ", "rationale: ",
    "\n", "\n\n", " ", "(", ")", " #", "answer is (a). ", "the answer is a plant",
)  # fmt: skip


def rationales():
    """Texts of teachers: any Unicode, and everything that looks like the grammar without being it."""
    piece = st.characters(codec="utf-8") | st.sampled_from(TRAPS + some.AWKWARD)
    return st.lists(piece, max_size=12).map("".join)


def lines():
    """Texts without newlines and outer white space, as questions' and choices' lines are."""
    piece = st.characters(codec="utf-8") | st.sampled_from(
        ("Q:", "(b) ", "\r", "\u2028", "Thus, the answer is")
    )
    return st.lists(piece, max_size=8).map(lambda found: "".join(found).replace("\n", "").strip())


@st.composite
def fields(draw):
    """Fields of a string, most of which the format can carry."""
    names = draw(
        st.lists(st.sampled_from(["llama-2", "mistral", "qwen-2.5", "gpt"]), max_size=3, unique=True)
    )
    choices = draw(st.lists(lines(), min_size=1, max_size=6))
    answer = draw(st.none() | st.tuples(st.sampled_from(LETTERS), lines()))
    texts = {name: draw(rationales()).strip() for name in ["flan-t5", *names]}
    return Parsed(draw(lines()), choices, answer, texts)


def written(parsed, cue=CUE):
    """The published string of some fields, put together here as its authors do."""
    marker = {"llama-2": "llama"}
    first, *others = parsed.rationales
    answer = "" if parsed.answer is None else " Thus, the answer is ({}) {}".format(*parsed.answer)
    listed = [f"({LETTERS[n]}) {choice}" for n, choice in enumerate(parsed.choices)]
    text = f"{parsed.rationales[first]}{answer}\n\nQ: {parsed.question}\nAnswer Choices:\n" + "\n".join(
        listed
    )
    for name in others:
        text += f" {marker.get(name, name)} rationale: {cue}\n{parsed.rationales[name]}"
    return text


def looks_like_grammar(parsed):
    """Whether some field holds a part of the grammar that no parser could tell from the real one."""
    texts = [parsed.question, *parsed.choices, *parsed.rationales.values(), *(parsed.answer or ())]
    first = parsed.rationales["flan-t5"]
    return (
        any("\nAnswer Choices:\n(a) " in text or " rationale:" in f"{text} " for text in texts)
        or first.startswith("Let")
        or any(text.startswith(("Let", ".", ":")) for text in parsed.rationales.values())
        or any("Thus, the answer is" in text for text in (parsed.answer or ()))
        or (parsed.answer is None and "Thus, the answer is" in first)
        or "\n\nQ: " in f"\n\nQ: {parsed.question}"[1:]
        or any("Q: " in text for text in (parsed.answer or ()))
    )


# Both ways


@pytest.mark.medium
@settings(max_examples=settings().max_examples * 3)
@given(fields())
def test_a_published_string_gives_its_fields(parsed):
    """Strings put together from fields come back as those: with Q:, brackets, newlines, any Unicode."""
    assume(not looks_like_grammar(parsed))
    found = parse(written(parsed))
    assert found == parsed
    assert list(found.rationales) == list(parsed.rationales)


@pytest.mark.medium
@settings(max_examples=settings().max_examples * 4)
@given(fields())
def test_what_is_rendered_is_read_as_the_same_fields(parsed):
    """`render` writes a string that is read as the very fields, or refuses: never anything in between."""
    text = some.result_or_error(render, parsed)
    if isinstance(text, DataprepError):
        assert isinstance(text, RowError)
        assert text.reason == "the format cannot carry this row"
    else:
        assert parse(text) == parsed


@given(fields())
def test_render_refuses_only_what_looks_like_the_grammar(parsed):
    """Fields without a part of the grammar in them are always written."""
    assume(not looks_like_grammar(parsed))
    assert parse(render(parsed)) == parsed


@pytest.mark.parametrize("names", [["flan-t5", "llama=one", "two"], ["first", "x", "y=z"], ["solo"]])
@given(data=st.data())
def test_named_teachers_are_rendered_and_read(names, data):
    """With `--teachers`, the markers given there are written and read, and no other word is one."""
    teachers = Teachers.named(names)
    known = [names[0], *(name.partition("=")[2] or name for name in names[1:])]
    texts = {name: data.draw(rationales()).strip() for name in known}
    parsed = Parsed("Which?", ["wool", "tin"], ("b", "tin"), texts)
    text = some.result_or_error(render, parsed, teachers)
    assert isinstance(text, RowError) or parse(text, teachers) == parsed


@table(
    "broken",
    [
        {"question": "Which?\nAnswer Choices:\n(a) x\n(b) y\n\nQ: Which?"},
        {"question": "One\n\nQ: two"},
        {"question": " Which?"},
        {"choices": ["wool\n(b) tin", "silk"]},
        {"choices": ["wool", "tin\nmore"]},
        {"choices": ["wool", "tin "]},
        {"choices": []},
        {"choices": ["x"] * 27},
        {"choices": ["wool", "tin mistral rationale: no"]},
        {"answer": ("bb", "tin")},
        {"answer": ("B", "tin")},
        {"answer": ("1", "tin")},
        {"answer": ("b", "tin\n\nQ: x\nAnswer Choices:\n(a) y")},
        {"answer": ("b", "x Thus, the answer is (c) y")},
        {"answer": None, "first": "So. Thus, the answer is (b) tin"},
        {"first": "As in" + BLOCK},
        {"first": "trailing "},
        {"second": "As one says. mistral rationale: mine"},
        {"second": "As one says. gpt rationale:"},
        {"second": "\nleading"},
        {"third": "As one says. qwen rationale: mine"},
    ],
)  # fmt: skip
def test_what_the_format_cannot_carry_is_refused(broken):
    """A field that would be read as another one is refused with a reason, never written wrong."""
    texts = {"flan-t5": broken.pop("first", "So."), "llama-2": broken.pop("second", "Yes.")}
    if "third" in broken:
        texts["mistral"] = broken.pop("third")
    sound = {"question": "Which?", "choices": ["wool", "tin"], "answer": ("b", "tin")}
    parsed = Parsed(**(sound | broken), rationales=texts)
    with pytest.raises(RowError, match="the format cannot carry this row"):
        render(parsed)


@table("name", ["llama", "the", "two words", "", "2nd", "x" * 70, "new\nline"])
def test_a_teacher_whose_marker_would_not_be_read_is_refused(name):
    """A teacher's name that no marker can have is an error, not a lost rationale."""
    parsed = Parsed("Which?", ["wool", "tin"], ("b", "tin"), {"flan-t5": "So.", name: "Yes."})
    with pytest.raises(RowError, match="the format cannot carry this row"):
        render(parsed)


@table(
    "text",
    [
        f"{CUE} {CUE} twice",
        CUE,
        "Let's see.",
        "(b) first",
        "It says Q: Which? (a) x (b) y.",
        "Thus, the answer is clear. Thus, the answer is (c) no",
        "so\n\nQ: Another?\nAnswer Choices: none",
        "so\nAnswer Choices:\n(b) x",
        "the rationale: none",
        "\u2028Let's",
        "A: Let's think step by step",
    ],
)
def test_text_that_looks_like_the_grammar_is_kept_to_the_letter(text):
    """Cues, questions, answers and lists inside a rationale are its text."""
    parsed = Parsed(
        "Which?", ["wool", "tin"], ("b", "tin"), {"flan-t5": text.strip(), "llama-2": text.strip()}
    )
    assert parse(render(parsed)) == parsed


@given(rationales() | some.texts(), st.sampled_from(["", BLOCK, f"{BLOCK} llama rationale: "]), rationales())
def test_any_text_is_parsed_or_raises_a_row_error(before, middle, after):
    """Arbitrary text, also around a whole block, gives fields or dataprep's own error."""
    found = some.result_or_error(parse, before + middle + after)
    if isinstance(found, DataprepError):
        assert isinstance(found, RowError)
        assert found.reason in ("no question block", "text after the choices", "unknown teacher")
    else:
        assert found.choices
        for text in found.rationales.values():
            assert text in before + middle + after


# The published layout


def test_the_published_sample_gives_the_promised_fields():
    """The row that the task quotes: question, two choices, answer a, rationales without cue and answer."""
    found = parse(SAMPLE)
    assert found.question == "To permanently attach metal legs to a chair, you can"
    assert found.choices == [
        "Weld the metal together to get it to stay firmly in place",
        "Nail the metal together to get it to stay firmly in place",
    ]
    assert found.answer == ("a", "Weld the metal together to get it to stay firmly in place")
    assert found.rationales == {
        "flan-t5": "Welding is the process of joining metals together. To permanently attach metal legs to a "
        "chair, you can Weld the metal together to get it to stay firmly in place.",
        "llama-2": "First, the metal legs must be firmly attached to the chair.\nSecond, the weld must hold.",
    }


@table(
    "cue",
    ["", f"\nA: {CUE}", f"\nA:{CUE}", f"\nA:  {CUE} ", "\nA: Let's think step by step",
     "\nA: Let’s think step by step.",
     f"\nAnswer: {CUE}", "\nA:", "\n", f"\n\nA: {CUE}\n", f"\nA : {CUE}",
     "\nA:  Let's  think step by step", "\nA: Let's think  step by  step.", f"\n{CUE}", f"\n\n  {CUE}\n",
     f"\na: {CUE}", f"\nanswer:{CUE}", "\na: let's think step by step."],
)  # fmt: skip
@table("more", ["", f" llama rationale: {CUE}\nIt is tin."])
def test_a_cue_line_is_no_choice(cue, more):
    """However the cue line after the choices is spaced, the choices are the same."""
    found = parse(FIRST + BLOCK + cue + more)
    assert found.choices == METALS
    assert found.rationales.get("llama-2") == ("It is tin." if more else None)


@table("after", ["\nMore text", "\n(x) out of order", "\n(d)no space", "\nA: It is tin.", "\n\n(d) y"])
def test_other_text_after_the_choices_is_an_error(after):
    """What is neither choice, cue line nor teacher is shown, not lost."""
    with pytest.raises(RowError, match="text after the choices") as caught:
        parse(FIRST + BLOCK + after)
    assert after.strip()[:8] in str(caught.value)


@table(
    "text",
    ["", " ", "no block", "Q: Which?\nAnswer Choices:\n(a) x", "\n\nQ: Which?\n(a) x\n(b) y",
     "x\n\nQ: Which?\nAnswer Choices:\n(b) x", "\nAnswer Choices:\n(a) x\n\nQ: Which?",
     "\n\nQ: \nAnswer Choices:"],
)  # fmt: skip
def test_a_text_without_the_block_is_an_error_that_shows_it(text):
    """A string without question and choices says what was expected and what was found."""
    with pytest.raises(RowError, match="no question block") as caught:
        parse(text)
    assert "Answer Choices:" in str(caught.value)


def test_the_choices_stop_where_the_letters_do():
    """Lines are choices as long as their letters count on; the 26th is the last."""
    listed = "\n".join(f"({letter}) {letter * 3}" for letter in LETTERS)
    assert parse(f"So.\n\nQ: Which?\nAnswer Choices:\n{listed}").choices == [letter * 3 for letter in LETTERS]


@table(
    ("head", "rationale", "answer"),
    [
        ("Tin melts. Thus, the answer is (b) tin", "Tin melts.", ("b", "tin")),
        (f"{CUE} Tin melts. Thus, the answer is (b) tin.", "Tin melts.", ("b", "tin.")),
        ("Thus, the answer is (b) tin", "", ("b", "tin")),
        ("Tin. Thus, the answer is (B) tin", "Tin.", ("b", "tin")),
        ("Tin. Thus, the answer is (b)", "Tin.", ("b", "")),
        ("Tin. Thus, the answer is (z) tin", "Tin.", ("z", "tin")),
        ("Thus, the answer is (a) x. Thus, the answer is (b) y", "Thus, the answer is (a) x.", ("b", "y")),
        ("Tin melts.", "Tin melts.", None),
        ("Thus, the answer is tin.", "Thus, the answer is tin.", None),
        ("Tin. Thus, the answer is b", "Tin.", ("b", "")),
        ("Tin. Thus, the answer is B.", "Tin.", ("b", "")),
        ("Tin. Thus, the answer is b) tin", "Tin.", ("b", "tin")),
        ("Thus, the answer is a plant", "Thus, the answer is a plant", None),
        ("Thus, the answer is b tin", "Thus, the answer is b tin", None),
        ("Tin. Thus, the answer is (bb) tin", "Tin. Thus, the answer is (bb) tin", None),
        ("Tin. Thus, the answer is", "Tin. Thus, the answer is", None),
        ("Tin. Thus the answer is (b) tin", "Tin. Thus the answer is (b) tin", None),
        ("", "", None),
    ],
)  # fmt: skip
def test_the_last_answer_sentence_is_the_answer(head, rationale, answer):
    """Only a sentence that ends the head and names a letter is an answer; all else is the rationale."""
    found = parse(head + BLOCK)
    assert (found.rationales, found.answer) == ({"flan-t5": rationale}, answer)


def test_three_teachers_have_a_field_each():
    """Every marker opens a teacher, in the order of the string; `llama` is written `llama-2`."""
    text = f"{FIRST}{BLOCK} llama rationale: {CUE}\nOne. mistral rationale: Two.\nMore. gpt-4 rationale:"
    assert parse(text).rationales == {
        "flan-t5": "Tin melts.", "llama-2": "One.", "mistral": "Two.\nMore.", "gpt-4": ""
    }  # fmt: skip


def test_teachers_are_named_by_the_list():
    """The first name is the first teacher's; further ones are markers, or stand after one."""
    text = f"{FIRST}{BLOCK} llama rationale: One. qwen rationale: Two. phi rationale: three."
    found = parse(text, Teachers.named(["t5-xl", "llama=llama-13b", "qwen"])).rationales
    assert found == {"t5-xl": "Tin melts.", "llama-13b": "One.", "qwen": "Two. phi rationale: three."}
    assert parse(text, Teachers.named(["t5-xl", "llama", "qwen"])).rationales["llama-2"] == "One."
    assert list(parse(text, Teachers.named(["t5-xl"])).rationales) == ["t5-xl", "llama-2", "qwen", "phi"]


@table("given_name", ["llama", "llama-2", " llama-2 ", "llama=llama-2", "llama = llama-2"])
def test_a_known_teacher_is_given_by_marker_or_name(given_name):
    """The names that the output uses are taken too, white space around them aside, and written back."""
    text = f"{FIRST}{BLOCK} llama rationale: {CUE}\nOne."
    teachers = Teachers.named([" flan-t5 ", given_name])
    found = parse(text, teachers)
    assert found.rationales == {"flan-t5": "Tin melts.", "llama-2": "One."}
    assert render(found, teachers) == text


@table(
    "names",
    [
        [""], [" "], ["t5", ""], ["t5", " ", "qwen"], ["t5", "=x"], ["t5", "x="], ["t5", "="], ["t5=x"],
        ["t5", "t5"], ["t5", "qwen", "qwen"], ["t5", "qwen", " qwen"], ["t5", "qwen=a", "qwen=b"],
        ["t5", "qwen=a", "phi=a"], ["t5", "qwen=t5"], ["t5", "llama", "llama-2"],
        ["t5", "llama=llama-2", "llama-2"],
    ],
)  # fmt: skip
def test_empty_and_repeated_names_are_refused(names):
    """A teacher without a name, or two with one, would lose rationales: a usage error."""
    with pytest.raises(UsageError, match="--teachers"):
        Teachers.named(names)


def test_a_name_of_several_words_can_be_listed():
    """A marker with spaces in it opens a text where it is listed, also beside one that is how it ends."""
    text = f"{FIRST}{BLOCK} llama 2 rationale: One. 2 rationale: Two. qwen rationale: three."
    teachers = Teachers.named(["t5", "llama 2=llama-2", "2=two"])
    found = parse(text, teachers)
    assert found.choices == METALS
    assert found.rationales == {"t5": "Tin melts.", "llama-2": "One.", "two": "Two. qwen rationale: three."}
    assert parse(render(found, teachers), teachers) == found


@table("name", ["8x7B", "3b", "o1", "gpt-4", "qwen2.5"])
def test_a_name_may_hold_digits(name):
    """A word with a letter in it is a teacher's name, whatever it begins with."""
    found = parse(f"{FIRST}{BLOCK} {name} rationale: One.")
    assert (found.choices, found.rationales[name]) == (METALS, "One.")


def test_a_marker_may_follow_a_newline():
    """A line that begins with a marker opens a text as well."""
    found = parse(f"{FIRST}{BLOCK}\nA: {CUE}\nllama rationale: One.\nmistral rationale:\nTwo.")
    assert found.choices == METALS
    assert found.rationales == {"flan-t5": "Tin melts.", "llama-2": "One.", "mistral": "Two."}


@table(
    ("names", "after", "marker"),
    [
        (None, " llama 2 rationale: One.", "llama 2 rationale:"),
        (None, " (llama) rationale: One.", "(llama) rationale:"),
        (None, " llama  rationale: One.", "llama rationale:"),
        (None, " 70 rationale:", "70 rationale:"),
        (None, f"\nA: {CUE} llama 2 rationale: One.", "llama 2 rationale:"),
        (None, " llama 2 rationale: One. mistral rationale: Two.", "llama 2 rationale:"),
        (["t5", "qwen"], " phi rationale: One.", "phi rationale:"),
        (["t5", "qwen"], " phi rationale: One. qwen rationale: Two.", "phi rationale:"),
        (["t5", "qwen"], " llama 2 rationale: One.", "llama 2 rationale:"),
        (["t5", "qwen"], "\n8x7B rationale: One.", "8x7B rationale:"),
        (["t5", "qwen"], " t5 rationale: One.", "t5 rationale:"),
    ],
)
def test_a_marker_that_names_nobody_is_no_part_of_the_last_choice(names, after, marker):
    """A teacher who is not listed, or has no single word for a name, is an error that says what to do."""
    teachers = Teachers.named(names) if names else None
    with pytest.raises(RowError, match="unknown teacher") as caught:
        parse(FIRST + BLOCK + after, teachers)
    assert marker in str(caught.value)
    assert "--teachers" in str(caught.value)


def test_prose_in_the_last_choice_is_a_choice():
    """`the rationale:` in a choice is its text: no teacher is called so."""
    assert parse(f"{FIRST}{BLOCK} and the rationale: heat").choices[-1] == "a plant and the rationale: heat"


@table(
    "said",
    ["This is the rationale: it melts.", "My Rationale: none.", "Her best rationale: x.", "rationale: x",
     "a llama rationale.",
     "llama rationale:x", "(llama) rationale: x", "llama  rationale: x", "llama rationale : x",
     "3 rationale: x", "In the 2nd rationale: x", "3-4 rationale: x"],
)  # fmt: skip
def test_ordinary_words_are_no_markers(said):
    """`the rationale:` and the like inside a rationale open no teacher."""
    found = parse(f"{FIRST}{BLOCK} mistral rationale: So. {said}")
    assert found.rationales == {"flan-t5": "Tin melts.", "mistral": f"So. {said}"}


def test_a_teacher_speaks_once():
    """A marker of a teacher who spoke already is a part of the text that holds it."""
    found = parse(f"{FIRST}{BLOCK} llama rationale: One. llama rationale: two. flan-t5 rationale: three.")
    assert found.rationales["llama-2"] == "One. llama rationale: two. flan-t5 rationale: three."
