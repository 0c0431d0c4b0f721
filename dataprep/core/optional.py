"""Optional packages: check that they are installed, and silence what they print."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from dataprep.core.errors import MissingDependencyError

# torchao logs at import which of its GPU kernels cannot be loaded. The module `_pytree` warns that torchao
# registers an enumeration in an older way. The compiler logs where it leaves a graph, which is intended here.
_TALKATIVE = ("torchao", "torch.utils._pytree", "torch._dynamo")


def require(package: str, *, extra: str, feature: str, module: str = "") -> None:
    """Raise ``MissingDependencyError`` unless an optional package is installed; do not import it.

    Args:
        package: its name, as pip knows it.
        extra: the extra of dataprep that brings it.
        feature: what needs it, for the message: a flag, or a few words.
        module: the name it is imported by. Defaults to the package's name.
    """
    if find_spec(module or package) is None:
        raise MissingDependencyError(package, extra, feature)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers, torchao and torch's compiler from writing bars and warnings to the terminal."""
    with _only_errors():
        try:
            from transformers.utils import logging as library
        except ImportError:
            raise MissingDependencyError("transformers", "train", "a model in this process") from None

        verbosity, bars = library.get_verbosity(), library.is_progress_bar_enabled()
        library.set_verbosity_error()
        library.disable_progress_bar()
        try:
            yield
        finally:
            library.set_verbosity(verbosity)
            if bars:
                library.enable_progress_bar()


@contextmanager
def quiet_torchao() -> Iterator[None]:
    """Silence what torchao, and libraries that import it, log and warn about while they are imported."""
    # Besides torchao's own warnings: peft calls functions of transformers that are deprecated.
    with _only_errors(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield


@contextmanager
def _only_errors() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
