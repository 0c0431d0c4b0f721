"""``--config FILE.toml``: the options of a command from a file."""

import subprocess
import sys
import tomllib

import pytest
import typer

from dataprep.cli.app import app
from dataprep.core.options import options_of
from dataprep.datasets.convert import Plan
from dataprep.evaluate.settings import Settings
from dataprep.models.loading import PRESETS
from dataprep.models.sampling import GenerationConfig
from dataprep.teacher.settings import Pacing
from dataprep.tokens.options import ShardOptions
from dataprep.train.options import LANGUAGE_MODELS, PredictOptions, TrainOptions
from tests.helpers import write_jsonl

CLASSES = {
    "train": (TrainOptions,),
    "predict": (PredictOptions,),
    "generate": (GenerationConfig, Pacing),
    "tokenize": (ShardOptions,),
    "convert": (Plan,),
    "evaluate": (Settings,),
}
ROW = '{"question": "%d + 1?", "answer": "So\\n#### %d"}\n'


def config(folder, text):
    """The text as a file ``c.toml``."""
    (folder / "c.toml").write_text(text, "utf-8")
    return "c.toml"


@pytest.fixture(autouse=True)
def rows(tmp_path):
    """Nine raw rows."""
    (tmp_path / "rows.jsonl").write_text("".join(ROW % (n, n + 1) for n in range(9)), "utf-8")


@pytest.mark.parametrize("command", CLASSES)
def test_flags_are_the_options(command):
    """Every option of a class is a flag with its help text, and every such command has --config."""
    flags = {
        flag: item for item in typer.main.get_command(app).commands[command].params for flag in item.opts
    }
    for cls in CLASSES[command]:
        for name, option, _ in options_of(cls):
            assert flags[option.flag.partition("/")[0]].help == option.help, name
    assert "--config" in flags


def test_options_come_from_the_file(run, tmp_path):
    """Flags, arguments and options of a class, and required ones, are read from the file."""
    path = config(
        tmp_path, 'dataset = "gsm8k"\ninputs = ["rows.jsonl"]\nto = "example"\nsample = 3\nquiet = true\n'
    )
    done = run("convert", "--config", path)
    assert (done.code, done.err, done.out.count(b"\n")) == (0, "", 3)
    assert done.out.startswith(b'{"id"')


def test_flags_win_over_the_file(run, tmp_path):
    """A value on the command line replaces the file's, also a positional one."""
    path = config(tmp_path, 'dataset = "gsm8k"\ninputs = ["other.jsonl"]\nsample = 3')
    done = run("convert", "gsm8k", "rows.jsonl", "--config", path, "--sample", "2")
    assert (done.code, done.out.count(b"\n")) == (0, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "lerning_rate = 1.0",
            "lerning_rate: train has no such option; the nearest is learning_rate",
        ),
        ("batch-size = 1", "c.toml: batch-size: train has no such option; the nearest is batch_size"),
        ("config = 'x'", "c.toml: config: train has no such option"),
        ("epochs = 'many'", "c.toml: epochs: found the string 'many', expected a number"),
        ("steps = 1.5", "c.toml: steps: found a number 1.5, expected a whole number"),
        ("steps = true", "c.toml: steps: found a boolean True, expected a whole number"),
        ("compile = 1", "c.toml: compile: found a number 1, expected a boolean"),
        ("eval = 'x.jsonl'", "c.toml: eval: found the string 'x.jsonl', expected a list of strings"),
        ("fields = [1]", "c.toml: fields: found a list [1], expected a list of strings"),
        ("model = ['a']", "c.toml: model: found a list ['a'], expected a string"),
        ("schedule = 'sine'", "c.toml: schedule: 'sine' is not one of"),
        ("batch_size = 0", "c.toml: batch_size: 0 is not in the range x>=1"),
        ("a = ", "c.toml: not a TOML file"),
    ],
)
def test_a_bad_file(run, tmp_path, text, message):
    """What is wrong with the file is said with its path, its key, what was found and what is expected."""
    done = run("train", "--config", config(tmp_path, text))
    assert (done.code, message in done.err) == (2, True), done.err


def test_a_missing_file(run):
    """A file that is not there is reported by its path."""
    done = run("train", "--config", "no.toml")
    assert done.code == 1
    assert "no.toml" in done.err


def test_option_modules_load_nothing_heavy():
    """Help texts are there at once: declaring options imports neither torch nor numpy."""
    code = (
        "import sys, typer; from dataprep.cli.app import app\n"
        "assert all(typer.main.get_command(app).commands.values())\n"
        "print({'torch', 'numpy', 'rich', 'polars'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


LABELLED = [{"title": f"{word} {n}", "label": word} for n in range(8) for word in ("yes", "no")]
CHATS = [
    {"messages": [{"role": "user", "content": f"{n} + {n}?"}, {"role": "assistant", "content": f"{2 * n}."}]}
    for n in range(12)
]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("rows", "flags", "weights"),
    [
        (LABELLED, ["--fields", "title", "--classes", "no,yes", "--alpha", "0"], "student.safetensors"),
        pytest.param(CHATS, ["--schedule", "linear"], "model.safetensors", marks=pytest.mark.medium),
    ],
)
def test_a_run_is_repeated_from_its_directory(run, tmp_path, rows, flags, weights):
    """A run's directory has its data, evaluation data, model and options: the weights come out again."""
    for name in ("train.jsonl", "eval.jsonl"):
        write_jsonl(tmp_path / name, rows)
    made = run("train", "train.jsonl", "--eval", "eval.jsonl", "--steps", "4", "-o", "a", *flags)
    assert made.code == 0, made.err
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    # Paths in the file do not depend on the working directory.
    again = run(
        "train", "--config", tmp_path / "a/options.toml", "-o", tmp_path / "b", "--keep", 1, cwd=elsewhere
    )
    assert again.code == 0, again.err
    assert (tmp_path / "b" / weights).read_bytes() == (tmp_path / "a" / weights).read_bytes()
    recorded = [tomllib.loads((tmp_path / name / "options.toml").read_text("utf-8")) for name in "ab"]
    assert recorded[0] | {"keep": 1} == recorded[1]
    assert recorded[0]["eval"] == [str(tmp_path / "eval.jsonl")]
    # The file also continues the run that it is from.
    assert run("train", "--config", "a/options.toml", "-o", "a", "--resume").code == 0
    other = run("train", "--config", "a/options.toml", "-o", "a", "--resume", "--seed", "7")
    assert (other.code, "begun with another --seed" in other.err) == (2, True)


def test_steps_on_the_command_line_take_the_place_of_epochs_in_a_file(run, tmp_path):
    """A run is repeated with another length; two lengths at once are an error, wherever they stand."""
    write_jsonl(tmp_path / "train.jsonl", LABELLED)
    flags = ["--fields", "title", "--classes", "no,yes", "--alpha", "0"]
    made = run("train", "train.jsonl", "--epochs", "1", "-o", "a", *flags)
    assert made.code == 0, made.err
    again = run("train", "--config", "a/options.toml", "-o", "b", "--steps", "2")
    assert again.code == 0, again.err
    recorded = tomllib.loads((tmp_path / "b" / "options.toml").read_text("utf-8"))
    assert (recorded["steps"], recorded.get("epochs")) == (2, None)
    both = run("train", "--config", "a/options.toml", "-o", "c", "--steps", "2", "--epochs", "3")
    assert (both.code, "--steps 2 and --epochs 3: expected one of them" in both.err) == (2, True)


@pytest.mark.medium
@pytest.mark.parametrize(("rows", "preset"), [(LABELLED, "wide"), (CHATS, "llama-tiny")])
def test_a_preset_s_name_is_no_path(run, tmp_path, rows, preset):
    """A run in a directory of its model's name is continued and repeated, and never trained further."""
    write_jsonl(tmp_path / "train.jsonl", rows)
    flags = ["--fields", "title", "--classes", "no,yes", "--alpha", "0"] if rows is LABELLED else []
    made = run("train", "train.jsonl", "--model", preset, "--steps", "2", "-o", preset, *flags)
    assert made.code == 0, made.err
    again = run("train", "--config", f"{preset}/options.toml", "-o", "again")
    assert again.code == 0, again.err
    weights = "student.safetensors" if rows is LABELLED else "model.safetensors"
    assert (tmp_path / "again" / weights).read_bytes() == (tmp_path / preset / weights).read_bytes()
    assert run("train", "--config", f"{preset}/options.toml", "-o", preset, "--resume").code == 0


def test_presets_are_those_of_the_models():
    """The options' help and records name each preset that there is."""
    assert LANGUAGE_MODELS == PRESETS
