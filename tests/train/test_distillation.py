"""Distillation: the divergence from a teacher with the student's tokenizer, or from stored tokens."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional
from transformers import LlamaForCausalLM

from dataprep.core.errors import InputError, TokenizerError, UsageError
from dataprep.models.comparison import compare_tokenizers
from dataprep.tokens.tokenizers.loading import load_tokenizer, tokenizer_from
from dataprep.tokens.tokenizers.training import train_tokenizer
from dataprep.train.layers import output_layer
from dataprep.train.layers.packed_attention import use_packed_attention
from dataprep.train.layers.top_k import divergence_of_top
from dataprep.train.objectives.distillation import (
    DistillationObjective,
    _ids_by_bytes,
    divergence,
)
from dataprep.train.objectives.sft import SftObjective
from dataprep.train.options import TrainOptions
from dataprep.train.run import train
from tests.students import WORDS, llama_config, rows, write_rows


def run(place, output, data="train.jsonl", **settings):
    """A run in this process; its results."""
    given = {"model": str(place / "student"), "chat_format": "llama3", "learning_rate": 0.01}
    given |= {"steps": 2, "save_every": 0, "batch_size": 4}
    options = TrainOptions(**{**given, **settings})
    return train(place / data, place / "eval.jsonl", output, options=options).results


def model(seed, **settings):
    """A Llama with random weights, ready for packed documents."""
    torch.manual_seed(seed)
    made = LlamaForCausalLM(llama_config(initializer_range=0.3, **settings)).eval()
    use_packed_attention(made)
    return made


def documents():
    """Two documents in one row, of which some tokens are trained on."""
    torch.manual_seed(1)
    ids = torch.randint(330, (23,))
    where = torch.tensor([2, 3, 4, 11, 12, 13, 20])
    bounds = torch.tensor([0, 9, 23], dtype=torch.int32)
    return {"ids": ids, "bounds": bounds, "positions": where, "targets": ids[where + 1]}


def plain_logits(of, tensors):
    """The logits at trained positions, each document by itself, with nothing of ours."""
    of.set_attn_implementation("eager")
    ids, (start, middle, end) = tensors["ids"], tensors["bounds"].tolist()
    parts = [of(ids[None, a:b]).logits[0] for a, b in ((start, middle), (middle, end))]
    use_packed_attention(of)
    return torch.cat(parts)[tensors["positions"]]


def objective_of(student, weight, teacher=None, temperature=2.0):
    """The objective of a student, with a model as its teacher or none."""
    options = TrainOptions(teacher_share=weight, temperature=temperature)
    made = DistillationObjective(SimpleNamespace(model=student), None, SimpleNamespace(options=options))
    if teacher is not None:
        made.use_teacher(teacher)
    return made


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_loss_and_gradients_are_plain_torchs(monkeypatch, temperature):
    """The divergence in chunks of positions is torch's over all logits at once, gradients too."""
    monkeypatch.setitem(output_layer.CHUNK_LOGITS, "cpu", 330 * 2)
    student, teacher, tensors = model(1), model(2, hidden_size=32), documents()
    objective = objective_of(student, 0.3, teacher, temperature)
    found = objective.loss_sums(student, tensors)
    (0.7 * found["tokens"] + 0.3 * found["teacher"]).backward()
    gradients = {name: each.grad.clone() for name, each in student.named_parameters()}
    student.zero_grad()
    own, other = plain_logits(student, tensors), plain_logits(teacher, tensors).detach()
    tokens = functional.cross_entropy(own, tensors["targets"], reduction="sum")
    kl = temperature**2 * functional.kl_div(
        functional.log_softmax(own / temperature, dim=-1),
        functional.softmax(other / temperature, dim=-1),
        reduction="sum",
    )
    torch.testing.assert_close(found["tokens"], tokens, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found["teacher"], kl, rtol=1e-4, atol=1e-4)
    (0.7 * tokens + 0.3 * kl).backward()
    for name, each in student.named_parameters():
        torch.testing.assert_close(gradients[name], each.grad, rtol=1e-3, atol=1e-4)
    assert all(each.grad is None for each in teacher.parameters())


def test_without_a_share_it_is_sft():
    """A share of 0 asks no teacher, and the loss is that of the tokens."""
    student, tensors = model(1), documents()
    found = objective_of(student, 0.0, model(2)).loss_sums(student, tensors)
    assert found == SftObjective(SimpleNamespace(model=student), None, None).loss_sums(student, tensors)


def test_a_teacher_like_the_student_teaches_nothing():
    """The divergence from oneself is 0, and so is its gradient."""
    student, tensors = model(1), documents()
    found = objective_of(student, 1.0, model(1)).loss_sums(student, tensors)
    assert abs(found["teacher"].item()) < 1e-4
    found["teacher"].backward()
    assert max(float(each.grad.abs().max()) for each in student.parameters()) < 1e-4


def test_all_tokens_known_is_the_whole_divergence():
    """Stored log-probabilities of the whole vocabulary leave nothing for the rest."""
    torch.manual_seed(1)
    own, other = torch.randn(5, 9), torch.randn(5, 9)
    ids = torch.arange(9).expand(5, 9)
    found = divergence_of_top(own, ids, other.log_softmax(dim=-1))
    torch.testing.assert_close(found, divergence(own, other, 1.0), rtol=1e-4, atol=1e-4)


def test_what_is_not_listed_counts_as_one_token():
    """Top-k and the rest are a distribution over k + 1 tokens."""
    torch.manual_seed(1)
    own, chances = torch.randn(4, 9, requires_grad=True), torch.randn(4, 9).softmax(dim=-1)
    ids = chances.topk(3).indices
    logs = chances.gather(1, ids).log()
    padded = torch.cat([logs, torch.full((4, 1), float("-inf"))], dim=1)
    found = divergence_of_top(own, torch.cat([ids, ids[:, :1]], dim=1), padded)
    q = own.softmax(dim=-1).gather(1, ids)
    whole = [torch.cat([each, 1 - each.sum(1, keepdim=True)], dim=1) for each in (q, logs.exp())]
    expected = functional.kl_div(whole[0].log(), whole[1], reduction="sum")
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    slope = torch.autograd.grad(found, own)[0]
    torch.testing.assert_close(slope, torch.autograd.grad(expected, own)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.medium
def test_a_run_with_a_teacher_tells_both_parts(place, tmp_path):
    """The command's loss is the weighted sum, and both parts fall or stay."""
    found = run(place, tmp_path / "run", teacher_model=str(place / "teacher"), steps=12)
    assert found["eval_loss"] == pytest.approx(
        0.5 * found["eval_loss_tokens"] + 0.5 * found["eval_loss_teacher"]
    )
    assert found["eval_loss"] < found["eval_loss_before"]


def test_another_tokenizer_is_an_error_that_says_where(place, tmp_path):
    """The first differing token is named, and what to do."""
    teacher = tmp_path / "teacher"
    shutil.copytree(place / "teacher", teacher)
    words = [word[::-1] for word in WORDS]
    (teacher / "tokenizer.json").write_bytes(train_tokenizer([" ".join(words)] * 8, 300, "bpe", shrink=True))
    with pytest.raises(TokenizerError, match="tokenizer is not the student's"):
        run(place, tmp_path / "run", teacher_model=str(teacher))


class Divides:
    """A tokenizer that has the same tokens and divides texts otherwise."""

    fingerprint = "1"

    def __init__(self, other):
        self.other = other

    def __getattr__(self, name):
        return getattr(self.other, name)

    def encode(self, text):
        """Byte by byte."""
        return [number for each in text for number in self.other.encode(each)]


class Renamed(Divides):
    """A tokenizer with another name for one token."""

    def decode_bytes(self, ids):
        """The bytes, but for one token."""
        return b"??" if list(ids) == [200] else self.other.decode_bytes(ids)


def test_tokenizers_are_compared_by_tokens_and_by_texts(place):
    """What the fingerprint cannot say is said by the tokens and by how texts are divided."""
    own = load_tokenizer(place / "tokenizer.json")
    compare_tokenizers(own, own, ["blue green"], "T", "change it")
    with pytest.raises(TokenizerError, match="it splits 'blue green"):
        compare_tokenizers(own, Divides(own), ["blue green"], "T", "change it")
    with pytest.raises(TokenizerError, match=r"token 200 is b'\?\?' there"):
        compare_tokenizers(own, Renamed(own), [], "T", "change it")


def stored(place, change=None):
    """Rows with the log-probabilities of a teacher that is sure of every token, as `generate` has them."""
    tokenizer = load_tokenizer(place / "tokenizer.json")
    found = rows(16)
    for row in found:
        answer = tokenizer.encode(row["messages"][1]["content"])
        texts = [tokenizer.decode([number]) for number in answer]
        row["logprobs"] = [
            {"token": each, "logprob": -0.01, "top": {each: -0.01, "�": -5.0}} for each in texts
        ]
    if change is not None:
        change(found[3]["logprobs"])
    write_rows(place / "stored.jsonl", found)


def test_stored_log_probabilities_are_learned(place, tmp_path):
    """Rows of an answer's log-probabilities choose the objective, and the divergence falls."""
    stored(place)
    run(place, tmp_path / "run", data="stored.jsonl", steps=12, learning_rate=0.03)
    lines = [json.loads(each) for each in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    taught = [line["loss_teacher"] for line in lines if "loss_teacher" in line]
    assert len(taught) == 12
    assert taught[-1] < taught[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda each: each.extend([{}] * 3), "one for each token in the loss"),
        (lambda each: each.__setitem__(0, [["a", 0.5]]), "log-probability"),
        (lambda each: each.__setitem__(0, [[99999, -0.5]]), "id of the tokenizer"),
        (lambda each: each.__setitem__(0, {"token": "a", "logprob": -1}), "splits texts differently"),
        (lambda each: each.__setitem__(0, "a"), "expected null"),
    ],
)
def test_bad_log_probabilities_name_their_row(place, tmp_path, change, message):
    """An entry that is none, or is another token's, is an error before training, with line and place."""
    stored(place, change)
    with pytest.raises(InputError, match=message) as caught:
        run(place, tmp_path / "run", data="stored.jsonl")
    assert "stored.jsonl:4" in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_rows_that_were_all_set_aside_are_an_error(place, tmp_path, share):
    """There is nothing to train on; no run goes through it for ever."""
    write_rows(place / "stored.jsonl", [row | {"logprobs": [3]} for row in rows(4)])
    given = {"model": str(place / "student"), "chat_format": "llama3", "teacher_share": share}
    options = TrainOptions(**given, steps=2)
    with pytest.raises(InputError, match=r"stored\.jsonl: has no row whose 'logprobs' could be used"):
        train(
            place / "stored.jsonl", output=tmp_path / "run", options=options, rejects=tmp_path / "aside.jsonl"
        )


def test_a_teacher_without_a_share_has_no_loss(place, tmp_path):
    """No figure of it is written: 0 would look like a teacher whom the student has learned by heart."""
    stored(place)
    run(place, tmp_path / "run", data="stored.jsonl", teacher_share=0.0)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert '"loss":' in lines
    assert "loss_teacher" not in lines


def test_stored_log_probabilities_are_not_packed(place, tmp_path):
    """They belong to rows as they are."""
    stored(place)
    with pytest.raises(UsageError, match="--pack"):
        run(place, tmp_path / "run", data="stored.jsonl", pack=64)


def test_rows_without_any_are_trained_on_their_tokens():
    """A batch that knows nothing of the teacher has a part of 0."""
    student, tensors = model(1), documents()
    nothing = {
        "has_teacher": torch.zeros(0, dtype=torch.int64),
        "top_ids": torch.zeros(0, 1, dtype=torch.int64),
        "top_logprobs": torch.zeros(0, 1),
    }
    found = objective_of(student, 0.5).loss_sums(student, tensors | nothing)
    assert found["teacher"].item() == 0
    (found["tokens"] + found["teacher"]).backward()


def test_a_character_is_the_piece_and_not_the_byte_that_stands_in_for_it():
    """With byte fallback two ids have the same text; rows are divided into the piece."""
    words = ["1 + 1 = 2. A sum of 10 and 21."] * 20
    tokenizer = tokenizer_from("a trained one", train_tokenizer(words, 330, shrink=True))
    found = _ids_by_bytes(tokenizer)
    for text in ("1", "A", ".", " "):
        assert [found[text.encode()]] == tokenizer.encode(text)
