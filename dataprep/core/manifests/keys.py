"""Leave keys and passwords out of what is written about a command."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
_NAMES = re.compile(r"key|token|secret|passw|credential|authorization|cookie", re.IGNORECASE)
_KEYS = re.compile(
    r"\bsk-[\w-]{16,}|\b(hf|gsk|ghp|xai)_?-?[A-Za-z0-9]{30,}|\bAKIA[A-Z0-9]{16}\b|\bBearer\s+[^\s\"']+"
    r"|(?<=[\"'])[^\"']*(key|token|secret|passw|auth)[^\"']*[\"']\s*:\s*[\"'][^\"']*(?=[\"'])",
    re.IGNORECASE,
)


def is_secret_name(name: str) -> bool:
    """Return whether a field of such a name holds a key; ``max_tokens`` does not."""
    return bool(_NAMES.search(name)) and "tokens" not in name


def without_keys(text: str) -> str:
    """Return a text with ``***`` for values of secret variables and for what looks like a key."""
    if "://" in text:
        # Credentials stand before the @ of an address, or behind its question mark.
        text = re.sub(r"(://)[^/@\s]*@", r"\1", text)
        text = re.sub(r"[?#]\S*", "", text)
    for variable, secret in os.environ.items():
        if len(secret) >= 8 and secret in text and _NAMES.search(variable):
            text = text.replace(secret, HIDDEN)
    return _KEYS.sub(HIDDEN, text)


def value_without_keys(value: Any, name: str = "") -> Any:
    """Return a value of JSON without keys; texts below a field with a secret ``name`` are hidden whole."""
    if isinstance(value, Mapping):
        secret = is_secret_name(name)
        return {key: value_without_keys(item, name if secret else str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [value_without_keys(item, name) for item in value]
    if not isinstance(value, str):
        return value
    return HIDDEN if is_secret_name(name) else without_keys(value)
