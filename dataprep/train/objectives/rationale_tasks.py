"""Rows with rationales in tokens: a prompt and a target for each part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch

from dataprep.core.errors import InputError, Location, RowDropped, RowError
from dataprep.core.ledger import Ledger
from dataprep.tokens.encoder import Encoder
from dataprep.tokens.truncation import spans_of
from dataprep.train.objective import Batch
from dataprep.train.objectives.chat_data import document_batch
from dataprep.train.objectives.rationale_data import RationaleRow, RationaleRows, prefix_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataprep.tokens.formats.base import ChatFormat
    from dataprep.tokens.tokenizers.base import Tokenizer

_ROWS_AT_ONCE = 1000


class Task(NamedTuple):
    """One part of a row in tokens: index of the part, prompt and target."""

    part: int
    prompt: NDArray[np.int32]
    target: NDArray[np.int32]


Encoded = tuple[list[int], list[int]]
"""Prompt and target in tokens."""


class TaskEncoder(Protocol):
    """Encodes and batches tasks for one kind of student."""

    @property
    def cut(self) -> int:
        """Number of texts that were truncated."""

    def encode(self, pairs: Sequence[tuple[str, str]]) -> list[Encoded | RowError]:
        """Return prompts and targets in tokens, or why a pair is left out."""

    def batch(self, tasks: Sequence[Task]) -> Batch:
        """Return the tasks in one row, in their order; the caller fills in `counts`."""


class PairTaskEncoder:
    """Prompts for an encoder and targets for a decoder; both end a text."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        eos_token_id: int,
        start_token_id: int,
        max_length: int | None,
        truncation: str,
    ) -> None:
        self.tokenizer, self.eos_token_id, self.start_token_id = tokenizer, eos_token_id, start_token_id
        self.max_length, self.truncation = max_length, truncation
        self.cut = 0

    def encode(self, pairs: Sequence[tuple[str, str]]) -> list[Encoded | RowError]:
        """Return prompts and targets in tokens, or why a pair is left out."""
        texts = [text for pair in pairs for text in pair]
        try:
            ids = self.tokenizer.encode_batch(texts)
        except RowError as error:
            if len(pairs) == 1:
                return [error]
            # The tokenizer does not say which text is bad: encode the pairs one at a time to find out.
            return [self.encode([pair])[0] for pair in pairs]
        return [self._truncate(*pair) for pair in zip(ids[::2], ids[1::2], strict=True)]

    def _truncate(self, prompt: list[int], target: list[int]) -> Encoded | RowError:
        prompt, target = [*prompt, self.eos_token_id], [*target, self.eos_token_id]
        limit = self.max_length
        if limit is None or max(len(prompt), len(target)) <= limit:
            return prompt, target
        text = "question" if len(prompt) > limit else "target"
        detail = f"found {max(len(prompt), len(target)):,} in the {text}; expected at most {limit:,}"
        if self.truncation == "drop":
            return RowDropped("too many tokens", detail)
        if self.truncation == "error":
            return RowError("too many tokens", f"{detail}: drop or truncate such texts, or allow more")
        self.cut += (len(prompt) > limit) + (len(target) > limit)
        if len(prompt) > limit:
            prompt = [*prompt[: limit - 1], self.eos_token_id]
        # A truncated target keeps no end: the student would learn to stop in the middle of a text.
        return prompt, target[:limit]

    def batch(self, tasks: Sequence[Task]) -> Batch:
        """Return tensors as `PackedPairs` reads them."""
        questions, targets = [task.prompt for task in tasks], [task.target for task in tasks]
        bounds, question_bounds = _bounds(targets), _bounds(questions)
        target_ids = np.concatenate(targets).astype(np.int64)
        # The decoder reads each target one token late, after its start token.
        shifted = np.roll(target_ids, 1)
        shifted[bounds[:-1]] = self.start_token_id
        tensors = {
            "questions": np.concatenate(questions).astype(np.int64),
            "question_bounds": question_bounds,
            "shifted": shifted,
            "targets": target_ids,
            "bounds": bounds,
        }
        tokens = int(question_bounds[-1] + bounds[-1])
        return Batch({name: torch.from_numpy(array) for name, array in tensors.items()}, {}, tokens)


class ChatTaskEncoder:
    """Chat rows for a decoder: the user asks, the assistant says the target."""

    def __init__(
        self, tokenizer: Tokenizer, chat_format: ChatFormat, max_length: int | None, truncation: str
    ) -> None:
        self._encoder = Encoder(tokenizer, chat_format, max_length, truncation)

    @property
    def cut(self) -> int:
        """Number of targets that were truncated."""
        return self._encoder.cut

    def encode(self, pairs: Sequence[tuple[str, str]]) -> list[Encoded | RowError]:
        """Return prompts and targets in tokens, or why a pair is left out."""
        chats = [
            [{"role": "user", "content": question}, {"role": "assistant", "content": target}]
            for question, target in pairs
        ]
        return [
            chat if isinstance(chat, RowError) else _split_chat(chat)
            for chat in self._encoder.encode_messages(chats)
        ]

    def batch(self, tasks: Sequence[Task]) -> Batch:
        """Return tensors as `document_batch` does."""
        ids = [np.concatenate([task.prompt, task.target]) for task in tasks]
        masks = [np.arange(row.size) >= task.prompt.size for row, task in zip(ids, tasks, strict=True)]
        return document_batch(ids, masks, [np.array([0, row.size]) for row in ids])


def _split_chat(chat: Any) -> Encoded | RowError:
    """Split a chat row where the loss mask begins."""
    spans = spans_of(chat.mask)
    start, end = spans[0][0], spans[-1][1]
    # A prompt and one target is all that an objective of two texts can use.
    if len(spans) > 1 or start == 0:
        return RowError("no plain answer", "the chat format's loss mask has several segments")
    return chat.ids[:start], chat.ids[start:end]


def _bounds(texts: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
    return np.cumsum([0, *(text.size for text in texts)], dtype=np.int32)


@dataclass(slots=True)
class RationaleDataset:
    """The rows as items, each with a task for every part that the row has.

    Attributes:
        weights: the weight of each part of the loss, by name.
        encoder: encodes and batches the tasks.
        places: where each item's row stands.
        items: the tasks of each row.
        part_ledgers: what became of all rows in each part.
        ledger: what became of the rows themselves.
        files: name and SHA-256 of each input file.
    """

    weights: dict[str, float]
    encoder: TaskEncoder
    places: list[Location] = field(default_factory=list)
    items: list[list[Task]] = field(default_factory=list)
    part_ledgers: dict[str, Ledger] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    files: list[dict[str, Any]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def parts(self) -> list[str]:
        """The names of the parts; a task has an index into them."""
        return list(self.weights)

    @property
    def tokens(self) -> int:
        """Number of tokens in all questions and targets."""
        return sum(task.prompt.size + task.target.size for tasks in self.items for task in tasks)

    def describe_item(self, item: int) -> str:
        """Return the place of an item's row."""
        return str(self.places[item])

    def batch(self, items: Sequence[int]) -> Batch:
        """Return the rows' tasks, ordered by part: its targets are one segment.

        The tensor `sizes`, of shape `(parts,)`, has the lengths of these segments.
        """
        # sorted() is stable: equal parts stay in the rows' order, which makes batches reproducible.
        tasks = sorted((task for item in items for task in self.items[item]), key=lambda task: task.part)
        batch = self.encoder.batch(tasks)
        parts = self.parts
        batch.counts = dict.fromkeys(parts, 0)
        for task in tasks:
            batch.counts[parts[task.part]] += task.target.size
        batch.tensors["sizes"] = torch.tensor(list(batch.counts.values()))
        return batch


def encode_tasks(rows: RationaleRows, weights: Mapping[str, float], encoder: TaskEncoder) -> RationaleDataset:
    """Encode rows; leave out parts that are too long, and rows without any part."""
    dataset = RationaleDataset(dict(weights), encoder, ledger=Ledger(rows_in=len(rows.rows)))
    dataset.part_ledgers = {part: rows.ledger(part) for part in weights}
    # Batches of rows: tokenizers encode many texts at once much faster than one at a time.
    for start in range(0, len(rows.rows), _ROWS_AT_ONCE):
        batch = rows.rows[start : start + _ROWS_AT_ONCE]
        for row, tasks in zip(batch, _encode_batch(batch, dataset), strict=True):
            if tasks:
                dataset.places.append(row.where)
                dataset.items.append(tasks)
    dataset.ledger.rows_out = len(dataset.items)
    dataset.ledger.drop_all(Counter({"nothing to say": len(rows.rows) - len(dataset.items)}))
    for ledger in (dataset.ledger, *dataset.part_ledgers.values()):
        ledger.check()
    return dataset


def _encode_batch(batch: Sequence[RationaleRow], dataset: RationaleDataset) -> list[list[Task]]:
    """Return the tasks of each row."""
    wanted = [
        (index, part, name)
        for index, row in enumerate(batch)
        for part, name in enumerate(dataset.weights)
        if name in row.targets
    ]
    pairs = [
        (prefix_of(part) + batch[index].question, batch[index].targets[name]) for index, part, name in wanted
    ]
    tasks: list[list[Task]] = [[] for _ in batch]
    encoded = dataset.encoder.encode(pairs) if pairs else []
    for (index, part, name), pair in zip(wanted, encoded, strict=True):
        if isinstance(pair, RowDropped):
            dataset.part_ledgers[name].rows_out -= 1
            dataset.part_ledgers[name].drop(pair.reason)
        elif isinstance(pair, RowError):
            raise InputError(batch[index].where, f"{name}: {pair}")
        else:
            prompt, target = (np.array(ids, dtype=np.int32) for ids in pair)
            tasks[index].append(Task(part, prompt, target))
    return tasks
