"""The app, whose commands are imported when they are called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from dataprep import __version__
from dataprep.cli.cluster import with_address, with_cluster
from dataprep.cli.console import guard_stdout
from dataprep.cli.manifests import with_manifest
from dataprep.cli.progress import with_progress_lines
from dataprep.core.errors import one_line

# Module and function of each command with the first line of its docstring, in the order of the pipeline.
# The lines are repeated here because importing all commands for `dataprep --help` would double its time.
COMMANDS = {
    "init": ("datasets:init_command", "Make a workspace with small sample datasets in it."),
    "convert": ("convert:command", "Convert a dataset's source rows to chat rows or Examples."),
    "import": ("exchange:import_command", "Read other tools' rows as chat rows."),
    "merge": ("merge:command", "Merge and shuffle files of rows, reproducibly."),
    "dedup": ("curate.dedup:command", "Drop rows that repeat others, exactly or nearly."),
    "decontaminate": ("curate.decontaminate:command", "Drop training rows that repeat test rows."),
    "filter": ("curate.filter:command", "Keep the rows for which a condition holds."),
    "mix": ("curate.mix:command", "Mix files or token shards in exact shares, reproducibly."),
    "split": ("curate.split:command", "Divide rows into parts such as train and valid."),
    "validate": ("checks:validate_command", "Check that every row of chat files is well-formed."),
    "lint-tokens": ("checks:lint_tokens_command", "Check the token ids and the loss mask of chat files."),
    "stats": ("checks:stats_command", "Describe files: counts, lengths, duplicates."),
    "head": ("inspect.rows:head_command", "Show the first rows of files as chats in the terminal."),
    "show": ("inspect.rows:show_command", "Show rows by their numbers as chats in the terminal."),
    "diff": ("inspect.diff:command", "Say which rows two files share, lost, gained or changed."),
    "report": ("inspect.report:command", "Describe files of rows on one HTML page that opens offline."),
    "card": ("inspect.card:command", "Write a dataset's card for the hub, and Croissant metadata."),
    "trace": ("inspect.trace:command", "Follow a row back to its source row, through the manifests."),
    "parse-rationales": ("collect:parse_command", "Parse teachers' rationale files into labelled rows."),
    "export-rationales": (
        "collect:export_command",
        "Write labelled rows back as published rationale files.",
    ),
    "prompt": ("generate:prompt_command", "Make requests to a teacher from Examples."),
    "generate": ("generate:generate_command", "Ask a teacher, and write every answer into a journal."),
    "collect": ("collect:collect_command", "Join teachers' answers to their Examples."),
    "review": (
        "collect:review_command",
        "Describe teachers' answers to multiple-choice questions, or answers that were evaluated.",
    ),
    "export": ("exchange:export_command", "Write chat rows as other tools read them."),
    "tokenize": (
        "tokenize:command",
        "Turn chat rows into token shards, or Examples into a teacher/student file.",
    ),
    "capture": ("capture:command", "Write a teacher's likeliest tokens at each token in the loss of shards."),
    "train": (
        "train:train_command",
        "Train a student on chat rows, rationales, soft labels or a teacher's distributions.",
    ),
    "evaluate": (
        "evaluate:command",
        "Measure a model, or any system's predictions, by each task's own metric.",
    ),
    "predict": (
        "train:predict_command",
        "Score rows with a classifier that `dataprep train` made, or any of transformers.",
    ),
    "compare": ("inspect.compare:command", "Put training runs side by side."),
    "export-model": (
        "export_model:command",
        "Export a student as a GGUF file, which llama.cpp and Ollama run.",
    ),
    "view": ("inspect.view:command", "Look at the rows of files on a local web page."),
    "verify": (
        "inspect.manifests:verify_command",
        "Check files against their manifests, back to raw/.",
    ),
    "replay": (
        "inspect.manifests:replay_command",
        "Run the commands that made files again, and compare the bytes.",
    ),
    "fetch": ("datasets:fetch_command", "Download a dataset from the Hugging Face hub into raw/."),
    "datasets": (
        "datasets:datasets_command",
        "List the datasets: task, splits with their rows, licence, files in raw/.",
    ),
    "tokenizer": ("tokenizer:commands", "Train a tokenizer on the data, or show one."),
    "clean": ("datasets:clean_command", "Remove the unfinished files of commands that were killed."),
}


class _Command(TyperCommand):
    """A command whose flags with a placeholder such as ``TEST...`` take all words up to the next flag.

    Where arguments have weights, ``-=2`` is one: standard input with its weight.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        several = {
            name for param in self.params if str(param.metavar or "").endswith("...") for name in param.opts
        }
        flags = {name for name in several if name.startswith("-")}
        if any("=WEIGHT" in str(param.metavar) for param in self.params):
            args = [f"{_MARK}{word}" if word.startswith("-=") else word for word in args]
        if any(param.name == "cluster" for param in self.params):
            args = with_address(args)
        rest = super().parse_args(ctx, _repeated(args, flags))
        ctx.params = {name: _unmarked(value) for name, value in ctx.params.items()}
        return rest


# In front of an argument that begins as a flag does. No word of a command line can have this character.
_MARK = "\0"


def _unmarked(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(map(_unmarked, value))
    return value.removeprefix(_MARK) if isinstance(value, str) else value


def _repeated(words: list[str], flags: set[str]) -> list[str]:
    """Write the flag before each of its values: ``--against a b`` becomes ``--against a --against b``."""
    made: list[str] = []
    flag = ""  # the one that takes the next words
    for number, word in enumerate(words):
        if word == "--":
            return made + words[number:]
        if word.startswith("-") and word != "-":
            name, equals, _ = word.partition("=")
            flag = name if name in flags else ""
            made += [word] if equals or not flag else []
        else:
            made += [flag, word] if flag else [word]
    return made


class _Commands(Mapping[str, Any]):
    """Every command by name; looking one up imports its module."""

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = COMMANDS[name][0].partition(":")
        command = getattr(import_module(f"dataprep.cli.commands.{module}"), attribute)
        if not isinstance(command, typer.Typer):
            alone = typer.Typer(add_completion=False, rich_markup_mode=None)
            recorded = with_manifest(name, with_cluster(name, command))
            alone.command(name, cls=_Command)(guard_stdout(with_progress_lines(name, recorded)))
            command = alone
        return get_command(command)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


# Typer's copy of click has no public name for it.
_UsageError: Any = typer.BadParameter.__base__


@contextmanager
def _quoted_safely() -> Iterator[None]:
    """Make the message of a wrong command line, which quotes its words, one line."""
    # A shell's `*` puts file names there, and whoever made the files chose their names.
    try:
        yield
    except _UsageError as error:
        error.message = one_line(error.message.replace(repr(_MARK)[1:-1], ""))
        raise


class _Group(TyperGroup):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Commands()  # type: ignore[assignment]

    def make_context(self, *arguments: Any, **settings: Any) -> Any:
        with _quoted_safely():
            return super().make_context(*arguments, **settings)

    def invoke(self, context: Any) -> Any:
        with _quoted_safely():
            return super().invoke(context)

    def format_commands(self, _ctx: Any, formatter: Any) -> None:
        # Typer's own method asks each command for its help, which would import them all.
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


app = typer.Typer(
    name="dataprep",
    cls=_Group,
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
