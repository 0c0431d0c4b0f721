"""Replay manifests, whose command lines are checked first: a manifest is text from outside."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dataprep.cli.manifests import WITHOUT, paths_in
from dataprep.core.errors import UsageError

if TYPE_CHECKING:
    from dataprep.inspect.manifests.replaying import Done, Replayed

# Options that are never in a manifest.
_REFUSED = {"config", "help"}
# `generate` asks a server, and the others write nothing.
_COMMANDS = WITHOUT | {"generate"}
# Besides arguments, the options with files to read; a link of the workspace can lead to them.
_READ = {
    "across", "against", "eval_data", "examples", "gold", "judgements", "pool", "predictions", "template",
    "tokenizer", "tools",
}  # fmt: skip
_USAGE: Any = typer.BadParameter.__base__


def replay_files(
    paths: Sequence[str | Path],
    workspace: str | Path | None = None,
    *,
    sources: Sequence[str | Path] = (),
    allow_code: bool = False,
    dry_run: bool = False,
    on_step: Callable[[Done], None] | None = None,
) -> Replayed:
    """Run the commands that made files again, in order; those whose outputs are up to date are skipped.

    Each command runs in a process of its own.

    Args:
        paths: files with manifests; the files themselves need not be there.
        workspace: folder to run in, which has the same source files. Defaults to the files' own.
        sources: files, or folders of files, that the manifests know by their digests alone.
        allow_code: run commands that ran tests of code, confined.
        dry_run: run nothing, and say which steps would run.
        on_step: called after each step.

    Raises:
        UsageError: a step cannot be run again, or is not allowed to.
        InputError: a source file, or an output of the step before, has other bytes than recorded.
        FileError: a file is missing, or a command failed.
    """
    from dataprep.inspect.manifests.replaying import replay_steps

    check = partial(check_step, allow_code=allow_code)
    return replay_steps(paths, workspace, check=check, sources=sources, dry_run=dry_run, on_step=on_step)


def check_step(
    command: str,
    arguments: Sequence[str],
    root: Path,
    located: Sequence[Path | str],
    *,
    allow_code: bool = False,
) -> None:
    """Raise ``UsageError`` unless a step is a known command with known options and paths in its workspace.

    Args:
        command: its name.
        arguments: the words behind it.
        root: the folder in which it runs.
        located: files outside of it that it may read, as the user or the arguments name them.
        allow_code: it may run tests of code.
    """
    params, values = _parsed(command, arguments)
    for param in params:
        value = values.get(str(param.name))
        if param.name in _REFUSED and value:
            raise UsageError(f"{command}: --{param.name} cannot come from a manifest")
        if param.name == "allow_code" and value and not allow_code:
            raise UsageError(f"{command} runs tests of code: allow it with --allow-code")
        texts = [each for each in value if type(each) is str] if isinstance(value, list | tuple) else []
        texts += [value] if isinstance(value, str) else []
        named = {str(place) for place in located}
        is_read = param.param_type_name == "argument" or param.name in _READ
        for text in texts:
            before, _, _ = text.rpartition("=")
            # `mix` has a weight behind a path, unless a file has such a name.
            weighed = {text, before} if before in named and not (root / text).exists() else set()
            for path in paths_in(param, text):
                # A name in front of a file is no path, but is inside as one too.
                known = path in named | weighed or (is_read and str(root / path) in named)
                if text.partition("=")[2] not in named and not known:
                    _check_inside(command, path, root)


def _parsed(command: str, arguments: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    from typer.main import get_command

    from dataprep.cli.app import COMMANDS, app

    first, *rest = command.split()
    if first not in COMMANDS or first in _COMMANDS:
        raise UsageError(f"{command}: not a command that can be replayed")
    found: Any = get_command(app).commands[first]  # type: ignore[attr-defined]
    for name in rest:
        found = getattr(found, "commands", {}).get(name)
        if found is None:
            raise UsageError(f"{command}: not a command that can be replayed")
    if any(word.split("=")[0] in ("--help", "-h", "--config") for word in arguments):
        raise UsageError(f"{command}: --help and --config cannot come from a manifest")
    try:
        context = found.make_context(first, list(arguments))
    except _USAGE as error:
        raise UsageError(f"{command}: its manifest has wrong arguments: {error.message}") from None
    return found.params, context.params


def _check_inside(command: str, path: str, root: Path) -> None:
    real, home = os.path.realpath(root / path), os.path.realpath(root)
    if not Path(real).is_relative_to(home):
        raise UsageError(f"{command}: the path {path} leads out of the workspace {root}")
