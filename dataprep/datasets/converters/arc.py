"""ARC: grade-school science questions with three to five choices, in a Challenge and an Easy set.

Published as JSON Lines (CC BY-SA 4.0); most rows label their choices A to D, some 1 to 4. A row as published,
and as the hub has it::

    {"id": "Mercury_12", "question": {"stem": "Which …?", "choices": [{"text": "…", "label": "A"}, …]},
     "answerKey": "C"}
    {"id": "Mercury_12", "question": "Which …?", "choices": {"text": […], "label": ["1", …]},
     "answerKey": "3"}

Source: Clark et al. 2018, "Think you have Solved Question Answering? Try ARC, the AI2 Reasoning Challenge".
"""

from dataprep.core.records import Source, Split
from dataprep.datasets.converters.choices import choice_row

SOURCE = Source(
    hub="allenai/ai2_arc",
    revision="210d026faf9955653af8916fad021475a3f00453",
    licence="CC BY-SA 4.0",
    language="en",
    homepage="https://allenai.org/data/arc",
    splits={
        # Splits without a prefix are the Challenge set.
        "train": Split(
            ("*challenge*train*", "arc_train*"), 1119, "arc_challenge_train_llama", hub="ARC-Challenge/train"
        ),
        "test": Split(
            ("*challenge*test*", "arc_test*"), 1172, "arc_challenge_test_llama", hub="ARC-Challenge/test"
        ),
        "validation": Split(
            ("*challenge*dev*", "*challenge*valid*", "arc_valid*"), 299, "", hub="ARC-Challenge/validation"
        ),
        "easy_train": Split(("*easy*train*",), 2251, "arc_easy_train_llama", "train", hub="ARC-Easy/train"),
        "easy_test": Split(("*easy*test*",), 2376, "arc_easy_test_llama", "test", hub="ARC-Easy/test"),
        "easy_validation": Split(("*easy*dev*", "*easy*valid*"), 570, "", hub="ARC-Easy/validation"),
    },
)

convert = choice_row
