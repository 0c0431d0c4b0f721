"""Every converter against recorded rows that someone has read."""

import json

import pytest

from dataprep.datasets import registry as converters
from tests import golden


@pytest.mark.parametrize("name", converters.names())
def test_a_converter_gives_its_golden_rows(name):
    """What a dataset's published rows become does not change unnoticed, and no converter goes without."""
    folder = golden.FOLDER / name
    assert golden.inputs_of(name), f"{folder} has no input file; see CONTRIBUTING.md"
    results = golden.results(name)
    assert results["expected.jsonl"], "the golden inputs give no row"
    for file, text in results.items():
        expected = (folder / file).read_bytes().decode("utf-8")
        assert text.split("\n") == expected.split("\n"), f"{folder / file}: run `make golden`, read the diff"


@pytest.mark.parametrize("name", converters.names())
def test_golden_rows_balance(name):
    """The recorded files agree with one another: rows, rejects and the ledger's counts."""
    texts = {
        path.name: path.read_bytes().decode("utf-8") for path in (golden.FOLDER / name).glob("expected*")
    }
    rows = {file: text.count("\n") for file, text in texts.items()}
    ledger = json.loads(texts["expected_ledger.json"])
    assert rows["expected.jsonl"] == rows["expected_example.jsonl"] == ledger["out"]
    assert rows["expected_rejects.jsonl"] == sum(ledger["failed"].values())
    assert ledger["in"] == ledger["out"] + sum(ledger["dropped"].values()) + sum(ledger["failed"].values())


@pytest.mark.parametrize("name", converters.names())
def test_golden_inputs_are_ugly(name):
    """The inputs hold what breaks readers: other scripts, emoji, U+2028, carriage returns, bad rows."""
    text = b"".join(path.read_bytes() for path in golden.inputs_of(name)).decode("utf-8", "replace")
    for needed in ("\ufeff", "\r\n", "\u0301", "\u2028", "👩‍🚀", "א", "null", '""'):
        assert needed in text, f"no {needed!r} in the inputs of {name}"
    assert (golden.FOLDER / name / "expected_rejects.jsonl").stat().st_size
