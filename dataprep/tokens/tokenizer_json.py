"""Turn rank files and SentencePiece models into a ``tokenizer.json`` that gives the same ids.

Built with the objects of the library ``tokenizers``, so that what is written is what the library reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from dataprep.core.errors import TokenizerError
from dataprep.tokens.tokenizers.base import SPACE_MARK, Tokenizer, needed
from dataprep.tokens.tokenizers.huggingface import byte_alphabet
from dataprep.tokens.tokenizers.sentencepiece import SentencePieceTokenizer, read_model
from dataprep.tokens.tokenizers.tiktoken_ranks import RankTokenizer

# The numbers of sentencepiece_model.proto.
_UNIGRAM, _BPE = 1, 2
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED = 1, 2, 3, 4, 5

_SYMBOL_SCORE = -0.1  # SentencePiece's score for user-defined symbols, better than any piece's
_ADD_TOKENS = ("TemplateProcessing", "RobertaProcessing", "BertProcessing")

Part = TypeVar("Part", bytes, str)


def tokenizer_json(tokenizer: Tokenizer) -> str:
    """Return the ``tokenizer.json`` of a rank file's or a SentencePiece model's tokenizer."""
    library = needed("tokenizers", "saving a tokenizer")
    symbols: set[str] = set()
    if isinstance(tokenizer, RankTokenizer):
        built = _from_ranks(library, tokenizer)
    elif isinstance(tokenizer, SentencePieceTokenizer):
        built = _from_sentencepiece(library, tokenizer)
        pieces = read_model(tokenizer.content).pieces
        symbols = {piece.piece for piece in pieces if piece.type == _USER_DEFINED}
    else:
        raise TokenizerError(
            f"found a tokenizer of the class {type(tokenizer).__name__}; expected one that load_tokenizer "
            "gives: other kinds have no file that could be saved"
        )
    by_id = sorted(tokenizer.special_tokens, key=tokenizer.special_tokens.__getitem__)
    # Found as they are, and without changing the text beside them. Marks that are symbols of the model, such
    # as `<think>`, are not special to other programs: those leave special tokens out of the texts they show.
    added = [library.AddedToken(name, normalized=False, special=name not in symbols) for name in by_id]
    built.add_tokens(added)
    return str(built.to_str())


def with_end(document: Mapping[str, Any], end: str, number: int) -> dict[str, Any]:
    """Return a ``tokenizer.json`` that adds ``end``, and no other token, behind each text."""
    # Models of texts such as T5 read a token behind every text.
    # As JSON, because the library's objects don't show which steps a post-processor consists of.
    mark = {"SpecialToken": {"id": end, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    adds = {
        "type": "TemplateProcessing",
        "single": [first, mark],
        "pair": [first, mark, second, mark],
        "special_tokens": {end: {"id": end, "ids": [number], "tokens": [end]}},
    }
    kept = [step for step in _steps(document.get("post_processor")) if step["type"] not in _ADD_TOKENS]
    together = {"type": "Sequence", "processors": [*kept, adds]} if kept else adds
    return {**document, "post_processor": together}


def _steps(processor: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    if processor is None:
        return
    if processor["type"] != "Sequence":
        yield processor
        return
    for step in processor["processors"]:
        yield from _steps(step)


# --- rank files


def _from_ranks(library: Any, tokenizer: RankTokenizer) -> Any:
    character = {byte: sign for sign, byte in byte_alphabet().items()}
    ranks = tokenizer.ranks
    names = {token: "".join(map(character.__getitem__, token)) for token in ranks}
    vocab = {names[token]: rank for token, rank in ranks.items()}
    at_the_end = list(tokenizer.special_tokens.values()) == list(range(len(ranks), tokenizer.vocab_size))
    if not at_the_end:
        # The library numbers added tokens that the vocabulary lacks from the vocabulary's size on.
        vocab |= tokenizer.special_tokens
    merges = [(names[left], names[right]) for left, right in merges_of(ranks)]
    # ignore_merges: a piece of text that is a token is that token, however merges would cut it.
    built = library.Tokenizer(library.models.BPE(vocab=vocab, merges=merges, ignore_merges=True))
    built.pre_tokenizer = library.pre_tokenizers.Sequence(
        [
            library.pre_tokenizers.Split(library.Regex(oniguruma(tokenizer.pattern)), "isolated"),
            library.pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    built.decoder = library.decoders.ByteLevel()
    return built


def merges_of(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """Return the pair that each token is merged from, in the order of ranks."""
    # One pair is enough. If a token comes out of merging inside a longer text, no merge crossed its borders
    # before, so its inside was merged as it is merged alone, and by the same last pair. With a single pair
    # for a token, two pairs never compete for one rank, which a list of merges could not express.
    merges = []
    for token, _ in sorted(ranks.items(), key=lambda item: item[1]):
        parts = [token[at : at + 1] for at in range(len(token))]
        if len(parts) > 1 and (pair := last_pair(parts, ranks)) is not None:
            merges.append(pair)
    return merges


def last_pair(parts: list[Part], ranks: Mapping[Part, int]) -> tuple[Part, Part] | None:
    """Return what the last merge joins; ``None`` if merging ends before the parts are one."""
    rank_of = ranks.get
    pairs = [rank_of(parts[at] + parts[at + 1]) for at in range(len(parts) - 1)]
    while len(parts) > 2:
        # The pair of the lowest rank is merged first, and of several the leftmost.
        least = min((rank for rank in pairs if rank is not None), default=None)
        if least is None:
            return None
        at = pairs.index(least)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
        del pairs[at]
        if at:
            pairs[at - 1] = rank_of(parts[at - 1] + parts[at])
        if at < len(pairs):
            pairs[at] = rank_of(parts[at] + parts[at + 1])
    left, right = parts
    return (left, right) if pairs[0] is not None else None


def oniguruma(pattern: str) -> str:
    r"""Translate a pattern of tiktoken's to Oniguruma, the dialect of ``tokenizers``.

    >>> oniguruma(r"\p{N}{1,3}+|\s+$")
    '(?>\\p{N}{1,3})|\\s+\\z'
    """
    # In Oniguruma, `{1,3}+` repeats the whole once more instead of giving nothing back, and `$` also matches
    # before a line end in the middle of a text.
    item = r"(\\p\{\w+\}|\[(?:\\.|[^\]\\])*\]|\\?.)"
    pattern = re.sub(item + r"(\{\d+,\d+\})\+", r"(?>\1\2)", pattern)
    return re.sub(r"(?<!\\)\$", r"\\z", pattern)


# --- SentencePiece models


def _from_sentencepiece(library: Any, tokenizer: SentencePieceTokenizer) -> Any:
    model = read_model(tokenizer.content)
    for piece in model.pieces:
        if piece.type == _USER_DEFINED and piece.piece in tokenizer.special_tokens:
            piece.type = _CONTROL  # as the tokenizer itself treats it
    _check_expressible(model)
    symbols = [piece.piece for piece in model.pieces if piece.type == _USER_DEFINED]
    is_bpe = model.trainer_spec.model_type == _BPE
    built = library.Tokenizer(_bpe(library, model, bool(symbols)) if is_bpe else _unigram(library, model))
    built.normalizer = _normalizer(library, model.normalizer_spec)
    built.decoder = _decoder(library, model)
    if symbols and is_bpe:
        pattern = "|".join(map(re.escape, sorted(symbols, key=len, reverse=True)))
        built.pre_tokenizer = library.pre_tokenizers.Split(library.Regex(pattern), "isolated")
    return built


def _check_expressible(model: Any) -> None:
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    unused = any(piece.type == _UNUSED for piece in model.pieces)
    for reason, holds in (
        ("is a model of words or characters", trainer.model_type not in (_UNIGRAM, _BPE)),
        ("writes white space behind words", trainer.treat_whitespace_as_suffix),
        ("leaves spaces as they are", not normalizer.escape_whitespaces),
        ("merges over unused pieces", trainer.model_type == _BPE and unused),
    ):
        if holds:
            raise TokenizerError(
                f"the SentencePiece model {reason}, which a tokenizer.json cannot do: train a tokenizer of "
                "the kind unigram or bpe, for example with `dataprep tokenizer train`"
            )


def _normalizer(library: Any, spec: Any) -> Any:
    # White space is treated by normalizers, before anything is cut. So a text between two special tokens is
    # treated as a text of its own, as SentencePieceTokenizer treats it.
    kinds, regex = library.normalizers, library.Regex
    steps = []
    if spec.precompiled_charsmap:
        steps.append(kinds.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        steps += [kinds.Replace(regex(r"\A +"), ""), kinds.Replace(regex(" {2,}"), " ")]
    if spec.add_dummy_prefix:
        steps.append(kinds.Prepend(SPACE_MARK))
    steps.append(kinds.Replace(" ", SPACE_MARK))
    if spec.remove_extra_whitespaces:
        # Only now, because SentencePiece also removes a U+2581 that the text itself ends with.
        steps.append(kinds.Replace(regex(rf"{SPACE_MARK}+\z"), ""))
    return kinds.Sequence(steps)


def _decoder(library: Any, model: Any) -> Any:
    kinds = library.decoders
    steps = [kinds.Replace(SPACE_MARK, " ")]
    if model.trainer_spec.byte_fallback:
        steps.append(kinds.ByteFallback())
    steps.append(kinds.Fuse())
    if model.normalizer_spec.add_dummy_prefix:
        steps.append(kinds.Strip(" ", 1, 0))
    return kinds.Sequence(steps)


def _bpe(library: Any, model: Any, symbols: bool) -> Any:
    """Return the model by merges: the pair of each piece, the best scores first."""
    scores = {piece.piece: piece.score for piece in model.pieces if piece.type == _NORMAL}
    ranks = {name: rank for rank, name in enumerate(sorted(scores, key=lambda name: -scores[name]))}
    vocab = {piece.piece: number for number, piece in enumerate(model.pieces)}
    merges, unreachable = [], []
    for name in ranks:
        if len(name) < 2:
            continue
        if (pair := last_pair(list(name), ranks)) is None:
            unreachable.append(name)
        elif any(part not in vocab for part in pair):
            raise TokenizerError(
                f"the piece {name!r} has a character that is not a piece of its own, which a tokenizer.json "
                "cannot have: train a tokenizer whose character coverage holds all characters of its pieces"
            )
        else:
            merges.append(pair)
    if symbols:
        # User-defined symbols stand alone and are found whole (ignore_merges). Pieces that no merge makes
        # must not be found that way.
        for name in unreachable:
            vocab[f" {name} is not reachable"] = vocab.pop(name)
    return library.models.BPE(
        vocab=vocab,
        merges=merges,
        unk_token=_unknown(model),
        fuse_unk=True,
        byte_fallback=model.trainer_spec.byte_fallback,
        ignore_merges=symbols,
    )


def _unigram(library: Any, model: Any) -> Any:
    # Pieces that text never becomes get the worst score of the others: a lower one would change what an
    # unknown character costs.
    least = min(piece.score for piece in model.pieces if piece.type == _NORMAL)
    symbol_or_least = {_USER_DEFINED: _SYMBOL_SCORE}
    vocab = [
        (piece.piece, piece.score if piece.type == _NORMAL else symbol_or_least.get(piece.type, least))
        for piece in model.pieces
    ]
    unknown = next(at for at, piece in enumerate(model.pieces) if piece.piece == _unknown(model))
    return library.models.Unigram(vocab, unk_id=unknown, byte_fallback=model.trainer_spec.byte_fallback)


def _unknown(model: Any) -> str:
    return next((piece.piece for piece in model.pieces if piece.type == _UNKNOWN), "<unk>")
