"""Questions and targets in tokens, and batches of them.

Rows with teachers' rationales as what a student is asked and what it is to say, part by part.

The wording of questions and the first three prefixes are those of TinyLLM's published trainer
(Tian et al., "Beyond Answers", arXiv 2402.04616).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch

from dataprep.answers.quality import KEEPABLE
from dataprep.core import io as files
from dataprep.core.errors import InputError, Location, RowDropped, RowError, UsageError, located
from dataprep.core.ledger import Ledger
from dataprep.core.records import Example, describe
from dataprep.datasets.templates import FIELDS
from dataprep.tokens.encoder import Encoder
from dataprep.tokens.truncation import spans_of
from dataprep.train.objective import Batch
from dataprep.train.objectives.documents import document_batch
from dataprep.train.options import TrainOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataprep.tokens.formats.base import ChatFormat
    from dataprep.tokens.tokenizers.base import Tokenizer

ANSWER = "answer"
"""The part of the loss that is the answers'; the others are called as their teachers are."""

_PREFIXES = ("predict: ", "explain: ", "rationale: ")


def prefix_of(part: int) -> str:
    """What a question begins with, for the answer (0), the first teacher (1), the second, and so on."""
    return _PREFIXES[part] if part < len(_PREFIXES) else f"rationale {part}: "


def question_of(example: Example) -> str:
    """The question as the student reads it, after the prefix: its context, itself and its lettered choices.

    Raises:
        RowError: it has more choices than there are letters.
    """
    choices = FIELDS["choices"](example)
    pieces = (example.context, example.question, "Answer Choices:" if choices else None, choices)
    return "\n".join(piece for piece in pieces if piece)


@dataclass(slots=True)
class Row:
    """One row.

    Attributes:
        where: its place, such as ``arc.jsonl:17``.
        question: as the student reads it, without a prefix.
        targets: what the student is to say, by part; parts that it lacks are not there.
        lacking: why a part is not there, by part.
    """

    where: Location
    question: str
    targets: dict[str, str]
    lacking: dict[str, str]


@dataclass(slots=True)
class Rows:
    """The rows of some files.

    Attributes:
        rows: in their order.
        teachers: the teachers' names, as they first occur.
    """

    rows: list[Row] = field(default_factory=list)
    teachers: list[str] = field(default_factory=list)

    def ledger(self, part: str) -> Ledger:
        """What became of all rows in one part of the loss."""
        reasons = Counter(row.lacking.get(part, "missing") for row in self.rows if part not in row.targets)
        ledger = Ledger(len(self.rows), sum(part in row.targets for row in self.rows), Counter(reasons))
        ledger.check()
        return ledger


def check_statuses(kept: Collection[str]) -> None:
    """Raise ``UsageError`` where one of the statuses to keep is none of a rationale with a text."""
    for status in kept:
        if status not in KEEPABLE:
            known = ", ".join(KEEPABLE)
            raise UsageError(f"--keep-status {status}: a rationale with a text is one of {known}")


def read_rows(paths: Iterable[str], kept: Collection[str]) -> Rows:
    """The rows of files, with the rationales whose status is kept; one without a status counts as ``ok``.

    Raises:
        InputError: a row has no question, or a field of the wrong type.
        FileError: a file cannot be read.
    """
    found = Rows()
    for path in paths:
        for where, raw in files.read_rows(path):
            with located(where):
                row, teachers = _row_of(raw, where, kept)
            found.rows.append(row)
            found.teachers += [name for name in teachers if name not in found.teachers]
    if not found.rows:
        raise InputError(", ".join(paths), "the file is empty; expected rows with rationales")
    if ANSWER in found.teachers:
        name = f"a teacher is called {ANSWER!r}, as the part of the loss that is the answers'"
        raise InputError(", ".join(paths), f"{name}: give it another name")
    return found


def _row_of(raw: Mapping[str, Any], where: Location, kept: Collection[str]) -> tuple[Row, list[str]]:
    example = Example.from_json(raw)
    statuses = raw.get("status") or {}
    if not isinstance(statuses, Mapping):
        raise RowError("field 'status' is not an object", f"found {describe(statuses)}")
    row = Row(where, question_of(example), {}, {})
    if example.answer:
        row.targets[ANSWER] = example.answer
    else:
        row.lacking[ANSWER] = "no answer"
    rationales = example.rationales or {}
    teachers = list(dict.fromkeys((*rationales, *statuses)))
    for teacher in teachers:
        text = rationales.get(teacher, "").strip()
        status = statuses.get(teacher) or ("ok" if text else "missing")
        if not text or status not in kept:
            row.lacking[teacher] = f"status: {status}" if status != "ok" else "empty"
        else:
            row.targets[teacher] = text
    return row, teachers


def weights_of(options: TrainOptions, teachers: Sequence[str]) -> dict[str, float]:
    """The weight of each part of the loss, 1 where no option gives another.

    Raises:
        UsageError: a teacher is not in the data, or is given two weights; or every weight is 0.
    """
    known = ", ".join(teachers) or "none"
    weights = dict.fromkeys(teachers, 1.0)
    for name, weight in options.teacher_weights.items():
        if name not in weights:
            raise UsageError(f"--teacher-weight {name}: no such teacher in the data; it has {known}")
        weights[name] = weight
    for number, (flag, given) in enumerate((("--alpha", options.alpha), ("--beta", options.beta))):
        if given is None:
            continue
        if number >= len(teachers):
            ordinal = ("first", "second")[number]
            raise UsageError(f"{flag} is the {ordinal} teacher's weight; the data's teachers: {known}")
        if teachers[number] in options.teacher_weights:
            raise UsageError(f"{flag} and --teacher-weight both weigh {teachers[number]}: give one of them")
        weights[teachers[number]] = given
    weights = {ANSWER: options.gamma, **weights}
    if not any(weights.values()):
        raise UsageError(f"every weight is 0: there is nothing to learn; the data's teachers: {known}")
    return weights


AT_ONCE = 1000


class Piece(NamedTuple):
    """One part of one row in tokens: what the student reads, and what it is to say."""

    part: int
    prompt: NDArray[np.int32]
    target: NDArray[np.int32]


class Side(Protocol):
    """How one kind of student is given its pieces."""

    @property
    def cut(self) -> int:
        """Texts that were cut since it was made."""

    def encode(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[list[int], list[int]] | RowError]:
        """Prompts and targets in tokens, or why a pair is left out."""

    def batch(self, pieces: Sequence[Piece]) -> Batch:
        """The pieces in one row, in their order; its counts are filled in by the caller."""


class EncoderDecoderSide:
    """Prompts for an encoder and targets for a decoder; both end with the token that ends a text.

    Args:
        tokenizer: the student's.
        end_id: the token that ends a text.
        start_id: what the decoder reads first.
        max_length: tokens that a prompt or a target may have, its end among them.
        truncation: ``error``, ``drop`` or ``truncate``; a target that is cut has no end, which would teach to
            stop in the middle of it.
    """

    def __init__(
        self, tokenizer: Tokenizer, end_id: int, start_id: int, max_length: int | None, truncation: str
    ) -> None:
        self.tokenizer, self.end_id, self.start_id = tokenizer, end_id, start_id
        self.max_length, self.truncation = max_length, truncation
        self.cut = 0

    def encode(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[list[int], list[int]] | RowError]:
        """Prompts and targets in tokens, or why a pair is left out."""
        texts = [text for pair in pairs for text in pair]
        try:
            ids = self.tokenizer.encode_batch(texts)
        except RowError as error:
            if len(pairs) == 1:
                return [error]
            return [self.encode([pair])[0] for pair in pairs]
        return [self._fitted(*each) for each in zip(ids[::2], ids[1::2], strict=True)]

    def _fitted(self, prompt: list[int], target: list[int]) -> tuple[list[int], list[int]] | RowError:
        prompt, target = [*prompt, self.end_id], [*target, self.end_id]
        limit = self.max_length
        if limit is None or max(len(prompt), len(target)) <= limit:
            return prompt, target
        what = "question" if len(prompt) > limit else "target"
        found = f"found {max(len(prompt), len(target)):,} in the {what}; expected at most {limit:,}"
        if self.truncation == "drop":
            return RowDropped("too many tokens", found)
        if self.truncation == "error":
            return RowError("too many tokens", f"{found}: drop or truncate such texts, or allow more")
        self.cut += (len(prompt) > limit) + (len(target) > limit)
        if len(prompt) > limit:
            prompt = [*prompt[: limit - 1], self.end_id]
        return prompt, target[:limit]

    def batch(self, pieces: Sequence[Piece]) -> Batch:
        """Tensors as ``PackedPairs`` reads them."""
        questions = [piece.prompt for piece in pieces]
        targets = [piece.target for piece in pieces]
        bounds, question_bounds = _bounds(targets), _bounds(questions)
        together = np.concatenate(targets).astype(np.int64)
        shifted = np.roll(together, 1)
        shifted[bounds[:-1]] = self.start_id
        tensors = {
            "questions": np.concatenate(questions).astype(np.int64),
            "question_bounds": question_bounds,
            "shifted": shifted,
            "targets": together,
            "bounds": bounds,
        }
        tokens = int(question_bounds[-1] + bounds[-1])
        return Batch({name: torch.from_numpy(each) for name, each in tensors.items()}, {}, tokens)


class DecoderSide:
    """Chat rows for a decoder: the user asks with the prefix, the assistant says the target."""

    def __init__(
        self, tokenizer: Tokenizer, chat_format: ChatFormat, max_length: int | None, truncation: str
    ) -> None:
        self._encoder = Encoder(tokenizer, chat_format, max_length, truncation)

    @property
    def cut(self) -> int:
        """Targets that were cut."""
        return self._encoder.cut

    def encode(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[list[int], list[int]] | RowError]:
        """Prompts and targets in tokens, or why a pair is left out."""
        chats = [
            [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
            for asked, said in pairs
        ]
        found: list[tuple[list[int], list[int]] | RowError] = []
        for each in self._encoder.encode_messages(chats):
            if isinstance(each, RowError):
                found.append(each)
                continue
            spans = spans_of(each.mask)
            start, end = spans[0][0], spans[-1][1]
            if len(spans) > 1 or start == 0:
                found.append(RowError("no plain answer", "the chat format trains on several stretches"))
            else:
                found.append((each.ids[:start], each.ids[start:end]))
        return found

    def batch(self, pieces: Sequence[Piece]) -> Batch:
        """Tensors as ``Documents.batch`` gives them."""
        ids = [np.concatenate([piece.prompt, piece.target]) for piece in pieces]
        masks = [np.arange(each.size) >= piece.prompt.size for each, piece in zip(ids, pieces, strict=True)]
        return document_batch(ids, masks, [np.array([0, each.size]) for each in ids])


def _bounds(texts: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
    return np.cumsum([0, *(text.size for text in texts)], dtype=np.int32)


@dataclass(slots=True)
class Pieces:
    """The training set: one item a row, with as many pieces as it has parts.

    Attributes:
        parts: the names of the parts of the loss.
        side: how the student is given its pieces.
        places: where each item's row stands.
        items: the pieces of each.
        ledgers: what became of all rows in each part.
        rows: what became of the rows themselves.
    """

    parts: tuple[str, ...]
    side: Side
    places: list[Location] = field(default_factory=list)
    items: list[list[Piece]] = field(default_factory=list)
    ledgers: dict[str, Ledger] = field(default_factory=dict)
    rows: Ledger = field(default_factory=Ledger)

    def __len__(self) -> int:
        return len(self.items)

    def where(self, item: int) -> str:
        """The row that an item is."""
        return str(self.places[item])

    def batch(self, items: Sequence[int]) -> Batch:
        """The rows' pieces, part by part, so that each part's targets are one stretch.

        Tensors: those of the student's kind, and ``sizes`` of shape ``(parts,)``, the stretches' lengths.
        """
        pieces = sorted((piece for item in items for piece in self.items[item]), key=lambda piece: piece.part)
        made = self.side.batch(pieces)
        made.counts = dict.fromkeys(self.parts, 0)
        for piece in pieces:
            made.counts[self.parts[piece.part]] += piece.target.size
        made.tensors["sizes"] = torch.tensor([made.counts[part] for part in self.parts])
        return made

    @property
    def tokens(self) -> int:
        """All tokens, of questions and targets."""
        return sum(piece.prompt.size + piece.target.size for pieces in self.items for piece in pieces)


def pieces_of(rows: Rows, parts: Sequence[str], side: Side) -> Pieces:
    """Rows in tokens; a part that is too long is left out, and a row that has no part.

    Raises:
        InputError: a text is too long, or no valid Unicode.
    """
    made = Pieces(tuple(parts), side, rows=Ledger(rows_in=len(rows.rows)))
    made.ledgers = {part: rows.ledger(part) for part in parts}
    for start in range(0, len(rows.rows), AT_ONCE):
        some = rows.rows[start : start + AT_ONCE]
        wanted = [(row, part, name) for row in some for part, name in enumerate(parts) if name in row.targets]
        pairs = [(prefix_of(part) + row.question, row.targets[name]) for row, part, name in wanted]
        found: dict[int, list[Piece]] = {id(row): [] for row in some}
        for (row, part, name), each in zip(wanted, side.encode(pairs) if pairs else [], strict=True):
            if isinstance(each, RowDropped):
                made.ledgers[name].rows_out -= 1
                made.ledgers[name].drop(each.reason)
            elif isinstance(each, RowError):
                raise InputError(row.where, f"{name}: {each}")
            else:
                prompt, target = (np.array(ids, dtype=np.int32) for ids in each)
                found[id(row)].append(Piece(part, prompt, target))
        kept = [row for row in some if found[id(row)]]
        made.places += [row.where for row in kept]
        made.items += [found[id(row)] for row in kept]
    made.rows.rows_out = len(made.items)
    made.rows.drop_all(Counter({"nothing to say": len(rows.rows) - len(made.items)}))
    for ledger in (made.rows, *made.ledgers.values()):
        ledger.check()
    return made
