"""A local teacher without a server: ``transformers`` in this process, in batches.

What a model generated, as an answer of the journal: text, finish reason, log-probabilities.
"""

from __future__ import annotations

import asyncio
import math
import queue
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from dataprep.answers.letters import letter_of
from dataprep.core.optional import quiet
from dataprep.core.records import LETTERS
from dataprep.models.decoding import Decoder, Decoding, Row, Stopped
from dataprep.models.loading import GenerationError, Model, check_model, load
from dataprep.models.sampling import GenerationConfig
from dataprep.teacher.client import Pacing
from dataprep.teacher.generate import GenerateReport, OnProgress, check_pacing, run
from dataprep.teacher.protocol import Answer, RequestError

_DIGITS = 6
_BROKEN = "\N{REPLACEMENT CHARACTER}"


class Answers:
    """Makes answers of rows, with the texts of a model's tokens."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._letters: dict[str, list[int]] = {}

    def watched(self, count: int) -> list[int]:
        """The tokens that name one of so many choices."""
        return list(dict.fromkeys(token for letter in LETTERS[:count] for token in self.naming(letter)))

    def naming(self, letter: str) -> list[int]:
        """The tokens that are a letter: in either case, and bare, after a space or after a bracket."""
        if letter not in self._letters:
            forms = [before + each for each in (letter, letter.upper()) for before in ("", " ", "(")]
            self._letters[letter] = self._model.tokens_of(forms)
        return self._letters[letter]

    def answer(self, row: Row, choices: Sequence[str], watched: Sequence[int]) -> Answer:
        """The answer that a row has become.

        Its log-probabilities are a list with an entry a token, but for the one that ended it. Where the
        request has choices, the first entry has the letters' tokens among its alternatives, and so has
        every further one where the letter stands that the answer names.
        """
        model, tokens = self._model, row.tokens
        ended = bool(tokens) and tokens[-1] in model.ends
        if ended:
            tokens = tokens[:-1]
        text = model.decode(tokens)
        reason = "stop" if ended else "length"
        if row.recorded is None:
            return Answer(text, reason)
        lettered = self._lettered(tokens, letter_of(text, choices)) if choices else set()
        pieces = pieces_of(model, tokens)
        entries = []
        for place in range(len(tokens)):
            wanted = list(row.recorded.top[place])
            if place in lettered:
                wanted.append((tokens[place], row.recorded.chosen[place]))
                wanted += zip(watched, row.recorded.watched[place], strict=True)
            top = self._top(wanted, place == 0, tokens[place], pieces[place])
            chosen = round(row.recorded.chosen[place], _DIGITS)
            entries.append({"token": pieces[place], "logprob": chosen, "top": top})
        return Answer(text, reason, None, entries)

    def _lettered(self, tokens: Sequence[int], letter: str | None) -> set[int]:
        naming = set(self.naming(letter)) if letter else set()
        return {0, *(place for place, token in enumerate(tokens) if token in naming)}

    def _top(
        self, wanted: Iterable[tuple[int, float]], first: bool, chosen: int, piece: str
    ) -> dict[str, float]:
        """Alternatives by their text, the likeliest first; tokens that read the same are one."""
        found: dict[str, float] = {}
        for token, value in dict(wanted).items():
            if math.isfinite(value):
                text = piece if token == chosen and piece else self._model.text_of(token, first)
                found[text] = _sum(found[text], value) if text in found else value
        ordered = sorted(found.items(), key=lambda each: -each[1])
        return {text: round(value, _DIGITS) for text, value in ordered}


def _sum(first: float, second: float) -> float:
    """The logarithm of the sum of two probabilities, given theirs."""
    low, high = sorted((first, second))
    return high + math.log1p(math.exp(low - high))


def pieces_of(model: Model, tokens: Sequence[int]) -> list[str]:
    """The text that each token adds to an answer; joined they are the answer.

    A character whose bytes are spread over several tokens comes with the last of them.
    """
    pieces, begin, read = [], 0, 0
    for end in range(1, len(tokens) + 1):
        before, now = model.decode(tokens[begin:read]), model.decode(tokens[begin:end])
        if now.endswith(_BROKEN) and end < len(tokens):
            pieces.append("")
            continue
        pieces.append(now[len(before) :])
        begin, read = read, end
    return pieces


GATHER_SECONDS = 0.05
LONGEST_GOODBYE = 5.0

Reply = tuple[list[Answer], dict[str, Any] | None]


def generate_locally(
    requests: str | Path,
    journal: str | Path,
    config: GenerationConfig,
    *,
    batch_size: int = 8,
    teacher: str | None = None,
    pacing: Pacing | None = None,
    retry_failed: bool = True,
    fresh: bool = False,
    on_progress: OnProgress | None = None,
) -> GenerateReport:
    """As ``generate``, by a model in this process; it is loaded once there is something to ask.

    Args:
        requests: as for ``generate``.
        journal: as for ``generate``.
        config: ``model`` is a directory, or a name on the Hugging Face hub; ``extra`` may hold what
            ``local_decoding.SETTINGS`` names.
        batch_size: answers that are generated at once.
        teacher: what the teacher is called in the journal; without it, as the directory.
        pacing: as for ``generate``, but that two batches are in flight, whatever ``concurrency`` says.
        retry_failed: as for ``generate``.
        fresh: as for ``generate``.
        on_progress: as for ``generate``.

    Raises:
        MissingDependencyError: torch or transformers is not installed.
        UsageError: a setting that cannot be served, or a model that cannot be had.
        FileError: the model's directory is not there or damaged; or as for ``generate``.
        InputError: as for ``generate``.
    """
    decoding = Decoding.of(config)
    check_model(config.model)
    pacing = replace(pacing or Pacing(), concurrency=2 * batch_size)
    check_pacing(pacing)
    directory = Path(config.model)
    return run(
        requests,
        journal,
        config,
        lambda: LocalTeacher(config.model, decoding, batch_size),
        where=config.model,
        teacher=teacher or (directory.resolve().name if directory.is_dir() else config.model),
        pacing=pacing,
        retry_failed=retry_failed,
        fresh=fresh,
        on_progress=on_progress,
    )


@dataclass(eq=False)
class _Asked:
    """A request that waits for its answers."""

    messages: Sequence[dict[str, str]]
    n: int
    choices: Sequence[str]
    future: asyncio.Future[Reply]


class LocalTeacher:
    """A model that is asked like an endpoint; an async context manager.

    What is asked at the same time is answered in batches, by a thread of its own, so that the loop that
    asks goes on meanwhile. The model is loaded by the first request.
    """

    def __init__(self, model: str, decoding: Decoding, batch_size: int = 8) -> None:
        """Take the model's directory or name, how it answers, and how many answers it makes at once."""
        self._name = model
        self._decoding = decoding
        self._batch_size = batch_size
        self._asked: queue.Queue[_Asked | None] = queue.Queue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="teacher", daemon=True)
        self._loaded: tuple[Model, Decoder, Answers] | None = None
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop

    async def __aenter__(self) -> LocalTeacher:
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._asked.put(None)
        self._thread.join(LONGEST_GOODBYE)  # it ends with the token it is at; loading it cannot break off

    async def ask(self, body: dict[str, Any], choices: Sequence[str] = ()) -> Reply:
        """The answers to a request, and their usage.

        Raises:
            RequestError: none came.
            FileError, UsageError, MissingDependencyError: the model cannot be loaded.
        """
        future: asyncio.Future[Reply] = self._loop.create_future()
        self._asked.put(_Asked(body["messages"], body.get("n", 1), choices, future))
        return await future

    def _work(self) -> None:
        with ExitStack() as stack:
            while batch := self._gather():
                try:
                    if self._failure is not None:
                        raise self._failure
                    self._answer(batch, self._loaded or self._load(stack))
                except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                    for asked in batch:
                        self._settle(asked, error)

    def _gather(self) -> list[_Asked]:
        """Requests for a batch, as soon as there is one and a moment has passed; none at the end."""
        found: list[_Asked] = []
        rows, until = 0, 0.0
        while rows < self._batch_size:
            try:
                asked = self._asked.get(timeout=max(0.0, until - time.monotonic()) if found else None)
            except queue.Empty:
                break
            if asked is None or self._stopping.is_set():
                return []
            if not found:
                until = time.monotonic() + GATHER_SECONDS
            found.append(asked)
            rows += asked.n
        return found

    def _load(self, stack: ExitStack) -> tuple[Model, Decoder, Answers]:
        try:
            stack.enter_context(quiet())
            model = load(self._name, self._decoding.chat_template_kwargs)
            decoder = Decoder(model, self._decoding, self._batch_size, self._stopping.is_set)
            self._loaded = model, decoder, Answers(model)
        except BaseException as error:
            self._failure = error  # it would be the same for the others
            raise
        return self._loaded

    def _answer(self, batch: list[_Asked], loaded: tuple[Model, Decoder, Answers]) -> None:
        """Answer requests together, and hand each its answers or its error."""
        model, decoder, answers = loaded
        rows: dict[_Asked, list[Row]] = {}
        for asked in batch:
            try:
                rows[asked] = self._rows(asked, model)
            except GenerationError as error:
                self._settle(asked, _request_error(error))
        watched = answers.watched(max((len(asked.choices) for asked in rows), default=0))
        with suppress(Stopped):
            decoder.decode([row for each in rows.values() for row in each], watched)
            for asked, made in rows.items():
                failed = next((row.error for row in made if row.error is not None), None)
                reply = _reply(asked, made, answers, watched) if failed is None else _request_error(failed)
                self._settle(asked, reply)

    def _rows(self, asked: _Asked, model: Model) -> list[Row]:
        prompt = model.prompt(asked.messages)
        seed = self._decoding.seed
        return [
            Row(
                prompt,
                model.room(prompt, self._decoding.max_tokens),
                seed=None if seed is None else f"{seed} {number} {prompt}",
                record=bool(self._decoding.logprobs or asked.choices),
            )
            for number in range(asked.n)
        ]

    def _settle(self, asked: _Asked, outcome: Reply | BaseException) -> None:
        """Hand an outcome to the one who waits for it, in the loop's thread."""

        def settle() -> None:
            if asked.future.done():  # nobody waits any more
                return
            if isinstance(outcome, BaseException):
                asked.future.set_exception(outcome)
            else:
                asked.future.set_result(outcome)

        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(settle)


def _request_error(error: GenerationError) -> RequestError:
    # The same prompt fails again in the same way, so it is not retried.
    return RequestError(error.kind, error.message, retryable=False)


def _reply(asked: _Asked, rows: Sequence[Row], answers: Answers, watched: Sequence[int]) -> Reply:
    prompt, completion = len(rows[0].prompt), sum(len(row.tokens) for row in rows)
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    return [answers.answer(row, asked.choices, watched) for row in rows], usage
