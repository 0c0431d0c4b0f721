r"""MBPP: Mostly Basic Python Problems, short tasks with code and three assertions each.

Published by Google Research as JSON Lines (CC BY 4.0), ``\r\n`` inside the code; a row::

    {"text": "Write a function to add up the digits of a number.", "code": "def digits(n):\r\n  ...",
     "task_id": 12, "test_setup_code": "", "test_list": ["assert digits(305) == 8"],
     "challenge_test_list": []}

The sanitized subset is a JSON array whose rows have ``prompt`` in place of ``text`` and ``test_imports``
in place of ``test_setup_code``. Both are read, in the authors' files and in the hub's rows.

All splits are published in one file, divided by ``task_id``: 511–974 for training and 1–510 for testing, or
as in the paper 1–10 prompt, 11–510 test, 511–600 validation, 601–974 train.

Source: Austin et al. 2021, "Program Synthesis with Large Language Models".
"""

from collections.abc import Mapping
from typing import Any

from dataprep.core.errors import RowError
from dataprep.core.records import (
    Example,
    Source,
    Split,
    describe,
    is_example,
    list_of,
    text_of,
    texts_of,
    whole_of,
)

# In the order of `task_id`, so that the hub's four splits give the same file as the authors' one.
HUB = "full/prompt+test+validation+train"

SOURCE = Source(
    hub="google-research-datasets/mbpp",
    revision="4bb6404fdc6cacfda99d4ac4205087b89d32030c",
    licence="CC BY 4.0",
    language="en",
    homepage="https://github.com/google-research/google-research/tree/master/mbpp",
    splits={
        "train": Split(("*",), 464, "mbpp_train_sample_llama", hub=HUB),
        "test": Split(("*",), 510, "mbpp_test_sample_llama", hub=HUB),
    },
    task="code",
)

USER = """\
{question}

Your code should pass these tests:
```python
{tests}
```"""
ASSISTANT = """\
```python
{answer}
```"""

SCHEMES = {
    "default": {"test": range(1, 511), "train": range(511, 975)},
    "official": {
        "prompt": range(1, 11),
        "test": range(11, 511),
        "validation": range(511, 601),
        "train": range(601, 975),
    },
}


def split_of(row: Mapping[str, Any], scheme: str) -> str:
    """Return the split that a row belongs to."""
    number = _task_id(row)
    for split, numbers in SCHEMES[scheme].items():
        if number in numbers:
            return split
    raise RowError("'task_id' is out of range", f"found {number}; expected 1 to 974")


def convert(row: Mapping[str, Any]) -> Example:
    """Return an Example with question (the task's text), answer (the code) and tests."""
    # A table of both sets has both columns, and a null in one of them.
    question = text_of(row, "prompt" if "prompt" in row and not row.get("text") else "text")
    setup = row.get("test_setup_code") or ""
    if type(setup) is not str:
        raise RowError("field 'test_setup_code' is not a string", f"found {describe(setup)}")
    # Set-up lines come first among the tests, because they must run before them.
    try:
        tests = (setup, *texts_of(row, "test_imports"), *texts_of(row, "test_list"))
    except RowError:  # only tables have lists as texts, and looking for them takes time in every row
        tests = (setup, *list_of(row, "test_imports"), *list_of(row, "test_list"))
    text_of(row, "code")
    # Only newlines are stripped at the front: stripping spaces would break the first line's indentation.
    code = row["code"].replace("\r\n", "\n")
    return Example(
        question=question.replace("\r\n", "\n"),
        task="code",
        id=f"mbpp-{_task_id(row)}",
        answer=code.strip("\n").rstrip(),
        tests=tuple(lines for test in tests if (lines := test.replace("\r\n", "\n").strip())),
    )


def _task_id(row: Mapping[str, Any]) -> int:
    number = row.get("task_id")
    if type(number) is int:
        return number
    # Examples have it in their id.
    if number is None and is_example(row):
        number = str(row.get("id")).removeprefix("mbpp-")
    if (whole := whole_of(number)) is None:
        raise RowError("field 'task_id' is not a number", f"found {describe(number)}")
    return whole
