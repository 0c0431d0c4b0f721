"""Rows with rationales: questions, targets by part of the loss, weights, and their dataset in tokens.

The wording of questions and the first three prefixes are those of TinyLLM's published trainer (Tian et al.,
"Beyond Answers", arXiv 2402.04616).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from dataprep.answers.quality import KEEPABLE
from dataprep.answers.rationale import CUE
from dataprep.core.conversations import find_ignored
from dataprep.core.errors import InputError, Location, RowDropped, RowError, UsageError
from dataprep.core.io import Rejects
from dataprep.core.ledger import Ledger
from dataprep.core.records import Example, describe
from dataprep.datasets.templates import question_of
from dataprep.tokens.encoder import Encoder
from dataprep.tokens.options import spans_of
from dataprep.train.objective import Batch, read_with
from dataprep.train.objectives.sft import document_batch
from dataprep.train.options import TrainOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataprep.tokens.formats.base import ChatFormat
    from dataprep.tokens.tokenizers.base import Tokenizer

# The part of the loss for answers; the other parts have their teachers' names.
ANSWER = "answer"
_PREFIXES = ("predict: ", "explain: ", "rationale: ")
_ROWS_AT_ONCE = 1000


def prefix_of(part: int) -> str:
    """Return the prefix of a question for a part: 0 for the answer, then teachers."""
    return _PREFIXES[part] if part < len(_PREFIXES) else f"rationale {part}: "


@dataclass(slots=True)
class RationaleRow:
    """One row."""

    where: Location
    question: str
    targets: dict[str, str]
    missing: dict[str, str]
    text: bytes = b""


@dataclass(slots=True)
class RationaleRows:
    """The rows of some files."""

    rows: list[RationaleRow] = field(default_factory=list)
    teachers: list[str] = field(default_factory=list)
    # All rows, with those that could not be read; and where further bad rows go.
    read: Ledger = field(default_factory=Ledger)
    rejects: Rejects = field(default_factory=lambda: Rejects(None))

    def unused(self, part: str) -> int:
        """Return the number of rationales of a teacher that are left out for their status."""
        with_text = {f"status: {status}" for status in KEEPABLE}
        return sum(row.missing.get(part) in with_text for row in self.rows)

    def ledger(self, part: str) -> Ledger:
        """Return what became of all rows in one part of the loss."""
        reasons = Counter(row.missing.get(part, "missing") for row in self.rows if part not in row.targets)
        ledger = Ledger(len(self.rows), sum(part in row.targets for row in self.rows), Counter(reasons))
        ledger.check()
        return ledger


def read_rows(paths: Iterable[str], kept: Collection[str], rejects: Rejects | None = None) -> RationaleRows:
    """Read rows with the rationales whose status is kept; the default is `ok`."""
    found = RationaleRows(rejects=rejects or Rejects(None))

    def read(where: Location, raw: dict[str, Any], text: bytes) -> tuple[RationaleRow, list[str]]:
        return _parse_row(raw, where, kept, text)

    for row, teachers in read_with(read, paths, found.rejects, found.read):
        found.rows.append(row)
        found.teachers += [name for name in teachers if name not in found.teachers]
    if not found.rows:
        found_none = "no row could be read" if found.read.rows_in else "the file is empty"
        raise InputError(", ".join(paths), f"{found_none}; expected rows with rationales")
    if ANSWER in found.teachers:
        name = f"a teacher is called {ANSWER!r}, as the part of the loss for answers"
        raise InputError(", ".join(paths), f"{name}: give it another name")
    return found


def _parse_row(
    raw: Mapping[str, Any], where: Location, kept: Collection[str], text: bytes
) -> tuple[RationaleRow, list[str]]:
    for finding in find_ignored(raw, learned=True):
        raise RowError(*finding)
    example = Example.from_json(raw)
    statuses = raw.get("status") or {}
    if not isinstance(statuses, Mapping):
        raise RowError("field 'status' is not an object", f"found {describe(statuses)}")
    row = RationaleRow(where, question_of(example), {}, {}, text)
    if example.answer:
        row.targets[ANSWER] = example.answer
    else:
        row.missing[ANSWER] = "no answer"
    rationales = example.rationales or {}
    # A teacher whose rationale failed can be in `status` only.
    teachers = list(dict.fromkeys((*rationales, *statuses)))
    for teacher in teachers:
        said = rationales.get(teacher, "").strip()
        status = statuses.get(teacher) or ("ok" if said else "missing")
        if not isinstance(status, str):
            raise RowError(f"the status of {teacher!r} is not a text", f"found {describe(status)}")
        if not said or status not in kept:
            row.missing[teacher] = f"status: {status}" if status != "ok" else "empty"
        else:
            row.targets[teacher] = said
    return row, teachers


def weights_of(options: TrainOptions, teachers: Sequence[str]) -> dict[str, float]:
    """Return the weight of each part of the loss; it defaults to 1."""
    known = ", ".join(teachers) or "none"
    # By name first: --alpha and --beta count teachers by their order in the data.
    weights = dict.fromkeys(teachers, 1.0)
    for name, weight in options.teacher_weights.items():
        if name not in weights:
            raise UsageError(f"--teacher-weight {name}: no such teacher in the data; it has {known}")
        weights[name] = weight
    for index, (flag, weight_or_none) in enumerate((("--alpha", options.alpha), ("--beta", options.beta))):
        if weight_or_none is None:
            continue
        if index >= len(teachers):
            ordinal = ("first", "second")[index]
            raise UsageError(f"{flag} is the {ordinal} teacher's weight; the data's teachers: {known}")
        if teachers[index] in options.teacher_weights:
            raise UsageError(f"{flag} and --teacher-weight both weigh {teachers[index]}: give one of them")
        weights[teachers[index]] = weight_or_none
    weights = {ANSWER: options.gamma, **weights}
    if not any(weights.values()):
        raise UsageError(f"every weight is 0: there is nothing to learn; the data's teachers: {known}")
    return weights


class Task(NamedTuple):
    """One part of a row in tokens: index of the part, prompt and target."""

    part: int
    prompt: NDArray[np.int32]
    target: NDArray[np.int32]


# Prompt and target in tokens.
Encoded = tuple[list[int], list[int]]


class PairTaskEncoder:
    """Prompts for an encoder and targets for a decoder; both end a text."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        eos_token_id: int,
        start_token_id: int,
        max_length: int | None,
        truncation: str,
        *,
        max_target_length: int | None = None,
        keep_end: bool = False,
    ) -> None:
        self.tokenizer, self.eos_token_id, self.start_token_id = tokenizer, eos_token_id, start_token_id
        # Of a question, and of a target.
        self.limits = max_length, max_target_length or max_length
        self.truncation, self.keep_end = truncation, keep_end
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
        texts = [*prompt, self.eos_token_id], [*target, self.eos_token_id]
        over = [limit is not None and len(ids) > limit for ids, limit in zip(texts, self.limits, strict=True)]
        if not any(over):
            return texts
        at = over.index(True)
        text, limit = ("question", "target")[at], self.limits[at]
        detail = f"found {len(texts[at]):,} in the {text}; expected at most {limit:,}"
        if self.truncation == "drop":
            return RowDropped("too many tokens", detail)
        if self.truncation == "error":
            return RowError("too many tokens", f"{detail}: drop or truncate such texts, or allow more")
        self.cut += sum(over)
        prompt, target = (ids[:limit] for ids, limit in zip(texts, self.limits, strict=True))
        prompt[-1] = self.eos_token_id
        # By default a truncated target keeps no end: the student would learn to stop in the middle of a text.
        if self.keep_end:
            target[-1] = self.eos_token_id
        return prompt, target

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
        }
        tensors |= {"shifted": shifted, "targets": target_ids, "bounds": bounds}
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
        encoded = self._encoder.encode_messages(chats)
        return [chat if isinstance(chat, RowError) else _split_chat(chat) for chat in encoded]

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


TaskEncoder = PairTaskEncoder | ChatTaskEncoder


def _bounds(texts: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
    return np.cumsum([0, *(text.size for text in texts)], dtype=np.int32)


@dataclass(slots=True)
class RationaleDataset:
    """The rows as items: `items` has their tasks, one for every part that a row has."""

    # Of each part of the loss, by name; a task has an index into them.
    weights: dict[str, float]
    encoder: TaskEncoder
    places: list[Location] = field(default_factory=list)
    items: list[list[Task]] = field(default_factory=list)
    # Rows read, encoded and dropped, for each part of the loss and as a whole.
    part_ledgers: dict[str, Ledger] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    warnings: list[str] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    # By which rows of like length share a batch, if batches are padded.
    lengths: list[int] | None = None
    # True if batches leave out parts of weight 0, which take as long as the others.
    learned_only: bool = False

    def __len__(self) -> int:
        return len(self.items)

    def longest_texts(self) -> list[int]:
        """Return the number of tokens in the longest question and the longest target of each row."""
        return [
            max(task.prompt.size for task in tasks) + max(task.target.size for task in tasks)
            for tasks in self.items
        ]

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
        parts = self.parts
        # sorted() is stable: equal parts stay in the rows' order, which makes batches reproducible.
        tasks = sorted((task for item in items for task in self.items[item]), key=lambda task: task.part)
        if self.learned_only:
            # Rows can have nothing to learn, but a batch needs a task.
            tasks = [task for task in tasks if self.weights[parts[task.part]]] or tasks
        batch = self.encoder.batch(tasks)
        batch.counts = dict.fromkeys(parts, 0)
        for task in tasks:
            batch.counts[parts[task.part]] += task.target.size
        batch.tensors["sizes"] = torch.tensor(list(batch.counts.values()))
        return batch


def encode_tasks(
    rows: RationaleRows, weights: Mapping[str, float], encoder: TaskEncoder, *, cue: bool = False
) -> RationaleDataset:
    """Encode rows; leave out parts that are too long, and rows without any part.

    With ``cue``, the cue that teachers were asked with comes before the rationales of all but the first.
    """
    ledger = Ledger(rows_in=rows.read.rows_in, failed=Counter(rows.read.failed))
    dataset = RationaleDataset(dict(weights), encoder, ledger=ledger)
    dataset.part_ledgers = {part: rows.ledger(part) for part in weights}
    # Batches of rows: tokenizers encode many texts at once much faster than one at a time.
    for start in range(0, len(rows.rows), _ROWS_AT_ONCE):
        batch = [(row, list[Task]()) for row in rows.rows[start : start + _ROWS_AT_ONCE]]
        _encode_batch(batch, dataset, rows.rejects, CUE + "\n" if cue else "")
        dataset.places += [row.where for row, tasks in batch if tasks]
        dataset.items += [tasks for _, tasks in batch if tasks]
    dataset.ledger.rows_out = len(dataset.items)
    left_out = ledger.rows_in - ledger.failed.total() - len(dataset.items)
    dataset.ledger.drop_all(Counter({"nothing to say": left_out}))
    for ledger in (dataset.ledger, *dataset.part_ledgers.values()):
        ledger.check()
    return dataset


def _encode_batch(
    batch: Sequence[tuple[RationaleRow, list[Task]]], dataset: RationaleDataset, rejects: Rejects, cue: str
) -> None:
    """Add the tasks of each row to its list."""
    parts = list(enumerate(dataset.weights))
    wanted = [(*row, *part) for row in batch for part in parts if part[1] in row[0].targets]
    cues = [cue if part > 1 else "" for _, _, part, _ in wanted]
    pairs = [
        (prefix_of(part) + row.question, before + row.targets[name])
        for (row, _, part, name), before in zip(wanted, cues, strict=True)
    ]
    encoded = dataset.encoder.encode(pairs) if pairs else []
    bad: dict[Location, str] = {}
    for (row, _, _, name), pair in zip(wanted, encoded, strict=True):
        if isinstance(pair, RowError) and not isinstance(pair, RowDropped) and row.where not in bad:
            rejects.add(row.where, f"{name}: {pair}", row.text)
            bad[row.where] = pair.reason
            dataset.ledger.fail(pair.reason)
    for (row, tasks, part, name), pair in zip(wanted, encoded, strict=True):
        if row.where in bad:  # with all of its parts
            dataset.part_ledgers[name].rows_out -= 1
            dataset.part_ledgers[name].fail(bad[row.where])
        elif isinstance(pair, RowDropped):
            dataset.part_ledgers[name].rows_out -= 1
            dataset.part_ledgers[name].drop(pair.reason)
        elif not isinstance(pair, RowError):
            prompt, target = (np.array(ids, dtype=np.int32) for ids in pair)
            tasks.append(Task(part, prompt, target))
