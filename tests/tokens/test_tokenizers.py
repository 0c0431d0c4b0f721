"""Tokenizers of every kind against the libraries that define them; special tokens never come out of text."""

import base64
import functools
import hashlib
import json
import pickle
import random
import struct
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dataprep.core.errors import (
    DataprepError,
    FileError,
    InputError,
    MissingDependencyError,
    RowError,
    TokenizerError,
    UsageError,
)
from dataprep.datasets.checks.stats import stats
from dataprep.tokens.encoder import Encoder
from dataprep.tokens.formats.loading import chat_format_of
from dataprep.tokens.tokenizers import tiktoken_encoders as fast_encoder
from dataprep.tokens.tokenizers import tiktoken_ranks as encodings
from dataprep.tokens.tokenizers import tiktoken_ranks as rank_file
from dataprep.tokens.tokenizers.base import decode_after, encode_after
from dataprep.tokens.tokenizers.huggingface import HuggingFaceTokenizer
from dataprep.tokens.tokenizers.loading import load_tokenizer
from dataprep.tokens.tokenizers.tiktoken_encoders import LONG, LongSpace
from dataprep.tokens.tokenizers.training import CHAT_TOKENS, texts_of_files, train_tokenizer
from tests import strategies as some
from tests.helpers import listing
from tests.real import DATA, LLAMA3, needs, needs_llama3

sentencepiece = pytest.importorskip("sentencepiece")
tiktoken = pytest.importorskip("tiktoken")
tokenizers = pytest.importorskip("tokenizers")

KINDS = ["tiktoken", "sentencepiece", "huggingface"]
WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "and",
    "then",
    "sleeps",
    "with",
    "12",
    "hens",
    "under",
    "blue",
    "mountains",
    "every",
    "night",
    "again",
]
NAMES = (
    "<|eot_id|>",
    "<|begin_of_text|>",
    "</s>",
    "<s>",
    "<pad>",
    "<|im_start|>",
    "<think>",
    "[SEP]",
    "<0x0A>",
)


def corpus(lines=400):
    """Lines of words, the same every time."""
    pick = random.Random(7)
    return [" ".join(pick.choices(WORDS, k=9)) + pick.choice(".!?") for _ in range(lines)]


def rank_lines():
    """128,000 ranks: all bytes, all pairs of letters and spaces first, then other pairs and triples."""
    tokens = {bytes([byte]): None for byte in range(256)}
    letters = b" etaoinshrdlucmfwypvbgk\nETAOIN.,<|>_'"
    tokens.update({bytes([a, b]): None for a in letters for b in letters})
    tokens.update({bytes([a, b]): None for a in range(256) for b in range(256)})
    tokens.update({bytes([a, b, c]): None for a in letters for b in letters for c in letters})
    tokens = list(tokens)[:128_000]
    tokens += [bytes([a, b, c]) for a in range(200, 203) for b in range(256) for c in range(256)]
    return [b"%s %d" % (base64.b64encode(token), rank) for rank, token in enumerate(tokens[:128_000])]


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """A file of each kind."""
    folder = tmp_path_factory.mktemp("tokenizers")
    (folder / "tiktoken").write_bytes(b"\n".join(rank_lines()) + b"\n")
    (folder / "sentencepiece").write_bytes(train_tokenizer(corpus(), 420))
    (folder / "huggingface").write_bytes(train_tokenizer(corpus(), 320, "bpe"))
    return {kind: folder / kind for kind in KINDS}


@pytest.fixture(scope="module")
def loaded(paths):
    """A tokenizer of each kind."""
    return {kind: load_tokenizer(path) for kind, path in paths.items()}


@pytest.fixture(scope="module")
def llama3():
    """The published Llama 3 tokenizer."""
    return load_tokenizer(LLAMA3)


def reference_of(tokenizer_path):
    """An oracle: tiktoken with the ranks of a file, Llama 3's published pattern and one special token."""
    lines = tokenizer_path.read_bytes().splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    return tiktoken.Encoding(
        "reference", pat_str=pattern, mergeable_ranks=ranks, special_tokens={"<|eot_id|>": len(ranks) + 9}
    )


def with_marks():
    """Any texts but U+2581, with special tokens' names among the characters."""
    pieces = some.texts(6) | st.sampled_from((*NAMES, *WORDS, " ", "<|", "eot_id|>", "  ", "\n"))
    return st.lists(pieces, max_size=12).map("".join).map(lambda text: text.replace("\u2581", "_"))


def test_the_content_decides(paths, loaded, tmp_path):
    """Whatever a file is called, its kind is what it holds; facts are those of the libraries."""
    assert [each.kind for each in loaded.values()] == KINDS
    assert loaded["tiktoken"].vocab_size == 128_256
    assert loaded["sentencepiece"].vocab_size == 420
    assert loaded["huggingface"].vocab_size == 320
    for kind, path in paths.items():
        (tmp_path / "tokenizer.bin").write_bytes(path.read_bytes())
        again = load_tokenizer(str(tmp_path / "tokenizer.bin"))
        assert (again.kind, again.fingerprint) == (kind, loaded[kind].fingerprint)
    assert len({each.fingerprint for each in loaded.values()}) == 3
    assert all(len(each.fingerprint) == 64 for each in loaded.values())


@pytest.mark.parametrize("kind", KINDS)
@given(text=with_marks())
@example("".join(NAMES))
@settings(max_examples=settings().max_examples * 2)
def test_no_special_token_comes_out_of_text(loaded, kind, text):
    """No row can inject an end of turn; and the text is still all there."""
    tokenizer = loaded[kind]
    ids = tokenizer.encode(text)
    assert not set(ids) & set(tokenizer.special_tokens.values())
    assert all(0 <= number < tokenizer.vocab_size for number in ids)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode_bytes(ids) == tokenizer.decode(ids).encode()


@pytest.mark.parametrize("kind", KINDS)
@given(texts=st.lists(with_marks(), max_size=5))
def test_a_batch_is_each_of_its_texts(loaded, kind, texts):
    """The order of work changes no ids."""
    assert loaded[kind].encode_batch(texts) == [loaded[kind].encode(text) for text in texts]


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_have_names(loaded, kind):
    """Chat formats get ids by name, decode gives the names back, an unknown one is answered with all."""
    tokenizer = loaded[kind]
    number = tokenizer.special("<|eot_id|>")
    assert number == tokenizer.special_tokens["<|eot_id|>"]
    assert tokenizer.decode([*tokenizer.encode("the end"), number, number]) == "the end<|eot_id|><|eot_id|>"
    with pytest.raises(TokenizerError, match=r"no special token '<\|nope\|>'; it has .*<\|begin_of_text\|>"):
        tokenizer.special("<|nope|>")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "x" * 200 + "\udc80"])
def test_a_lone_surrogate_is_a_bad_row(loaded, kind, text):
    """Half a character is an error, never silently U+FFFD."""
    with pytest.raises(RowError, match=r"lone surrogate, U\+D"):
        loaded[kind].encode(text)


def test_a_character_that_is_read_as_a_space_is_a_bad_row(loaded, tmp_path):
    """U+2581 is never silently turned into a space, in no part of a row; other tokenizers keep it."""
    text = "in the ▁ blank"
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": False}
    model = {"type": "BPE", "vocab": {"▁": 0, "a": 1, "▁a": 2}, "merges": [["▁", "a"]]}
    other, _ = json_tokenizer(tmp_path, model, pre_tokenizer=metaspace)
    assert other.encode("a a") == [2, 2]
    for tokenizer in (loaded["sentencepiece"], other):
        with pytest.raises(RowError, match=r"reads as a space: found '▁', U\+2581, in 'in the ▁ blank'"):
            tokenizer.encode(text)
    for kind in ("tiktoken", "huggingface"):
        assert loaded[kind].decode(loaded[kind].encode(text)) == text
    row = {"role": "user", "content": text}, {"role": "assistant", "content": "A"}
    done = Encoder(loaded["sentencepiece"], chat_format_of("llama3")).encode_messages([row])
    assert isinstance(done[0], RowError)


def test_bytes_that_a_file_lists_as_added_tokens_are_found(tmp_path):
    """Byte fallback works on where its pieces are called special; none of them is a special token."""
    names = [f"<0x{byte:02X}>" for byte in range(256)]
    vocab = {name: number for number, name in enumerate([*names, "a", "<s>"])}
    model = {"type": "BPE", "vocab": vocab, "merges": [], "byte_fallback": True}
    added = [(number, name, True) for name, number in vocab.items() if name != "a"]
    tokenizer, _ = json_tokenizer(tmp_path, model, added)
    assert tokenizer.encode("a\né<s>") == [256, 10, 0xC3, 0xA9, 0x3C, 0x73, 0x3E]
    assert tokenizer.special_tokens == {"<s>": 257}
    assert tokenizer.decode_bytes([0xC3]) == b"\xc3"  # not U+FFFD: a byte is shown as one


@pytest.mark.parametrize("kind", KINDS)
def test_an_id_outside_the_vocabulary_is_an_error(loaded, kind):
    """Ids of another tokenizer do not decode to something else."""
    for wrong in (loaded[kind].vocab_size, 2_000_000, -1):
        with pytest.raises(TokenizerError, match=f"found the id {wrong}"):
            loaded[kind].decode([5, wrong])


@pytest.mark.medium
@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_travels_to_workers(paths, loaded, kind, tmp_path):
    """A pickled tokenizer is the same one, whatever became of its file meanwhile."""
    place = tmp_path / "file"
    place.write_bytes(paths[kind].read_bytes())
    data = pickle.dumps(load_tokenizer(place))
    place.unlink()
    again = pickle.loads(data)
    assert again.fingerprint == loaded[kind].fingerprint
    assert again.encode("the quick <|eot_id|>") == loaded[kind].encode("the quick <|eot_id|>")


@pytest.mark.medium
@given(text=with_marks())
@settings(max_examples=settings().max_examples * 2)
def test_ranks_give_tiktokens_ids(paths, loaded, text):
    """The reference is tiktoken with the same ranks and pattern."""
    assert loaded["tiktoken"].encode(text) == _reference(paths).encode_ordinary(text)


def _reference(paths, made={}):  # noqa: B006 - made once
    if paths["tiktoken"] not in made:
        made[paths["tiktoken"]] = reference_of(paths["tiktoken"])
    return made[paths["tiktoken"]]


@given(text=with_marks())
def test_a_model_gives_sentencepieces_ids(paths, loaded, text):
    """The library with the file as it is, is the reference."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(paths["sentencepiece"]))
    assert loaded["sentencepiece"].encode(text) == processor.encode(text)


@given(text=some.texts().filter(lambda text: "<" not in text))
def test_a_json_gives_tokenizers_ids(paths, loaded, text):
    """The library with the file as it is, is the reference where no special token's name is in the text."""
    tokenizer = tokenizers.Tokenizer.from_file(str(paths["huggingface"]))
    assert loaded["huggingface"].encode(text) == tokenizer.encode(text, add_special_tokens=False).ids


# Long texts


@pytest.mark.medium
@pytest.mark.sampled(3)
@pytest.mark.parametrize("unit", ["a", " ", "ab", "^", "\n", "1", "\t", " \n", "漢", "a.", "'", "-=", "aB"])
@pytest.mark.parametrize("size", [2_000_000, pytest.param(5_000_000, marks=pytest.mark.slow)])
def test_a_text_of_megabytes_has_ids(loaded, size, unit):
    """No single message, however dull, ends the program; tiktoken gives up at 1,000,000 spaces."""
    text = unit * (size // len(unit.encode())) + "x"
    ids = loaded["tiktoken"].encode(text)
    assert loaded["tiktoken"].decode_bytes(ids) == text.encode()


SPACE = ("\n", " ", "\t", "\r\n", "\u00a0", "\u0085", "\u2028", "  ", "\n\n")


@pytest.fixture(scope="module")
def long_space(paths):
    """The way for long runs of white space, taken from three characters on, and tiktoken."""
    reference = _reference(paths)
    ranks = {token: reference.encode_single_token(token) for token in reference.token_byte_values()}
    return LongSpace(reference.encode_ordinary, ranks, rank_file.LLAMA3_PATTERN, 3), reference


@pytest.mark.medium
@given(
    st.lists(
        st.lists(st.sampled_from(SPACE), max_size=6).map("".join)
        | st.sampled_from(("\x1c", "a", "Z", "1", ".", "'s", "!?", "漢", "½"))
        | st.characters(codec="utf-8"),
        max_size=12,
    )
)
@example(["!", "\n \n ", "x"])
@example(["a", "\n \n ", " x"])
@settings(max_examples=settings().max_examples * 5)
def test_the_way_for_long_space_gives_tiktokens_ids(long_space, parts):
    """Runs that are cut here get the ids that tiktoken gives them, whatever stands around them."""
    here, reference = long_space
    text = "".join(parts)
    assert here.encode(text) == reference.encode_ordinary(text)


@pytest.mark.slow
def test_the_way_for_long_space_knows_every_character(long_space):
    """Before and after a long run, any character of Unicode."""
    here, reference = long_space
    every = [chr(code) for code in range(0x11_0000) if not 0xD800 <= code < 0xE000]
    for start in range(0, len(every), 4096):
        text = "".join(f"a{each}\n \n   {each}b" for each in every[start : start + 4096])
        assert here.encode(text) == reference.encode_ordinary(text), start


def test_a_long_run_of_space_is_where_the_ways_part(loaded, paths):
    """Just below and at the length where the other way is taken, the ids are tiktoken's."""
    for length in (LONG - 1, LONG, LONG + 1):
        for text in (" " * length, "a\n" + " " * length + "b", "!\n \n" + "\t" * length + "\n\n 's"):
            assert loaded["tiktoken"].encode(text) == _reference(paths).encode_ordinary(text)


# The faster encoder


def test_a_faster_encoder_is_used_where_it_is_right(paths):
    """After a sample of the texts the faster one is on its own, and its ids are the reference's."""
    pytest.importorskip("splintr")
    encode = _reference(paths).encode_ordinary
    fast = fast_encoder.fast_encoder(paths["tiktoken"].read_bytes(), rank_file.LLAMA3_PATTERN, encode)
    assert fast is not None
    for text in corpus(fast_encoder.SAMPLE):
        assert fast(text) == encode(text)
    assert fast._encode == fast._fast
    assert fast("the end <|eot_id|>") == encode("the end <|eot_id|>")


def _lengths(text):
    return [len(text), 0]


def _wrong_where_odd(text):
    return [len(text), int(text == "odd")]


@pytest.mark.parametrize("encode", [_lengths, _wrong_where_odd])
@pytest.mark.parametrize("packed", [_lengths, _wrong_where_odd])
def test_a_wrong_encoder_is_never_used(encode, packed):
    """Where one of the first texts has other ids, the reference's are given, for it and all others."""
    wrong = fast_encoder.FastEncoder(encode, _lengths, lambda text: fast_encoder.pack_ids(packed(text)))
    assert [wrong(text) for text in ("a", "odd", "odd")] == [[1, 0], [3, 0], [3, 0]]
    assert wrong.pack("odd") == fast_encoder.pack_ids([3, 0])
    assert (wrong._encode == wrong._reference) == (_wrong_where_odd in (encode, packed))


@pytest.mark.medium
def test_ids_are_packed_as_they_are(paths):
    """Ids as bytes are the reference's, by both encoders or by tiktoken alone, also of much white space."""
    lines = paths["tiktoken"].read_bytes()
    ranks = rank_file.parse_ranks("", lines)
    texts = [*corpus(fast_encoder.SAMPLE), *fast_encoder.AWKWARD, "a" + " " * LONG + "b", "漢" * 9]
    expected = [_reference(paths).encode_ordinary(text) for text in texts]
    for content in (lines, None):
        tokenizer = rank_file.RankTokenizer(
            ranks, rank_file.LLAMA3_PATTERN, {"<s>": 128_000}, (len, ()), content
        )
        for _ in range(2):  # while two encoders are compared, and afterwards
            found = tokenizer.encode_packed(texts)
            assert found == [struct.pack(f"<{len(ids)}I", *ids) for ids in expected]
        with pytest.raises(RowError, match="lone surrogate"):
            tokenizer.encode_packed(["a", "\ud800"])
        tokens = [tokenizer.token_bytes[number] for ids in expected for number in ids]
        assert b"".join(tokens) == "".join(texts).encode()
        assert tokenizer.token_bytes[128_000:] == [None]


@pytest.mark.parametrize("failure", [None, RuntimeError("no vocabulary")])
def test_an_encoder_that_fails_is_left_out(monkeypatch, failure):
    """Not installed, or unable to read the ranks: the reference works alone."""

    class Broken:
        class Tokenizer:
            @staticmethod
            def from_bytes(*_):
                raise failure

    monkeypatch.setitem(sys.modules, "splintr", Broken if failure else None)
    assert fast_encoder.fast_encoder(b"", "", list) is None


# The published files


def published_texts():
    """All texts of the published sets that are here."""
    found = []
    for split in ("train", "test"):
        for line in (DATA / "gsm8k" / f"{split}.jsonl").read_bytes().splitlines():
            found += json.loads(line).values()
    for line in (DATA / "mbpp" / "mbpp.jsonl").read_bytes().splitlines():
        row = json.loads(line)
        found += [row["text"], row["code"], *row["test_list"]]
    for article in json.loads((DATA / "squad" / "dev-v2.0.json").read_text("utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            found += [paragraph["context"], *(each["question"] for each in paragraph["qas"])]
    return found


@needs_llama3
def test_llama_3_is_the_published_one(llama3):
    """Ids of the special tokens are those of Meta's own program."""
    assert (llama3.kind, llama3.vocab_size, len(llama3.special_tokens)) == ("tiktoken", 128_256, 256)
    assert {
        name: llama3.special(name) for name in ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>")
    } == {
        "<|begin_of_text|>": 128_000,
        "<|end_of_text|>": 128_001,
        "<|eot_id|>": 128_009,
    }
    headers = ["<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|python_tag|>"]
    assert [llama3.special(name) for name in headers] == [128_006, 128_007, 128_008, 128_010]
    assert llama3.special("<|reserved_special_token_245|>") == 128_255
    # The example of Meta's own test.
    assert llama3.encode("This is a test sentence.") == [2028, 374, 264, 1296, 11914, 13]


@needs("gsm8k", "mbpp", "squad")
@needs_llama3
@pytest.mark.slow
def test_every_published_text_has_tiktokens_ids(llama3):
    """With whichever encoder: GSM8K, MBPP and SQuAD, every text; and each decodes to itself."""
    reference = reference_of(LLAMA3)
    for text in published_texts():
        ids = llama3.encode(text)
        assert ids == reference.encode_ordinary(text)
        assert llama3.decode(ids) == text


# SentencePiece and Hugging Face files of other kinds


def test_user_defined_marks_are_not_found_in_text(tmp_path):
    """SentencePiece finds every user-defined symbol; what looks like a mark is left to the chat format."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()), model_prefix=str(tmp_path / "u"), vocab_size=60, minloglevel=2,
        user_defined_symbols=["<sep>", "##", "[CLS]"], hard_vocab_limit=False,
    )  # fmt: skip
    plain = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "u.model"))
    tokenizer = load_tokenizer(tmp_path / "u.model")
    marks = {plain.piece_to_id("<sep>"), plain.piece_to_id("[CLS]")}
    assert marks <= set(plain.encode("the<sep>## dog[CLS]"))
    assert not marks & set(tokenizer.encode("the<sep>## dog[CLS]"))
    assert marks <= set(tokenizer.special_tokens.values())
    assert tokenizer.encode("the ## quick") == plain.encode("the ## quick")
    assert plain.piece_to_id("##") in tokenizer.encode("the ## quick")
    assert tokenizer.decode([plain.piece_to_id("<sep>"), *tokenizer.encode("the dog")]) == "<sep>the dog"


def json_tokenizer(tmp_path, model, added=(), **more):
    """A tokenizer.json of the given parts, loaded, and its path."""
    token = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    document = {
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
        "padding": None,
        "added_tokens": [token | {"id": n, "content": c, "special": s} for n, c, s in added],
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": model,
    } | more
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return load_tokenizer(path), path


def test_a_unigram_model_does_not_find_special_tokens(tmp_path):
    """T5's models have </s> in their own vocabulary, with a score that beats all others."""
    letters = [[each, -5.0] for each in "<>/sab"]
    model = {
        "type": "Unigram",
        "unk_id": 2,
        "vocab": [["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0], *letters],
    }
    added = [(0, "<pad>", True), (1, "</s>", True), (2, "<unk>", True), (9, "<x>", True)]
    tokenizer, path = json_tokenizer(tmp_path, model, added)
    assert tokenizers.Tokenizer.from_file(str(path)).encode("a</s>").ids[-1] == 1
    assert tokenizer.encode("a</s>b") == [7, 3, 5, 6, 4, 8]
    assert tokenizer.encode("<x><pad>") == [3, 2, 4, 3, 2, 7, 2, 4]
    assert tokenizer.special_tokens == {"<pad>": 0, "</s>": 1, "<x>": 9}
    assert tokenizer.decode([7, 1, 9]) == "a</s><x>"
    assert tokenizer.vocab_size == 10


def test_a_word_level_model_does_not_find_special_tokens(tmp_path):
    """A whole word that is a special token's name is an unknown word."""
    model = {"type": "WordLevel", "vocab": {"[UNK]": 0, "[SEP]": 1, "hi": 2}, "unk_token": "[UNK]"}
    tokenizer, _ = json_tokenizer(
        tmp_path, model, [(0, "[UNK]", True), (1, "[SEP]", True)], pre_tokenizer={"type": "WhitespaceSplit"}
    )
    assert tokenizer.encode("hi [SEP] hi") == [2, 0, 2]


def test_added_pieces_of_text_stay_text(tmp_path):
    """Runs of spaces that GPT-NeoX adds are found, marks that a file does not call special are not."""
    alphabet = {each: number for number, each in enumerate("abcthink<>/|eoĠ_d")}
    assert len(alphabet) == 17
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {"type": "BPE", "vocab": alphabet, "merges": []}
    added = [(17, "    ", False), (18, "<think>", False), (19, "<|eot|>", True)]
    tokenizer, path = json_tokenizer(tmp_path, model, added, decoder=level, pre_tokenizer=level)
    plain = tokenizers.Tokenizer.from_file(str(path))
    plain.no_truncation()
    assert tokenizer.encode("a    b") == plain.encode("a    b").ids == [0, 17, 1]
    assert not {18, 19} & set(tokenizer.encode("<think>a<|eot|>"))
    assert tokenizer.decode([*tokenizer.encode("<think>a    <|eot|>"), 19]) == "<think>a    <|eot|><|eot|>"
    assert list(tokenizer.special_tokens) == ["<think>", "<|eot|>"]


@pytest.mark.parametrize("normalized", [True, False])
def test_a_mark_is_not_found_before_or_after_normalization(tmp_path, normalized):
    """Added tokens may be looked for in the text or in its normalized form; marks are in neither."""
    alphabet = {each: number for number, each in enumerate("<|eot>Ġhi")}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {"type": "BPE", "vocab": alphabet, "merges": []}
    mark = {"id": 9, "content": "<|eot|>", "special": True, "normalized": normalized}
    mark |= {"single_word": False, "lstrip": True, "rstrip": True}
    tokenizer, _ = json_tokenizer(
        tmp_path,
        model,
        decoder=level,
        pre_tokenizer=level,
        normalizer={"type": "Lowercase"},
        added_tokens=[mark],
    )
    assert tokenizer.decode(tokenizer.encode("hi <|EOT|> <|eot|>")) == "hi <|eot|> <|eot|>"
    assert 9 not in tokenizer.encode("hi <|EOT|> <|eot|>")


def test_a_folder_is_searched_for_its_tokenizer(paths, tmp_path):
    """tokenizer.json before tokenizer.model before spiece.model; without any the error says what is there."""
    for name, kind in [
        ("spiece.model", "sentencepiece"),
        ("tokenizer.model", "tiktoken"),
        ("tokenizer.json", "huggingface"),
    ]:
        (tmp_path / name).write_bytes(paths[kind].read_bytes())
        assert load_tokenizer(tmp_path).kind == kind
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text("{}")
    with pytest.raises(
        TokenizerError, match=r"found config.json; expected tokenizer.json, .* give the folder"
    ):
        load_tokenizer(tmp_path / "other")


# Damaged files


def _without(lines, number):
    return [*lines[:number], *lines[number + 1 :]]


@pytest.mark.medium
@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda lines: lines[:100_000], r"found 100,000 ranks; expected the 128,000"),
        (lambda lines: _without(lines, 500), r"rank 500 is missing; expected every rank from 0 to 127999"),
        (lambda lines: [*lines, lines[7]], r":128001: found rank 7 again \(it is on line 8"),
        (lambda lines: [*lines, lines[7].split()[0] + b" 128000"], r":128001: found the token .* again"),
        (lambda lines: [*lines[:9], b"*A== 9", *lines[10:]], r":10: found '\*A== 9'; expected a token"),
        (lambda lines: [*lines[:9], b"QQ==", *lines[10:]], r":10: found 'QQ=='; expected a token in base64"),
        (lambda lines: [*lines[:9], b"QQ== -1", *lines[10:]], r":10: found 'QQ== -1'"),
        (lambda lines: [*lines[:-1], lines[-1][:2]], r":128000: found '..'"),
        (lambda lines: [*_without(lines, 65), b"QUFBQUFB 65"], r"no token is the byte 0x41"),
    ],
)  # fmt: skip
def test_a_damaged_rank_file_is_refused(tmp_path, damage, says):
    """Never wrong ids: what was found, on which line, and what was expected."""
    path = tmp_path / "tokenizer.model"
    path.write_bytes(b"\n".join(damage(rank_lines())))
    with pytest.raises(TokenizerError, match=says) as caught:
        load_tokenizer(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty; expected tiktoken ranks"),
        (b" \n", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer: fetch the file"),
        (b"PK\x03\x04aaaa", "a zip archive"),
        (b"\x1f\x8baaaa", "gzip data"),
        (b"GGUF\x03", "a GGUF model"),
        (b"<!doctype html>", "a page in HTML"),
        (b"hello world\n", "found a file that begins with b'hello world"),
        (b"\x00\x01\x02", "found a file that begins with"),
        (b"{", "cannot be used .*fetch it again"),
        (b'{"a": 1}', "found JSON with 'a'; expected a tokenizer.json"),
        (b'{"model": {}, "added_tokens": []}', "cannot be used"),
        (b'{"model": {"type": "BPE"}, "added_tokens": [1]}', "cannot be used"),
        (b"\n\x03\n\x01a", "SentencePiece model that is cut short or damaged"),
    ],
)
def test_what_is_no_tokenizer_is_refused(tmp_path, content, says):
    """A file of another kind is named for what it is."""
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(TokenizerError, match=says) as caught:
        load_tokenizer(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("kind", ["sentencepiece", "huggingface"])
def test_no_truncated_file_is_taken(paths, tmp_path, kind):
    """Wherever a file breaks off, it is an error; a SentencePiece file is whole once its parts are."""
    content = paths[kind].read_bytes()
    path = tmp_path / "file"
    for cut in [*range(2, len(content) - 400, 97), len(content) - 400]:
        path.write_bytes(content[:cut])
        with pytest.raises(TokenizerError):
            load_tokenizer(path)


@given(data=st.data())
@pytest.mark.parametrize("kind", ["sentencepiece", "huggingface"])
def test_changed_bytes_end_in_an_error_or_a_tokenizer(paths, tmp_path_factory, kind, data):
    """No damage ends in a traceback."""
    content = bytearray(paths[kind].read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "file"
    path.write_bytes(bytes(content))
    found = some.result_or_error(load_tokenizer, path)
    assert isinstance(found, DataprepError) or found.vocab_size > 0


def test_a_missing_file_is_named(tmp_path):
    """A path that leads nowhere is no name of an encoding."""
    with pytest.raises(FileError, match="no such file"):
        load_tokenizer(tmp_path / "tokenizer.model")


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_library_names_the_extra(paths, monkeypatch, kind):
    """Whoever lacks the library is told what to install."""
    package = {"huggingface": "tokenizers"}.get(kind, kind)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"{package}.*dataprep\[tokens\]"):
        load_tokenizer(paths[kind])


# tiktoken's named encodings


def test_a_named_encoding_is_never_downloaded(tmp_path, monkeypatch):
    """Without its file the name is an error that says where the file belongs; a wrong file is one too."""
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    with pytest.raises(TokenizerError, match=r"cl100k_base: its file is not here, .*TIKTOKEN_CACHE_DIR"):
        load_tokenizer("cl100k_base")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    with pytest.raises(
        TokenizerError, match=r"put https://.*/cl100k_base.tiktoken at .*/9b5ad71b2ce5302211f9c6"
    ):
        load_tokenizer("cl100k_base")
    (tmp_path / "9b5ad71b2ce5302211f9c61530b329a4922fc6a4").write_bytes(b"IQ== 0\n")
    with pytest.raises(
        TokenizerError, match=r"found SHA-256 \w+…; expected 223921b76ee99bde… of cl100k_base"
    ):
        load_tokenizer("cl100k_base")


@pytest.mark.medium
@pytest.mark.parametrize("name", encodings.ENCODINGS)
def test_openais_files_are_known_by_name_and_by_content(tmp_path, monkeypatch, name):
    """With its file there, an encoding is tiktoken's own: pattern, special tokens, and gaps between ranks."""
    published = pytest.importorskip("tiktoken_ext.openai_public")
    lines = rank_lines()[:5000]
    content = (
        b"\n".join(lines[:300] + lines[301:]) + b"\n"
    )  # p50k_base leaves out the rank of its special token
    stem = encodings.ENCODINGS[name][0]
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    digest = hashlib.sha256(content).hexdigest()
    for each in (name, stem):
        monkeypatch.setitem(encodings.ENCODINGS, each, (stem, digest))
    url = encodings._URL.format(stem)
    (tmp_path / hashlib.sha1(url.encode()).hexdigest()).write_bytes(content)
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, content.splitlines())}
    with monkeypatch.context() as patched:
        patched.setattr(published, "load_tiktoken_bpe", lambda *_, **__: ranks)
        reference = tiktoken.Encoding(**published.ENCODING_CONSTRUCTORS[name]() | {"explicit_n_vocab": None})
    (tmp_path / "a file").write_bytes(content)
    by_name, by_content = load_tokenizer(name), load_tokenizer(tmp_path / "a file")
    assert (by_content.fingerprint == by_name.fingerprint) == (name == stem)
    assert by_name.special_tokens == {
        each: reference.encode_single_token(each) for each in reference.special_tokens_set
    }
    for text in ("It's the 12345th <|endoftext|> of \n\n MANY  texts", *corpus(20)):
        assert by_name.encode(text) == reference.encode_ordinary(text)
        assert by_name.decode(by_name.encode(text)) == text
    pickled = [pickle.dumps(each) for each in (by_name, by_content)]
    for path in tmp_path.iterdir():
        path.unlink()  # another machine need not have it
    for data, each in zip(pickled, (by_name, by_content), strict=True):
        assert pickle.loads(data).fingerprint == each.fingerprint


# Training


@pytest.mark.parametrize("kind", ["sentencepiece", "bpe"])
def test_training_is_deterministic_and_has_what_layouts_need(tmp_path, kind):
    """The same texts give the same bytes; every chat format's special tokens are there; all bytes too."""
    size = 400 if kind == "sentencepiece" else 320
    first = train_tokenizer(corpus(), size, kind)
    assert first == train_tokenizer(corpus(), size, kind)
    assert first != train_tokenizer([each.upper() for each in corpus()], size, kind)
    path = tmp_path / "file"
    path.write_bytes(first)
    tokenizer = load_tokenizer(path)
    assert tokenizer.vocab_size == size
    assert tokenizer.special_tokens.keys() >= {*CHAT_TOKENS, "<s>", "</s>", "<pad>"}
    assert tokenizer.decode(tokenizer.encode("漢字 👩‍🚀\n\n  x\t")) == "漢字 👩‍🚀\n\n  x\t"
    assert len(tokenizer.encode(" quick brown")) <= 4


@pytest.mark.parametrize("kind", ["sentencepiece", "bpe"])
def test_training_adds_special_tokens(tmp_path, kind):
    """A name is a token of its own, and text in texts; one that the tokenizer has anyway changes nothing."""
    size = 420 if kind == "sentencepiece" else 330
    path = tmp_path / "file"
    path.write_bytes(train_tokenizer(corpus(), size, kind, special_tokens=["<think>", "[CALL]", "<think>"]))
    tokenizer = load_tokenizer(path)
    assert tokenizer.vocab_size == size
    assert tokenizer.special_tokens.keys() >= {*CHAT_TOKENS, "<think>", "[CALL]"}
    assert tokenizer.special("<think>") not in tokenizer.encode("<think>")
    assert tokenizer.decode([tokenizer.special("[CALL]")]) == "[CALL]"
    plain = train_tokenizer(corpus(), size, kind)
    assert train_tokenizer(corpus(), size, kind, special_tokens=["<pad>", "<|im_end|>"]) == plain
    for name in ("think", "<a b>", ""):
        with pytest.raises(UsageError, match=r"--special-token .*expected a name such as <think>"):
            train_tokenizer(corpus(), size, kind, special_tokens=[name])


@pytest.mark.parametrize("kind", ["sentencepiece", "bpe"])
@pytest.mark.parametrize(
    ("texts", "size", "says"),
    [
        (
            corpus(),
            50_000,
            r"cannot be made of these texts: the texts give [\d,]+: use --vocab-size \d+ or less",
        ),
        (corpus(), 200, r"need \d+: use --vocab-size \d+ or more"),
        ([], 400, "no text to learn from"),
        (["", "\n\n"], 400, "no text to learn from"),
    ],
)
def test_a_vocabulary_that_cannot_be_made_is_refused(kind, texts, size, says):
    """The error says which size these texts can fill."""
    with pytest.raises(UsageError, match=says):
        train_tokenizer(texts, size, kind)


def test_long_lines_are_learned_from():
    """SentencePiece leaves out lines of more than 4,192 bytes; ours are cut instead."""
    line = " ".join(corpus())
    assert len(line) > 10_000
    assert len(train_tokenizer([line, "\ud800\0"], 400)) > 1000


def test_texts_are_found_in_rows_and_plain_text(tmp_path):
    """Contents of chats, strings of other rows wherever they stand, lines of text; ids and roles are none."""
    chat = {
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}],
        "id": "7",
    }
    row = {
        "question": "Why?",
        "choices": ["a", "b"],
        "answer": {"label": "a", "text": "A"},
        "source": "x",
        "n": 1,
    }
    (tmp_path / "chat.jsonl").write_text(json.dumps(chat))
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    (tmp_path / "plain.txt").write_text("one\ntwo\n")
    paths = [str(tmp_path / name) for name in ("chat.jsonl", "rows.json", "plain.txt")]
    assert list(texts_of_files(paths)) == ["Hi", "Ho", "Why?", "a", "b", "a", "A", "one", "two"]
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(InputError, match="found no text"):
        list(texts_of_files([str(tmp_path / "empty.txt")]))


# The commands


def test_train_and_show_on_the_command_line(run, tmp_path):
    """What train writes, show reads; the output is replaced whole or not at all."""
    (tmp_path / "texts.txt").write_text("\n".join(corpus()))
    done = run("tokenizer", "train", "texts.txt", "-o", "tokenizer.model", "--vocab-size", "420")
    assert (done.code, done.out) == (0, b"")
    assert done.err == "tokenizer train: sentencepiece, 420 ids → tokenizer.model\n"
    before = (tmp_path / "tokenizer.model").read_bytes()
    failed = run("tokenizer", "train", "texts.txt", "-o", "tokenizer.model", "--vocab-size", "99999")
    assert (failed.code, failed.out) == (2, b"")
    assert "use --vocab-size" in failed.err
    assert (tmp_path / "tokenizer.model").read_bytes() == before
    assert listing(tmp_path) == ["texts.txt", "tokenizer.model"]
    facts = run("tokenizer", "show", "tokenizer.model").out.decode()
    assert "sentencepiece" in facts
    assert "<|eot_id|>" in facts
    assert load_tokenizer(tmp_path / "tokenizer.model").fingerprint in facts
    assert json.loads(run("tokenizer", "show", "tokenizer.model", "--json").out)["vocab_size"] == 420
    shown = run("tokenizer", "show", "tokenizer.model", "the <|eot_id|>\n\u00e9").out
    assert b"\x1b" not in shown
    assert b"<0x0A>" in shown or "↵".encode() in shown
    tokens = json.loads(run("tokenizer", "show", "tokenizer.model", "the dog", "--json").out)
    assert "".join(token["piece"] for token in tokens) == "the·dog"


def test_training_does_not_write_over_its_texts(run, tmp_path):
    """A mistyped -o costs no data."""
    (tmp_path / "texts.txt").write_text("\n".join(corpus()))
    done = run("tokenizer", "train", "texts.txt", "-o", "texts.txt", "--vocab-size", "420")
    assert done.code == 2
    assert "replace an input" in done.err


def test_an_output_that_names_a_folder_is_an_error(run, tmp_path):
    """A tokenizer is one file: `-o out/` wrote a file named `out`."""
    (tmp_path / "texts.txt").write_text("\n".join(corpus()))
    done = run("tokenizer", "train", "texts.txt", "-o", "out/", "--vocab-size", "420")
    assert (done.code, done.err) == (
        2,
        "error: out/: names a folder, and this output is one file; give a file's path\n",
    )
    assert listing(tmp_path) == ["texts.txt"]


def test_a_bad_tokenizer_ends_a_command_with_1(run, tmp_path):
    """The message, and no traceback."""
    (tmp_path / "x.model").write_bytes(b"")
    (tmp_path / "rows.jsonl").write_text('{"a": "b"}\n')
    for arguments in (("tokenizer", "show", "x.model"), ("stats", "rows.jsonl", "--tokenizer", "x.model")):
        done = run(*arguments)
        assert (done.code, done.out) == (1, b"")
        assert done.err.startswith("error: x.model: the file is empty; expected")


@pytest.mark.medium
@given(st.lists(some.chat_rows(), min_size=1, max_size=6))
def test_stats_counts_tokens(loaded, rows):
    """By role and by source, the figures are those of encoding each text."""
    tokenizer = loaded["huggingface"]
    found = stats(rows, tokenizer.encode)
    counts, sources = {}, {}
    for row in rows:
        numbers = [len(tokenizer.encode(message["content"])) for message in row["messages"]]
        for message, number in zip(row["messages"], numbers, strict=True):
            counts.setdefault(message["role"], []).append(number)
        sources.setdefault(row.get("source") or "the given rows", []).append(sum(numbers))
    for figures, expected in ((found.tokens, counts), (found.tokens_by_source, sources)):
        assert figures.keys() == expected.keys()
        for name, numbers in expected.items():
            each = figures[name]
            assert (each.texts, each.min, each.max) == (len(numbers), min(numbers), max(numbers))
            assert each.total == sum(numbers)
    assert stats(rows).tokens is None
    assert "tokens" not in stats(rows).to_json()


def test_stats_prints_tokens(run, paths, tmp_path):
    """The command shows a table of tokens by role, one by source, and both as JSON."""
    row = {"messages": [{"role": "user", "content": "the dog"}], "source": "mine"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    arguments = ("stats", "rows.jsonl", "--tokenizer", paths["huggingface"])
    text = run(*arguments).out.decode()
    assert "tokens" in text
    assert "total" in text
    figures = json.loads(run(*arguments, "--json").out)
    assert figures["tokens"]["user"]["total"] == figures["tokens_by_source"]["mine"]["total"] >= 2


@given(st.lists(st.text(alphabet="the quick fox1(]\n é", max_size=12), min_size=1, max_size=4))
def test_a_byte_level_tokenizer_with_a_space_before_texts(texts):
    """`add_prefix_space`: the ids of the library; texts come back, but for one space that they begin with."""
    ours, theirs = prefixed()
    for text in texts:
        ids = ours.encode(text)
        assert ids == theirs.encode(text, add_special_tokens=False).ids
        assert ours.decode(ids) == ours.decode_bytes(ids).decode() == text.removeprefix(" ")
        if text:
            # Behind another text no space is put before it, and one that it begins with is its own.
            assert decode_after(ours, encode_after(ours, text)) == text.encode()
    (number,) = ours.special_tokens.values()
    joined = [token for text in texts for token in (*ours.encode(text), number)]
    together = theirs.encode("".join(f"{text}<|end|>" for text in texts), add_special_tokens=False)
    assert joined == together.ids
    assert ours.decode(joined) == "".join(text.removeprefix(" ") + "<|end|>" for text in texts)
    assert (ours.space, ours.drops_space) == ("each", True)


@functools.cache
def prefixed():
    """A byte-level tokenizer with `add_prefix_space`: ours, and the library's."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    made.decoder = tokenizers.decoders.ByteLevel()
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=400, initial_alphabet=letters, show_progress=False)
    made.train_from_iterator(corpus(), trainer)
    made.add_special_tokens([tokenizers.AddedToken("<|end|>", normalized=False)])
    return HuggingFaceTokenizer("tokenizer.json", made.to_str().encode()), made
