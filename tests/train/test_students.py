"""Students in and out: what shards decide about them, and what loads once they are saved."""

import json
from dataclasses import replace
from hashlib import sha256

import pytest
import torch

from dataprep.core.errors import FileError, InputError, UsageError
from dataprep.evaluate.evaluator import evaluate_file
from dataprep.evaluate.settings import Settings
from dataprep.tokens.tokenize import tokenize_files
from dataprep.train.layers.packed_attention import document_inputs, use_packed_attention
from dataprep.train.options import TrainOptions
from dataprep.train.run import train
from tests.students import llama_config, rows, write_model, write_rows


def options(place, **settings):
    """Options for two steps."""
    return TrainOptions(**{"model": str(place / "model"), "steps": 2, "save_every": 0, **settings})


def chatty(place):
    """Options for two steps on rows in Llama 3's chat format."""
    return options(place, tokenizer=str(place / "tokenizer.json"), chat_format="llama3")


def test_shards_decide_the_layout(place, tmp_path):
    """A student of ChatML shards has a ChatML template; asking for another one is refused."""
    tokenizer = str(place / "tokenizer.json")
    tokenize_files(
        [str(place / "train.jsonl")], tmp_path / "shards", tokenizer=tokenizer, chat_format="chatml"
    )
    train(tmp_path / "shards", place / "eval.jsonl", tmp_path / "a", options=options(place))
    assert "<|im_start|>" in (tmp_path / "a" / "chat_template.jinja").read_text()
    with pytest.raises(
        UsageError, match=r"shards: made in the chat format chatml, and the student's is llama3"
    ):
        train(tmp_path / "shards", (), tmp_path / "b", options=options(place, chat_format="llama3"))
    tokenize_files([str(place / "eval.jsonl")], tmp_path / "held", tokenizer=tokenizer, chat_format="llama3")
    with pytest.raises(
        UsageError, match=r"held: made in the chat format llama3, and the student's is chatml"
    ):
        train(tmp_path / "shards", tmp_path / "held", tmp_path / "c", options=options(place))


def test_packed_attention_may_be_asked_for_twice():
    """A model that attends inside documents already stays as it is, and gives the same numbers."""
    from transformers import LlamaForCausalLM

    torch.manual_seed(1)
    model = LlamaForCausalLM(llama_config()).eval()
    inputs = document_inputs(torch.arange(9), torch.tensor([0, 4, 9], dtype=torch.int32))
    use_packed_attention(model)
    first = model(**inputs).logits
    use_packed_attention(model)
    assert torch.equal(model(**inputs).logits, first)


@pytest.mark.parametrize("there", [True, False])
def test_an_error_before_training_leaves_nothing(place, tmp_path, there):
    """The same command works once the data are mended: no half-begun run is in the way of it."""
    long = rows(3)
    long[1]["messages"][0]["content"] = "one two " * 200
    write_rows(tmp_path / "train.jsonl", long)
    if there:
        (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match=r"train\.jsonl:2"):
        train(tmp_path / "train.jsonl", (), tmp_path / "a", options=chatty(place))
    assert not (tmp_path / "a").exists()
    write_rows(tmp_path / "train.jsonl", rows(3))
    assert train(tmp_path / "train.jsonl", (), tmp_path / "a", options=chatty(place)).results["steps"] == 2


def test_held_out_rows_are_looked_at_first(place, tmp_path):
    """A mistyped `--eval`, or rows of another kind in it, are said before the training data are tokenized."""
    told = []
    with pytest.raises(FileError, match="missing"):
        train(place / "train.jsonl", "missing.jsonl", tmp_path / "a", options=chatty(place), log=told.append)
    write_rows(tmp_path / "soft.jsonl", [{"text": "one", "label": "a"}])
    with pytest.raises(InputError, match=r"its rows are for soft-label, those of .* for sft"):
        train(place / "train.jsonl", tmp_path / "soft.jsonl", tmp_path / "a", options=chatty(place))
    assert not told


def test_resuming_without_a_run_begins_one(place, tmp_path, monkeypatch):
    """`--resume` without a directory: the newest run where there is one, else a new one."""
    monkeypatch.chdir(tmp_path)
    first = train(place / "train.jsonl", options=chatty(place), resume=True)
    again = train(place / "train.jsonl", options=chatty(place), resume=True)
    assert first.path == again.path
    assert first.path.parent.name == "runs"


def rationale_rows(path):
    """Questions with an answer and a teacher's rationale."""
    found = [
        {
            "question": each["messages"][0]["content"],
            "answer": "two",
            "rationales": {"one": "since it is two"},
        }
        for each in rows(8)
    ]
    return write_rows(path, found)


@pytest.mark.medium
@pytest.mark.sampled(2)
@pytest.mark.parametrize("own", [True, False])
def test_a_t5_student_ends_texts_as_t5_does(place, tmp_path, own):
    """AutoTokenizer puts </s> behind a text and has no chat template; the model stops at the same token."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    data = rationale_rows(tmp_path / "rationales.jsonl")
    given = {} if own else {"tokenizer": str(place / "tokenizer.json")}
    train(data, (), tmp_path / "a", options=TrainOptions(model="t5-tiny", steps=1, save_every=0, **given))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "a")
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "a")
    ids = tokenizer("two")["input_ids"]
    assert ids[-1] == tokenizer.eos_token_id == model.config.eos_token_id
    assert model.generation_config.eos_token_id in (ids[-1], [ids[-1]])
    assert ids[:-1] == tokenizer("two", add_special_tokens=False)["input_ids"]
    assert ids[-1] not in ids[:-1]
    assert tokenizer.eos_token == ("</s>" if own else tokenizer.decode([ids[-1]]))
    assert not tokenizer.chat_template
    again = train(data, (), tmp_path / "b", options=TrainOptions(model=str(tmp_path / "a"), steps=1))
    assert again.results["loss_last"] < again.results["loss_first"] * 1.01


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gamma": 2.0}, "--gamma is an option of rationale, and this is sft: leave it out"),
        ({"teacher_weights": {"a": 1.0}}, "--teacher-weight is an option of rationale"),
        ({"alpha": 0.5}, "--alpha is an option of rationale and soft-label"),
        ({"temperature": 3.0}, "--temperature is an option of distillation and soft-label"),
    ],
)
def test_options_of_another_objective_are_refused(place, tmp_path, settings, message):
    """An option that would do nothing is never taken in silence."""
    with pytest.raises(UsageError, match=message):
        train(place / "train.jsonl", (), tmp_path / "a", options=options(place, **settings))


def test_an_answer_may_hold_ids_that_no_token_has(place, tmp_path):
    """A model with more rows than its tokenizer has tokens says them: it is saved all the same."""
    data = rationale_rows(tmp_path / "rationales.jsonl")
    weights = write_model(tmp_path / "model", vocab_size=4000)
    train(data, data, tmp_path / "a", options=replace(chatty(place), model=weights))
    assert (tmp_path / "a" / "config.json").is_file()


def test_an_encoder_decoder_is_trained_for_quantization(tmp_path):
    """`--qat` compares the losses of T5 students too, each computed as it was trained."""
    pytest.importorskip("torchao")
    data = rationale_rows(tmp_path / "rationales.jsonl")
    chosen = TrainOptions(model="t5-tiny", steps=2, save_every=0, qat="int4-weight")
    found = train(data, data, tmp_path / "a", options=chosen).results
    losses = found["quantization"]
    assert losses["full_precision"] == pytest.approx(losses["quantization_aware"], rel=0.1)
    assert (tmp_path / "a" / "quantized" / "config.json").is_file()


@pytest.mark.parametrize("name", ["llama3", "chatml"])
def test_evaluate_finds_the_loss_that_the_trainer_measured(place, tmp_path, name):
    """`dataprep evaluate --metric loss` reads the saved student as anyone would: same rows, same loss."""
    chosen = replace(chatty(place), chat_format=name, learning_rate=0.01, steps=6)
    done = train(place / "train.jsonl", place / "eval.jsonl", tmp_path / "a", options=chosen)
    found = evaluate_file(place / "eval.jsonl", model=done.path, settings=Settings(metric="loss"))
    assert found.results[0].figures[0].value == pytest.approx(done.results["eval_loss"], abs=1e-4)
    assert done.results["eval_loss"] < done.results["eval_loss_before"]


@pytest.mark.parametrize(("every", "said"), [(2, "continues after step 2"), (0, "starts again")])
def test_an_interrupted_run_says_how_to_go_on(place, tmp_path, every, said):
    """Ctrl-C leaves no student, and a sentence that names the directory and the step."""
    told = []

    def on_metrics(line):
        if line.get("step") == 3:
            raise KeyboardInterrupt

    chosen = replace(chatty(place), steps=5, save_every=every)
    with pytest.raises(KeyboardInterrupt):
        train(
            place / "train.jsonl", (), tmp_path / "a", options=chosen, on_metrics=on_metrics, log=told.append
        )
    assert told[-1].startswith(f"interrupted: the same command with -o {tmp_path / 'a'} --resume {said}")
    assert not (tmp_path / "a" / "config.json").exists()


def test_a_workspace_gets_the_runs(run, tmp_path):
    """`--workspace DIR` reads DIR's merged files and writes to DIR's runs, wherever it is called."""
    (tmp_path / "space" / "mergedata").mkdir(parents=True)
    for name, seed in (("train", 1), ("test", 2)):
        write_rows(tmp_path / "space" / "mergedata" / f"{name}.jsonl", rows(4, seed=seed))
    done = run("train", "--workspace", "space", "--steps", 1)
    assert done.code == 0, done.err
    assert "evaluation loss" in done.err
    assert len(list((tmp_path / "space" / "runs").glob("*/config.json"))) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_compiled_run_is_the_same_run(place, run_process, tmp_path):
    """`--compile` changes no loss, is not compiled anew for each batch's lengths, and writes no warnings."""
    flags = ("--model", place / "model", "--tokenizer", place / "tokenizer.json", "--chat-format", "llama3")
    flags += ("--eval", place / "eval.jsonl", "--steps", 4, "--batch-size", 4)
    lines = {}
    for name, more in (("plain", ()), ("compiled", ("--compile",))):
        done = run_process("train", place / "train.jsonl", "-o", name, *flags, *more, timeout=300)
        assert done.code == 0, done.err
        assert "torch" not in done.err
        found = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        lines[name] = [json.loads(line) for line in found]
    for one, other in zip(lines["plain"], lines["compiled"], strict=True):
        for key in {"loss", "eval_loss"} & one.keys():
            assert one[key] == pytest.approx(other[key], abs=1e-4)
    seconds = [line["seconds"] for line in lines["compiled"] if "loss" in line]
    assert sum(seconds[1:]) < seconds[0]


def test_the_card_names_data_options_and_results(place, tmp_path):
    """Whoever finds a student sees what it was made of: digests, the rate in use, tokenizer, losses."""
    done = train(place / "train.jsonl", place / "eval.jsonl", tmp_path / "a", options=chatty(place))
    card = (tmp_path / "a" / "README.md").read_text()
    for name, count in (("train", 40), ("eval", 10)):
        digest = sha256((place / f"{name}.jsonl").read_bytes()).hexdigest()
        assert f"| {name} | {name}.jsonl | {count} | `{digest}` |" in card
    facts = json.loads((tmp_path / "a" / "facts.json").read_text())
    assert f"| tokenizer's fingerprint | {facts['tokenizer']['fingerprint']} |" in card
    assert "| chat format of conversations | llama3 |" in card
    assert "| learning rate | 2e-05 |" in card
    assert f"| eval loss | {done.results['eval_loss']:.6g} |" in card
    flags = [name.replace("_", " ") for name in TrainOptions().to_json()]
    assert all(f"| {flag} |" in card for flag in flags)
