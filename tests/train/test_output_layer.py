"""The loss of trained positions, and attention inside documents, against plain torch and transformers."""

from types import SimpleNamespace

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from dataprep.core.errors import UsageError
from dataprep.train.layers import output_layer
from dataprep.train.layers.output_layer import OutputLayer, cross_entropy_sum
from dataprep.train.layers.packed_attention import NAME, document_inputs, use_packed_attention
from dataprep.train.objectives.sft import SftObjective, document_batch
from tests.students import llama_config

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
COMMON = {"vocab_size": 97, "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0}
ENDS = {"bos_token_id": 1, "eos_token_id": 2}
MODELS = {
    "llama": lambda: transformers.LlamaConfig(**SMALL, **COMMON, **ENDS),
    "llama, tied": lambda: transformers.LlamaConfig(**SMALL, **COMMON, **ENDS, tie_word_embeddings=True),
    "qwen2": lambda: transformers.Qwen2Config(**SMALL, **COMMON, **ENDS),
    "qwen3": lambda: transformers.Qwen3Config(**SMALL, **COMMON, **ENDS, head_dim=8),
    "mistral, a window": lambda: transformers.MistralConfig(**SMALL, **COMMON, **ENDS, sliding_window=4),
    # Longer than the example with which a class is checked, and known to its mask alone.
    "phimoe, a window": lambda: transformers.PhimoeConfig(
        **SMALL, **COMMON, **ENDS, sliding_window=10, num_local_experts=2, num_experts_per_tok=1
    ),
    "gemma2, caps": lambda: transformers.Gemma2Config(**SMALL, **COMMON, **ENDS, head_dim=8),
    "phi3": lambda: transformers.Phi3Config(**SMALL, **COMMON, **ENDS),
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=64, **ENDS
    ),
}
LENGTHS = (1, 9, 3, 14, 2)


def model_of(name):
    """A model of a class, with random weights that differ enough to tell documents apart."""
    torch.manual_seed(0)
    config = MODELS[name]()
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim > 1:
                weights.mul_(5)
    return model


def documents(vocabulary=97):
    """Some documents' ids."""
    torch.manual_seed(1)
    return [torch.randint(3, vocabulary, (length,)) for length in LENGTHS]


@pytest.mark.parametrize("name", MODELS)
def test_documents_in_one_row_have_the_logits_that_they_have_alone(name):
    """Packing changes nothing: attention and positions restart at each document, to 1e-5."""
    model, texts = model_of(name), documents()
    alone = [model(input_ids=text[None]).logits[0] for text in texts]
    use_packed_attention(model)
    bounds = torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0)], dtype=torch.int32)
    packed = model(**document_inputs(torch.cat(texts), bounds), use_cache=False).logits[0]
    torch.testing.assert_close(packed, torch.cat(alone), rtol=1e-5, atol=1e-5)


def test_llamas_attend_by_document_without_a_mask():
    """The usual classes take the fast way, not the one with a mask of all positions."""
    for name in ("llama", "qwen2", "qwen3", "mistral, a window", "phi3"):
        model = model_of(name)
        use_packed_attention(model)
        assert model.config._attn_implementation == NAME, name


def test_a_model_that_mixes_documents_is_refused(monkeypatch):
    """A class whose attention runs over document bounds would learn from other rows: an error, not a run."""
    monkeypatch.setattr("dataprep.train.layers.packed_attention._keeps_apart", lambda *_: False)
    with pytest.raises(UsageError, match="see each other"):
        use_packed_attention(model_of("llama"))


def test_attention_that_depends_on_the_place_in_the_row_is_refused():
    """Llama 4 counts its chunks from the beginning of the row, where another document is."""
    config = transformers.Llama4TextConfig(
        **SMALL, **COMMON, **ENDS, num_local_experts=2, intermediate_size_mlp=48, head_dim=8
    )
    model = transformers.AutoModelForCausalLM.from_config(config)
    with pytest.raises(UsageError, match="Llama4ForCausalLM depends on the place of a token in its row"):
        use_packed_attention(model)


@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_are_those_of_a_padded_batch(name):
    """The sum over trained positions equals transformers' own labels loss on padded rows, gradients too."""
    model, texts = model_of(name), documents()
    masks = [torch.rand(len(text), generator=torch.Generator().manual_seed(4)) < 0.6 for text in texts]
    for mask in masks:
        mask[:1] = False
    rows = nn.utils.rnn.pad_sequence(texts, batch_first=True)
    seen = nn.utils.rnn.pad_sequence([torch.ones_like(text) for text in texts], batch_first=True)
    labels = nn.utils.rnn.pad_sequence(
        [text.masked_fill(~mask, -100) for text, mask in zip(texts, masks, strict=True)], True, -100
    )
    logits = model(input_ids=rows, attention_mask=seen).logits
    plain = functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")
    plain.backward()
    expected = {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
    model.zero_grad()
    use_packed_attention(model)
    batch = document_batch(
        [text.numpy() for text in texts],
        [mask.numpy() for mask in masks],
        [torch.tensor([0, len(text)]).numpy() for text in texts],
    )
    found = SftObjective(SimpleNamespace(model=model), None, None).loss_sums(model, batch.tensors)["tokens"]
    found.backward()
    assert batch.counts["tokens"] == int((labels != -100).sum())
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-4)
    for own, each in model.named_parameters():
        if own in expected:
            torch.testing.assert_close(each.grad, expected[own], rtol=1e-3, atol=1e-4)


@given(
    st.integers(1, 20),
    st.integers(1, 8),
    st.integers(2, 30),
    st.booleans(),
    st.integers(1, 200),
    st.booleans(),
)
def test_chunks_do_not_change_the_loss(positions, width, vocabulary, biased, logits, linear):
    """Whatever the chunks, loss and all gradients are those of one cross-entropy over all positions."""
    torch.manual_seed(positions * width)
    layer = nn.Linear(width, vocabulary, bias=biased)
    if not linear:  # another class of layer goes the general way
        layer = type("Other", (nn.Linear,), {})(width, vocabulary, bias=biased)
    hidden = torch.randn(positions, width, requires_grad=True)
    targets = torch.randint(0, vocabulary, (positions,))
    plain = functional.cross_entropy(layer(hidden), targets, reduction="sum")
    wanted = torch.autograd.grad(plain * 0.7, [hidden, *layer.parameters()])
    before = dict(output_layer.CHUNK_LOGITS)
    output_layer.CHUNK_LOGITS["cpu"] = logits
    try:
        found = cross_entropy_sum(layer, hidden, targets)
        gradients = torch.autograd.grad(found * 0.7, [hidden, *layer.parameters()])
        with torch.no_grad():
            torch.testing.assert_close(cross_entropy_sum(layer, hidden, targets), plain)
    finally:
        output_layer.CHUNK_LOGITS.update(before)
    torch.testing.assert_close(found, plain)
    for own, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)


def test_capped_logits_are_the_models_own():
    """Gemma 2 caps its logits after the output layer: the loss must be that of the capped ones."""
    model = model_of("gemma2, caps")
    assert not OutputLayer(model).is_linear
    assert OutputLayer(model_of("llama")).is_linear


def test_half_precision_stays_close():
    """Under bfloat16 the loss is summed in float32 and the gradient is of the weights' own type."""
    layer, hidden = nn.Linear(32, 50, bias=False), torch.randn(40, 32, requires_grad=True)
    targets = torch.randint(0, 50, (40,))
    exact = cross_entropy_sum(layer, hidden, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near = cross_entropy_sum(layer, hidden.to(torch.bfloat16), targets)
    assert near.dtype == torch.float32
    torch.testing.assert_close(near, exact, rtol=0.02, atol=0.0)
    near.backward()
    assert layer.weight.grad.dtype == torch.float32


def test_a_tiny_llama_keeps_its_attention_in_its_configuration():
    """What is saved must not name an attention that only this program knows."""
    model = transformers.LlamaForCausalLM(llama_config())
    use_packed_attention(model)
    assert NAME not in model.config.to_json_string()
