"""Tell which chat templates write today's date."""

from __future__ import annotations

from pathlib import Path

from dataprep.tokens.formats.model_template import has_template, read_template

_CLOCK = "strftime_now"  # what templates call for today's date


def dated_template(
    name: str | None, tokenizer_path: str | Path | None, template: str | Path | None = None
) -> Path | None:
    """Return the file or directory of the template that a command will use, if it writes today's date.

    The arguments are those of ``loading.chat_format_for``.
    """
    if name not in (None, "template"):
        return None
    if template is None and tokenizer_path is not None:
        template = tokenizer_path if Path(tokenizer_path).is_dir() else Path(tokenizer_path).parent
    if template is None or not Path(template).exists() or (name is None and not has_template(template)):
        return None
    found = read_template(template)
    # Also where the template only asks whether there is a clock: `transformers` gives it one.
    texts = (found.text, *found.others.values())
    return Path(template) if any(_CLOCK in text for text in texts) else None
