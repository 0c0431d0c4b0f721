"""Compute how likely a model finds given answers to a prompt.

The log-likelihood of an answer is the sum of the log-probabilities of its tokens behind the prompt. It does
not contain the token that would end the answer.

A prompt goes through the model once, whatever the number of its answers, and nothing is padded. In a causal
model the prompts of a batch stand in one row, each with its answers behind it. Every answer has the positions
that follow its prompt, and attends to this prompt and to itself alone. An answer's last token is predicted
and not read, so answers of one token add nothing to the row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dataprep.models.attention import window_of
from dataprep.models.decoding import generation_error
from dataprep.models.loading import GenerationError, Model

NAME = "dataprep_answers"
# Number of logits at once (256 MiB in float32), and of positions that are converted to float32 at once.
_CELLS = 1 << 26
_POSITIONS = 1 << 10


@dataclass(frozen=True, slots=True)
class Candidates:
    """The tokens of a prompt, and of each of its possible answers."""

    prompt: Sequence[int]
    answers: Sequence[Sequence[int]]

    @property
    def length(self) -> int:
        """Number of positions of the prompt with the longest answer."""
        return len(self.prompt) + max(map(len, self.answers)) - 1

    @property
    def predicting(self) -> int:
        """Number of tokens that predict another one of an answer, with the last one of the prompt."""
        return 1 + sum(len(answer) - 1 for answer in self.answers)


class Likelihoods:
    """Compute log-likelihoods with a model, for at most ``batch_size`` prompts at once."""

    def __init__(self, model: Model, batch_size: int) -> None:
        self._model, self._batch_size = model, batch_size
        self._limit = _limit(model.weights)
        if model.encodes:
            self._compute = self._behind_an_encoder
        else:
            self._compute = self._in_one_row if _can_share(model) else self._one_by_one

    def of(
        self, rows: Sequence[Candidates], on_rows: Callable[[int], None] = lambda _: None
    ) -> list[list[float] | GenerationError]:
        """Return the log-likelihoods in nats of each row's answers, or why there are none, by row.

        Args:
            rows: the prompts with their answers.
            on_rows: called with the number of further rows that are done.
        """
        results: list[list[float] | GenerationError] = [_problem(self._model, row) or [] for row in rows]
        numbers = [number for number, result in enumerate(results) if isinstance(result, list)]
        on_rows(len(rows) - len(numbers))
        # The longest first, so that a batch which does not fit into memory fails at once. Rows of like
        # length are in one batch, which leaves an encoder little padding.
        numbers.sort(key=lambda number: (-len(rows[number].prompt), -rows[number].predicting))
        for batch in self._batches(rows, numbers):
            for number, result in zip(batch, self._attempt([rows[n] for n in batch]), strict=True):
                results[number] = result
            on_rows(len(batch))
        return results

    def _batches(self, rows: Sequence[Candidates], numbers: Sequence[int]) -> Iterator[list[int]]:
        """Yield the numbers of rows in batches, of fewer rows where their logits would take much memory."""
        batch: list[int] = []
        cells = 0
        for number in numbers:
            more = rows[number].predicting * self._model.vocab_size
            if batch and (len(batch) == self._batch_size or cells + more > _CELLS):
                yield batch
                batch, cells = [], 0
            batch.append(number)
            cells += more
        if batch:
            yield batch

    def _attempt(self, rows: Sequence[Candidates]) -> list[list[float] | GenerationError]:
        """Compute rows together; if that fails, each half alone, so that only the bad ones fail."""
        try:
            # Not `inference_mode`: a model in training must not keep tensors that have no gradients.
            with torch.no_grad():
                return [_checked(values) for values in self._compute(rows)]
        except Exception as error:  # noqa: BLE001 - one failed row each, whatever the model's code raises
            failure = generation_error(error)
        if len(rows) == 1:
            return [failure]
        middle = len(rows) // 2
        return self._attempt(rows[:middle]) + self._attempt(rows[middle:])

    def _in_one_row(self, rows: Sequence[Candidates]) -> list[list[float]]:
        if self._limit is not None and any(row.length > self._limit for row in rows):
            return self._one_by_one(rows)
        with _attention(self._model.weights, NAME):
            return _shared(self._model, rows)

    def _one_by_one(self, rows: Sequence[Candidates]) -> list[list[float]]:
        """Compute each answer in a pass of its own, for classes with another kind of attention."""
        with _attention(self._model.weights, _plain(self._model.weights)):
            return [[_alone(self._model, row.prompt, answer) for answer in row.answers] for row in rows]

    def _behind_an_encoder(self, rows: Sequence[Candidates]) -> list[list[float]]:
        with _attention(self._model.weights, _plain(self._model.weights)):
            return _decoded(self._model, rows)


def _problem(model: Model, row: Candidates) -> GenerationError | None:
    if not row.answers:
        return GenerationError("tokenizer", "there are no answers to compare")
    # A causal model has nothing that predicts an answer's first token; an encoder would read no text.
    if not row.prompt:
        return GenerationError("tokenizer", "the prompt has no token that stays the same before each answer")
    longest = max(len(answer) for answer in row.answers)
    # An encoder's prompt has a context of its own, and a decoder begins with a start token.
    length = (1 if model.encodes else len(row.prompt)) + longest - 1
    if not all(row.answers):
        return GenerationError("tokenizer", "an answer has no tokens")
    if model.context is not None and length > model.context:
        found = f"prompt and answer have {length + 1:,} tokens, and the model's context holds "
        return GenerationError("context_length_exceeded", f"{found}{model.context:,}")
    if any(token >= model.vocab_size for answer in row.answers for token in answer):
        return GenerationError("tokenizer", "an answer has tokens that the model does not know")
    return None


def _checked(values: list[float]) -> list[float] | GenerationError:
    if any(value != value for value in values):  # noqa: PLR0124 - NaN is not itself
        return GenerationError(
            "generation_failed", "the model's numbers are none (NaN); its weights or their type are unfit"
        )
    return values


@contextmanager
def _attention(weights: Any, name: str) -> Iterator[None]:
    """Set a model's attention for a while."""
    own = weights.config._attn_implementation
    if own != name:
        weights.set_attn_implementation(name)
        # A class without such an interface only logs a warning, and keeps its own.
        if weights.config._attn_implementation != name:
            raise NotImplementedError(f"the attention {name}")
    try:
        yield
    finally:
        if own != name:
            weights.set_attn_implementation(own)


def _plain(weights: Any) -> str:
    """Return the attention of a model for padded rows."""
    own = str(weights.config._attn_implementation)
    # A student in training has an attention that needs the bounds of its documents.
    return "sdpa" if own.startswith("dataprep_") else own


# One row: prompts with their answers behind them.


@dataclass(frozen=True, slots=True)
class _Tree:
    """A prompt and its answers in the row."""

    prompt: int  # number of its tokens
    reach: int  # the largest of the positions
    positions: Tensor  # of all tokens, shape `(L,)`
    visible: Tensor  # whether an answer's token sees a token, shape `(L - prompt, L)`

    def within(self, window: int) -> Tensor:
        """Return which tokens each token sees in a window of positions, shape `(L, L)`."""
        length = len(self.positions)
        causal = torch.ones(self.prompt, length, dtype=torch.bool, device=self.positions.device).tril()
        distances = self.positions[:, None] - self.positions[None]
        return torch.cat([causal, self.visible]) & (distances < window)


def _tree(row: Candidates, device: torch.device) -> _Tree:
    lengths = [len(answer) - 1 for answer in row.answers]
    prompt = len(row.prompt)
    numbers = torch.repeat_interleave(
        torch.arange(len(lengths), device=device), torch.tensor(lengths, device=device)
    )
    visible = numbers[:, None] == numbers[None]
    behind = [position for length in lengths for position in range(prompt, prompt + length)]
    positions = torch.tensor([*range(prompt), *behind], device=device)
    before = torch.ones(len(numbers), prompt, dtype=torch.bool, device=device)
    return _Tree(prompt, prompt + max(lengths) - 1, positions, torch.cat([before, visible.tril()], dim=1))


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001 - transformers passes None for this attention
    dropout: float = 0.0,  # noqa: ARG001 - log-likelihoods have none
    scaling: float | None = None,
    *,
    answer_trees: Sequence[_Tree],
    **settings: Any,
) -> tuple[Tensor, None]:
    """Compute the attention of prompts and of the answers behind them; `transformers` calls it.

    Query, key and value have shape `(1, heads, L, head size)`; the result, `(1, L, heads, head size)`.
    """
    # Refused here, _can_share() finds that the class needs its own attention.
    window = window_of(module, settings)
    shared: dict[str, Any] = {"scale": scaling, "enable_gqa": query.shape[1] != key.shape[1]}
    sdpa, parts = functional.scaled_dot_product_attention, []
    lengths = [len(tree.positions) for tree in answer_trees]
    split = zip(*(tensor.split(lengths, dim=2) for tensor in (query, key, value)), strict=True)
    for tree, (queries, keys, values) in zip(answer_trees, split, strict=True):
        if window and tree.reach >= window:
            parts.append(sdpa(queries, keys, values, attn_mask=tree.within(window), **shared))
            continue
        asked = slice(0, tree.prompt)
        prompt = queries[:, :, asked], keys[:, :, asked], values[:, :, asked]
        parts.append(sdpa(*prompt, is_causal=True, **shared))
        if len(tree.visible):
            behind = queries[:, :, tree.prompt :]
            parts.append(sdpa(behind, keys, values, attn_mask=tree.visible, **shared))
    return torch.cat(parts, dim=2).transpose(1, 2), None


def _shared(model: Model, rows: Sequence[Candidates]) -> list[list[float]]:
    """Return the log-likelihoods of rows that go through the model as one row without padding."""
    ids: list[int] = []
    # Each token of an answer, and the place in the row that predicts it.
    targets: list[int] = []
    places: list[int] = []
    for row in rows:
        ids += row.prompt
        last = len(ids) - 1
        for answer in row.answers:
            targets += answer
            places += [last, *range(len(ids), len(ids) + len(answer) - 1)]
            ids += answer[:-1]
    trees = [_tree(row, model.device) for row in rows]
    kept, which = torch.unique(torch.tensor(places, device=model.device), return_inverse=True)
    logits = model.weights(
        input_ids=torch.tensor([ids], device=model.device),
        position_ids=torch.cat([tree.positions for tree in trees])[None],
        logits_to_keep=kept,
        answer_trees=trees,
        use_cache=False,
    ).logits[0]
    # Classes that do not know `logits_to_keep` give the logits of all places.
    logits = logits if len(logits) == len(kept) else logits[kept]
    values = _chosen(logits, which, torch.tensor(targets, device=model.device))
    return _sums(values, rows)


def _chosen(logits: Tensor, places: Tensor, targets: Tensor) -> Tensor:
    """Return the log-probability of each target at its place among the logits, shape `(targets,)`."""
    # Logits in float32 take twice the memory of bfloat16 ones, so some positions are converted at a time.
    totals = torch.cat([part.float().logsumexp(-1) for part in logits.split(_POSITIONS)])
    return logits[places, targets].float() - totals[places]


def _sums(values: Tensor, rows: Sequence[Candidates]) -> list[list[float]]:
    lengths = [len(answer) for row in rows for answer in row.answers]
    sums = [part.sum().item() for part in values.double().cpu().split(lengths)]
    bounds = [0]
    for row in rows:
        bounds.append(bounds[-1] + len(row.answers))
    return [sums[begin:end] for begin, end in pairwise(bounds)]


def _alone(model: Model, prompt: Sequence[int], answer: Sequence[int]) -> float:
    """Return the log-likelihood of one answer in a pass of its own."""
    ids = torch.tensor([[*prompt, *answer]], device=model.device)
    logits = model.weights(input_ids=ids[:, :-1], use_cache=False).logits[0, len(prompt) - 1 :]
    places = torch.arange(len(answer), device=model.device)
    return float(_chosen(logits, places, ids[0, len(prompt) :]).double().sum())


def _can_share(model: Model) -> bool:
    """Return whether a model gives answers in one row the log-likelihoods that they have alone."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
    # Small ids that every vocabulary has. The answers differ in length, and one is the beginning of another.
    rows = [Candidates([1, 2, 3], [[2], [4, 1, 3], [4, 1]]), Candidates([3, 1, 4, 2, 0], [[1, 1], [3]])]
    weights = model.weights
    with torch.no_grad():
        try:
            with _attention(weights, NAME):
                shared = _shared(model, rows)
        except (KeyError, NotImplementedError, RuntimeError, TypeError, ValueError):
            return False  # the class has another attention, or other inputs
        with _attention(weights, _plain(weights)):
            alone = [[_alone(model, row.prompt, answer) for answer in row.answers] for row in rows]
    tolerance = 1e-3 if weights.dtype == torch.float32 else 3e-2
    pairs = zip(chain.from_iterable(shared), chain.from_iterable(alone), strict=True)
    return all(abs(one - other) <= tolerance * (1 + abs(other)) for one, other in pairs)


def _limit(weights: Any) -> int | None:
    """Return the length up to which a model's frequencies are the same; ``None`` for all lengths."""
    # `longrope` (Phi-3) takes those of long texts for all tokens of a row if one of them is beyond it.
    given = getattr(weights.config.get_text_config(), "rope_parameters", None) or {}
    by_layer = [given, *(kind for kind in given.values() if isinstance(kind, dict))]
    longrope = [kind for kind in by_layer if kind.get("rope_type") == "longrope"]
    return min((kind["original_max_position_embeddings"] for kind in longrope), default=None)


# Encoder-decoder models: a prompt through the encoder, and its answers through the decoder.


def _decoded(model: Model, rows: Sequence[Candidates]) -> list[list[float]]:
    """Return the log-likelihoods of rows whose prompts go through the encoder together."""
    from torch.nn.utils.rnn import pad_sequence

    weights, device = model.weights, model.device
    prompts = [torch.tensor(row.prompt, device=device) for row in rows]
    ids = pad_sequence(prompts, batch_first=True, padding_value=model.pad_token_id)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    mask = (torch.arange(ids.shape[1], device=device) < lengths[:, None]).long()
    states = weights.get_encoder()(input_ids=ids, attention_mask=mask)
    start = torch.full((len(rows), 1), _start_of(weights), device=device)
    # The start token once for each prompt: its cache has the prompt's keys and values for all answers.
    first = weights(encoder_outputs=states, attention_mask=mask, decoder_input_ids=start, use_cache=True)
    answers = [(number, answer) for number, row in enumerate(rows) for answer in row.answers]
    opening = _chosen(
        first.logits[:, 0],
        torch.tensor([number for number, _ in answers], device=device),
        torch.tensor([answer[0] for _, answer in answers], device=device),
    )
    values = [opening[at : at + 1] for at in range(len(answers))]
    longer = [at for at, (_, answer) in enumerate(answers) if len(answer) > 1]
    if longer:
        owners = torch.tensor([answers[at][0] for at in longer], device=device)
        first.past_key_values.batch_select_indices(owners)
        states.last_hidden_state = states.last_hidden_state[owners]
        inputs = [torch.tensor(answers[at][1][:-1], device=device) for at in longer]
        # Padded on the right, where no token of an answer looks.
        read = pad_sequence(inputs, batch_first=True, padding_value=model.pad_token_id)
        logits = weights(
            encoder_outputs=states,
            attention_mask=mask[owners],
            decoder_input_ids=read,
            past_key_values=first.past_key_values,
            use_cache=True,
        ).logits
        for at, row_logits in zip(longer, logits, strict=True):
            rest = torch.tensor(answers[at][1][1:], device=device)
            places = torch.arange(len(rest), device=device)
            values[at] = torch.cat([values[at], _chosen(row_logits[: len(rest)], places, rest)])
    return _sums(torch.cat(values), rows)


def _start_of(weights: Any) -> int:
    config = weights.config
    start = config.decoder_start_token_id
    return int(start if start is not None else weights.generation_config.decoder_start_token_id)
