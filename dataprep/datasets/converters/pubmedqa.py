"""PubMedQA: yes, no or maybe, from the abstract of a study.

Published as one JSON object keyed by PubMed id (MIT licence), without splits; the hub's rows are flat. A
row here::

    {"pubid": "123", "QUESTION": "Does …?", "CONTEXTS": ["…", "…"], "LABELS": ["BACKGROUND", "RESULTS"],
     "final_decision": "maybe", "LONG_ANSWER": "…"}
    {"pubid": 123, "question": "Does …?", "context": {"contexts": ["…"], "labels": ["RESULTS"]},
     "final_decision": "maybe", "long_answer": "…"}

Flat rows ``{"id", "question", "context", "answer"}`` may have ``choices`` of their own. The long answer (the
conclusion of the abstract) is the solution.

Source: Jin et al. 2019, "PubMedQA: A Dataset for Biomedical Research Question Answering".
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dataprep.core.errors import RowError
from dataprep.core.records import (
    Example,
    Source,
    Split,
    describe,
    from_cell,
    list_of,
    optional_text,
    text_of,
)
from dataprep.datasets.converters.choices import (
    Unlabelled,
    as_spelled,
    choice_example,
    given_choices,
    gold_of,
    id_of,
    whole_document,
)

SOURCE = Source(
    hub="qiaojin/PubMedQA",
    revision="9001f2853fb87cab8d220904e0de81ac6973b318",
    licence="MIT",
    language="en",
    homepage="https://pubmedqa.github.io/",
    splits={
        # The published labelled set is one file of 1,000 rows: all of them are the train split here.
        "train": Split(("ori_pqal*", "*train*"), 1000, "pubmedqa_train_llama", hub="pqa_labeled/train"),
        "test": Split(("*test*",), 500, "pubmedqa_test_llama"),
    },
)

CHOICES = ["yes", "no", "maybe"]


def rows(document: Any) -> Iterator[Any]:
    """Yield the rows of the published object, each with its key as ``pubid``."""
    if isinstance(document, Mapping):
        for pubid, row in document.items():
            yield {"pubid": pubid, **row} if isinstance(row, Mapping) else row
    else:
        raise RowError(
            "not a PubMedQA document", f"expected an object keyed by id, found {describe(document)}"
        )


def convert(row: Mapping[str, Any], *, unlabelled: Unlabelled = "drop") -> Example:
    """Return an Example with context, question, the choices yes, no and maybe, answer and solution."""
    answer = gold_of(row) if row.get("final_decision") is None else row["final_decision"]
    texts, labels = given_choices(row, CHOICES)
    official = row.get("QUESTION") is not None
    # The published object on the one line of a .jsonl file: its values are the rows.
    if not official and "question" not in row and row and all(type(value) is dict for value in row.values()):
        raise whole_document("PubMedQA")
    return choice_example(
        text_of(row, "QUESTION" if official else "question"),
        (texts, labels),
        as_spelled(answer, texts),
        unlabelled=unlabelled,
        id=id_of({"id": row.get("pubid", row.get("id"))}),
        context="\n".join(list_of(row, "CONTEXTS") if official else _contexts(row)) or None,
        solution=optional_text(row, "LONG_ANSWER" if official else "long_answer"),
    )


def _contexts(row: Mapping[str, Any]) -> Sequence[str]:
    # The hub has the parts of the abstract in an object, flat rows as a list or as one text.
    value = from_cell(row.get("context"))
    if isinstance(value, Mapping):
        return list_of(value, "contexts")
    if type(value) is str:
        return [value.strip()]
    return list_of({"context": value}, "context")
