"""OpenBookQA: elementary science questions with four choices.

Published as JSON Lines (Apache-2.0); a row as published, and as the hub has it::

    {"id": "12-34", "question": {"stem": "A kettle whistles when", "choices": [{"text": "…",
     "label": "A"}, …]}, "answerKey": "D"}
    {"id": "12-34", "question_stem": "A kettle whistles when", "choices": {"text": […], "label": ["A", …]},
     "answerKey": "D"}

Source: Mihaylov et al. 2018, "Can a Suit of Armor Conduct Electricity? A New Dataset for Open Book Question
Answering".
"""

from dataprep.core.records import Source, Split
from dataprep.datasets.converters.choices import choice_row

SOURCE = Source(
    hub="allenai/openbookqa",
    revision="388097ea7776314e93a529163e0fea805b8a6454",
    licence="Apache-2.0",
    language="en",
    homepage="https://allenai.org/data/open-book-qa",
    splits={
        "train": Split(("*train*",), 4957, "openbookqa_train_llama", hub="main/train"),
        "test": Split(("*test*",), 500, "openbookqa_test_llama", hub="main/test"),
        "validation": Split(("*dev*", "*valid*"), 500, "", hub="main/validation"),
    },
)

convert = choice_row
