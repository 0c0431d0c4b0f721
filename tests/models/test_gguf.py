"""Students as GGUF files: the same weights, the same ids, or an error and no file."""

import json
import math
import os
import re
import sys
import unicodedata

import numpy as np
import pytest
import torch

import dataprep
from dataprep.core.errors import DataprepError, FileError, MissingDependencyError, TokenizerError, UsageError
from dataprep.models.gguf.vocabulary import vocabulary_of
from dataprep.tokens import export
from dataprep.tokens.encoder import Encoder
from dataprep.tokens.export import generation_ids, save_pretrained
from dataprep.tokens.formats.loading import chat_format_of
from dataprep.tokens.tokenizers.huggingface import HuggingFaceTokenizer
from dataprep.tokens.tokenizers.loading import load_tokenizer
from tests.helpers import listing
from tests.llama_cpp import running
from tests.real import LLAMA3, SMOLLM2, needs_llama3, needs_smollm2
from tests.tokens.test_saved_tokenizers import (
    lines,
    rank_tokenizer,
    sentencepiece_tokenizer,
    tokenizer_of,
    toy_ranks,
)

gguf = pytest.importorskip("gguf")
transformers = pytest.importorskip("transformers")

SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"num_key_value_heads": 2, "max_position_embeddings": 512, "vocab_size": 400}
SCALED = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 32.0, "low_freq_factor": 1.0}
SCALED |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 64}
KINDS = {
    "llama": ("Llama", {"tie_word_embeddings": True}),
    "llama with biases": ("Llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 24}),
    "llama with scaled positions": ("Llama", {"rope_parameters": SCALED}),
    "mistral": ("Mistral", {"sliding_window": 128}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {"head_dim": 128}),
}


def write_model(folder, kind="Llama", dtype=torch.float32, **settings):
    """A directory with a model of random weights."""
    torch.manual_seed(3)
    config = getattr(transformers, f"{kind}Config")(**SIZES | settings)
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    for weights in model.parameters():  # biases and norms are the same at first, which would hide their order
        torch.nn.init.normal_(weights, std=0.2)
    model.to(dtype).save_pretrained(folder)
    return model


def write_student(folder, kind="Llama", chat_format="chatml", **settings):
    """A directory with a model of random weights, a tokenizer and a chat template."""
    model = write_model(folder, kind, **settings)
    # transformers' class for Qwen cuts texts by Qwen's pattern, whatever the file says.
    tokenizer = changed(_as_qwen) if kind.startswith("Qwen") else tokenizer_of("huggingface")
    form = chat_format_of(chat_format)
    for name, value in generation_ids(tokenizer, form).items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(folder)
    save_pretrained(tokenizer, form, folder)
    return model


def changed(change):
    """The byte-level tokenizer with a change in its file."""
    document = json.loads(tokenizer_of("huggingface").content)
    change(document)
    return HuggingFaceTokenizer("tokenizer.json", json.dumps(document).encode())


def _as_qwen(document):
    step = document["pre_tokenizer"]["pretokenizers"][0]
    step["pattern"]["Regex"] = step["pattern"]["Regex"].replace("{1,3}", "")
    document["normalizer"] = {"type": "NFC"}


def read(path):
    """The keys and the tensors of a file, these as numbers of float32."""
    reader = gguf.GGUFReader(path)
    keys = {name: field.contents() for name, field in reader.fields.items()}
    tensors = {each.name: gguf.dequantize(each.data, each.tensor_type) for each in reader.tensors}
    return keys, tensors


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A student; tests must not change it."""
    folder = tmp_path_factory.mktemp("gguf") / "student"
    write_student(folder)
    return folder


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", KINDS)
def test_transformers_reads_the_same_weights(tmp_path, kind):
    """Another reader of GGUF files, which knows llama.cpp's order of rows, gives the student's weights."""
    model = write_student(tmp_path / "student", KINDS[kind][0], **KINDS[kind][1])
    dataprep.export_model(tmp_path / "student", tmp_path / "a.gguf")
    found = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="a.gguf", dtype=torch.float32
    )
    expected = {name: weights for name, weights in model.state_dict().items() if not name.endswith(".bias")}
    for name, weights in expected.items():
        assert torch.equal(found.state_dict()[name], weights), name
    keys, tensors = read(tmp_path / "a.gguf")
    settings = KINDS[kind][1]
    assert ("output.weight" in tensors) is not settings.get("tie_word_embeddings", False)
    arch = keys["general.architecture"]
    assert arch == {"mistral": "llama"}.get(kind, kind.split()[0])
    assert keys[f"{arch}.context_length"] == settings.get("sliding_window", 512)
    assert keys[f"{arch}.attention.key_length"] == settings.get("head_dim", 16)


def test_biases_change_places_as_their_rows_do(tmp_path):
    """Biases are ordered as the rows of their matrices: pairs that rotate together are neighbours."""
    model = write_student(tmp_path / "student", **KINDS["llama with biases"][1])
    dataprep.export_model(tmp_path / "student", tmp_path / "a.gguf")
    _, tensors = read(tmp_path / "a.gguf")
    bias = model.model.layers[0].self_attn.q_proj.bias.detach().numpy()
    half, expected = 12, []
    for head in range(4):
        for at in range(half):
            expected += [bias[24 * head + at], bias[24 * head + half + at]]
    assert np.array_equal(tensors["blk.0.attn_q.bias"], np.array(expected))
    values = model.model.layers[1].self_attn.v_proj.bias.detach().numpy()
    assert np.array_equal(tensors["blk.1.attn_v.bias"], values), "values are not rotated"


def test_scaled_positions_are_divisors_of_frequencies(tmp_path):
    """`rope_freqs` has the factors of Meta's formula for Llama 3.1 and later."""
    write_student(tmp_path / "student", **KINDS["llama with scaled positions"][1])
    dataprep.export_model(tmp_path / "student", tmp_path / "a.gguf")
    expected = []
    for at in range(0, 16, 2):
        wave = 2 * math.pi * 500 ** (at / 16)
        smooth = min(max((64 / wave - 1) / (4 - 1), 0), 1)
        expected.append(1 / ((1 - smooth) / 32 + smooth))
    assert 1 in expected
    assert 32 in expected
    _, tensors = read(tmp_path / "a.gguf")
    assert np.allclose(tensors["rope_freqs.weight"], expected, rtol=1e-5)


@pytest.mark.parametrize(("name", "number"), [("f32", 0), ("f16", 1), ("bf16", 32), ("q8_0", 7)])
def test_types_of_weights(student, tmp_path, name, number):
    """Matrices have the type that was asked for, vectors f32; the error is that of the type."""
    made = dataprep.export_model(student, tmp_path / "a.gguf", weight_type=name)
    keys, tensors = read(tmp_path / "a.gguf")
    assert keys["general.file_type"] == number
    assert made.types.keys() == {"f32", name}
    assert made.bytes == (tmp_path / "a.gguf").stat().st_size
    weights = transformers.AutoModelForCausalLM.from_pretrained(student).model.embed_tokens.weight
    found = torch.from_numpy(tensors["token_embd.weight"].copy())
    if name == "q8_0":  # blocks of 32 numbers, each a multiple of its largest / 127 in f16
        steps = weights.detach().reshape(-1, 32).abs().amax(1, keepdim=True) / 127
        assert ((found.reshape(-1, 32) - weights.reshape(-1, 32)).abs() <= 0.57 * steps).all()
    else:
        dtype = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[name]
        assert torch.equal(found, weights.to(dtype).float())


def test_the_default_type_is_the_students(tmp_path):
    """A student in bfloat16 stays in it."""
    write_student(tmp_path / "student", dtype=torch.bfloat16)
    assert set(dataprep.export_model(tmp_path / "student", tmp_path / "a.gguf").types) == {"f32", "bf16"}


def test_rows_that_q8_0_cannot_hold_are_f16(tmp_path):
    """q8_0 has blocks of 32 numbers; other matrices are more exact instead of an error."""
    write_student(tmp_path / "student", intermediate_size=40)
    dataprep.export_model(tmp_path / "student", tmp_path / "a.gguf", weight_type="q8_0")
    types = {each.name: each.tensor_type.name for each in gguf.GGUFReader(tmp_path / "a.gguf").tensors}
    assert types["blk.0.ffn_down.weight"] == "F16"
    assert types["blk.0.ffn_up.weight"] == "Q8_0"


def test_the_same_bytes_again(student, tmp_path):
    """The same student gives the same file, and an earlier file is replaced."""
    for name in ("a.gguf", "b.gguf", "a.gguf"):
        dataprep.export_model(student, tmp_path / name, weight_type="q8_0")
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()
    assert listing(tmp_path) == ["a.gguf", "b.gguf"]


# --- tokenizers


def ids_by_scores(keys, text):
    """SentencePiece's ids of a text by a file's tokens, scores and types alone."""
    sentencepiece = pytest.importorskip("sentencepiece")
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

    model = ModelProto()
    model.trainer_spec.model_type, model.trainer_spec.byte_fallback = 2, True
    model.normalizer_spec.add_dummy_prefix = keys["tokenizer.ggml.add_space_prefix"]
    model.normalizer_spec.remove_extra_whitespaces = False
    names = ("tokens", "scores", "token_type")
    for token, score, kind in zip(*(keys[f"tokenizer.ggml.{name}"] for name in names), strict=True):
        model.pieces.add(piece=token, score=score, type=kind)
    return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString()).encode(text)


TEXTS = [*lines()[:5], "naïve 漢字 👍🏽", " two  spaces ", "x = 12345\n\n\ty", "user</s>", ""]


@pytest.mark.parametrize(
    ("kind", "saved"),
    [
        ("bpe bpe", True),
        ("llama2 bpe", True),
        ("bpe bpe", False),
        ("llama2 bpe", False),
        ("symbols, no prefix bpe", False),
    ],
)
def test_sentencepiece_merges_by_scores(tmp_path, kind, saved):
    """Tokens, scores and types give SentencePiece the ids of a `.model`, and those of a saved student."""
    tokenizer = tokenizer_of(kind)
    write_model(tmp_path / "student", vocab_size=500)
    if saved:
        save_pretrained(tokenizer, chat_format_of("llama2"), tmp_path / "student")
    else:
        (tmp_path / "student" / "tokenizer.model").write_bytes(tokenizer.content)
    dataprep.export_model(tmp_path / "student", tmp_path / "a.gguf")
    keys, _ = read(tmp_path / "a.gguf")
    assert (keys["tokenizer.ggml.model"], keys["tokenizer.ggml.pre"]) == ("llama", "default")
    for text in TEXTS:
        assert ids_by_scores(keys, text) == tokenizer.encode(text), text
    types = keys["tokenizer.ggml.token_type"]
    assert types.count(6) == 256
    assert all(types[number] == 3 for number in tokenizer.special_tokens.values())
    assert types[tokenizer.vocab_size :] == [5] * (500 - tokenizer.vocab_size), "embeddings without a token"


CUT = {
    "gpt-2": [{"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}],
    "smollm": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    ],
}


@pytest.mark.parametrize("pre", ["smaug-bpe", "llama-bpe", "qwen2", *CUT])
def test_byte_level_tokenizers(pre):
    """llama.cpp's name follows from how a tokenizer.json cuts texts, and from whether merges decide alone."""
    document = json.loads(tokenizer_of("huggingface").content)
    if pre == "llama-bpe":
        document["model"]["ignore_merges"] = True
    elif pre == "qwen2":
        _as_qwen(document)
    elif pre in CUT:
        document["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": CUT[pre]}
    document["added_tokens"].append(
        document["added_tokens"][0] | {"id": 999, "content": "  ", "special": False}
    )
    document["model"]["vocab"] |= {"  ": 999}
    tokenizer = HuggingFaceTokenizer("tokenizer.json", json.dumps(document).encode())
    found = vocabulary_of(tokenizer)
    assert (found.model, found.pre) == ("gpt2", pre)
    assert [found.tokens[number] for number in tokenizer.special_tokens.values()] == [
        *tokenizer.special_tokens
    ]
    assert {found.types[number] for number in tokenizer.special_tokens.values()} == {3}
    assert (found.tokens[999], found.types[999], found.types[998]) == ("  ", 4, 5)
    assert found.merges[0].count(" ") == 1


# Names of added tokens that their file does not call special, and llama.cpp's types of them. The first are
# user-defined, as in Qwen's files; the others are control tokens in llama.cpp's own converter too.
MARKS = {"<think>": 4, "</think>": 4, "<tool_call>": 4, "[TOOL]": 4, "  ": 4}
MARKS |= {"<|fim_prefix|>": 3, "<｜tool▁sep｜>": 3, "<pad>": 3, "<mask>": 3, "[@BOS@]": 3, "<unused7>": 3}


def _with_marks(document):
    """Add the marks, and one that is special, behind the other tokens."""
    first = document["added_tokens"][0]
    document["added_tokens"] = [token for token in document["added_tokens"] if token["content"] not in MARKS]
    vocab = document["model"]["vocab"]
    for name in ["<special>", *MARKS]:
        number = vocab.setdefault(name, len(vocab))
        document["added_tokens"].append(
            first | {"id": number, "content": name, "special": name == "<special>"}
        )


def test_marks_have_the_type_that_llama_cpps_converter_gives_them():
    """The file's own flag decides, and else llama.cpp's list of names that are control tokens."""
    found = vocabulary_of(changed(_with_marks))
    types = dict(zip(found.tokens, found.types, strict=True))
    assert {name: types[name] for name in MARKS} == MARKS
    assert types["<special>"] == 3


def test_marks_of_sentencepiece_are_user_defined(tmp_path):
    """So they are in the model, and behind them is a space where one is behind special tokens."""
    tokenizer = tokenizer_of("marks bpe")
    save_pretrained(tokenizer, None, tmp_path / "saved")
    for found in map(vocabulary_of, (tokenizer, load_tokenizer(tmp_path / "saved"))):
        types = dict(zip(found.tokens, found.types, strict=True))
        assert found.space
        assert [types[name] for name in ("<think>", "<|call|>", "</s>")] == [4, 3, 3]
    saved = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    ids = [tokenizer.special("<think>"), *tokenizer.encode("12 hens"), tokenizer.special("</s>")]
    assert saved.decode(ids, skip_special_tokens=True) == "<think> 12 hens"


@pytest.mark.parametrize("kind", ["qwen", "sentencepiece"])
def test_llama_cpp_shows_marks(tmp_path, kind):
    """A student that thinks says so in llama.cpp too; its prompt has the ids of its training."""
    if kind == "qwen":
        tokenizer = changed(lambda document: (_with_marks(document), _as_qwen(document)))
    else:
        tokenizer = tokenizer_of("marks bpe")
    write_model(tmp_path / "student", vocab_size=tokenizer.vocab_size)
    save_pretrained(tokenizer, None, tmp_path / "student")
    dataprep.export_model(tmp_path / "student", tmp_path / "a.gguf")
    saved = transformers.AutoTokenizer.from_pretrained(tmp_path / "student")
    with running(tmp_path / "a.gguf") as llama:
        text = "the fox<think>two 12\n"
        assert llama.encode(text, special=True) == saved.encode(text, add_special_tokens=False)
        for name, shown in (("<think>", "<think>"), ("</s>", "")):
            assert llama.forced(tokenizer.special(name)) == shown


def test_a_step_without_its_pattern_cuts_by_it():
    """Older files lack `use_regex`, which is true then."""
    step = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    assert vocabulary_of(changed(lambda document: document.update(pre_tokenizer=step))).pre == "gpt-2"


def test_rank_files_are_those_of_llama3():
    """A student of a tiktoken rank file goes by ranks: words that are tokens win over merges."""
    found = vocabulary_of(tokenizer_of("ranks"))
    assert (found.model, found.pre) == ("gpt2", "llama-bpe")
    assert found.tokens[found.types.index(3)] == "<|begin_of_text|>"


def _other_pattern(document):
    document["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\w+|\W"


def _lowercase(document):
    document["normalizer"] = {"type": "Lowercase"}


def _unreachable(document):
    document["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": CUT["gpt-2"]}
    document["model"] |= {"ignore_merges": True, "vocab": document["model"]["vocab"] | {"zqzq": 400}}


def _marking(name):
    # Without merges: the library wants the mark in them too.
    return lambda document: document["model"].update({name: "@@", "merges": []})


def _stripping(document):
    document["added_tokens"][1]["lstrip"] = True


@pytest.mark.parametrize(
    ("tokenizer", "reason"),
    [
        (lambda: changed(_other_pattern), r"cuts texts by \\w\+\|\\W, for which llama.cpp has no name"),
        (lambda: changed(_lowercase), "changes texts first .normalizer Lowercase"),
        (lambda: changed(_unreachable), "merges do not make 'zqzq'"),
        (lambda: changed(_marking("continuing_subword_prefix")), "continuing_subword_prefix is '@@'"),
        (lambda: changed(_marking("end_of_word_suffix")), "end_of_word_suffix is '@@'"),
        (lambda: changed(_stripping), "takes white space beside it"),
        (lambda: tokenizer_of("bpe unigram"), "is not one of pairs"),
        (lambda: tokenizer_of("collapsing bpe"), "removes white space"),
        (lambda: tokenizer_of("t5 bpe"), "no bytes for unknown characters"),
        (lambda: tokenizer_of("symbols bpe"), "put a space behind its token"),
    ],
)
def test_tokenizers_that_llama_cpp_would_run_differently(tokenizer, reason):
    """They are errors that say what is different."""
    with pytest.raises(TokenizerError, match=reason):
        vocabulary_of(tokenizer())


def test_other_merges_are_compared(tmp_path):
    """Merges that no scores express are found by comparing ids."""
    save_pretrained(sentencepiece_tokenizer("llama2", "bpe"), None, tmp_path)
    document = json.loads((tmp_path / "tokenizer.json").read_text())
    merges = document["model"]["merges"]
    document["model"]["merges"] = [*reversed(merges)]
    tokenizer = HuggingFaceTokenizer("tokenizer.json", json.dumps(document).encode())
    with pytest.raises(TokenizerError, match=r"llama\.cpp would read '.*' as \[.*\], not as \["):
        vocabulary_of(tokenizer)


# --- llama.cpp itself


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", KINDS)
def test_llama_cpp_continues_as_transformers_does(tmp_path, kind):
    """With random weights, the likeliest tokens are the same only if every matrix is in its place."""
    model = write_student(tmp_path / "student", KINDS[kind][0], **KINDS[kind][1])
    dataprep.export_model(tmp_path / "student", tmp_path / "a.gguf")
    ids = np.random.default_rng(2).integers(20, 320, 90).tolist()  # the scaled positions differ from 64 on
    with running(tmp_path / "a.gguf") as llama:
        answer = llama.continuation(ids, 24)
    with torch.no_grad():
        scores = model.eval()(torch.tensor([[*ids, *answer]])).logits[0, len(ids) - 1 : -1]
    assert answer
    # Two tokens can be equally likely up to rounding, which differs.
    chosen = scores.gather(1, torch.tensor(answer)[:, None])[:, 0]
    assert (scores.max(1).values - chosen < 1e-2).all()


def _crossing(pre):
    """A byte-level tokenizer with tokens across the borders of words, so that each cut shows in the ids."""
    library = pytest.importorskip("tokenizers")
    built = library.Tokenizer(library.models.BPE())
    built.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    built.decoder = library.decoders.ByteLevel()
    alphabet = sorted(library.pre_tokenizers.ByteLevel.alphabet())
    trainer = library.trainers.BpeTrainer(
        vocab_size=3000, special_tokens=["<s>", "<|im_end|>"], initial_alphabet=alphabet, show_progress=False
    )
    built.train_from_iterator([*AWKWARD] * 3, trainer)
    document = json.loads(built.to_str())
    document["pre_tokenizer"] = json.loads(tokenizer_of("huggingface").content)["pre_tokenizer"]
    if pre == "qwen2":
        _as_qwen(document)
    elif pre in CUT:
        document["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": CUT[pre]}
    document["model"]["ignore_merges"] = pre == "llama-bpe"
    return HuggingFaceTokenizer("tokenizer.json", json.dumps(document).encode())


AWKWARD = [
    *export.TEXTS, "I'LL we'll I'm can't 'S don't've 1a2b 3.14 12345678 a1 1 2 34",
    "x = [1,2];\n\n\n  y\t\tz  \n", "...!?\n\n#!? a\r\n\r\nb   \n", "Straße naïve Ωμέγα русский",
    "a  b   c    d", " \n a", "end  ", "tab\t \t x",
]  # fmt: skip


@pytest.mark.parametrize("pre", ["smaug-bpe", "llama-bpe", "qwen2", *CUT])
def test_llama_cpp_cuts_texts_alike(tmp_path, pre):
    """Tokens that cross the borders of words would show a text that is cut elsewhere."""
    tokenizer = _crossing(pre)
    write_model(tmp_path / "student", "Qwen2" if pre == "qwen2" else "Llama", vocab_size=tokenizer.vocab_size)
    (tmp_path / "student" / "tokenizer.json").write_bytes(tokenizer.content)
    dataprep.export_model(tmp_path / "student", tmp_path / "a.gguf")
    with running(tmp_path / "a.gguf") as llama:
        for text in AWKWARD:
            composed = unicodedata.normalize("NFC", text) if pre == "qwen2" else text
            assert llama.encode(composed) == tokenizer.encode(text), text


def _gpt2_ranks():
    """The toy ranks with the pattern of tiktoken's r50k_base and p50k_base."""
    public = pytest.importorskip("tiktoken_ext.openai_public")
    return rank_tokenizer(toy_ranks(), public.r50k_pat_str)


@pytest.mark.parametrize("kind", ["ranks", "gpt-2 ranks", "bpe bpe", "llama2 bpe", "symbols, no prefix bpe"])
def test_llama_cpp_gives_the_same_ids(tmp_path, kind):
    """Tokenizers of other files too: tiktoken's ranks, SentencePiece with and without a space first."""
    tokenizer = _gpt2_ranks() if kind == "gpt-2 ranks" else tokenizer_of(kind)
    write_model(tmp_path / "student", vocab_size=tokenizer.vocab_size)
    if kind.endswith("ranks"):
        save_pretrained(tokenizer, None, tmp_path / "student")
    else:
        (tmp_path / "student" / "tokenizer.model").write_bytes(tokenizer.content)
    dataprep.export_model(tmp_path / "student", tmp_path / "a.gguf")
    with running(tmp_path / "a.gguf") as llama:
        for text in [*TEXTS, *AWKWARD]:
            if "\u2581" not in text:
                assert llama.encode(text) == tokenizer.encode(text), text


@needs_llama3
@pytest.mark.slow
def test_llama3s_own_tokenizer(tmp_path):
    """The 128,256 tokens of Llama 3's rank file, and texts of every kind."""
    tokenizer = load_tokenizer(LLAMA3)
    write_model(tmp_path / "student", vocab_size=tokenizer.vocab_size, hidden_size=32, head_dim=16)
    save_pretrained(tokenizer, chat_format_of("llama3"), tmp_path / "student")
    dataprep.export_model(tmp_path / "student", tmp_path / "a.gguf")
    with running(tmp_path / "a.gguf") as llama:
        for text in AWKWARD:
            assert llama.encode(text) == tokenizer.encode(text), text


@pytest.mark.parametrize("name", ["llama3", "chatml", "llama2"])
def test_llama_cpp_asks_as_the_student_was_trained(tmp_path, name):
    """The template's prompt in llama.cpp has the ids of the student's chat format."""
    write_student(tmp_path / "student", chat_format=name)
    dataprep.export_model(tmp_path / "student", tmp_path / "a.gguf")
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "the fox, 12 hens?"}]
    encoder = Encoder(tokenizer_of("huggingface"), chat_format_of(name))
    with running(tmp_path / "a.gguf") as llama:
        found = llama.encode(llama.prompt(messages), special=True)
    assert found == encoder.encode_prompt({"messages": messages})


# --- chats


@pytest.mark.parametrize("name", ["llama3", "chatml", "llama2"])
def test_the_template_is_plain_jinja(tmp_path, name):
    """Marks of the loss, which only transformers knows, become conditions; the text of chats is the same."""
    import jinja2

    write_student(tmp_path / "student", chat_format=name)
    dataprep.export_model(tmp_path / "student", tmp_path / "a.gguf")
    keys, _ = read(tmp_path / "a.gguf")
    text = keys["tokenizer.chat_template"]
    assert "generation %" not in text
    assert "generation" in (tmp_path / "student" / "chat_template.jinja").read_text()
    messages = [{"role": "user", "content": " a\n"}, {"role": "assistant", "content": "b "}]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "student")
    expected = tokenizer.apply_chat_template(messages, tokenize=False)
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)  # as transformers and llama.cpp
    given = {"messages": messages, **tokenizer.special_tokens_map, "raise_exception": None}
    assert environment.from_string(text).render(given) == expected
    names = keys["tokenizer.ggml.tokens"]
    ends = [names[keys[f"tokenizer.ggml.{key}_token_id"]] for key in ("eos", "eot")[: 1 + (name != "llama2")]]
    assert ends[0] == {"llama3": "<|eot_id|>", "chatml": "<|im_end|>", "llama2": "</s>"}[name]
    assert not keys["tokenizer.ggml.add_bos_token"], "the template writes it"


# --- what cannot be exported


def _t5(folder):
    config = transformers.T5Config(vocab_size=400, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    transformers.T5ForConditionalGeneration(config).save_pretrained(folder)


def _classifier(folder):
    config = transformers.LlamaConfig(**SIZES, pad_token_id=0)
    transformers.LlamaForSequenceClassification(config).save_pretrained(folder)


def _gpt2(folder):
    transformers.GPT2LMHeadModel(transformers.GPT2Config(n_embd=8, n_layer=1, n_head=1)).save_pretrained(
        folder
    )


def _network(folder):
    folder.mkdir()
    (folder / "student.safetensors").write_bytes(b"")


def _quantized(folder):
    write_student(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {}}))


def _dynamic(folder):
    write_student(folder, rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0})


def _scaled_qwen(folder):
    write_student(folder, "Qwen2", rope_parameters=SCALED)


def _small_vocabulary(folder):
    write_student(folder, vocab_size=100)


def _broken(folder):
    model = write_student(folder)
    with torch.no_grad():
        model.model.norm.weight[3] = math.nan
    model.save_pretrained(folder)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_t5, "an encoder-decoder .T5ForConditionalGeneration."),
        (_classifier, "a classifier .LlamaForSequenceClassification., which writes no text"),
        (_gpt2, "a GPT2LMHeadModel, for which"),
        (_network, "no config.json in it, so it is a small classifier"),
        (_quantized, "its weights are quantized"),
        (_dynamic, "positions are of the kind 'dynamic'"),
        (_scaled_qwen, "qwen2 does not scale rotary positions"),
        (_small_vocabulary, "its tokenizer has 320 tokens, its weights 100"),
        (_broken, "NaN"),
    ],
)
def test_what_cannot_be_exported_is_an_error(tmp_path, make, reason):
    """The message says why, and no file appears."""
    make(tmp_path / "student")
    with pytest.raises(FileError, match=reason):
        dataprep.export_model(tmp_path / "student", tmp_path / "a.gguf")
    assert listing(tmp_path) == ["student"]


@pytest.mark.parametrize(
    ("name", "largest", "shown"),
    [
        ("f16", 65_504, r"65,504"),
        ("q8_0", 127 * 65_504, r"8,319,008"),
        ("bf16", 2.0**128 - 2.0**120, r"3\.38.*e\+38"),
    ],
)
def test_weights_that_are_too_large_for_a_type(tmp_path, name, largest, shown):
    """The error comes while the file is written, and an earlier one stays as it was."""
    model = write_student(tmp_path / "student")
    with torch.no_grad():
        model.lm_head.weight[0, 0] = -largest
    model.save_pretrained(tmp_path / "student")
    dataprep.export_model(tmp_path / "student", tmp_path / "a.gguf", weight_type=name)
    assert read(tmp_path / "a.gguf")[1]["output.weight"].min() == -largest
    with torch.no_grad():
        model.lm_head.weight[0, 0] = -largest * 1.003
    model.save_pretrained(tmp_path / "student")
    (tmp_path / "a.gguf").write_text("earlier")
    message = rf"output\.weight are above {shown}, the largest number in {name}; choose another --type"
    with pytest.raises(FileError, match=message):
        dataprep.export_model(tmp_path / "student", tmp_path / "a.gguf", weight_type=name)
    assert (tmp_path / "a.gguf").read_text() == "earlier"
    assert listing(tmp_path) == ["a.gguf", "student"]


def test_wrong_calls(student, tmp_path, monkeypatch):
    """An unknown type, a folder that is not there, a URL, a missing package."""
    for call, error in (
        ({"weight_type": "q4"}, UsageError),
        ({"student": tmp_path / "missing"}, DataprepError),
        ({"output": "s3://bucket/a.gguf"}, UsageError),
        ({"output": "-"}, UsageError),
    ):
        with pytest.raises(error):
            dataprep.export_model(**{"student": student, "output": tmp_path / "a.gguf"} | call)
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.setattr("dataprep.core.optional.find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match=r"export"):
        dataprep.export_model(student, tmp_path / "a.gguf")


def test_an_output_never_replaces_a_file_of_the_student(tmp_path):
    """Neither weights, tokenizer nor configuration, however the path is spelled; an earlier export may be."""
    folder = tmp_path / "student"
    write_student(folder)
    (tmp_path / "linked").symlink_to(folder)
    (tmp_path / "link.gguf").symlink_to(folder / "tokenizer.json")
    elsewhere = (folder / "config.json").rename(tmp_path / "elsewhere.json")  # as the Hub's cache has files
    (folder / "config.json").symlink_to(elsewhere)
    (tmp_path / "student.manifest.json").write_text("{}")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for output in (
        *before,
        tmp_path / "student.manifest.json",
        folder / ".." / "student" / "model.safetensors",
        tmp_path / "linked" / "model.safetensors",
        tmp_path / "link.gguf",
        elsewhere,
    ):
        with pytest.raises(UsageError, match="would replace an input; give it a place of its own with -o"):
            dataprep.export_model(folder, output)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    for _ in range(2):
        dataprep.export_model(folder, folder / "student.gguf")


def test_an_output_that_names_a_folder_is_an_error(student, tmp_path, run):
    """`-o out/` wrote a file named `out`; the error comes before the weights are read."""
    (tmp_path / "there").mkdir()
    for output in ("out/", "there"):
        ran = run("export-model", student, "-o", output)
        assert (ran.code, ran.err) == (
            2,
            f"error: {output}: names a folder, and this output is one file; give a file's path\n",
        )
    assert listing(tmp_path) == ["there"]


def test_a_pipe_is_not_replaced(student, tmp_path):
    """A GGUF file is written in several places, which a pipe or a device cannot be; it stays what it is."""
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(
        FileError, match=r"pipe.gguf: is a device, a pipe or a folder, and this output is a fi"
    ):
        dataprep.export_model(student, tmp_path / "pipe.gguf")
    assert listing(tmp_path) == ["pipe.gguf"]
    assert (tmp_path / "pipe.gguf").is_fifo()


def test_a_preset_is_no_student(run):
    """It has no weights; the message does not name presets among what is accepted."""
    for name, says in (
        ("llama-tiny", "the name of a preset, which has no weights before `dataprep train` has trained it"),
        ("nothing", "expected a directory as transformers saves a model or a name on the Hub (OWNER/NAME)\n"),
    ):
        ran = run("export-model", name, "-o", "a.gguf")
        assert ran.code == 2
        assert f"error: STUDENT {name}: {says}" in ran.err
        assert "t5-tiny" not in ran.err


def test_the_command(student, tmp_path, run):
    """It says what was written, and writes a manifest."""
    ran = run("export-model", student, "-o", "a.gguf", "--type", "q8_0")
    assert ran.code == 0
    assert re.search(r"export-model: llama, [\d,]+ weights in q8_0, .* → a\.gguf", ran.err)
    assert "tokenizer gpt2, smaug-bpe; context of 512 tokens" in ran.err
    assert (tmp_path / "a.gguf.manifest.json").is_file()
    ran = run("export-model", student, "-o", "b.gguf", "--json", "--no-manifest")
    assert json.loads(ran.err)["architecture"] == "llama"
    assert run("export-model", student, "-o", "c.gguf", "--type", "q4").code == 2


# --- a published model


@pytest.mark.models
@needs_smollm2
@pytest.mark.slow
def test_the_published_file_of_smollm2(tmp_path):
    """Exported again, SmolLM2 has the tensors, the tokens and the sizes of its published file."""
    dataprep.export_model(SMOLLM2, tmp_path / "a.gguf", weight_type="f32")
    (published,) = SMOLLM2.glob("*.gguf")
    (keys, tensors), (expected_keys, expected) = read(tmp_path / "a.gguf"), read(published)
    assert tensors.keys() == expected.keys()
    assert all(np.array_equal(tensors[name], weights) for name, weights in expected.items())
    for name in ("tokens", "token_type", "merges", "bos_token_id", "eos_token_id", "model", "add_bos_token"):
        assert keys[f"tokenizer.ggml.{name}"] == expected_keys[f"tokenizer.ggml.{name}"], name
    ours = {name: value for name, value in keys.items() if name.startswith("llama.")}
    assert {name: ours[name] for name in expected_keys if name.startswith("llama.")} == {
        name: value for name, value in expected_keys.items() if name.startswith("llama.")
    }
    assert keys["tokenizer.chat_template"] == expected_keys["tokenizer.chat_template"]


QUESTIONS = [
    "What is the capital of France?", "Name three colours.", "What is 7 times 8?", "Who wrote Hamlet?",
    "Why is the sky blue?", "Give me a recipe for pancakes.", "What do bees make?",
    "Translate 'cat' into French.", "What is the opposite of hot?", "How many legs has a spider?",
    "Write a haiku about rain.", "What is photosynthesis?", "Is a tomato a fruit?",
    "What is the largest planet?", "Count from 1 to 12.", "Who was Marie Curie?",
    "What is the boiling point of water?", "Explain gravity to a child.",
    "Write a Python function that adds two numbers.", "What is 1234 + 4321?",
]  # fmt: skip


@pytest.mark.models
@needs_smollm2
@pytest.mark.slow
def test_smollm2_answers_as_in_transformers(tmp_path):
    """Greedy answers of at most 32 tokens to 20 questions are the same in llama.cpp, token for token."""
    dataprep.export_model(SMOLLM2, tmp_path / "a.gguf")
    tokenizer = transformers.AutoTokenizer.from_pretrained(SMOLLM2)
    model = transformers.AutoModelForCausalLM.from_pretrained(SMOLLM2)
    with running(tmp_path / "a.gguf") as llama:
        for question in QUESTIONS:
            chat = [{"role": "user", "content": question}]
            prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
            ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
            asked = ids["input_ids"][0].tolist()
            assert llama.prompt(chat) == prompt
            assert llama.encode(prompt, special=True) == asked
            output = model.generate(**ids, max_new_tokens=32, do_sample=False)[0, len(asked) :]
            expected = tokenizer.decode(output, skip_special_tokens=True)
            assert llama.answer(chat, 32) == expected, question
