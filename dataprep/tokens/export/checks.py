"""Read a saved tokenizer back with ``transformers``, and compare its ids and masks with ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dataprep.core.errors import RowError, TokenizerError
from dataprep.tokens.encoder import Encoder
from dataprep.tokens.formats.base import ChatFormat
from dataprep.tokens.formats.jinja import TemplateFormat
from dataprep.tokens.tokenizers.base import Tokenizer, needed
from dataprep.tokens.truncation import Encoded, first_difference

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
            (encoded,) = encoder.encode([chat_format.read(messages)]).results()
        except RowError:  # not every chat format takes every order of roles
            continue
        if isinstance(encoded, Encoded):
            _compare_chat(saved, chat_format, messages, encoded)


def _compare_chat(
    saved: Any, chat_format: ChatFormat, messages: list[dict[str, str]], expected: Encoded
) -> None:
    text, date = saved.chat_template, {}
    if isinstance(chat_format, TemplateFormat) and chat_format.date:
        if "strftime_now" in text and "date_string" not in text:
            return  # transformers renders it with today's date
        date = {"date_string": chat_format.date}
    # Without marks in the template, transformers cannot tell a loss mask.
    marked = re.search(r"\{%-?\s*generation\s*-?%\}", text) is not None
    found = saved.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=marked, **date)
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
