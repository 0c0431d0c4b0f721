"""A tokenizer as the vocabulary of a GGUF file, which gives llama.cpp the same ids.

llama.cpp has one tokenizer of byte-level pairs (``gpt2``) and one of SentencePiece's pairs (``llama``). It
knows by name how texts are cut into words before (``tokenizer.ggml.pre``), and expresses little else. A
tokenizer that it would run differently is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from dataprep.core.errors import RowError, TokenizerError, first_line
from dataprep.tokens.export import TEXTS
from dataprep.tokens.tokenizer_json import tokenizer_json
from dataprep.tokens.tokenizers.base import SPACE_MARK, looks_special, needed
from dataprep.tokens.tokenizers.huggingface import HuggingFaceTokenizer, byte_alphabet
from dataprep.tokens.tokenizers.sentencepiece import SentencePieceTokenizer, read_model
from dataprep.tokens.tokenizers.tiktoken_ranks import LLAMA3_PATTERN

if TYPE_CHECKING:
    from gguf import GGUFWriter

    from dataprep.tokens.tokenizers.base import Tokenizer

# The numbers of llama.cpp's token types, which are also those of sentencepiece_model.proto.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
_BPE_MODEL = 2  # that proto's number of the algorithm

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# The same words, as tiktoken's r50k_base and p50k_base have them in Oniguruma's dialect.
_GPT2_POSSESSIVE = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++\z|\s+(?!\S)|\s"
_QWEN2 = LLAMA3_PATTERN.replace(r"\p{N}{1,3}", r"\p{N}")
_DIGITS = "digits"  # each digit is cut off first
# llama.cpp's name for the patterns that cut a text, if merges decide about each word; and if a word that is a
# token is that token, whatever the merges say.
_PRE: dict[tuple[str, ...], tuple[str, str | None]] = {
    (_GPT2,): ("gpt-2", None),
    (_GPT2_POSSESSIVE,): ("gpt-2", None),
    (_DIGITS, _GPT2): ("smollm", None),
    (LLAMA3_PATTERN,): ("smaug-bpe", "llama-bpe"),
    (_QWEN2,): ("qwen2", None),
}
_LEAST = -1e6  # the score of tokens that no merge makes
# Added tokens that files do not always call special, and llama.cpp's own converter takes for control tokens.
_CONTROL = re.compile(r"<\|.*\|>|<｜.*｜>|<pad>|<mask>|<2mass>|\[@BOS@\]|<unused.*>", re.DOTALL)


@dataclass(slots=True)
class Vocabulary:
    """A vocabulary as GGUF has it; ``tokens`` and ``types`` have an item for each id."""

    model: str  # "gpt2" or "llama"
    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str] = field(default_factory=list)  # of gpt2
    scores: list[float] = field(default_factory=list)  # of llama
    space: bool = False  # whether a space is put before each text

    def pad(self, size: int) -> None:
        """Add unused tokens up to the number of embeddings."""
        missing = range(len(self.tokens), size)
        self.tokens += [f"[PAD{number}]" for number in missing]
        self.types += [UNUSED] * len(missing)
        if self.scores:
            self.scores += [_LEAST] * len(missing)

    def write(self, writer: GGUFWriter) -> None:
        """Write the vocabulary."""
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.types)
        if self.scores:
            writer.add_token_scores(self.scores)
        if self.merges:
            writer.add_token_merges(self.merges)
        writer.add_add_space_prefix(self.space)


def vocabulary_of(tokenizer: Tokenizer) -> Vocabulary:
    """Return the vocabulary of a tokenizer of any kind.

    Raises:
        TokenizerError: llama.cpp would give other ids; the message says why.
        MissingDependencyError: a library of the extra ``tokens`` is not installed.
    """
    if tokenizer.space == "first":
        raise _refused("it puts a space before the first text of a row only, llama.cpp before each or none")
    if isinstance(tokenizer, SentencePieceTokenizer):
        return _of_sentencepiece(tokenizer)
    content = tokenizer.content if isinstance(tokenizer, HuggingFaceTokenizer) else tokenizer_json(tokenizer)
    document = orjson.loads(content)
    model = document["model"]
    if model.get("type") != "BPE":
        raise _refused(
            f"its model is {model.get('type')}, and llama.cpp has byte-level pairs and SentencePiece's pairs "
            "(BPE): train one with `dataprep tokenizer train`"
        )
    tokens, types = _tokens(document)
    if (document.get("decoder") or {}).get("type") == "ByteLevel":
        for name in ("continuing_subword_prefix", "end_of_word_suffix"):
            # The library adds it to pieces of a word before it merges them.
            if model.get(name):
                raise _refused(f"its {name} is {model[name]!r}, and llama.cpp marks no pieces of words")
        merges = [" ".join(pair) for pair in _pairs(model)]
        return Vocabulary("gpt2", _pre_of(document), tokens, types, merges)
    found = Vocabulary("llama", "default", tokens, types, space=tokenizer.space == "each")
    _score(found, _pairs(model), tokenizer)
    return found


def _pairs(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what each merge joins."""
    pairs = (pair.split(" ", 1) if isinstance(pair, str) else pair for pair in model["merges"])
    return [(left, right) for left, right in pairs]


def _refused(reason: str) -> TokenizerError:
    return TokenizerError(f"the tokenizer cannot be exported: {reason}")


def _kind_of(name: str, special: bool) -> int:
    """Return the type of an added token; ``special`` is what the tokenizer's file says of it."""
    # Not by `looks_special`: llama.cpp shows no control token, and `<think>` or `<tool_call>` in an answer
    # must be seen by those who parse it.
    return CONTROL if special or _CONTROL.fullmatch(name) else USER_DEFINED


def _tokens(document: Mapping[str, Any]) -> tuple[list[str], list[int]]:
    """Return text and type of each id of a ``tokenizer.json``."""
    model = document["model"]
    names = {number: name for name, number in model["vocab"].items()}
    kinds = dict.fromkeys(names, NORMAL)
    for token in document.get("added_tokens") or ():
        names[token["id"]] = token["content"]
        kinds[token["id"]] = _kind_of(token["content"], token["special"])
        if token["lstrip"] or token["rstrip"] or token["single_word"]:
            raise _refused(
                f"its token {token['content']!r} takes white space beside it, or stands for whole words "
                "only, which GGUF cannot say"
            )
    vocab = model["vocab"]
    if model.get("byte_fallback"):
        single = [f"<0x{byte:02X}>" for byte in range(256)]
        kinds |= {vocab[name]: BYTE for name in single if name in vocab}
    if model.get("unk_token") in vocab:
        kinds[vocab[model["unk_token"]]] = UNKNOWN
    numbers = range(1 + max(names))
    tokens = [names.get(number, f"[PAD{number}]") for number in numbers]
    return tokens, [kinds.get(number, UNUSED) for number in numbers]


# --- byte-level pairs


def _pre_of(document: Mapping[str, Any]) -> str:
    """Return llama.cpp's name for how a ``tokenizer.json`` cuts texts."""
    normalizer = document.get("normalizer")
    # Qwen's tokenizers compose characters first, and llama.cpp does not. Nearly all texts are composed.
    if normalizer is not None and normalizer.get("type") != "NFC":
        raise _refused(f"it changes texts first (normalizer {normalizer.get('type')}), llama.cpp does not")
    patterns = tuple(_patterns(document.get("pre_tokenizer")))
    if patterns not in _PRE:
        shown = " and ".join(patterns) or "nothing"
        names = ", ".join(sorted({name for pair in _PRE.values() for name in pair if name}))
        raise _refused(f"it cuts texts by {shown}, for which llama.cpp has no name; expected that of {names}")
    plain, whole = _PRE[patterns]
    if not document["model"].get("ignore_merges"):
        return plain
    return whole or _unless_needed(document["model"], plain)


def _patterns(step: Mapping[str, Any] | None) -> Iterable[str]:
    """Yield what cuts texts, one step after the other."""
    if step is None:
        return
    kind = step["type"]
    if kind == "Sequence":
        for inner in step["pretokenizers"]:
            yield from _patterns(inner)
    elif kind == "ByteLevel" and not step["add_prefix_space"]:
        # Older files lack the field, and the library then takes true.
        if step.get("use_regex", True):
            yield _GPT2
    elif kind == "Digits" and step["individual_digits"]:
        yield _DIGITS
    elif kind == "Split" and step["behavior"] == "Isolated" and not step["invert"]:
        yield step["pattern"].get("Regex", repr(step["pattern"]))
    else:
        yield f"{kind} {orjson.dumps({key: value for key, value in step.items() if key != 'type'}).decode()}"


def _unless_needed(model: Mapping[str, Any], name: str) -> str:
    """Return a name for tokenizers whose merges make every token, after checking that these do."""
    library = needed("tokenizers", "exporting a tokenizer")
    merging = library.models.BPE(vocab=model["vocab"], merges=_pairs(model))
    alphabet = byte_alphabet().keys()
    for token in model["vocab"]:
        # Added tokens, which are found before a text is cut, can have other characters.
        if alphabet >= set(token) and not looks_special(token) and len(merging.tokenize(token)) != 1:
            raise _refused(f"its merges do not make {token!r}, and llama.cpp's {name} goes by merges alone")
    return name


# --- SentencePiece's pairs


def _of_sentencepiece(tokenizer: SentencePieceTokenizer) -> Vocabulary:
    """Return the vocabulary of a SentencePiece model."""
    model = read_model(tokenizer.content)
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    types = [
        _kind_of(piece.piece, special=False) if piece.type == USER_DEFINED else piece.type
        for piece in model.pieces
    ]
    for reason, holds in (
        ("is not one of pairs (bpe)", trainer.model_type != _BPE_MODEL),
        ("has no bytes for unknown characters", not trainer.byte_fallback),
        ("changes texts first", bool(normalizer.precompiled_charsmap)),
        ("removes white space", normalizer.remove_extra_whitespaces),
        ("leaves spaces as they are", not normalizer.escape_whitespaces),
        ("writes white space behind words", trainer.treat_whitespace_as_suffix),
        ("has unused pieces", UNUSED in types),
    ):
        if holds:
            raise _refused(
                f"the SentencePiece model {reason}, llama.cpp does not: train one with "
                "`dataprep tokenizer train`"
            )
    tokens = [piece.piece for piece in model.pieces]
    scores = [float(piece.score) for piece in model.pieces]
    found = Vocabulary("llama", "default", tokens, types, scores=scores, space=normalizer.add_dummy_prefix)
    _check_spaces(found)
    return found


def _check_spaces(found: Vocabulary) -> None:
    # Behind a mark, which no text contains, the student was trained with that space too.
    symbols = [token for token, kind in zip(found.tokens, found.types, strict=True) if kind == USER_DEFINED]
    if found.space and (token := next((name for name in symbols if not looks_special(name)), None)):
        raise _refused(f"llama.cpp would put a space behind its token {token!r} in a text")


def _score(found: Vocabulary, merges: Sequence[tuple[str, str]], tokenizer: Tokenizer) -> None:
    """Set the scores by which llama.cpp merges as a list of merges does, and check that it does."""
    if found.types.count(BYTE) < 256:
        raise _refused("it has no bytes for unknown characters, which llama.cpp needs")
    _check_spaces(found)
    # llama.cpp merges the neighbours whose token has the best score: that of the first merge that makes it.
    scores: dict[str, float] = {}
    for rank, (left, right) in enumerate(merges):
        scores.setdefault(left + right, -float(rank))
    found.scores = [
        scores.get(token, _LEAST) if kind == NORMAL else 0.0
        for token, kind in zip(found.tokens, found.types, strict=True)
    ]
    _compare(found, tokenizer)


def _compare(found: Vocabulary, tokenizer: Tokenizer) -> None:
    """Compare SentencePiece's own library, which merges by scores as llama.cpp does, with a tokenizer."""
    library = needed("sentencepiece", "exporting a tokenizer")
    proto = needed("sentencepiece.sentencepiece_model_pb2", "exporting a tokenizer")
    model = proto.ModelProto()
    model.trainer_spec.model_type, model.trainer_spec.byte_fallback = _BPE_MODEL, True
    model.normalizer_spec.name, model.normalizer_spec.add_dummy_prefix = "identity", found.space
    model.normalizer_spec.remove_extra_whitespaces = False
    for token, score, kind in zip(found.tokens, found.scores, found.types, strict=True):
        # As the tokenizer reads texts, in which it finds no mark.
        hidden = kind == USER_DEFINED and looks_special(token)
        model.pieces.add(piece=token, score=score, type=CONTROL if hidden else kind)
    try:
        merged = library.SentencePieceProcessor(model_proto=model.SerializeToString())
    except RuntimeError as error:
        raise _refused(f"SentencePiece does not take it: {first_line(error)}") from None
    known = zip(found.tokens, found.types, strict=True)
    words = [token.replace(SPACE_MARK, " ") for token, kind in known if kind == NORMAL]
    for text in (*TEXTS, *words):
        try:
            expected = tokenizer.encode(text)
        except RowError:  # a U+2581, which no row may contain
            continue
        if (ids := merged.encode(text)) != expected:
            raise _refused(f"llama.cpp would read {text[:40]!r} as {ids[:8]}, not as {expected[:8]}")
