"""A reply with thinking in it: what is said beside it, and the thinking."""

from hypothesis import given
from hypothesis import strategies as st

from dataprep.answers.final_answers import begins_in_thinking, divided, opening_of, said_of
from tests.tables import table

T = "The answer is A. Wait, no."
LAST = "<|start|>assistant<|channel|>final<|message|>"


@table(
    "reply",
    [
        f"<think>{T}</think>\n\nB", f"<think>\n{T}\n</think>\n\nB", f"<thinking>{T}</thinking>B",
        f"<THINK>{T}</Think> B", f"<think>{T}</think>\n\nB\n", f"\n <think>\n{T}</think>\n\nB",
        f"<thought>{T}</thought>B", f"<reasoning>\n{T}\n</reasoning>\nB", f"<scratchpad>{T}</scratchpad>\nB",
        f"{T}</think>\n\nB", f"{T}\n</thinking>B", f"{T}[/THINK]B", f"[THINK]{T}[/THINK]B",
        f"[think] {T} [/think] B",
        f"◁think▷{T}◁/think▷B", f"<seed:think>{T}</seed:think>B", f"<|think|>{T}<|/think|>B",
        f"<|begin_of_thought|>{T}<|end_of_thought|>\n<|begin_of_solution|>B<|end_of_solution|>",
        f"<|START_THINKING|>{T}<|END_THINKING|><|START_RESPONSE|>B<|END_RESPONSE|>",
        f"<|channel|>analysis<|message|>{T}<|end|>{LAST}B<|return|>",
        f"<|channel|>analysis<|message|>{T}<|end|>{LAST}B",
        f"<|start|>assistant<|channel|>analysis<|message|>{T}<|end|>{LAST}B",
        f"<|channel|>analysis<|message|>{T}<|end|>{LAST.replace('final', 'final <|constrain|>json')}B",
        f"analysis{T}assistantfinalB", f"<|channel>thought\n{T}<channel|>B".replace("thought\n", "thought"),
        f"<think>{T}</think>B</think>", f"B<think>{T}</think>",
    ],
)  # fmt: skip
def test_the_answer_is_what_is_said_beside_the_thinking(reply):
    """Each model's marks are known, with or without the beginning that a prompt may have had."""
    said, thinking = said_of(reply)
    assert said == "B" or said.strip() == "B"
    assert thinking.removeprefix("thought").strip() == T


@table(
    ("reply", "said", "thinking"),
    [
        ("<think></think>\n\nB", "B", ""),
        ("<think>\n\n</think>\n\nThe answer is B.", "The answer is B.", ""),
        ("</think>\n\nB", "B", ""),
        ("<think>The answer is A.", "", "The answer is A."),
        ("<think>\nA</think>\n<think>no", "", "A\n\nno"),
        ("[THINK]A", "", "A"),
        ("<|channel|>analysis<|message|>A, or", "", "A, or"),
        ("A</think>", "", "A"),
        ("Well. <think>A?</think> So B.", "Well.\n\n So B.", "A?"),
        ("<think>A</think>\nFirst.\n<think>B</think>\nSecond.", "First.\n\nSecond.", "A\n\nB"),
        ("<think>In <think> I think: A.</think>B", "B", "In <think> I think: A."),
        ("<think>a<think>b</think>c</think>B", "B", "a<think>b\n\nc"),
        ("<thinking>A<reflection>no</reflection>C</thinking>B", "B", "A<reflection>no\n\nC"),
        ("<think>x</think>\n\n    y = 1\n", "    y = 1", "x"),
        ('<think>It is "A"</think>\nB', "B", 'It is "A"'),
        ("<think>\n```\nA\n```</think>\nB", "B", "```\nA\n```"),
        ("<think>A</think>B<|im_end|>", "B<|im_end|>", "A"),
    ],
)
def test_thinking_in_its_other_shapes(reply, said, thinking):
    """Empty, unclosed, repeated and nested thinking; the indentation of a program is kept."""
    assert said_of(reply) == (said, thinking)


@table(
    "reply",
    [
        "", "B", " B \n", "I think B.", "Use the <think> tag. The answer is B.", "1 < 2, so [b]",
        'text.split("</think>")[-1]', "The tag `</think>` ends it.", "```\nprint('<think>')\n```",
        "<answer>B</answer>",
        "x = '</think>'\n", "<s>old</s>", "Models end with <|im_end|>.", "`<|im_end|>`",
        "analysis shows B", "<|channel|>", "thinking", "[1, 2]", "<thinker>",
    ],
)  # fmt: skip
def test_a_reply_without_thinking_is_said_as_it_is(reply):
    """Prose and programs that speak of the marks are not cut."""
    assert said_of(reply) == (reply, "")


PIECES = (
    "<think>",
    "</think>",
    "[THINK]",
    "[/THINK]",
    "<|channel|>final<|message|>",
    "<|end|>",
    "B",
    "\n",
    " ",
    "`",
)


@given(st.lists(st.sampled_from(PIECES) | st.characters(codec="utf-8"), max_size=12).map("".join))
def test_no_word_is_lost(reply):
    """Whatever the marks, each word is said or thought."""
    said, thinking = said_of(reply)
    assert (said + thinking).count("B") == reply.count("B")


@table(
    ("reply", "cut", "begins"),
    [
        ("<think>A", True, False), ("<think>A</think>", False, False), ("<think>A</think>B", False, False),
        ("B", False, False), ("", False, False), ("<think>", True, False), ("First.\n<think>A", True, False),
        ("<think>A</think>B\n<think>C", True, False), ("A</think>", False, True), ("A</think>B", False, True),
        ("A[/THINK]B", False, True), ("A◁/think▷B", False, True), ("A<|end_of_thought|>B", False, True),
        ("A</think>B\n<think>C", True, True),
        ("<|channel|>analysis<|message|>A", True, False),
        ("<|channel|>analysis<|message|>A<|end|>", False, False),
        (f"<|channel|>analysis<|message|>A<|end|>{LAST}B", False, False),
        ("`</think>` ends it.", False, False), ("Prose of <think>.", False, False),
        ("a </b> c", False, False),
    ],
)  # fmt: skip
def test_where_a_reply_begins_and_ends(reply, cut, begins):
    """Inside the thinking it was cut off, or its prompt opened the thinking."""
    assert divided(reply) == (*said_of(reply), cut)
    assert begins_in_thinking(reply) == begins


@table(
    ("prompt", "opening"),
    [
        ("<|assistant|>\n<think>\n", "<think>\n"), ("<think>", "<think>"), ("[THINK] ", "[THINK] "),
        ("<|assistant|>\n<think>\n\n</think>\n\n", ""), ("Use <think> well.", ""), ("", ""), ("\n", ""),
        ("<|START_THINKING|>", "<|START_THINKING|>"), ("x" * 100 + "<seed:think>", "<seed:think>"),
    ],
)  # fmt: skip
def test_a_prompt_can_open_the_thinking(prompt, opening):
    """Only a mark at its very end does; an empty thinking is closed again."""
    assert opening_of(prompt) == opening


@given(st.lists(st.sampled_from(PIECES) | st.characters(codec="utf-8"), max_size=12).map("".join))
def test_what_follows_a_cut_is_thinking(reply):
    """A reply that ends inside its thinking goes on with it, and another one goes on with words."""
    more = f"{reply}\nZZ"
    # A mark that is quoted, or in a line, can mean something else once more text follows.
    if reply.rstrip("`\"'")[-1:] not in (">", "]", "▷", "|"):
        assert ("ZZ" in divided(more)[1]) == divided(reply)[2]


def test_a_long_reply_takes_linear_time():
    """Many marks are read once."""
    for unit in (
        *PIECES,
        "x<think>",
        "x</think>",
        "<think>x</think>",
        "<",
        "[",
        "<|channel|>",
        "analysis",
        "assistantfinal",
    ):
        for reply in (unit * (100_000 // len(unit)), f"<|message|>{unit * (100_000 // len(unit))}"):
            said_of(reply)
