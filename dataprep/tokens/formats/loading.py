"""Choose a chat format: by name, or the template of a model directory."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from dataprep.core.errors import UsageError
from dataprep.tokens.formats.base import ChatFormat
from dataprep.tokens.tokenizers.base import Tokenizer

NAMES = ("llama3", "chatml", "llama2", "template")


def chat_format_of(
    name: str,
    *,
    strip: bool = False,
    date: str | None = None,
    path: str | Path | None = None,
    special_tokens: Collection[str] = (),
    template_args: Mapping[str, Any] | None = None,
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

    Raises:
        UsageError: there is no such chat format, or it has no such option.
        TemplateError: the template cannot be used.
        FileError: the template cannot be read.
        MissingDependencyError: ``template`` needs jinja2 (extra ``tokens``).
    """
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
        return chat_format_of(str(name), strip=strip, date=date, template_args=template_args)
    if template is None and tokenizer_path is not None:
        template = tokenizer_path if Path(tokenizer_path).is_dir() else Path(tokenizer_path).parent
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


def check_template(name: str | None, template: str | Path | None) -> None:
    """Raise ``UsageError`` if a template is given to a chat format that reads none."""
    if template is not None and name != "template":
        raise UsageError("--template needs --chat-format template")
