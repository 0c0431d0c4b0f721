"""Train a small tokenizer on the data: SentencePiece with byte fallback, or byte-level BPE.

Both are lossless (U+2581, which SentencePiece would read as a space, is an error) and have every special
token that the chat formats need. The same texts give the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from dataprep.core import io as files
from dataprep.core.errors import DataprepError, InputError, UsageError
from dataprep.tokens.tokenizers.base import looks_special, needed
from dataprep.tokens.tokenizers.tiktoken_ranks import LLAMA3_PATTERN

_IMPOSSIBLE = "a vocabulary of {:,} cannot be made of these texts: {}"
KINDS = ("sentencepiece", "bpe")
PAD, BOS, EOS, UNK = "<pad>", "<s>", "</s>", "<unk>"
# The special tokens of all named chat formats, so that a student can be trained in any of them.
CHAT_TOKENS = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
    "<|im_start|>", "<|im_end|>", "<|endoftext|>",
)  # fmt: skip

_LONGEST = 2000  # characters; SentencePiece silently leaves out lines of more than 4,192 bytes
_TEXT_SUFFIXES = (".txt", ".md")
_ABOUT_ROWS = ("id", "source", "task", "role")  # strings that are no text


def train_tokenizer(
    texts: Iterable[str],
    vocab_size: int = 4096,
    kind: str = "sentencepiece",
    *,
    shrink: bool = False,
    special_tokens: Sequence[str] = (),
) -> bytes:
    """Train a tokenizer; return its file, a SentencePiece ``.model`` or a ``tokenizer.json``.

    Args:
        texts: texts to learn from, for example those of ``texts_of_files``.
        vocab_size: number of ids, with special tokens and bytes.
        kind: ``"sentencepiece"`` or ``"bpe"``.
        shrink: whether to make a smaller vocabulary if the texts cannot fill one of this size.
        special_tokens: names of further special tokens, which a chat template writes, such as ``<think>``.

    Raises:
        UsageError: the texts cannot fill the vocabulary, or it is too small for them; or a special token has
            no name of the form ``<…>`` or ``[…]``.
        MissingDependencyError: the library is not installed (extra ``tokens``).
    """
    if kind not in KINDS:
        raise UsageError(f"unknown kind {kind!r}: expected {' or '.join(KINDS)}")
    for name in special_tokens:
        # Only such names are known again as special tokens when a tokenizer's file is read.
        if not looks_special(name):
            raise UsageError(f"--special-token {name!r}: expected a name such as <think> or [CALL]")
    names = list(dict.fromkeys([*CHAT_TOKENS, *special_tokens]))
    train = partial(_train_sentencepiece if kind == "sentencepiece" else _train_bpe, names=names)
    if not shrink:
        return train(_lines(texts), vocab_size)
    # Only the failed attempt tells how large a vocabulary the texts can fill, so they are read twice.
    known = list(texts)
    try:
        return train(_lines(known), vocab_size)
    except _TooFewTextsError as error:
        return train(_lines(known), error.possible)


class _TooFewTextsError(UsageError):
    """The texts cannot fill the vocabulary; ``possible`` is the largest size that they can."""

    possible: int


def texts_of_files(paths: Iterable[str]) -> Iterator[str]:
    """Yield the texts in files: contents of chat rows, strings of other rows, or lines of plain text."""
    for path in paths:
        if path.lower().endswith(_TEXT_SUFFIXES):
            texts = iter(files.read_text(path).splitlines())
        else:
            texts = (text for _, row in files.read_rows(path) for text in _strings(row))
        any_text = False
        for text in texts:
            any_text = any_text or bool(text.strip())
            yield text
        if not any_text:
            raise InputError(path, "found no text; expected rows or lines to learn from")


def _strings(value: Any) -> Iterator[str]:
    # A loop, because JSON may be nested deeper than Python's functions.
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting += reversed([inner for key, inner in value.items() if key not in _ABOUT_ROWS])
        elif isinstance(value, list | tuple):
            waiting += reversed(value)


def _lines(texts: Iterable[str]) -> Iterator[str]:
    # Neither trainer takes lone surrogates, and SentencePiece ends a line at U+0000.
    for text in texts:
        clean = re.sub("[\ud800-\udfff\0]", "", text)
        for line in clean.split("\n"):
            for start in range(0, len(line), _LONGEST):
                yield line[start : start + _LONGEST]


def _train_sentencepiece(lines: Iterator[str], vocab_size: int, names: list[str]) -> bytes:
    library = needed("sentencepiece", "training a SentencePiece model")
    model = io.BytesIO()
    bad_rows: list[DataprepError] = []
    try:
        library.SentencePieceTrainer.train(
            sentence_iterator=_noting(lines, bad_rows),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            byte_fallback=True,
            # Lossless: no normalization, all white space kept, no space before a text, and bytes for
            # characters that the vocabulary lacks.
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            split_digits=True,
            **{"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": 3},
            **{"unk_piece": UNK, "bos_piece": BOS, "eos_piece": EOS, "pad_piece": PAD},
            control_symbols=[name for name in names if name not in (UNK, BOS, EOS, PAD)],
            max_sentence_length=8 * _LONGEST,
            # The same texts must give the same bytes, so nothing may depend on the timing of threads.
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        # SentencePiece makes an error of its own from that of a row.
        raise (bad_rows or [_too_few(str(error), vocab_size)])[0] from None
    return model.getvalue()


def _noting(lines: Iterator[str], errors: list[DataprepError]) -> Iterator[str]:
    try:
        yield from lines
    except DataprepError as error:
        errors.append(error)
        raise


def _too_few(reason: str, vocab_size: int) -> UsageError:
    # SentencePiece reports this in its log only, and the numbers in it are what the user needs.
    if found := re.search(r"value <= (\d+)", reason):
        hint = f"the texts give {int(found[1]):,}: use --vocab-size {found[1]} or less, or more data"
        error = _TooFewTextsError(_IMPOSSIBLE.format(vocab_size, hint))
        error.possible = int(found[1])
        return error
    if found := re.search(r"\d+ vs (\d+)", reason):
        hint = f"the texts' characters alone need {int(found[1]):,}: use --vocab-size {found[1]} or more"
    elif "sentences_" in reason:
        return UsageError("there is no text to learn from: give files with at least a line")
    else:
        hint = reason.rpartition("] ")[2].strip() or reason
    return UsageError(_IMPOSSIBLE.format(vocab_size, hint))


def _train_bpe(lines: Iterator[str], vocab_size: int, names: list[str]) -> bytes:
    library = needed("tokenizers", "training a byte-level BPE")
    special_tokens = list(dict.fromkeys([UNK, BOS, EOS, PAD, *names]))
    least = 256 + len(special_tokens)  # all bytes are tokens, so that every text has ids
    if vocab_size < least:
        raise _too_few(f"{vocab_size} vs {least}", vocab_size)
    tokenizer = library.Tokenizer(library.models.BPE())
    split = library.pre_tokenizers
    tokenizer.pre_tokenizer = split.Sequence(
        [
            split.Split(library.Regex(LLAMA3_PATTERN), "isolated"),
            split.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special_tokens,
        initial_alphabet=sorted(split.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    size = tokenizer.get_vocab_size()
    if size == least:
        raise UsageError("there is no text to learn from: give files with some words that occur twice")
    if size < vocab_size:
        raise _too_few(f"value <= {size}", vocab_size)
    return str(tokenizer.to_str(pretty=True)).encode("utf-8") + b"\n"
