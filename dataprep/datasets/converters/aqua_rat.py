r"""AQuA-RAT: algebra word problems with five options and a worked rationale.

Published as JSON Lines in files named ``.json`` (Apache-2.0); the hub's rows are the same. A row::

    {"question": "A pump fills …", "options": ["A)12", "B)15", "C)18", "D)20", "E)24"],
     "rationale": "In one hour …\nAnswer: C", "correct": "C"}

The letter is removed from each option's text, also in the flat layout. The rationale is the solution.

Source: Ling et al. 2017, "Program Induction by Rationale Generation: Learning to Solve and Explain Algebraic
Word Problems".
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from dataprep.core.errors import RowError
from dataprep.core.records import (
    Example,
    Source,
    Split,
    describe,
    from_cell,
    optional_text,
    text_of,
    texts_of,
)
from dataprep.datasets.converters.choices import (
    Unlabelled,
    choice_example,
    choices_of,
    gold_of,
    id_of,
    question_and_choices,
)

SOURCE = Source(
    hub="deepmind/aqua_rat",
    revision="33301c6a050c96af81f63cad5562cb5363e88971",
    licence="Apache-2.0",
    language="en",
    homepage="https://github.com/google-deepmind/AQuA",
    splits={
        "train": Split(("*train*",), 97467, "aqua_rat_train_llama", hub="raw/train"),
        "test": Split(("*test*",), 254, "aqua_rat_test_llama", hub="raw/test"),
        "validation": Split(("*dev*", "*valid*"), 254, "", hub="raw/validation"),
    },
)

# The answer comes last: the student has to reach it before it can name it.
ASSISTANT = """\
{solution}

{answer}"""

_OPTION = re.compile(r"\s*\(?([A-Za-z])\s*\)\s*(.*)", re.DOTALL)


def convert(row: Mapping[str, Any], *, unlabelled: Unlabelled = "drop") -> Example:
    """Return an Example with question, choices, answer and solution."""
    if row.get("options") is None and "choices" in row:  # the flat layout
        question, (texts, labels) = question_and_choices(row)
        answer = gold_of(row)
        # A flat answer can be the whole option, with its letter: look it up before the letters are removed.
        if not labels and (lettered := _without_letters(texts)) is not None:
            answer = lettered[1][texts.index(answer)] if answer in texts else answer
            texts, labels = lettered
    else:
        question, answer = text_of(row, "question"), row.get("correct")
        # The published answer is a letter; nothing says how a number would count.
        if type(answer) in (int, float, bool) and answer != -1:
            raise RowError("field 'correct' is not a string", f"found {describe(answer)}")
        texts, labels = _options(row)
    return choice_example(
        question,
        (texts, labels),
        answer,
        unlabelled=unlabelled,
        id=id_of(row),
        solution=optional_text(row, "rationale"),
    )


def _options(row: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the options' texts and letters."""
    options = from_cell(row.get("options"))
    if isinstance(options, dict) or (isinstance(options, list) and options and isinstance(options[0], dict)):
        return choices_of(options)
    found = _without_letters(texts_of({"options": options}, "options"))
    if found is None:
        expected = "expected a list such as ['A)12', 'B)15']"
        raise RowError("malformed options", f"{expected}, found {describe(options, 200)}")
    if not all(found[0]):
        letter = found[1][found[0].index("")]
        raise RowError("an empty option", f"nothing follows the letter {letter}: {describe(options, 200)}")
    return found


def _without_letters(options: Sequence[str]) -> tuple[list[str], list[str]] | None:
    """Return the options' texts and letters; ``None`` unless the letters are there, in order, each once."""
    matches = [_OPTION.fullmatch(option) for option in options]
    labels = [match[1].upper() for match in matches if match]
    # In order and each once: otherwise `correct` could mean another option than it says.
    if not options or len(labels) < len(options) or labels != sorted(set(labels)):
        return None
    return [match[2].strip() for match in matches if match], labels
