"""The package's surface: which names there are, that they load, and that importing them costs nothing."""

import doctest
import inspect
import json
import re
import subprocess
import sys

import pytest

import dataprep

NAMES = [
    "DataprepError",
    "EvaluateSettings",
    "Evaluation",
    "Example",
    "Ledger",
    "Plan",
    "PredictOptions",
    "Problem",
    "Report",
    "Reservoir",
    "Review",
    "ShardOptions",
    "Shards",
    "Stats",
    "Template",
    "TrainOptions",
    "Trained",
    "Workspace",
    "collect_files",
    "convert",
    "convert_files",
    "dataset_names",
    "evaluate_file",
    "export_rationales",
    "fetch",
    "init_workspace",
    "layout_of",
    "lint_files",
    "load_tokenizer",
    "merge",
    "merge_files",
    "parse_rationale_files",
    "predict_files",
    "prompt_file",
    "read_pairs",
    "read_rows",
    "review_files",
    "shuffled_order",
    "stats",
    "stats_of_files",
    "tokenize_files",
    "tokenize_pairs",
    "train_student",
    "train_tokenizer",
    "validate",
    "validate_files",
    "write_rows",
]
HEAVY = {
    "polars",
    "numpy",
    "rich",
    "orjson",
    "pandas",
    "pyarrow",
    "datasets",
    "torch",
    "multiprocessing",
    "matplotlib",
}


def loaded_after(code, *arguments):
    """The top-level modules that are loaded when a new interpreter has run ``code``."""
    report = "\nimport json, sys\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code + report, *arguments], capture_output=True, check=True, timeout=30
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_the_public_names_are_these():
    """A name that users may import appears or goes only on purpose."""
    assert sorted(dataprep.__all__) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_loads_and_says_what_it_is(name):
    """Every name can be used, and help() on it says something of its own."""
    value = getattr(dataprep, name)
    # Some are called otherwise where they live: `train` would hide the subpackage of that name.
    elsewhere = {"dataset_names": "names", "EvaluateSettings": "Settings", "train_student": "train"}
    assert value.__name__ == elsewhere.get(name, name)
    assert value.__doc__
    assert not value.__doc__.startswith(f"{name}("), "that is a dataclass's own docstring"
    assert name in dir(dataprep)


@pytest.mark.parametrize("name", [name for name in NAMES if name.islower()])
def test_a_public_function_is_annotated(name):
    """Editors and type checkers know what goes in and what comes out."""
    signature = inspect.signature(getattr(dataprep, name))
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(each.annotation is not inspect.Parameter.empty for each in signature.parameters.values())


@pytest.mark.parametrize("module", ["conversion", "merging.merger", "validation"])
def test_the_examples_in_docstrings_are_true(module):
    """What help() shows is what happens."""
    __import__(f"dataprep.{module}")
    outcome = doctest.testmod(sys.modules[f"dataprep.{module}"])
    assert outcome.attempted
    assert not outcome.failed


def test_the_subpackage_keeps_its_name():
    """`import dataprep.train` is the package of the trainer, before and after a student was asked for."""
    import dataprep.train

    assert callable(dataprep.train_student)
    assert inspect.ismodule(dataprep.train)


def test_the_version_is_a_version():
    """A report of a bug can name it."""
    assert re.fullmatch(r"\d+\.\d+\.\d+", dataprep.__version__)


def test_an_unknown_name_is_an_attribute_error():
    """Loading names late does not change what a mistyped one does."""
    with pytest.raises(AttributeError, match="convrt"):
        dataprep.convrt  # noqa: B018 - reading it is the test


def test_importing_the_package_loads_nothing_heavy():
    """A program that only imports dataprep starts at once."""
    assert not loaded_after("import dataprep") & HEAVY


def test_one_name_does_not_load_the_others():
    """Reading a file does not wait for polars, nor converting for numpy."""
    assert not loaded_after("import dataprep; dataprep.read_rows, dataprep.convert") & {
        "polars",
        "numpy",
        "rich",
    }


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), ("convert", "--help"), ("merge", "--help")]
)
def test_help_loads_nothing_heavy(arguments):
    """``dataprep --help`` answers at once."""
    code = (
        "import sys\n"
        "from dataprep.__main__ import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
    )
    assert not loaded_after(code, *arguments) & {"polars", "numpy", "rich", "pandas", "pyarrow", "datasets"}
