"""A model in this process answers the rows: greedily, in batches of prompts of about one length."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dataprep.evaluate.items import Item
from dataprep.evaluate.predictions import Prediction
from dataprep.models.decoding import Decoder, Decoding, Row
from dataprep.models.loading import GenerationError, Model

# Prompts share a batch where their answers have the same room; where the context bounds it, it is rounded
# down to this many tokens, or each length of prompt would be a batch of its own.
ROOM_STEP = 32

Watch = Callable[[int], None]
"""Told how many more rows are done."""


def answer_all(
    model: Model,
    items: Sequence[Item],
    *,
    max_tokens: int,
    batch_size: int,
    watch: Watch | None = None,
) -> tuple[list[Prediction], int]:
    """The model's answers in the rows' order, and how many were cut off at ``max_tokens`` or the context.

    A row that the model cannot answer, such as one longer than its context, has the reason in place of it.
    """
    decoder = Decoder(model, Decoding(max_tokens=max_tokens), batch_size)
    found: list[Prediction] = [Prediction(None, "not asked")] * len(items)
    rows: list[tuple[int, Row]] = []
    for number, item in enumerate(items):
        try:
            prompt = model.prompt(item.asked)
        except GenerationError as error:
            found[number] = Prediction(None, error.kind)
            continue
        rows.append((number, Row(prompt, _room(model, prompt, max_tokens), seed=None, record=False)))
    if watch is not None:
        watch(len(items) - len(rows))
    # The longest first: what does not fit into memory is known at once.
    rows.sort(key=lambda each: (-each[1].room, -len(each[1].prompt)))
    cut = 0
    for batch in _batches(rows, batch_size):
        decoder.decode([row for _, row in batch])
        for number, row in batch:
            found[number] = _prediction(model, row)
            cut += row.error is None and not _ended(model, row)
        if watch is not None:
            watch(len(batch))
    return found, cut


def _batches(rows: Sequence[tuple[int, Row]], size: int) -> list[list[tuple[int, Row]]]:
    """Batches of rows with the same room."""
    found: list[list[tuple[int, Row]]] = []
    for each in rows:
        if not found or len(found[-1]) == size or found[-1][0][1].room != each[1].room:
            found.append([])
        found[-1].append(each)
    return found


def _room(model: Model, prompt: Sequence[int], wanted: int) -> int:
    room = model.room(prompt, wanted)
    return room - room % ROOM_STEP if ROOM_STEP <= room < wanted else room


def _ended(model: Model, row: Row) -> bool:
    return bool(row.tokens) and row.tokens[-1] in model.ends


def _prediction(model: Model, row: Row) -> Prediction:
    if row.error is not None:
        return Prediction(None, row.error.kind)
    return Prediction(model.decode(row.tokens[:-1] if _ended(model, row) else row.tokens))
