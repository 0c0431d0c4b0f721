"""PIQA: two ways to reach an everyday goal, one of which works.

Published as JSON Lines (Academic Free License 3.0), the labels (0 or 1) on the same lines of a second file,
``train-labels.lst`` beside ``train.jsonl`` and ``dev-labels.lst`` beside ``dev.jsonl``. The Hub's rows have
them as ``label``, -1 where they are hidden. A row::

    {"goal": "To dry wet boots overnight,", "sol1": "stuff them with newspaper", "sol2": "fill them with …"}

Source: Bisk et al. 2020, "PIQA: Reasoning about Physical Commonsense in Natural Language".
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dataprep.core.errors import RowError
from dataprep.core.records import (
    Example,
    Source,
    Split,
    describe,
    listed,
    text_of,
    text_or_number_of,
    whole_of,
)
from dataprep.datasets.converters.choices import Unlabelled, choice_example, choice_row, id_of

SOURCE = Source(
    hub="ybisk/piqa",
    # The main branch holds a loading script, and no code from the hub is run.
    revision="refs/convert/parquet",
    licence="AFL-3.0",
    language="en",
    homepage="https://yonatanbisk.com/piqa/",
    splits={
        "train": Split(("*train*",), 16113, "piqa_train_llama", hub="plain_text/train"),
        # The test set's answers are hidden, so the development set is the test split here.
        "test": Split(("*dev*", "*valid*"), 1838, "piqa_valid_llama", hub="plain_text/validation"),
        "hidden": Split(("*test*",), 3084, "", hub="plain_text/test"),
    },
)

LABELS = ("{stem}-labels.lst", "label")
"""The file beside the rows that holds their labels, one a line, and the field that they become."""


def convert(row: Mapping[str, Any], *, unlabelled: Unlabelled = "drop") -> Example:
    """Return an Example with question (the goal), two choices and answer."""
    if row.get("goal") is None and "choices" in row:
        return choice_row(row, unlabelled=unlabelled)  # the flat layout
    texts = [text_or_number_of(row, "sol1"), text_or_number_of(row, "sol2")]
    label = row.get("label")
    if type(label) is str:
        label = label.strip()
    return choice_example(
        text_of(row, "goal"),
        (texts, []),
        None if whole_of(label) == -1 else label,
        unlabelled=unlabelled,
        find=_place_of,
        id=id_of(row),
    )


def _place_of(label: object, texts: Sequence[str], _: object) -> int:
    # 0 is the first solution, here also as a text: in other sets the string "1" counts from 1.
    number = whole_of(label)
    if number in (0, 1):
        return number
    found = f"found {describe(label)} as the label, expected 0 or 1; the choices are {listed(texts)}"
    raise RowError("the answer is none of the choices", found)
