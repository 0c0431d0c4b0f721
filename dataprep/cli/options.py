"""Build the flags of a command from option dataclasses, and define the flags that several commands share."""

from __future__ import annotations

import inspect
from collections import abc
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial, wraps
from typing import Annotated, Any, Literal, Optional, TypeVar, get_args, get_origin, get_type_hints

import typer

from dataprep.core.errors import UsageError, first_line
from dataprep.core.options import Option, options_of
from dataprep.core.records import describe

T = TypeVar("T")
KEYWORD = inspect.Parameter.KEYWORD_ONLY

# Flags that can be repeated and once could not: files of options that give them as a string stay valid.
_WAS_SINGLE = {"base_url"}

# An options dataclass as a command gets it: called, it makes the object of the flags that were given and of
# fields that are not flags. Its `keywords` are the given flags, which tell a flag from its default.
From = partial[T]


def flag(default: Any, help: str, *words: str, **settings: Any) -> Any:
    """Return a command's parameter that is a flag; ``...`` as default makes it required.

    Args:
        default: its default.
        help: its help text.
        words: the flag's names, which start with ``-``, and the placeholder for its value.
        settings: further settings of ``typer.Option``.
    """
    names = [word for word in words if word.startswith("-")]
    metavar = next((word for word in words if word not in names), None)
    return typer.Option(default, *names, help=help, metavar=metavar, **settings)


def argument(default: Any, help: str, metavar: str) -> Any:
    """Return a command's parameter that is an argument; ``...`` as default makes it required."""
    return typer.Argument(default, help=help, metavar=metavar)


Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="PATH",
        help="Output file or URL; - is standard output, and DIR/ a folder of parts.",
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of Python's random generator.")]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Number of processes. Defaults to all cores for large inputs. Does not change the output.",
    ),
]
Rejects = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Continue after bad rows, and write them to FILE with reasons."),
]
InWorkspace = Annotated[
    str | None,
    typer.Option("--workspace", metavar="DIR", help="Workspace. Defaults to the current folder."),
]
ChatFormat = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="llama3, chatml, llama2, plain, or template: the model directory's own. Defaults to template "
        "where the tokenizer's directory has one, else to llama3.",
    ),
]
Template = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="For template: a model directory or a Jinja file. Defaults to the tokenizer's directory.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no summary and no progress.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


def read_config(context: typer.Context, path: str | None) -> None:
    """Take the values in a TOML file as the defaults of the command's flags and arguments."""
    if path is None:
        return
    import tomllib

    from dataprep.core.io import read_text

    text = read_text(path)
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, lists in lists
        raise UsageError(f"{path}: not a TOML file: {first_line(error)}") from None
    # Keys are spelled as flags are: `--learning-rate` is `learning_rate`.
    known = {
        max(param.opts, key=len).lstrip("-").replace("-", "_"): param
        for param in context.command.params
        if param.name != "config"
    }
    for key in document:
        if key not in known:
            # With no cutoff there is always a nearest one, if only to show how keys are spelled.
            near = get_close_matches(key, known, 1, cutoff=0.0)[0]
            raise UsageError(f"{path}: {key}: {context.info_name} has no such option; the nearest is {near}")
    # Typer's own way to other defaults: flags win over them, and they satisfy a required argument.
    context.default_map = {
        str(known[key].name): _checked(context, known[key], value, f"{path}: {key}")
        for key, value in document.items()
    }


def _checked(context: typer.Context, param: Any, value: Any, where: str) -> Any:
    # Typer would take "1" for a number and True for a string; TOML's own types say what was meant.
    is_list = param.multiple if param.param_type_name == "option" else param.nargs == -1
    kinds: dict[str, tuple[type, ...]] = {"boolean": (bool,), "string": (str,)}
    kinds |= {"whole number": (int,), "number": (int, float)}
    word = "boolean" if getattr(param, "is_flag", False) else "string"
    if param.type.name.startswith(("int", "float")):
        word = "whole number" if param.type.name.startswith("int") else "number"
    if param.name in _WAS_SINGLE and isinstance(value, str):
        value = [value]
    values = value if is_list and isinstance(value, list) else [value]
    # Not isinstance: a boolean is an int to Python.
    fits = all(type(item) in kinds[word] for item in values)
    if not fits or is_list != isinstance(value, list):
        wanted = f"a list of {word}s" if is_list else f"a {word}"
        raise UsageError(f"{where}: found {describe(value)}, expected {wanted}")
    # Typer would report these without the file's path and by the name of the flag.
    try:
        for item in values:
            param.type.convert(item, param, context)
    except typer.BadParameter as error:
        raise UsageError(f"{where}: {error.message}") from None
    return value


Config = Annotated[
    str | None,
    typer.Option(
        metavar="FILE.toml",
        help="Read options from a file, by the names of their flags; flags win over it.",
        is_eager=True,
        callback=read_config,
    ),
]


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flags of its parameters of type ``From[…]``, and the flag ``--config``."""
    parameters: list[inspect.Parameter] = []
    classes: dict[str, Any] = {}
    signature = inspect.signature(command, eval_str=True)
    for parameter in signature.parameters.values():
        if get_origin(parameter.annotation) is partial:
            classes[parameter.name] = get_args(parameter.annotation)[-1]
            parameters += _parameters_of(classes[parameter.name])
        else:
            parameters.append(parameter)
    parameters += [
        inspect.Parameter("config", KEYWORD, default=None, annotation=Config),
        inspect.Parameter("context", KEYWORD, annotation=typer.Context),
    ]

    @wraps(command)
    def run(context: typer.Context, **values: Any) -> None:
        # `read_config` has read the file before the other flags were converted.
        del values["config"]
        for name, cls in classes.items():
            values[name] = partial(cls, **_given(context, cls, values))
        command(**values)

    # As keywords, parameters with and without a default can stand in any order.
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[parameter.replace(kind=KEYWORD) for parameter in parameters]
    )
    return run


def _given(context: typer.Context, cls: Any, values: dict[str, Any]) -> dict[str, Any]:
    # The class has the defaults, so that they hold for the library too; only given values are passed on.
    given = {}
    sources = {name: context.get_parameter_source(name) for name, _, _ in options_of(cls)}
    flags = {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
    replaced = {option.instead_of for name, option, _ in options_of(cls) if name in flags} - flags
    for name, option, _ in options_of(cls):
        value, source = values.pop(name), sources[name]
        if source is not None and source.name != "DEFAULT" and name not in replaced:
            # Typer makes None of an empty list, which a file can have.
            given[name] = option.parse([] if value is None else value) if option.parse else value
    return given


def _parameters_of(cls: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(cls)
    parameters = []
    for name, option, default in options_of(cls):
        # Typer would name the value of a limited number "float range".
        metavar = option.metavar or ("X" if hints[name] in (float, float | None) else None)
        info = typer.Option(option.flag, help=option.help, metavar=metavar, min=option.min, max=option.max)
        plain = (list(default) or None) if isinstance(default, tuple | Mapping) else default
        shown = plain if option.shown is None else option.shown
        annotation: Any = Annotated[_kind(option, hints[name]), info]
        parameters.append(inspect.Parameter(name, KEYWORD, default=shown, annotation=annotation))
    return parameters


def _kind(option: Option, hint: Any) -> Any:
    if option.kind is not None:
        return option.kind
    if option.choices:
        return Optional[Literal.__getitem__(option.choices)]  # noqa: UP045
    # The flag of a tuple or a mapping can be repeated, and `parse` makes one of its values.
    if get_origin(hint) in (tuple, abc.Mapping):
        return list[str] | None
    return hint
