"""The device of a run: threads of small networks, padding of batches, and the share of a GPU's peak."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaForCausalLM

from dataprep.train.hardware.device import Work, computing_with, peak_flops, threads_for
from dataprep.train.hardware.distributed import World
from dataprep.train.objective import by_length
from dataprep.train.objectives.sft import document_batch
from dataprep.train.objectives.soft_label.predicting import predict_files
from dataprep.train.options import TrainOptions
from dataprep.train.run import train
from dataprep.train.trainer import BatchSampler
from tests.helpers import write_jsonl
from tests.students import llama_config
from tests.train.test_soft_label import judged, same, weights
from tests.train.test_trainer import chosen, metrics


def test_a_small_network_computes_with_one_thread(tmp_path):
    """Its bits do not depend on the number of cores; afterwards the caller has as many threads as before."""
    data = write_jsonl(tmp_path / "rows.jsonl", judged())
    options = TrainOptions(steps=3, batch_size=8, save_every=0)
    seen = []
    train(data, (), tmp_path / "one", options=options)
    with computing_with(3):
        train(
            data,
            (),
            tmp_path / "three",
            options=options,
            on_metrics=lambda _: seen.append(torch.get_num_threads()),
        )
        predict_files(tmp_path / "three", [data], tmp_path / "scored.jsonl")
        assert torch.get_num_threads() == 3
    assert seen == [1, 1, 1]
    assert same(weights(tmp_path / "one"), weights(tmp_path / "three"))
    assert json.loads((tmp_path / "three" / "facts.json").read_text())["threads"] == 1
    assert "| threads | 1 |" in (tmp_path / "three" / "README.md").read_text()


def test_a_large_network_keeps_its_threads():
    """Embeddings do not make a network large: they are looked up."""
    with computing_with(3):
        assert threads_for(torch.nn.Embedding(20_000, 128), "cpu") == 1
        assert threads_for(torch.nn.Linear(1000, 1000), "cpu") == 3
        assert threads_for(torch.nn.Linear(10, 10), "cuda") == 3


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=60),
    st.integers(1, 4),
    st.integers(1, 3),
    st.floats(0.5, 3),
)
def test_rows_of_like_length_share_a_step(lengths, batch, processes, epochs):
    """Every epoch still has every row once, and a run that continues at any step takes the same rows."""

    class Rows(list):
        """Padded rows."""

    data = Rows(lengths)
    data.lengths = lengths
    world = World(0, processes, torch.device("cpu"))
    plan = BatchSampler.of(data, TrainOptions(batch_size=batch, epochs=epochs), world)
    steps = list(plan.of_steps(0))
    seen = [item for _, items in steps for item in items]
    for start in range(0, len(seen) - len(lengths) + 1, len(lengths)):
        assert sorted(seen[start : start + len(lengths)]) == list(range(len(lengths)))
    for first in range(plan.steps):
        assert list(plan.of_steps(first)) == steps[first:]


def test_less_padding_with_rows_of_like_length():
    """Of 400 texts in batches of 8, the share of padding falls from a half to about a tenth."""
    lengths = (1 + np.random.default_rng(1).lognormal(3, 0.6, 400)).astype(int).tolist()
    data = type("Rows", (list,), {"lengths": lengths})(lengths)
    world = World(0, 1, torch.device("cpu"))
    shares = []
    for rows in (lengths, data):
        plan = BatchSampler.of(rows, TrainOptions(batch_size=8, epochs=3), world)
        batches = [[lengths[item] for item in items] for _, items in plan.of_steps(0)]
        padded = sum(max(batch) * len(batch) for batch in batches)
        shares.append(1 - sum(map(sum, batches)) / padded)
    assert shares[0] == pytest.approx(0.51, abs=0.02)
    assert shares[1] == pytest.approx(0.11, abs=0.03)
    # Not the same rows together in every epoch.
    epochs = [{frozenset(items) for step, items in plan.of_steps(0) if step // 50 == n} for n in range(3)]
    assert len(epochs[0] & epochs[1]) == 0


def test_items_by_length_keep_their_order_among_equals():
    """Evaluation reads rows of like length together, in one order."""
    assert by_length([4, 2, 0, 1], [5, 1, 5, 9, 5]).tolist() == [1, 4, 2, 0]


@pytest.mark.parametrize("tied", [True, False])
def test_the_work_of_a_step_is_what_torch_counts(tied):
    """Without attention's half that a causal mask hides, which the plain attention computes."""
    torch.manual_seed(1)
    model = LlamaForCausalLM(llama_config(tie_word_embeddings=tied, attn_implementation="eager"))
    length, targets = 24, 10
    mask = np.arange(length) >= length - targets
    batch = document_batch([np.arange(length)], [mask], [np.array([0, length])])
    with FlopCounterMode(display=False) as counter:
        hidden = model.model(batch.tensors["ids"][None]).last_hidden_state[0]
        model.lm_head(hidden[batch.tensors["positions"]]).sum().backward()
    work = Work(model)
    assert counter.get_total_flops() == work.flops(batch.tensors, batch.tokens) + work.pair * length**2


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA H100 PCIe", 756.5e12),
        ("NVIDIA A10G", 70e12),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("Tesla T4", None),
    ],
)
def test_the_peak_of_a_gpu_is_that_of_its_whole_name(name, peak):
    """A name that is longer is another product; one that is unknown has no share."""
    assert peak_flops(name) == peak


def test_metrics_have_the_share_of_the_peak(place, tmp_path, monkeypatch):
    """Of every step, where the peak is known; on the CPU it is not."""
    options = chosen(place, steps=2)
    train(place / "train.jsonl", (), tmp_path / "cpu", options=options)
    assert not any("mfu" in line for line in metrics(tmp_path / "cpu"))
    monkeypatch.setattr(Work, "of", classmethod(lambda cls, model, *_: (cls(model), 1e12)))
    train(place / "train.jsonl", (), tmp_path / "known", options=options)
    assert all(0 < line["mfu"] < 1 for line in metrics(tmp_path / "known"))
