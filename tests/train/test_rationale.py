"""The objective ``rationale``: its loss beside plain ``transformers``, its data, a run from end to end."""

import copy
import json

import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")
pytest.importorskip("transformers", reason="the extra `train` is not installed")

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BartConfig, BartForConditionalGeneration, T5Config, T5ForConditionalGeneration

from dataprep.core.errors import InputError, UsageError
from dataprep.core.records import Example
from dataprep.models import loading
from dataprep.models.student import Student
from dataprep.tokens.formats.loading import chat_format_of
from dataprep.train.layers.encoder_decoder import PackedPairs, PaddedPairs, pairs_for
from dataprep.train.layers.output_layer import OutputLayer
from dataprep.train.layers.packed_attention import use_packed_attention
from dataprep.train.objectives.rationale import ChatLosses, part_sums
from dataprep.train.objectives.rationale_data import (
    ChatTaskEncoder,
    PairTaskEncoder,
    encode_tasks,
    prefix_of,
    question_of,
    read_rows,
    weights_of,
)
from dataprep.train.options import TrainOptions
from dataprep.train.run import train
from tests import tiny_model
from tests.helpers import write_jsonl
from tests.toy_tokenizer import ToyTokenizer

FIRST, SECOND = "flan-t5", "llama-2"
ROWS = [
    ("Which is blue?", ["grass", "sky"], "sky", {FIRST: "The sky is.", SECOND: "Grass is green, so sky."}),
    (
        "Which melts in the sun?",
        ["ice", "iron", "salt"],
        "ice",
        {FIRST: "Ice melts at 0 degrees.", SECOND: "I"},
    ),
    ("Which flies?", ["owl", "cow"], "owl", {FIRST: "An owl is a bird, and most birds fly.", SECOND: "nan"}),
    ("Which is hot?", ["fire", "snow"], "fire", {FIRST: "Fire burns."}),
]
STATUSES = [
    {FIRST: "ok", SECOND: "ok"},
    {FIRST: "ok", SECOND: "truncated"},
    {FIRST: "ok", SECOND: "empty"},
    {FIRST: "ok"},
]
END, START = 290, 0
LENGTHS = st.tuples(st.integers(1, 40), st.integers(1, 40))


def row(number: int, **other: object) -> dict:
    """A row as ``parse-rationales`` writes it."""
    question, choices, text, rationales = ROWS[number]
    label = "abc"[choices.index(text)]
    made = {"question": question, "choices": choices, "answer": {"label": label, "text": text}}
    return made | {"rationales": rationales, "status": STATUSES[number]} | other


@pytest.fixture
def data(tmp_path) -> str:
    """The four rows in a file."""
    return write_jsonl(tmp_path / "rows.jsonl", [row(number) for number in range(4)])


def t5(**other: object) -> T5ForConditionalGeneration:
    """T5's layers with random weights that are large enough for differences to show, and no dropout."""
    torch.manual_seed(3)
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": 300}
    settings = {"dropout_rate": 0.0, "decoder_start_token_id": START, "eos_token_id": END, "pad_token_id": 0}
    return T5ForConditionalGeneration(T5Config(**{**sizes, **settings, **other}))


def pieces(path: str, kept=("ok",), max_length=None, truncation="error", parts=("answer", FIRST, SECOND)):
    """The rows of a file as an encoder-decoder is given them."""
    encoder = PairTaskEncoder(ToyTokenizer(), END, START, max_length, truncation)
    return encode_tasks(read_rows([str(path)], kept), dict.fromkeys(parts, 1.0), encoder)


def plain_losses(model, data, items) -> list[torch.Tensor]:
    """Each part's loss by ``transformers`` alone, over texts that are filled up to one length."""
    found = []
    for part in range(len(data.parts)):
        some = [piece for item in items for piece in data.items[item] if piece.part == part]
        if not some:
            continue
        filled = [
            torch.nn.utils.rnn.pad_sequence(
                [torch.from_numpy(getattr(piece, name)).long() for piece in some],
                batch_first=True,
                padding_value=value,
            )
            for name, value in (("prompt", 0), ("target", -100))
        ]
        lengths = torch.tensor([piece.prompt.size for piece in some])
        mask = (torch.arange(filled[0].shape[1]) < lengths[:, None]).long()
        found.append(model(input_ids=filled[0], attention_mask=mask, labels=filled[1]).loss)
    return found


def own_losses(model, losses, data, items) -> list[torch.Tensor]:
    """Each part's mean loss by the objective, out of one forward pass."""
    batch = data.batch(items)
    sums = part_sums(data.parts, losses, model, batch.tensors)
    return [value / batch.counts[name] for name, value in sums.items()]


@pytest.mark.parametrize("gated", [False, True], ids=["t5", "flan-t5"])
def test_loss_and_gradients_are_those_of_three_plain_passes(data, gated):
    """The claim of the objective: one pass without padding is three padded ones of plain transformers."""
    other = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False} if gated else {}
    plain, own = t5(**other), t5(**other)
    losses = pairs_for(own, 0)
    assert isinstance(losses, PackedPairs)
    made = pieces(data, kept=("ok", "truncated"))
    weights = (1.0, 2.0, 0.5)
    expected, found = plain_losses(plain, made, range(4)), own_losses(own, losses, made, range(4))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    sum(w * each for w, each in zip(weights, expected, strict=True)).backward()
    sum(w * each for w, each in zip(weights, found, strict=True)).backward()
    for (name, one), (_, other) in zip(plain.named_parameters(), own.named_parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-6, msg=name)


@given(lengths=st.lists(LENGTHS, min_size=1, max_size=5), seed=st.integers(0, 9))
@settings(max_examples=settings().max_examples // 3)  # each runs a model
def test_texts_in_one_row_do_not_see_each_other(lengths, seed):
    """No padding, no leak: the logits of every pair in one row are those that it has alone."""
    model = t5()
    losses, generator = pairs_for(model, 0), torch.Generator().manual_seed(seed)

    def texts(place: int) -> list[torch.Tensor]:
        return [torch.randint(1, 299, (each[place],), generator=generator) for each in lengths]

    def bounds(some: list[torch.Tensor]) -> torch.Tensor:
        return torch.tensor([0, *np.cumsum([each.shape[0] for each in some])])

    questions, shifted = texts(0), texts(1)
    tensors = {"questions": torch.cat(questions), "question_bounds": bounds(questions)}
    tensors |= {"shifted": torch.cat(shifted), "bounds": bounds(shifted)}
    with torch.no_grad():
        found = model.lm_head(losses.hidden(model, tensors))
        plain = t5()
        alone = [
            plain(input_ids=question[None], decoder_input_ids=said[None]).logits[0]
            for question, said in zip(questions, shifted, strict=True)
        ]
    torch.testing.assert_close(found, torch.cat(alone), rtol=1e-5, atol=1e-5)


def test_other_encoder_decoders_are_given_padded_texts(data):
    """A class that is built otherwise than T5 has the same loss, by its own forward pass."""
    torch.manual_seed(3)
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
    more = {"decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "vocab_size": 300}
    config = BartConfig(**sizes, **more, dropout=0.0, pad_token_id=0, decoder_start_token_id=START)
    model = BartForConditionalGeneration(config).eval()
    losses = pairs_for(model, 0)
    assert isinstance(losses, PaddedPairs)
    made = pieces(data)
    expected = plain_losses(model, made, range(4))
    torch.testing.assert_close(own_losses(model, losses, made, range(4)), expected, rtol=1e-5, atol=1e-5)


def test_gradient_checkpointing_changes_no_gradient(data):
    """The biases of texts reach the layers that are computed again."""
    grads = []
    for checkpointing in (False, True):
        model = t5().train()
        losses = pairs_for(model, 0)
        if checkpointing:
            Student(model, ToyTokenizer(), chat_format_of("llama3"), "sdpa").enable_gradient_checkpointing()
        sum(own_losses(model, losses, pieces(data), range(4))).backward()
        grads.append([each.grad for each in model.parameters()])
    torch.testing.assert_close(*grads)


def test_a_decoder_learns_the_same_parts_as_chat_rows(tmp_path):
    """Decoders: each part's loss is that of its chat rows alone, by transformers."""
    path = write_jsonl(tmp_path / "rows.jsonl", [row(0), row(3)])
    encoder = ChatTaskEncoder(ToyTokenizer(), chat_format_of("llama3"), 256, "error")
    parts = dict.fromkeys(("answer", FIRST, SECOND), 1.0)
    made = encode_tasks(read_rows([str(path)], ("ok",)), parts, encoder)
    plain = tiny_model.llama(vocab_size=512, max_position_embeddings=512)
    own = copy.deepcopy(plain)
    use_packed_attention(own)
    found = own_losses(own, ChatLosses(OutputLayer(own)), made, [0, 1])
    for part, value in enumerate(found):
        total, tokens = 0.0, 0
        for piece in [each for item in made.items for each in item if each.part == part]:
            ids = torch.from_numpy(np.concatenate([piece.prompt, piece.target])).long()[None]
            labels = ids.clone()
            labels[:, : piece.prompt.size] = -100
            total += plain(input_ids=ids, labels=labels).loss.item() * piece.target.size
            tokens += piece.target.size
        assert value.item() == pytest.approx(total / tokens, abs=1e-5)


def test_what_a_row_lacks_contributes_nothing(data):
    """Missing rationales, and those of a status that is not kept, count no token and are accounted for."""
    made = pieces(data)
    assert [len(item) for item in made.items] == [3, 2, 2, 2]
    ledger = made.part_ledgers[SECOND].to_json()
    reasons = {"status: truncated": 1, "status: empty": 1, "missing": 1}
    assert ledger == {"in": 4, "out": 1, "dropped": reasons, "failed": {}}
    batch = made.batch([1, 2])
    assert batch.counts[SECOND] == 0
    expected = dict.fromkeys(made.parts, 0)
    for piece in made.items[1] + made.items[2]:
        expected[made.parts[piece.part]] += piece.target.size
    assert batch.counts == expected
    model = t5()
    sums = part_sums(made.parts, pairs_for(model, 0), model, batch.tensors)
    assert set(sums) == {"answer", FIRST}


def test_steps_leave_out_what_is_not_learned(data):
    """A part of weight 0 is not in training batches, unless its rows have nothing else; it is measured."""
    made = pieces(data)
    everything = made.batch([0, 1]).counts
    assert all(everything.values())
    made.weights, made.learned_only = {"answer": 1.0, FIRST: 0.0, SECOND: 1.0}, True
    assert made.batch([0, 1]).counts == everything | {FIRST: 0}
    made.weights = {"answer": 0.0, FIRST: 0.0, SECOND: 1.0}
    assert made.batch([1]).counts[SECOND] == 0 < made.batch([1]).counts["answer"]


def test_wording_of_questions_and_prefixes():
    """The student is asked as TinyLLM's is, and says the answer's text."""
    example = Example("Which?", "choice", choices=("tin", "wool"), answer="tin", answer_label="a")
    assert question_of(example) == "Which?\nAnswer Choices:\n(a) tin\n(b) wool"
    assert question_of(Example("2+2?", "math", context="Sums.", answer="4")) == "Sums.\n2+2?"
    assert [prefix_of(part) for part in range(4)] == [
        "predict: ",
        "explain: ",
        "rationale: ",
        "rationale 3: ",
    ]


def test_texts_end_as_t5_ends_them(data):
    """Prompts and targets end with the token that ends a text, and the decoder starts with its own."""
    made = pieces(data)
    piece = made.items[0][0]
    words = ToyTokenizer()
    assert (
        words.decode(piece.prompt[:-1].tolist())
        == "predict: Which is blue?\nAnswer Choices:\n(a) grass\n(b) sky"
    )
    assert words.decode(piece.target[:-1].tolist()) == "sky"
    assert piece.prompt[-1] == piece.target[-1] == END
    tensors = made.batch([0]).tensors
    first = int(tensors["bounds"][1])
    assert tensors["shifted"][:first].tolist() == [START, *piece.target[:-1].tolist()]


@pytest.mark.parametrize(("truncation", "kept"), [("drop", 3), ("truncate", 4)])
def test_long_texts_are_counted(data, truncation, kept):
    """A text over --max-length is left out of its part, or cut, and counted either way."""
    made = pieces(data, max_length=34, truncation=truncation, parts=("answer", FIRST))
    assert made.part_ledgers[FIRST].rows_in == 4
    for part in made.parts:
        made.part_ledgers[part].check()
    longest = max(max(p.prompt.size, p.target.size) for item in made.items for p in item) if made.items else 0
    assert longest <= 34
    if truncation == "truncate":
        assert made.encoder.cut > 0
        assert len(made) == kept
    else:
        assert made.part_ledgers[FIRST].dropped["too many tokens"] == 4
        assert made.ledger.dropped["nothing to say"] == 4


def test_a_cut_target_has_no_end(tmp_path):
    """A target that is cut does not teach to stop in the middle."""
    path = write_jsonl(tmp_path / "rows.jsonl", [row(2)])
    made = pieces(path, max_length=20, truncation="truncate", parts=("answer", FIRST))
    answer, rationale = made.items[0]
    assert answer.prompt.size == 20
    assert answer.prompt[-1] == END
    assert answer.target[-1] == END
    assert rationale.target.size == 20
    assert rationale.target[-1] != END


def test_a_long_text_is_an_error_with_its_row(data):
    """By default nothing is cut or left out for its length."""
    with pytest.raises(
        InputError, match=r"rows\.jsonl:1: answer: too many tokens: found \d+ in the question"
    ):
        pieces(data, max_length=34)


def test_weights_by_name():
    """--gamma, --alpha, --beta and --teacher-weight end up where they belong."""
    options = TrainOptions(gamma=0.5, alpha=2.0, teacher_weights={"c": 3.0})
    assert weights_of(options, ["a", "b", "c"]) == {"answer": 0.5, "a": 2.0, "b": 1.0, "c": 3.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teacher_weights": {"gpt": 1.0}}, "--teacher-weight gpt: no such teacher in the data; it has a"),
        ({"beta": 1.0}, "--beta is the second teacher's weight; the data's teachers: a"),
        ({"alpha": 1.0, "teacher_weights": {"a": 2.0}}, "--alpha and --teacher-weight both weigh a"),
        ({"gamma": 0.0, "alpha": 0.0}, "every weight is 0"),
    ],
)
def test_weights_that_cannot_be(options, message):
    """A weight for nobody is an error that says who there is."""
    with pytest.raises(UsageError, match=message):
        weights_of(TrainOptions(**options), ["a"])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"messages": []}, "missing field 'question'"),
        (row(0, rationales=["x"]), "field 'rationales' is not an object of texts"),
        (row(0, status="ok"), "field 'status' is not an object"),
        (row(0, answer="wood"), "the answer is none of the choices"),
    ],
)
def test_bad_rows_are_named(tmp_path, bad, message):
    """A row of the wrong kind stops the run before training, with its place."""
    path = write_jsonl(tmp_path / "rows.jsonl", [row(0), bad])
    with pytest.raises(InputError, match=rf"rows\.jsonl:2: {message}"):
        read_rows([str(path)], ("ok",))


def test_a_run_from_end_to_end(tmp_path, monkeypatch):
    """The parts of the loss fall; records hold ledgers, a sample and how many answers are right."""
    monkeypatch.setattr(Student, "save", lambda self, folder: self.model.save_pretrained(folder))
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    monkeypatch.setitem(loading._T5, "t5-tiny", sizes)
    path = write_jsonl(tmp_path / "rows.jsonl", [row(number) for number in range(4)] * 4)
    options = TrainOptions(model="t5-tiny", steps=12, batch_size=4, learning_rate=0.01, save_every=0)
    done = train(path, path, tmp_path / "run", options=options)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    before, after = [line for line in lines if "eval_loss" in line]
    for name in ("answer", FIRST, SECOND):
        assert after[f"eval_loss_{name}"] < before[f"eval_loss_{name}"]
    assert any(f"loss_{FIRST}" in line for line in lines)
    assert done.objective == "rationale"
    assert done.results["sample"]["prompt"].startswith("predict: Which is blue?")
    assert done.results["metrics"]["answers"] == 16
    facts = json.loads((tmp_path / "run" / "facts.json").read_text())
    assert facts["parts"][SECOND]["train"]["out"] == 8
    assert facts["parts"][SECOND]["prefix"] == "rationale: "
    assert T5ForConditionalGeneration.from_pretrained(tmp_path / "run").config.eos_token_id == 2


def test_statuses_that_cannot_be_kept(data, tmp_path):
    """A status without a text to learn is an error that says which there are."""
    with pytest.raises(UsageError, match="--keep-status empty: a rationale with a text is one of ok"):
        train(data, output=tmp_path / "run", options=TrainOptions(model="t5-tiny", keep_status=("empty",)))
