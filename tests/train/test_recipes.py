"""The recipe of TinyLLM: what it sets, what wins over it, and training beside plain transformers."""

import json
import re
from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")
pytest.importorskip("transformers", reason="the extra `train` is not installed")

import torch
import transformers

from dataprep.answers.parse import parse_rationale_files
from dataprep.core.errors import UsageError
from dataprep.core.options import to_config
from dataprep.models import loading
from dataprep.tokens.export import save_pretrained
from dataprep.tokens.tokenizers.loading import tokenizer_from
from dataprep.tokens.tokenizers.training import texts_of_files, train_tokenizer
from dataprep.train.options import TrainOptions
from dataprep.train.recipes import describe_recipe
from dataprep.train.run import train
from dataprep.train.trainer import BatchSampler
from tests.helpers import read_jsonl, write_jsonl
from tests.real import DATA, needs
from tests.train.test_rationale import FIRST, SECOND, row

ARC = DATA / "tinyllm" / "arc"
CUE = "Let's think step by step."
PUBLISHED = {  # tiny.py and train_utils.py of the published trainer, and transformers' own defaults
    "max_length": 100, "max_target_length": 256, "truncation": "truncate", "keep_end": True, "cue": True,
    "gamma": 1.0, "learning_rate": 5e-5, "schedule": "linear", "warmup": 0.0, "weight_decay": 0.0,
    "adam_beta2": 0.999, "clip": 1.0, "batch_size": 8, "accumulate": 8, "steps": 10_000, "seed": 0,
}  # fmt: skip


def test_the_recipe_sets_what_the_published_trainer_does():
    """Every value in one place, also through `dataclasses.replace` and the records."""
    options = TrainOptions(recipe="tinyllm")
    assert {name: getattr(options, name) for name in PUBLISHED} == PUBLISHED
    assert options.keep_status == ("all",)
    assert replace(options, model="x") == TrainOptions(recipe="tinyllm", model="x")
    assert TrainOptions(recipe=None) == TrainOptions()
    assert to_config(options)["recipe"] == "tinyllm"
    with pytest.raises(UsageError, match="--recipe gpt: must be one of tinyllm"):
        TrainOptions(recipe="gpt")


def test_what_is_given_wins():
    """Also a value that is the default without the recipe; `epochs` takes the place of its steps."""
    options = TrainOptions(recipe="tinyllm", weight_decay=0.01, epochs=2.0, seed=42)
    assert (options.weight_decay, options.epochs, options.steps, options.seed) == (0.01, 2.0, None, 42)
    assert options.learning_rate == 5e-5
    given = describe_recipe(options)["given"]
    assert given == {"weight_decay": 0.01, "epochs": 2.0, "seed": 42}
    assert TrainOptions(recipe="tinyllm", epochs=None).steps == 10_000


@pytest.fixture
def data(tmp_path):
    """Rows of two teachers in a file; the second one has few whole rationales."""
    return write_jsonl(tmp_path / "rows.jsonl", [row(number) for number in range(4)] * 4)


@pytest.fixture
def tiny_t5(monkeypatch):
    """The preset `t5-tiny`, smaller."""
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    monkeypatch.setitem(loading._T5, "t5-tiny", sizes)


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_t5")
def test_records_name_the_recipe(data, tmp_path, run):
    """The log and the records say what the recipe set and what was given; a resumed run is the same one."""
    flags = ["--recipe", "tinyllm", "--model", "t5-tiny", "--steps", "1", "--learning-rate", "0.001"]
    ran = run("train", data, "-o", "a", *flags)
    assert ran.code == 0, ran.err
    assert "recipe tinyllm, given: --learning-rate 0.001, --steps 1" in ran.err
    assert re.search(r"recipe tinyllm, set: --gamma 1.0, --keep-status all, --cue, --max-length 100", ran.err)
    facts = json.loads((tmp_path / "a" / "facts.json").read_text())
    assert facts["recipe"]["name"] == "tinyllm"
    assert facts["recipe"]["given"] == {"learning_rate": 0.001, "steps": 1}
    assert facts["recipe"]["set"]["accumulate"] == 8
    assert facts["parts"][SECOND]["train"]["out"] == 8, "truncated ones too; one is `nan`, one is not there"
    assert run("train", data, "-o", "a", *flags, "--resume").code == 0
    ran = run("train", "--config", "a/options.toml", "-o", "b")
    assert ran.code == 0, ran.err
    assert json.loads((tmp_path / "b" / "facts.json").read_text())["recipe"] == facts["recipe"]


def test_the_recipe_is_for_rationales(tmp_path):
    """Other objectives refuse it by its name, and decoders what only an encoder-decoder can do."""
    chats = write_jsonl(tmp_path / "chat.jsonl", [{"messages": [{"role": "assistant", "content": "a"}]}])
    with pytest.raises(UsageError, match="--recipe is an option of rationale, and this is sft"):
        train(chats, output=tmp_path / "a", options=TrainOptions(recipe="tinyllm"))
    rationales = write_jsonl(tmp_path / "rows.jsonl", [row(0)])
    options = TrainOptions(recipe="tinyllm", model="llama-tiny")
    with pytest.raises(UsageError, match=r"--recipe tinyllm: for students with an encoder.* llama-tiny"):
        train(rationales, output=tmp_path / "b", options=options)


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_t5")
def test_a_teacher_of_whom_little_is_used_is_a_warning(tmp_path):
    """Less than half of a teacher's rationales: a warning before training names the option; more is none."""
    for given, warned in (({"keep_status": ("ok",)}, True), ({}, False)):
        told = []
        options = TrainOptions(model="t5-tiny", steps=1, save_every=0, **given)
        rows = write_jsonl(tmp_path / "three.jsonl", [row(0), row(1), row(1)])
        done = train(rows, output=tmp_path / str(warned), options=options, log=told.append)
        found = [line for line in told if line.startswith("warning: ")]
        expected = (
            f"warning: {SECOND}: 1 of 3 rationales are used; choose with --keep-status which are, or use "
        )
        assert found == [expected + "all of them with --keep-status all"] * warned
        assert len(done.results.get("warnings", ())) == warned, "the records have it too"


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_t5")
def test_all_questions_are_answered_where_that_is_cheap(data, tmp_path, monkeypatch):
    """More than 200 with a small model; with a large one 200 of them, and the results say of how many."""
    many = write_jsonl(tmp_path / "many.jsonl", [row(number % 4) for number in range(240)])
    options = TrainOptions(model="t5-tiny", steps=1, save_every=0)
    found = train(data, many, tmp_path / "a", options=options).results["metrics"]
    assert (found["answers"], found["answers_of"]) == (240, 240)
    monkeypatch.setattr("dataprep.train.objectives.rationale.ANSWERED_WORK", 1)
    found = train(data, many, tmp_path / "b", options=options).results["metrics"]
    assert (found["answers"], found["answers_of"]) == (200, 240)


# --- an independent implementation


def published_rows(count):
    """Published strings and references as `data_utils.py` reads them, if our texts are the same."""
    references = json.loads((ARC / "arc_train.json").read_text())
    strings = json.loads((ARC / "llm" / "train_CoT_0.json").read_text())
    found = []
    for reference, string in zip(references, strings, strict=False):
        first = string.split("Q:")[0].rstrip().split("Thus, the answer is")[0].rstrip()
        second = string[string.find("llama rationale: ") + len("llama rationale: ") :].strip()
        # A newline follows the cue in three of four strings, else a space or nothing; or there is no cue.
        if first and re.match(rf"{CUE}\n[^\sL]", second):
            choices = "".join(f"\n({'abcd'[n]}) {text}" for n, text in enumerate(reference["choices"]))
            asked = f"{reference['question']}\nAnswer Choices:{choices}"
            found.append((string, reference, asked, (reference["answer"], first, second)))
    return found[:count]


@pytest.fixture(scope="module")
def arc(tmp_path_factory):
    """A folder with labelled rows of arc and a small T5 with a tokenizer, and the rows as published."""
    folder = tmp_path_factory.mktemp("arc")
    rows = published_rows(96)
    (folder / "train.json").write_text(json.dumps([string for string, *_ in rows]))
    (folder / "gold.json").write_text(json.dumps([reference for _, reference, *_ in rows]))
    parse_rationale_files(folder / "train.json", folder / "rows.jsonl", gold=folder / "gold.json")
    content = train_tokenizer(texts_of_files([str(folder / "rows.jsonl")]), 400)
    words = tokenizer_from("words.model", content)
    torch.manual_seed(5)
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0}
    ids = {"decoder_start_token_id": 3, "pad_token_id": 3, "eos_token_id": 2}
    config = transformers.T5Config(vocab_size=400, **sizes, **ids)
    transformers.T5ForConditionalGeneration(config).save_pretrained(folder / "model")
    save_pretrained(words, None, folder / "model", end="</s>")
    return folder, [(asked, targets) for _, _, asked, targets in rows]


def losses_of(model, tokenizer, rows):
    """The three losses by transformers alone, over padded texts that its tokenizer cuts."""
    found = []
    for part, prefix in enumerate(("predict: ", "explain: ", "rationale: ")):
        asked = tokenizer(
            [prefix + asked for asked, _ in rows], max_length=100, truncation=True, padding="max_length",
            return_tensors="pt",
        )  # fmt: skip
        said = tokenizer(
            [targets[part] for _, targets in rows], max_length=256, truncation=True, padding=True,
            return_tensors="pt",
        )  # fmt: skip
        labels = said["input_ids"].masked_fill(said["attention_mask"] == 0, -100)
        inputs = {name: asked[name] for name in ("input_ids", "attention_mask")}
        found.append(model(**inputs, labels=labels).loss)
    return found


@pytest.mark.parametrize(
    ("steps", "given"),
    [
        pytest.param(2, {"accumulate": 2}, marks=pytest.mark.medium),
        pytest.param(50, {"accumulate": 1}, marks=pytest.mark.slow),
    ],
    ids=["2 steps", "50 steps"],
)
@needs("tinyllm")
def test_training_is_that_of_an_independent_implementation(arc, tmp_path, steps, given):
    """The three losses of every step, and the weights at the end."""
    folder, rows = arc
    model = str(folder / "model")
    options = TrainOptions(recipe="tinyllm", model=model, steps=steps, save_every=0, **given)
    done = train(folder / "rows.jsonl", output=tmp_path / "run", options=options)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "model")
    model = transformers.T5ForConditionalGeneration.from_pretrained(folder / "model").train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    lines = [line for line in read_jsonl(tmp_path / "run" / "metrics.jsonl") if "loss" in line]
    assert len(lines) == steps
    with_cut = 0
    size = 8 * given.get("accumulate", 8)
    sampler = BatchSampler((len(rows),), size, size * steps, 0)
    for line, (step, items) in zip(lines, sampler.of_steps(0), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = 5e-5 * (steps - step) / steps
        some = [rows[item] for item in items]
        with_cut += sum(len(tokenizer(targets[2])["input_ids"]) > 256 for _, targets in some)
        losses = losses_of(model, tokenizer, some)
        for name, loss in zip(("answer", FIRST, SECOND), losses, strict=True):
            assert line[f"loss_{name}"] == pytest.approx(loss.item(), rel=1e-4), (step, name)
        optimizer.zero_grad()
        sum(losses).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert with_cut, "no target was cut, so its end was not compared"
    found = transformers.T5ForConditionalGeneration.from_pretrained(done.path).state_dict()
    for name, weights in model.state_dict().items():
        torch.testing.assert_close(found[name], weights, rtol=1e-3, atol=2e-6, msg=name)
