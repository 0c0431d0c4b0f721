"""A tokenizer and a chat format as a directory that ``AutoTokenizer.from_pretrained`` loads.

Everything is written to a folder of its own first and read back by ``transformers``. Only when all ids and
masks are ours does it come to its place, each file whole or not at all.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from dataprep.core import io as files
from dataprep.core.errors import TokenizerError
from dataprep.tokens.export.chat_templates import chat_template
from dataprep.tokens.export.checks import check_saved
from dataprep.tokens.export.from_ranks import ended, rank_document
from dataprep.tokens.export.from_sentencepiece import sentencepiece_document
from dataprep.tokens.export.roles import token_names
from dataprep.tokens.formats.base import ChatFormat
from dataprep.tokens.formats.template_files import read_object
from dataprep.tokens.tokenizers.base import Tokenizer
from dataprep.tokens.tokenizers.huggingface import HuggingFaceTokenizer
from dataprep.tokens.tokenizers.sentencepiece import SentencePieceTokenizer
from dataprep.tokens.tokenizers.tiktoken_ranks import RankTokenizer

CONFIG, TEMPLATE = "tokenizer_config.json", "chat_template.jinja"
BESIDE = ("special_tokens_map.json", "added_tokens.json")
"""Older files, that would speak against a new configuration."""
GENERIC = "PreTrainedTokenizerFast"
"""The class that takes a ``tokenizer.json`` as it is, in every version of transformers."""


def save_pretrained(
    tokenizer: Tokenizer, chat_format: ChatFormat | None, directory: str | Path, *, end: str | None = None
) -> None:
    """Write what ``AutoTokenizer.from_pretrained(directory)`` needs to give the same ids.

    ``tokenizer.json``, ``tokenizer_config.json`` and, with a chat format, ``chat_template.jinja``; those a
    directory has beside them stay. Where its ``config.json`` is there already, it is heeded in the check,
    since it may decide which class loads the tokenizer.

    Args:
        tokenizer: any that ``load_tokenizer`` gives. The files of a Hugging Face one are taken as they are.
        chat_format: how conversations are laid out; None for a model of texts, such as T5.
        directory: made where it is not there.
        end: without a chat format, the special token that is put behind each text, as T5's tokenizers do.

    Raises:
        TokenizerError: ``transformers`` would give other ids or another loss mask, and where; or the
            tokenizer lacks a special token of the chat format. Nothing is written then.
        FileError: the directory cannot be written.
        MissingDependencyError: ``transformers`` is not installed (extra ``train``).
    """
    target = Path(directory)
    contents = _contents(tokenizer, chat_format, end)
    try:
        _check(contents, target, tokenizer, chat_format, end)
    except TokenizerError:
        if GENERIC in contents[CONFIG]:
            raise
        # A model's own class may rebuild the tokenizer in its own way; the general one takes the file.
        contents[CONFIG] = _json(orjson.loads(contents[CONFIG]) | {"tokenizer_class": GENERIC})
        _check(contents, target, tokenizer, chat_format, end)
    with files.writing(str(target)):
        target.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        files.write_text(text, str(target / name))
    for name in {TEMPLATE, *BESIDE} - contents.keys():  # of a tokenizer that was saved here before
        with files.writing(str(target / name)):
            (target / name).unlink(missing_ok=True)


def _check(
    contents: dict[str, str],
    target: Path,
    tokenizer: Tokenizer,
    chat_format: ChatFormat | None,
    end: str | None,
) -> None:
    """Write the files to a folder of their own and read them back."""
    with TemporaryDirectory(prefix="dataprep-") as folder:
        for name, text in contents.items():
            files.write_text(text, str(Path(folder) / name))
        if (target / "config.json").is_file():
            files.write_text(files.read_text(str(target / "config.json")), str(Path(folder) / "config.json"))
        check_saved(Path(folder), tokenizer, chat_format, end)


def _contents(tokenizer: Tokenizer, chat_format: ChatFormat | None, end: str | None) -> dict[str, str]:
    """The texts of the files to write, by their names."""
    config: dict[str, Any] = {}
    if isinstance(tokenizer, HuggingFaceTokenizer):
        document = tokenizer.content.decode("utf-8")
        config = _configuration(Path(tokenizer.path))
    else:
        document = orjson.dumps(_document(tokenizer)).decode("utf-8")
    # A configuration's template would stand beside the chat format's.
    config = {key: value for key, value in config.items() if key != "chat_template"}
    config = _defaults(tokenizer) | config | token_names(tokenizer, chat_format, end)
    if chat_format is None and end is not None:
        document = orjson.dumps(ended(orjson.loads(document), end, tokenizer.special(end))).decode("utf-8")
        config |= {"add_bos_token": False, "add_eos_token": True}
    found = {"tokenizer.json": document, CONFIG: _json(config)}
    if chat_format is not None:
        found[TEMPLATE] = chat_template(chat_format)
    return found


def _document(tokenizer: Tokenizer) -> dict[str, Any]:
    if isinstance(tokenizer, RankTokenizer):
        return rank_document(tokenizer)
    if isinstance(tokenizer, SentencePieceTokenizer):
        return sentencepiece_document(tokenizer)
    raise TokenizerError(
        f"found a tokenizer of the class {type(tokenizer).__name__}; expected one that load_tokenizer gives: "
        "other kinds have no file that could be saved"
    )


def _defaults(tokenizer: Tokenizer) -> dict[str, Any]:
    """A configuration that changes nothing about a ``tokenizer.json``."""
    if isinstance(tokenizer, HuggingFaceTokenizer):
        return {"tokenizer_class": GENERIC}
    return {
        "tokenizer_class": GENERIC,
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }


def _configuration(path: Path) -> dict[str, Any]:
    """What the directory of a ``tokenizer.json`` says of it; empty for a file of another name."""
    if path.name != "tokenizer.json":
        return {}
    return read_object(path.with_name(BESIDE[0])) | read_object(path.with_name(CONFIG))


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode("utf-8") + "\n"
