"""Ask a model in this process: a local teacher that needs no server and answers in batches."""

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
from typing import TYPE_CHECKING, Any

from dataprep.answers.letters import letter_of
from dataprep.core.optional import quiet
from dataprep.core.records import LETTERS
from dataprep.models.decoding import Decoder, Decoding, Row, Stopped
from dataprep.models.loading import GenerationError, Model, check_model, load
from dataprep.models.sampling import GenerationConfig, Tools
from dataprep.teacher.generate import GenerateReport, OnProgress, check_pacing, run
from dataprep.teacher.protocol import Answer, Reply, RequestError, scored_choices
from dataprep.teacher.settings import Pacing

if TYPE_CHECKING:
    from dataprep.models.likelihood import Likelihoods

_DIGITS = 6
# The text of an incomplete character.
_BROKEN = "\N{REPLACEMENT CHARACTER}"
# Long enough for the requests that one answered batch lets in, and short beside a batch.
GATHER_SECONDS = 0.05
# Seconds until a thread that is still loading a model is left alone.
LONGEST_GOODBYE = 5.0


class Answers:
    """Turn generated tokens into answers of the journal: text, finish reason, log-probabilities."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._letters: dict[str, list[int]] = {}

    def watched(self, count: int) -> list[int]:
        """Return the tokens that name one of ``count`` choices."""
        return list(dict.fromkeys(token for letter in LETTERS[:count] for token in self.naming(letter)))

    def naming(self, letter: str) -> list[int]:
        """Return the tokens that are a letter, in either case: bare, after a space or after a bracket."""
        if letter not in self._letters:
            forms = [before + form for form in (letter, letter.upper()) for before in ("", " ", "(")]
            self._letters[letter] = self._model.tokens_of(forms)
        return self._letters[letter]

    def answer(self, row: Row, choices: Sequence[str], watched: Sequence[int]) -> Answer:
        """Return the answer in a row, with log-probabilities of each token except the one that ended it."""
        model, tokens = self._model, row.tokens
        ended = bool(tokens) and tokens[-1] in model.eos_token_ids
        if ended:
            tokens = tokens[:-1]
        text = model.decode(tokens)
        reason = "stop" if ended else "length"
        if row.recorded is None:
            return Answer(text, reason)
        # The alternatives of the first token have the letters of the choices among them. "The answer is (b)."
        # names its choice late, so the tokens of that letter are looked for as well.
        letter = letter_of(text, choices) if choices else None
        naming = set(self.naming(letter)) if letter else set()
        lettered = (
            {0, *(index for index, token in enumerate(tokens) if token in naming)} if choices else set()
        )
        entries = []
        for index, (token, piece) in enumerate(zip(tokens, pieces_of(model, tokens), strict=True)):
            chosen = row.recorded.chosen[index]
            wanted = list(row.recorded.top[index])
            if index in lettered:
                wanted.append((token, chosen))
                wanted += zip(watched, row.recorded.watched[index], strict=True)
            top = self._top(wanted, index == 0, token, piece)
            entries.append({"token": piece, "logprob": round(chosen, _DIGITS), "top": top})
        return Answer(text, reason, None, entries)

    def _top(self, wanted: list[tuple[int, float]], first: bool, chosen: int, piece: str) -> dict[str, float]:
        """Return alternatives by their text, the likeliest first."""
        logprobs: dict[str, float] = {}
        for token, value in dict(wanted).items():
            if math.isfinite(value):
                text = piece if token == chosen and piece else self._model.text_of(token, first)
                # Several tokens can have one text: the journal's object has it once.
                logprobs[text] = _log_sum(logprobs[text], value) if text in logprobs else value
        ordered = sorted(logprobs.items(), key=lambda item: -item[1])
        return {text: round(value, _DIGITS) for text, value in ordered}


def _log_sum(first: float, second: float) -> float:
    # The logarithm of a sum of exponentials, which would underflow if they were added as they are.
    low, high = sorted((first, second))
    return high + math.log1p(math.exp(low - high))


def pieces_of(model: Model, tokens: Sequence[int]) -> list[str]:
    """Return the text that each token adds to an answer; joined they are the answer.

    A character whose bytes are divided between tokens is in the piece of the last of them.
    """
    pieces, begin, read = [], 0, 0
    for end in range(1, len(tokens) + 1):
        # Decoded from the last complete character on: tokens before it cannot change the text that follows.
        before, now = model.decode(tokens[begin:read]), model.decode(tokens[begin:end])
        if now.endswith(_BROKEN) and end < len(tokens):
            pieces.append("")
            continue
        pieces.append(now[len(before) :])
        begin, read = read, end
    return pieces


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
    """Ask a model in this process for what the journal lacks; ``generate`` documents the other arguments.

    ``config.model`` is a directory, or a name on the Hugging Face Hub. ``config.extra`` accepts the names in
    ``decoding.SETTINGS``. The model is loaded when the first request is asked. ``batch_size`` answers are
    generated at once.
    """
    decoding = Decoding.of(config)
    check_model(config.model)
    # Two batches are in flight whatever `pacing` says: while one is generated, the next one is ready.
    pacing = replace(pacing or Pacing(), concurrency=2 * batch_size)
    check_pacing(pacing)
    directory = Path(config.model)
    return run(
        requests,
        journal,
        config,
        {config.model: lambda: LocalTeacher(config.model, decoding, batch_size)},
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
    tools: Tools | None = None


class LocalTeacher:
    """A model that is asked like an endpoint; an async context manager.

    A thread answers concurrent requests in batches. It loads the model for the first of them.
    """

    def __init__(self, model: str, decoding: Decoding, batch_size: int = 8) -> None:
        self._name = model
        self._decoding = decoding
        self._batch_size = batch_size
        self._asked: queue.Queue[_Asked | None] = queue.Queue()
        self._stopping = threading.Event()
        # A daemon thread and not asyncio.to_thread: the loop and the interpreter wait for their pool's
        # threads when they end, and a second Ctrl-C would have to wait until a large model is loaded.
        self._thread = threading.Thread(target=self._work, name="teacher", daemon=True)
        self._loaded: tuple[Model, Decoder, Answers] | None = None
        self._likelihoods: Likelihoods | None = None
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop

    async def __aenter__(self) -> LocalTeacher:
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        self._asked.put(None)
        self._thread.join(LONGEST_GOODBYE)

    async def ask(self, body: dict[str, Any], choices: Sequence[str] = ()) -> Reply:
        """Return the answers to a request; raise ``RequestError`` if there is none."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        asked = _Asked(body["messages"], body.get("n", 1), choices, future, body.get("tools"))
        self._asked.put(asked)
        return await future

    def _work(self) -> None:
        with ExitStack() as stack:
            while batch := self._gather():
                try:
                    if self._failure is not None:
                        raise self._failure
                    self._answer(batch, self._loaded or self._load(stack))
                except BaseException as error:  # noqa: BLE001 - raised in the tasks that wait for an answer
                    for asked in batch:
                        self._settle(asked, error)

    def _gather(self) -> list[_Asked]:
        """Return the requests of a batch; none at the end."""
        batch: list[_Asked] = []
        answers, until = 0, 0.0
        # The requests of one moment arrive one after the other, so the first one waits for the others.
        while answers < self._batch_size:
            try:
                asked = self._asked.get(timeout=max(0.0, until - time.monotonic()) if batch else None)
            except queue.Empty:
                break
            if asked is None or self._stopping.is_set():
                return []
            if not batch:
                until = time.monotonic() + GATHER_SECONDS
            batch.append(asked)
            answers += asked.n
        return batch

    def _load(self, stack: ExitStack) -> tuple[Model, Decoder, Answers]:
        try:
            stack.enter_context(quiet())
            model = load(self._name, self._decoding.chat_template_kwargs)
            decoder = Decoder(model, self._decoding, self._batch_size, self._stopping.is_set)
            if self._decoding.likelihoods:
                from dataprep.models.likelihood import Likelihoods  # torch, which other engines do not need

                self._likelihoods = Likelihoods(model, self._batch_size)
            self._loaded = model, decoder, Answers(model)
        except BaseException as error:
            # Kept, so that the requests of later batches do not load the model again to fail in the same way.
            self._failure = error
            raise
        return self._loaded

    def _answer(self, batch: list[_Asked], loaded: tuple[Model, Decoder, Answers]) -> None:
        """Answer requests together, and give each its answers or its error."""
        model, decoder, answers = loaded
        rows: dict[_Asked, list[Row]] = {}
        for asked in batch:
            try:
                rows[asked] = self._rows(asked, model)
            except GenerationError as error:
                self._settle(asked, _request_error(error))
        watched = answers.watched(max((len(asked.choices) for asked in rows), default=0))
        with suppress(Stopped):
            decoder.decode([row for samples in rows.values() for row in samples], watched)
            scored = self._scored(rows, model)
            for asked, samples in rows.items():
                failed = next((row.error for row in samples if row.error is not None), None)
                values = scored.get(asked)
                failed = values if failed is None and isinstance(values, GenerationError) else failed
                if failed is not None:
                    self._settle(asked, _request_error(failed))
                    continue
                said, usage = _reply(asked, samples, answers, watched)
                if isinstance(values, list):
                    said = [replace(answer, choices=scored_choices(asked.choices, values)) for answer in said]
                self._settle(asked, (said, usage))

    def _scored(
        self, requests: Iterable[_Asked], model: Model
    ) -> dict[_Asked, list[float] | GenerationError]:
        """Return the log-likelihoods of each request's choices, if they are wanted."""
        from dataprep.models.likelihood import Candidates

        scored: dict[_Asked, list[float] | GenerationError] = {}
        if self._likelihoods is None:
            return scored
        candidates: dict[_Asked, Candidates] = {}
        for asked in requests:
            try:
                if asked.choices:
                    made = model.answers(asked.messages, asked.choices, tools=asked.tools)
                    candidates[asked] = Candidates(*made)
            except GenerationError as error:
                scored[asked] = error
        found = self._likelihoods.of([*candidates.values()])
        return scored | dict(zip(candidates, found, strict=True))

    def _rows(self, asked: _Asked, model: Model) -> list[Row]:
        prompt = model.prompt(asked.messages, tools=asked.tools)
        seed, record = self._decoding.seed, bool(self._decoding.logprobs or asked.choices)
        length = model.max_new_tokens(prompt, self._decoding.max_tokens)
        # The seed depends on prompt and sample only, so that a resumed run draws the same.
        seeds = [None if seed is None else f"{seed} {sample} {prompt}" for sample in range(asked.n)]
        return [Row(prompt, length, row_seed, record) for row_seed in seeds]

    def _settle(self, asked: _Asked, outcome: Reply | BaseException) -> None:
        """Give an outcome to the task that waits for it, in the loop's thread."""

        def settle() -> None:
            # Its task was cancelled.
            if asked.future.done():
                return
            if isinstance(outcome, BaseException):
                asked.future.set_exception(outcome)
            else:
                asked.future.set_result(outcome)

        # The loop has ended.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(settle)


def _request_error(error: GenerationError) -> RequestError:
    # The same prompt would fail again in the same way.
    return RequestError(error.kind, error.message, retryable=False)


def _reply(asked: _Asked, rows: Sequence[Row], answers: Answers, watched: Sequence[int]) -> Reply:
    prompt, completion = len(rows[0].prompt), sum(len(row.tokens) for row in rows)
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return [answers.answer(row, asked.choices, watched) for row in rows], usage
