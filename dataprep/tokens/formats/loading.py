"""Choose a chat format: by name, or the template of a model directory; tell if it writes the date."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from dataprep.core.errors import TokenizerError, UsageError
from dataprep.core.options import canonical_date
from dataprep.tokens.formats.base import ChatFormat
from dataprep.tokens.tokenizers.base import EOS, Tokenizer, first_of

NAMES = ("llama3", "chatml", "llama2", "plain", "template")
_CLOCK = "strftime_now"  # what templates call for today's date


def chat_format_of(
    name: str,
    *,
    strip: bool = False,
    date: str | None = None,
    path: str | Path | None = None,
    special_tokens: Collection[str] = (),
    template_args: Mapping[str, Any] | None = None,
    end: str | None = None,
) -> ChatFormat:
    """Return a chat format by its name.

    Args:
        name: one of ``NAMES``.
        strip: whether to strip white space around the contents.
        date: for example ``"26 Jul 2024"``. ``llama3`` writes it into the system message, as Llama 3.2's own
            template does; ``template`` gives it to the template.
        path: for ``template`` only: a model directory, or a Jinja file.
        special_tokens: for ``template`` only: the tokenizer's special tokens. Defaults to those that the
            model directory lists.
        template_args: for ``template`` only: variables for all rows, for example ``enable_thinking``; those
            of a row's own ``chat_template_kwargs`` win.
        end: for ``plain`` only: the special token that ends an answer, of ``end_of_text``. Defaults to
            ``<|endoftext|>``.

    Raises:
        UsageError: there is no such chat format, or it has no such option.
        TemplateError: the template cannot be used.
        FileError: the template cannot be read.
        MissingDependencyError: ``template`` needs jinja2 (extra ``tokens``).
    """
    date = canonical_date(date)
    # Imported here, for their names are also those of help texts, which must not load anything.
    from dataprep.tokens.formats import jinja, named

    if name not in NAMES:
        raise UsageError(f"there is no chat format {name!r}; expected one of {', '.join(NAMES)}")
    if name == "template":
        if path is None:
            raise UsageError("the chat format 'template' needs a model directory or a jinja file")
        return jinja.TemplateFormat.read_from(
            path, strip=strip, date=date, special_tokens=special_tokens, arguments=template_args
        )
    if template_args:
        raise UsageError(f"the chat format {name!r} has no variables; only 'template' has them")
    if path is not None:
        raise UsageError(f"the chat format {name!r} is fixed; only 'template' reads a template")
    if date is not None and name != "llama3":
        raise UsageError(f"the chat format {name!r} writes no date; 'llama3' and 'template' do")
    if name == "plain":
        return named.Plain(strip=strip, end=end or named.Plain.end)
    return named.FORMATS[name](strip=strip, date=date)


def chat_format_for(
    name: str | None,
    tokenizer: Tokenizer,
    tokenizer_path: str | Path | None,
    *,
    template: str | Path | None = None,
    strip: bool = False,
    date: str | None = None,
    template_args: Mapping[str, Any] | None = None,
) -> ChatFormat:
    """Return a chat format for a tokenizer; ``template`` looks for one beside the tokenizer's file.

    Without a name it is the tokenizer's own template, if there is one beside it, else ``llama3``.
    """
    from dataprep.tokens.formats.model_template import has_template

    check_template(name, template)
    if name not in (None, "template"):
        end = end_of_text(tokenizer, tokenizer_path) if name == "plain" else None
        return chat_format_of(str(name), strip=strip, date=date, template_args=template_args, end=end)
    template = _template_path(tokenizer_path, template)
    if name is None:
        name = "template" if template is not None and has_template(template) else "llama3"
    if name != "template":
        return chat_format_of(name, strip=strip, date=date, template_args=template_args)
    return chat_format_of(
        name,
        strip=strip,
        date=date,
        path=template,
        special_tokens=tuple(tokenizer.special_tokens),
        template_args=template_args,
    )


def dated_template(
    name: str | None, tokenizer_path: str | Path | None, template: str | Path | None = None
) -> Path | None:
    """Return the file or directory of the template of ``chat_format_for``, if it writes today's date."""
    from dataprep.tokens.formats.model_template import has_template, read_template

    if name not in (None, "template"):
        return None
    path = _template_path(tokenizer_path, template)
    if path is None or not Path(path).exists() or (name is None and not has_template(path)):
        return None
    found = read_template(path)
    # Also where the template only asks whether there is a clock: `transformers` gives it one.
    texts = (found.text, *found.others.values())
    return Path(path) if any(_CLOCK in text for text in texts) else None


def _template_path(tokenizer_path: str | Path | None, template: str | Path | None) -> str | Path | None:
    if template is not None or tokenizer_path is None:
        return template
    return folder_of(tokenizer_path)


def folder_of(path: str | Path) -> Path:
    """Return the directory of a tokenizer, which is given as its file or as its directory."""
    return Path(path) if Path(path).is_dir() else Path(path).parent


def end_of_text(tokenizer: Tokenizer, path: str | Path | None) -> str:
    """Return the special token that ends texts: what the tokenizer's directory says, else a usual one.

    Raises:
        TokenizerError: the tokenizer has none.
    """
    from dataprep.tokens.formats.model_template import CONFIG, read_object

    known = tokenizer.special_tokens
    if path is not None and Path(path).exists():
        folder = folder_of(path)
        given = (read_object(folder / "special_tokens_map.json") | read_object(folder / CONFIG)).get(
            "eos_token"
        )
        name = given.get("content") if isinstance(given, dict) else given
        if isinstance(name, str) and name in known:
            return name
    if (usual := first_of(EOS, known)) is not None:
        return usual
    raise TokenizerError(
        f"the tokenizer has no special token that ends a text, such as {' or '.join(EOS)}, which the chat "
        f"format 'plain' needs; it has {', '.join([*known][:16]) or 'none'}"
    )


def check_template(name: str | None, template: str | Path | None) -> None:
    """Raise ``UsageError`` if a template is given to a chat format that reads none."""
    if template is not None and name != "template":
        raise UsageError("--template needs --chat-format template")
