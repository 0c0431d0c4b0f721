r"""AQuA-RAT: algebra word problems with five options and a worked rationale.

Published as JSON Lines in files named ``.json`` (Apache-2.0); the hub's rows are the same. A row::

    {"question": "A pump fills …", "options": ["A)12", "B)15", "C)18", "D)20", "E)24"],
     "rationale": "In one hour …\nAnswer: C", "correct": "C"}

The option's letter is taken off its text; the rationale is the solution.

Source: Ling et al. 2017, "Program Induction by Rationale Generation: Learning to Solve and Explain Algebraic
Word Problems".
"""

import re
from collections.abc import Mapping
from typing import Any

from dataprep.choices import Unlabelled, choice_example, gold_of, id_of, question_and_choices
from dataprep.errors import RowError
from dataprep.records import (
    CHOICE_USER,
    Example,
    Source,
    Split,
    describe,
    optional_text,
    text_of,
    texts_of,
)

SOURCE = Source(
    hub="deepmind/aqua_rat",
    revision="33301c6a050c96af81f63cad5562cb5363e88971",
    licence="Apache-2.0",
    homepage="https://github.com/google-deepmind/AQuA",
    splits={
        "train": Split(("*train*",), 97467, "aqua_rat_train_llama", hub="raw/train"),
        "test": Split(("*test*",), 254, "aqua_rat_test_llama", hub="raw/test"),
        "validation": Split(("*dev*", "*valid*"), 254, "", hub="raw/validation"),
    },
)

USER = CHOICE_USER
# The answer stands last, as the student has to reach it first.
ASSISTANT = """\
{solution}

{answer}"""

_OPTION = re.compile(r"\s*\(?([A-Za-z])\s*\)\s*(.*)", re.DOTALL)


def convert(row: Mapping[str, Any], *, unlabelled: Unlabelled = "drop") -> Example:
    """An Example with question, choices, answer and solution.

    Raises:
        RowDropped: the answer is hidden, and those rows are not kept.
        RowError: a field is missing or malformed, or the answer is none of the options.
    """
    if "options" not in row and "choices" in row:  # the flat layout
        question, choices = question_and_choices(row)
        fields: dict[str, Any] = {"id": id_of(row), "solution": optional_text(row, "rationale")}
        return choice_example(question, choices, gold_of(row), unlabelled=unlabelled, **fields)
    options = [_OPTION.fullmatch(option) for option in texts_of(row, "options")]
    labels = [match[1].upper() for match in options if match]
    if not options or len(labels) < len(options) or labels != sorted(set(labels)):
        expected = "expected a list such as ['A)12', 'B)15']"
        raise RowError("malformed options", f"{expected}, found {describe(row.get('options'), 200)}")
    return choice_example(
        text_of(row, "question"),
        ([match[2].strip() for match in options if match], labels),
        optional_text(row, "correct"),
        unlabelled=unlabelled,
        id=id_of(row),
        solution=optional_text(row, "rationale"),
    )
