"""Compare the versions of tokenizer libraries on several machines: another one can give other ids."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from dataprep.core.errors import UsageError
from dataprep.tokens.tokenizers.base import Tokenizer

_LIBRARIES = {
    "tiktoken": ("tiktoken", "splintr-rs", "regex"),
    "sentencepiece": ("sentencepiece",),
    "huggingface": ("tokenizers",),
}
_TEMPLATES = "jinja2"


def libraries_of(tokenizer: Tokenizer) -> dict[str, str]:
    """Return the versions, on this machine, of what decides the ids of chat rows."""
    return {name: _version(name) for name in (*_LIBRARIES.get(tokenizer.kind, ()), _TEMPLATES)}


def check_libraries(expected: Mapping[str, str]) -> None:
    """Raise ``UsageError`` if this machine has other versions than those that ``libraries_of`` returned."""
    for name, wanted in expected.items():
        if (found := _version(name)) != wanted:
            raise UsageError(
                f"node {platform.node()}: has {name} {found}, and the machine that began the run has "
                f"{wanted}; install the same on all nodes"
            )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
