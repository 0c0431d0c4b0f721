r"""GSM8K: grade-school math word problems with worked solutions.

Published by OpenAI as JSON Lines (MIT licence), one problem a line; the hub's rows are the same. A row::

    {"question": "A baker fills 3 trays with 12 rolls each and sells 20. How many are left?",
     "answer": "She baked 3*12=<<3*12=36>>36 rolls.\nThat leaves 36-20=<<36-20=16>>16.\n#### 16"}

The text after the last ``####`` is the final answer, the text before it the solution. A row without the mark
keeps its whole answer as the solution. ``<<3*12=36>>`` is a calculator annotation.

Source: Cobbe et al. 2021, "Training Verifiers to Solve Math Word Problems".
"""

import re
from collections.abc import Mapping
from typing import Any

from dataprep.core.errors import RowError
from dataprep.core.records import Example, Source, Split, text_of

SOURCE = Source(
    hub="openai/gsm8k",
    revision="e53f048856ff4f594e959d75785d2c2d37b678ee",
    licence="MIT",
    language="en",
    homepage="https://github.com/openai/grade-school-math",
    splits={
        "train": Split(("*train*",), 7473, "gsm8k_train_llama", hub="main/train"),
        "test": Split(("*test*",), 1319, "gsm8k_test_llama", hub="main/test"),
    },
    task="math",
)

USER = "{question}"
# The published mark before the final answer: graders of this dataset look for it.
ASSISTANT = """\
{solution}

#### {answer}"""

_ANNOTATION = re.compile(r"<<[^<>]*>>")


def is_source_row(row: Mapping[str, Any]) -> bool:
    """Return whether a row with an Example's fields has its solution and answer in one text, as published."""
    return not row.get("solution") and "####" in str(row.get("answer"))


def adopt(example: Example, *, strip_calculator: bool = False) -> Example:
    """Return an Example as its own row has it, without annotations if asked."""
    if strip_calculator and example.solution is not None:
        example.solution = _ANNOTATION.sub("", example.solution).strip() or None
    return example


def convert(row: Mapping[str, Any], *, strip_calculator: bool = False) -> Example:
    """Return an Example with question, solution and answer (the final number)."""
    question, answer = text_of(row, "question"), text_of(row, "answer")
    if strip_calculator:
        answer = _ANNOTATION.sub("", answer)
    # The last mark: a solution may quote one.
    solution, mark, final = answer.rpartition("####")
    if not mark:
        return Example(question, "math", solution=answer.strip())
    final = final.strip()
    if not final:
        raise RowError("no final answer", "nothing follows the last '####' in 'answer'")
    return Example(question, "math", solution=solution.strip() or None, answer=final)
