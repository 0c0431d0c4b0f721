"""Answer items with a model in this process: greedily, in batches of prompts of about one length."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dataprep.evaluate.items import Item, Prediction
from dataprep.models.decoding import Decoder, Decoding, Row
from dataprep.models.loading import GenerationError, Model

# The prompts of a batch have the same limit on their answers. Where the context sets it, the limit is rounded
# down to this many tokens; otherwise each length of prompt would make a batch of its own.
LIMIT_STEP = 32


def answer_all(
    model: Model, items: Sequence[Item], *, max_tokens: int, batch_size: int, on_rows: Callable[[int], None]
) -> tuple[list[Prediction], int]:
    """Return the answers in the order of the items, and how many were cut off."""
    decoder = Decoder(model, Decoding(max_tokens=max_tokens), batch_size)
    predictions: list[Prediction] = [Prediction(None, "not asked")] * len(items)
    rows: list[tuple[int, Row]] = []
    for number, item in enumerate(items):
        try:
            prompt = model.prompt(item.asked)
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
    return Prediction(model.decode(row.tokens[:-1] if _ended(model, row) else row.tokens))
