"""The settings of generation: model, limits and sampling, and the request made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import orjson

from dataprep.core.errors import UsageError
from dataprep.core.optional import require

MODEL_VARIABLE = "TEACHER_MODEL_NAME"


@dataclass(frozen=True)
class GenerationConfig:
    """The settings that change what a teacher answers.

    Attributes:
        model: the model's (or, on Azure, the deployment's) name.
        max_tokens: maximum number of tokens of an answer.
        temperature: sampling temperature; ``None`` leaves it to the server.
        n: number of answers per request.
        logprobs: number of alternatives per token to return log-probabilities of; 0 for none.
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
            raise UsageError(f"no model: give --model, or set {MODEL_VARIABLE} in the environment or in .env")
        if self.max_tokens < 1 or self.n < 1 or not 0 <= self.logprobs <= 20:
            raise UsageError("expected --max-tokens and --n of 1 or more, and --logprobs from 0 to 20")
        if self.temperature is not None and not 0 <= self.temperature <= 100:
            raise UsageError(f"--temperature {self.temperature}: expected 0 to 100; below 0 leaves it out")
        reserved = {
            "model",
            "messages",
            "max_tokens",
            "temperature",
            "n",
            "logprobs",
            "top_logprobs",
            "stream",
        }
        reserved.add("max_completion_tokens")
        if clash := reserved & self.extra.keys():
            raise UsageError(f"--param {min(clash)}: that field has a flag of its own, or cannot be set")

    @cached_property
    def _settings(self) -> bytes:
        # `max_tokens` is left out because it changes only answers that were cut off, and `n` because each
        # of several answers stands for itself. With them in the key, paid answers would be asked again.
        content = {
            "model": self.model,
            "temperature": self.temperature,
            "logprobs": self.logprobs,
            "extra": self.extra,
        }
        return orjson.dumps(content, option=orjson.OPT_SORT_KEYS)

    @cached_property
    def _hash(self) -> Callable[[bytes], str]:
        # XXH3: 0.5 µs per request where BLAKE2b took 2.6 µs. Nobody gains by making two prompts collide.
        require("xxhash", extra="teacher", feature="a journal of answers")
        from xxhash import xxh3_128_hexdigest

        return xxh3_128_hexdigest

    def to_json(self) -> dict[str, Any]:
        """Return the settings as a JSON object, for the manifest."""
        return asdict(self) | {"extra": dict(self.extra)}

    def key(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """Return 32 hex digits that differ whenever messages, model or settings differ."""
        return self._hash(self._settings + orjson.dumps(messages))

    def body(self, messages: Sequence[Mapping[str, Any]], n: int) -> dict[str, Any]:
        """Return a chat-completions request for ``n`` answers."""
        body: dict[str, Any] = {"model": self.model, "messages": messages, "max_tokens": self.max_tokens}
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if n > 1:
            body["n"] = n
        if self.logprobs:
            body |= {"logprobs": True, "top_logprobs": self.logprobs}
        return body | dict(self.extra)
