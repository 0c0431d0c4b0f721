"""The settings of generation: model, limits and sampling, and the request made of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from dataprep.core.errors import InputError, RowError, UsageError
from dataprep.core.io import read_text
from dataprep.core.optional import require
from dataprep.core.options import check, option
from dataprep.core.records import describe, from_cell
from dataprep.tokens.formats.model_template import read_template

MODEL_VARIABLE = "TEACHER_MODEL_NAME"
NEWER_FIELD = "max_completion_tokens"
# OpenAI's models that accept only the newer field and, most of them, no temperature: o1, o4-mini, gpt-5.
_NEWER_MODEL = re.compile(r"(?:^|[/:])(?:o\d|gpt-(?:[5-9]|\d\d))")


def _parse_params(texts: list[str]) -> dict[str, Any]:
    params = {}
    for text in texts:
        name, sign, value = text.partition("=")
        try:
            if not sign or not name:
                raise ValueError("no NAME=")
            params[name] = orjson.loads(value)
        except ValueError as error:
            raise UsageError(f"--param {text!r}: expected NAME=JSON, such as seed=1 ({error})") from None
    return params


Tools = list[dict[str, Any]]  # JSON schemas of tools, as a server or a chat template takes them


def tools_of(value: Any) -> Tools:
    """Return the tools in a value: a list of JSON schemas, or its JSON, as tables hold it."""
    tools = from_cell(value)
    if type(tools) is not list or not all(type(tool) is dict for tool in tools):
        raise RowError("malformed tools", f"expected a list of JSON schemas, found {describe(value)}")
    return tools


def read_tools(path: str) -> Tools:
    """Return the tools in a JSON file."""
    try:
        tools = tools_of(orjson.loads(read_text(path)))
    except (orjson.JSONDecodeError, RowError) as error:
        raise InputError(path, f'{error}; expected [{{"type": "function", "function": …}}, …]') from None
    if not tools:
        raise InputError(path, "the list is empty; leave --tools out for a teacher without tools")
    return tools


@dataclass(frozen=True)
class GenerationConfig:
    """The model, and the settings that change its answers; each option has the help text of its flag."""

    model: str  # On Azure, the deployment's name.
    max_tokens: int = option(512, "Maximum number of tokens per answer.", metavar="N", min=1)
    temperature: float | None = option(
        0.0,
        "Sampling temperature: 0 is greedy; below 0 leaves it to the server.",
        metavar="T",
        parse=lambda value: value if value >= 0 else None,
    )
    n: int = option(1, "Answers per request; more than 1 needs a temperature.", metavar="N", min=1)
    logprobs: int = option(
        0, "Number of alternatives per token to get log-probabilities of.", metavar="K", min=0, max=20
    )
    choice_probs: str = option(
        "letter",
        "Probabilities of choices: of the letters where the answer names one, or by the likelihood of each "
        "choice's text as the answer.",
        choices=("letter", "likelihood"),
    )
    chat_template: str | None = option(
        None,
        "Chat template of a served model, a model directory or a .jinja file: likelihoods are then asked of "
        "/completions with echo, for servers without prompt_logprobs.",
        metavar="PATH",
        is_path=True,
    )
    max_tokens_field: str = option(
        "auto",
        "Name of --max-tokens in requests. auto: max_tokens, or the other one where the model needs it.",
        choices=("auto", "max_tokens", NEWER_FIELD),
    )
    extra: Mapping[str, Any] = option(
        dict,
        "Further field of the request, such as seed=1; can be repeated.",
        flag="--param",
        metavar="NAME=JSON",
        parse=_parse_params,
    )

    tools: Tools | None = option(
        None,
        "Tools that the teacher may call: a JSON list of schemas. A request's own `tools` win over it.",
        metavar="FILE",
        parse=read_tools,
        kind=str | None,
    )

    def __post_init__(self) -> None:
        if not self.model:
            raise UsageError(f"no model: give --model, or set {MODEL_VARIABLE} in the environment or in .env")
        check(self)
        if self.temperature is not None and not 0 <= self.temperature <= 100:
            raise UsageError(f"--temperature {self.temperature}: expected 0 to 100; below 0 leaves it out")
        if self.chat_template is not None and self.choice_probs != "likelihood":
            raise UsageError(
                "--chat-template is for --choice-probs likelihood: servers write prompts themselves"
            )
        fixed = {"model", "messages", "max_tokens", "temperature", "n", "logprobs", "top_logprobs", "stream"}
        fixed.add(NEWER_FIELD)
        if clash := fixed & self.extra.keys():
            raise UsageError(f"--param {min(clash)}: that field has a flag of its own, or cannot be set")
        if self.tools is not None and "tools" in self.extra:
            raise UsageError("--param tools: give the tools with --tools only")

    @cached_property
    def _settings(self) -> bytes:
        # `max_tokens` is left out because it changes only answers that were cut off, and `n` because each
        # of several answers stands for itself. With them in the key, paid answers would be asked again.
        content = {name: getattr(self, name) for name in ("model", "temperature", "logprobs", "extra")}
        # By letter, the key is that of earlier versions.
        if self.choice_probs != "letter":
            content["choice_probs"] = self.choice_probs
        if self.chat_template is not None:
            found = read_template(self.chat_template)
            content["chat_template"] = [
                found.text,
                *map(list, (found.others.items(), found.variables.items())),
            ]
        return orjson.dumps(content, option=orjson.OPT_SORT_KEYS)

    @cached_property
    def _hash(self) -> Callable[[bytes], str]:
        # XXH3: 0.5 µs per request where BLAKE2b took 2.6 µs. Nobody gains by making two prompts collide.
        require("xxhash", extra="teacher", feature="a journal of answers")
        from xxhash import xxh3_128_hexdigest

        return xxh3_128_hexdigest

    def to_json(self) -> dict[str, Any]:
        """Return the settings as a JSON object, for the manifest."""
        settings = asdict(self) | {"extra": dict(self.extra)}
        if self.tools is None:
            del settings["tools"]
        if self.choice_probs == "letter":
            del settings["choice_probs"]
        if self.chat_template is None:
            del settings["chat_template"]
        else:
            settings["chat_template"] = Path(self.chat_template).name  # not where it is on this machine
        return settings

    def key(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Tools | None = None,
        choices: Sequence[str] = (),
    ) -> str:
        """Return 32 hex digits that differ whenever messages, tools, model or settings differ.

        So they do if the choices differ whose likelihood is asked for.
        """
        content = self._settings + orjson.dumps(messages)
        if choices and self.choice_probs == "likelihood":
            content += b"\0\0" + orjson.dumps(list(choices))
        # Without tools, the key is that of earlier versions.
        if shown := self.tools if tools is None else tools:
            content += b"\0" + orjson.dumps(shown)
        return self._hash(content)

    def check_samples(self) -> None:
        """Raise ``UsageError`` if several answers are wanted that would all be the same."""
        # Not when the settings are made: a journal that has such answers can still be read.
        if self.n > 1 and self.temperature == 0:
            same = "at temperature 0 all answers to a request are the same, and each is paid for"
            raise UsageError(f"--n {self.n} needs --temperature above 0, for example 0.7: {same}")

    @property
    def is_newer_model(self) -> bool:
        """True if the model's name is that of an OpenAI model that accepts only ``max_completion_tokens``."""
        return bool(_NEWER_MODEL.search(self.model))

    def body(
        self,
        messages: Sequence[Mapping[str, Any]],
        n: int,
        *,
        first: int = 0,
        batch: bool = False,
        tools: Tools | None = None,
    ) -> dict[str, Any]:
        """Return a chat-completions request for ``n`` answers.

        Args:
            messages: the prompt.
            n: number of answers.
            first: the number of the first of these answers among all samples of the prompt.
            batch: whether it is for a batch file, which no reply can correct.
            tools: the request's own tools, in place of those of all requests.
        """
        limit = "max_tokens" if self.max_tokens_field == "auto" else self.max_tokens_field
        if batch and self.max_tokens_field == "auto" and self.is_newer_model:
            limit = NEWER_FIELD
        body: dict[str, Any] = {"model": self.model, "messages": messages, limit: self.max_tokens}
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if n > 1:
            body["n"] = n
        if self.logprobs:
            body |= {"logprobs": True, "top_logprobs": self.logprobs}
        body |= dict(self.extra)
        # An empty list would be refused. It takes the place of the tools of all requests.
        if tools is not None:
            body.pop("tools", None)
        if shown := self.tools if tools is None else tools:
            body["tools"] = shown
        # Samples that are asked one by one with one seed would all be the same.
        if first and type(seed := self.extra.get("seed")) is int:
            body["seed"] = seed + first
        return body
