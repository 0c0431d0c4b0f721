"""`train --measure`: figures are those of `evaluate`, at each evaluation, and `--keep-best` takes them."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from dataprep.core.errors import UsageError
from dataprep.evaluate.evaluator import evaluate_file
from dataprep.evaluate.settings import Settings
from dataprep.train.classifiers.evaluating import evaluate_classes
from dataprep.train.objectives.answers import Answers
from dataprep.train.options import TrainOptions
from dataprep.train.run import train
from tests.evaluate.test_student_records import chats, examples, student
from tests.helpers import read_jsonl, write_jsonl
from tests.real import SMOLLM2, needs_smollm2
from tests.train.test_evaluation import evaluations, stopping_at
from tests.train.test_soft_label import judged

SUMS = [("What is 2 + 3?", 5), ("What is 4 + 4?", 8), ("What is 1 + 6?", 7)]


def sums(path):
    """Chat rows of GSM8K."""
    return write_jsonl(
        path,
        [
            {
                "source": "gsm8k",
                "messages": [
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": f"#### {answer}"},
                ],
            }
            for question, answer in SUMS
        ],
    )


def options(model, **settings):
    """A run that learns a few rows by heart."""
    given = {"model": model, "learning_rate": 0.01, "schedule": "constant"}
    given |= {"steps": 12, "batch_size": 4, "eval_every": 3, "save_every": 0, "measure": 100}
    return TrainOptions(**given | settings)


def figures(result):
    """The figures of `evaluate` under the names of training."""
    names = (figure.name.replace("(", "").replace(")", "").replace(" ", "_") for figure in result.figures)
    return dict(zip(names, (figure.value for figure in result.figures), strict=True))


@pytest.mark.medium
@pytest.mark.parametrize("style", ["text", "letter"])
def test_choices_are_measured_by_likelihood(tmp_path, style):
    """`evaluate --by likelihood` of the student prints what training printed, beside chance and majority."""
    data, model = chats(tmp_path / "rows.jsonl", style), student(tmp_path / "base")
    metric = "accuracy_by_text_per_character"
    results = train(data, data, tmp_path / "run", options=options(model, keep_best=metric)).results
    found = evaluate_file(data, model=tmp_path / "run", settings=Settings(by="likelihood")).results[0]
    measured = results["metrics"]
    assert {name: measured[name] for name in figures(found)} == figures(found)
    assert measured["chance"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 2 + 1 / 2) / 4)
    assert (measured["majority"], measured["measured_rows"]) == (0.5, 4)
    lines = evaluations(tmp_path / "run")
    assert [line["step"] for line in lines] == [0, 3, 6, 9, 12]
    assert max(line[metric] for line in lines[1:]) == results["best"]["value"] == measured[metric]


@pytest.mark.models
@pytest.mark.slow
@needs_smollm2
@pytest.mark.parametrize("lora", [None, 4])
def test_a_real_student_is_measured_as_it_is_evaluated(tmp_path, lora):
    """The same of SmolLM2 after a step with all weights, and with LoRA."""
    data = chats(tmp_path / "rows.jsonl", "text")
    once = options(str(SMOLLM2), steps=1, eval_every=1, learning_rate=1e-5, lora=lora)
    measured = train(data, data, tmp_path / "run", options=once).results["metrics"]
    found = evaluate_file(data, model=tmp_path / "run", settings=Settings(by="likelihood")).results[0]
    assert {name: measured[name] for name in figures(found)} == figures(found)


@pytest.mark.medium
def test_a_student_without_skill_ends_with_a_warning(tmp_path):
    """The loss of a student can fall while it prefers one letter: the run says so, and records it."""
    rows = read_jsonl(chats(tmp_path / "few.jsonl", "text")) * 4
    data, model = write_jsonl(tmp_path / "rows.jsonl", rows), student(tmp_path / "base")
    said = []
    once = options(model, steps=1, learning_rate=1e-6)
    results = train(data, data, tmp_path / "run", options=once, log=said.append).results
    (warning,) = [
        line for line in results["warnings"] if "accuracy by letter" in line and "not above" in line
    ]
    assert f"warning: {warning}" in said
    found = evaluate_file(data, model=tmp_path / "run", settings=Settings(by="likelihood"))
    assert results["warnings"] == found.warnings()


@pytest.mark.medium
def test_other_rows_are_answered(tmp_path):
    """Greedily, and read as by `evaluate`; measuring changes no weight, and a stopped run no figure."""
    data, model = sums(tmp_path / "rows.jsonl"), student(tmp_path / "base")
    results = train(data, data, tmp_path / "run", options=options(model, steps=40, eval_every=10)).results
    found = evaluate_file(data, model=tmp_path / "run").results[0]
    assert {name: results["metrics"][name] for name in figures(found)} == figures(found)
    assert results["metrics"]["exact_match_strict"] > 0
    plain = options(model, steps=40, eval_every=10, measure=0)
    train(data, data, tmp_path / "plain", options=plain)
    run, same = (tmp_path / name / "model.safetensors" for name in ("run", "plain"))
    assert run.read_bytes() == same.read_bytes()
    saving = options(model, steps=40, eval_every=10, save_every=8)
    with stopping_at(23):
        train(data, data, tmp_path / "stopped", options=saving)
    train(data, data, tmp_path / "stopped", options=saving, resume=True)
    assert evaluations(tmp_path / "stopped") == evaluations(tmp_path / "run")


@pytest.mark.slow
def test_a_student_of_rationales_is_measured_as_it_is_evaluated(tmp_path):
    """The share of exact answers is the accuracy that `evaluate` prints for the same questions."""
    rows = [
        row | {"rationales": {"t": "Because."}, "status": {"t": "ok"}}
        for row in read_jsonl(examples(tmp_path / "examples.jsonl"))
    ]
    data, model = write_jsonl(tmp_path / "rows.jsonl", rows), student(tmp_path / "base")
    few = options(model, steps=60, eval_every=15, measure=3, keep_best="answer_exact_match", seed=3)
    results = train(data, data, tmp_path / "few", options=few).results
    assert results["metrics"]["answers"] == 3
    results = train(data, data, tmp_path / "run", options=replace(few, measure=4)).results
    found = evaluate_file(
        tmp_path / "examples.jsonl", model=tmp_path / "run", settings=Settings(max_tokens=64)
    )
    (figure,) = found.results[0].figures
    best = max(line["answer_exact_match"] for line in evaluations(tmp_path / "run")[1:])
    assert results["metrics"] == {"answer_exact_match": figure.value, "answers": 4, "answers_of": 4}
    assert results["best"]["value"] == figure.value == best > 0


def test_a_classifier_is_measured_as_it_is_evaluated(tmp_path):
    """All figures of classes."""
    data = write_jsonl(tmp_path / "rows.jsonl", judged(30))
    settings = TrainOptions(steps=80, batch_size=8, keep_best="macro_f1", eval_every=20, save_every=0)
    results = train(data, data, tmp_path / "run", options=settings).results
    found = evaluate_classes(data, model=tmp_path / "run").results[0]
    figures = {figure.name: figure.value for figure in found.figures}
    assert figures["accuracy"] == results["metrics"]["accuracy"] > 0.5
    assert figures["macro F1"] == pytest.approx(results["metrics"]["macro_f1"])
    assert figures["kappa (quadratic)"] == pytest.approx(results["metrics"]["quadratic_weighted_kappa"])


@pytest.mark.slow
def test_two_processes_share_the_rows(tmp_path):
    """Each answers some of them, and both have the figures of all."""
    data, model = chats(tmp_path / "rows.jsonl", "text"), student(tmp_path / "base")
    metric = "accuracy_by_text"
    alone = train(data, data, tmp_path / "one", options=options(model, keep_best=metric)).results
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "-m",
        "dataprep",
    ]
    command += ["train", data, "--eval", data, "--model", model, "-o", str(tmp_path / "two"), "--steps", "12"]
    command += ["--learning-rate", "0.01", "--schedule", "constant", "--batch-size", "2", "--eval-every", "3"]
    command += ["--measure", "3", "--keep-best", metric, "--save-every", "0"]
    threads = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=threads, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = evaluations(tmp_path / "two")
    assert [line["measured_rows"] for line in lines] == [3] * 5
    assert lines[-1]["best"]["metric"] == metric
    together = json.loads((tmp_path / "two" / "results.json").read_text())["results"]
    assert together["metrics"][metric] == together["best"]["value"]
    assert together["eval_loss_before"] == pytest.approx(alone["eval_loss_before"], rel=1e-5)


def test_rows_are_drawn_by_the_seed(tmp_path, monkeypatch):
    """As many as asked for, the same at each evaluation and in each run of a seed."""
    # The likelihood of choices is one pass of the model; an untrained one would write long answers.
    data, model = chats(tmp_path / "rows.jsonl", "text"), student(tmp_path / "base")
    told, asked, answer = [], [], Answers._rows

    def record(answers, items):
        asked.append([item.where.number for item in items])
        return answer(answers, items)

    monkeypatch.setattr(Answers, "_rows", record)

    def drawn(seed):
        asked.clear()
        few = options(model, measure=2, steps=2, eval_every=1, seed=seed)
        folder = tmp_path / f"run-{seed}-{len(told)}"
        results = train(data, data, folder, options=few, log=told.append).results
        assert results["metrics"]["measured_rows"] == 2
        assert len(asked) >= 3, "before, after each step"
        assert all(numbers == asked[0] for numbers in asked)
        return asked[0]

    first = drawn(1)
    assert drawn(1) == first
    assert any(drawn(seed) != first for seed in range(2, 5))
    assert "--measure: 2 of 4 evaluation rows that can be scored" in told


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keep_best": "accuracy"}, "must be one of loss, exact_match_strict, exact_match_flexible"),
        (
            {"measure": 0, "keep_best": "accuracy"},
            "must be one of loss, which this run measures; --mea",
        ),
    ],
)
def test_a_figure_that_is_not_measured_is_an_error(tmp_path, settings, message):
    """The names are those of the rows' metric; without --measure there are none."""
    data, model = sums(tmp_path / "rows.jsonl"), student(tmp_path / "base")
    with pytest.raises(UsageError, match=message):
        train(data, data, tmp_path / "run", options=options(model, **settings))


def test_rows_that_no_metric_scores_are_an_error(place, tmp_path):
    """Before training; so are evaluation rows that are tokens, or none at all."""
    given = {"model": str(place / "student"), "measure": 5, "steps": 1}
    with pytest.raises(
        UsageError, match=r"--measure: no row of .*eval\.jsonl has an answer that can be scored"
    ):
        train(place / "train.jsonl", place / "eval.jsonl", tmp_path / "a", options=TrainOptions(**given))
    with pytest.raises(UsageError, match="--measure computes figures on evaluation rows: give --eval FILE"):
        train(place / "train.jsonl", (), tmp_path / "b", options=TrainOptions(**given))
    with pytest.raises(UsageError, match="--measure needs the whole model in each process"):
        TrainOptions(measure=1, fsdp=True)
    train(place / "train.jsonl", (), tmp_path / "c", options=TrainOptions(**given | {"measure": 0}))
    tokens = tmp_path / "c" / "tokens" / "train"
    with pytest.raises(UsageError, match=r"--measure: .* has tokens; give the evaluation rows as a file"):
        train(place / "train.jsonl", tokens, tmp_path / "d", options=TrainOptions(**given))
    assert json.loads((tmp_path / "c" / "results.json").read_text())["results"]["steps"] == 1
