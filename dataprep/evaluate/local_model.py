"""Answer items with a model in this process, and compute its loss on the tokens of conversations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from dataprep.answers.final_answers import opening_of
from dataprep.core.errors import RowError, UsageError
from dataprep.evaluate.items import Item, Prediction, Training
from dataprep.models.decoding import Decoder, Decoding, Row
from dataprep.models.loading import GenerationError, Model
from dataprep.tokens.encoder import Encoder
from dataprep.tokens.formats.base import DATE
from dataprep.tokens.formats.loading import chat_format_of, end_of_text
from dataprep.tokens.options import Encoded
from dataprep.tokens.tokenizers.loading import load_tokenizer

# The prompts of a batch have the same limit on their answers. Where the context sets it, the limit is rounded
# down to this many tokens; otherwise each length of prompt would make a batch of its own.
LIMIT_STEP = 32
_TAIL = 16  # tokens at the end of a prompt that can be a mark of thinking

Loss = tuple[float, int]  # the summed loss of a row in nats, and the number of its tokens in the loss
# Number of logits at once (256 MiB in float32), and of positions that are converted to float32 at once.
_CELLS = 1 << 26
_POSITIONS = 1 << 10


def answer_all(
    model: Model,
    items: Sequence[Item],
    *,
    max_tokens: int,
    batch_size: int,
    training: Training,
    on_rows: Callable[[int], None],
) -> tuple[list[Prediction], int]:
    """Return the answers in the order of the items, and how many were cut off.

    Each item is asked in the way of ``training``.
    """
    decoder = Decoder(model, Decoding(max_tokens=max_tokens), batch_size)
    predictions: list[Prediction] = [Prediction(None, "not asked")] * len(items)
    rows: list[tuple[int, Row]] = []
    for number, item in enumerate(items):
        try:
            # An encoder-decoder that was trained on rationales has read the questions alone.
            asked = training.given(item.asked)
            prompt = model.prompt(asked, plain=training.prefix is not None, **item.context)
        except GenerationError as error:  # for example a prompt longer than the model's context
            predictions[number] = Prediction(None, error.kind)
            continue
        rows.append((number, Row(prompt, _limit(model, prompt, max_tokens), seed=None, record=False)))
    on_rows(len(items) - len(rows))
    # The longest first, so that a batch which does not fit into memory fails at once.
    rows.sort(key=lambda numbered: (-numbered[1].max_new_tokens, -len(numbered[1].prompt)))
    cut = 0
    for batch in _batches(rows, batch_size):
        # The decoder adds the tokens to the rows themselves.
        decoder.decode([row for _, row in batch])
        for number, row in batch:
            predictions[number] = _prediction(model, row)
            cut += row.error is None and not _ended(model, row)
        on_rows(len(batch))
    return predictions, cut


def _batches(rows: Sequence[tuple[int, Row]], size: int) -> list[list[tuple[int, Row]]]:
    batches: list[list[tuple[int, Row]]] = []
    for number, row in rows:
        if not batches or len(batches[-1]) == size or batches[-1][0][1].max_new_tokens != row.max_new_tokens:
            batches.append([])
        batches[-1].append((number, row))
    return batches


def _limit(model: Model, prompt: Sequence[int], max_tokens: int) -> int:
    limit = model.max_new_tokens(prompt, max_tokens)
    return limit - limit % LIMIT_STEP if LIMIT_STEP <= limit < max_tokens else limit


def _ended(model: Model, row: Row) -> bool:
    return bool(row.tokens) and row.tokens[-1] in model.eos_token_ids


def _prediction(model: Model, row: Row) -> Prediction:
    if row.error is not None:
        return Prediction(None, row.error.kind)
    # A template may open the thinking. With its mark, what was cut off inside it is not read as an answer.
    opening = opening_of(model.decode(row.prompt[-_TAIL:], special=True))
    return Prediction(opening + model.decode(row.tokens[:-1] if _ended(model, row) else row.tokens))


def encoder_of(name: str, chat_format: str, training: Training) -> Encoder:
    """Return the encoder of training for the model's tokenizer and a chat format."""
    if not Path(name).is_dir():
        raise UsageError(f"{name}: the loss needs a model's directory, with its tokenizer in it")
    tokenizer = load_tokenizer(name)
    options: dict[str, Any] = {"strip": training.strip, "date": training.date}
    if chat_format == "template":
        options |= {"path": name, "special_tokens": tokenizer.special_tokens}
        options["template_args"] = training.template_args
    elif chat_format == "plain":
        options["end"] = end_of_text(tokenizer, name)
    return Encoder(tokenizer, chat_format_of(chat_format, **options))


def template_options(training: Training) -> dict[str, Any]:
    """Return the variables of the chat template that the student was trained with, its date among them."""
    variables = dict(training.template_args)
    if training.date is None:
        if not training.recorded:
            return variables
        import jinja2

        # Where there is no clock, a template such as Llama 3.2's writes a date of its own.
        return variables | {"strftime_now": jinja2.Undefined(name="strftime_now")}
    date = datetime.strptime(training.date, DATE)
    # Templates write a date by either of these.
    return variables | {"date_string": training.date, "strftime_now": date.strftime}


def losses(
    model: Model, encoder: Encoder, items: Sequence[Item], *, batch_size: int, on_rows: Callable[[int], None]
) -> list[Loss | RowError]:
    """Return the loss of each row, or the reason why it has none, in the order of the rows."""
    # `train.objective.mean_losses` does not serve here: the bootstrap interval needs the sum of each row.
    if model.encodes:
        raise UsageError("--metric loss: expected a causal model; this one has an encoder of its own")
    results: list[Loss | RowError] = []
    encoded: list[tuple[int, Encoded]] = []
    for number, each in enumerate(encoder.encode_rows(item.row for item in items)):
        problem = each if isinstance(each, RowError) else _problem(model, each)
        results.append(problem or (0.0, 0))
        if problem is None and not isinstance(each, RowError):
            encoded.append((number, each))
    on_rows(len(items) - len(encoded))
    # The longest first, so that a batch which does not fit into memory fails at once.
    encoded.sort(key=lambda numbered: -len(numbered[1].ids))
    begin = 0
    while begin < len(encoded):
        # Fewer rows than asked for if their logits would take too much memory.
        count = max(1, min(batch_size, _CELLS // (len(encoded[begin][1].ids) * model.vocab_size)))
        batch = encoded[begin : begin + count]
        for (number, _), loss in zip(batch, _losses(model, [each for _, each in batch]), strict=True):
            results[number] = loss
        begin += len(batch)
        on_rows(len(batch))
    return results


def _problem(model: Model, encoded: Encoded) -> RowError | None:
    if not any(encoded.mask[1:]):
        return RowError("nothing is trained on", "expected tokens of an assistant's")
    if model.context is not None and len(encoded.ids) > model.context:
        found = f"found {len(encoded.ids):,} tokens; the model's context holds {model.context:,}"
        return RowError("longer than the model's context", found)
    if max(encoded.ids) >= model.vocab_size:
        known = f"the model knows ids below {model.vocab_size:,}"
        return RowError("a token that the model does not know", f"found {max(encoded.ids):,}; {known}")
    return None


def _losses(model: Model, rows: Sequence[Encoded]) -> list[Loss | RowError]:
    """Return the losses of rows that go through the model together, padded on the right."""
    import torch

    longest = max(len(row.ids) for row in rows)
    fills = [longest - len(row.ids) for row in rows]
    ids = torch.tensor([row.ids + [model.pad_token_id] * fill for row, fill in zip(rows, fills, strict=True)])
    mask = torch.tensor([[1] * len(row.ids) + [0] * fill for row, fill in zip(rows, fills, strict=True)])
    in_loss = torch.tensor([[*row.mask, *[0] * fill] for row, fill in zip(rows, fills, strict=True)]).bool()
    # The first token has no tokens before it that could predict it.
    in_loss = in_loss[:, 1:]
    try:
        with torch.inference_mode():
            sums = _sums(model, ids.to(model.device), mask.to(model.device), in_loss.to(model.device))
    except (torch.OutOfMemoryError, MemoryError):
        raise UsageError("--metric loss: too little memory; lower --batch-size") from None
    counts = in_loss.sum(1).tolist()
    broken = RowError("the loss is not a number", "the model's weights or their type are unfit")
    return [
        (total, count) if total == total else broken  # noqa: PLR0124 - NaN is not itself
        for total, count in zip(sums, counts, strict=True)
    ]


def _sums(model: Model, ids: Any, mask: Any, in_loss: Any) -> list[float]:
    """Return the summed loss of each row."""
    import torch

    logits = model.weights(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
    targets, rows = ids[:, 1:][in_loss], in_loss.nonzero()[:, 0]
    chosen = logits[in_loss]
    sums = torch.zeros(len(ids), dtype=torch.float64, device=ids.device)
    # Logits in float32 take twice the memory of bfloat16 ones, so some positions are converted at a time.
    for begin in range(0, len(targets), _POSITIONS):
        part = slice(begin, begin + _POSITIONS)
        values = torch.nn.functional.cross_entropy(chosen[part].float(), targets[part], reduction="none")
        sums.index_add_(0, rows[part], values.double())
    result: list[float] = sums.tolist()
    return result
