"""The app: one command a file in ``commands``."""

from __future__ import annotations

from typing import Annotated

import typer

from dataprep import __version__
from dataprep.commands import (
    collect,
    convert,
    datasets,
    evaluate,
    export_rationales,
    fetch,
    generate,
    init,
    lint_tokens,
    merge,
    parse_rationales,
    predict,
    prompt,
    review,
    stats,
    tokenizer,
    tokenize,
    train,
    validate,
)
from dataprep.commands.console import careful_with_stdout

app = typer.Typer(
    name="dataprep",
    help="Prepares data for small language models: raw datasets and teachers' rationales become "
    "chat rows, reproducible to the byte.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dataprep {__version__}")
        raise typer.Exit


@app.callback()
def _app(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    __: Annotated[bool, typer.Option("--debug", help="Show a traceback when a command fails.")] = False,
) -> None:
    """Register the options that stand before a command; ``--debug`` is read in ``__main__``."""


for _module in (
    init,
    convert,
    merge,
    validate,
    lint_tokens,
    stats,
    parse_rationales,
    export_rationales,
    prompt,
    generate,
    collect,
    review,
    tokenize,
    train,
    evaluate,
    predict,
    fetch,
    datasets,
):
    _name = _module.__name__.rpartition(".")[2].replace("_", "-")
    app.command(_name)(careful_with_stdout(_module.command))

for _group in (tokenizer,):
    _name = _group.__name__.rpartition(".")[2]
    _commands = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    _commands.callback()(_group.command)
    for _inner, _command in _group.commands.items():
        _commands.command(_inner)(careful_with_stdout(_command))
    app.add_typer(_commands, name=_name)
