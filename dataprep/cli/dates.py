"""Settle the date that a chat template writes: by flag, by the workspace, or by asking once."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from dataprep.cli.console import say
from dataprep.core import provenance
from dataprep.core.errors import FileError, UsageError, WorkspaceError
from dataprep.core.options import canonical_date


def settled_date(
    date: str | None,
    chat_format: str | None,
    tokenizer: str | None,
    *,
    template: str | None = None,
    workspace: str | None = None,
) -> str | None:
    """Return the date that the chat format of a command writes; ``None`` if it writes none.

    A date that is given stays. Else it is the workspace's, if the template writes one. If the workspace has
    none, a user at a terminal is asked once, and the answer is stored in the workspace.

    Args:
        date: what ``--date`` says.
        chat_format: what ``--chat-format`` says.
        tokenizer: the path of the tokenizer, or of its model's directory.
        template: what ``--template`` says.
        workspace: the workspace's folder. Defaults to the current one.

    Raises:
        UsageError: there is no date, and nobody to ask.
        FileError: the workspace's file of settings is wrong.
    """
    from dataprep.datasets.workspace import Workspace
    from dataprep.tokens.formats.base import check_date
    from dataprep.tokens.formats.loading import dated_template

    if date is not None or (dated := dated_template(chat_format, tokenizer, template)) is None:
        return date
    try:
        home = Workspace.find(workspace)
    except WorkspaceError:
        home = None
    stored = None if home is None else home.read_date()
    if home is not None and stored is not None:
        try:
            check_date(canonical_date(stored))
        except UsageError as error:
            raise FileError(home.settings, str(error)) from None
        provenance.settled("--date", stored)
        return stored
    if home is None or not _at_terminal():
        raise UsageError(_advice(dated))
    home.write_date(chosen := _ask(dated))
    provenance.settled("--date", chosen)
    say(f"the date is in {home.settings}, and used from now on")
    return chosen


def _at_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _advice(template: Path) -> str:
    from dataprep.datasets.workspace import SETTINGS

    return (
        f"{template}: the chat template writes today's date, and the same rows must give the same tokens on "
        'any day: give a date with --date 2024-07-26, or write date = "2024-07-26" into the file '
        f"{SETTINGS} of the workspace"
    )


def _ask(template: Path) -> str:
    from dataprep.tokens.formats.base import check_date

    say(f"{template}: the chat template writes today's date. All rows of the workspace have one date.")
    while True:
        given = str(typer.prompt("Date, such as 2024-07-26", err=True)).strip()
        try:
            check_date(canonical_date(given))
        except UsageError as error:
            say(str(error))
        else:
            return given
