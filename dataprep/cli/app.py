"""The app, with the commands in ``commands``."""

from __future__ import annotations

from typing import Annotated

import typer

from dataprep import __version__
from dataprep.cli.commands import (
    checks,
    collect,
    convert,
    datasets,
    evaluate,
    generate,
    merge,
    predict,
    prompt,
    rationales,
    review,
    tokenize,
    tokenizer,
    train,
)
from dataprep.cli.console import guard_stdout

app = typer.Typer(
    name="dataprep",
    help="Prepare data for small language models: turn datasets and teachers' answers into chat rows "
    "and tokens, train small students and evaluate them.",
    no_args_is_help=True,
    # Errors are printed by `__main__`, and a traceback only with --debug.
    pretty_exceptions_enable=False,
    # Plain help: rich is slow to import, and draws boxes around everything.
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


# In the order of the pipeline, in which `dataprep --help` lists them.
for _name, _command in (
    ("init", datasets.init_command),
    ("convert", convert.command),
    ("merge", merge.command),
    ("validate", checks.validate_command),
    ("lint-tokens", checks.lint_tokens_command),
    ("stats", checks.stats_command),
    ("parse-rationales", rationales.parse_rationales_command),
    ("export-rationales", rationales.export_rationales_command),
    ("prompt", prompt.command),
    ("generate", generate.command),
    ("collect", collect.command),
    ("review", review.command),
    ("tokenize", tokenize.command),
    ("train", train.command),
    ("evaluate", evaluate.command),
    ("predict", predict.command),
    ("fetch", datasets.fetch_command),
    ("datasets", datasets.datasets_command),
):
    app.command(_name)(guard_stdout(_command))

for _group in (tokenizer,):
    _name = _group.__name__.rpartition(".")[2]
    _commands = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    _commands.callback()(_group.command)
    for _inner, _command in _group.commands.items():
        _commands.command(_inner)(guard_stdout(_command))
    app.add_typer(_commands, name=_name)
