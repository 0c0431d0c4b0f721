"""CommonsenseQA: everyday questions with five choices.

Published as JSON Lines (MIT licence). A row as published, and as the hub has it::

    {"id": "9f…", "answerKey": "B", "question": {"stem": "Where would you …?", "question_concept": "kettle",
     "choices": [{"label": "A", "text": "garden"}, {"label": "B", "text": "kitchen"}, …]}}
    {"id": "9f…", "answerKey": "B", "question": "Where would you …?", "question_concept": "kettle",
     "choices": {"label": ["A", "B", …], "text": ["garden", "kitchen", …]}}

Source: Talmor et al. 2019, "CommonsenseQA: A Question Answering Challenge Targeting Commonsense Knowledge".
"""

from dataprep.core.records import Source, Split
from dataprep.datasets.converters.choices import choice_row

SOURCE = Source(
    hub="tau/commonsense_qa",
    revision="94630fe30dad47192a8546eb75f094926d47e155",
    licence="MIT",
    language="en",
    homepage="https://www.tau-nlp.sites.tau.ac.il/commonsenseqa",
    splits={
        "train": Split(("*train*",), 9741, "commonsense_qa_train_llama", hub="default/train"),
        # The test set's answers are hidden, so the development set is the test split here.
        "test": Split(("*dev*", "*valid*"), 1221, "commonsense_qa_dev_llama", hub="default/validation"),
        "hidden": Split(("*test*",), 1140, "", hub="default/test"),
    },
)

convert = choice_row
