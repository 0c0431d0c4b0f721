"""``dataprep init``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from dataprep.commands.options import Quiet


def command(
    folder: Annotated[str, typer.Argument(metavar="[DIR]", help="The new workspace.")] = ".",
    quiet: Quiet = False,
) -> None:
    """Make a workspace with small sample datasets in it.

    The folder gets raw/ (with the samples), pre_datasets/train/, pre_datasets/test/ and mergedata/. Nothing
    that is there already is overwritten.

    \b
    Example:
      dataprep init workspace && cd workspace && dataprep convert gsm8k
    """
    from dataprep.workspace import init_workspace

    root = init_workspace(folder)
    if not quiet:
        print(f"made {root}: try `dataprep convert gsm8k` in there", file=sys.stderr)
