"""The package's surface: which names there are, that they load, and that importing them costs nothing."""

import doctest
import importlib.util
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dataprep

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


def test_public_names_load_and_are_documented():
    """Every public name can be imported, has a docstring of its own, and its functions are annotated."""
    # Some have another name where they are defined: `train` would hide the subpackage of that name.
    elsewhere = {
        "layout_of": "chat_format_of",
        "dataset_names": "names",
        "EvaluateSettings": "Settings",
        "train_student": "train",
    }
    faults = []
    for name in dataprep.__all__:
        value = getattr(dataprep, name)
        # The package `dataprep.collect` can be called as its function of the same name.
        own_name = value.__name__.rpartition(".")[2]
        if own_name != elsewhere.get(name, name) or name not in dir(dataprep):
            faults.append(f"{name}: loads {value.__name__}")
        if not value.__doc__ or value.__doc__.startswith(f"{name}("):  # the latter: a dataclass's default
            faults.append(f"{name}: no docstring")
        if name.islower():
            signature = inspect.signature(value)
            parameters = signature.parameters.values()
            annotations = [signature.return_annotation, *(p.annotation for p in parameters)]
            if inspect.Signature.empty in annotations:
                faults.append(f"{name}: not annotated")
    assert not faults


@pytest.mark.parametrize("module", ["datasets.convert", "datasets.merge", "datasets.checks.validation"])
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


def test_type_checkers_see_the_same_names():
    """The stub is what `make docs` makes of the list of names, so that editors know their types."""
    folder = Path(dataprep.__file__).parent
    spec = importlib.util.spec_from_file_location("build", folder.parent / "docs" / "build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    assert (folder / "__init__.pyi").read_text("utf-8") == build.stub()


def test_the_main_functions_are_public(tmp_path):
    """Prompt, collect and review are functions; the package `dataprep.collect` can still be imported."""
    import dataprep.collect.collector

    examples = [
        {"id": f"x{n}", "question": f"Which {n}?", "choices": ["wool", "tin"], "answer": "tin"}
        for n in range(2)
    ]
    source, journal = tmp_path / "examples.jsonl", tmp_path / "responses.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in examples))
    asked = list(dataprep.prompt(source, forcing=False))
    assert [request["id"] for request in asked] == ["x0", "x1"]
    answer = {
        "key": "k",
        "teacher": "t",
        "model": "m",
        "response": "B",
        "finish_reason": "stop",
        "error": None,
    }
    lines = [answer | {"id": request["id"], "usage": None} for request in asked]
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for given in (journal, [str(journal)]):
        rows = list(dataprep.collect(given, source, to="chat"))
        assert [row["messages"][-1]["content"] for row in rows] == ["B", "B"]
    assert [row["status"] for row in dataprep.collect(journal, source)] == [{"t": "ok"}] * 2
    assert dataprep.review(journal, gold=source).teachers[0].agreement.right == 2
    assert inspect.ismodule(dataprep.collect)
    assert dataprep.collect.collector.collect_files is dataprep.collect_files
    with pytest.raises(dataprep.DataprepError, match="cannot collect to 'chats'"):
        dataprep.collect(journal, source, to="chats")


def test_the_library_checks_options_as_the_command_does(tmp_path):
    """A misspelled value is an error before any file is read, for every object of options."""
    missing = tmp_path / "missing.jsonl"
    calls = [
        lambda: dataprep.convert("commonsense_qa", missing, answer_style="leter"),
        lambda: dataprep.convert("arc", missing, with_id="yes"),
        lambda: dataprep.convert("arc", missing, seed="42"),
        lambda: dataprep.convert("arc", missing, sample="5"),
        lambda: dataprep.convert("arc", missing, template="wording.toml"),
        lambda: dataprep.convert("arc", missing, split=1),
        lambda: dataprep.convert(7, missing),
        lambda: dataprep.convert("gsm8k", missing, options={"strip_calculator": "yes"}),
        lambda: dataprep.convert("qa", missing, options={"answers_from": True}),
        lambda: dataprep.prompt(missing, shots="2"),
        lambda: dataprep.prompt(missing, seed="42"),
        lambda: dataprep.merge([{"n": 1}], seed="42"),
        lambda: dataprep.shuffled_order(3, "42"),
        lambda: dataprep.Pacing(concurrency=0),
        lambda: dataprep.Pacing(rpm="fast"),
        lambda: dataprep.GenerationConfig("tiny", max_tokens="512"),
        lambda: dataprep.GenerationConfig("tiny", temperature="hot"),
        lambda: dataprep.ShardOptions(pack="2048"),
        lambda: dataprep.ShardOptions(truncation="cut"),
        lambda: dataprep.TrainOptions(epochs="3"),
        lambda: dataprep.TrainOptions(batch_size=2.5),
        lambda: dataprep.EvaluateSettings(metric="accuracy"),
        lambda: dataprep.PredictOptions(fields="question"),
    ]
    faults = []
    for number, call in enumerate(calls):
        try:
            call()
            faults.append(f"call {number} was accepted")
        except dataprep.DataprepError as error:
            faults += [] if isinstance(error, ValueError) else [f"call {number}: {error!r}"]
    assert not faults
