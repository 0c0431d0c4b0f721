"""PIQA: two ways to reach an everyday goal, one of which works.

Published as JSON Lines (Academic Free License 3.0), the labels (0 or 1) on the same lines of a second file,
``train-labels.lst`` beside ``train.jsonl``; the hub's rows have them as ``label``, -1 where they are
hidden. A row::

    {"goal": "To dry wet boots overnight,", "sol1": "stuff them with newspaper", "sol2": "fill them with …"}

Source: Bisk et al. 2020, "PIQA: Reasoning about Physical Commonsense in Natural Language".
"""

from collections.abc import Mapping
from typing import Any

from dataprep.choices import Unlabelled, choice_example, gold_of, id_of, question_and_choices
from dataprep.errors import RowError
from dataprep.records import CHOICE_ASSISTANT, CHOICE_USER, Example, Source, Split, describe, text_of

SOURCE = Source(
    hub="ybisk/piqa",
    revision="refs/convert/parquet",  # main holds a script, which is not run
    licence="AFL-3.0",
    homepage="https://yonatanbisk.com/piqa/",
    splits={
        "train": Split(("*train*",), 16113, "piqa_train_llama", hub="plain_text/train"),
        "test": Split(("*valid*",), 1838, "piqa_valid_llama", hub="plain_text/validation"),
        "hidden": Split(("*test*",), 3084, "", hub="plain_text/test"),
    },
)

USER = CHOICE_USER
ASSISTANT = CHOICE_ASSISTANT

LABELS = ("{stem}-labels.lst", "label")
"""The file beside the rows that holds their labels, one a line, and the field that they become."""


def convert(row: Mapping[str, Any], *, unlabelled: Unlabelled = "drop") -> Example:
    """An Example with question (the goal), two choices and answer.

    Raises:
        RowDropped: the label is hidden, and those rows are not kept.
        RowError: a field is missing or malformed, or the label is neither 0 nor 1.
    """
    if "goal" not in row and "choices" in row:  # the flat layout
        question, choices = question_and_choices(row)
        return choice_example(question, choices, gold_of(row), unlabelled=unlabelled, id=id_of(row))
    texts = [text_of(row, "sol1"), text_of(row, "sol2")]
    label = row.get("label")
    if type(label) is str and label.strip():
        if label.strip() not in ("0", "1", "-1"):
            shown = f"(a) {texts[0]} (b) {texts[1]}"
            found = f"found {describe(label)} as the label, expected 0 or 1; the choices are {shown}"
            raise RowError("the answer is none of the choices", found)
        label = int(label)
    hidden = label is None or label in (-1, "")
    answer = None if hidden else label
    return choice_example(text_of(row, "goal"), (texts, []), answer, unlabelled=unlabelled, id=id_of(row))
