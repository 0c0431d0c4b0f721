"""Tokenizers saved for transformers: the same ids, the same masks, or an error and nothing written."""

import functools
import io
import json
import re
import sys
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import dataprep
from dataprep.core.errors import MissingDependencyError, RowError, TokenizerError
from dataprep.models.comparison import compare_tokenizers
from dataprep.tokens import export
from dataprep.tokens.export import generation_ids, save_pretrained
from dataprep.tokens.formats.loading import chat_format_of
from dataprep.tokens.formats.named import Llama3
from dataprep.tokens.tokenizer_json import tokenizer_json
from dataprep.tokens.tokenizers.loading import load_tokenizer
from dataprep.tokens.tokenizers.sentencepiece import SentencePieceTokenizer
from dataprep.tokens.tokenizers.tiktoken_ranks import LLAMA3_PATTERN, RankTokenizer
from dataprep.tokens.tokenizers.training import CHAT_TOKENS, train_tokenizer
from tests import chat_templates as templates
from tests import strategies as some
from tests.real import DATA, LLAMA3, needs, needs_llama3
from tests.tokens_fakes import encode_one
from tests.toy_tokenizer import NAMES, OTHERS, ToyTokenizer

sentencepiece = pytest.importorskip("sentencepiece")
tiktoken = pytest.importorskip("tiktoken")
tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")

LAYOUTS = {
    "llama3": {},
    "llama3 --strip": {"strip": True},
    "llama3 --strip --date": {"strip": True, "date": "26 Jul 2024"},
    "chatml": {},
    "chatml --strip": {"strip": True},
    "llama2": {},
    "llama2 --strip": {"strip": True},
}
TEXT = "the quick brown fox jumps over a lazy dog and then sleeps with 12 hens under [INST] user assistant"
WORDS = TEXT.split()
EXACT = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
OWN = ("\n", "\u2581\u2581", "<foo", "foo>")
MODELS = {  # as `dataprep tokenizer train` makes them, as Llama 2, as T5, and with user-defined symbols
    "bpe": EXACT | {"add_dummy_prefix": False, "split_digits": True},
    "llama2": EXACT,
    "collapsing": {"normalization_rule_name": "identity"},
    "t5": {"byte_fallback": False},
    "symbols": EXACT | {"user_defined_symbols": [*OWN, "<think>"]},
    "marks": EXACT | {"user_defined_symbols": ["<think>", "<|call|>"]},
    "symbols, no prefix": EXACT | {"add_dummy_prefix": False, "user_defined_symbols": list(OWN)},
}


def chat_format(name, options=LAYOUTS):
    """A chat format by its command line."""
    return chat_format_of(name.partition(" ")[0], **options[name])


def lines():
    """Lines of words, the same every time."""
    return [" ".join(WORDS[(at * step) % len(WORDS)] for at in range(9)) + "." for step in range(1, 60)]


@functools.cache
def sentencepiece_tokenizer(name, kind):
    """A SentencePiece model trained here."""
    made = io.BytesIO()
    options = {"byte_fallback": True, "vocab_size": 400, "num_threads": 1, "minloglevel": 2, "pad_id": 3}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines()),
        model_writer=made,
        model_type=kind,
        hard_vocab_limit=False,
        control_symbols=list(CHAT_TOKENS),
        **(options | MODELS[name]),
    )
    return SentencePieceTokenizer(f"{name}.model", made.getvalue())


def toy_ranks():
    """The toy tokenizer's tokens by rank: bytes, newlines, a space with a letter."""
    return {token: rank for rank, token in enumerate(ToyTokenizer()._bytes)}


def rank_tokenizer(ranks, pattern=LLAMA3_PATTERN, first=None):
    """A tokenizer of ranks; its special tokens have the ids from ``first``."""
    start = len(ranks) if first is None else first
    special_tokens = {name: start + number for number, name in enumerate(NAMES + OTHERS)}
    return RankTokenizer(ranks, pattern, special_tokens, (rank_tokenizer, (ranks, pattern, first)))


@functools.cache
def tokenizer_of(kind):
    """A tokenizer of each kind."""
    if kind == "ranks":
        return rank_tokenizer(toy_ranks())
    if kind == "ranks with gaps":  # as cl100k_base has: special tokens' ids do not follow the ranks'
        return rank_tokenizer(toy_ranks(), first=300)
    if kind == "huggingface":
        return json_tokenizer()
    name, _, model = kind.rpartition(" ")
    return sentencepiece_tokenizer(name, model)


def json_tokenizer():
    """A trained tokenizer.json."""
    from dataprep.tokens.tokenizers.huggingface import HuggingFaceTokenizer

    return HuggingFaceTokenizer("words.json", train_tokenizer(lines(), 320, "bpe"))


KINDS = [
    "ranks",
    "ranks with gaps",
    "huggingface",
    *(f"{name} {model}" for name in MODELS for model in ("bpe", "unigram")),
]
ANY_TEXT = [kind for kind in KINDS if not kind.startswith("t5")]  # T5's normalizes: see docs/tokens.md


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """What transformers loads of a tokenizer that was saved, and the folder."""

    @functools.cache
    def load(kind, name=None):
        folder = tmp_path_factory.mktemp("saved")
        save_pretrained(tokenizer_of(kind), chat_format(name) if name else None, folder)
        return transformers.AutoTokenizer.from_pretrained(folder), folder

    return load


def awkward_texts():
    """Any texts, with white space, user-defined symbols and U+2581 more often than by chance."""
    pieces = st.sampled_from((*OWN, *WORDS, " ", "   ", "\u2581", "\t", "<0x0A>", ">", "12", "'ll", "é"))
    return st.lists(some.texts(5) | pieces, max_size=14).map("".join)


def total(model, ids):
    """The score of a segmentation: two of the same score are both right."""
    return sum(model._processor.get_score(number) for number in ids)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ANY_TEXT)
@settings(max_examples=settings().max_examples * 2)
@given(text=awkward_texts())
@example("")
@example("  a\n\n  b ")
@example("\u2581")
def test_any_text_has_the_same_ids(saved, kind, text):
    """The student reads what it was trained on, whatever the text; names of pieces such as <unk> apart."""
    ours = tokenizer_of(kind)
    assume(not any(name in text for name in [*ours.special_tokens, "<unk>"]))
    unigram = kind.endswith("unigram")
    assume(not (re.search("<0x..>", text) and (unigram or kind.startswith("symbols"))))
    try:
        expected = ours.encode(text)
    except RowError:  # a U+2581 that would be read as a space: an error, never other ids
        assert "\u2581" in text
        return
    found = saved(kind)[0].encode(text, add_special_tokens=False)
    if unigram and found != expected:
        assert total(ours, found) == pytest.approx(total(ours, expected), abs=1e-3)
        assert ours.decode(found) == ours.decode(expected)
    else:
        assert found == expected


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_saved_is_read_again(saved, kind):
    """Our own loader gives the same ids and special tokens of the folder; decoded texts are the same."""
    ours, (theirs, folder) = tokenizer_of(kind), saved(kind)
    again = load_tokenizer(folder)
    assert dict(again.special_tokens) == dict(ours.special_tokens)
    compare_tokenizers(again, ours, lines(), "the original", "this is no error")
    for text in (*export.TEXTS, *lines()[:5]):
        if "\u2581" in text:
            continue
        assert again.encode(text) == ours.encode(text)
        if "t5" not in kind:  # what is unknown is written in its own way
            assert theirs.decode(ours.encode(text)) == ours.decode(ours.encode(text))


def conversations():
    """Well-formed conversations; answers do not begin with a line break, at which programs cut elsewhere."""
    text = some.filled_texts(8).filter(lambda each: "<" not in each and "[" not in each)
    answer = text.filter(lambda each: "\n" not in each[: len(each) - len(each.lstrip())])
    answer = answer.filter(lambda each: "\r" not in each[: len(each) - len(each.lstrip())])
    turns = st.lists(st.tuples(text, answer), min_size=1, max_size=3)
    return st.tuples(st.none() | text, turns).map(_messages)


def _messages(parts):
    system, turns = parts
    messages = [{"role": "system", "content": system}] if system else []
    for question, answer in turns:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return messages


def compare_chat(theirs, ours, form, messages):
    """Ids, mask and the prompt before the last answer, beside our own."""
    expected = encode_one(ours, form, messages)
    found = theirs.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    assert found["input_ids"] == expected.ids
    assert found["assistant_masks"] == list(expected.mask)
    prompt = theirs.apply_chat_template(messages[:-1], add_generation_prompt=True)["input_ids"]
    mask = bytes(expected.mask)
    assert prompt == expected.ids[: mask.rindex(0, 0, mask.rindex(1)) + 1]


CHATTING = ["ranks", "huggingface", "bpe bpe", "bpe unigram", "llama2 bpe", "llama2 unigram"]


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("kind", CHATTING)
@settings(max_examples=25)
@given(messages=conversations())
@example(messages=_messages((None, [("0", "\u2581")])))
def test_conversations_have_the_same_ids_and_masks(saved, kind, name, messages):
    """The library lays a conversation out as the rows were laid out, trains on the same, asks the same."""
    if kind.endswith("unigram"):  # see test_any_text_has_the_same_ids
        messages = [each | {"content": f"{each['role']} fox"} for each in messages]
    ours, form = tokenizer_of(kind), chat_format(name)
    if ours.kind == "sentencepiece" and any("\u2581" in each["content"] for each in messages):
        with pytest.raises(RowError, match="reads as a space"):  # an error, never other ids
            encode_one(ours, form, messages)
        return
    compare_chat(saved(kind, name)[0], ours, form, messages)


SHORT_TOKENS = sorted(
    {a + b + c for a in ("", "a", "b") for b in "ab" for c in ("", "a", "b", "ba", "aa")} - set("ab")
)


@pytest.mark.medium
@settings(max_examples=settings().max_examples * 3)
@given(
    st.permutations(SHORT_TOKENS),
    st.integers(0, len(SHORT_TOKENS)),
    st.text("ab ", max_size=30),
)
def test_merges_give_the_ids_of_tiktoken(order, count, text):
    """Whatever the ranks, even those that no training would make, merges give what tiktoken gives."""
    tokens = [bytes([byte]) for byte in range(256)] + [each.encode() for each in order[:count]]
    ours = rank_tokenizer({token: rank for rank, token in enumerate(tokens)})
    theirs = tokenizers.Tokenizer.from_str(tokenizer_json(ours))
    assert theirs.encode(text, add_special_tokens=False).ids == ours.encode(text)


UPPER, LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
PATTERNS = {  # those of tiktoken's encodings
    "r50k": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    "cl100k": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    "o200k": rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]*[{LOWER}]+{SHORT}"
    rf"|[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]+[{LOWER}]*{SHORT}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}


@pytest.mark.medium
@pytest.mark.parametrize("name", PATTERNS)
@settings(max_examples=settings().max_examples * 2)
@given(text=awkward_texts())
@example("1234567")
@example("a \n b \n")
def test_patterns_cut_alike(name, text):
    """The named encodings' patterns are written for one regex library and mean the same in the other."""
    ours, theirs = probing(name)
    assume(not any(special in text for special in ours.special_tokens))
    assert theirs.encode(text, add_special_tokens=False).ids == ours.encode(text)


@functools.cache
def probing(name):
    """A tokenizer whose ids show where a pattern cuts, and the same as the other library reads it."""
    probe = {bytes([byte]): byte for byte in range(256)}
    for a in b" 0123456789\n\r\tab'":
        for b in b" 0123456789\n\r\tab'":
            probe[bytes([a, b])] = len(probe)
    ours = rank_tokenizer(probe, PATTERNS[name])
    return ours, tokenizers.Tokenizer.from_str(tokenizer_json(ours))


def test_text_that_looks_special_is_special_elsewhere(saved):
    """What docs/tokens.md says: transformers finds special tokens in texts, unless it is told not to."""
    theirs, ours = saved("ranks", "llama3")[0], tokenizer_of("ranks")
    text = "a <|eot_id|> b"
    assert ours.special("<|eot_id|>") in theirs.encode(text, add_special_tokens=False)
    assert theirs.encode(text, add_special_tokens=False, split_special_tokens=True) == ours.encode(text)
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
    found = theirs.apply_chat_template(messages, sanitize_control_tokens=True)["input_ids"]
    assert found == encode_one(ours, chat_format("llama3"), messages).ids


def test_generation_ends_where_training_ends(saved):
    """A student that is asked stops at its end of turn, and pads with what was padded with."""
    ours = tokenizer_of("bpe bpe")
    name = {number: each for each, number in ours.special_tokens.items()}
    for form, ends, begin in (
        ("llama3", ["<|eot_id|>", "<|end_of_text|>"], "<|begin_of_text|>"),
        ("chatml", ["<|im_end|>", "<|end_of_text|>"], None),
        ("llama2", ["</s>", "<|end_of_text|>"], "<s>"),
    ):
        ids = generation_ids(ours, chat_format(form))
        assert [name[number] for number in ids["eos_token_id"]] == ends
        assert name.get(ids.get("bos_token_id")) == begin
        assert name[ids["pad_token_id"]] == "<pad>"
        theirs = saved("bpe bpe", form)[0]
        assert (theirs.eos_token, theirs.bos_token, theirs.pad_token) == (ends[0], begin, "<pad>")
        assert theirs.eos_token_id == ids["eos_token_id"][0]
    assert generation_ids(ours, None) == {
        "pad_token_id": 3,
        "eos_token_id": [ours.special("<|end_of_text|>")],
    }


def test_without_a_layout_there_is_no_chat_template(tmp_path):
    """T5 has no conversations; a template of an earlier save does not stay behind."""
    ours = tokenizer_of("t5 unigram")
    save_pretrained(ours, chat_format("llama2"), tmp_path)
    assert (tmp_path / "chat_template.jinja").is_file()
    save_pretrained(ours, None, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokenizer.json", "tokenizer_config.json"]
    assert transformers.AutoTokenizer.from_pretrained(tmp_path).eos_token == "<|end_of_text|>"


@pytest.fixture
def model_folder(tmp_path):
    """A model's folder with a tokenizer.json and a chat template of its own."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes(train_tokenizer(lines(), 320, "bpe"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 77}
    config |= {"bos_token": "<|begin_of_text|>", "chat_template": templates.LLAMA3_MARKED}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "special_tokens_map.json").write_text('{"eos_token": "</s>"}', encoding="utf-8")
    return folder


def test_a_model_folders_own_template_stays(model_folder, tmp_path):
    """With the chat format 'template' the folder is as it was, to the byte of its tokenizer.json."""
    ours, form = load_tokenizer(model_folder), chat_format_of("template", path=model_folder)
    save_pretrained(ours, form, tmp_path / "student")
    own = (model_folder / "tokenizer.json").read_bytes()
    assert (tmp_path / "student" / "tokenizer.json").read_bytes() == own
    assert (tmp_path / "student" / "chat_template.jinja").read_text("utf-8") == templates.LLAMA3_MARKED
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "student")
    assert (theirs.model_max_length, theirs.eos_token) == (77, "<|eot_id|>")
    messages = _messages(("Be short.", [("quick fox?", "lazy dog.")]))
    compare_chat(theirs, ours, form, messages)


@pytest.mark.parametrize(
    "template", [templates.LLAMA3, templates.LLAMA32, templates.CHATML, templates.VICUNA]
)
def test_templates_without_marks_are_kept_too(model_folder, tmp_path, template):
    """A template that marks nothing gives the same ids; with a date, where it is told that date."""
    config = {"bos_token": "<|begin_of_text|>", "eos_token": "</s>", "chat_template": template}
    (model_folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    date = "26 Jul 2024" if template == templates.LLAMA32 else None
    form = chat_format_of("template", path=model_folder, date=date)
    save_pretrained(load_tokenizer(model_folder), form, tmp_path / "student")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "student")
    assert theirs.chat_template == template
    assert theirs.eos_token in (form.stop_tokens if "eos_token" not in template else {"</s>"})


def test_a_named_layout_replaces_the_folders_template(model_folder):
    """A folder may be saved into itself: the chat format's template is the only one then."""
    ours, before = load_tokenizer(model_folder), (model_folder / "tokenizer.json").read_bytes()
    save_pretrained(ours, chat_format("chatml"), model_folder)
    theirs = transformers.AutoTokenizer.from_pretrained(model_folder)
    compare_chat(theirs, ours, chat_format("chatml"), _messages((None, [("quick fox?", "lazy dog.")])))
    assert (theirs.eos_token, theirs.model_max_length) == ("<|im_end|>", 77)
    assert (model_folder / "tokenizer.json").read_bytes() == before
    assert "chat_template" not in json.loads((model_folder / "tokenizer_config.json").read_text("utf-8"))
    assert not (model_folder / "special_tokens_map.json").exists()


def test_a_space_at_the_first_text_only(tmp_path):
    """A tokenizer.json that puts a space before a text's first word, but not after a special token."""
    core = tokenizers.Tokenizer.from_str(tokenizer_json(tokenizer_of("llama2 bpe")))
    core.normalizer = None
    core.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    (tmp_path / "tokenizer.json").write_text(core.to_str(), encoding="utf-8")
    ours = load_tokenizer(tmp_path)
    for name in LAYOUTS:
        save_pretrained(ours, chat_format(name), tmp_path / "saved")
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
        compare_chat(
            theirs, ours, chat_format(name), _messages(("Be short.", [("quick fox?", "lazy dog.")] * 2))
        )


def test_a_class_that_rebuilds_the_tokenizer_is_left_out(tmp_path):
    """The library's own classes may ignore the file: then the general class takes it."""
    (tmp_path / "tokenizer.json").write_bytes(train_tokenizer(lines(), 320, "bpe"))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "Qwen2Tokenizer"}', encoding="utf-8")
    ours = load_tokenizer(tmp_path)
    save_pretrained(ours, chat_format("chatml"), tmp_path / "saved")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert theirs.encode("12345", add_special_tokens=False) == ours.encode("12345")


@pytest.mark.medium
@pytest.mark.parametrize("model", ["llama", "t5", "mistral", "gpt2"])
def test_beside_a_models_configuration(tmp_path, model):
    """The kind of model in config.json does not change what the tokenizer gives."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model}), encoding="utf-8")
    ours = tokenizer_of("llama2 bpe")
    save_pretrained(ours, chat_format("llama2"), tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.encode(" a  fox\n", add_special_tokens=False) == ours.encode(" a  fox\n")


def test_a_model_whose_class_reads_otherwise_is_an_error(tmp_path):
    """Qwen 2's models have a class of their own in transformers: the error names it, nothing is written."""
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}', encoding="utf-8")
    with pytest.raises(TokenizerError, match=r"Qwen2Tokenizer.*nothing was written"):
        save_pretrained(rank_tokenizer(toy_ranks() | {b"12": 284, b"123": 285}, first=300), None, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize("what", ["ids", "mask", "special"])
def test_a_difference_is_an_error_and_nothing_is_written(tmp_path, monkeypatch, what):
    """Never a folder that tokenizes otherwise: the first difference is shown, the old files stay."""
    ours = tokenizer_of("ranks")
    save_pretrained(ours, chat_format("llama3"), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    if what == "mask":
        template = before["chat_template.jinja"].decode().replace("'assistant' %}", "'user' %}")
        monkeypatch.setattr(Llama3, "jinja", lambda _: template)
    else:
        pattern, first = (".", None) if what == "ids" else (LLAMA3_PATTERN, 300)
        wrong = rank_tokenizer(toy_ranks(), pattern, first)
        document = tokenizer_json(wrong)
        monkeypatch.setattr(export, "tokenizer_json", lambda _: document)
    message = {"ids": "the text .* at token", "mask": "the loss mask of", "special": "the special token"}[
        what
    ]
    with pytest.raises(TokenizerError, match=message):
        save_pretrained(ours, chat_format("llama3"), tmp_path)
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_what_cannot_be_saved_is_said(tmp_path, monkeypatch):
    """Models of words, unknown classes, a format without its tokens, no transformers: our own errors."""
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines()), model_writer=made, model_type="word", vocab_size=20, minloglevel=2
    )
    with pytest.raises(TokenizerError, match="a model of words"):
        save_pretrained(SentencePieceTokenizer("words.model", made.getvalue()), None, tmp_path)
    with pytest.raises(TokenizerError, match="ToyTokenizer"):
        save_pretrained(ToyTokenizer(), chat_format("llama3"), tmp_path)
    plain = SentencePieceTokenizer(
        "t5.model", tokenizer_of("t5 unigram").content.replace(b"<|eot_id|>", b"<|eot_xx|>")
    )
    with pytest.raises(TokenizerError, match="no special token"):
        save_pretrained(plain, chat_format("llama3"), tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependencyError, match=r"dataprep\[train\]"):
        save_pretrained(tokenizer_of("ranks"), chat_format("llama3"), tmp_path)
    assert not [*tmp_path.iterdir()]


SETS = {"gsm8k": "gsm8k/train.jsonl", "mbpp": "mbpp/mbpp.jsonl", "squad": "squad/dev-v2.0.json"}


@functools.cache
def llama3():
    """The published tokenizer."""
    return load_tokenizer(LLAMA3)


@pytest.fixture(scope="module")
def saved_llama3(tmp_path_factory):
    """It, as transformers loads it after it was saved."""
    folder: Path = tmp_path_factory.mktemp("llama3")
    save_pretrained(llama3(), chat_format("llama3"), folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


def compare_rows(theirs, rows):
    """Rows laid out by transformers and by us."""
    found = theirs.apply_chat_template(rows, return_dict=True, return_assistant_tokens_mask=True)
    for row, ids, mask in zip(rows, found["input_ids"], found["assistant_masks"], strict=True):
        expected = encode_one(llama3(), chat_format("llama3"), row)
        assert ids == expected.ids
        assert mask == list(expected.mask)


@pytest.mark.slow
@needs_llama3
@needs(*SETS.values())
@pytest.mark.parametrize("name", SETS)
def test_rows_of_the_published_sets(saved_llama3, name):
    """Llama 3's rank file as tokenizer.json and template: real rows have our ids and masks."""
    rows = [row["messages"] for row in dataprep.convert(name, DATA / SETS[name])]
    compare_rows(saved_llama3, rows[:: len(rows) // 40])


@needs_llama3
@needs(*SETS.values())
@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_all_rows_of_the_published_sets(saved_llama3, name):
    """The same of every row."""
    rows = [row["messages"] for row in dataprep.convert(name, DATA / SETS[name])]
    for start in range(0, len(rows), 500):
        compare_rows(saved_llama3, rows[start : start + 500])


@needs_llama3
@pytest.mark.slow
def test_every_character_in_llama3s_tokenizer(saved_llama3):
    """Both regex libraries know the same letters and numbers: every character, beside others of its kind."""
    for start in range(0, 0x110000, 16):
        if 0xD800 <= start < 0xE000:
            continue
        text = "".join(f"a{chr(point)}{chr(point)}b 1{chr(point)}" for point in range(start, start + 16))
        assert saved_llama3.encode(text, add_special_tokens=False) == llama3().encode(text)
