"""The strings of teachers' rationales: the grammar, both ways, and what is said of a rationale."""

import json
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dataprep.errors import DataprepError, RowError
from dataprep.gold import GoldRow
from dataprep.rationale_files import RationaleParser
from dataprep.rationale_status import conclusion, status_of, trim_runaway
from dataprep.rationales import Parsed, Teachers, parse, render
from tests import strategies as some

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


@settings(max_examples=300)
@given(fields())
def test_a_published_string_gives_its_fields(parsed):
    """Strings put together from fields come back as those: with Q:, brackets, newlines, any Unicode."""
    assume(not looks_like_grammar(parsed))
    found = parse(written(parsed))
    assert found == parsed
    assert list(found.rationales) == list(parsed.rationales)


@settings(max_examples=400)
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


@pytest.mark.parametrize(
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


@pytest.mark.parametrize("name", ["llama", "the", "two words", "", "2nd", "x" * 70, "new\nline"])
def test_a_teacher_whose_marker_would_not_be_read_is_refused(name):
    """A teacher's name that no marker can have is an error, not a lost rationale."""
    parsed = Parsed("Which?", ["wool", "tin"], ("b", "tin"), {"flan-t5": "So.", name: "Yes."})
    with pytest.raises(RowError, match="the format cannot carry this row"):
        render(parsed)


@pytest.mark.parametrize(
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
        assert found.reason in ("no question block", "text after the choices")
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


@pytest.mark.parametrize(
    "cue",
    ["", f"\nA: {CUE}", f"\nA:{CUE}", f"\nA:  {CUE} ", "\nA: Let's think step by step",
     "\nA: Let’s think step by step.",
     f"\nAnswer: {CUE}", "\nA:", "\n", f"\n\nA: {CUE}\n", f"\nA : {CUE}"],
)  # fmt: skip
@pytest.mark.parametrize("more", ["", f" llama rationale: {CUE}\nIt is tin."])
def test_a_cue_line_is_no_choice(cue, more):
    """However the cue line after the choices is spaced, the choices are the same."""
    found = parse(FIRST + BLOCK + cue + more)
    assert found.choices == METALS
    assert found.rationales.get("llama-2") == ("It is tin." if more else None)


@pytest.mark.parametrize(
    "after", ["\nMore text", "\n(x) out of order", "\n(d)no space", "\nA: It is tin.", "\n\n(d) y"]
)
def test_other_text_after_the_choices_is_an_error(after):
    """What is neither choice, cue line nor teacher is shown, not lost."""
    with pytest.raises(RowError, match="text after the choices") as caught:
        parse(FIRST + BLOCK + after)
    assert after.strip()[:8] in str(caught.value)


@pytest.mark.parametrize(
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


@pytest.mark.parametrize(
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


@pytest.mark.parametrize(
    "said",
    ["This is the rationale: it melts.", "My Rationale: none.", "Her best rationale: x.", "rationale: x",
     "a llama rationale.",
     "llama rationale:x", "(llama) rationale: x", "llama  rationale: x", "llama rationale : x",
     "3 rationale: x"],
)  # fmt: skip
def test_ordinary_words_are_no_markers(said):
    """`the rationale:` and the like inside a rationale open no teacher."""
    found = parse(f"{FIRST}{BLOCK} mistral rationale: So. {said}")
    assert found.rationales == {"flan-t5": "Tin melts.", "mistral": f"So. {said}"}


def test_a_teacher_speaks_once():
    """A marker of a teacher who spoke already is a part of the text that holds it."""
    found = parse(f"{FIRST}{BLOCK} llama rationale: One. llama rationale: two. flan-t5 rationale: three.")
    assert found.rationales["llama-2"] == "One. llama rationale: two. flan-t5 rationale: three."


# Statuses and conclusions


def judged(head, more=""):
    """The row that `parse-rationales` makes of a string; the gold answer is (b)."""
    parser = RationaleParser(Teachers(), [GoldRow(None, "Which melts?", METALS, 1)])
    return json.loads(parser(head + BLOCK + more, "x_CoT_0.json", 1))


@pytest.mark.parametrize(
    ("status", "text"),
    [
        ("empty", ""),
        ("empty", " \n "),
        ("ok", "Wool burns. The answer is (b)."),
        ("ok", "So the answer is b"),
        ("ok", "Wool burns.\nAnswer: (b)"),
        ("ok", "Therefore, the answer is tin."),
        ("ok", "The correct answer is B."),
        ("ok", "The answer is \"tin\"."),
        ("ok", "Option (b) is correct."),
        ("ok", "Q stands for heat. The answer is (b)."),  # no question of its own
        ("ok", "Ask: Q: what melts? The answer is (b)."),  # not at the beginning of a line
        ("ok", "If the answer is (a), it burns.\nThe answer is (b)."),
        ("answer_mismatch", "Wool burns. The answer is (a)."),
        ("answer_mismatch", "The answer is wool."),
        ("answer_mismatch", "The answer is a."),
        ("answer_mismatch", "The answer is a plant."),  # the text of (c), not the letter a
        ("no_answer", "Wool burns and tin melts."),
        ("no_answer", "The answer is a metal."),  # neither the letter a nor a choice
        ("no_answer", "The answer is (a). The answer is (b)."),
        ("no_answer", "The answer is (z)."),
        ("no_answer", "It is not said that the answer is (b)."),
        ("truncated", "Wool burns and"),
        ("truncated", "Wool burns,"),
        ("truncated", "The answer is (b). And so on, since"),
        ("truncated", "Option (b"),
        ("truncated", "The answer is"),
        ("truncated", "Tin melts at 232"),
        ("runaway", "The answer is (b).\n\nQ: What burns?\nIt is wool."),
        ("runaway", "So it is.\nQuestion: What burns?"),
        ("runaway", "So it is.\n### Question 2: What burns"),
        ("runaway", "So it is.\n Q2. What burns?"),
        ("runaway", "Q: What burns?"),
    ],
)  # fmt: skip
def test_each_status_is_what_its_definition_says(status, text):
    """Every status, and texts that look like it and are not; the first that holds is given."""
    assert judged(FIRST, f" llama rationale: {CUE}\n{text}")["status"]["llama-2"] == status


@pytest.mark.parametrize(
    ("status", "text", "sentence"),
    [
        ("ok", "Tin melts", " Thus, the answer is (b) tin"),  # an answer followed: it was not cut off
        ("answer_mismatch", "Tin melts.", " Thus, the answer is (a) wool"),
        ("empty", "", "Thus, the answer is (b) tin"),
        ("runaway", "Tin melts.\nQ: Why?", " Thus, the answer is (b) tin"),
    ],
)
def test_an_answer_sentence_is_the_first_teachers_conclusion(status, text, sentence):
    """The first teacher's status follows its answer sentence, which the gold answer is compared with."""
    row = judged(text + sentence)
    assert row["status"]["flan-t5"] == status
    assert row["answer"] == {"label": "b", "text": "tin"}


def test_without_a_gold_answer_nothing_contradicts():
    """Where no gold answer is known, a conclusion is no mismatch."""
    assert status_of("The answer is (a).", METALS, None)[0] == "ok"
    assert status_of("The answer is (a).", METALS, 1)[0] == "answer_mismatch"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("The answer is (b).", 1),
        ("the answer is (B)", 1),
        ("Answer: b.", 1),
        ("Answer: (b)", 1),
        ("The correct option is 'c'.", 2),
        ("The best choice is [a].", 0),
        ("Answer is b\n", 1),
        ("So option (c) is correct.", 2),
        ("Answer a is the right one.", 0),
        ("the answer is tin", 1),
        ("the answer is Tin, of course", 1),
        ("the answer is a plant", 2),
        ("the answer is the tin.", 1),
        ("The answer is (b). Again, the answer is (b).", 1),
        ("the answer is a tree", -1),
        ("the answer is a", 0),
        ("the answer is I think wool", -1),
        ("the answer is (d).", -1),
        ("the answer is (a) or (b).", -1),
        ("The answer is (a).\nNo, the answer is (b).", -1),
        ("If the answer is (a), it burns.", -1),
        ("the answer is not (a).", -1),
        ("Option (a) is incorrect.", -1),
        ("Answer: (a) wool (b) tin (c) a plant", -1),
        ("tin", -1),
        ("(b)", -1),
        ("", -1),
    ],
)
def test_a_conclusion_names_one_choice_or_none(text, place):
    """Letters in brackets or at an end, and texts of choices count; suppositions and denials do not."""
    assert conclusion(text, METALS) == place


def test_an_article_is_no_letter():
    """`the answer is a plant` names nothing where no choice is called so."""
    assert conclusion("the answer is a plant", ["wool", "tin"]) == -1
    assert conclusion("The answer is a plant.", ["wool", "tin"]) == -1


@pytest.mark.parametrize(
    "said",
    ["The answer is (b) tin.", "So the correct answer is (b) tin, as it melts.", "The answer is: (b)."],
)
def test_a_letter_with_its_text_is_a_conclusion(said):
    """The form that the prompts teach, letter and text together, names its choice."""
    assert conclusion(said, METALS) == 1


@given(st.lists(some.stripped_texts(5), min_size=1, max_size=5), rationales())
def test_any_text_concludes_on_a_choice_or_none(choices, text):
    """Whatever the text, a conclusion is a choice that is there, and the status is one of the six."""
    assert -1 <= conclusion(text, choices) < len(choices)
    status, place = status_of(text, choices, 0)
    assert status in ("ok", "empty", "runaway", "truncated", "answer_mismatch", "no_answer")
    assert -1 <= place < len(choices)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("So it is.\n\nQ: What burns?\nIt is wool.", "So it is."),
        ("So it is.\n\n### Question 2: What burns?", "So it is."),
        ("So it is. \n###\n Q: What?", "So it is."),
        ("Q: What burns?", ""),
        ("So it is: Q: no.", "So it is: Q: no."),
        ("So it is.", "So it is."),
        ("", ""),
    ],
)
def test_trimming_cuts_where_the_next_question_begins(text, kept):
    """`--trim-runaway` keeps what precedes the other question, and touches no other rationale."""
    assert trim_runaway(text) == kept


@given(rationales())
def test_trimming_keeps_a_beginning_that_runs_nowhere(text):
    """What is kept is a beginning of the text, and trimming it again changes nothing."""
    kept = trim_runaway(text)
    assert text.startswith(kept)
    assert trim_runaway(kept) == kept


# Linear time

TEN_MEGABYTES = 10_000_000
UNITS = [
    "\nAnswer Choices:\n(a) ", " rationale:", "llama rationale: ", " llama rationale: ", "answer is (a)",
    "answer is (a). ", "The answer is (a).\n", "answer is ", "answer: (", "option (a) is correct. ",
    "Thus, the answer is", "Thus, the answer is (a) ", "\n\nQ: ", "\nQ", "#", "\n#", "(", "w", " ", "\n", CUE,
]  # fmt: skip


def seconds(call):
    """The processor time of a call that may end in dataprep's own error: the best of two."""
    best = float("inf")
    for _ in range(2):
        begin = time.process_time()
        some.result_or_error(call)
        best = min(best, time.process_time() - begin)
        if not 1 <= best < 3:  # beyond that it is no busy machine
            break
    return best


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("place", ["first", "second", "choice"])
def test_ten_adversarial_megabytes_take_less_than_a_second(place, unit):
    """Parts of the grammar, repeated wherever they may stand, cost linear time: 10 MB under a second."""
    text = unit * (TEN_MEGABYTES // len(unit))
    text = {
        "first": text + BLOCK,
        "second": f"{FIRST}{BLOCK} llama rationale: {text}",
        "choice": f"{FIRST}{BLOCK} {text}",
    }[place]
    parser = RationaleParser(Teachers(), trim=True)
    assert seconds(lambda: parser(text, "x.json", 1)) < 1


def test_a_long_choice_and_many_answers_take_linear_time():
    """Each mention of an answer costs the same, however long the choices are that it could name."""
    half = 200_000
    text = f"{FIRST}{BLOCK}{'x' * half} llama rationale: {'answer is x ' * (half // 12)}."
    parser = RationaleParser(Teachers())
    assert seconds(lambda: parser(text, "x.json", 1)) < 1


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ("The answer is the tinfoil hat.", -1),
        ("The answer is the tin.", 1),
        ("If the answer is (b) tin, it would melt.", -1),
    ],
)
def test_only_a_whole_clause_names_a_choice(said, place):
    """A choice's text that is merely how a longer word begins is no answer, and a supposition is none."""
    assert conclusion(said, METALS) == place
