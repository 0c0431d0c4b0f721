"""Evaluation during training, and the best step: which it is, its weights, and runs that are resumed."""

import json
import math
from contextlib import contextmanager
from uuid import uuid4

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from dataprep.cli.commands.train import _lines
from dataprep.core.errors import FileError, UsageError
from dataprep.evaluate.evaluator import evaluate_file
from dataprep.evaluate.settings import Settings
from dataprep.train.evaluation import BestStep, Evaluator
from dataprep.train.options import TrainOptions
from dataprep.train.report import draw_curve
from dataprep.train.run import Trained, train
from dataprep.train.run_dir import RunDir
from dataprep.train.trainer import Trainer
from tests.helpers import write_jsonl
from tests.students import rows, unfinish, write_rows
from tests.train.test_remote import names, student
from tests.train.test_soft_label import judged, soft
from tests.train.test_trainer import chosen, metrics, same, torchrun

# Twenty steps over six rows, which a student learns by heart: the evaluation loss falls and rises again.
SETTINGS = {"keep_best": "loss", "eval_every": 2, "steps": 20, "batch_size": 4}
SETTINGS |= {"learning_rate": 0.03, "schedule": "constant", "warmup": 0.0}


def run(place, output, *, resume=False, log=None, **settings):
    """A run in this process; its results."""
    options = chosen(place, **{**SETTINGS, **settings})
    data = write_rows(place / "few.jsonl", rows(6))
    return train(data, place / "eval.jsonl", output, options=options, resume=resume, log=log).results


def weights(output):
    """The weights of a run's student."""
    return load_file(output / "model.safetensors")


def evaluations(output):
    """The lines of a run's evaluations."""
    return [line for line in metrics(output) if "eval_loss" in line]


@pytest.fixture(scope="session")
def best_run(place, tmp_path_factory):
    """A run whose best step is neither the first nor the last one; its directory and results."""
    output = tmp_path_factory.mktemp("best") / "run"
    results = run(place, output)
    return output, results


# Values that are often equal, that decide nothing, or that are undefined.
VALUES = st.lists(st.sampled_from([0.1, 0.2, 0.3, math.nan, None]), max_size=12)


@given(VALUES, st.sampled_from(["loss", "accuracy"]))
def test_the_best_step_is_the_first_of_the_best(values, metric):
    """As a search through all evaluations finds it; the one before training does not count."""
    best = BestStep(metric)
    name = {"loss": "eval_loss"}.get(metric, metric)
    values = [math.nan if value is None and metric == "loss" else value for value in values]
    better = [best.add({"step": step, name: value}) for step, value in enumerate(values)]
    sign = -1 if metric == "loss" else 1
    known = [(step, sign * value) for step, value in enumerate(values) if step and value is not None]
    known = [(step, value) for step, value in known if not math.isnan(value)]
    highest = max(known, key=lambda pair: pair[1], default=None)  # the first one of equals
    assert best.describe().get("step") == (highest and highest[0])
    assert best.since == len(values[1:]) - (highest[0] if highest else 0)
    assert best.steps == [step for step, is_best in enumerate(better) if is_best]
    for step in range(len(values)):
        before = [found for found in best.steps if found <= step]
        assert best.as_of(step) == (before[-1] if before else None)


def test_the_student_has_the_weights_of_the_best_step(place, tmp_path, best_run):
    """They are those of a run that ends there; records, card and curve name the step and its figure."""
    output, results = best_run
    lines = evaluations(output)
    best = min(lines[1:], key=lambda line: line["eval_loss"])
    assert lines[1]["step"] <= best["step"] < lines[-1]["step"]
    expected = {"step": best["step"], "metric": "loss", "value": best["eval_loss"]}
    assert results["best"] == lines[-1]["best"] == expected
    assert results["eval_loss"] == best["eval_loss"] < lines[-1]["eval_loss"]
    run(place, tmp_path / "short", keep_best=None, steps=best["step"])
    same(weights(output), weights(tmp_path / "short"))
    assert f"step: {best['step']}, metric: loss" in (output / "README.md").read_text()
    assert not (output / "best").exists()
    assert draw_curve(RunDir(output)).stat().st_size > 1000


def test_evaluate_finds_the_loss_that_training_printed(place, best_run):
    """The loss of the results is that of the student that was saved, and not of the last step."""
    output, results = best_run
    found = evaluate_file(place / "eval.jsonl", model=output, settings=Settings(metric="loss"))
    assert found.results[0].figures[0].value == pytest.approx(results["eval_loss"], rel=1e-5)


class Stopped(Exception):
    """What ends a run in the middle."""


@contextmanager
def stopping_at(step):
    """Let a run end before it takes a step."""
    real = Trainer.train_step

    def take(self, number, items):
        if number == step:
            raise Stopped
        return real(self, number, items)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "train_step", take)
        with pytest.raises(Stopped):
            yield


@pytest.mark.medium
@pytest.mark.sampled(3)
@pytest.mark.parametrize("step", [1, 11, 19])
def test_a_run_that_is_stopped_keeps_the_same_step(place, tmp_path, best_run, step):
    """Wherever it stops, before or after the best step: the student and all evaluations are the same."""
    with stopping_at(step):
        run(place, tmp_path / "run", save_every=3)
    results = run(place, tmp_path / "run", save_every=3, resume=True)
    output, expected = best_run
    same(weights(tmp_path / "run"), weights(output))
    assert results["best"] == expected["best"]
    assert evaluations(tmp_path / "run") == evaluations(output)


@pytest.mark.slow
def test_an_earlier_checkpoint_has_its_best_step(place, tmp_path):
    """A damaged last checkpoint can be removed: the weights that the one before needs are still there."""
    most = []
    real = Evaluator._remove_superseded

    def counted(self):
        real(self)
        most.append(len(list(self.folder.iterdir())))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Evaluator, "_remove_superseded", counted)
        run(place, tmp_path / "run", save_every=3, eval_every=1, keep_checkpoints=True)
    assert 1 <= max(most) <= 3
    expected = weights(tmp_path / "run")
    unfinish(tmp_path / "run")
    run(place, tmp_path / "run", save_every=3, eval_every=1, keep_checkpoints=True, resume=True)
    same(weights(tmp_path / "run"), expected)
    unfinish(tmp_path / "run")
    for path in (tmp_path / "run" / "best").iterdir():
        path.unlink()
    with pytest.raises(FileError, match="the weights of the best step are not there"):
        run(place, tmp_path / "run", save_every=3, eval_every=1, keep_checkpoints=True, resume=True)


def test_patience_ends_a_run(place, tmp_path, best_run):
    """After two evaluations without a better loss; resumed, it takes no further step."""
    told = []
    results = run(place, tmp_path / "run", patience=2, keep_checkpoints=True, log=told.append)
    output, expected = best_run
    assert results["best"] == expected["best"]
    assert results["steps"] == expected["best"]["step"] + 4
    assert results["planned_steps"] == 20
    same(weights(tmp_path / "run"), weights(output))
    ends = f"--patience 2: the run ends after {results['steps']} of 20 steps, because 2 evaluations had no"
    assert any(line.startswith(ends) for line in told)
    (tmp_path / "run" / "results.json").unlink()
    again = run(place, tmp_path / "run", patience=2, keep_checkpoints=True, resume=True)
    assert again == results
    same(weights(tmp_path / "run"), weights(output))


def test_patience_also_ends_a_run_without_any_value(place, tmp_path, monkeypatch):
    """It says so beside the warning that the last step is kept."""
    monkeypatch.setattr(Evaluator, "_measure", lambda _: {"eval_loss": math.nan})
    told = []
    results = run(place, tmp_path / "run", patience=2, log=told.append)
    assert math.isnan(results["eval_loss"])
    again = run(place, tmp_path / "run", patience=2, resume=True)
    shown = [*_lines(Trained(tmp_path / "run", "sft", again))]
    assert "  evaluation loss nan → nan" in shown
    ends = "--patience 2: the run ends after 4 of 20 steps, because 2 evaluations had no better loss"
    assert ends in told
    assert any("no evaluation had a value; the last step is kept" in line for line in told)


def test_without_a_number_there_are_about_ten_evaluations(place, tmp_path):
    """After each epoch, or more often in a short run; the run says so, and its card has the number."""
    told = []
    run(place, tmp_path / "run", eval_every=0, log=told.append)
    assert [line["step"] for line in evaluations(tmp_path / "run")] == list(range(0, 21, 2))
    assert "--keep-best: an evaluation every 2 steps; --eval-every sets another number" in told
    assert "| eval every | 2 |" in (tmp_path / "run" / "README.md").read_text()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keep_best": "accuracy"}, "--keep-best accuracy: must be one of loss, which this run measures"),
        ({"qat": "int4-weight"}, "--qat compares two students after their last steps"),
    ],
)
def test_what_cannot_be_kept_is_an_error_before_training(place, tmp_path, settings, message):
    """A metric that the objective lacks, and two students of which neither would be the best."""
    with pytest.raises(UsageError, match=message):
        run(place, tmp_path / "run", model=str(place / "wide"), **settings)
    assert not (tmp_path / "run").exists()


def test_a_best_step_needs_evaluation_rows(place, tmp_path):
    """Said before anything is loaded; and patience needs something to wait for."""
    with pytest.raises(UsageError, match="--keep-best compares steps on evaluation rows: give --eval FILE"):
        train(place / "train.jsonl", (), tmp_path / "run", options=chosen(place, **SETTINGS))
    with pytest.raises(UsageError, match="--patience 3 needs --keep-best METRIC"):
        TrainOptions(patience=3)


def test_steps_and_epochs_exclude_each_other():
    """One of them would be ignored in silence."""
    with pytest.raises(UsageError, match="--steps 5 and --epochs 2: expected one of them"):
        TrainOptions(steps=5, epochs=2)


def test_a_run_that_gets_worse_says_so(place, tmp_path):
    """The weights before the first step are not kept; the warning is in the results too."""
    told = []
    results = run(place, tmp_path / "a", steps=2, eval_every=1, log=told.append)
    assert "warnings" not in results
    worse = run(place, tmp_path / "b", learning_rate=50.0, steps=2, eval_every=1, clip=0.0)
    assert worse["best"]["value"] > worse["eval_loss_before"]
    assert worse["warnings"][0].startswith("no step has a better loss than before training")


@pytest.mark.slow
def test_low_rank_updates_are_kept_without_the_weights(place, tmp_path):
    """The file of the best step has the trained weights alone; a stopped run ends with the same student."""
    pytest.importorskip("peft")
    settings = {"lora": 4, "save_every": 3, "keep_checkpoints": True}
    results = run(place, tmp_path / "whole", **settings)
    assert results["best"]["step"] < 20
    (path,) = (tmp_path / "whole" / "best").glob(f"step-{results['best']['step']:08d}.pt")
    assert all("lora_" in name for name in torch.load(path, weights_only=True)["weights"])
    with stopping_at(11):
        run(place, tmp_path / "run", **settings)
    assert run(place, tmp_path / "run", resume=True, **settings)["best"] == results["best"]
    same(weights(tmp_path / "run"), weights(tmp_path / "whole"))
    run(place, tmp_path / "short", keep_best=None, steps=results["best"]["step"], lora=4)
    same(weights(tmp_path / "short"), weights(tmp_path / "whole"))


@pytest.mark.slow
def test_accumulated_steps_and_a_teacher_keep_a_best_step(place, tmp_path):
    """The loss of a combined objective is its weighted one."""
    settings = {"model": str(place / "student"), "tokenizer": None, "teacher_model": str(place / "teacher")}
    results = run(place, tmp_path / "run", batch_size=2, accumulate=2, **settings)
    lines = evaluations(tmp_path / "run")
    best = min(lines[1:], key=lambda line: line["eval_loss"])
    assert results["best"]["step"] == best["step"]
    assert results["eval_loss_teacher"] == best["eval_loss_teacher"]
    # `evaluate` has no teacher: its loss is that of the tokens.
    found = evaluate_file(place / "eval.jsonl", model=tmp_path / "run", settings=Settings(metric="loss"))
    assert found.results[0].figures[0].value == pytest.approx(results["eval_loss_tokens"], rel=1e-5)


@pytest.mark.slow
def test_a_run_in_a_store_keeps_its_best_step(place, tmp_path, best_run):
    """Also if it continues on a machine that has nothing but the store; the file is removed at the end."""
    url = f"memory://{uuid4().hex}"
    with stopping_at(17):
        run(place, url, save_every=3)
    assert any(name.startswith("best/") for name in names(url))
    results = run(place, url, save_every=3, resume=True)
    output, expected = best_run
    assert results["best"] == expected["best"]
    same(student(url, tmp_path / "student"), weights(output))
    assert not any(name.startswith(("best/", "checkpoints/")) for name in names(url))


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("--fsdp",)])
def test_two_processes_keep_the_step_of_one(place, tmp_path, best_run, flags):
    """Sharded or not; the student is the best step's to the fifth digit, as sums are added otherwise."""
    given = ["--keep-best", "loss", "--eval-every", "2", "--learning-rate", "0.03", "--schedule", "constant"]
    given += ["--warmup", "0", "--steps", "20", "--batch-size", "2", "--patience", "2", *flags]
    write_rows(place / "few.jsonl", rows(6))
    found = torchrun(place, tmp_path / "run", *given, data="few.jsonl")
    output, expected = best_run
    results = json.loads((tmp_path / "run" / "results.json").read_text())["results"]
    assert results["best"]["step"] == expected["best"]["step"]
    same(found, weights(output), 1e-4)


def test_classifiers_keep_the_step_with_the_best_figure(tmp_path):
    """Every evaluation has the figures; those of the results are of the step that was kept."""
    rows = judged(48, probs=soft)
    for number, row in enumerate(rows):
        if number % 3 == 0:  # a third of the labels is wrong, so that more steps are not always better
            row["label"] = (row["label"] + 1) % 3
    data = write_jsonl(tmp_path / "rows.jsonl", rows[:36])
    held = write_jsonl(tmp_path / "held.jsonl", rows[36:])
    options = TrainOptions(keep_best="quadratic_weighted_kappa", epochs=12, batch_size=8, save_every=0)
    results = train(data, held, tmp_path / "run", options=options).results
    lines = evaluations(tmp_path / "run")
    assert all({"accuracy", "macro_f1", "quadratic_weighted_kappa", "rows"} <= line.keys() for line in lines)
    assert {(line["chance"], line["majority"]) for line in lines} == {(1 / 3, 2 / 3)}
    best = max(lines[1:], key=lambda line: line["quadratic_weighted_kappa"])
    assert results["best"] == {
        "step": best["step"],
        "metric": "quadratic_weighted_kappa",
        "value": best["quadratic_weighted_kappa"],
    }
    assert results["metrics"] == {name: best[name] for name in results["metrics"]}
    with pytest.raises(UsageError, match="must be one of loss, accuracy, macro_f1, quadratic_weighted_kappa"):
        train(data, held, tmp_path / "no", options=TrainOptions(keep_best="f1", batch_size=8))
