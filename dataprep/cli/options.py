"""The flags that several commands share, so that they are spelled and explained alike."""

from __future__ import annotations

from typing import Annotated

import typer


def names(given: str | None) -> tuple[str, ...]:
    """The names in a flag's text, such as ``question,answer``."""
    return tuple(name.strip() for name in (given or "").split(",") if name.strip())


Output = Annotated[
    str | None,
    typer.Option("-o", "--output", metavar="PATH", help="Where the rows go; - is standard output."),
]
Seed = Annotated[int, typer.Option(help="Seed of Python's random generator.")]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Processes. Default: every core for large inputs. The output does not depend on it.",
    ),
]
Rejects = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Go on after bad rows, and write them here with reasons."),
]
InWorkspace = Annotated[
    str | None,
    typer.Option("--workspace", metavar="DIR", help="The workspace. Default: the current folder."),
]
Template = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="For template: a model directory or a jinja file. Default: the tokenizer's directory.",
    ),
]
Strip = Annotated[bool, typer.Option("--strip", help="Strip contents of white space around them.")]
Date = Annotated[
    str | None,
    typer.Option(metavar="DATE", help="Put a date line, such as '26 Jul 2024', into the system message."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no summary and no progress.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]
