"""Know what bytes depend on beside inputs and options: the code, Python and the libraries."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from dataprep.core.io.part_files import chunk_bytes

# They parse, write, render or cut texts, each where it is installed.
_LIBRARIES = ("orjson", "numpy", "polars", "sentencepiece", "tiktoken", "tokenizers", "jinja2")


def version() -> str:
    """Return the version of dataprep."""
    from dataprep import __version__  # not at the top: the package's own page of names imports this module

    return __version__


@cache
def versions() -> dict[str, str]:
    """Return the versions of what writes bytes: dataprep with a digest of its code, Python, libraries."""
    import platform
    from importlib.metadata import PackageNotFoundError  # it takes longer than most commands to start
    from importlib.metadata import version as version_of

    folder = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    found = {"dataprep": f"{version()} (code {digest.hexdigest()[:12]})", "Python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version_of(name)
        except PackageNotFoundError:
            continue
    return found


def difference(ours: dict[str, str], theirs: dict[str, str]) -> str:
    """Return what another process has in another version, for a message; nothing if all are the same."""
    for name, wanted in ours.items():
        if (has := theirs.get(name, "none")) != wanted:
            return f"has {name} {has}, and this machine has {wanted}; install the same on all nodes"
    return ""


def run_key(*facts: object) -> str:
    """Return a name for a run over chunks: a digest of everything that its parts depend on."""
    known = repr((versions(), chunk_bytes(), facts))
    return hashlib.sha256(known.encode("utf-8", "surrogateescape")).hexdigest()[:16]
