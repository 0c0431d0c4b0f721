"""Fields that say what is learned or shown, and would have no effect: findings, and bad rows."""

import copy

import pytest

from dataprep import write_rows
from dataprep.core.conversations import IGNORED, find_in_row
from dataprep.core.errors import InputError, RowError
from dataprep.core.io import read_blocks
from dataprep.tokens.formats.base import check_row
from dataprep.tokens.formats.loading import chat_format_of
from dataprep.tokens.lint_files import lint_files
from dataprep.tokens.tokenize import tokenize_files
from tests.tables import table
from tests.tokens_fakes import Bytes

ROW = {
    "messages": [
        {"role": "user", "content": "What is 2 + 2?"},
        {"role": "assistant", "content": "4"},
    ]
}
CALLS = [{"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{}"}}]

# Fields of the assistant's message. Those that dataprep reads are in test_conversations.
IN_MESSAGES = [
    {"training": True},
    {"train_detail": [{"begin_offset": 0, "end_offset": 1, "train": False}]},
    {"loss_scale": 0.5},
    {"loss_mask": 0},
    {"step_loss_mask": 0},
    {"lossWeight": 0},
    {"mask": True},
    {"masked": True},
    {"ignore": True},
    {"end_turn": False},
    {"logprobs": [["4", -0.1]]},
    {"toolCalls": CALLS},
    {"function_call": {"name": "add", "arguments": "{}"}},
    {"thinking_blocks": [{"type": "thinking", "thinking": "2 and 2 make 4."}]},
    {"thought": "2 and 2 make 4."},
    {"refusal": "I cannot add."},
    {"prefix": True},
    {"partial": True},
    {"channel": "analysis"},
    {"is_train": False},
    {"isTraining": 0},
    {"no_train": True},
    {"supervised": False},
    {"labels": [-100, -100]},
    {"eos": False},
    {"cot": "2 and 2 make 4."},
    {"chain_of_thought": "2 and 2 make 4."},
    {"images": ["two.png"]},
    {"parts": [{"text": "4"}]},
]
# Fields of the row.
IN_ROWS = [
    {"weight": 0},
    {"sample_weight": 0.5},
    {"loss": False},
    {"loss_mask": [0, 1]},
    {"train": False},
    {"train_on_inputs": True},
    {"mask": "user"},
    {"completion_mask": [0, 1]},
    {"output_with_loss": False},
    {"rejected": "5"},
    {"rejected_response": "5"},
    {"chosen": [{"role": "assistant", "content": "4"}]},
    {"label": False},
    {"kto_tag": True},
    {"system": "Answer with a number."},
    {"system_prompt": "Answer with a number."},
    {"systemInstruction": {"parts": [{"text": "Answer with a number."}]}},
    {"functions": [{"name": "add"}]},
    {"function_call": "auto"},
    {"tool_choice": "auto"},
    {"parallel_tool_calls": False},
    {"documents": [{"text": "2 + 2 is 4."}]},
    {"chat_template": "{{ messages }}"},
    {"enable_thinking": False},
    {"reasoning_effort": "low"},
    {"images": ["two.png"]},
]
EMPTY = [
    {"weight": None, "tool_calls": None, "name": None, "reasoning_content": None},
    {"tool_calls": [], "reasoning": "", "refusal": " "},
    # A struct of Parquet has all its fields, null.
    {"function_call": {"name": None, "arguments": None}, "tool_calls": [None]},
]
HARMLESS = [
    {"id": "row-1", "source": "gsm8k", "metadata": {"weight": 3, "tools": ["x"]}, "split": "train"},
    {"question": "What is 2 + 2?", "answer": "4", "solution": "2 + 2 = 4", "prompt_id": 7, "model": "m"},
    {"logprobs": [["4", -0.1]], "rationales": {"llm": "…"}, "status": {"llm": "ok"}, "probs": [0.5, 0.5]},
    {
        "label": "math",
        "labels": ["math"],
        "is_train": True,
        "kto_tag": "a",
        "score": 3,
        "used_in_training": "no",
        "operating_system": "Linux",
        "name": "sums",
    },
    {"timestamp": 17, "language": "en", "turn_id": 2, "annotations": [], "usage": {"total_tokens": 5}},
]
CASES = [
    *(("message", fields, 1) for fields in IN_MESSAGES),
    *(("row", fields, 1) for fields in IN_ROWS),
    *(("message", fields, 0) for fields in EMPTY),
    *(("row", fields, 0) for fields in [*EMPTY, *HARMLESS]),
    (
        "message",
        {"id": "m-1", "metadata": {"loss": 1}, "timestamp": 17, "model": "m", "cache_control": "x"},
        0,
    ),
]


def with_fields(place, fields):
    """A chat row with more fields, in itself or in the assistant's message."""
    row = copy.deepcopy(ROW)
    (row if place == "row" else row["messages"][1]).update(fields)
    return row


@table(("place", "fields", "expected"), CASES)
def test_fields_that_would_have_no_effect_are_findings(place, fields, expected):
    """The finding names the field, its value and what to do; empty values say nothing."""
    findings = list(find_in_row(with_fields(place, fields)))
    assert [finding.kind for finding in findings] == [IGNORED] * expected * len(fields)
    for name, finding in zip(fields, findings, strict=False):
        assert (f"messages[1].{name}" if place == "message" else f"the field {name!r}") in finding.detail
        assert "remove the field" in finding.detail


@table(("place", "fields", "expected"), CASES)
def test_no_chat_format_gets_rows_with_such_fields(place, fields, expected):
    """Nothing is turned into tokens as if the field were not there."""
    row = with_fields(place, fields)
    if expected:
        with pytest.raises(RowError, match=IGNORED):
            check_row(row)
    else:
        check_row(row)
        assert chat_format_of("chatml").write(row).texts == ["What is 2 + 2?", "4"]


def test_all_readers_of_chat_rows_name_such_fields(run, tmp_path):
    """`validate` and `lint-tokens` count them; `tokenize` sets the rows aside, or stops at the first."""
    bad = [with_fields(*case[:2]) for case in CASES if case[2]]
    path = tmp_path / "in.jsonl"
    write_rows([ROW, *bad], str(path))
    done = run("validate", "in.jsonl")
    assert (done.code, done.err) == (1, f"{len(bad) + 1} rows, {len(bad)} problems ({IGNORED}: {len(bad)})\n")
    assert lint_files(path, Bytes(), chat_format_of("llama3")).counts == {IGNORED: len(bad)}
    with pytest.raises(InputError, match=rf"in\.jsonl:2: {IGNORED}: messages\[1\]\.training is a boolean"):
        tokenize_files(path, tmp_path / "tokens", tokenizer=Bytes())
    ledger = tokenize_files(
        path, tmp_path / "tokens", tokenizer=Bytes(), rejects=tmp_path / "bad.jsonl"
    ).ledger
    assert (ledger.rows_in, ledger.rows_out, ledger.failed) == (len(bad) + 1, 1, {IGNORED: len(bad)})
    assert len((tmp_path / "bad.jsonl").read_bytes().splitlines()) == len(bad)


def test_rows_of_the_other_objectives_have_no_weights_either(tmp_path):
    """Rows for classifiers, with rationales and for pairs are not learned as if nothing was said."""
    pytest.importorskip("torch")
    from dataprep.tokens.pairs import PairOperator
    from dataprep.train.objectives.rationale_data import read_rows as read_rationale_rows
    from dataprep.train.objectives.soft_label.rows import judged_rows

    example = {"question": "2 + 2?", "choices": ["3", "4"], "answer": "4", "rationales": {"llm": "It is 4."}}
    judged = {"text": "2 + 2 = 4", "label": "right", "prob_loss": 0.1, "chosen_by": None}
    path = str(tmp_path / "rows.jsonl")
    operator = PairOperator([Bytes(), Bytes()], ("llm",), None, 256, "error")
    failures = []
    for fields in ({"weight": 0}, {"train": False}, {"loss": 0.5}, {"sample_weight": 2}):
        write_rows([example | fields], path)
        failures += refused("rationale", lambda: read_rationale_rows([path], ("ok",)), fields)
        failures += [] if operator(next(read_blocks(path))).failures else [("pairs", fields)]
        write_rows([judged | fields], path)
        failures += refused("soft-label", lambda: list(judged_rows([path])), fields)
    assert not failures
    write_rows([judged], path)
    assert len(list(judged_rows([path]))) == 1
    write_rows([judged | {"weight": "heavy"}], path)
    assert next(judged_rows([path], fields=["weight"])).texts == ("heavy",)


def refused(name, read, fields):
    """What is wrong with a reader that takes a row as if a field were not there."""
    try:
        read()
    except InputError as error:
        return [] if IGNORED in str(error) else [(name, fields, str(error))]
    return [(name, fields)]
