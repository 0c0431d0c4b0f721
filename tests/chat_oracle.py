"""What transformers makes of chat rows: tiny tokenizers of each kind, and ids and masks by any template.

The templates in ``tests/templates`` were written for this project, one for each behaviour that published
templates have. ``NAME_marked.jinja`` writes the same text as ``NAME.jinja``, with ``{% generation %}`` around
what is in the loss. So transformers says which ids and which mask are right, and not dataprep.
"""

import functools
import json
import os
import random
from pathlib import Path
from typing import NamedTuple

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


def _byte_level(before):
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer, made.decoder = before, tokenizers.decoders.ByteLevel()
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=480, initial_alphabet=letters, show_progress=False)
    made.train_from_iterator(corpus(), trainer)
    return made


def _gpt2(space=False):
    return _byte_level(tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=space))


def _llama3():
    kinds = tokenizers.pre_tokenizers
    split = kinds.Split(tokenizers.Regex(PATTERN), "isolated")
    return _byte_level(kinds.Sequence([split, kinds.ByteLevel(add_prefix_space=False, use_regex=False)]))


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


def save_tokenizer(folder, made, special=SPECIAL, added=(), bos=BOS, eos=EOS):
    """Save a tokenizer with special tokens as a model directory; return it loaded by both programs."""
    as_is = functools.partial(tokenizers.AddedToken, normalized=False)
    made.add_special_tokens([as_is(name, special=True) for name in special])
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
    mask: list  # whether each token has a character that the marked template marks


def expected_of(theirs, row, template, marked=None, **variables):
    """What transformers makes of a row; the error with which the template refuses it."""
    from transformers.utils.chat_template_utils import render_jinja_template

    options = {"tools": row.get("tools"), **variables, **(row.get("chat_template_kwargs") or {})}
    options.setdefault("date_string", DATE)
    try:
        text = theirs.apply_chat_template(row["messages"], chat_template=template, tokenize=False, **options)
    except (jinja2.TemplateError, TypeError, ValueError, AttributeError, KeyError) as error:
        return error
    spans = []
    if marked is not None:
        messages = [{k: v for k, v in message.items() if v is not None} for message in row["messages"]]
        (again,), (spans,) = render_jinja_template(
            [messages], chat_template=marked, return_assistant_tokens_mask=True,
            **theirs.special_tokens_map, **options,
        )  # fmt: skip
        assert again == text, "the marked template writes another text"
    done = theirs(text, add_special_tokens=False, return_offsets_mapping=True)
    # `return_assistant_tokens_mask` looks up the first and last character, and so leaves out bytes of a
    # character of several tokens at the end of a span. The fixed rows, which have none, are compared with it.
    mask = [
        int(any(start < stop and end > begin for begin, stop in spans))
        for start, end in done["offset_mapping"]
    ]
    return Expected(text, done["input_ids"], mask)


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
    if isinstance(expected, Exception) or isinstance(found, RowError):
        return isinstance(expected, Exception) and isinstance(found, RowError)
    return found.ids == expected.ids and (not masks or [*found.mask] == expected.mask)


# --- rows


def call(name, arguments, number=0):
    """A tool call as OpenAI writes it."""
    return {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


def tool(name, **properties):
    """A tool's schema."""
    parameters = {"type": "object", "properties": properties, "required": list(properties)[:1]}
    return {
        "type": "function",
        "function": {"name": name, "description": f"The {name}.", "parameters": parameters},
    }


WEATHER = tool("weather", city={"type": "string"}, days={"type": "array", "items": {"type": "integer"}})
SEARCH = tool(
    "search", query={"type": "string", "enum": ["a", "b"]}, options={"type": "object", "properties": {}}
)
TOOLS = [WEATHER, SEARCH]


def user(text):
    """A question."""
    return {"role": "user", "content": text}


def assistant(text=None, **fields):
    """An answer."""
    return {"role": "assistant"} | ({} if text is None else {"content": text}) | fields


_ASKED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [call("weather", {"city": "Paris", "days": [1, 2]})],
}
_TOLD = {"role": "tool", "tool_call_id": "call_0", "name": "weather", "content": "12 and lazy"}
_SYSTEM = {"role": "system", "content": "Be brief."}

# Rows by name; a template refuses some of them.
ROWS = {
    "one turn": {"messages": [user("What is lazy?"), assistant("the dog.")]},
    "system": {"messages": [_SYSTEM, user("the quick fox?"), assistant("It is\nthis: 12.")]},
    "two turns": {
        "messages": [_SYSTEM, user("a"), assistant("the dog"), user("And then?"), assistant("jumps over")]
    },
    "white space": {
        "messages": [
            user("  two  spaces \n"), assistant("\n\nthe\n\ndog \t"), user("\nx"), assistant("  a ")
        ]
    },
    "developer": {"messages": [_SYSTEM | {"role": "developer"}, user("a?"), assistant("the fox")]},
    "reasoning": {"messages": [user("a?"), assistant("12", reasoning_content="the dog is\nlazy")]},
    "reasoning in each turn": {
        "messages": [
            user("a?"), assistant("12", reasoning_content="think of\n\nthe fox\n"),
            user("b?"), assistant("\n1,000", reasoning="\n  and over "),
        ]
    },
    "reasoning in the first turn": {
        "messages": [user("a?"), assistant("12", thinking="the dog"), user("b?"), assistant("the fox")]
    },
    "thoughts in a content": {"messages": [user("a?"), assistant("<think>\nlazy\n</think>\n\nthe dog")]},
    "tools": {"messages": [_SYSTEM, user("a?"), assistant("the dog")], "tools": TOOLS},
    "call": {"messages": [user("a?"), _ASKED], "tools": TOOLS},
    "call with its result": {
        "messages": [_SYSTEM, user("a?"), _ASKED, _TOLD, assistant("12 it is.")], "tools": TOOLS
    },
    "calls with content and reasoning": {
        "messages": [
            user("a?"),
            assistant(
                "Let me look.", reasoning_content="call it",
                tool_calls=[
                    call("weather", {"city": "Paris", "days": []}, 0),
                    call("search", '{"query":  "a", "options": {"b": [null, 1.5, "\\u00e9"]}}', 1),
                ],
            ),
            _TOLD | {"content": "lazy"},
            _TOLD | {"tool_call_id": "call_1", "name": "search", "content": "{}"},
            assistant("So: lazy.", reasoning_content="the dog"),
        ],
        "tools": TOOLS,
    },
    "calls as objects": {
        "messages": [
            user("a?"),
            assistant("", tool_calls=[call("search", {"query": 'a "b"\n', "options": {"é": True}}, 0),
                                      call("weather", {"city": "漢", "days": [3]}, 1)]),
            _TOLD | {"name": "search", "content": "x\n"}, _TOLD | {"tool_call_id": "call_1", "content": " y"},
            assistant("both"), user("And now?"), assistant("the fox", reasoning_content="over"),
        ],
        "tools": TOOLS,
    },
    "parts": {
        "messages": [
            user([{"type": "text", "text": "the dog"}, {"type": "text", "text": " is?"}]),
            assistant([{"type": "text", "text": "lazy"}, {"type": "text", "text": "\nand quick"}]),
        ]
    },
    "two questions": {"messages": [user("a"), user("b"), assistant("the dog")]},
    "two answers": {"messages": [user("a"), assistant("the dog"), assistant("the fox")]},
    "an answer first": {"messages": [assistant("Hello, user"), user("a"), assistant("the dog")]},
    "without thinking": {
        "messages": [user("a"), assistant("the dog")], "chat_template_kwargs": {"enable_thinking": False}
    },
}  # fmt: skip
