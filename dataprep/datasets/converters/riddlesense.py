"""RiddleSense: riddles with five choices.

Published as JSON Lines (MIT licence). A row as published, and as the hub has it::

    {"id": "4a…", "answerKey": "E", "question": {"stem": "I have keys but open no door …",
     "choices": [{"label": "A", "text": "lock"}, …]}}
    {"answerKey": "E", "question": "I have keys …", "choices": {"label": ["A", …], "text": ["lock", …]}}

Source: Lin et al. 2021, "RiddleSense: Reasoning about Riddle Questions Featuring Linguistic Creativity and
Commonsense Knowledge".
"""

from dataprep.core.records import Source, Split
from dataprep.datasets.converters.choices import choice_row

SOURCE = Source(
    hub="INK-USC/riddle_sense",
    # The main branch holds a loading script, and no code from the hub is run.
    revision="refs/convert/parquet",
    licence="MIT",
    language="en",
    homepage="https://inklab.usc.edu/RiddleSense/",
    splits={
        "train": Split(("*train*",), 3510, "riddlesense_train_llama", hub="default/train"),
        # The test set's answers are hidden, so the development set is the test split here.
        "test": Split(("*dev*", "*valid*"), 1021, "riddlesense_dev_llama", hub="default/validation"),
        "hidden": Split(("*test*",), 1184, "", hub="default/test"),
    },
)

convert = choice_row
