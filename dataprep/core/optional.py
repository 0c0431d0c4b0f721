"""Optional packages: check that they are installed, and silence what they print."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from dataprep.core.errors import MissingDependencyError

# torchao's wheel brings kernels for several kinds of GPUs and says, as it is imported, which of them cannot
# be loaded; torch says that an enumeration of torchao's is registered in an older way. Its compiler says
# where it leaves a graph, which is meant.
_TALKATIVE = ("torchao", "torch.utils._pytree", "torch._dynamo")


def require(package: str, *, extra: str, feature: str, module: str = "") -> None:
    """Check that an optional package is installed, without importing it.

    Args:
        package: its name, as pip knows it.
        extra: the extra of dataprep that brings it.
        feature: what needs it, for the message: a flag, or a few words.
        module: the name it is imported by. Defaults to the package's name.

    Raises:
        MissingDependencyError: it is not installed.
    """
    if find_spec(module or package) is None:
        raise MissingDependencyError(package, extra, feature)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers, torchao and torch's compiler from writing bars and warnings to the terminal.

    Raises:
        MissingDependencyError: transformers cannot be imported.
    """
    with _only_errors():
        try:
            from transformers.utils import logging as own
        except ImportError:
            raise MissingDependencyError("transformers", "train", "a model in this process") from None

        verbosity, bars = own.get_verbosity(), own.is_progress_bar_enabled()
        own.set_verbosity_error()
        own.disable_progress_bar()
        try:
            yield
        finally:
            own.set_verbosity(verbosity)
            if bars:
                own.enable_progress_bar()


@contextmanager
def quiet_torchao() -> Iterator[None]:
    """Import torchao, or what imports it where it is installed, without its remarks and warnings.

    peft asks transformers in words that will be others in a later version.
    """
    with _only_errors(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield


@contextmanager
def _only_errors() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
