"""Write a manifest beside whatever a command writes, and give the command the flag for that."""

from __future__ import annotations

import inspect
import json
import os
import re
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from dataprep.cli.console import say
from dataprep.core.errors import one_line
from dataprep.core.provenance import recording
from dataprep.core.urls import is_url

NoManifest = Annotated[
    bool, typer.Option("--no-manifest", help="Write no OUT.manifest.json beside an output OUT.")
]
# They decide no byte of an output.
_LEFT_OUT = {"quiet", "as_json", "no_manifest", "config", "workers", "help", "cluster", "fresh"}
# Commands that write no file of rows, or one with a manifest of its own (`fetch`).
WITHOUT = {
    "clean",
    "datasets",
    "fetch",
    "head",
    "init",
    "replay",
    "show",
    "stats",
    "trace",
    "validate",
    "verify",
    "view",
}
# The placeholders of flags and arguments whose values are paths.
_PATHS = {
    "A", "B", "DATA", "DIR", "FILE", "FILE.toml", "INPUT", "MODEL", "MODEL FILE", "OUT", "PATH", "REQUESTS",
    "RESPONSES", "ROWS", "SHARDS", "STUDENT", "TEST", "TRAIN",
}  # fmt: skip
_PAIRS = {"NAME=PATH", "SPLIT=FILE", "FILE=WEIGHT"}


def with_manifest(name: str, command: Callable[..., Any]) -> Callable[..., Any]:
    """Return the command, which writes manifests and has the flag ``--no-manifest``."""
    if name in WITHOUT:
        return command
    signature = inspect.signature(command, eval_str=True)
    takes_context = "context" in signature.parameters
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [each.replace(kind=keyword) for each in signature.parameters.values()]
    parameters.append(inspect.Parameter("no_manifest", keyword, default=False, annotation=NoManifest))
    if not takes_context:
        parameters.append(inspect.Parameter("context", keyword, annotation=typer.Context))

    @wraps(command)
    def run(*, context: typer.Context, no_manifest: bool, **values: Any) -> Any:
        given = values | ({"context": context} if takes_context else {})
        # Of the processes of torchrun, one writes.
        if no_manifest or os.environ.get("RANK", "0") != "0":
            return command(**given)
        return _recorded(name, context, command, given)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run


def _recorded(
    name: str, context: typer.Context, command: Callable[..., Any], values: Mapping[str, Any]
) -> Any:
    with recording() as recorder:
        from dataprep.core.manifests.writing import ManifestWriter

        writer = ManifestWriter(recorder, _call(name, context))
        try:
            result = command(**values)
        except (SystemExit, typer.Exit) as end:
            # After a signal there is no time to read large files once more.
            code = end.code if isinstance(end, SystemExit) else end.exit_code
            if not isinstance(code, int) or code < 128:
                _write(writer)
            raise
        except Exception:
            _write(writer)  # of the outputs that were finished before
            raise
        _write(writer)
    return result


def _write(writer: Any) -> None:
    try:
        for path in writer.write():
            say(f"warning: {path}.manifest.json is there and is no manifest: it is left as it is")
    except OSError as error:
        say(f"warning: no manifest was written: {one_line(error)}")


def _call(name: str, context: typer.Context) -> Any:
    from dataprep.core.manifests.writing import Call

    seed = context.params.get("seed")
    return Call(
        name,
        lambda named: _words(context, named),
        lambda named: {
            _spelled(param): _shown(param, context.params.get(str(param.name)), named)
            for param in context.command.params
            if param.name not in _LEFT_OUT
        },
        seed if type(seed) is int else None,
    )


def _spelled(param: Any) -> str:
    return str(param.name) if param.param_type_name == "argument" else max(param.opts, key=len)


def _words(context: typer.Context, named: Callable[[str], str]) -> list[str]:
    """Return the flags and arguments that were given, also in a file of options, as a command line."""
    flags: list[str] = []
    arguments: list[str] = []
    for param in context.command.params:
        source = context.get_parameter_source(str(param.name))
        if param.name in _LEFT_OUT or source is None or source.name not in ("COMMANDLINE", "DEFAULT_MAP"):
            continue
        value = _shown(param, context.params.get(str(param.name)), named)
        values = value if isinstance(value, list) else [] if value is None else [value]
        if param.param_type_name == "argument":
            arguments += map(str, values)
        elif getattr(param, "is_flag", False):
            names = param.opts if value else param.secondary_opts
            flags += [max(names, key=len)] if names else []
        else:
            flag = max(param.opts, key=len)
            for each in values:
                # A value that begins with a dash would be taken for a flag.
                is_dashed = str(each).startswith("-") and each != "-"
                flags += [f"{flag}={each}"] if is_dashed else [flag, str(each)]
    dashes = ["--"] if any(word.startswith("-") and word != "-" for word in arguments) else []
    return [*flags, *dashes, *arguments]


def _shown(param: Any, value: Any, named: Callable[[str], str]) -> Any:
    """Return a value without absolute paths and keys."""
    if isinstance(value, list | tuple):
        return [_shown(param, each, named) for each in value]
    if not isinstance(value, str):
        return value if value is None or isinstance(value, bool | int | float) else str(value)
    kind = _kind(param)
    if kind in _PATHS or kind in _PAIRS:
        return _relative(kind, param, value, named)
    is_absolute = value.startswith(("/", "~/")) or re.match(r"[A-Za-z]:\\", value)
    return named(value) if is_absolute else _without_keys(kind, value)


def _kind(param: Any) -> str:
    """Return the placeholder of a value, such as ``FILE``."""
    return re.sub(r"\.\.\.|[][]", "", str(param.metavar or ""))


def paths_in(param: Any, value: str) -> list[str]:
    """Return all parts of a value that the command may take for a path; empty if none is one."""
    kind = _kind(param)
    if value == "-" or (kind not in _PATHS and kind not in _PAIRS):
        return []
    pieces = (*value.partition("="), *value.rpartition("="))
    return [piece for piece in {value, *pieces} if piece not in ("", "=")]


def _relative(kind: str, param: Any, value: str, named: Callable[[str], str]) -> str:
    before, equals, after = value.rpartition("=") if kind == "FILE=WEIGHT" else value.partition("=")
    # A file's own name can have a `=`.
    if equals and kind == "FILE=WEIGHT" and not _exists(value):
        return f"{_place(before, named)}={after}"
    # Splits and teachers have names in front of their files.
    if equals and (kind in _PAIRS or (_exists(after) and not _exists(value))):
        return f"{before}={_place(after, named)}"
    return _place(value, named, is_output="output" in param.name)


def _place(value: str, named: Callable[[str], str], *, is_output: bool = False) -> str:
    # A name without a folder that is no file is one of dataprep's own, such as that of a preset.
    if is_url(value):
        return named(value)
    is_name = not is_output and os.sep not in value and not Path(value).exists()
    return value if is_name or value == "" else named(str(Path(value).expanduser()))


def _exists(value: str) -> bool:
    # Of a URL that is not asked of the store once more: a weight begins behind the last `=`, a name before.
    return not is_url(value) and Path(value).exists()


def _without_keys(kind: str, value: str) -> str:
    from dataprep.core.manifests.keys import HIDDEN, is_secret_name, value_without_keys, without_keys

    if kind == "VARIABLE":
        return value
    name, equals, text = value.partition("=")
    if not equals or kind not in ("NAME=JSON", "NAME=VALUE"):
        return without_keys(value)
    if is_secret_name(name):
        return f"{name}={HIDDEN}"
    try:
        found = json.loads(text)
    except ValueError:
        return f"{name}={without_keys(text)}"
    shown = value_without_keys(found)
    return value if shown == found else f"{name}={json.dumps(shown, ensure_ascii=False)}"
