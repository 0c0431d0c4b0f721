"""Ask a server how likely choices are, by its log-probabilities of prompts, as vLLM gives them.

The request itself is sent with ``prompt_logprobs``, so that the reply has the tokens of its prompt. For each
choice a further request has it as the beginning of the assistant's message (``continue_final_message``). All
of them begin with the tokens of the prompt, and the rest of each is the choice. A reply has for each token of
its prompt but the first::

    "prompt_logprobs": [null, {"1820": {"logprob": -2.3, "rank": 5, "decoded_token": " tin"}}, …]

Source: https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

import orjson

from dataprep.core.records import describe
from dataprep.teacher.protocol import RequestError

# 0 alternatives: the prompt's own token alone, which no other one can be mistaken for.
FIELD = {"prompt_logprobs": 0}
# Settings of answers, which a request for the likelihood of a choice does not have.
_OF_ANSWERS = frozenset(["n", "logprobs", "top_logprobs", "max_tokens", "max_completion_tokens"])

Tokens = list[tuple[str, float]]  # the id of each token of a prompt but the first, and its log-probability


def body_of_choice(body: Mapping[str, Any], choice: str) -> dict[str, Any]:
    """Return the request for the likelihood of a choice as the answer to another request."""
    kept = {name: value for name, value in body.items() if name not in _OF_ANSWERS}
    return kept | {
        "messages": [*body["messages"], {"role": "assistant", "content": choice}],
        "add_generation_prompt": False,
        "continue_final_message": True,
        "max_tokens": 1,  # the least that servers accept
        **FIELD,
    }


def prompt_tokens(data: bytes) -> Tokens:
    """Return the tokens of the prompt in a reply; raise ``RequestError`` if it does not have them."""
    found = orjson.loads(data).get("prompt_logprobs")
    if not found:
        raise RequestError(
            "no_prompt_logprobs",
            "expected 'prompt_logprobs' in the reply, as vLLM gives them, found none",
            retryable=False,
            fatal=True,  # it would be missing in every reply
        )
    try:
        # The first token has none before it, so it has no probability.
        firsts = [next(iter(entry.items())) for entry in found[1:]]
        return [(token, float(value["logprob"])) for token, value in firsts]
    except (AttributeError, KeyError, StopIteration, TypeError, ValueError):
        message = f"expected {{id: {{'logprob'}}}} of each token, found {describe(found)}"
        raise RequestError("malformed_prompt_logprobs", message, retryable=False) from None


def log_likelihoods(prompt: Tokens, wholes: Sequence[Tokens]) -> list[float]:
    """Return the log-likelihood of each choice.

    Args:
        prompt: the tokens of the prompt.
        wholes: the tokens of the prompt with each choice behind it.
    """
    # A tokenizer may merge the end of a prompt with the beginning of a choice.
    shared = min(_common(prompt, whole) for whole in wholes)
    if any(len(whole) == shared for whole in wholes) or shared < len(prompt) - 1:
        raise RequestError(
            "malformed_prompt_logprobs",
            "the prompt with a choice does not begin with the prompt: the server's chat template changes it",
            retryable=False,
        )
    return [sum(value for _, value in whole[shared:]) for whole in wholes]


def _common(prompt: Tokens, whole: Tokens) -> int:
    pairs = zip(prompt, whole, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0][0] == pair[1][0], pairs))
