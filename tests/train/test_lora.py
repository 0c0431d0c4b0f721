"""LoRA: what is trained, what is saved, and that merging changes nothing."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from dataprep.core.errors import MissingDependencyError, UsageError
from dataprep.core.optional import quiet_torchao
from dataprep.train.lora import add_lora
from dataprep.train.options import TrainOptions
from dataprep.train.run import train
from tests.students import unfinish

pytest.importorskip("peft")
from peft import PeftModel


def run(place, output, *, resume=False, **settings):
    """A run in this process; its results."""
    given = {
        "model": str(place / "model"),
        "tokenizer": str(place / "tokenizer.json"),
        "chat_format": "llama3",
    }
    given |= {
        "learning_rate": 0.02,
        "epochs": None if "steps" in settings else 4,
        "save_every": 0,
        "lora": 4,
        "batch_size": 4,
    }
    options = TrainOptions(**{**given, **settings})
    return train(place / "train.jsonl", place / "eval.jsonl", output, options=options, resume=resume).results


def logits(model):
    """What a model says of a few tokens."""
    with torch.no_grad():
        return model.eval()(torch.arange(20)[None]).logits


def test_the_merged_student_is_the_base_with_its_adapter(place, tmp_path):
    """What is saved loads plainly, and computes what peft computes with the adapter beside it."""
    results = run(place, tmp_path / "run")
    assert results["eval_loss"] < results["eval_loss_before"]
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "run")
    base = AutoModelForCausalLM.from_pretrained(place / "model")
    before = logits(base)
    with quiet_torchao():
        adapted = PeftModel.from_pretrained(base, tmp_path / "run" / "adapter")
    torch.testing.assert_close(logits(merged), logits(adapted), rtol=1e-4, atol=1e-5)
    assert (logits(merged) - before).abs().max() > 1e-3
    names = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors").keys()
    assert {name.split(".")[-3] for name in names} == {
        *("q_proj", "k_proj", "v_proj", "o_proj"),
        *("gate_proj", "up_proj", "down_proj"),
    }
    config = json.loads((tmp_path / "run" / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (4, 8)


def test_only_the_updates_are_trained(place, tmp_path):
    """Embeddings, norms and the output layer come out as they went in."""
    run(place, tmp_path / "run", steps=2)
    before = load_file(place / "model" / "model.safetensors")
    after = load_file(tmp_path / "run" / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("_proj" in name for name in changed)


@pytest.mark.medium
def test_an_interrupted_run_ends_with_the_same_weights(place, tmp_path):
    """A checkpoint holds the updates and the optimizer's state for them."""
    run(place, tmp_path / "whole", steps=6, save_every=3)
    run(place, tmp_path / "parts", steps=6, save_every=3, keep_checkpoints=True)
    unfinish(tmp_path / "parts")
    run(place, tmp_path / "parts", steps=6, save_every=3, resume=True)
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_model_of_another_library_is_refused():
    """The classifier for soft labels is trained whole."""
    with pytest.raises(UsageError, match="leave it out"):
        add_lora(SimpleNamespace(model=torch.nn.Linear(2, 2)), 4)


def test_without_peft_the_message_names_the_extra(monkeypatch):
    """A missing package names the command that installs it."""
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingDependencyError, match=r"dataprep\[lora\]"):
        add_lora(SimpleNamespace(model=torch.nn.Linear(2, 2)), 4)
