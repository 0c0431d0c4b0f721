"""Save a tokenizer and a chat format as a directory that ``AutoTokenizer.from_pretrained`` loads.

Everything is written to a temporary directory first and read back by ``transformers``. Only if all ids and
masks are equal are the files put in place, each one whole or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from dataprep.core import io as files
from dataprep.core.errors import RowError, TokenizerError
from dataprep.tokens.encoder import Encoder
from dataprep.tokens.formats.base import ChatFormat, Segment
from dataprep.tokens.formats.jinja import TemplateFormat
from dataprep.tokens.formats.model_template import CONFIG, FOLDER, JINJA, PROCESSOR, read_settings
from dataprep.tokens.options import Encoded, first_difference
from dataprep.tokens.tokenizer_json import tokenizer_json, with_end
from dataprep.tokens.tokenizers.base import BOS, EOS, Tokenizer, first_of, needed, pad_id
from dataprep.tokens.tokenizers.huggingface import HuggingFaceTokenizer

# Older files, which would contradict a new configuration.
BESIDE = ("special_tokens_map.json", "added_tokens.json")
# The class that takes a `tokenizer.json` as it is, in every version of transformers.
GENERIC = "PreTrainedTokenizerFast"
# Tokenizers have differed at texts like these.
TEXTS = (
    "",
    "Natalia sold 48/2 = <<48/2=24>>24 clips in May. It's $1,234,567.89!",
    " a leading space", "   three, and two at the end  ", "\n", "\n\nparagraphs\n\n\n\nand\r\nlines \n x\n",
    "def f(x):\n\tif x  >=  10:\n        return [x ** 2, 'a\\n']\n\n\n# I'LL we'll can't\n",
    "1234567 0.5 ٣٤٥ ½ Ⅷ", "naïve café Straße Ελληνικά русский עברית", "漢字かな交じり文 한국어 ไทย",
    "👍🏽 👩\u200d👩\u200d👧 😀😀", "a\u00a0b\u2028c\u3000d\x00\x1c\u0085e",
    "▁a ▁▁ b▁", "<|not_a_token|> <x> [y] </z>",
    "=" * 70 + " " * 70 + "x" + "ab" * 40,
)  # fmt: skip
CHATS = (
    [("user", "What is 6 times 7?"), ("assistant", "It is 42.\n\n#### 42")],
    [
        ("system", "Be short.\nBe kind."),
        ("user", "Bonjour, ça va ?"),
        ("assistant", "Très bien 👍🏽!"),
        ("user", "1234567 + 1\n"),
        ("assistant", "def f():\n    return 1234568"),
    ],
)


def save_pretrained(
    tokenizer: Tokenizer,
    chat_format: ChatFormat | None,
    directory: str | Path,
    *,
    end: str | None = None,
    contents: Mapping[str, str] | None = None,
) -> None:
    """Write what ``AutoTokenizer.from_pretrained(directory)`` needs to give the same ids.

    These are ``tokenizer.json``, ``tokenizer_config.json`` and, with a chat format, ``chat_template.jinja``.
    Other files of the directory stay.

    Args:
        tokenizer: a tokenizer of ``load_tokenizer``. The files of a Hugging Face one are taken as they are.
        chat_format: the form of conversations; ``None`` for a model of texts, for example T5.
        directory: created if it is missing.
        end: without a chat format, the special token that is put behind each text, as T5's tokenizers do.
        contents: what ``saved_files`` returned for the same arguments, if it was called before.

    Raises:
        TokenizerError: ``transformers`` would give other ids or another loss mask, or the tokenizer lacks a
            special token of the chat format. Nothing is written then.
        FileError: the directory cannot be written.
        MissingDependencyError: ``transformers`` is not installed (extra ``train``).
    """
    target = Path(directory)
    if contents is None:
        contents = saved_files(tokenizer, chat_format, target / "config.json", end=end)
    with files.writing(str(target)):
        target.mkdir(parents=True, exist_ok=True)
    _write(contents, target)
    older = {f"{FOLDER}/{path.name}" for path in (target / FOLDER).glob("*.jinja")}
    # Of a tokenizer that was saved here before.
    for name in {JINJA, PROCESSOR, *BESIDE, *older} - contents.keys():
        with files.writing(str(target / name)):
            (target / name).unlink(missing_ok=True)


def saved_files(
    tokenizer: Tokenizer, chat_format: ChatFormat | None, model_config: Path, *, end: str | None = None
) -> dict[str, str]:
    """Return the texts of the files that ``save_pretrained`` writes, by name, after checking them.

    ``model_config`` is the model's ``config.json``, if there is one: it may decide which class of
    ``transformers`` loads the tokenizer.
    """
    contents = _contents(tokenizer, chat_format, end)
    try:
        _check(contents, model_config, tokenizer, chat_format, end)
    except TokenizerError:
        if GENERIC in contents[CONFIG]:
            raise
        # A model's own class may rebuild the tokenizer in its own way; the generic one takes the file.
        contents[CONFIG] = _json(orjson.loads(contents[CONFIG]) | {"tokenizer_class": GENERIC})
        _check(contents, model_config, tokenizer, chat_format, end)
    return contents


def _check(
    contents: dict[str, str],
    model_config: Path,
    tokenizer: Tokenizer,
    chat_format: ChatFormat | None,
    end: str | None,
) -> None:
    """Write the files to a temporary directory and read them back."""
    with files.temporary_folder() as folder:
        _write(contents, folder)
        if model_config.is_file():
            files.write_text(files.read_text(str(model_config)), str(folder / "config.json"))
        check_saved(folder, tokenizer, chat_format, end)


def _write(contents: Mapping[str, str], folder: Path) -> None:
    for name, text in contents.items():
        with files.writing(str(folder / name)):
            (folder / name).parent.mkdir(exist_ok=True)
        files.write_text(text, str(folder / name))


def _contents(tokenizer: Tokenizer, chat_format: ChatFormat | None, end: str | None) -> dict[str, str]:
    """Return the texts of the files to write, by name."""
    config: dict[str, Any] = {"tokenizer_class": GENERIC}
    if isinstance(tokenizer, HuggingFaceTokenizer):
        document = tokenizer.content.decode("utf-8")
        config |= _configuration(Path(tokenizer.path))
    else:
        document = tokenizer_json(tokenizer)
        config |= {
            "add_bos_token": False,
            "add_eos_token": False,
            "clean_up_tokenization_spaces": False,
            "model_input_names": ["input_ids", "attention_mask"],
        }
    config.pop("chat_template", None)  # it would contradict the chat format's
    config |= token_names(tokenizer, chat_format, end)
    if chat_format is None and end is not None:
        ended = with_end(orjson.loads(document), end, tokenizer.special(end))
        document = orjson.dumps(ended).decode("utf-8")
        config |= {"add_bos_token": False, "add_eos_token": True}
    contents = {"tokenizer.json": document, CONFIG: _json(config)}
    if chat_format is not None:
        contents[JINJA] = chat_format.jinja()
    if isinstance(chat_format, TemplateFormat):
        contents |= {_other(name): text for name, text in chat_format.template.others.items()}
    return contents


def _other(name: str) -> str:
    """Return the file of a further chat template."""
    # The name comes out of a downloaded directory, and must not lead out of this one.
    if Path(f"{name}.jinja").name != f"{name}.jinja":
        raise TokenizerError(f"found a chat template of the name {name!r}; expected a name for a file")
    return f"{FOLDER}/{name}.jinja"


def _configuration(path: Path) -> dict[str, Any]:
    """Return what the directory of a ``tokenizer.json`` says about it; empty for a file of another name."""
    if path.name != "tokenizer.json":
        return {}
    return read_settings(path.parent)


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode("utf-8") + "\n"


def generation_ids(
    tokenizer: Tokenizer, chat_format: ChatFormat | None, end: str | None = None
) -> dict[str, Any]:
    """Return what a ``generation_config.json`` must say for a model of this tokenizer and chat format.

    Args:
        tokenizer: the tokenizer.
        chat_format: the form of conversations; ``None`` for a model of texts, for example T5.
        end: the special token that ends the texts of such a model. Defaults to the first known one.

    Returns:
        ``eos_token_id``: all ids that end an answer, the end of turn first; ``pad_token_id``; and
        ``bos_token_id`` if texts begin with a token. Keys without an id are left out.

    Raises:
        TokenizerError: the tokenizer lacks the chat format's end-of-turn token.
    """
    names = _stop_tokens(tokenizer, chat_format, end)
    ids: dict[str, Any] = {"pad_token_id": pad_id(tokenizer)}
    if names:
        ids["eos_token_id"] = [tokenizer.special(name) for name in names]
    if (begin := _begin(tokenizer, chat_format)) is not None:
        ids["bos_token_id"] = tokenizer.special(begin)
    return ids


def token_names(
    tokenizer: Tokenizer, chat_format: ChatFormat | None, end: str | None = None
) -> dict[str, str]:
    """Return ``bos_token``, ``eos_token`` and ``pad_token`` for a tokenizer's configuration, if known."""
    names: dict[str, str] = {}
    if (begin := _begin(tokenizer, chat_format)) is not None:
        names["bos_token"] = begin
    if stop_tokens := _stop_tokens(tokenizer, chat_format, end):
        names["eos_token"] = stop_tokens[0]
    padding = pad_id(tokenizer)
    pad = next((name for name, number in tokenizer.special_tokens.items() if number == padding), None)
    if pad is not None:
        names["pad_token"] = pad
    # A model's own template may write what its directory calls by these names, so those stay.
    if isinstance(chat_format, TemplateFormat):
        names |= {
            key: name
            for key, name in chat_format.template.variables.items()
            if key in chat_format.template.text and name in tokenizer.special_tokens
        }
    return names


def _stop_tokens(tokenizer: Tokenizer, chat_format: ChatFormat | None, end: str | None) -> list[str]:
    """Return what ends an answer: the chat format's end of turn, then the end of a text."""
    if chat_format is None and end is not None:
        return [end]
    names: list[str] = []
    if chat_format is not None:
        variables: Mapping[str, str] = {}
        if isinstance(chat_format, TemplateFormat):
            variables = chat_format.template.variables
        eos = variables.get("eos_token")
        names = sorted(chat_format.stop_tokens, key=lambda name: (name != eos, name))
    text_end = first_of(EOS, tokenizer.special_tokens)
    return list(dict.fromkeys([*names, *([text_end] if text_end else [])]))


def _begin(tokenizer: Tokenizer, chat_format: ChatFormat | None) -> str | None:
    """Return the token that a conversation begins with, if it is one that begins texts."""
    if chat_format is None:
        return None
    chat = [{"role": role, "content": "."} for role in ("user", "assistant")]
    first = chat_format.write({"messages": chat}).plan.pieces[0]
    name = first.text if isinstance(first, Segment) and first.special else ""
    return name if name in BOS and name in tokenizer.special_tokens else None


def check_saved(
    directory: Path, tokenizer: Tokenizer, chat_format: ChatFormat | None, end: str | None = None
) -> None:
    """Compare what ``transformers`` makes of a directory with a tokenizer and a chat format."""
    saved = _loaded(directory)
    for name, number in tokenizer.special_tokens.items():
        found = saved.convert_tokens_to_ids(name)
        if found != number:
            raise _differs(saved, f"the special token {name!r}", found, number)
    for text in TEXTS:
        try:
            expected = tokenizer.encode(text)
        except RowError:  # a U+2581 that the tokenizer would read as a space, which no row may contain
            continue
        # transformers finds special tokens in texts, and this program never does.
        if not any(name in text for name in tokenizer.special_tokens):
            found = saved.encode(text, add_special_tokens=False)
            _compare(saved, f"the text {text[:60]!r}", found, expected)
            if chat_format is None and end is not None:
                found = saved.encode(text)
                _compare(
                    saved, f"the text {text[:60]!r} with its end", found, [*expected, tokenizer.special(end)]
                )
    if chat_format is None:
        return
    encoder = Encoder(tokenizer, chat_format)
    for chat in CHATS:
        messages = [{"role": role, "content": content} for role, content in chat]
        try:
            (encoded,) = encoder.encode([chat_format.write({"messages": messages})]).results()
        except RowError:  # not every chat format takes every order of roles
            continue
        if isinstance(encoded, Encoded):
            _compare_chat(saved, chat_format, messages, encoded)


def _compare_chat(
    saved: Any, chat_format: ChatFormat, messages: list[dict[str, str]], expected: Encoded
) -> None:
    text, settings = saved.get_chat_template(), {}
    if isinstance(chat_format, TemplateFormat) and chat_format.date:
        if "strftime_now" in text and "date_string" not in text:
            return  # transformers renders it with today's date
        settings = {"date_string": chat_format.date}
    elif "strftime_now" in text:
        # Without a date there is no clock here, so the template writes a date of its own.
        settings = {"chat_template": text.replace("strftime_now", "no_clock")}
    if isinstance(chat_format, TemplateFormat):
        settings |= chat_format.arguments
    # Without marks in the template, transformers cannot tell a loss mask.
    marked = re.search(r"\{%-?\s*generation\s*-?%\}", text) is not None
    found = saved.apply_chat_template(
        messages, return_dict=True, return_assistant_tokens_mask=marked, **settings
    )
    what = f"the conversation beginning {messages[0]['content'][:40]!r}, in chat format {chat_format.name!r},"
    _compare(saved, what, found["input_ids"], expected.ids)
    if marked:
        _compare(saved, f"the loss mask of {what}", found["assistant_masks"], list(expected.mask))


def _compare(saved: Any, what: str, found: Iterable[int], expected: list[int]) -> None:
    found = list(found)
    at = first_difference(found, expected)
    if at is None:
        return
    shown = [str(ids[max(0, at - 2) : at + 4]) for ids in (found, expected)]
    raise _differs(saved, f"{what} at token {at}", *shown)


def _differs(saved: Any, what: str, found: object, expected: object) -> TokenizerError:
    # The class is named because the config.json of some models decides which one loads the tokenizer.
    return TokenizerError(
        f"the tokenizer cannot be saved for other programs: transformers ({type(saved).__name__}) gives "
        f"{what} {found}, expected {expected}; nothing was written: use another tokenizer or chat format, "
        "or a model of another type where a class of its own loads it"
    )


def _loaded(directory: Path) -> Any:
    transformers = needed("transformers", "saving a tokenizer", extra="train")
    with _quiet():
        try:
            return transformers.AutoTokenizer.from_pretrained(str(directory), local_files_only=True)
        except Exception as error:  # noqa: BLE001 - the libraries raise nothing more precise
            raise TokenizerError(
                f"the tokenizer cannot be saved for other programs: transformers does not load it ({error}): "
                "nothing was written"
            ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    # transformers warns about a directory without a model, which does not concern the user.
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
