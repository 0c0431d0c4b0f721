"""Batches of prompts through a model: which tokens it answers with, and what else it thought of.

``generate`` of transformers drives the model. Two things are our own. A sampled token is drawn by a random
number of its row's, so that an answer depends neither on the batch that it is made in nor on what was asked
before it. And log-probabilities are taken as the model gives them, before temperature and penalties, and
only of the tokens that are wanted: all of them would need gigabytes.

What happens at every token that ``generate`` of transformers makes: one is drawn, and others are noted.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import Any

from dataprep.core.errors import UsageError, first_line
from dataprep.models.loading import GenerationError, Model
from dataprep.models.sampling import GenerationConfig


@dataclass
class Record:
    """Log-probabilities, a list a token of the answer.

    Attributes:
        chosen: of the token itself.
        top: of the likeliest tokens, as (token, log-probability), the likeliest first.
        watched: of the tokens that were to be watched, in their order.
    """

    chosen: list[float]
    top: list[list[tuple[int, float]]]
    watched: list[list[float]]


class Draw:
    """Leaves one token a row: drawn by its probability, with the row's own random numbers."""

    def __init__(self, seeds: Sequence[str | None]) -> None:
        self._random = [Random(seed) for seed in seeds]

    def __call__(self, input_ids: Any, scores: Any) -> Any:  # noqa: ARG002 - as generate calls it
        """The scores with all but the drawn token at minus infinity."""
        import torch

        sums = scores.softmax(-1, dtype=torch.float64).cumsum(-1)
        turns = [[generator.random()] for generator in self._random]
        below = sums <= torch.tensor(turns, dtype=sums.dtype, device=sums.device) * sums[:, -1:]
        chosen = below.sum(-1, keepdim=True).clamp(max=scores.shape[-1] - 1)
        return torch.full_like(scores, -torch.inf).scatter(1, chosen, 0.0)


class Recorder:
    """Notes log-probabilities while ``generate`` runs: a hook of the model's, and a stopping criterion.

    Attributes:
        steps: how many tokens were chosen.
    """

    def __init__(self, top: int, watched: list[int] | None, stopped: Callable[[], bool]) -> None:
        """``top``: how many of the likeliest tokens; ``watched``: which others, ``None`` to note nothing."""
        self.steps = 0
        self._top = top
        self._watched = watched
        self._stopped = stopped
        self._scores: Any = None
        self._noted: list[list[Any]] = []

    def look(self, module: Any, inputs: Any, output: Any) -> None:  # noqa: ARG002 - as torch calls it
        """Take what the model gives for the next token."""
        self._scores = output.logits[:, -1].float()

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:  # noqa: ARG002 - as generate calls it
        """Note what was chosen; whether each row is to stop."""
        import torch

        self.steps += 1
        chosen = input_ids[:, -1:]
        noted = [self._scores.isnan().any(-1)]
        if self._watched is not None:
            likely = self._scores.log_softmax(-1)
            top = likely.topk(min(self._top, likely.shape[-1]))
            noted += [likely.gather(1, chosen)[:, 0], top.indices, top.values, likely[:, self._watched]]
        self._noted.append(noted)
        return torch.full((len(chosen),), self._stopped(), dtype=torch.bool, device=chosen.device)

    def broke(self, row: int) -> int:
        """The first step at which the model gave a row no numbers; past the last where it always did."""
        broken: list[bool] = self._stacked[0][:, row].tolist()
        return broken.index(True) if True in broken else self.steps

    def of(self, row: int, length: int) -> Record:
        """What was noted of a row whose answer has so many tokens."""
        chosen, tokens, values, watched = (part[:length, row].tolist() for part in self._stacked[1:])
        top = [list(zip(*pair, strict=True)) for pair in zip(tokens, values, strict=True)]
        return Record(chosen, top, watched)

    @cached_property
    def _stacked(self) -> tuple[Any, ...]:
        """What was noted, a tensor a kind, by step and row, where Python can read it at once."""
        import torch

        return tuple(torch.stack(part).cpu() for part in zip(*self._noted, strict=True))


SETTINGS = ("top_p", "top_k", "repetition_penalty", "seed", "chat_template_kwargs")


@dataclass(frozen=True)
class Decoding:
    """How a local model answers.

    Attributes:
        max_tokens: tokens of an answer at most.
        temperature: 0 for the likeliest tokens; ``None``: as the model's ``generation_config.json`` says.
        n: answers a request.
        logprobs: how many alternatives a token are recorded.
        top_p: draw among the likeliest tokens that have this probability together.
        top_k: draw among so many of the likeliest tokens.
        repetition_penalty: above 1, tokens that were there already become less likely.
        seed: makes what is drawn reproducible, whatever the batch.
        chat_template_kwargs: further variables of the chat template, such as ``enable_thinking``.
    """

    max_tokens: int = 512
    temperature: float | None = 0.0
    n: int = 1
    logprobs: int = 0
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check("top_p", self.top_p, float, "a number above 0, at most 1", lambda value: 0 < value <= 1)
        _check("top_k", self.top_k, int, "a whole number of 1 or more", lambda value: value >= 1)
        _check(
            "repetition_penalty", self.repetition_penalty, float, "a number above 0", lambda value: value > 0
        )
        _check("seed", self.seed, int, "a whole number", lambda _: True)
        _check("chat_template_kwargs", self.chat_template_kwargs, dict, "an object", lambda _: True)
        if self.n > 1 and self.temperature == 0:
            raise UsageError(f"--n {self.n} needs --temperature above 0: at 0 all answers are the same")

    @classmethod
    def of(cls, config: GenerationConfig) -> Decoding:
        """The settings of a run.

        Raises:
            UsageError: one of them is unknown here, or makes no sense.
        """
        if unknown := sorted(config.extra.keys() - set(SETTINGS)):
            known = ", ".join(SETTINGS)
            raise UsageError(
                f"--param {unknown[0]}: --engine transformers does not know it; it knows {known}"
            )
        return cls(config.max_tokens, config.temperature, config.n, config.logprobs, **dict(config.extra))


def _check(name: str, value: Any, kind: type, expected: str, holds: Callable[[Any], bool]) -> None:
    kinds = (int, float) if kind is float else (kind,)
    if value is not None and (type(value) not in kinds or not holds(value)):
        raise UsageError(f"--param {name}={value!r}: expected {expected}")


@dataclass(eq=False)
class Row:
    """One answer that is to be made, and what it became.

    Attributes:
        prompt: the request's tokens.
        room: how many tokens the answer may have.
        seed: of its random numbers; ``None`` for others each time.
        record: whether log-probabilities are wanted.
        tokens: the answer, with the token that ended it.
        recorded: its log-probabilities.
        error: why there is no answer.
    """

    prompt: list[int]
    room: int
    seed: str | None
    record: bool
    tokens: list[int] = field(default_factory=list)
    recorded: Record | None = None
    error: GenerationError | None = None


class Stopped(Exception):
    """Nobody waits any more for what is being made."""


class Decoder:
    """Answers rows, at most ``batch_size`` of them at once; ``stopped`` is asked at every token."""

    def __init__(
        self, model: Model, decoding: Decoding, batch_size: int, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        """Raise ``UsageError`` where ``n`` is above 1 and the model's own settings draw nothing."""
        self._model = model
        self._batch_size = batch_size
        self._stopped = stopped
        self._top = decoding.logprobs
        own = model.weights.generation_config
        self._temperature = decoding.temperature
        if self._temperature is None:
            self._temperature = (own.temperature or 1.0) if own.do_sample else 0.0
        if decoding.n > 1 and not self._temperature:
            raise UsageError(f"--n {decoding.n} needs --temperature: the model's own settings draw nothing")
        self._top_p = own.top_p if decoding.top_p is None else decoding.top_p
        self._top_k = own.top_k if decoding.top_k is None else decoding.top_k
        self._config = _prepared(own, model, decoding.repetition_penalty)

    def decode(self, rows: Iterable[Row], watched: Sequence[int] = ()) -> None:
        """Fill in the rows' answers, or why there is none.

        Args:
            rows: in the order of their arrival.
            watched: tokens whose log-probabilities are recorded besides the likeliest ones.

        Raises:
            Stopped: ``stopped`` said so.
        """
        by_room: dict[int, list[Row]] = {}
        for row in rows:
            by_room.setdefault(row.room, []).append(row)
        for alike in by_room.values():
            for begin in range(0, len(alike), self._batch_size):
                self._attempt(alike[begin : begin + self._batch_size], list(watched))

    def _attempt(self, rows: list[Row], watched: list[int]) -> None:
        """Answer rows together; where that fails, each by itself, so that none fails for another's sake."""
        try:
            self._generate(rows, watched)
            return
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001 - one failed row each, whatever the model's code raises
            failure = _generation_error(error)
        self._release()  # not before the error and its frames are gone, which hold the tensors
        if len(rows) == 1:
            rows[0].error = failure
            return
        for row in rows:
            self._attempt([row], watched)

    def _release(self) -> None:
        import torch

        gc.collect()
        if self._model.device.type == "cuda":
            torch.cuda.empty_cache()

    def _generate(self, rows: list[Row], watched: list[int]) -> None:
        import torch

        model, (prompts, mask) = self._model, self._padded(rows)
        config = copy.deepcopy(self._config)
        config.max_new_tokens = rows[0].room
        wanted = any(row.record for row in rows)
        recorder = Recorder(self._top if wanted else 0, watched if wanted else None, self._stopped)
        hook = model.weights.register_forward_hook(recorder.look)
        try:
            with torch.inference_mode():
                found = model.weights.generate(
                    torch.tensor(prompts, device=model.device),
                    attention_mask=torch.tensor(mask, device=model.device),
                    generation_config=config,
                    logits_processor=self._drawing(rows),
                    stopping_criteria=[recorder],
                )
        finally:
            hook.remove()
        if self._stopped():
            raise Stopped
        answers = found[:, found.shape[1] - recorder.steps :].tolist()
        for number, row in enumerate(rows):
            row.tokens = _until(answers[number], model.ends)
            if recorder.broke(number) < len(row.tokens):
                raise ArithmeticError(
                    "the model's numbers are none (NaN); its weights or their type are unfit"
                )
            row.recorded = recorder.of(number, len(row.tokens)) if row.record else None

    def _padded(self, rows: list[Row]) -> tuple[list[list[int]], list[list[int]]]:
        """The prompts at one length, and where they are not filled up: on the left, where no answer begins.

        An encoder's model answers elsewhere, and may count its prompt's positions from the left.
        """
        longest = max(len(row.prompt) for row in rows)
        prompts, masks = [], []
        for row in rows:
            fill = [self._model.pad] * (longest - len(row.prompt))
            prompt, mask = [*fill, *row.prompt], [0] * len(fill) + [1] * len(row.prompt)
            prompts.append([*row.prompt, *fill] if self._model.encodes else prompt)
            masks.append(mask[::-1] if self._model.encodes else mask)
        return prompts, masks

    def _drawing(self, rows: list[Row]) -> list[Any]:
        """What has ``generate`` draw tokens, where it is not to take the likeliest."""
        if not self._temperature:
            return []
        from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

        steps: list[Any] = [TemperatureLogitsWarper(float(self._temperature))]
        if self._top_k:
            steps.append(TopKLogitsWarper(self._top_k))
        if self._top_p is not None and self._top_p < 1:
            steps.append(TopPLogitsWarper(float(self._top_p)))
        return [*steps, Draw([row.seed for row in rows])]


def _prepared(own: Any, model: Model, repetition_penalty: float | None) -> Any:
    """The model's own settings of ``generate``, without those that are decided here."""
    config = copy.deepcopy(own)
    config.update(
        do_sample=False, num_beams=1, num_return_sequences=1, return_dict_in_generate=False, use_cache=True
    )
    config.max_length = config.temperature = config.top_k = config.top_p = None
    config.min_p = config.typical_p = config.stop_strings = config.max_time = None
    if repetition_penalty is not None:
        config.repetition_penalty = float(repetition_penalty)
    config.eos_token_id, config.pad_token_id = sorted(model.ends) or None, model.pad
    # What is None in a call's settings is taken from the model's.
    model.weights.generation_config = copy.deepcopy(config)
    return config


def _until(tokens: list[int], ends: frozenset[int]) -> list[int]:
    """The tokens up to the first that ends an answer, and with it."""
    place = next((place for place, token in enumerate(tokens) if token in ends), len(tokens) - 1)
    return tokens[: place + 1]


def _generation_error(error: Exception) -> GenerationError:
    import torch

    # On the CPU torch raises a plain RuntimeError.
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in text:
        advice = "lower --batch-size and --max-tokens, or choose a smaller model"
        return GenerationError("out_of_memory", f"too little memory even for one answer: {advice}")
    return GenerationError("generation_failed", f"{type(error).__name__}: {first_line(error)}")
