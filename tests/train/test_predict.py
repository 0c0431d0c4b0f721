"""``predict``: what comes out of each row, formats, bad rows, and the way from a teacher to its student."""

import json
import shutil
import subprocess
import sys

import polars as pl
import pytest
import torch

from dataprep import EvaluateSettings, PredictOptions, evaluate_classes, predict_files, read_rows
from dataprep.core.errors import FileError, InputError, UsageError
from dataprep.core.provenance import recording
from dataprep.train.objectives.soft_label.classifier import load_scorer, new_scorer
from dataprep.train.objectives.soft_label.rows import logits_of
from dataprep.train.options import TrainOptions
from dataprep.train.run import train
from tests.helpers import write_jsonl

WORDS = ("bad", "fair", "good")


def judged(count):
    """Rows whose first word is their label."""
    return [{"id": n, "text": f"{WORDS[n % 3]} work {n}", "label": WORDS[n % 3]} for n in range(count)]


def read(path):
    """The rows of a file."""
    return [row for _, row in read_rows(str(path))]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks this small are slower on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    """A tiny network's directory."""
    folder = tmp_path_factory.mktemp("scorer")
    data = write_jsonl(folder / "rows.jsonl", judged(30))
    options = TrainOptions(steps=40, batch_size=16, save_every=0, precision="float32")
    return train(data, (), folder / "run", options=options).path


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A directory as transformers saves a classifier, trained for two steps."""
    folder = tmp_path_factory.mktemp("classifier")
    data = write_jsonl(folder / "rows.jsonl", [row | {"question": "How is it?"} for row in judged(12)])
    options = TrainOptions(
        model="bert-tiny",
        fields=("question", "text"),
        steps=2,
        batch_size=4,
        save_every=0,
        precision="float32",
    )
    return train(data, (), folder / "run", options=options).path


def test_every_row_keeps_its_fields_and_gets_two(scorer, tmp_path):
    """Prediction and probabilities are those of the model; nothing that was there is another."""
    rows = judged(9)
    ledger = predict_files(scorer, [write_jsonl(tmp_path / "in.jsonl", rows)], tmp_path / "out.jsonl")
    assert (ledger.rows_in, ledger.rows_out) == (9, 9)
    model = load_scorer(str(scorer))
    for row, found in zip(rows, read(tmp_path / "out.jsonl"), strict=True):
        probs = logits_of(model.model, model.collate([model.encode([row["text"]])])).softmax(-1)[0].tolist()
        assert found.pop("probs") == pytest.approx(dict(zip(sorted(WORDS), probs, strict=True)), rel=1e-4)
        assert found.pop("prediction") == sorted(WORDS)[probs.index(max(probs))]
        assert found == row


def test_all_formats_say_the_same(scorer, tmp_path):
    """CSV has a column for each probability; each output can be trained on."""
    rows = write_jsonl(tmp_path / "in.jsonl", judged(6))
    for name in ("out.jsonl", "out.parquet", "out.csv", "out.jsonl.gz"):
        predict_files(scorer, [rows], tmp_path / name)
    lines = read(tmp_path / "out.jsonl")
    assert read(tmp_path / "out.parquet") == read(tmp_path / "out.jsonl.gz") == lines
    for row, plain in zip(read(tmp_path / "out.csv"), lines, strict=True):
        assert {name: float(row[f"prob_{name}"]) for name in WORDS} == plain["probs"]
        assert row["prediction"] == plain["prediction"]
    # A second model's columns have names of their own.
    other = PredictOptions(prediction="second", probs="other")
    predict_files(scorer, [tmp_path / "out.csv"], tmp_path / "both.csv", options=other)
    columns = {f"{prefix}_{name}" for prefix in ("prob", "other") for name in WORDS}
    assert columns | {"prediction", "second"} <= {*read(tmp_path / "both.csv")[0]}
    pl.DataFrame(judged(6)).write_csv(tmp_path / "in.csv")
    predict_files(scorer, [tmp_path / "in.csv"], tmp_path / "again.jsonl")
    assert [row["probs"] for row in read(tmp_path / "again.jsonl")] == [row["probs"] for row in lines]


def test_the_size_of_batches_changes_no_row(scorer, tmp_path):
    """Rows come out in their order with the same figures, to what rounding leaves."""
    rows = [row | {"text": row["text"] + " word" * (row["id"] * 7 % 11)} for row in judged(40)]
    data = write_jsonl(tmp_path / "in.jsonl", rows)
    for size in (1, 7, 64):
        predict_files(scorer, [data], tmp_path / f"{size}.jsonl", options=PredictOptions(batch_size=size))
    one = read(tmp_path / "1.jsonl")
    for size in (7, 64):
        for row, other in zip(one, read(tmp_path / f"{size}.jsonl"), strict=True):
            assert row["id"] == other["id"]
            assert row["probs"] == pytest.approx(other["probs"], rel=1e-3)


def test_many_blocks_keep_their_order(scorer, tmp_path):
    """A file is scored a block at a time; no row is lost at their edges."""
    data = write_jsonl(tmp_path / "in.jsonl", [row | {"more": "x" * 2000} for row in judged(900)])
    predict_files(scorer, [data], tmp_path / "out.jsonl")
    assert [row["id"] for row in read(tmp_path / "out.jsonl")] == list(range(900))


def test_bad_rows_end_it_or_are_set_aside(scorer, tmp_path):
    """With their line, what was found and what to do; the output is whole or not there."""
    data = tmp_path / "in.jsonl"
    data.write_text('{"text": "good work"}\n\n{"text": 3}\nno json\n{"other": "x"}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"in\.jsonl:3: no text in 'text': found .*3.*; expected a text"):
        predict_files(scorer, [data], tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
    ledger = predict_files(scorer, [data], tmp_path / "out.jsonl", rejects=tmp_path / "bad.jsonl")
    assert (ledger.rows_in, ledger.rows_out, ledger.failed.total()) == (4, 1, 3)
    assert [row["line"] for row in read(tmp_path / "bad.jsonl")] == [3, 4, 5]


def test_a_small_network_reads_as_many_fields_as_it_was_trained_on(tmp_path):
    """Another number of them is an error, and no score with another field's weights."""
    rows = [{"q": "what", "a": WORDS[n % 3], "label": n % 3} for n in range(6)]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    train(data, (), tmp_path / "run", options=TrainOptions(fields=("q", "a"), steps=1, save_every=0))
    for fields in (("a",), ("q", "a", "q")):
        says = f"--fields {','.join(fields)}: found {len(fields)}; the model reads 2: q, a"
        options = PredictOptions(fields=fields)
        with pytest.raises(UsageError, match=says):
            predict_files(tmp_path / "run", [data], tmp_path / "out.jsonl", options=options)
        with pytest.raises(UsageError, match=says):
            evaluate_classes(data, model=tmp_path / "run", settings=EvaluateSettings(fields=fields))


def test_nothing_is_overwritten(scorer, tmp_path):
    """A row that was scored before is refused, until the new fields have other names."""
    predict_files(scorer, [write_jsonl(tmp_path / "in.jsonl", judged(3))], tmp_path / "out.jsonl")
    with pytest.raises(InputError, match="field 'prediction' exists already: name another"):
        predict_files(scorer, [tmp_path / "out.jsonl"], tmp_path / "twice.jsonl")
    names = PredictOptions(prediction="second", probs="second_probs")
    predict_files(scorer, [tmp_path / "out.jsonl"], tmp_path / "twice.jsonl", options=names)
    for row in read(tmp_path / "twice.jsonl"):
        assert (row["second"], row["second_probs"]) == (row["prediction"], row["probs"])


def test_no_output_replaces_a_file_of_the_model(classifier, tmp_path):
    """Rows can have a name as a tokenizer or a run's metrics have."""
    data = write_jsonl(tmp_path / "in.jsonl", judged(3))
    before = {path: path.read_bytes() for path in classifier.iterdir() if path.is_file()}
    for name in ("tokenizer.json", "metrics.jsonl"):
        with pytest.raises(UsageError, match="the output would replace an input"):
            predict_files(classifier, [data], classifier / name)
        with pytest.raises(UsageError, match="the rejects would replace an input"):
            predict_files(classifier, [data], tmp_path / "out.jsonl", rejects=classifier / name)
        with pytest.raises(UsageError, match="the output would replace an input"):
            evaluate_classes(data, model=classifier, output=classifier / name)
    assert {path: path.read_bytes() for path in classifier.iterdir() if path.is_file()} == before


def test_long_texts(classifier, tmp_path):
    """More tokens than the model has room for: an error, fewer rows, or shorter texts."""
    rows = [{"question": "How?", "text": "good " * 600}, {"question": "How?", "text": "bad"}]
    data, out = write_jsonl(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    with pytest.raises(InputError, match=r"in\.jsonl:1: too long: found 60\d tokens; expected at most 512"):
        predict_files(classifier, [data], out)
    dropped = predict_files(classifier, [data], out, options=PredictOptions(truncation="drop"))
    assert (dropped.rows_out, dict(dropped.dropped)) == (1, {"too long": 1})
    cut = predict_files(classifier, [data], out, options=PredictOptions(truncation="truncate"))
    assert cut.rows_out == 2


def test_a_classifier_scores_as_plain_transformers_does(classifier, tmp_path):
    """Pairs, special tokens and filling up are those of its own tokenizer and class."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    rows = [{"question": "How is it?", "text": text} for text in ("good work", "bad", "a fair work by far")]
    predict_files(classifier, [write_jsonl(tmp_path / "in.jsonl", rows)], tmp_path / "out.jsonl")
    model = AutoModelForSequenceClassification.from_pretrained(classifier)
    tokenizer = AutoTokenizer.from_pretrained(classifier)
    for row, found in zip(rows, read(tmp_path / "out.jsonl"), strict=True):
        with torch.no_grad():
            scores = model(**tokenizer(row["question"], row["text"], return_tensors="pt")).logits[0]
        named = {model.config.id2label[n]: p for n, p in enumerate(scores.softmax(-1).tolist())}
        assert found["probs"] == pytest.approx(named, rel=1e-4)


def test_a_teacher_teaches_its_student(classifier, tmp_path):
    """What predict writes is what train reads: the gold labels beside the probabilities, in any format."""
    rows = [row | {"question": "How is it?"} for row in judged(12)]
    rows[5]["label"] = None
    data, held = write_jsonl(tmp_path / "in.jsonl", rows), write_jsonl(tmp_path / "held.jsonl", rows[:5])
    results = []
    for name in ("soft.jsonl", "soft.parquet", "soft.csv"):
        predict_files(classifier, [data], tmp_path / name)
        options = TrainOptions(
            fields=("question", "text"), steps=3, batch_size=12, save_every=0, precision="float32"
        )
        results.append(train(tmp_path / name, held, tmp_path / f"run-{name}", options=options).results)
    assert len({result["loss_first"] for result in results}) == 1
    assert len({result["eval_loss"] for result in results}) == 1
    assert results[0]["metrics"]["rows"] == 5
    facts = json.loads((tmp_path / "run-soft.csv" / "facts.json").read_text("utf-8"))
    assert (facts["alpha"], facts["classes"]) == (0.5, sorted(WORDS))
    ledger = predict_files(tmp_path / "run-soft.csv", [data], tmp_path / "scored.jsonl")
    assert ledger.rows_out == 12


def test_a_classifier_can_be_trained_further(classifier, tmp_path):
    """A directory of transformers is a student as well, with a new head for other classes."""
    data = write_jsonl(tmp_path / "rows.jsonl", [{"text": f"text {n}", "score": n % 2} for n in range(6)])
    options = TrainOptions(model=str(classifier), steps=1, batch_size=6, save_every=0, precision="float32")
    found = train(data, data, tmp_path / "run", options=options)
    assert found.results["metrics"]["rows"] == 6
    assert load_scorer(str(found.path)).classes.names == ("0", "1")


def test_a_classifier_keeps_the_order_of_its_classes(classifier, tmp_path):
    """Its head means what it meant; another order that was named is refused."""
    folder = tmp_path / "turned"
    shutil.copytree(classifier, folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    names = ["good", "bad", "fair"]
    config["id2label"] = dict(enumerate(names))
    config["label2id"] = {name: number for number, name in enumerate(names)}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    data = write_jsonl(tmp_path / "rows.jsonl", judged(6))
    plain = {"model": str(folder), "steps": 1, "save_every": 0, "precision": "float32"}
    found = train(data, (), tmp_path / "run", options=TrainOptions(**plain))
    assert load_scorer(str(found.path)).classes.names == tuple(names)
    with pytest.raises(UsageError, match="another order: give --classes good,bad,fair"):
        train(data, (), tmp_path / "no", options=TrainOptions(**plain, classes=tuple(sorted(names))))


def test_models_that_are_none_are_named(scorer, tmp_path):
    """A missing path, a damaged file, another model's file, a folder without a model."""
    data = write_jsonl(tmp_path / "in.jsonl", judged(1))
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut.safetensors").write_bytes((scorer / "student.safetensors").read_bytes()[:500])
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    for name, says in [
        ("missing", "no such file"),
        ("in.jsonl", "not a model that scores"),
        ("empty", "cannot be loaded"),
        ("cut.safetensors", "cannot be loaded"),
        ("other.safetensors", "no vocabulary of dataprep"),
    ]:
        with pytest.raises(FileError, match=says):
            predict_files(tmp_path / name, [data], tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"truncation": "poem"}, "must be one of error, drop, truncate"),
        ({"prediction": "x", "probs": "x"}, "--prediction x"),
        ({"batch_size": 0}, "must be 1 or more"),
        ({"max_length": 1}, "must be 2 or more"),
        ({"device": "toaster"}, "must be one of cpu, cuda"),
    ],
)
def test_options_are_checked(options, says):
    """Before anything is read."""
    with pytest.raises(UsageError, match=says):
        PredictOptions(**options)


@pytest.mark.parametrize("kind", ["scorer", "classifier"])
def test_the_model_is_an_input(kind, request):
    """Of rows that it scores, and of a run that begins with it, so that `verify` looks at it."""
    folder = request.getfixturevalue(kind)
    with recording() as recorder:
        scorer = load_scorer(str(folder))
    assert str(folder) in recorder.job.reads
    with recording() as recorder:
        new_scorer(str(folder), [], scorer.fields, scorer.classes, None)
    assert str(folder) in recorder.job.reads


@pytest.mark.medium
def test_the_command_in_a_pipe(run_process, scorer):
    """Rows come through standard input and go to standard output; the summary does not."""
    lines = "".join(json.dumps(row) + "\n" for row in judged(3))
    done = run_process("predict", scorer, "-", input=lines.encode())
    assert done.code == 0, done.err
    assert [json.loads(line)["prediction"] for line in done.out.splitlines()]
    assert done.err == "predict: 3 in = 3 out → standard output\n"


def test_without_torch_the_message_names_the_extra(tmp_path):
    """No module that scoring imports may ask for torch before the command can say what to install."""
    program = (
        "import sys; sys.modules['torch'] = None; import dataprep.core.optional as optional; "
        "find = optional.find_spec; "
        "optional.find_spec = lambda name: None if name == 'torch' else find(name); "
        "sys.argv = ['dataprep', 'predict', 'scorer', 'rows.jsonl']; "
        "from dataprep.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: scoring with a student needs the package 'torch': run `pip install 'dataprep[train]'`\n"
    )
