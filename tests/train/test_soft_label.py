"""Soft labels: what is read of rows, the loss beside plain formulas, the network, metrics, whole runs."""

import json
import math
import random
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from dataprep.core.errors import InputError, Location, RowError, UsageError
from dataprep.train.objectives.soft_label import classes as metrics
from dataprep.train.objectives.soft_label import ngrams, tiny
from dataprep.train.objectives.soft_label.classes import Classes, Teacher, classes_of, name_of
from dataprep.train.objectives.soft_label.classifier import load_scorer, word_pieces
from dataprep.train.objectives.soft_label.objective import SoftLabelObjective, alpha_for
from dataprep.train.objectives.soft_label.rows import JudgedRow, judged_rows, logits_of, teacher_of
from dataprep.train.objectives.soft_label.tiny import Vocabulary
from dataprep.train.options import TrainOptions
from dataprep.train.run import train
from tests.helpers import write_jsonl

GRADES = Classes(("0", "1", "2"))


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small are slower on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def judged(count=24, **more):
    """Rows whose first word is their label."""
    words = ("bad", "fair", "good")
    return [
        {"text": f"{words[n % 3]} work number {n}", "label": n % 3, **{k: v(n) for k, v in more.items()}}
        for n in range(count)
    ]


def soft(n):
    """Probabilities that lean to the label."""
    return {str(each): 0.8 if each == n % 3 else 0.1 for each in range(3)}


def run(data, output, held_out=(), **options):
    """A short run on the CPU."""
    chosen = {"steps": 6, "batch_size": 8, "save_every": 0, "precision": "float32"} | options
    return train(data, held_out, output, options=TrainOptions(**chosen))


def weights(folder):
    """The weights that a run wrote."""
    return load_scorer(str(folder)).model.state_dict()


def same(one, other):
    """Whether two sets of weights are equal to the bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Given(torch.nn.Module):
    """A model whose scores are its weights."""

    def __init__(self, scores):
        super().__init__()
        self.scores = torch.nn.Parameter(scores)

    def forward(self):
        """The scores of all rows."""
        return self.scores


def batch(teacher, gold):
    """Tensors of rows: probabilities or ``None``, and labels or ``None``."""
    probs = [[1 / 3] * 3 if each is None else each for each in teacher]
    return {
        "teacher": torch.tensor(probs).log(),
        "has_teacher": torch.tensor([each is not None for each in teacher]),
        "gold": torch.tensor([-1 if each is None else each for each in gold]),
    }


def objective_of(alpha, temperature):
    """The objective over rows that have both parts."""
    both = SimpleNamespace(gold=torch.tensor([0]), has_teacher=torch.tensor([True]))
    context = SimpleNamespace(options=TrainOptions(alpha=alpha, temperature=temperature))
    return SoftLabelObjective(None, SimpleNamespace(train=both), context)


def test_the_loss_is_the_formula():
    """Both parts, written out with logarithms and sums, row by row."""
    scores = torch.tensor([[1.0, 0.5, -2.0], [0.0, 3.0, 0.1], [0.2, 0.2, 0.9]], dtype=torch.float64)
    teacher, gold, heat = [[0.7, 0.2, 0.1], None, [0.05, 0.9, 0.05]], [2, 1, None], 3.0
    found = objective_of(0.3, heat).loss_sums(Given(scores.float()), batch(teacher, gold))
    soft_sum = 0.0
    for row, probs in zip(scores.tolist(), teacher, strict=True):
        if probs is not None:
            own = [math.exp(value / heat) for value in row]
            hot = [value ** (1 / heat) for value in probs]
            pairs = [(t / sum(hot), s / sum(own)) for t, s in zip(hot, own, strict=True)]
            soft_sum += heat**2 * sum(t * math.log(t / s) for t, s in pairs)
    gold_sum = -sum(
        math.log(math.exp(row[label]) / sum(map(math.exp, row)))
        for row, label in zip(scores.tolist(), gold, strict=True)
        if label is not None
    )
    assert found["soft"].item() == pytest.approx(soft_sum, rel=1e-5)
    assert found["gold"].item() == pytest.approx(gold_sum, rel=1e-5)
    assert objective_of(0.3, heat).weights == {"soft": 0.3, "gold": 0.7}


def test_gradients_keep_their_size_at_high_temperatures():
    """T² makes up for 1/T²: at high T the gradient nears (z − v) / classes (section 2.1 of the paper)."""
    student, teacher = torch.tensor([[0.5, -1.0, 0.5]]), torch.tensor([[1.0, 0.0, -1.0]])
    for heat in (50.0, 100.0):
        model = Given(student.clone())
        tensors = batch([None], [None]) | {"teacher": teacher, "has_teacher": torch.tensor([True])}
        objective_of(1.0, heat).loss_sums(model, tensors)["soft"].backward()
        assert torch.allclose(model.scores.grad, (student - teacher) / 3, atol=0.02)


def test_a_probability_of_zero_is_no_nan():
    """A teacher that is certain teaches like a label."""
    model = Given(torch.tensor([[0.3, 0.1, 0.0]]))
    found = objective_of(1.0, 1.0).loss_sums(model, batch([[0.0, 1.0, 0.0]], [1]))
    found["soft"].backward()
    assert found["soft"].item() == pytest.approx(found["gold"].item(), rel=1e-6)
    assert torch.isfinite(model.scores.grad).all()


@pytest.mark.parametrize(("teacher", "gold"), [([None], [None]), ([None], [1]), ([[0.2, 0.3, 0.5]], [None])])
def test_a_row_without_a_part_adds_nothing_to_it(teacher, gold):
    """Neither value nor gradient comes from what a row does not have."""
    model = Given(torch.tensor([[0.3, 0.1, 0.0]]))
    found = objective_of(0.5, 2.0).loss_sums(model, batch(teacher, gold))
    assert (found["soft"].item() == 0) == (teacher == [None])
    assert (found["gold"].item() == 0) == (gold == [None])
    (found["soft"] + found["gold"]).backward()
    assert bool(model.scores.grad.any()) == (teacher != [None] or gold != [None])


def test_metrics_are_the_known_ones():
    """Confusions worked out by hand; kappa as in Cohen's weighted table."""
    gold, predicted = [0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 2, 0]
    found = metrics.metrics_of(gold, predicted, GRADES)
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["macro_f1"] == pytest.approx((0.5 + 0.8 + 2 / 3) / 3)
    # Observed: 1 + 4. By chance, of rows 2, 2, 2 and columns 2, 3, 1: (3 + 4 + 2 + 1 + 8 + 3) · 2 / 6.
    assert found["quadratic_weighted_kappa"] == pytest.approx(1 - 5 / 7)
    # Without an order all errors count the same: 2 of 6 observed, 1 − (4 + 6 + 2) / 36 by chance.
    named = metrics.metrics_of(gold, predicted, Classes(("a", "b", "c")))
    assert named["kappa"] == pytest.approx(1 - (2 / 6) / (1 - 12 / 36))
    assert "quadratic_weighted_kappa" not in named


def test_metrics_at_their_ends():
    """Agreement is 1, its opposite -1; classes that nobody names do not count; nothing is divided by 0."""
    for predicted, kappa in (([0, 1, 2], 1), ([0, 1, 1], pytest.approx(2 / 3))):
        assert metrics.metrics_of([0, 1, 2], predicted, GRADES)["quadratic_weighted_kappa"] == kappa
    assert metrics.metrics_of([0, 0, 2, 2], [2, 2, 0, 0], GRADES)["quadratic_weighted_kappa"] == -1
    assert metrics.metrics_of([1, 1], [1, 1], GRADES)["quadratic_weighted_kappa"] is None
    assert metrics.metrics_of([0, 1], [0, 1], GRADES)["macro_f1"] == 1
    assert metrics.metrics_of([], [], GRADES) == {"rows": 0}


def test_names_are_the_same_in_every_format():
    """A label is one class, whether a table wrote it or JSON; a name that only looks like a number stays."""
    assert [name_of(value) for value in (5, 5.0, "5.0", "5", 3.5, "007", "a", False, "-0.0", "-0.50")] == [
        "5", "5", "5", "5", "3.5", "007", "a", "false", "0", "-0.5",
    ]  # fmt: skip
    # More digits than a float holds, and than Python reads.
    for name in ("12345678901234567890", "9" * 400, "8" * 5000):
        assert name_of(name) == name_of(f"{name}.0") == name
    assert name_of(12345678901234567890) == "12345678901234567890"


def test_classes_are_those_that_occur():
    """Numbers by size; scores as whole numbers without a gap; names of a teacher too; places of a list."""
    assert classes_of([("10", None), ("9", None)]).names == ("9", "10")
    assert classes_of([(0.4, None), (2.5, None)]).names == ("0", "1", "2", "3")
    assert classes_of([("b", Teacher({"a": 1}))]).names == ("a", "b")
    assert classes_of([("1", Teacher([0.2, 0.3, 0.5])), (None, None)]).names == ("0", "1", "2")
    with pytest.raises(RowError, match="found 'a'; expected 2"):
        classes_of([("a", None)])
    with pytest.raises(RowError, match="found 0 to 5,000; expected fewer than 1,000 whole numbers"):
        classes_of([(0.0, None), (5000.0, None)])
    with pytest.raises(UsageError, match="--classes: '1' is named twice"):
        Classes(tuple(map(name_of, ("1", "1.0"))))


def test_a_score_goes_to_the_nearest_class():
    """Halves go up."""
    assert [GRADES.index(score) for score in (-3.0, 0.49, 0.5, 1.5, 9.0)] == [0, 0, 1, 2, 2]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"probs": [0.5, 0.4, 0.0]}, "sum of 'probs' is 0.9; expected 1"),
        ({"probs": [1.2, -0.2, 0.0]}, "found -0.2 in 'probs'; expected 0 to 1"),
        ({"probs": [0.5, 0.5]}, "found 2 values in 'probs'; expected one for each of the classes 0, 1, 2"),
        ({"probs": {"0": 0.5, "7": 0.5}}, "found '7' in 'probs'; expected the classes 0, 1, 2"),
        ({"probs": [0.5, 0.5, None]}, "expected a finite number"),
        ({"probs": "high"}, "expected a list"),
        ({"probs": 3}, "expected a list"),
        ({"scores": {"0": 1.0, "1": 2.0}}, "'scores' lacks '2'"),
        ({"scores": [1, 2, "x"]}, "expected a finite number"),
        ({"prob_0": "0.5", "prob_1": "much", "prob_2": ""}, "expected a finite number"),
        ({"label": 4}, "found '4'; expected the classes 0, 1, 2"),
        ({"label": [1]}, "expected a text or a number"),
        ({"score": "high"}, "found 'high' in 'score'|expected a number"),
        ({}, "expected a label, a score or probabilities"),
        ({"text": 3, "label": 1}, "no text in 'text'"),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, says):
    """Path, line, what was found and what was expected; and nothing is trained."""
    path = write_jsonl(tmp_path / "rows.jsonl", [*judged(3), {"text": "a text", **row}])
    with pytest.raises(InputError, match=says) as caught:
        run(path, tmp_path / "run", classes=("0", "1", "2"))
    assert caught.value.where == f"{path}:4"
    assert not (tmp_path / "run" / "student.safetensors").exists()


@pytest.mark.parametrize("more", [{}, {"cross_fit": 2}])
def test_a_label_that_no_row_has(tmp_path, more):
    """It is an error that names the fields; rows without a label are sound if others have one."""
    rows = judged(8, probs=soft)
    data, options = write_jsonl(tmp_path / "rows.jsonl", rows), TrainOptions(label="grade", steps=1, **more)
    says = r"no row has a label in 'grade'; the fields of the first are 'text', 'label', 'probs': name"
    with pytest.raises(InputError, match=says):
        train(data, (), tmp_path / "run", options=options)
    assert not (tmp_path / "run").exists()
    gold = write_jsonl(tmp_path / "gold.jsonl", judged(8))
    with pytest.raises(
        InputError, match=r"gold.jsonl:1: nothing to learn: the row's fields are 'text', 'label'"
    ):
        train(gold, (), tmp_path / "run", options=options)
    last = {"text": "good work", "grade": "2", "probs": soft(2)}
    train(
        write_jsonl(tmp_path / "rows.jsonl", [*rows, last]),
        (),
        tmp_path / "run",
        options=replace(options, cross_fit=None),
    )


def test_no_row_is_left(tmp_path):
    """If all of them are set aside, the run ends before it makes a vocabulary."""
    path = write_jsonl(tmp_path / "rows.jsonl", [{"text": 5, "label": "a"}, {"text": 6, "label": "b"}])
    options = TrainOptions(classes=("a", "b"), fields=("text",), save_every=0)
    for chosen in (options, replace(options, cross_fit=2)):
        with pytest.raises(InputError, match="no row is left to train on"):
            train(path, (), tmp_path / "run", options=chosen, rejects=tmp_path / "bad.jsonl")


@pytest.mark.filterwarnings("error")
def test_rows_whose_labels_are_no_classes(tmp_path):
    """They end the run with what they say, and not with a warning about divisions by 0."""
    words = [" ".join(f"{a}{b}{n % 7}" for a in "abcdefghij" for b in "klmnopqrst") for n in range(40)]
    rows = [{"text": f"{text} {n}", "label": "x"} for n, text in enumerate(words)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    many = tuple(f"class {n}" for n in range(200))
    with pytest.raises(InputError, match="unknown class: found 'x'"):
        train(path, (), tmp_path / "run", options=TrainOptions(classes=many, save_every=0))


def test_scores_are_logits_and_probabilities_are_made_to_add_up():
    """Softmax of the scores; rounded probabilities are divided by their sum."""
    found = GRADES.log_probs(Teacher([1.0, 2.0, 3.0], logits=True))
    assert torch.tensor(found).exp().tolist() == pytest.approx(torch.tensor([1.0, 2, 3]).softmax(0).tolist())
    assert [math.exp(each) for each in GRADES.log_probs(Teacher([0.33, 0.33, 0.33]))] == pytest.approx(
        [1 / 3] * 3
    )
    assert GRADES.log_probs(Teacher({"1": 1})) == [-math.inf, 0.0, -math.inf]


def test_tables_and_json_give_the_same_rows(tmp_path):
    """JSON Lines, CSV and Parquet; probabilities as object, JSON text, struct and columns."""
    rows = judged(6, probs=soft)
    rows[1]["probs"] = rows[2]["label"] = None
    write_jsonl(tmp_path / "a.jsonl", rows)
    pl.DataFrame(rows).write_parquet(tmp_path / "a.parquet")
    texts = [row | {"probs": row["probs"] and json.dumps(row["probs"])} for row in rows]
    pl.DataFrame(texts).write_csv(tmp_path / "a.csv")
    flat = [
        {"text": row["text"], "label": row["label"]}
        | {f"prob_{n}": (row["probs"] or {}).get(str(n)) for n in range(3)}
        for row in rows
    ]
    pl.DataFrame(flat).write_csv(tmp_path / "b.csv")
    found = []
    for name in ("a.jsonl", "a.parquet", "a.csv", "b.csv"):
        read = list(judged_rows([str(tmp_path / name)]))
        taught = [row.teacher and GRADES.log_probs(row.teacher) for row in read]
        found.append([(row.texts, row.gold, probs) for row, probs in zip(read, taught, strict=True)])
    assert found[0] == found[1] == found[2] == found[3]
    assert found[0][1][2] is None
    assert found[0][2][1] is None


def test_the_share_without_a_word():
    """One half where both are there, else all of what there is; what the data cannot serve is refused."""
    both, gold, taught = (0, True), (0, False), (-1, True)

    def data(*rows):
        labels, taught = zip(*rows, strict=True)
        return SimpleNamespace(gold=torch.tensor(labels), has_teacher=torch.tensor(taught))

    assert [alpha_for(data(*rows), None) for rows in ([both], [gold], [taught], [gold, taught])] == [
        0.5,
        0,
        1,
        0.5,
    ]
    with pytest.raises(UsageError, match="no row has a teacher's probabilities"):
        alpha_for(data(gold), 0.5)
    with pytest.raises(UsageError, match="no row has a label"):
        alpha_for(data(taught), 0.0)


def test_without_the_teachers_share_training_is_plain(tmp_path):
    """With --alpha 0 the probabilities change no bit of the weights."""
    run(write_jsonl(tmp_path / "gold.jsonl", judged()), tmp_path / "plain")
    run(write_jsonl(tmp_path / "soft.jsonl", judged(probs=soft)), tmp_path / "zero", alpha=0.0)
    assert same(weights(tmp_path / "plain"), weights(tmp_path / "zero"))


def test_the_same_seed_gives_the_same_weights(tmp_path):
    """And another seed gives others."""
    data = write_jsonl(tmp_path / "rows.jsonl", judged(probs=soft))
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        run(data, tmp_path / name, seed=seed)
    assert same(weights(tmp_path / "one"), weights(tmp_path / "again"))
    assert not same(weights(tmp_path / "one"), weights(tmp_path / "other"))


def test_accumulated_steps_are_one_large_step(tmp_path, monkeypatch):
    """Parts are means over their rows of the whole step, wherever those rows are."""
    # Dropout draws other numbers for other batches; without it, loss and gradient must be the same.
    monkeypatch.setattr(torch.nn.functional, "dropout", lambda found, *_, **__: found)
    rows = judged(16, probs=soft)
    for number, row in enumerate(rows):
        row.pop("probs" if number % 4 else "label")
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    size = {"steps": 1, "warmup": 0.0, "objective": "soft-label"}
    large = run(data, tmp_path / "large", batch_size=16, **size).results
    small = run(data, tmp_path / "small", batch_size=4, accumulate=4, **size).results
    assert small["loss_first"] == pytest.approx(large["loss_first"], rel=1e-6)
    # The gradient, and not the weights: Adam's first step hardly depends on how large a gradient is.
    norms = [
        json.loads(line)["gradient_norm"]
        for name in ("small", "large")
        for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()
    ]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)


def test_unlabelled_rows_teach(tmp_path):
    """Probabilities alone train a student to tell the classes apart; the metrics need labels only."""
    taught = [{"text": row["text"], "probs": row["probs"]} for row in judged(60, probs=soft)]
    data, held = (
        write_jsonl(tmp_path / "soft.jsonl", taught),
        write_jsonl(tmp_path / "held.jsonl", judged(12)),
    )
    found = run(data, tmp_path / "run", held, steps=80, batch_size=16).results
    # They have no part that is trained for, and a loss of 0 would say that all is learned.
    assert found["eval_loss_before"] > found["eval_loss"] > 0
    assert found["metrics"] == {
        "rows": 12, "accuracy": 1.0, "macro_f1": 1.0, "quadratic_weighted_kappa": 1.0,
    }  # fmt: skip


def judged_row(texts, gold):
    """A row of a file."""
    return JudgedRow(Location("rows.jsonl", 1), texts, gold, None)


def test_the_chosen_n_grams_are_those_with_the_largest_chi_squared():
    """The statistic is scikit-learn's; one that a single row has is not chosen."""
    selection = pytest.importorskip("sklearn.feature_selection")
    draw = random.Random(3)
    words = [f"{a}{b}" for a in "abcdefgh" for b in "qrstuvw"]
    rows = [(" ".join(draw.choices(words[n % 3 * 9 :][:40], k=6)),) for n in range(60)]
    targets = np.eye(3)[[n % 3 for n in range(60)]]
    grams, _ = ngrams.Grams.learn(rows, 40, targets)
    every, idf = ngrams.Grams.learn(rows, 10_000, targets)
    names = [name for name, value in zip(every.names[0], idf, strict=True) if value < math.log(61 / 2) + 1]
    # The counts of rows with and without an n-gram are two columns, whose statistics add up.
    own = [{gram for word in row[0].split() for gram in ngrams.grams_of(word)} for row in rows]
    has = np.array([[name in grams_of_row for name in names] for grams_of_row in own])
    statistic = sum(selection.chi2(columns, targets.argmax(1))[0] for columns in (has, ~has))
    least = min(statistic[names.index(name)] for name in grams.names[0])
    assert len(grams.names[0]) == 40
    assert (np.nan_to_num(statistic) > least + 1e-9).sum() <= 40


@pytest.mark.sampled(3)
@pytest.mark.parametrize("classes", [2, 6, 40])
def test_the_network_is_small(classes):
    """At most 30,000 numbers, IDF included, however many words there are."""
    texts = (" ".join(f"w{n}" for n in range(3000)),) * 3
    names = Classes(tuple(str(number) for number in range(classes)))
    model = ngrams.new([judged_row(texts, "0"), judged_row(texts, "1")], ("a", "b", "c"), names).model
    assert sum(each.numel() for each in [*model.parameters(), *model.buffers()]) <= 30_000


def test_the_values_of_n_grams_are_those_of_scikit_learn():
    """TF-IDF of the same n-grams, with the same logarithms and norms, as the independent implementation."""
    text = pytest.importorskip("sklearn.feature_extraction.text")
    rows = ["The cat sat on the mat", "a dog, a cat and a cat", "nothing at all", "the end of the dog"]
    reference = text.TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True).fit(rows)
    scorer = ngrams.new([judged_row((row,), "1") for row in rows], ("text",), GRADES)
    names = scorer.grams.names[0]
    assert set(names) == set(reference.get_feature_names_out())
    # With an identity as weights, the scores are the values.
    model = ngrams.GramNetwork(scorer.grams, len(scorer.grams))
    model.idf = scorer.model.idf
    torch.nn.init.eye_(model.weights.weight)
    found = logits_of(model, scorer.collate([scorer.encode([row]) for row in [*rows, "cats and Dogs"]]))
    expected = reference.transform([*rows, "cats and Dogs"]).toarray()
    columns = [reference.vocabulary_[name] for name in names]
    assert torch.allclose(
        found[:, 1 : 1 + len(names)].double(), torch.tensor(expected[:, columns]), atol=1e-6
    )


def test_bits_say_how_much_of_a_field_is_in_another():
    """More shared words set more bits; a single field has none; the thresholds are those of the module."""
    few, many = (
        ngrams.bits_of([["a", "cat", "sat"], words]) for words in (["dog", "cat"], ["a", "cat", "sat"])
    )
    assert set(few) < set(many)
    assert ngrams.bits_of([["a", "cat"]]) == []
    assert max(many) < ngrams.number_of_bits(2)
    # All thresholds of all four shares, and the two lengths that ln(1 + 3) exceeds.
    assert len(many) == 4 * 6 + 1


def test_more_classes_than_the_small_network_has_room_for():
    """With 400 classes, 72 n-grams would be left: an error that says so."""
    names = Classes(tuple(map(str, range(400))))
    with pytest.raises(UsageError, match="400 classes leave 72 n-grams of 30,000 numbers; give --model wide"):
        new_ngrams([("a cat",)], ("text",), names)


def new_ngrams(texts, fields, classes):
    """The linear network of rows of one class."""
    return ngrams.new([judged_row(row, classes.names[0]) for row in texts], fields, classes)


@pytest.mark.parametrize("new", [new_ngrams, partial(tiny.new, "wide")])
def test_filling_up_changes_no_score(new):
    """A text's scores do not depend on the texts beside it; empty fields are no error."""
    torch.manual_seed(0)
    found = new([("some words here", "more words")] * 2, ("a", "b"), GRADES)
    for weights in found.model.parameters():
        torch.nn.init.normal_(weights)
    found.model.eval()
    texts = [found.encode(each) for each in (("some", ""), ("", ""), ("some words here", "more " * 30))]
    alone = torch.cat([logits_of(found.model, found.collate([each])) for each in texts])
    assert torch.allclose(alone, logits_of(found.model, found.collate(texts)), atol=1e-6)
    assert torch.isfinite(alone).all()


def test_words_that_are_shared_are_marked():
    """A word is shared where another field has it; unknown words with one beginning share a bucket."""
    found = tiny.new("wide", [("a cat sat", "the cat")] * 2, ("x", "y"), GRADES)
    assert found.encode(("a cat", "the cat"))["shared"] == [0, 1, 0, 1]
    words = Vocabulary(["cat"], 50)
    assert words.encode("compiler")[0] == words.encode("compiling")[0] >= 2
    assert len(found.encode(("a b c d e", "f"), 4)["ids"]) == 4


def test_saved_is_one_plain_file_with_everything(tmp_path):
    """Vocabulary, labels and fields are in the file's header; what is loaded scores as what was saved."""
    from safetensors import safe_open

    run(write_jsonl(tmp_path / "rows.jsonl", judged(probs=soft)), tmp_path / "run")
    with safe_open(tmp_path / "run" / "student.safetensors", framework="pt") as file:
        header = json.loads(file.metadata()["dataprep"])
    assert header["classes"] == ["0", "1", "2"]
    assert header["fields"] == ["text"]
    assert " good"[:4] in header["grams"][0]
    one, other = load_scorer(str(tmp_path / "run")), load_scorer(str(tmp_path / "run/student.safetensors"))
    text = one.collate([one.encode(["good work"])])
    assert torch.equal(logits_of(one.model, text), logits_of(other.model, text))


def test_a_saved_network_can_be_trained_further(tmp_path):
    """Its vocabulary stays; data with other classes are refused."""
    run(write_jsonl(tmp_path / "rows.jsonl", judged()), tmp_path / "run")
    assert isinstance(load_scorer(str(tmp_path / "run")), ngrams.GramScorer)
    run(write_jsonl(tmp_path / "more.jsonl", judged(9)), tmp_path / "more", model=str(tmp_path / "run"))
    assert load_scorer(str(tmp_path / "more")).grams.names == load_scorer(str(tmp_path / "run")).grams.names
    other = write_jsonl(tmp_path / "other.jsonl", [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}])
    with pytest.raises(UsageError, match="its classes are 0, 1, 2; those of the data are x, y"):
        run(other, tmp_path / "no", model=str(tmp_path / "run"))


@pytest.mark.parametrize("model", ["tiny", "wide"])
def test_a_saved_network_keeps_the_order_of_its_classes(tmp_path, model):
    """Rows with the same classes train it further, whatever their order; without some of them too."""
    data = write_jsonl(tmp_path / "rows.jsonl", judged(probs=soft))
    run(data, tmp_path / "run", model=model, classes=("2", "0", "1"), steps=40)
    more = {"model": str(tmp_path / "run"), "learning_rate": 1e-9}
    found = run(data, tmp_path / "more", data, **more).results
    assert load_scorer(str(tmp_path / "more")).classes.names == ("2", "0", "1")
    assert found["metrics"]["accuracy"] > 0.9, "labels and probabilities go to the classes of their names"
    assert found["eval_loss_before"] == pytest.approx(found["eval_loss"], abs=1e-4)
    lists = [row | {"probs": [*row["probs"].values()]} for row in judged(probs=soft)]
    lists = write_jsonl(tmp_path / "lists.jsonl", lists)
    with pytest.raises(InputError, match=r"lists.jsonl:1: probs without names: the model has .* order 2,0,1"):
        run(lists, tmp_path / "no", **more)
    run(lists, tmp_path / "lists", **more, classes=("2", "0", "1"))
    some = write_jsonl(tmp_path / "some.jsonl", [row for row in judged() if row["label"]])
    with pytest.raises(
        UsageError, match="its classes are 2, 0, 1; those of the data are 1, 2: give --classes 2,0,1"
    ):
        run(some, tmp_path / "no", **more)
    run(some, tmp_path / "some", **more, classes=("2", "0", "1"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"lora": 4}, "--lora: not for soft labels"),
        ({"alpha": 1.5}, "a share, from 0 to 1"),
        ({"tokenizer": "somewhere"}, "a vocabulary of its own"),
        ({"model": "nowhere"}, "expected a directory"),
        ({"classes": ("a",)}, "expected two or more"),
        ({"classes": ("a", "a")}, "a name is repeated"),
    ],
)
def test_options_that_cannot_be_served_are_refused(tmp_path, options, says):
    """Before training, with the flag's name."""
    data = write_jsonl(tmp_path / "rows.jsonl", judged(probs=soft))
    with pytest.raises(UsageError, match=says):
        run(data, tmp_path / "run", **options)


def test_word_pieces_hold_every_word():
    """Characters stand for words that have no piece of their own; the most frequent words come first."""
    found = word_pieces(["ab ab cd"], 11)
    assert list(found) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "d", "##a", "##b"]
    assert list(word_pieces(["ab ab cd"], 99))[-2:] == ["ab", "cd"]


def test_an_empty_object_says_nothing():
    """Parquet has every class in every row, null where a row had none."""
    assert teacher_of({"probs": {"a": None, "b": None}}) is None
    assert teacher_of({"prob_a": "", "prob_b": None}) is None
    assert teacher_of({"scores": "[1, 2]"}) == Teacher([1, 2], logits=True)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("model", ["tiny", "wide"])
def test_long_texts_of_the_small_networks(tmp_path, model):
    """`--max-length` counts words: an error, fewer rows, or shorter texts."""
    rows = [*judged(6), {"text": "good " * 9, "label": 2}]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    with pytest.raises(InputError, match="too long: found 9 tokens; expected at most 8"):
        run(data, tmp_path / "run", max_length=8, model=model)
    for truncation, count in (("drop", 6), ("truncate", 7)):
        facts = run(
            data, tmp_path / truncation, max_length=8, model=model, truncation=truncation, steps=1
        ).path
        assert json.loads((facts / "facts.json").read_bytes())["rows"]["train"] == count


def test_options_that_depend_on_the_rows_are_logged_and_recorded(tmp_path):
    """Few rows are seen more often; what was given stays."""
    data, lines = write_jsonl(tmp_path / "rows.jsonl", judged(24)), []
    train(data, (), tmp_path / "run", options=TrainOptions(save_every=0), log=lines.append)
    chosen = "--epochs 30 --learning-rate 0.1 --adam-epsilon 0.01 --weight-decay 0.03"
    assert f"24 rows: {chosen}, unless you give others" in lines
    facts = json.loads((tmp_path / "run/facts.json").read_bytes())
    names = ("epochs", "learning_rate", "adam_epsilon", "weight_decay")
    assert [facts[name] for name in names] == [30, 0.1, 0.01, 0.03]
    lines.clear()
    options = TrainOptions(epochs=1, learning_rate=0.1, adam_epsilon=1e-8, weight_decay=0.0, save_every=0)
    found = train(data, (), tmp_path / "given", options=options, log=lines.append).results
    assert found["steps"] == 3
    assert not any("--epochs" in line for line in lines)


def test_a_collapsed_student_ends_with_a_warning(tmp_path):
    """It says what to try, with evaluation rows or without; a student that has learned has no warning."""
    rows = [{"text": f"work {n}", "label": n % 4 == 0} for n in range(24)]
    data, held = (write_jsonl(tmp_path / f"{name}.jsonl", rows) for name in ("rows", "held"))
    for place, held_out, where in (("one", held, "accuracy"), ("two", (), "training rows")):
        found = run(data, tmp_path / place, held_out, steps=1, learning_rate=1e-9).results["warnings"]
        assert found[0].startswith(f"{where}: 24 of 24 predictions are 'false', and 18 of the gold")
        assert "; try more --epochs" in found[0]
        assert "not above 75.00%, the share of 'false'" in found[1]
    data, held = write_jsonl(tmp_path / "good.jsonl", judged(24)), held_out_of(tmp_path)
    assert "warnings" not in run(data, tmp_path / "three", held, steps=60).results


def test_training_rows_that_are_sorted_by_class(tmp_path):
    """The rows that are looked at are a sample, so a student that has learned has no warning."""
    words = ("bad", "fair", "good")
    rows = [{"text": f"{words[n // 1100]} work {n}", "label": n // 1100} for n in range(3300)]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    results = run(data, tmp_path / "run", steps=60, batch_size=64).results
    assert "warnings" not in results


def test_a_collapsed_student_of_probabilities_alone(tmp_path):
    """Without labels, the teacher's most probable classes show that it names one class for all rows."""
    rows = [{"text": f"work {n}", "probs": [0.9, 0.1] if n % 4 else [0.1, 0.9]} for n in range(24)]
    data, held = (write_jsonl(tmp_path / f"{name}.jsonl", rows) for name in ("rows", "held"))
    kind = "teacher's most probable classes"
    for place, held_out, about in (("one", held, "evaluation rows"), ("two", (), "training rows")):
        found = run(data, tmp_path / place, held_out, steps=1, learning_rate=1e-9).results["warnings"]
        assert found[0].startswith(f"{about}: 24 of 24 predictions are '0', and 18 of the {kind}; try")
        assert found[1].startswith(
            f"{about}: 75.00% (55.10% – 88.00%) is not above 75.00%, the share of '0' "
        )
        assert f"in the {kind}" in found[1]
    rows += [{"text": f"work {n}", "label": "0"} for n in range(24, 36)]
    mixed = write_jsonl(tmp_path / "mixed.jsonl", rows)
    found = run(mixed, tmp_path / "mixed", steps=1, learning_rate=1e-9).results["warnings"]
    assert f"36 of 36 predictions are '0', and 30 of the gold answers and the {kind}" in found[0]
    # Of labels alone it learns nothing about the other rows.
    found = run(mixed, tmp_path / "gold", steps=1, learning_rate=1e-9, alpha=0.0).results.get("warnings", [])
    assert not any(kind in warning for warning in found)
    taught = [{"text": row["text"], "probs": row["probs"]} for row in judged(24, probs=soft)]
    learned = run(write_jsonl(tmp_path / "taught.jsonl", taught), tmp_path / "learned", steps=60)
    assert "warnings" not in learned.results


def test_the_advice_names_another_student(tmp_path):
    """A `tiny` student is not told to try `tiny`."""
    rows = [{"text": f"work {n}", "label": n % 4 == 0} for n in range(24)]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    run(data, tmp_path / "tiny", steps=1)
    models = (
        ("tiny", "a pretrained classifier as --model"),
        (tmp_path / "tiny", "a pretrained"),
        ("wide", "--model tiny"),
    )
    for number, (model, says) in enumerate(models):
        found = run(data, tmp_path / f"{number}", model=str(model), steps=1, learning_rate=1e-9).results
        assert f"more rows, or {says}" in found["warnings"][0]


def held_out_of(folder):
    """A file of rows whose labels can be learned."""
    return write_jsonl(folder / "eval.jsonl", judged(12))
