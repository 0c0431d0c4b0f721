"""`compare`: what differs between runs and what came out of them, finished or not."""

import csv
import fcntl
import json
import os

import pytest

from dataprep import compare_runs
from dataprep.core.errors import FileError, UsageError
from dataprep.train.options import TrainOptions
from dataprep.train.run import train
from tests.helpers import write_jsonl
from tests.students import rows, write_rows, write_tokenizer


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of a classifier that differ in one option, and one of a language model."""
    folder = tmp_path_factory.mktemp("runs")
    judged = [{"text": f"{['bad', 'good'][n % 2]} work {n}", "label": n % 2} for n in range(24)]
    data, held = write_jsonl(folder / "judged.jsonl", judged), write_jsonl(folder / "held.jsonl", judged[:12])
    for name, rate in (("slow", 1e-6), ("fast", 1e-2)):
        options = TrainOptions(steps=8, learning_rate=rate, precision="float32", save_every=0)
        train(data, held, folder / name, options=options)
    chats = write_rows(folder / "chats.jsonl", rows(8))
    options = TrainOptions(
        model="llama-tiny", tokenizer=write_tokenizer(folder / "tokens.json"), steps=1, precision="float32"
    )
    train(chats, chats, folder / "student", options=options)
    return folder


def values(comparison):
    """The values of all lines by part and name."""
    return {(line.part, line.name): list(line.values) for line in comparison.lines}


def test_runs_are_put_side_by_side(runs):
    """Only options that differ are shown; losses and figures are those that the runs recorded."""
    comparison = compare_runs([runs / "slow", runs / "fast"])
    found = values(comparison)
    assert comparison.names == ["slow", "fast"]
    assert found["run", "state"] == ["finished", "finished"]
    assert found["run", "objective"] == ["soft-label", "soft-label"]
    assert {name: value for (part, name), value in found.items() if part == "options"} == {
        "learning_rate": [1e-6, 1e-2]
    }
    recorded = [
        json.loads((runs / name / "results.json").read_text())["results"] for name in ("slow", "fast")
    ]
    assert found["losses", "evaluation, before"] == [each["eval_loss_before"] for each in recorded]
    assert found["losses", "evaluation, after"] == [each["eval_loss"] for each in recorded]
    assert found["figures", "accuracy, after"] == [each["metrics"]["accuracy"] for each in recorded]
    assert found["figures", "majority"] == [0.5, 0.5]
    assert found["training", "steps"] == [8, 8]
    assert all(speed > 0 for speed in found["training", "tokens a second"])
    assert found["data", "train rows"] == [24, 24]
    assert found["data", "train"][0] == found["data", "train"][1]
    assert comparison.warnings() == []


def test_the_table_the_json_and_the_rows(run, runs):
    """A column for each run; the same values as JSON, as Markdown, and as a row for each run."""
    done = run("compare", "slow", "fast", "-o", "runs.csv", cwd=runs)
    assert done.code == 0, done.err
    lines = [line.split() for line in done.out.decode().splitlines()]
    assert lines[0] == ["slow", "fast"]
    assert ["options", "learning_rate", "1e-06", "0.01"] in lines
    assert "compare: 2 runs → runs.csv" in done.err
    with (runs / "runs.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))
    assert [row["run"] for row in cells] == ["slow", "fast"]
    assert [float(row["options: learning_rate"]) for row in cells] == [1e-6, 1e-2]
    report = json.loads(run("compare", "slow", "fast", "--json", cwd=runs).out)
    assert [each["options"]["learning_rate"] for each in report["runs"]] == [1e-6, 1e-2]
    shown = run("compare", "slow", "fast", "--markdown", cwd=runs).out.decode().splitlines()
    assert shown[:2] == ["|  |  | slow | fast |", "| --- | --- | ---: | ---: |"]
    assert run("compare", "slow", "--quiet", cwd=runs).out == b""


def test_manifests_beside_runs_are_left_out(runs):
    """A pattern such as `runs/*` names them too; what does not exist is said."""
    names = [runs / "slow", f"{runs / 'slow'}.manifest.json", runs / "fast"]
    assert compare_runs(names).names == ["slow", "fast"]
    with pytest.raises(UsageError, match="nothing: no such directory; expected the directory of a run"):
        compare_runs([runs / "nothing"])


def test_runs_of_different_objectives(runs):
    """They have a column each, dashes for what they lack, and a warning about their losses."""
    comparison = compare_runs([runs / "fast", runs / "student"])
    found = values(comparison)
    assert found["run", "objective"] == ["soft-label", "sft"]
    assert found["figures", "accuracy, after"][1] is None
    assert found["data", "tokenizer"][0] is None
    warnings = comparison.warnings()
    assert "different objectives (sft, soft-label)" in warnings[0]
    assert "different evaluation rows" in warnings[1]


def test_losses_of_other_weights(run, tmp_path):
    """The teacher's share decides what the loss is: chosen shares and the parts are shown."""
    labelled = [{"text": f"{['bad', 'good'][n % 2]} work {n}", "label": n % 2} for n in range(24)]
    taught = [row | {"probs": [0.8, 0.2] if row["label"] == 0 else [0.2, 0.8]} for row in labelled]
    held = write_jsonl(tmp_path / "held.jsonl", taught)
    rows_of = {"gold": labelled, "soft": taught, "less": taught, "hot": taught}
    more = {"less": {"alpha": 0.2}, "hot": {"temperature": 3.0}}
    for name, found in rows_of.items():
        options = TrainOptions(steps=2, precision="float32", save_every=0, **more.get(name, {}))
        train(write_jsonl(tmp_path / f"{name}.jsonl", found), held, tmp_path / name, options=options)
    comparison = compare_runs([tmp_path / name for name in ("gold", "soft", "less")])
    found = values(comparison)
    assert found["options", "alpha"] == [0.0, 0.5, 0.2]
    (warning,) = comparison.warnings()
    assert warning == (
        "the runs have different losses (alpha 0; alpha 0.2, temperature 2; alpha 0.5, temperature 2), which "
        "are not comparable: compare their parts, or figures"
    )
    recorded = json.loads((tmp_path / "less/results.json").read_text())["results"]
    for part in ("gold", "soft"):
        assert found["losses", f"evaluation of {part}, after"][2] == recorded[f"eval_loss_{part}"]
    assert "temperature 3" in compare_runs([tmp_path / "soft", tmp_path / "hot"]).warnings()[0]
    assert compare_runs([tmp_path / "soft"]).warnings() == []
    assert f"warning: {warning}" in run("compare", "gold", "soft", "less", cwd=tmp_path).err


@pytest.mark.parametrize(
    ("objective", "runs", "says"),
    [
        ("distillation", [{"teacher_share": 0.0, "teacher_model": "a"}, {"teacher_share": 0.0}], ""),
        (
            "distillation",
            [{"teacher_share": 0.5}, {"teacher_share": 0.9}],
            "teacher_share 0.9, temperature 2",
        ),
        ("distillation", [{"teacher_model": "a"}, {"teacher_model": "b"}], "temperature 2, teacher_model b"),
        ("sft", [{"loss": "all"}, {"loss": "last"}], "(loss all; loss last)"),
        ("sft", [{"alpha": 0.5, "temperature": 3.0}, {}], ""),
        ("rationale", [{"gamma": 1.0}, {"gamma": 2.0}], "(answer 1, llama 0.5; answer 2, llama 0.5)"),
    ],
)
def test_losses_of_other_objectives(tmp_path, objective, runs, says):
    """Of the same objective, they depend on the teacher and its share, the parts' weights, or the mask."""
    for number, options in enumerate(runs):
        folder = tmp_path / str(number)
        folder.mkdir()
        lines = [f"{name} = {json.dumps(value)}\n" for name, value in options.items()]
        (folder / "options.toml").write_text("".join(lines))
        parts = {"answer": {"weight": options.get("gamma")}, "llama": {"weight": 0.5}}
        facts = {"objective": objective} | ({"parts": parts} if objective == "rationale" else {})
        (folder / "facts.json").write_text(json.dumps(facts))
    found = compare_runs([tmp_path / "0", tmp_path / "1"]).warnings()
    assert says in "".join(warning for warning in found if "losses" in warning)
    assert bool(says) == any("different losses" in warning for warning in found)


def test_figures_of_a_language_model(tmp_path):
    """What `--measure` writes into the metrics is shown beside chance and majority, which do not change."""
    (tmp_path / "options.toml").write_text('objective = "sft"\n')
    about = {"measured_rows": 4, "chance": 0.25, "majority": 0.5}
    lines = [{"step": n, "eval_loss": 2.0 - n, "accuracy_by_text": 0.25 + n / 4} | about for n in (0, 1)]
    lines.insert(1, {"step": 1, "loss": 1.0, "tokens": 4, "seconds": 0.5, "mfu": 0.125})
    write_jsonl(tmp_path / "metrics.jsonl", lines)
    found = values(compare_runs([tmp_path]))
    assert {name: value for (part, name), value in found.items() if part == "figures"} == {
        "accuracy_by_text, before": [0.25],
        "accuracy_by_text, after": [0.5],
        "majority": [0.5],
        "chance": [0.25],
    }
    assert found["training", "share of the device's peak"] == [0.125]


def test_an_evaluation_loss_that_is_nan(tmp_path):
    """It is null in the metrics of a run that is sound otherwise, and no number is the best one."""
    (tmp_path / "options.toml").write_text('objective = "sft"\n')
    losses = [None, 2.0, None, 3.0]
    lines = [{"step": step, "eval_loss": loss} for step, loss in enumerate(losses)]
    write_jsonl(tmp_path / "metrics.jsonl", lines)
    comparison = compare_runs([tmp_path])
    found = values(comparison)
    assert (comparison.runs[0].state, comparison.runs[0].problem) == ("not finished", "")
    assert found["losses", "evaluation, best"] == [2.0]
    assert found["losses", "evaluation, after"] == [3.0]


def copied(runs, tmp_path, *names):
    """A run's directory with some of its files only."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes((runs / "fast" / name).read_bytes())
    return folder


def test_a_run_in_progress(runs, tmp_path):
    """The lock says that a process works in it; a line that is being written does not count."""
    folder = copied(runs, tmp_path, "options.toml", "facts.json", "metrics.jsonl")
    lines = (folder / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_bytes(b"".join(lines[:4]) + lines[4][:20])
    comparison = compare_runs([folder])
    assert comparison.runs[0].state == "not finished"
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        comparison = compare_runs([folder])
    finally:
        os.close(held)
    found = values(comparison)
    assert found["run", "state"] == ["in progress"]
    assert (found["training", "steps"], found["training", "steps planned"]) == ([3], [8])
    assert comparison.warnings() == [f"{folder}: in progress"]


def test_a_damaged_run_is_shown_as_far_as_it_is_there(run, runs, tmp_path):
    """What is wrong is said, and the other columns are not lost."""
    folder = copied(runs, tmp_path, "options.toml", "facts.json", "metrics.jsonl", "results.json")
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": "x"}\n')
    (folder / "facts.json").write_text("{")
    done = run("compare", runs / "slow", folder)
    assert done.code == 0
    assert "damaged: facts.json cannot be read" in done.err
    assert f"metrics.jsonl:{len((folder / 'metrics.jsonl').read_text().splitlines())} is no line" in done.err


def test_equal_data_are_known_by_their_digests(tmp_path):
    """Another name of the same evaluation rows is no warning, nor a run that has no facts yet."""
    for name, digest, fingerprint in (("a", "1" * 64, "2" * 64), ("b", "1" * 64, "2" * 64), ("c", "3", "4")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "options.toml").write_text('objective = "sft"\n')
        about = {
            "data": {"eval": [{"name": f"{name}.jsonl", "sha256": digest}]},
            "tokenizer": {"fingerprint": fingerprint},
        }
        (tmp_path / name / "facts.json").write_text(json.dumps(about))
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "options.toml").write_text('objective = "sft"\n')

    def warnings(*names):
        found = compare_runs([tmp_path / name for name in names]).warnings()
        return [warning for warning in found if "different" in warning]

    assert warnings("a", "b", "new") == []
    assert [warning.split(":")[0] for warning in warnings("a", "c", "new")] == [
        "the runs have different evaluation rows",
        "the runs have different tokenizers",
    ]


@pytest.mark.parametrize(
    ("results", "problem"),
    [
        ({"metrics": [1]}, "results.metrics is no object"),
        ({"baselines": 3}, "results.baselines is no object"),
        ([1], "has no object results"),
    ],
)
def test_results_of_another_shape(tmp_path, results, problem):
    """They are named, and the rest of the run is shown."""
    (tmp_path / "options.toml").write_text('objective = "sft"\n')
    write_jsonl(tmp_path / "metrics.jsonl", [{"step": 0, "eval_loss": 2.0}])
    (tmp_path / "results.json").write_text(json.dumps({"results": results}))
    comparison = compare_runs([tmp_path])
    assert (comparison.runs[0].state, problem in comparison.runs[0].problem) == ("damaged", True)
    assert values(comparison)["losses", "evaluation, before"] == [2.0]


@pytest.mark.parametrize(
    "change",
    [
        {"mfu": "x"},
        {"memory_mb": "x"},
        {"steps": [8]},
        {"loss": True},
        {"loss": ..., "eval_loss": "x"},
        {"loss": ..., "eval_loss": 1.0, "best": {"step": [1]}},
        {"loss": ..., "eval_loss": 1.0, "best": 3},
        {"loss": ...},
    ],
)
def test_metrics_of_another_shape(tmp_path, change):
    """A line whose fields are not what they are computed with is named, and the lines before it count."""
    (tmp_path / "options.toml").write_text('objective = "sft"\n')
    line = {"step": 1, "loss": 1.0, "tokens": 4, "seconds": 0.5, "memory_mb": 8.0}
    changed = {name: value for name, value in (line | change).items() if value is not ...}
    write_jsonl(tmp_path / "metrics.jsonl", [line, changed])
    comparison = compare_runs([tmp_path])
    assert comparison.runs[0].problem == "metrics.jsonl:2 is no line of metrics"
    assert values(comparison)["training", "peak memory in MB"] == [8.0]


def test_what_is_no_run(runs, tmp_path):
    """A file, a URL, an empty directory and a repeated one are errors."""
    for path, error, says in (
        (runs / "held.jsonl", UsageError, "expected the directory of a run"),
        ("s3://bucket/run", UsageError, "needs a place on a disk"),
        (tmp_path, FileError, "not a run: it has no options.toml; expected a run of `train`"),
        (runs, FileError, r"give the runs inside, such as .*/fast"),
    ):
        with pytest.raises(error, match=says):
            compare_runs([path])
    with pytest.raises(UsageError, match="given twice"):
        compare_runs([runs / "fast", runs / "fast"])


def test_a_kept_step_is_the_one_that_is_compared(tmp_path):
    """With --keep-best, loss and figures after are those of the saved student, not of the last step."""
    judged = [{"text": f"{['bad', 'good'][n % 2]} work {n}", "label": n % 2} for n in range(24)]
    # The evaluation rows contradict the training rows, so the first steps are the best ones.
    other = [row | {"label": 1 - row["label"]} for row in judged]
    data, held = write_jsonl(tmp_path / "judged.jsonl", judged), write_jsonl(tmp_path / "held.jsonl", other)
    options = TrainOptions(
        steps=12, learning_rate=1e-2, precision="float32", save_every=0, keep_best="loss", eval_every=2
    )
    done = train(data, held, tmp_path / "run", options=options)
    found = values(compare_runs([tmp_path / "run"]))
    best = done.results["best"]
    assert found["training", "kept step"] == [best["step"]] < found["training", "steps"]
    assert found["losses", "evaluation, after"] == found["losses", "evaluation, best"] == [best["value"]]
    assert found["figures", "accuracy, after"] == [done.results["metrics"]["accuracy"]]


def test_a_run_in_progress_has_no_facts_yet(tmp_path):
    """It reads its rows: options only, and no step."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "options.toml").write_text('model = "tiny"\n')
    comparison = compare_runs([folder])
    assert values(comparison)["training", "steps"] == [0]
    assert comparison.runs[0].state == "not finished"
