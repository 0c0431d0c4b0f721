"""Generate answers to batches of prompts, with log-probabilities of the tokens.

``generate`` of transformers runs the model. Two parts are our own. Each row draws its tokens with its own
random numbers, so an answer depends neither on its batch nor on earlier requests. Log-probabilities are the
model's, before temperature and penalties, and only of the tokens that are wanted.
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
    """Log-probabilities, one item per token of the answer."""

    chosen: list[float]  # That of the token itself.
    top: list[list[tuple[int, float]]]  # The likeliest tokens, each with its own, in descending order.
    watched: list[list[float]]  # Those of the watched tokens, in their order.


class Draw:
    """Draw one token per row by its probability, with the row's own random numbers."""

    def __init__(self, seeds: Sequence[str | None]) -> None:
        self._random = [Random(seed) for seed in seeds]

    def __call__(self, input_ids: Any, scores: Any) -> Any:  # noqa: ARG002 - as generate calls it
        """Return the scores with all but the drawn token at minus infinity."""
        import torch

        # In float32, rounding in a sum over a large vocabulary would move the borders between tokens.
        sums = scores.softmax(-1, dtype=torch.float64).cumsum(-1)
        draws = [[generator.random()] for generator in self._random]
        below = sums <= torch.tensor(draws, dtype=sums.dtype, device=sums.device) * sums[:, -1:]
        chosen = below.sum(-1, keepdim=True).clamp(max=scores.shape[-1] - 1)
        return torch.full_like(scores, -torch.inf).scatter(1, chosen, 0.0)


class Recorder:
    """Record log-probabilities while ``generate`` runs: a forward hook and a stopping criterion.

    They are those of the ``top`` likeliest tokens and the watched ones; none if ``watched`` is ``None``.
    """

    def __init__(self, top: int, watched: list[int] | None, stopped: Callable[[], bool]) -> None:
        self.steps = 0  # number of tokens generated so far
        self._top = top
        self._watched = watched
        self._stopped = stopped
        self._scores: Any = None
        self._records: list[list[Any]] = []

    def look(self, module: Any, inputs: Any, output: Any) -> None:  # noqa: ARG002 - as torch calls it
        """Keep the model's scores of the next token."""
        # Taken here and not from `generate`, whose scores have temperature and penalties applied.
        self._scores = output.logits[:, -1].float()

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:  # noqa: ARG002 - as generate calls it
        """Record the token that was chosen, and return whether each row must stop."""
        import torch

        self.steps += 1
        chosen = input_ids[:, -1:]
        record = [self._scores.isnan().any(-1)]
        # Scores of every token at every step would need gigabytes, so only what is wanted is kept.
        if self._watched is not None:
            likely = self._scores.log_softmax(-1)
            top = likely.topk(min(self._top, likely.shape[-1]))
            record += [likely.gather(1, chosen)[:, 0], top.indices, top.values, likely[:, self._watched]]
        self._records.append(record)
        return torch.full((len(chosen),), self._stopped(), dtype=torch.bool, device=chosen.device)

    def first_nan(self, row: int) -> int:
        """Return the first step with NaN among the row's scores, or the number of steps."""
        broken: list[bool] = self._stacked[0][:, row].tolist()
        return broken.index(True) if True in broken else self.steps

    def record(self, row: int, length: int) -> Record:
        """Return the log-probabilities of a row whose answer has ``length`` tokens."""
        chosen, tokens, values, watched = (part[:length, row].tolist() for part in self._stacked[1:])
        top = [list(zip(*pair, strict=True)) for pair in zip(tokens, values, strict=True)]
        return Record(chosen, top, watched)

    @cached_property
    def _stacked(self) -> tuple[Any, ...]:
        """The records as tensors on the CPU, indexed by step and row."""
        import torch

        return tuple(torch.stack(part).cpu() for part in zip(*self._records, strict=True))


SETTINGS = ("top_p", "top_k", "repetition_penalty", "seed", "chat_template_kwargs")


@dataclass(frozen=True)
class Decoding:
    """Settings of a model in this process."""

    max_tokens: int = 512  # Of an answer.
    temperature: float | None = 0.0  # 0 is greedy; `None` follows the model's generation_config.json.
    n: int = 1  # Number of answers per request.
    logprobs: int = 0  # Number of alternatives recorded for each token.
    likelihoods: bool = False  # Compute the likelihood of each choice of a request as its answer.
    top_p: float | None = None  # Draw among the likeliest tokens that have this probability together.
    top_k: int | None = None  # Draw among this number of the likeliest tokens.
    repetition_penalty: float | None = None  # Above 1, tokens that were used already become less likely.
    seed: int | None = None  # Makes the draws reproducible in any batch.
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)  # Such as enable_thinking.

    def __post_init__(self) -> None:
        _check("top_p", self.top_p, float, "a number above 0, at most 1", lambda value: 0 < value <= 1)
        _check("top_k", self.top_k, int, "a whole number of 1 or more", lambda value: value >= 1)
        penalty = self.repetition_penalty
        _check("repetition_penalty", penalty, float, "a number above 0", lambda value: value > 0)
        _check("seed", self.seed, int, "a whole number", lambda _: True)
        _check("chat_template_kwargs", self.chat_template_kwargs, dict, "an object", lambda _: True)
        if self.n > 1 and self.temperature == 0:
            raise UsageError(f"--n {self.n} needs --temperature above 0: at 0 all answers are the same")

    @classmethod
    def of(cls, config: GenerationConfig) -> Decoding:
        """Return the settings of a run."""
        if unknown := sorted(config.extra.keys() - set(SETTINGS)):
            problem = f"--engine transformers does not know it; it knows {', '.join(SETTINGS)}"
            raise UsageError(f"--param {unknown[0]}: {problem}")
        if config.chat_template is not None:
            raise UsageError("--chat-template is for servers: --engine transformers uses the model's own")
        likelihoods = config.choice_probs == "likelihood"
        values = config.max_tokens, config.temperature, config.n, config.logprobs, likelihoods
        return cls(*values, **dict(config.extra))


def _check(name: str, value: Any, kind: type, expected: str, holds: Callable[[Any], bool]) -> None:
    kinds = (int, float) if kind is float else (kind,)
    if value is not None and (type(value) not in kinds or not holds(value)):
        raise UsageError(f"--param {name}={value!r}: expected {expected}")


@dataclass(eq=False)
class Row:
    """One answer to generate, and the result."""

    prompt: list[int]  # The request's tokens.
    max_new_tokens: int
    seed: str | None  # That of the row's random numbers; `None` draws differently each time.
    record: bool  # Record log-probabilities.
    tokens: list[int] = field(default_factory=list)  # The answer, with the token that ended it.
    recorded: Record | None = None  # Its log-probabilities.
    error: GenerationError | None = None  # The reason if there is no answer.


class Stopped(Exception):
    """Raised when nobody waits for the answers any more."""


class Decoder:
    """Generate answers for at most ``batch_size`` rows at once; ``stopped`` is called at every token."""

    def __init__(
        self, model: Model, decoding: Decoding, batch_size: int, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        self._model, self._batch_size, self._stopped = model, batch_size, stopped
        self._top = decoding.logprobs
        defaults = model.weights.generation_config
        self._temperature = decoding.temperature
        if self._temperature is None:
            self._temperature = (defaults.temperature or 1.0) if defaults.do_sample else 0.0
        # `Decoding` cannot check this: only the model's files say whether it draws.
        if decoding.n > 1 and not self._temperature:
            raise UsageError(f"--n {decoding.n} needs --temperature: the model's own settings draw nothing")
        self._top_p = defaults.top_p if decoding.top_p is None else decoding.top_p
        self._top_k = defaults.top_k if decoding.top_k is None else decoding.top_k
        self._config = _prepared(defaults, model, decoding.repetition_penalty)

    def decode(self, rows: Iterable[Row], watched: Sequence[int] = ()) -> None:
        """Set each row's answer, or its error; raise ``Stopped`` if ``stopped`` returns true.

        The log-probabilities of ``watched`` tokens are recorded in addition to those of the likeliest ones.
        """
        # `generate` has one limit per batch, so rows share a batch only if their limits are equal.
        by_length: dict[int, list[Row]] = {}
        for row in rows:
            by_length.setdefault(row.max_new_tokens, []).append(row)
        for batch in by_length.values():
            for begin in range(0, len(batch), self._batch_size):
                self._attempt(batch[begin : begin + self._batch_size], list(watched))

    def _attempt(self, rows: list[Row], watched: list[int]) -> None:
        """Answer rows together; if that fails, answer each alone, so that only the bad ones fail."""
        try:
            self._generate(rows, watched)
            return
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001 - one failed row each, whatever the model's code raises
            failure = generation_error(error)
        # Memory is free only after the error is gone: its frames hold the tensors.
        gc.collect()
        if self._model.device.type == "cuda":
            import torch

            torch.cuda.empty_cache()
        if len(rows) == 1:
            rows[0].error = failure
            return
        for row in rows:
            self._attempt([row], watched)

    def _generate(self, rows: list[Row], watched: list[int]) -> None:
        import torch

        model, (prompts, mask) = self._model, self._padded(rows)
        config = copy.deepcopy(self._config)
        config.max_new_tokens = rows[0].max_new_tokens
        wanted = any(row.record for row in rows)
        recorder = Recorder(self._top if wanted else 0, watched if wanted else None, self._stopped)
        hook = model.weights.register_forward_hook(recorder.look)
        try:
            with torch.inference_mode():
                output = model.weights.generate(
                    torch.tensor(prompts, device=model.device),
                    attention_mask=torch.tensor(mask, device=model.device),
                    generation_config=config,
                    logits_processor=self._processors(rows),
                    stopping_criteria=[recorder],
                )
        finally:
            hook.remove()
        if self._stopped():
            raise Stopped
        # An encoder-decoder's output begins with a start token, so the answers are counted from the end.
        answers = output[:, output.shape[1] - recorder.steps :].tolist()
        for number, row in enumerate(rows):
            # A batch runs until its longest answer ends; shorter ones have padding behind their end.
            row.tokens = _until(answers[number], model.eos_token_ids)
            if recorder.first_nan(number) < len(row.tokens):
                raise ArithmeticError(
                    "the model's numbers are none (NaN); its weights or their type are unfit"
                )
            row.recorded = recorder.record(number, len(row.tokens)) if row.record else None

    def _padded(self, rows: list[Row]) -> tuple[list[list[int]], list[list[int]]]:
        """Return the prompts at one length, and their attention masks."""
        longest = max(len(row.prompt) for row in rows)
        prompts, masks = [], []
        for row in rows:
            padding = [self._model.pad_token_id] * (longest - len(row.prompt))
            prompt, mask = [*padding, *row.prompt], [0] * len(padding) + [1] * len(row.prompt)
            # Answers continue on the right, so padding is on the left. An encoder's answers do not continue
            # its prompt, and it may count the prompt's positions from the left.
            prompts.append([*row.prompt, *padding] if self._model.encodes else prompt)
            masks.append(mask[::-1] if self._model.encodes else mask)
        return prompts, masks

    def _processors(self, rows: list[Row]) -> list[Any]:
        """Return the steps by which ``generate`` draws tokens; none if it takes the likeliest."""
        if not self._temperature:
            return []
        from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

        steps: list[Any] = [TemperatureLogitsWarper(float(self._temperature))]
        if self._top_k:
            steps.append(TopKLogitsWarper(self._top_k))
        if self._top_p is not None and self._top_p < 1:
            steps.append(TopPLogitsWarper(float(self._top_p)))
        return [*steps, Draw([row.seed for row in rows])]


def _prepared(defaults: Any, model: Model, repetition_penalty: float | None) -> Any:
    """Return the model's generation settings without those that are decided here."""
    config = copy.deepcopy(defaults)
    # The tokens are drawn by `Draw`, so `generate` itself must take the likeliest.
    config.update(
        do_sample=False, num_beams=1, num_return_sequences=1, return_dict_in_generate=False, use_cache=True
    )
    config.max_length = config.temperature = config.top_k = config.top_p = None
    config.min_p = config.typical_p = config.stop_strings = config.max_time = None
    if repetition_penalty is not None:
        config.repetition_penalty = float(repetition_penalty)
    config.eos_token_id, config.pad_token_id = sorted(model.eos_token_ids) or None, model.pad_token_id
    # `generate` replaces each None in the settings of a call by the model's own value.
    model.weights.generation_config = copy.deepcopy(config)
    return config


def _until(tokens: list[int], eos_token_ids: frozenset[int]) -> list[int]:
    """Return the tokens up to and including the first that ends an answer."""
    end = next((index for index, token in enumerate(tokens) if token in eos_token_ids), len(tokens) - 1)
    return tokens[: end + 1]


def generation_error(error: Exception) -> GenerationError:
    """Return the reason of a row for which the model's code raised an error."""
    import torch

    # On the CPU torch raises a plain RuntimeError when memory runs out.
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
        advice = "lower --batch-size and --max-tokens, or choose a smaller model"
        return GenerationError("out_of_memory", f"too little memory even for one answer: {advice}")
    return GenerationError("generation_failed", f"{type(error).__name__}: {first_line(error)}")
