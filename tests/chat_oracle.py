"""What transformers makes of chat rows: tiny tokenizers of each kind, and ids and masks by any template.

The templates in ``tests/templates`` were written for this project, one for each behaviour that published
templates have. ``NAME_marked.jinja`` writes the same text as ``NAME.jinja``, with ``{% generation %}`` around
what is in the loss. So transformers says which ids and which mask are right, and not dataprep.
"""

import functools
import json
import os
import random
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from unittest import mock

os.environ["HF_HUB_OFFLINE"] = "1"  # transformers reads it when it is loaded

import jinja2
import pytest

from dataprep.core.errors import RowError
from dataprep.tokens.encoder import Encoder
from dataprep.tokens.formats.loading import chat_format_of
from dataprep.tokens.options import spans_of
from dataprep.tokens.tokenizers.loading import load_tokenizer
from tests.toy_tokenizer import PATTERN

tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")

FOLDER = Path(__file__).parent / "templates"
DATE = "26 Jul 2024"
TEMPLATES = {path.stem: path.read_text("utf-8") for path in sorted(FOLDER.glob("*.jinja"))}
MARKED = {name: TEMPLATES.pop(f"{name}_marked", text) for name, text in sorted(TEMPLATES.items())}
MARKED = {name: text for name, text in MARKED.items() if name in TEMPLATES}

BOS, EOS = "<s>", "</s>"
SPECIAL = (
    BOS, EOS, "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
    "<|system|>", "<|developer|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>", "<|endofturn|>",
    "[gMASK]", "<sop>", "<|start|>", "<|channel|>", "<|message|>", "<|return|>", "<|call|>",
    "<start_of_turn>", "<end_of_turn>", "<|turn|>", "<|chatbot|>", "<|end_response|>",
    "<|tool_calls_begin|>", "<|tool_calls_end|>", "<|tool_call_begin|>", "<|tool_call_end|>", "<|tool_sep|>",
    "<|tool_output_begin|>", "<|tool_output_end|>",
)  # fmt: skip
# Added tokens that are not special, as Qwen 3's tokenizer has them.
THINK = ("<think>", "</think>", "<tool_call>", "</tool_call>")


# --- tokenizers


def corpus():
    """Lines that make merges across the borders of templates and contents: the same every time."""
    pick = random.Random(7)
    words = ["the", "quick", "fox", "is", "lazy", "and", "jumps", "over", "a", "dog", "12", "1,000", "Paris"]
    words += ["assistant", "user", "system", "think", "call", "name", "arguments", "ASSISTANT", "USER"]
    ends = (".", "!", ":", "\n", "\n\n")
    lines = [" ".join(pick.choices(words, k=9)) + pick.choice(ends) for _ in range(300)]
    lines += [f"\n\n{word}\n\n\n {word}\t{word}" for word in words for _ in range(20)]
    return lines + [f"{word}:\n  {word}  {word}\r\n" for word in words for _ in range(20)]


def byte_level(lines, split=None):
    """A byte-level BPE that is trained on lines; it splits as GPT-2's or by ``split``."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = split or tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=480, initial_alphabet=letters, show_progress=False)
    made.train_from_iterator(lines, trainer)
    return made


def _gpt2(space=False):
    return byte_level(corpus(), tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=space))


def _llama3():
    kinds = tokenizers.pre_tokenizers
    split = kinds.Split(tokenizers.Regex(PATTERN), "isolated")
    return byte_level(
        corpus(), kinds.Sequence([split, kinds.ByteLevel(add_prefix_space=False, use_regex=False)])
    )


def _spaces_as_marks(scheme):
    """A BPE of characters with byte fallback, as SentencePiece's; ``legacy`` is a space before each text."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    decoders = tokenizers.decoders
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    names = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    made.normalizer = tokenizers.normalizers.Replace(" ", "▁")
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=520, special_tokens=names, show_progress=False)
    made.train_from_iterator([" " + word for line in corpus() for word in line.split(" ")], trainer)
    document = json.loads(made.to_str())
    document["added_tokens"] = document["added_tokens"][:1]
    if scheme == "legacy":
        steps = [{"type": "Prepend", "prepend": "▁"}, document["normalizer"]]
        document["normalizer"] = {"type": "Sequence", "normalizers": steps}
    else:
        space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": False}
        document |= {"normalizer": None, "pre_tokenizer": space}
    return tokenizers.Tokenizer.from_str(json.dumps(document))


KINDS = {
    "gpt2": _gpt2,
    "gpt2 with think tokens": _gpt2,
    "gpt2 with space": functools.partial(_gpt2, space=True),
    "llama3": _llama3,
    "metaspace first": functools.partial(_spaces_as_marks, "first"),
    "metaspace always": functools.partial(_spaces_as_marks, "always"),
    "metaspace legacy": functools.partial(_spaces_as_marks, "legacy"),
}


class Pair(NamedTuple):
    """A tokenizer as transformers loads it, the same as dataprep does, and their directory."""

    theirs: object
    ours: object
    folder: Path


def save_tokenizer(folder, made, special=SPECIAL, added=(), bos=BOS, eos=EOS, rstrip=False):
    """Save a tokenizer with special tokens as a model directory; return it loaded by both programs."""
    as_is = functools.partial(tokenizers.AddedToken, normalized=False)
    made.add_special_tokens([as_is(name, special=True, rstrip=rstrip) for name in special])
    made.add_tokens([as_is(name) for name in added])
    saved = transformers.PreTrainedTokenizerFast(tokenizer_object=made, bos_token=bos, eos_token=eos)
    saved.save_pretrained(folder)
    return Pair(transformers.AutoTokenizer.from_pretrained(folder), load_tokenizer(folder), folder)


def make_pair(folder, kind):
    """A tokenizer of a kind, trained here."""
    return save_tokenizer(folder / kind, KINDS[kind](), added=THINK if "think" in kind else ())


def encoder_of(pair, template, **options):
    """Our encoder for a tokenizer and a template's text."""
    (pair.folder / "chat_template.jinja").write_text(template, "utf-8")
    options = {"special_tokens": pair.ours.special_tokens, "date": DATE} | options
    return Encoder(pair.ours, chat_format_of("template", path=pair.folder, **options))


# --- the reference


class Expected(NamedTuple):
    """The tokens of a row by transformers."""

    text: str
    ids: list
    mask: list  # 1 for each token with a character that the marked template marks, else 0
    offsets: list  # the characters of each token


def clock():
    """Within it, the clock of transformers stands at ``DATE``."""
    now = mock.Mock(now=lambda: datetime.strptime(DATE, "%d %b %Y"))
    return mock.patch("transformers.utils.chat_template_utils.datetime", now)


def options_of(row, **variables):
    """What apply_chat_template is given besides messages and template."""
    return (
        {"tools": row.get("tools"), "date_string": DATE} | variables | (row.get("chat_template_kwargs") or {})
    )


def expected_of(theirs, row, template, marked=None, **variables):
    """What transformers makes of a row; the error with which the template refuses it."""
    from transformers.utils.chat_template_utils import render_jinja_template

    options, spans = options_of(row, **variables), []
    with clock():
        try:
            text = theirs.apply_chat_template(
                row["messages"], chat_template=template, tokenize=False, **options
            )
        except (jinja2.TemplateError, TypeError, ValueError, AttributeError, KeyError) as error:
            return error
        if marked is not None:
            messages = [{k: v for k, v in message.items() if v is not None} for message in row["messages"]]
            options |= {**theirs.special_tokens_map, "return_assistant_tokens_mask": True}
            (again,), (spans,) = render_jinja_template([messages], chat_template=marked, **options)
            assert again == text, "the marked template writes another text"
    done = theirs(text, add_special_tokens=False, return_offsets_mapping=True)
    # Not `return_assistant_tokens_mask`, which looks up the first and the last character of a span: if the
    # last one is several tokens, only the first of them is in its mask.
    offsets = done["offset_mapping"]
    mask = [int(any(start < stop and end > begin for begin, stop in spans)) for start, end in offsets]
    return Expected(text, done["input_ids"], mask, offsets)


def explain(pair, row, expected, found):
    """Where a row's tokens differ, for a failure's message."""
    if isinstance(expected, Exception) or isinstance(found, RowError):
        return f"row {json.dumps(row)}\nexpected {expected!r}\nfound {found!r}"
    shown = [pair.theirs.convert_ids_to_tokens(ids) for ids in (expected.ids, found.ids)]
    masked = [
        [pair.theirs.decode(ids[slice(*span)]) for span in spans_of(bytearray(mask))]
        for ids, mask in ((expected.ids, expected.mask), (found.ids, found.mask))
    ]
    return (
        f"row {json.dumps(row)}\ntext {expected.text!r}\nexpected {shown[0]}\nfound    {shown[1]}\n"
        f"expected in the loss {masked[0]}\nfound in the loss    {masked[1]}"
    )


def is_equal(expected, found, *, masks=True):
    """Whether a row's result is right: an error for an error, ids for ids, mask for mask."""
    if isinstance(expected, Expected) and "[{'" in expected.text:
        return True  # the template takes texts only, and writes parts as Python shows them
    if isinstance(expected, Expected) and isinstance(found, RowError) and not any(expected.mask):
        return found.reason in ("no token in the loss", "the chat template leaves the answers out")
    if isinstance(expected, Exception) or isinstance(found, RowError):
        return isinstance(expected, Exception) and isinstance(found, RowError)
    return found.ids == expected.ids and (not masks or [*found.mask] == expected.mask)


def check_rows(pair, name, rows, *, template=None, marked=None):
    """Compare every row's tokens, or its refusal; return how many rows the template takes."""
    template, marked = template or TEMPLATES[name], marked or MARKED[name]
    rows = [*rows]
    found = encoder_of(pair, template).encode_rows(rows)
    expected = [expected_of(pair.theirs, row, template, marked) for row in rows]
    assert len(found) == len(rows)
    faults = [
        explain(pair, *triple)
        for triple in zip(rows, expected, found, strict=True)
        if not is_equal(*triple[1:])
    ]
    assert not faults, f"{len(faults)} of {len(rows)} rows differ with {name}\n{faults[0]}"
    return sum(not isinstance(each, Exception) for each in expected)
