"""Importing torchao without its remarks.

The wheel brings kernels for several kinds of GPUs and says, as it is imported, which of them cannot be
loaded; torch says that an enumeration of torchao's is registered in an older way; and peft asks transformers
in words that will be others in a later version. None of it concerns a user.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_TALKATIVE = ("torchao", "torch.utils._pytree")


@contextmanager
def quiet_torchao() -> Iterator[None]:
    """While it lasts, torchao's import, and what other packages do with it, is silent below errors."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
