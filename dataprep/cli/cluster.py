"""Give commands ``--cluster`` and ``--fresh``: where they run, and whether they resume."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from dataprep.cli.console import say

# The commands whose row passes run as tasks: core/parallel.
WITH = {
    "convert", "decontaminate", "dedup", "export", "filter", "import", "merge", "parse-rationales", "prompt",
    "split", "stats", "tokenize", "validate",
}  # fmt: skip
# They write nothing that a later run could take up.
_READS_ONLY = {"stats", "validate"}
VARIABLE = "RAY_ADDRESS"
_ADDRESS = re.compile(r"auto|local|ray://.*|[\w.-]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}")

Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="[ADDRESS]",
        help="Run on a Ray cluster, HOST:PORT or auto, with the same output; without an address, on one "
        f"that is started here. Defaults to the variable {VARIABLE}, if it is set.",
    ),
]
Fresh = Annotated[
    bool,
    typer.Option(
        "--fresh",
        help="Do all of the work again, also what an unfinished run into DIR/ or on a cluster has done.",
    ),
]


def with_cluster(name: str, command: Callable[..., Any]) -> Callable[..., Any]:
    """Return the command, which runs on the cluster of its flag ``--cluster``."""
    if name not in WITH:
        return command
    signature = inspect.signature(command, eval_str=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [each.replace(kind=keyword) for each in signature.parameters.values()]
    flags = {"cluster": Cluster} | ({} if name in _READS_ONLY else {"fresh": Fresh})
    parameters += [
        inspect.Parameter(flag, keyword, default=None if flag == "cluster" else False, annotation=annotation)
        for flag, annotation in flags.items()
    ]

    @wraps(command)
    def run(*, cluster: str | None, fresh: bool = False, **values: Any) -> Any:
        address = cluster or os.environ.get(VARIABLE) or None
        if cluster is None and address is not None and address.startswith(("http://", "https://")):
            say(f"{name}: {VARIABLE} names a server of jobs, no cluster; runs on this machine")
            address = None
        if address is None and not fresh:
            return command(**values)
        from dataprep.core.parallel import engine

        if cluster is None and address is not None:
            say(f"{name}: runs on the Ray cluster at {address}, the value of {VARIABLE}")
        with engine(address, workers=values.get("workers"), fresh=fresh):
            return command(**values)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run


def with_address(words: list[str]) -> list[str]:
    """Return a command line in which ``--cluster`` has a value: the next word, if it is an address."""
    # Without this, `--cluster rows.jsonl` would take the input for an address.
    made: list[str] = []
    for place, word in enumerate(words):
        if word == "--":
            return made + words[place:]
        following = words[place + 1] if place + 1 < len(words) else ""
        is_bare = word == "--cluster" and not _ADDRESS.fullmatch(following)
        made.append("--cluster=local" if is_bare else word)
    return made
