"""`evaluate` of classifiers and of predicted classes: the figures of training, whoever computes them."""

import json

import pytest
import torch

from dataprep import PredictOptions, evaluate_classes, evaluate_file, predict_files, read_rows
from dataprep.core.errors import InputError, UsageError
from dataprep.evaluate.settings import Settings
from dataprep.train.options import TrainOptions
from dataprep.train.run import train
from tests.helpers import write_jsonl

WORDS = ("bad", "fair", "good")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks this small are slower on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def judged(count, seed=7):
    """Rows whose first word is mostly their label, which is a number."""
    return [
        {
            "id": n,
            "source": "ab"[n % 2],
            "answer": f"{WORDS[n % 3]} work {n}",
            "grade": (n + (n % seed == 0)) % 3,
        }
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with a label of its own name, its evaluation rows, and what it reported."""
    folder = tmp_path_factory.mktemp("scorer")
    data = write_jsonl(folder / "train.jsonl", judged(60))
    held = write_jsonl(
        folder / "held.jsonl", [*judged(40, 5), {"answer": "unlabelled", "grade": None, "probs": [1, 0, 0]}]
    )
    options = TrainOptions(
        fields=("answer",), label="grade", steps=60, batch_size=16, save_every=0, precision="float32"
    )
    return train(data, held, folder / "run", options=options), held


def values(result):
    """A result's figures by name."""
    return {figure.name: figure.value for figure in result.figures}


def test_a_student_has_the_figures_that_training_printed(trained, tmp_path):
    """The same rows, label and text give the same figures; rows without a label are dropped."""
    run, held = trained
    done = evaluate_classes(held, model=run.path, output=tmp_path / "scored.jsonl")
    assert done.ledger.to_json() == {"in": 41, "out": 40, "dropped": {"no label": 1}, "failed": {}}
    result = done.results[-1]
    assert (result.source, result.metric, result.rows) == ("all", "classes", 40)
    reported = run.results["metrics"]
    assert values(result) == {
        "accuracy": reported["accuracy"],
        "macro F1": reported["macro_f1"],
        "kappa (quadratic)": reported["quadratic_weighted_kappa"],
    }
    assert run.results["baselines"] == result.answers["accuracy"].to_json()
    assert [each.source for each in done.results] == ["a", "b", "all"]
    rows = [row for _, row in read_rows(str(tmp_path / "scored.jsonl"))]
    assert rows[0]["question"] == "bad work 0"
    assert (rows[0]["gold"], list(rows[0]["probs"])) == (["1"], ["0", "1", "2"])
    assert sum(sum(counts.values()) for counts in result.confusion.values()) == 40


def test_predictions_have_the_same_figures(trained, tmp_path):
    """What `predict` writes gives the figures of the model, from rows and from tables."""
    run, held = trained
    expected = evaluate_classes(held, model=run.path)
    labelled = write_jsonl(tmp_path / "labelled.jsonl", judged(40, 5))
    for name in ("predicted.jsonl", "predicted.csv"):
        predict_files(run.path, [labelled], tmp_path / name)
        done = evaluate_classes(labelled, predictions=tmp_path / name, settings=Settings(label="grade"))
        assert [values(each) for each in done.results] == [values(each) for each in expected.results]
        assert done.results[-1].figures == expected.results[-1].figures, "intervals too"
    scored = tmp_path / "scored.jsonl"
    evaluate_classes(labelled, model=run.path, output=scored)
    again = evaluate_classes(labelled, predictions=scored, settings=Settings(label="grade"))
    assert again.results == expected.results


@pytest.mark.medium
def test_a_classifier_of_transformers_and_a_run_that_drops_long_rows(tmp_path):
    """A sequence classifier is measured too, with the maximum length and truncation of its run."""
    rows = [{"text": f"{WORDS[n % 3]} work", "label": WORDS[n % 3]} for n in range(24)]
    rows += [{"text": "word " * 40, "label": "bad"}] * 3
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    options = TrainOptions(
        model="bert-tiny", steps=3, batch_size=8, max_length=16, truncation="drop", precision="float32"
    )
    run = train(data, data, tmp_path / "run", options=options)
    done = evaluate_classes(data, model=run.path, output=tmp_path / "scored.parquet")
    assert done.ledger.to_json()["dropped"] == {"too long": 3}
    (result,) = done.results
    assert run.results["metrics"] == {
        "rows": 24,
        "accuracy": values(result)["accuracy"],
        "macro_f1": values(result)["macro F1"],
        "kappa": values(result)["kappa"],
    }
    scored = [row for _, row in read_rows(str(tmp_path / "scored.parquet"))]
    assert sum(row["prediction"] == row["gold"][0] for row in scored) == 24 * values(result)["accuracy"]


def long_rows(count):
    """Rows whose first word is their label; the words behind the eighth would say another class."""
    return [
        {
            "id": n,
            "text": f"{WORDS[n % 3]} work {n} a b c d e " + f"{WORDS[n % 2]} " * 20,
            "label": WORDS[n % 3],
        }
        for n in range(count)
    ]


@pytest.mark.parametrize("truncation", ["truncate", "drop"])
def test_predict_and_evaluate_read_texts_as_the_run_did(tmp_path, truncation):
    """Both take the maximum length and the truncation from the run; options that are given win."""
    rows = [*long_rows(24), {"id": 24, "text": "good work", "label": "good"}]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    options = TrainOptions(steps=40, max_length=8, truncation=truncation, save_every=0, precision="float32")
    labelled = [{"text": f"{WORDS[n % 3]} work {n}", "label": WORDS[n % 3]} for n in range(24)]
    run = train(write_jsonl(tmp_path / "train.jsonl", labelled), data, tmp_path / "run", options=options)
    done = evaluate_classes(data, model=run.path, output=tmp_path / "scored.jsonl")
    for model in (run.path, run.path / "student.safetensors"):
        ledger = predict_files(model, [data], tmp_path / "out.jsonl")
        assert (ledger.rows_out, ledger.dropped) == (done.ledger.rows_out, done.ledger.dropped)
        scored, out = (
            [row for _, row in read_rows(str(tmp_path / f"{name}.jsonl"))] for name in ("scored", "out")
        )
        for row, other in zip(scored, out, strict=True):
            assert row["probs"] == pytest.approx(other["probs"], rel=1e-4)
        given = evaluate_classes(data, predictions=tmp_path / "out.jsonl")
        assert values(given.results[-1]) == values(done.results[-1])
    longer = PredictOptions(max_length=100, truncation="error")
    predict_files(run.path, [data], tmp_path / "longer.jsonl", options=longer)
    (first, *_) = [row for _, row in read_rows(str(tmp_path / "longer.jsonl"))]
    assert first["probs"] != pytest.approx(out[0]["probs"], rel=1e-4)


def test_rows_that_stand_in_the_training_data_are_left_out(trained, tmp_path):
    """--contaminated gives a second table, by the rows' ids."""
    run, _ = trained
    held = write_jsonl(tmp_path / "held.jsonl", judged(40, 5))
    found = write_jsonl(tmp_path / "found.jsonl", [{"id": f"{n}"} for n in range(10)])
    done = evaluate_classes(held, model=run.path, settings=Settings(contaminated=str(found)))
    assert (done.contaminated, done.clean[-1].rows) == (10, 30)


def test_the_command_measures_whatever_it_is_given(run, trained, tmp_path):
    """A classifier and rows with labels are recognised; the table has intervals, chance and majority."""
    student, held = trained
    done = run("evaluate", student.path, held)
    assert done.code == 0, done.err
    lines = [" ".join(line.split()) for line in done.out.decode().splitlines()]
    assert lines[0] == "source metric rows figure value 95 % interval chance majority"
    accuracy = student.results["metrics"]["accuracy"]
    assert any(
        line.startswith(f"all classes 40 accuracy {accuracy:.2%} ".replace("%", " %")) for line in lines
    )
    assert "gold \\ predicted 0 1 2 all" in lines
    assert "33.33 %" in done.out.decode()
    write_jsonl(tmp_path / "given.jsonl", [{"id": n, "prediction": n % 3} for n in range(6)])
    write_jsonl(tmp_path / "rows.jsonl", [{"id": n, "label": n % 3} for n in range(6)])
    report = json.loads(run("evaluate", "rows.jsonl", "--predictions", "given.jsonl", "--json").out)
    assert report["results"][0]["figures"]["accuracy"]["value"] == 1
    assert report["results"][0]["confusion"] == {"0": {"0": 2}, "1": {"1": 2}, "2": {"2": 2}}


def test_a_student_that_names_one_class_is_said_to(run, tmp_path):
    """Table, JSON and warnings say that the figure is the majority's, and which class is named."""
    write_jsonl(tmp_path / "rows.jsonl", [{"id": n, "label": "ab"[n % 2]} for n in range(40)])
    write_jsonl(tmp_path / "given.jsonl", [{"id": n, "prediction": "b"} for n in range(40)])
    done = run("evaluate", "rows.jsonl", "--predictions", "given.jsonl")
    assert (
        "warning: accuracy of the rows: 40 of 40 predictions are 'b', and 20 of the gold answers" in done.err
    )
    assert "not above the majority" in done.out.decode()
    report = json.loads(run("evaluate", "rows.jsonl", "--predictions", "given.jsonl", "--json").out)
    (result,) = report["results"]
    assert {name: figure["is_above"] for name, figure in result["figures"].items()} == dict.fromkeys(
        ("accuracy", "macro F1", "kappa"), False
    )
    assert result["answers"]["accuracy"]["only_answer"] == "b"
    assert len(report["warnings"]) == 2


def test_training_says_that_a_student_names_one_class(tmp_path):
    """A student that has learned nothing ends with the distribution of its predictions, and warnings."""
    data = write_jsonl(
        tmp_path / "rows.jsonl", [{"text": "the same", "label": "abc"[n % 3]} for n in range(30)]
    )
    said = []
    done = train(data, data, tmp_path / "run", options=TrainOptions(steps=2), log=said.append)
    (answered,) = [name for name, count in done.results["baselines"]["answered"].items() if count]
    warning = f"accuracy: 30 of 30 predictions are {answered!r}, and 10 of the gold answers"
    (found,) = [each for each in done.results["warnings"] if each.startswith(warning)]
    assert "try more --epochs" in found
    assert f"warning: {found}" in said
    card = (tmp_path / "run" / "README.md").read_text("utf-8")
    assert "majority: 0.333333" in card
    assert "30 of 30 predictions are" in card


def test_scores_count_as_the_nearest_class(tmp_path):
    """Rows with a score: predicted numbers and gold scores are rounded in the same way."""
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"score": value} for value in (1, 2.5, 3, 5)])
    given = write_jsonl(tmp_path / "given.jsonl", [{"prediction": value} for value in (1.2, 3, 2.4, 5)])
    (result,) = evaluate_classes(rows, predictions=given).results
    assert values(result)["accuracy"] == 0.75
    assert list(result.confusion) == ["1", "2", "3", "4", "5"]


def test_classes_can_be_named(run, tmp_path):
    """--classes names classes that no row has, and allows a label that looks like a missing value."""
    write_jsonl(tmp_path / "rows.jsonl", [{"id": n, "label": "nan"} for n in range(4)])
    write_jsonl(tmp_path / "given.jsonl", [{"id": n, "prediction": "nan"} for n in range(4)])
    done = run("evaluate", "rows.jsonl", "--predictions", "given.jsonl", "--classes", "b,nan,a", "--json")
    assert json.loads(done.out)["results"][0]["answers"]["accuracy"]["gold"] == {"b": 0, "nan": 4, "a": 0}
    assert run("evaluate", "rows.jsonl", "--predictions", "given.jsonl").code == 1


@pytest.mark.parametrize(
    ("row", "given", "says"),
    [
        ({"id": 1, "label": "a"}, {"id": 1, "text": "a"}, r"given.jsonl:1: no class in 'prediction'"),
        (
            {"id": 1, "score": 1},
            {"id": 1, "prediction": "x"},
            r"rows.jsonl:1: a prediction that is no number",
        ),
        ({"id": 1, "label": "a"}, {"id": 1, "prediction": "a"}, r"rows.jsonl: no classes to choose from"),
        (
            {"id": 1, "label": "a"},
            {"id": 1, "prediction": "a", "probs": {"b": 1}},
            "unknown class: found 'a'",
        ),
        (
            {"id": 1, "label": "b"},
            {"id": 1, "prediction": "a", "probs": {"b": 1, "c": 0}},
            r"given.jsonl: the prediction for .*rows.jsonl:1: unknown class: found 'a'",
        ),
        (
            {"id": 1, "label": "b"},
            {"id": 1, "prediction": "b", "probs": 3},
            r"given.jsonl:1: probs of another kind",
        ),
        ({"id": [], "label": "a"}, {"id": 1, "prediction": "a"}, r"rows.jsonl:1: field 'id' is not a string"),
    ],
)
def test_bad_rows_and_predictions_are_errors(tmp_path, row, given, says):
    """Where, what was found, what was expected."""
    rows, predictions = (
        write_jsonl(tmp_path / "rows.jsonl", [row]),
        write_jsonl(tmp_path / "given.jsonl", [given]),
    )
    with pytest.raises(InputError, match=says):
        evaluate_classes(rows, predictions=predictions)


def test_a_class_that_the_student_does_not_have_is_a_bad_row(trained, tmp_path):
    """It goes to the rejects, or ends the command with its place."""
    run, _ = trained
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"answer": "x", "grade": 9}, {"answer": "bad", "grade": 0}])
    with pytest.raises(InputError, match=r"rows.jsonl:1: unknown class: found '9'"):
        evaluate_classes(rows, model=run.path)
    done = evaluate_classes(rows, model=run.path, rejects=tmp_path / "bad.jsonl")
    assert done.ledger.to_json()["failed"] == {"unknown class": 1}
    assert r"grade\": 9" in (tmp_path / "bad.jsonl").read_text()


def test_a_label_that_no_row_has(trained, tmp_path):
    """It is an error that names the fields, with a model and with predictions; a few rows may lack it."""
    run, held = trained
    given = write_jsonl(tmp_path / "given.jsonl", [{"id": n, "prediction": 0} for n in range(40)])
    rows = write_jsonl(
        tmp_path / "rows.jsonl", [{"id": 1, "answer": "good"}, {"answer": "bad", "grade": None}]
    )
    fields = "the fields of the first are 'id', 'source', 'answer', 'grade': name the field of the label"
    for source in ({"model": run.path}, {"predictions": given}):
        with pytest.raises(InputError, match=rf"held.jsonl: no row has a label in 'grades'; {fields}"):
            evaluate_classes(held, **source, settings=Settings(label="grades"))
    with pytest.raises(
        InputError, match="no row has a label in 'grade'; the fields of the first are 'id', 'ans"
    ):
        evaluate_classes(rows, model=run.path)
    with pytest.raises(InputError, match="no row has a label in 'label' or 'score'"):
        evaluate_classes(rows, predictions=given)


def test_models_that_are_none_are_named(run, tmp_path):
    """A path that does not exist, or a run with a classifier for each fold: not the rows are to blame."""
    labelled = [{"id": n, "text": f"{WORDS[n % 3]} work {n}", "label": n % 3} for n in range(9)]
    data = write_jsonl(tmp_path / "rows.jsonl", labelled)
    options = TrainOptions(steps=1, cross_fit=2, save_every=0)
    train(data, (), tmp_path / "teachers", options=options)
    for place in ("missing", "runs/missing", "missing/student.safetensors"):
        done = run("evaluate", place, "rows.jsonl")
        assert (done.code, done.err.partition(";")[0]) == (1, f"error: {place}: no such file or directory")
    says = "error: teachers: a run of `train --cross-fit`, with a classifier for each fold: give one of them"
    for source in ("rows.jsonl", "-"):
        done = run("evaluate", "teachers", source, input=data.read_bytes())
        assert (done.code, done.err.startswith(says)) == (2, True)
    with pytest.raises(
        UsageError, match=r"with a classifier for each fold: give one of them, such as .*/fold-0"
    ):
        train(data, (), tmp_path / "no", options=TrainOptions(model=str(tmp_path / "teachers")))


def test_ids_that_no_row_has(tmp_path):
    """Predictions of other rows are an error, as for any other metric."""
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"id": n, "label": "a"} for n in range(3)])
    given = write_jsonl(tmp_path / "given.jsonl", [{"id": f"x{n}", "prediction": "a"} for n in range(3)])
    with pytest.raises(InputError, match="no id is one of the rows' ids: found 'x0', expected such as '0'"):
        evaluate_classes(rows, predictions=given)


def test_a_language_model_has_no_classes(tmp_path):
    """The function for answers says which one measures classes."""
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"label": "a"}])
    with pytest.raises(UsageError, match="evaluate_classes"):
        evaluate_file(rows, predictions=rows, settings=Settings(metric="classes"))
    with pytest.raises(UsageError, match="--label: for classifiers"):
        evaluate_file(rows, predictions=rows, settings=Settings(label="grade"))


def test_classes_have_no_likelihood_of_choices(trained):
    """An option that would do nothing is refused."""
    run, held = trained
    for settings, says in (
        (Settings(by="likelihood"), "--by likelihood: for rows with choices"),
        (Settings(classes=("a", "b")), "--classes: a classifier has classes of its own"),
    ):
        with pytest.raises(UsageError, match=says):
            evaluate_classes(held, model=run.path, settings=settings)


def test_rows_come_from_a_pipe(run, trained, tmp_path):
    """A classifier is recognised by itself; for predictions, the metric says what is measured."""
    student, _ = trained
    labelled = write_jsonl(tmp_path / "rows.jsonl", judged(9)).read_bytes()
    piped = run("evaluate", student.path, "-", "--json", input=labelled)
    assert json.loads(piped.out) == json.loads(run("evaluate", student.path, "rows.jsonl", "--json").out)
    predict_files(student.path, [tmp_path / "rows.jsonl"], tmp_path / "given.jsonl")
    more = ("--predictions", "given.jsonl", "--metric", "classes", "--label", "grade", "--json")
    assert json.loads(run("evaluate", "-", *more, input=labelled).out) == json.loads(piped.out)
    rows = write_jsonl(tmp_path / "labels.jsonl", [{"id": 0, "label": 1}]).read_bytes()
    done = run("evaluate", "-", "--predictions", "given.jsonl", input=rows)
    assert "found a number 0; expected what the system said, or an empty text; classes can be" in done.err
    write_jsonl(tmp_path / "given.jsonl", [{"id": 0, "prediction": "good"}])
    done = run("evaluate", "-", "--predictions", "given.jsonl", input=rows)
    assert (
        "'id', 'label'; `evaluate --metric classes --label NAME` measures rows with a label; correct"
        in done.err
    )
