"""How a model picks its next token."""

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
            raise UsageError(f"no model: give --model, or set {MODEL_VARIABLE} in the environment or in .env")
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
        require("xxhash", extra="teacher", feature="a journal of answers")
        from xxhash import xxh3_128_hexdigest

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
