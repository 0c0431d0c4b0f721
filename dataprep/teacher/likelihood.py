"""Ask a server how likely choices are, by its log-probabilities of prompts.

A request has the prompt with a choice behind it. All of them begin with the tokens of the prompt, and the
rest of each is the choice. There are two ways to get the log-probabilities of a prompt:

- vLLM's ``prompt_logprobs`` of chat completions, with the choice as the beginning of the assistant's message
  (``continue_final_message``). The answer's own reply has the tokens of the prompt. For each token but the
  first, a reply has ``"prompt_logprobs": [null, {"1820": {"logprob": -2.3, "decoded_token": " tin"}}, …]``.
- ``echo`` of the older completions protocol, with a text that a chat template makes here. A reply has
  ``"logprobs": {"tokens": ["Which", …], "token_logprobs": [null, -3.1, …]}`` of prompt and answer.

Source: https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, Protocol

from dataprep.core.errors import RowError, TemplateError
from dataprep.core.records import describe
from dataprep.models.sampling import GenerationConfig
from dataprep.teacher.protocol import RequestError, parsed
from dataprep.tokens.formats.model_template import ChatTemplate, read_template, space_before

# Settings of answers, which a request for the likelihood of a choice does not have.
_OF_ANSWERS = frozenset(["n", "logprobs", "top_logprobs", "max_tokens", "max_completion_tokens"])

Tokens = list[tuple[str, float]]  # each token of a prompt but the first, and its log-probability


class PromptLogprobs(Protocol):
    """A way to get log-probabilities of prompts."""

    path: str  # where requests about choices are sent

    def body_of_answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the request for the answer itself."""

    def tokens_of_answer(self, data: bytes) -> list[Tokens]:
        """Return the tokens of the prompt, if the answer's reply has them."""

    def bodies(self, body: Mapping[str, Any], choices: Sequence[str]) -> list[dict[str, Any]]:
        """Return the further requests: of the prompt, unless the answer has it, and with each choice."""

    def tokens(self, data: bytes) -> Tokens:
        """Return the tokens of the prompt in a reply; raise ``RequestError`` if it does not have them."""


class OfChat:
    """Log-probabilities of the prompts of chat completions."""

    path = "/chat/completions"
    # 0 alternatives: the prompt's own token alone, which no other one can be mistaken for.
    _FIELD = {"prompt_logprobs": 0}  # noqa: RUF012 - never changed

    def body_of_answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the request, which asks for the tokens of its prompt too."""
        return body | self._FIELD

    def tokens_of_answer(self, data: bytes) -> list[Tokens]:
        """Return the tokens of the prompt."""
        return [self.tokens(data)]

    def bodies(self, body: Mapping[str, Any], choices: Sequence[str]) -> list[dict[str, Any]]:
        """Return a request for each choice."""
        kept = {name: value for name, value in body.items() if name not in _OF_ANSWERS} | self._FIELD
        kept |= {"add_generation_prompt": False, "continue_final_message": True}
        kept["max_tokens"] = 1  # the least that servers accept
        answers = [{"role": "assistant", "content": choice} for choice in choices]
        return [kept | {"messages": [*body["messages"], answer]} for answer in answers]

    def tokens(self, data: bytes) -> Tokens:
        """Return the tokens of the prompt in a reply."""
        found = parsed(data).get("prompt_logprobs")
        if not found:
            raise _without("'prompt_logprobs' in the reply, as vLLM gives them")
        try:
            # The first token has none before it, so it has no probability.
            firsts = [next(iter(entry.items())) for entry in found[1:]]
            return [(token, float(value["logprob"])) for token, value in firsts]
        except (AttributeError, KeyError, StopIteration, TypeError, ValueError):
            raise _malformed(
                f"expected {{id: {{'logprob'}}}} of each token, found {describe(found)}"
            ) from None


class Echoed:
    """Log-probabilities of texts that the completions protocol echoes."""

    path = "/completions"

    def __init__(self, path: str, variables: Mapping[str, Any]) -> None:
        self._template, self._arguments = read_template(path), dict(variables)

    def body_of_answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the request as it is."""
        return body

    def tokens_of_answer(self, data: bytes) -> list[Tokens]:  # noqa: ARG002 - as in ``PromptLogprobs``
        """Return none: chat completions echo nothing."""
        return []

    def bodies(self, body: Mapping[str, Any], choices: Sequence[str]) -> list[dict[str, Any]]:
        """Return a request for the prompt, and one for each choice behind it."""
        settings = {"model": body["model"], "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
        return [settings | {"prompt": text} for text in self._texts(body, choices)]

    def _texts(self, body: Mapping[str, Any], choices: Sequence[str]) -> list[str]:
        tools, messages = body.get("tools"), body["messages"]
        chat = ChatTemplate(self._template.text_for(tools is not None), self._template.variables, None)
        options: dict[str, Any] = {"tools": tools, "arguments": self._arguments}
        try:
            prompt = chat.render(messages, prompt=True, **options)
            wholes = [
                chat.render([*messages, {"role": "assistant", "content": choice}], **options)
                for choice in choices
            ]
        except (RowError, TemplateError) as error:
            raise RequestError("chat_template", str(error), retryable=False) from None
        pairs = zip(wholes, choices, strict=True)
        texts = [prompt, *(prompt + space_before(prompt, whole, choice) + choice for whole, choice in pairs)]
        # Servers put this token before a text themselves. Where the template does not name it, they do not:
        # SmolLM2's is the mark before each message.
        named = "bos_token" in self._template.text
        begin = self._template.variables.get("bos_token", "") if named else ""
        return [text.removeprefix(begin) for text in texts]

    def tokens(self, data: bytes) -> Tokens:
        """Return the tokens of the prompt in a reply."""
        try:
            found = parsed(data)["choices"][0]["logprobs"]
            pairs = zip(found["tokens"], found["token_logprobs"], strict=True)
            # Without the token that was generated, and the first one, which has no probability.
            return [(token, float(value)) for token, value in [*pairs][1:-1]]
        except (IndexError, KeyError, TypeError):
            raise _without("log-probabilities of the echoed text in 'logprobs'") from None
        except ValueError as error:
            raise _malformed(str(error)) from None


def way_of(config: GenerationConfig) -> PromptLogprobs | None:
    """Return how a server is asked for likelihoods of choices; ``None`` if they are not wanted."""
    if config.choice_probs != "likelihood":
        return None
    if config.chat_template is None:
        return OfChat()
    return Echoed(config.chat_template, config.extra.get("chat_template_kwargs", {}))


def log_likelihoods(prompt: Tokens, wholes: Sequence[Tokens]) -> list[float]:
    """Return the log-likelihood of each choice.

    Args:
        prompt: the tokens of the prompt.
        wholes: the tokens of the prompt with each choice behind it.
    """
    # A tokenizer may merge the end of a prompt with the beginning of a choice.
    shared = min(_common(prompt, whole) for whole in wholes)
    if any(len(whole) == shared for whole in wholes) or shared < len(prompt) - 1:
        raise _malformed(
            "the prompt with a choice does not begin with the prompt: the server's chat template changes it"
        )
    return [sum(value for _, value in whole[shared:]) for whole in wholes]


def _common(prompt: Tokens, whole: Tokens) -> int:
    pairs = zip(prompt, whole, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0][0] == pair[1][0], pairs))


def _without(what: str) -> RequestError:
    # It would be missing in every reply.
    message = f"expected {what}, found none"
    return RequestError("no_prompt_logprobs", message, retryable=False, fatal=True)


def _malformed(message: str) -> RequestError:
    return RequestError("malformed_prompt_logprobs", message, retryable=False)
