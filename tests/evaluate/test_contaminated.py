"""Figures with and without the test rows that stand in the training data."""

import json

import pytest

from dataprep import EvaluateSettings, Plan, convert_files, decontaminate_files, evaluate_file
from dataprep.core.errors import InputError
from dataprep.evaluate.metrics.scores import wilson
from tests.helpers import read_jsonl, write_jsonl
from tests.real import ROOT

SETS = {
    "gsm8k": "gsm8k/test.jsonl",
    "commonsense_qa": "commonsense_qa/dev_rand_split.jsonl",
    "squad": "squad/dev-v2.0.json",
}


def rows_of(name, target, **settings):
    """Write the sample test rows of a dataset in some form, and return them."""
    convert_files(Plan(name, **settings), [ROOT / "raw" / SETS[name]], target)
    return read_jsonl(target)


@pytest.mark.parametrize("with_id", [True, False], ids=["id", "digest"])
@pytest.mark.parametrize("name", SETS)
def test_figures_without_the_rows_that_were_found(tmp_path, name, with_id):
    """Rows found as Examples are left out of the figures of chat rows, by their id or their question."""
    examples = rows_of(name, tmp_path / "examples.jsonl", to="example")
    rows = rows_of(name, tmp_path / "rows.jsonl", with_id=with_id)
    write_jsonl(tmp_path / "train.jsonl", examples[:10])
    found = tmp_path / "found.jsonl"
    decontaminate_files([tmp_path / "train.jsonl"], None, against=[tmp_path / "examples.jsonl"], found=found)
    # The student learned the rows that it saw by heart, and every other row.
    said = [
        {"text": row["messages"][-1]["content"] if n < 10 or n % 2 else "nothing"}
        for n, row in enumerate(rows)
    ]
    if with_id:
        said = [{**line, "id": row["id"]} for line, row in zip(said, rows, strict=True)]
    write_jsonl(tmp_path / "said.jsonl", said)
    done = evaluate_file(
        tmp_path / "rows.jsonl",
        predictions=tmp_path / "said.jsonl",
        output=tmp_path / "out.jsonl",
        settings=EvaluateSettings(contaminated=str(found)),
    )
    (whole,), (clean,) = done.results, done.clean
    assert done.contaminated == 10
    assert [row["contaminated"] for row in read_jsonl(tmp_path / "out.jsonl")] == [
        n < 10 for n in range(len(rows))
    ]
    assert (whole.rows, clean.rows) == (len(rows), len(rows) - 10)
    right = sum(n % 2 for n in range(10, len(rows)))
    figure = clean.figures[0]
    assert (figure.value, figure.low, figure.high) == (right / clean.rows, *wilson(right, clean.rows))
    assert whole.figures[0].value == (right + 10) / whole.rows


def test_both_figures_are_printed(tmp_path, run):
    """The second table says how many rows it leaves out; a file that names no row is a warning."""
    rows = rows_of("gsm8k", tmp_path / "rows.jsonl", with_id=True)
    write_jsonl(tmp_path / "said.jsonl", [{"id": row["id"], "text": "#### 1"} for row in rows])
    write_jsonl(tmp_path / "found.jsonl", [{"id": rows[0]["id"]}])
    command = ["evaluate", "rows.jsonl", "--predictions", "said.jsonl", "--contaminated"]
    done = run(*command, "found.jsonl")
    assert b"without 1 rows that stand in the training data" in done.out
    assert f"{len(rows) - 1}" in done.out.decode().split("without 1 rows")[1]
    write_jsonl(tmp_path / "found.jsonl", [{"id": "of another set"}])
    assert "no row is one of those that --contaminated names" in run(*command, "found.jsonl").err
    write_jsonl(tmp_path / "none.jsonl", [])
    assert "--contaminated" not in run(*command, "none.jsonl").err
    step = json.loads(run(*command, "found.jsonl", "--json").out)
    assert (step["contaminated_rows"], step["results_without"]) == (0, step["results"])


def test_a_number_is_no_name_of_a_row_of_another_set(tmp_path):
    """Sets that number their rows share ids: a row with another question is another row."""
    from dataprep.curate.contamination.found import FoundRows

    path = write_jsonl(tmp_path / "found.jsonl", [{"id": "1", "digest": "a"}, {"id": "q-1", "digest": "b"}])
    found = FoundRows(str(path))
    cases = [("1", "x"), ("q-1", "x"), ("1", "a"), (None, "b"), ("2", None), ("1", None)]
    assert [found.has(*case) for case in cases] == [False, True, True, True, False, True]
    write_jsonl(path, [{"line": 3}])
    with pytest.raises(InputError, match=r"found.jsonl:1: no 'id' and no 'digest'"):
        FoundRows(str(path))
