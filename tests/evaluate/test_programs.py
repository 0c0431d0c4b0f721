"""The program of a reply, in the shapes in which models write programs."""

from hypothesis import given
from hypothesis import strategies as st

from dataprep.evaluate.metrics.programs import program_of
from tests.tables import table

TESTS = ["assert add(1, 2) == 3", "assert add(0, 0) == 0"]
RIGHT = "def add(a, b):\n    return a + b\n"
WRONG = "def add(a, b):\n    return a - b\n"
HELPER = "def one():\n    return 1\n"
USER = "def add(a, b):\n    return a + b + one() - 1\n"


def fence(code, language="python", mark="```"):
    """A fenced block."""
    return f"{mark}{language}\n{code}{mark}"


def passes(reply):
    """Whether the program of a reply passes the tests."""
    space = {}
    try:
        exec(program_of(reply, TESTS), space)
        for test in TESTS:
            exec(test, space)
    except Exception:  # noqa: BLE001 - whatever the program raises
        return False
    return True


@table(
    ("reply"),
    [
        # Several blocks: a draft, a helper, imports, and what comes after the program.
        f"First:\n{fence(WRONG)}\nThat is wrong. Fixed:\n{fence(RIGHT)}",
        f"{fence(WRONG + 'assert add(1, 2) == 3' + chr(10))}\nFixed:\n{fence(RIGHT)}",
        f"{fence(WRONG + 'r = add(1, 2)' + chr(10) + 'print(r.x)' + chr(10))}\nFixed:\n{fence(RIGHT)}",
        f"{fence('def add(a, b:' + chr(10))}\nFixed:\n{fence(RIGHT)}",
        f"Helper:\n{fence(HELPER)}\nand\n{fence(USER)}",
        f"{fence(USER)}\nwith the helper\n{fence(HELPER)}",
        fence("import math\n") + "\n" + fence("def add(a, b):\n    return math.floor(a + b)\n"),
        f"{fence(RIGHT)}\nUse:\n{fence('n = int(input())' + chr(10) + 'print(add(n, n))' + chr(10))}",
        f"{fence(RIGHT)}\n{fence('def main():' + chr(10) + '    1 / 0' + chr(10) + 'main()' + chr(10))}",
        f"{fence(RIGHT)}\n{fence('import unittest' + chr(10) + 'unittest.main()' + chr(10))}",
        f"{fence(RIGHT)}\nOutput:\n{fence('hello' + chr(10), '')}",
        f"{fence('pip install x' + chr(10), 'sh')}\n{fence(RIGHT)}",
        f"<think>\n{fence(WRONG)}\n</think>\n{fence(RIGHT)}",
        # Fences: indented, in lists, quoted, of tildes, without their beginning or end.
        "1. Do:\n\n    ```python\n    def add(a, b):\n        return a + b\n    ```\n",
        "- ```python\n  def add(a, b):\n      return a + b\n  ```",
        "> ```python\n> def add(a, b):\n>     return a + b\n> ```",
        fence(RIGHT, mark="~~~"),
        fence(RIGHT, "", "~~~~"),
        fence(RIGHT, mark="````"),
        fence(RIGHT, "Python3"),
        fence(RIGHT, "{.python .numberLines}"),
        fence(RIGHT, 'python title="a.py"'),
        RIGHT + "```",
        RIGHT + "```\nThis adds.",
        RIGHT + "```\n\nUse it:\n```python\nprint(add(1, 2))\n```",
        "```python\n" + RIGHT,
        "```python\ndef add(a, b):\n    return a + b```",
        "```python def add(a, b): return a + b```",
        # Marks of prompt formats.
        f"[BEGIN]\n{RIGHT}[DONE]",
        f"{RIGHT}[DONE]\nYou are an expert\n[BEGIN]\n{WRONG}[DONE]",
        f"[BEGIN]\n{fence(RIGHT)}\n[DONE]",
        f"[PYTHON]\n{RIGHT}[/PYTHON]\n[TESTS]\nassert 0\n[/TESTS]",
        f"<code>\n{RIGHT}</code>",
        # Prose, and characters that no program begins with.
        f"Here it is:\n\n{RIGHT}\nThis function adds, and doesn't fail.",
        f"Sure!\n{RIGHT}\nIt's (easy\n",
        f"import the thing, then:\n{RIGHT}",
        f"{RIGHT}\nDone",
        f"A helper:\n\n{HELPER}\nand then\n\n{USER}\nThat is it.",
        "\ufeff" + RIGHT,
        "\ufeff" + fence(RIGHT),
        fence("\ufeff" + RIGHT),
        fence(RIGHT).replace("\n", "\r\n"),
        "    def add(a, b):\n        return a + b\n",
        "def add(a, b):\n\xa0\xa0\xa0\xa0return a + b\n",
        "```python\n>>> def add(a, b):\n...     return a + b\n...\n>>> add(1, 2)\n3\n```",
        fence("add = lambda a, b: a + b\n"),
        "\u200b" + RIGHT,
        f"Here:\n\ufeff{RIGHT}",
        f"[begin]\n{RIGHT}[done]",
        f"{fence(HELPER)}\n{fence('from __future__ import annotations' + chr(10) + USER)}",
        f"{fence(RIGHT)}\nTest:\n{fence('from solution import add' + chr(10) + 'add(1, 2)' + chr(10))}",
        f"Here it is: {fence(RIGHT)}",
        fence(f"The program:\n\n{fence(RIGHT)}\n", "markdown"),
        RIGHT.rstrip() + "<|endoftext|>",
        f"{fence(RIGHT)}<|im_end|>",
        f"<think>\n{fence(WRONG)}</think>\n{fence(RIGHT)}",
    ],
)
def test_a_right_program_passes_whatever_is_around_it(reply):
    """The format of a reply does not decide whether its program is right."""
    assert passes(reply), program_of(reply, TESTS)


@table(
    ("reply"),
    [
        "def add(a, b):\n    return a +\n",
        f"{RIGHT}\ndef g(:\n    pass\n",
        "```python\ndef add(a, b):\n    return (a +",
        f"{fence(RIGHT)}\nNo, better:\n{fence(WRONG)}",
        "I cannot.",
        "",
    ],
)
def test_a_wrong_program_does_not_pass(reply):
    """Broken code is not taken for prose, and the last block that defines the function counts."""
    assert not passes(reply), program_of(reply, TESTS)


def test_tests_tell_which_block_is_the_program():
    """Without tests it is the last one with a function; a test case is none."""
    reply = f"{fence(RIGHT)}\n{fence('def use():' + chr(10) + '    add(1, 2)' + chr(10))}"
    assert program_of(reply, TESTS) == RIGHT
    assert "def use" in program_of(reply)
    cases = fence("import unittest\nclass TestAdd(unittest.TestCase):\n    pass\n")
    assert program_of(f"{fence(RIGHT)}\n{cases}") == RIGHT


LINES = [
    "```",
    "```python",
    "~~~",
    "[DONE]",
    "[BEGIN]",
    "x = 1",
    "def f():",
    "    return 1",
    "prose it is",
    ">>> x",
]


@given(st.lists(st.sampled_from(LINES) | st.text(max_size=8), max_size=12))
def test_any_text_has_a_program(lines):
    """No reply makes the reader fail, and the same reply has the same program."""
    text = "\n".join(lines)
    assert isinstance(program_of(text), str)
    assert program_of(text, TESTS) == program_of(text, TESTS)


def test_a_reply_that_only_a_parser_minds():
    """Texts that are too deep or too long for Python's parser are run as they are."""
    for text in ("(" * 5000, "-" * 50_000 + "1", "1+" * 50_000 + "1", "x = 1\n" * 100_000, "\0"):
        assert program_of(text) == text


def test_a_program_that_is_python_stays_as_it_is():
    """Nothing is rewritten where nothing has to be."""
    for code in (RIGHT, "x = 1  # a comment\n\n\ny = '```'\n", "'''[DONE] and more'''\n"):
        assert program_of(code, TESTS) == code
        assert program_of(fence(code), TESTS) == code
