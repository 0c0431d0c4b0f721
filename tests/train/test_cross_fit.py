"""Teachers of folds: who has seen which row, what a stop costs, and the mean of several models."""

import json
import shutil

import pytest
import torch

from dataprep import PredictOptions, compare_runs, predict_files, read_rows
from dataprep.core.errors import FileError, InputError, UsageError
from dataprep.train.cross_fit import assign_folds
from dataprep.train.objectives.soft_label.classifier import load_scorer
from dataprep.train.objectives.soft_label.ensemble import digest_of, read_folds
from dataprep.train.objectives.soft_label.rows import judged_rows, logits_of
from dataprep.train.options import TrainOptions
from dataprep.train.run import train
from tests.helpers import run_here, write_jsonl

WORDS = ("bad", "fair", "good")
CROSS_FIT = PredictOptions(cross_fit=True)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks this small are slower on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def judged(count):
    """Rows whose first word is their label; four rows by each author, and each text twice."""
    return [
        {"id": n, "text": f"{WORDS[n % 3]} work {n % (count // 2)}", "label": WORDS[n % 3], "author": n // 4}
        for n in range(count)
    ]


def run(data, output, held_out=(), *, resume=False, on_metrics=None, **options):
    """A short run on the CPU."""
    chosen = {"steps": 6, "batch_size": 8, "save_every": 0, "precision": "float32"} | options
    return train(data, held_out, output, options=TrainOptions(**chosen), resume=resume, on_metrics=on_metrics)


def read(path):
    """The rows of a file."""
    return [row for _, row in read_rows(str(path))]


def probs_of(folder, text):
    """The probabilities of one classifier for a text."""
    scorer = load_scorer(str(folder))
    scores = logits_of(scorer.model, scorer.collate([scorer.encode([text])])).softmax(-1)[0]
    return dict(zip(scorer.classes.names, scores.tolist(), strict=True))


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """The directory of a cross-fit run with three folds, and its rows."""
    folder = tmp_path_factory.mktemp("teachers")
    data = write_jsonl(folder / "rows.jsonl", judged(48))
    results = run(data, folder / "run", cross_fit=3).results
    assert results["steps"] == 3 * 6
    assert results["metrics"]["rows"] == 48
    return folder / "run", data


def test_a_row_gets_the_probabilities_of_the_teacher_that_has_not_seen_it(teachers, tmp_path):
    """By its text, also in another file and format; a new row gets the mean of all teachers."""
    folder, data = teachers
    new = {"text": "good and new"}
    rows = write_jsonl(tmp_path / "in.jsonl", [*({"text": row["text"]} for row in judged(48)[:6]), new])
    predict_files(folder, [rows], tmp_path / "out.jsonl", options=CROSS_FIT)
    count, folds = read_folds(folder)
    *known, last = read(tmp_path / "out.jsonl")
    for row in known:
        fold = folds[digest_of([row["text"]])]
        seen = {row["text"] for k in range(count) if k != fold for row in read(folder / f"rows/{k}.jsonl")}
        assert row["text"] not in seen
        assert row["probs"] == pytest.approx(probs_of(folder / f"fold-{fold}", row["text"]), rel=1e-4)
    each = [probs_of(folder / f"fold-{k}", new["text"]) for k in range(count)]
    mean = {name: sum(found[name] for found in each) / count for name in each[0]}
    assert last["probs"] == pytest.approx(mean, rel=1e-4)
    assert all(folds[digest_of([row["text"]])] in range(count) for row in read(data))


def test_rows_whose_texts_changed_are_new_rows(teachers, tmp_path):
    """How many rows are recognised is reported, and a warning says if few are."""
    folder, data = teachers
    changed = [row | {"text": row["text"] + " " * (row["id"] < 30)} for row in judged(48)]
    for count, rows in ((48, judged(48)), (18, changed), (0, [{"text": "new"}])):
        given = write_jsonl(tmp_path / "in.jsonl", rows)
        ledger = predict_files(folder, [given], tmp_path / "out.jsonl", options=CROSS_FIT)
        assert ledger.recognised == {str(folder): count}
        assert len(ledger.warnings()) == (count < 24)
    assert f"{folder}: 0 of 1 rows are recognised as its training rows." in ledger.warnings()[0]
    plain = predict_files(folder / "fold-0", [data], tmp_path / "out.jsonl")
    assert (plain.recognised, plain.warnings()) == ({}, [])
    write_jsonl(tmp_path / "in.jsonl", changed)
    words = ("predict", "--cross-fit", folder, "in.jsonl", "-o", "out.jsonl")
    done = run_here(words, cwd=tmp_path)
    assert (
        f"  18 are recognised as training rows of {folder}\nwarning: {folder}: 18 of 48 rows are recognised"
        in done.err
    )
    report = run_here((*words, "--json"), cwd=tmp_path).err
    (found,) = json.loads(report)["outputs"]
    assert (found["recognised"], len(found["warnings"])) == ({str(folder): 18}, 1)


def test_compare_shows_the_figures_over_all_folds(teachers, tmp_path):
    """Sums of steps, tokens and seconds, means of losses and figures, and what all folds share."""
    folder, data = teachers
    run(data, tmp_path / "plain", data)
    comparison = compare_runs([folder, tmp_path / "plain"])
    found = {(line.part, line.name): line.values for line in comparison.lines}
    results = json.loads((folder / "results.json").read_bytes())["results"]
    folds = [json.loads((folder / f"fold-{k}/results.json").read_bytes())["results"] for k in range(3)]
    assert found["training", "steps"] == (18, 6)
    assert found["training", "tokens"][0] == sum(fold["tokens"] for fold in folds) > 0
    assert found["training", "tokens a second"][0] == results["tokens"] / results["seconds"]
    for name, key in (("training, last", "loss_last"), ("evaluation, before", "eval_loss_before")):
        assert found["losses", name][0] == pytest.approx(sum(fold[key] for fold in folds) / 3)
    assert found["losses", "evaluation of gold, after"][0] == results["eval_loss_gold"]
    assert found["figures", "accuracy, after"][0] == results["metrics"]["accuracy"]
    assert found["figures", "chance"] == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    parts = [fold["baselines"]["majority"] * fold["metrics"]["rows"] for fold in folds]
    assert found["figures", "majority"][0] == pytest.approx(sum(parts) / 48)
    assert found["run", "objective"] == ("soft-label", "soft-label")
    assert found["model", "model"] == ("tiny", "tiny")
    assert ("options", "model") not in found
    assert found["data", "train rows"] == (48, 48)
    assert comparison.warnings() == []
    other = write_jsonl(tmp_path / "other.jsonl", judged(24))
    run(data, tmp_path / "other", other)
    assert "different evaluation rows" in compare_runs([folder, tmp_path / "other"]).warnings()[0]
    stopped = shutil.copytree(folder, tmp_path / "stopped")
    (stopped / "results.json").unlink()
    comparison = compare_runs([stopped])
    says = f"{stopped}: not finished: its folds are runs: compare {stopped}/fold-0 and the others"
    assert comparison.warnings() == [says]
    assert next(line.values for line in comparison.lines if line.name == "steps") == (None,)


def test_one_manifest_is_beside_the_run(tmp_path):
    """As for every other run: it has the students and rows of all folds, and `predict` names the run."""
    write_jsonl(tmp_path / "rows.jsonl", judged(24))
    done = run_here(("train", "rows.jsonl", "--cross-fit", "2", "--steps", "2", "-o", "cf"), cwd=tmp_path)
    assert done.code == 0, done.err
    assert [path.name for path in tmp_path.rglob("*.manifest.json")] == ["cf.manifest.json"]
    (output,) = json.loads((tmp_path / "cf.manifest.json").read_bytes())["outputs"]
    students, rows = (
        [f"{place}{fold}{suffix}" for fold in range(2)]
        for place, suffix in (("fold-", "/student.safetensors"), ("rows/", ".jsonl"))
    )
    assert list(output["files"]) == [*students, "folds.json", *rows]
    assert run_here(("verify", "cf"), cwd=tmp_path).code == 0
    run_here(("predict", "--cross-fit", "cf", "rows.jsonl", "-o", "out.jsonl"), cwd=tmp_path)
    inputs = json.loads((tmp_path / "out.jsonl.manifest.json").read_bytes())["inputs"]
    assert [found["path"] for found in inputs] == ["cf", "rows.jsonl"]


def test_warnings_of_folds_are_results_of_the_run(tmp_path):
    """They name the fold."""
    rows = [{"text": f"work {n}", "label": "ab"[n % 4 == 0]} for n in range(48)]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    found = run(data, tmp_path / "run", cross_fit=2, steps=1, learning_rate=1e-9).results
    assert found["warnings"][0].startswith("fold-0: accuracy: 24 of 24 predictions are 'a', and")
    assert found["warnings"][-1].startswith("fold-1: accuracy")


@pytest.mark.slow
def test_a_stopped_run_does_not_train_finished_folds_again(teachers, tmp_path):
    """The second half trains what was missing, and all teachers are those of a run that was never stopped."""
    folder, data = teachers
    seen = []

    def stop(line):
        if "loss" in line:
            seen.append(line)
            if len(seen) == 8:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "run", cross_fit=3, on_metrics=stop)
    with pytest.raises(UsageError, match=r"has no folds\.json"):
        predict_files(tmp_path / "run", [data], tmp_path / "out.jsonl", options=CROSS_FIT)
    assert len(seen) == 8
    run(data, tmp_path / "run", cross_fit=3, resume=True, on_metrics=seen.append)
    # The second teacher begins again, since it had no checkpoint; the first one is done.
    assert len([line for line in seen[8:] if "loss" in line]) == 12
    for name in ("fold-0", "fold-1", "fold-2"):
        one, other = (load_scorer(str(path / name)).model.state_dict() for path in (folder, tmp_path / "run"))
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_folds_keep_equal_texts_and_groups_together(tmp_path):
    """Sizes differ by less than a group; a text that two authors wrote joins their rows; the seed decides."""
    rows = list(judged_rows([str(write_jsonl(tmp_path / "rows.jsonl", judged(48)))], whole=True))
    plain = assign_folds(rows, 4, None, 0)
    assert [plain.count(fold) for fold in range(4)] == [12] * 4
    assert all(plain[n] == plain[n + 24] for n in range(24))
    assert plain != assign_folds(rows, 4, None, 1)
    grouped = assign_folds(rows, 3, "author", 0)
    for one in range(48):
        for other in range(48):
            if one // 4 == other // 4 or one % 24 == other % 24:
                assert grouped[one] == grouped[other]
    with pytest.raises(UsageError, match="--cross-fit 7: found 6 values of 'author' that share no text"):
        assign_folds(rows, 7, "author", 0)
    with pytest.raises(UsageError, match="--cross-fit 25: found 24 different texts"):
        assign_folds(rows, 25, None, 0)


def test_all_teachers_have_all_classes(tmp_path):
    """A class that only one fold has is a class of every teacher."""
    rows = [*judged(24), {"text": "awful", "label": "awful"}]
    run(write_jsonl(tmp_path / "rows.jsonl", rows), tmp_path / "run", cross_fit=2)
    for fold in range(2):
        assert load_scorer(str(tmp_path / f"run/fold-{fold}")).classes.names == ("awful", *WORDS)


def test_bad_rows_of_a_cross_fit_run(tmp_path):
    """They are named by their own line, or set aside."""
    rows = [*judged(24), {"text": "no author", "label": "bad"}, {"text": 3, "label": "bad"}]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    with pytest.raises(InputError, match=r"rows\.jsonl:25: missing field 'author'"):
        run(data, tmp_path / "run", cross_fit=2, fold_by="author")
    assert not (tmp_path / "run").exists()
    options = TrainOptions(cross_fit=2, fold_by="author", steps=1)
    train(data, (), tmp_path / "run", options=options, rejects=tmp_path / "bad.jsonl")
    assert [row["line"] for row in read(tmp_path / "bad.jsonl")] == [25, 26]


def test_bad_judgements_of_a_cross_fit_run(tmp_path):
    """They are named by the user's own line, before a teacher is trained, or set aside."""
    wrong = {"text": "x", "probs": {"bad": 0.4}}
    rows = [*judged(24), wrong, {"text": "y", "probs": {"bad": 0.7, "good": 0.3}}]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    with pytest.raises(InputError, match=r"rows\.jsonl:25: probabilities do not add up"):
        run(data, tmp_path / "run", cross_fit=2)
    assert not (tmp_path / "run").exists()
    options = TrainOptions(cross_fit=2, steps=1, classes=("bad", "fair", "great"))
    bad = tmp_path / "bad.jsonl"
    train(data, (), tmp_path / "run", options=options, rejects=bad)
    lines = [n for n in range(1, 25) if n % 3 == 0]
    assert [row["line"] for row in read(bad)] == [*lines, 25, 26], "'good' is no class here"


def test_a_class_that_lies_in_one_fold(tmp_path):
    """The teacher without it has both classes all the same."""
    rows = [{"text": f"w {n}", "label": "a", "author": n} for n in range(3)]
    rows += [{"text": "bad", "label": "b", "author": 9}, {"text": "worse", "label": "b", "author": 9}]
    run(write_jsonl(tmp_path / "rows.jsonl", rows), tmp_path / "run", cross_fit=2, fold_by="author", steps=1)
    for fold in range(2):
        assert load_scorer(str(tmp_path / f"run/fold-{fold}")).classes.names == ("a", "b")


def test_other_fields_would_hide_what_a_teacher_has_seen(teachers, tmp_path):
    """A row is recognised by the texts of the fields that it was trained with."""
    folder, data = teachers
    options = PredictOptions(cross_fit=True, fields=("author",))
    with pytest.raises(UsageError, match="--cross-fit knows the rows that a teacher has seen by their text"):
        predict_files(folder, [data], tmp_path / "out.jsonl", options=options)


def test_the_mean_of_several_models(teachers, tmp_path):
    """Probabilities are averaged by the name of the class, whatever order a model has them in."""
    folder, data = teachers
    backwards = tmp_path / "backwards"
    run(data, backwards, classes=WORDS[::-1])
    rows = write_jsonl(tmp_path / "in.jsonl", [{"text": "good work"}, {"text": "bad"}])
    predict_files([folder / "fold-0", backwards], [rows], tmp_path / "out.jsonl")
    for row in read(tmp_path / "out.jsonl"):
        one, other = probs_of(folder / "fold-0", row["text"]), probs_of(backwards, row["text"])
        mean = {name: (one[name] + other[name]) / 2 for name in WORDS}
        assert row["probs"] == pytest.approx(mean, rel=1e-4)
        assert row["prediction"] == max(mean, key=mean.__getitem__)


def test_each_model_reads_texts_as_its_run_did(tmp_path):
    """Folds and each --with have the maximum length and the truncation of their own run."""
    data = write_jsonl(tmp_path / "rows.jsonl", judged(24))
    run(data, tmp_path / "teachers", cross_fit=2, max_length=4, truncation="drop")
    run(data, tmp_path / "short", max_length=2, truncation="truncate")
    run(data, tmp_path / "whole")
    rows = [{"text": "good work and more words"}, {"text": "bad work"}]
    given = write_jsonl(tmp_path / "in.jsonl", rows)
    ledger = predict_files(tmp_path / "teachers", [given], tmp_path / "folds.jsonl", options=CROSS_FIT)
    assert ledger.dropped == {"too long": 1}
    predict_files([tmp_path / "short", tmp_path / "whole"], [given], tmp_path / "out.jsonl")
    first, _ = read(tmp_path / "out.jsonl")
    one, other = probs_of(tmp_path / "short", "good work"), probs_of(tmp_path / "whole", rows[0]["text"])
    mean = {name: (one[name] + other[name]) / 2 for name in WORDS}
    assert first["probs"] == pytest.approx(mean, rel=1e-4)


def test_what_cannot_be_averaged_is_refused(teachers, tmp_path):
    """Other classes, teachers without --cross-fit, --cross-fit without teachers, a damaged record."""
    folder, data = teachers
    out = tmp_path / "out.jsonl"
    run(data, tmp_path / "other", classes=("bad", "fair", "good", "great"))
    with pytest.raises(UsageError, match="different classes: bad, fair, good and bad, fair, good, great"):
        predict_files([folder / "fold-0", tmp_path / "other"], [data], out)
    with pytest.raises(UsageError, match="give --cross-fit"):
        predict_files(folder, [data], out)
    with pytest.raises(UsageError, match="train --cross-fit K"):
        predict_files(folder / "fold-0", [data], out, options=CROSS_FIT)
    (tmp_path / "other/folds.json").write_text(json.dumps({"folds": 2, "rows": {"ab": 2}}))
    with pytest.raises(FileError, match=r"folds\.json: damaged"):
        predict_files(tmp_path / "other", [data], out, options=CROSS_FIT)


def test_options_that_do_not_go_together(tmp_path):
    """A group without folds, fewer than two folds, other rows than judged ones."""
    with pytest.raises(UsageError, match="--fold-by author: only --cross-fit divides the rows"):
        TrainOptions(fold_by="author")
    with pytest.raises(UsageError, match="--cross-fit 1: must be 2 or more"):
        TrainOptions(cross_fit=1)
    chat = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    with pytest.raises(UsageError, match="--cross-fit is an option of soft-label, and this is sft"):
        train(write_jsonl(tmp_path / "rows.jsonl", [chat]), options=TrainOptions(cross_fit=2))
