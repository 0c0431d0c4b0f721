"""llama.cpp itself, as the package ``xllamacpp`` brings it: the server of a GGUF file in this process."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class LlamaCpp:
    """A model that llama.cpp has loaded."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def _post(self, path: str, body: dict) -> dict:
        request = urllib.request.Request(
            self._server.listening_address + path,
            json.dumps(body).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """The ids of a text; with ``special``, those of special tokens in it."""
        return self._post("/tokenize", {"content": text, "add_special": False, "parse_special": special})[
            "tokens"
        ]

    def prompt(self, messages: Sequence[dict]) -> str:
        """The chat template's text of messages, up to where the answer begins."""
        return self._post("/apply-template", {"messages": list(messages)})["prompt"]

    def continuation(self, ids: Sequence[int], count: int) -> list[int]:
        """The greedy tokens after a prompt of ids; the one that ended them is left out."""
        body = {"prompt": list(ids), "n_predict": count, "temperature": 0.0, "return_tokens": True}
        return self._post("/completion", body | {"cache_prompt": False})["tokens"]

    def forced(self, token: int) -> str:
        """The text of an answer that is one given token."""
        body = {"prompt": [token], "n_predict": 1, "logit_bias": [[token, 1e4]], "ignore_eos": False}
        return self._post("/completion", body | {"temperature": 0.0})["content"]

    def answer(self, messages: Sequence[dict], count: int) -> str:
        """The greedy answer to messages."""
        body = {"messages": list(messages), "max_tokens": count, "temperature": 0.0}
        return self._post("/v1/chat/completions", body)["choices"][0]["message"]["content"]


@contextmanager
def running(path: Path, context: int = 512) -> Iterator[LlamaCpp]:
    """Load a GGUF file, on one thread."""
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path, settings.n_ctx, settings.n_parallel = str(path), context, 1
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    # Exactly, as transformers computes on a CPU: without it keys and values are kept in f16.
    settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    settings.warmup, settings.verbosity = False, 0
    server = xllamacpp.Server(settings)
    try:
        yield LlamaCpp(server)
    finally:
        del server
