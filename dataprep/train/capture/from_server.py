"""A teacher behind an OpenAI-compatible server that gives log-probabilities of prompts, as vLLM does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from dataprep.core.errors import FileError, TokenizerError
from dataprep.core.records import describe
from dataprep.teacher.connection import Connection
from dataprep.teacher.pacing import LONGEST_PAUSE, backoff
from dataprep.teacher.protocol import RequestError
from dataprep.tokens.logits.coding import TopLogprobs
from dataprep.tokens.tokenizers.base import is_text_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataprep.teacher.settings import Endpoint
    from dataprep.tokens.shards.reading import Shards
    from dataprep.train.capture.base import Write
    from dataprep.train.capture.options import CaptureOptions

_EXPECTED = "expected a server with `prompt_logprobs`, such as vLLM"


class ServerTeacher:
    """A server that is sent the ids of each document, and answers with each position's likeliest tokens.

    Args:
        model: the model's name there.
        endpoint: the server.
        shards: the shards, whose tokenizer must be the model's.
        options: what to keep, and how to ask.
    """

    def __init__(self, model: str, endpoint: Endpoint, shards: Shards, options: CaptureOptions) -> None:
        self._model, self._endpoint, self._options = model, endpoint, options
        self._tokenizer = shards.load_tokenizer()
        self._special = {*self._tokenizer.special_tokens.values()}
        self._same: set[int] = set()  # tokens whose text was compared
        self._generator = random.Random()

    def capture(self, shards: Shards, done: NDArray[np.bool_], write: Write) -> None:
        """Write each document as soon as its reply is there."""
        asyncio.run(self._capture(shards, iter(np.flatnonzero(~done).tolist()), write))

    async def _capture(self, shards: Shards, numbers: Iterator[int], write: Write) -> None:
        async with Connection(self._endpoint, timeout=self._options.timeout) as connection:

            async def work() -> None:
                for number in numbers:
                    ids, mask = shards.document(number)
                    where = np.flatnonzero(mask[1:]) + 1
                    reply = await self._reply(connection, number, ids.tolist()) if where.size else None
                    write([(number, self._top(number, reply, ids, where))])

            tasks = [asyncio.create_task(work()) for _ in range(self._options.concurrency)]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _reply(self, connection: Connection, number: int, ids: list[int]) -> Any:
        # One new token, since servers refuse to generate none.
        body = {"model": self._model, "prompt": ids, "max_tokens": 1, "temperature": 0.0}
        body["prompt_logprobs"] = self._options.top_k
        for attempt in count(1):
            try:
                return await connection.complete(body)
            except RequestError as error:
                again = error.retryable and not error.fatal and attempt <= self._options.retries
                pause = backoff(attempt, self._generator) if error.after is None else error.after
                if not again or pause > LONGEST_PAUSE:
                    raise self._error(number, f"{error}{self._advice(error)}") from None
                await asyncio.sleep(pause)
        raise AssertionError

    def _advice(self, error: RequestError) -> str:
        if error.status == 400 and "logprobs" in error.message:
            k = self._options.top_k
            return f"; start the server with a larger limit (of vLLM: max-logprobs {k}), or lower --top-k"
        # The model's flag has another name here than in `generate`.
        return f"; {error.advice}".replace("--model", "--teacher-model") if error.advice else ""

    def _error(self, number: int, problem: str) -> FileError:
        return FileError(self._endpoint.shown_url, f"document {number}: {problem}")

    def _top(self, number: int, reply: Any, ids: NDArray[Any], where: NDArray[np.int64]) -> TopLogprobs:
        """Return what a reply says about the positions in the loss."""
        width = self._options.top_k
        tokens = np.empty((where.size, width), dtype=np.int64)
        logprobs = np.empty((where.size, width), dtype=np.float32)
        entries = _entries(reply)
        if where.size and len(entries) != ids.size:
            found = f"found {len(entries):,} entries in prompt_logprobs for {ids.size:,} tokens"
            raise self._error(number, f"{found}; {_EXPECTED}")
        for row, position in enumerate(where.tolist()):
            pairs = self._pairs(number, position, entries[position], int(ids[position]))
            # The token itself is listed too, wherever it ranks; the id decides among equals.
            best = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:width]
            tokens[row], logprobs[row] = zip(*sorted(best), strict=True)
        # Rounded probabilities can add up to 1 or more.
        rest = np.log(np.maximum(1 - np.exp(logprobs.astype(np.float64)).sum(axis=1), 1e-20))
        return TopLogprobs(where, tokens, logprobs, rest[:, None].astype(np.float32), (1.0,))

    def _pairs(self, number: int, position: int, entry: Any, token: int) -> list[tuple[int, float]]:
        """Return the tokens and log-probabilities of a position."""
        place = f"token {position}"
        if not isinstance(entry, Mapping) or str(token) not in entry:
            raise self._error(
                number, f"{place}: found {describe(entry, 60)}, without the token {token} itself; {_EXPECTED}"
            )
        try:
            pairs = [(int(name), min(float(value["logprob"]), 0.0)) for name, value in entry.items()]
        except (ValueError, TypeError, KeyError):
            raise self._error(number, f"{place}: found {describe(entry, 60)}; {_EXPECTED}") from None
        if len(pairs) < self._options.top_k:
            found = f"found {len(pairs):,} log-probabilities, expected {self._options.top_k:,}"
            raise self._error(number, f"{place}: {found}: lower --top-k")
        if not all(0 <= name < self._tokenizer.vocab_size for name, _ in pairs):
            raise self._error(number, f"{place}: an id that the tokenizer of the shards lacks")
        self._compare(number, place, token, entry[str(token)].get("decoded_token"))
        return pairs

    def _compare(self, number: int, place: str, token: int, text: Any) -> None:
        """Raise ``TokenizerError`` if the server has another text for a token than the shards' tokenizer."""
        if token in self._same or token in self._special or text is None:
            return
        # A piece of a character has no text of its own, and servers show its neighbours' bytes or a mark.
        if "�" not in str(text) and not is_text_of(self._tokenizer, text, token):
            where = f"{self._endpoint.shown_url}: document {number}: {place}"
            raise TokenizerError(
                f"{where}: token {token} is {text!r} there and {self._tokenizer.decode([token])!r} in the "
                "shards: the model has another tokenizer; make the shards with its own"
            )
        self._same.add(token)


def _entries(reply: Any) -> list[Any]:
    """Return the entries of all positions in a reply; an empty list if it has none."""
    choices = reply.get("choices") if isinstance(reply, Mapping) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    for holder in (choice, reply):
        if isinstance(holder, Mapping) and isinstance(found := holder.get("prompt_logprobs"), list):
            return found
    return []
