"""Which teacher is asked, where, and with what settings."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import orjson

from dataprep.errors import MissingDependencyError, UsageError

OPENAI_URL = "https://api.openai.com/v1"
KEY_VARIABLE = "OPENAI_API_KEY"
SHORTEST_SECRET = 8
# The names that distillation notebooks for Azure AI read from a `.env` file.
MODEL, ENDPOINT, API_KEY = (
    "TEACHER_MODEL_NAME",
    "TEACHER_MODEL_ENDPOINT_URL",
    "TEACHER_MODEL_API_KEY",
)


@dataclass(frozen=True)
class Sampling:
    """The settings that change what a teacher answers.

    Attributes:
        model: the model's (or, on Azure, the deployment's) name.
        max_tokens: tokens after which an answer is cut off.
        temperature: of the sampling; ``None`` leaves it to the server.
        n: answers a request.
        logprobs: log-probabilities of how many alternatives a token; 0 for none.
        extra: further fields of the request's body, such as ``{"seed": 1}``.
    """

    model: str
    max_tokens: int = 512
    temperature: float | None = 0.0
    n: int = 1
    logprobs: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.model:
            raise UsageError(f"no model: give --model, or set {MODEL} in the environment or in .env")
        if self.max_tokens < 1 or self.n < 1 or not 0 <= self.logprobs <= 20:
            raise UsageError("expected --max-tokens and --n of 1 or more, and --logprobs from 0 to 20")
        if self.temperature is not None and not 0 <= self.temperature <= 100:
            raise UsageError(f"--temperature {self.temperature}: expected 0 to 100; below 0 leaves it out")
        taken = {"model", "messages", "max_tokens", "temperature", "n", "logprobs", "top_logprobs", "stream"}
        taken.add("max_completion_tokens")
        if clash := taken & self.extra.keys():
            raise UsageError(f"--param {min(clash)}: that field has a flag of its own, or cannot be set")

    @cached_property
    def _settings(self) -> bytes:
        """All that changes an answer, apart from the messages.

        Not among it: ``max_tokens``, which changes only answers that were cut off, and ``n``, as each of
        several answers stands for itself.
        """
        content = {
            "model": self.model,
            "temperature": self.temperature,
            "logprobs": self.logprobs,
            "extra": self.extra,
        }
        return orjson.dumps(content, option=orjson.OPT_SORT_KEYS)

    @cached_property
    def _hash(self) -> Callable[[bytes], str]:
        """XXH3's 128 bits: a journal of a million lines is compared with its requests in seconds."""
        try:
            from xxhash import xxh3_128_hexdigest
        except ImportError:
            raise MissingDependencyError("xxhash", "teacher", "a journal of answers") from None
        return xxh3_128_hexdigest

    def to_json(self) -> dict[str, Any]:
        """The settings as a JSON object, for the manifest."""
        return asdict(self) | {"extra": dict(self.extra)}

    def key(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """32 hex digits that differ whenever messages, model or settings do."""
        return self._hash(self._settings + orjson.dumps(messages))

    def body(self, messages: Sequence[Mapping[str, Any]], n: int) -> dict[str, Any]:
        """A chat-completions request that asks for ``n`` answers."""
        body: dict[str, Any] = {"model": self.model, "messages": messages, "max_tokens": self.max_tokens}
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if n > 1:
            body["n"] = n
        if self.logprobs:
            body |= {"logprobs": True, "top_logprobs": self.logprobs}
        return body | dict(self.extra)


@dataclass(frozen=True)
class Access:
    """Where a teacher is, and what it takes to be let in.

    Attributes:
        base_url: the endpoint, such as ``http://localhost:8000/v1``; on Azure the resource's address.
        api_key: never shown: not by ``repr``, and what goes into messages is cleared of it by ``redact``.
        azure: whether it is an Azure OpenAI deployment.
        api_version: Azure's; empty elsewhere.
    """

    base_url: str = OPENAI_URL
    api_key: str = field(default="", repr=False)
    azure: bool = False
    api_version: str = ""

    def __post_init__(self) -> None:
        try:
            address = urlsplit(self.base_url)
            sound = address.scheme in {"http", "https"} and address.hostname and address.port != 0
        except ValueError:
            sound = False
        if not sound:
            raise UsageError(f"--base-url {self.redact(self.base_url)!r}: expected http://… or https://…")
        if self.azure and not self.api_version:
            raise UsageError("--azure needs --api-version, such as 2024-10-21")
        if not self.api_key.isascii() or any(character.isspace() for character in self.api_key):
            raise UsageError("the API key holds white space or other characters that no key has")

    @cached_property
    def _secrets(self) -> tuple[str, ...]:
        """The key in the forms in which servers quote it; a short one, such as ``EMPTY``, is no secret."""
        if len(self.api_key) < SHORTEST_SECRET:
            return ()
        plain = self.api_key
        escaped = orjson.dumps(plain).decode()[1:-1]
        encoded = b64encode(plain.encode()).decode().rstrip("=")
        return tuple(dict.fromkeys((plain, escaped, quote(plain, safe=""), encoded)))

    def redact(self, text: str) -> str:
        """The text without the key, wherever it stands in it."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, "[API key]")
        return text

    @property
    def shown_url(self) -> str:
        """The endpoint without a user's name, password or query, for messages and the manifest."""
        address = urlsplit(self.base_url)
        host = address.hostname or ""
        port = f":{address.port}" if address.port else ""
        return self.redact(urlunsplit((address.scheme, host + port, address.path, "", "")))


def environment(folder: str | Path = ".") -> dict[str, str]:
    """The environment's variables; those that it lacks as a ``.env`` file in ``folder`` sets them.

    Raises:
        MissingDependencyError: there is such a file, and python-dotenv is not installed.
    """
    path = Path(folder) / ".env"
    found: dict[str, str] = {}
    if path.is_file():
        try:
            from dotenv import dotenv_values
        except ImportError:
            raise MissingDependencyError("python-dotenv", "teacher", f"reading {path}") from None
        found = {name: value for name, value in dotenv_values(path).items() if value is not None}
    return {**found, **os.environ}


def access_of(
    variables: Mapping[str, str],
    *,
    base_url: str | None = None,
    key_variable: str | None = None,
    azure: bool = False,
    api_version: str = "",
) -> Access:
    """What it takes to reach a teacher: flags first, then the environment's variables.

    Args:
        variables: as ``environment`` gives them.
        base_url: the endpoint; without it ``TEACHER_MODEL_ENDPOINT_URL``, else OpenAI's.
        key_variable: the variable that holds the key; without it ``TEACHER_MODEL_API_KEY``, else
            ``OPENAI_API_KEY``.
        azure: as in ``Access``.
        api_version: as in ``Access``.

    Raises:
        UsageError: the variable that was named is not set, there is no key for a server elsewhere, or the
            address is none.
    """
    url = base_url or variables.get(ENDPOINT) or ("" if azure else OPENAI_URL)
    if not url:
        raise UsageError(f"--azure needs the resource's address: give --base-url, or set {ENDPOINT}")
    if key_variable is not None and key_variable not in variables:
        raise UsageError(f"--api-key-env {key_variable}: no such variable in the environment or in .env")
    names = (API_KEY, KEY_VARIABLE) if key_variable is None else (key_variable,)
    api_key = next((variables[name].strip() for name in names if variables.get(name, "").strip()), "")
    if not api_key and (azure or url == OPENAI_URL):
        raise UsageError(f"no API key: set {' or '.join(names)} in the environment or in a .env file")
    return Access(url, api_key, azure, api_version)
