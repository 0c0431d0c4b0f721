"""Students in and out: what shards decide about them, and what loads once they are saved."""

import pytest
import torch

from dataprep.errors import FileError, InputError, UsageError
from dataprep.tokens.tokenizing import tokenize_files
from dataprep.train import train
from dataprep.train.options import TrainOptions
from dataprep.train.packed_attention import document_inputs, use_packed_attention
from tests.students import llama_config, rows, write_model, write_rows, write_tokenizer


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Rows, held-out rows, a tokenizer and a model."""
    folder = tmp_path_factory.mktemp("students")
    write_rows(folder / "train.jsonl", rows(16))
    write_rows(folder / "eval.jsonl", rows(4, seed=2))
    write_tokenizer(folder / "tokenizer.json")
    write_model(folder / "model")
    return folder


def options(place, **settings):
    """Options for two steps."""
    return TrainOptions(**{"model": str(place / "model"), "steps": 2, "save_every": 0, **settings})


def chatty(place):
    """Options for two steps on rows in Llama 3's layout."""
    return options(place, tokenizer=str(place / "tokenizer.json"), layout="llama3")


def test_shards_decide_the_layout(place, tmp_path):
    """A student of ChatML shards has a ChatML template; asking for another one is refused."""
    tokenizer = str(place / "tokenizer.json")
    tokenize_files([str(place / "train.jsonl")], tmp_path / "shards", tokenizer=tokenizer, layout="chatml")
    train(tmp_path / "shards", place / "eval.jsonl", tmp_path / "a", options=options(place))
    assert "<|im_start|>" in (tmp_path / "a" / "chat_template.jinja").read_text()
    with pytest.raises(UsageError, match=r"shards: made in the layout chatml, and the student's is llama3"):
        train(tmp_path / "shards", (), tmp_path / "b", options=options(place, layout="llama3"))
    tokenize_files([str(place / "eval.jsonl")], tmp_path / "held", tokenizer=tokenizer, layout="llama3")
    with pytest.raises(UsageError, match=r"held: made in the layout llama3, and the student's is chatml"):
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
        train(place / "train.jsonl", "missing.jsonl", tmp_path / "a", options=chatty(place), tell=told.append)
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
