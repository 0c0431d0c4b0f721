"""Quantization-aware training: what is quantized, what is measured, what is saved and how it loads."""

import random
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM

from dataprep.core.errors import MissingDependencyError, UsageError
from dataprep.core.optional import quiet_torchao
from dataprep.train import quantization as quantized
from dataprep.train.objectives.sft import SftObjective
from dataprep.train.options import TrainOptions
from dataprep.train.quantization import mean_loss
from dataprep.train.run import train
from tests.students import WORDS, llama_config, unfinish, write_rows

with quiet_torchao():
    pytest.importorskip("torchao")
from transformers import LlamaForCausalLM

SIZES = {"hidden_size": 32, "intermediate_size": 64, "tie_word_embeddings": True}


def run(place, output, *, resume=False, held_out=("eval.jsonl",), **settings):
    """A run in this process."""
    given = {
        "model": str(place / "wide"),
        "tokenizer": str(place / "tokenizer.json"),
        "chat_format": "llama3",
    }
    given |= {"learning_rate": 0.01, "steps": 6, "save_every": 0, "qat": "int8-dynamic-int4", "batch_size": 4}
    options = TrainOptions(**{**given, **settings})
    others = [place / each for each in held_out]
    return train(place / "train.jsonl", others, output, options=options, resume=resume).results


def logits(model):
    """What a model says of a few tokens."""
    with torch.no_grad():
        return model.eval()(torch.arange(20)[None]).logits


@pytest.mark.parametrize("name", ["int8-dynamic-int4", "int4-weight"])
def test_computing_as_if_quantized_is_computing_quantized(name):
    """Training sees what the quantized model computes; embeddings and output layer stay as they are."""
    torch.manual_seed(3)
    model, config = LlamaForCausalLM(llama_config(**SIZES)), quantized.scheme_of(name)
    plain = logits(model)
    quantized.transform(model, config, "prepare")
    as_if = logits(model)
    assert type(model.lm_head) is nn.Linear
    assert model.lm_head.weight is model.model.embed_tokens.weight
    model(torch.arange(20)[None]).logits.sum().backward()
    assert all(each.grad is not None for each in model.parameters())
    quantized.transform(model, config, "convert")
    torch.testing.assert_close(logits(model), as_if)
    assert (as_if - plain).abs().max() > 1e-4
    assert model.lm_head.weight is model.model.embed_tokens.weight


@pytest.mark.medium
@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["int8-dynamic-int4", "int4-weight"])
def test_a_run_saves_both_students_and_compares_them(place, tmp_path, name):
    """Plain weights, quantized weights and the first student load with transformers, with the losses told."""
    results = run(place, tmp_path / "run", qat=name)
    found = results["quantization"]
    assert found["quantization_aware"] == pytest.approx(results["eval_loss"], abs=1e-5)
    share = (found["post_training"] - found["quantization_aware"]) / (
        found["post_training"] - found["full_precision"]
    )
    assert found["recovered"] is None or found["recovered"] == pytest.approx(share)
    student = AutoModelForCausalLM.from_pretrained(tmp_path / "run")
    with quiet_torchao():
        small = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "quantized")
    weight = small.model.layers[0].mlp.up_proj.weight
    assert (type(weight).__name__, weight.target_dtype) == ("IntxUnpackedToInt8Tensor", torch.int4)
    quantized.transform(student, quantized.scheme_of(name))
    torch.testing.assert_close(logits(small), logits(student))


@pytest.mark.slow
def test_the_first_student_is_the_one_without(place, tmp_path):
    """The comparison is with the run that leaves --qat out, and the first half is both students'."""
    run(place, tmp_path / "qat")
    run(place, tmp_path / "without", qat=None)
    first = load_file(tmp_path / "qat" / "full-precision" / "model.safetensors")
    without = load_file(tmp_path / "without" / "model.safetensors")
    assert all(torch.equal(first[name], without[name]) for name in without)
    lines = [
        (folder / "metrics.jsonl").read_text().splitlines()
        for folder in (tmp_path / "qat", tmp_path / "qat" / "full-precision")
    ]
    assert len(lines[0]) == len(lines[1])
    assert lines[0][:4] == lines[1][:4]
    assert lines[0][4] != lines[1][4]


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_weights(place, tmp_path):
    """Whichever student was being trained, --resume goes on."""
    kept = {"save_every": 2, "keep_checkpoints": True}
    run(place, tmp_path / "whole", **kept)
    first = load_file(tmp_path / "whole" / "model.safetensors")
    unfinish(tmp_path / "whole")
    (tmp_path / "whole" / "checkpoints" / "step-00000004.pt").unlink()
    run(place, tmp_path / "whole", **kept, resume=True)
    assert all(
        torch.equal(first[name], value)
        for name, value in load_file(tmp_path / "whole" / "model.safetensors").items()
    )
    for file in ("config.json", "model.safetensors"):
        (tmp_path / "whole" / "full-precision" / file).unlink()
    (tmp_path / "whole" / "results.json").unlink()
    for folder in (tmp_path / "whole", tmp_path / "whole" / "full-precision"):
        for file in (folder / "checkpoints").iterdir():
            file.unlink()
    run(place, tmp_path / "whole", **kept, resume=True)
    assert all(
        torch.equal(first[name], value)
        for name, value in load_file(tmp_path / "whole" / "model.safetensors").items()
    )


def sorting(count, seed):
    """Rows that ask for some words in the order of the alphabet, which a small student learns to the end."""
    made = random.Random(seed)
    drawn = [made.choices(WORDS, k=made.randint(3, 6)) for _ in range(count)]
    return [
        {
            "messages": [
                {"role": "user", "content": " ".join(words)},
                {"role": "assistant", "content": " ".join(sorted(words))},
            ]
        }
        for words in drawn
    ]


@pytest.mark.slow
def test_half_of_the_loss_is_recovered(place, tmp_path):
    """Where quantizing after training costs something, training for it gives back most of it."""
    write_rows(tmp_path / "train.jsonl", sorting(6000, 1))
    write_rows(tmp_path / "eval.jsonl", sorting(150, 2))
    options = TrainOptions(
        model=str(place / "wide"),
        tokenizer=str(place / "tokenizer.json"),
        chat_format="llama3",
        steps=600,
        batch_size=16,
        learning_rate=0.01,
        save_every=0,
        qat="int8-dynamic-int4",
    )
    results = train(
        tmp_path / "train.jsonl", tmp_path / "eval.jsonl", tmp_path / "run", options=options
    ).results
    found = results["quantization"]
    assert found["post_training"] > 1.02 * found["full_precision"]
    assert found["recovered"] > 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lora": 4}, "choose one"),
        ({"held_out": ()}, "--eval"),
        ({"steps": 1}, "2 steps"),
        ({"fsdp": True}, "--fsdp"),
    ],
)
def test_what_does_not_go_together_is_refused(place, tmp_path, settings, message):
    """An option that cannot be served is an error before training."""
    with pytest.raises(UsageError, match=message):
        run(place, tmp_path / "run", **settings)


def test_a_layer_that_groups_do_not_divide_is_named(place, tmp_path):
    """A width that cannot be quantized is said with the layer's name."""
    with pytest.raises(UsageError, match="16 inputs"):
        run(place, tmp_path / "run", model=str(place / "model"))


def test_without_torchao_the_message_names_the_extra(monkeypatch):
    """A missing package names the command that installs it."""
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(MissingDependencyError, match=r"dataprep\[qat\]"):
        quantized.scheme_of("int4-weight")


def test_the_mean_loss_does_not_depend_on_batches(place, tmp_path):
    """It is over all tokens of the set."""
    from dataprep.tokens.shards.reading import Shards
    from dataprep.train.objectives.sft import Documents

    run(place, tmp_path / "run", qat=None, steps=1)
    data = Documents(Shards.open(tmp_path / "run" / "tokens" / "eval"))
    torch.manual_seed(3)
    model = LlamaForCausalLM(llama_config(**SIZES))
    objective = SftObjective(SimpleNamespace(model=model), None, None)
    assert mean_loss(objective, model, data, 1) == pytest.approx(
        mean_loss(objective, model, data, 4), abs=1e-2
    )
