"""The teacher/student file: the same questions and rationales in the ids of a student and its teachers.

A PyTorch file that plain ``torch.load(path)`` opens::

    {"student_inputs": [{"input_ids": LongTensor[L], "attention_mask": LongTensor[L],
                         "rationale_ids": LongTensor[R], "rationale_attention_mask": LongTensor[R],
                         "correct_index": int}, …],
     "teacher_inputs": {"llemma": [… the same keys …], "gptneo": […]}}

All lists are aligned. The tensors of a column are views of one storage, and masks of one length are one
tensor, so copy a tensor before you change it in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.errors import InputError, MissingDependencyError, RowDropped, RowError, UsageError
from dataprep.core.ledger import Ledger
from dataprep.core.records import CHOICE_USER, Example, letter_place
from dataprep.datasets import examples as example_files
from dataprep.datasets import registry as converters
from dataprep.datasets import source_rows
from dataprep.datasets.templates import compile_text
from dataprep.tokens.chats import pad_id
from dataprep.tokens.tokenizers import loading as tokenizers
from dataprep.tokens.truncation import TRUNCATIONS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataprep.tokens.tokenizers.base import Tokenizer

PADS = ("none", "max")
FIELDS = ("input_ids", "rationale_ids")


class Texts(NamedTuple):
    """What is encoded of a row: question with options, a rationale for each tokenizer, the answer's place."""

    question: str
    rationales: tuple[str, ...]
    correct: int


class Ids(NamedTuple):
    """A row in the ids of one tokenizer, without padding."""

    input_ids: list[int]
    rationale_ids: list[int]
    correct_index: int


class Pair(NamedTuple):
    """A row in the ids of the student and of each teacher."""

    student: Ids
    teachers: dict[str, Ids]


@dataclass(slots=True)
class Paired:
    """What ``tokenize_pairs`` did.

    Attributes:
        ledger: the rows.
        cut: how many texts were cut, by field.
    """

    ledger: Ledger
    cut: dict[str, int]


def tokenize_pairs(
    source: str | Path,
    output: str | Path,
    *,
    student: str | Path | Tokenizer,
    teachers: Mapping[str, str | Path | Tokenizer],
    dataset: str | None = None,
    max_length: int = 256,
    truncation: str = "truncate",
    pad: str = "none",
    workers: int | None = 1,
    rejects: str | Path | files.Rejects | None = None,
    progress: Callable[[int], None] | None = None,
) -> Paired:
    """Turn multiple-choice Examples into a teacher/student file.

    A teacher's rationale is its own where the row has one, else the gold one; the student's is the gold one,
    else that of the first teacher that has one.

    Args:
        source: Examples, or raw rows of ``dataset``.
        output: the file.
        student: its tokenizer, or where that lies.
        teachers: the same by teacher, in the order of the file.
        dataset: the converter that reads raw rows.
        max_length: tokens that a text may have.
        truncation: what becomes of longer ones: ``"truncate"`` keeps the beginning, ``"drop"`` leaves the row
            out, ``"error"`` makes it a bad row.
        pad: ``"none"``, or ``"max"`` to fill all up to ``max_length``.
        workers: processes; ``None`` takes every core where the input is large enough to gain by it.
        rejects: where bad rows go; without it the first one raises.
        progress: called with the bytes that were read since the last call.

    Raises:
        InputError: a row is no multiple-choice Example with its answer and a rationale.
        TokenizerError: a tokenizer is damaged.
        UsageError: there is no teacher, or an option cannot be served.
        FileError: a file cannot be read or written.
    """
    _check_options(teachers, max_length, truncation, pad)
    path = str(source)
    files.check_distinct(rejects if not isinstance(rejects, files.Rejects) else None, [output], [path])
    files.check_apart([output], [path])
    files.check_input(path)
    torch = _torch()
    loaded = [
        tokenizers.load_tokenizer(each) if isinstance(each, str | Path) else each
        for each in (student, *teachers.values())
    ]
    operator = Rows(loaded, tuple(teachers), dataset, max_length, truncation)
    ledger = Ledger()
    with files.open_rejects(rejects) as bad:
        columns, cut = _gather(operator, path, ledger, bad, engine.workers_for([path], workers), progress)
        ledger.check()
        width = max_length if pad == "max" else 0
        pads = [pad_id(each) for each in loaded]
        del operator, loaded  # saving takes the most memory, and needs neither these nor the columns
        correct = columns.pop()[0]
        lists = [_entries(torch, columns.pop(0), correct, width, max_length, each) for each in pads]
        _save(torch, _file_of(lists, list(teachers)), str(output))
    return Paired(ledger, cut)


def _check_options(teachers: Mapping[str, Any], max_length: int, truncation: str, pad: str) -> None:
    if not teachers:
        raise UsageError("there is no teacher: give --teacher NAME=PATH, once for each")
    for flag, value, known in (("--truncation", truncation, TRUNCATIONS), ("--pad", pad, PADS)):
        if value not in known:
            raise UsageError(f"{flag} {value}: expected one of {', '.join(known)}")
    if max_length < 1:
        raise UsageError(f"--max-length {max_length}: expected 1 or more tokens")


def read_pairs(path: str | Path) -> Iterator[Pair]:
    """The rows of a teacher/student file, each in the ids of the student and its teachers, without padding.

    Raises:
        FileError: the file cannot be read.
        InputError: it is no teacher/student file, or its lists are not aligned.
    """
    torch = _torch()
    files.check_input(str(path))
    try:
        content = torch.load(str(path))
    except Exception as error:  # noqa: BLE001 - whatever a damaged file does to its reader
        raise InputError(path, f"no PyTorch file, or damaged: {str(error).splitlines()[0]}") from None
    try:
        student, teachers = content["student_inputs"], content["teacher_inputs"]
        counts = {len(student), *map(len, teachers.values())}
        if len(counts) > 1:
            raise InputError(path, f"its lists are not aligned: found {sorted(counts)} entries")
        for number, entry in enumerate(student):
            yield Pair(_ids(entry), {name: _ids(listed[number]) for name, listed in teachers.items()})
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(path, f"no teacher/student file: it lacks {error}") from None


def _ids(entry: Mapping[str, Any]) -> Ids:
    question = entry["input_ids"][entry["attention_mask"].bool()].tolist()
    rationale = entry["rationale_ids"][entry["rationale_attention_mask"].bool()].tolist()
    return Ids(question, rationale, entry["correct_index"])


@dataclass(frozen=True, slots=True)
class Encoded:
    """The rows of a block in the ids of all tokenizers.

    Attributes:
        columns: for each tokenizer and field, ids of all rows and how many each row has; and last the places
            of the answers.
        cut: number of truncated texts, by field.
    """

    columns: list[tuple[NDArray[Any], ...]]
    cut: dict[str, int]


class Rows:
    """The row operator: blocks of Examples to ids in all tokenizers; picklable."""

    def __init__(
        self,
        loaded: Sequence[Tokenizer],
        teachers: tuple[str, ...],
        dataset: str | None,
        max_length: int,
        truncation: str,
    ) -> None:
        self.tokenizers = loaded
        self.teachers = teachers
        self.dataset = dataset
        self.max_length = max_length
        self.truncation = truncation

    def __call__(self, block: files.Block) -> engine.Outcome:
        """Return a block's rows in ids, as an ``Encoded`` payload."""
        read = engine.read_block(block, self.read)
        found = read.settle(self.encode(read.rows))
        cut = dict.fromkeys(FIELDS, 0)
        columns: list[tuple[NDArray[Any], ...]] = []
        for number in range(len(self.tokenizers)):
            parts: list[NDArray[Any]] = []
            for place, name in enumerate(FIELDS):
                texts = [ids[number][place] for _, ids in found]
                cut[name] += sum(len(each) > self.max_length for each in texts)
                texts = [each[: self.max_length] for each in texts]
                parts.append(np.array([number for each in texts for number in each], dtype=np.uint32))
                parts.append(np.array([len(each) for each in texts], dtype=np.uint32))
            columns.append(tuple(parts))
        columns.append((np.array([texts.correct for texts, _ in found], dtype=np.uint8),))
        read.outcome.payload = Encoded(columns, cut)
        return read.outcome

    def read(self, row: dict[str, Any]) -> Texts:
        """What is encoded of a row.

        Raises:
            RowError: it is no Example with choices, an answer and a rationale.
            RowDropped: the converter leaves it out.
        """
        return texts_of(example_files.example_of(row, self.dataset), self.teachers)

    def encode(self, rows: list[Texts]) -> list[tuple[Texts, list[tuple[list[int], list[int]]]] | RowError]:
        """Each row with question and rationale in the ids of each tokenizer, or why it is left out."""
        try:
            found = self._together(rows)
        except RowError as error:
            if len(rows) == 1:
                return [error]
            return [self.encode([row])[0] for row in rows]
        longest = [max(max(map(len, each)) for each in ids) for ids in found]
        return [
            (texts, ids) if self.truncation == "truncate" or most <= self.max_length else self._too_long(most)
            for texts, ids, most in zip(rows, found, longest, strict=True)
        ]

    def _together(self, rows: list[Texts]) -> list[list[tuple[list[int], list[int]]]]:
        columns = []
        for number, tokenizer in enumerate(self.tokenizers):
            questions = tokenizer.encode_batch([row.question for row in rows])
            rationales = tokenizer.encode_batch([row.rationales[number] for row in rows])
            columns.append(list(zip(questions, rationales, strict=True)))
        return [list(each) for each in zip(*columns, strict=True)]

    def _too_long(self, most: int) -> RowError:
        found = f"found a text of {most:,} tokens; expected at most {self.max_length:,}"
        if self.truncation == "drop":
            return RowDropped("too long", found)
        return RowError(
            "too long", f"{found}: drop such rows or cut their texts (--truncation), or allow more"
        )


_QUESTION = compile_text(CHOICE_USER)


def texts_of(example: Example, teachers: Sequence[str]) -> Texts:
    """What is encoded of an Example, for the student and then each teacher.

    Raises:
        RowError: it lacks choices, an answer or a rationale.
    """
    if not example.choices:
        raise RowError("no choices", "expected a multiple-choice Example; raw rows need --dataset NAME")
    if example.answer_label is None:
        raise RowError("no gold answer", "expected the answer's letter or text")
    own = example.rationales or {}
    theirs = [own.get(name, "").strip() for name in teachers]
    gold = example.solution or next(filter(None, theirs), None)
    if gold is None or (example.solution is None and not all(theirs)):
        lacking = [name for name, text in zip(teachers, theirs, strict=True) if not text]
        raise RowError("no rationale", f"expected a solution, or rationales of {', '.join(lacking)}")
    question = _QUESTION(example)
    assert question is not None
    return Texts(question, (gold, *(text or gold for text in theirs)), letter_place(example.answer_label))


def _gather(
    operator: Rows,
    path: str,
    ledger: Ledger,
    bad: files.Rejects,
    workers: int,
    progress: Callable[[int], None] | None,
) -> tuple[list[tuple[NDArray[Any], ...]], dict[str, int]]:
    """All rows' columns, and how many texts were cut."""
    parts: list[list[tuple[NDArray[Any], ...]]] = []
    cut = dict.fromkeys(FIELDS, 0)
    converter = None if operator.dataset is None else converters.load(operator.dataset)
    blocks = source_rows.blocks(path, converter)

    def take(_: files.Block, outcome: engine.Outcome) -> None:
        encoded: Encoded = outcome.payload
        ledger.rows_out += outcome.rows_out
        parts.append(encoded.columns)
        for name, count in encoded.cut.items():
            cut[name] += count

    engine.run_into(
        blocks, operator, None, ledger, bad, paths=[path], workers=workers, take=take, progress=progress
    )
    columns = [
        tuple(np.concatenate(arrays) for arrays in zip(*pieces, strict=True))
        for pieces in zip(*parts, strict=True)
    ]
    return columns, cut


def _entries(
    torch: Any, column: tuple[NDArray[Any], ...], correct: NDArray[Any], width: int, longest: int, pad: int
) -> list[dict[str, Any]]:
    """The entries of one tokenizer. ``width`` is the length that all are filled up to; 0 for none."""
    ids, lengths, rationale_ids, rationale_lengths = column
    ones = torch.cat([torch.ones(longest, dtype=torch.int64), torch.zeros(width, dtype=torch.int64)])
    masks = [ones[longest - each :][: width or each] for each in range(longest + 1)]
    columns = zip(
        _views(torch, ids, lengths, width, pad),
        lengths.tolist(),
        _views(torch, rationale_ids, rationale_lengths, width, pad),
        rationale_lengths.tolist(),
        correct.tolist(),
        strict=True,
    )
    return [
        {
            "input_ids": question,
            "attention_mask": masks[length],
            "rationale_ids": rationale,
            "rationale_attention_mask": masks[rationale_length],
            "correct_index": index,
        }
        for question, length, rationale, rationale_length, index in columns
    ]


def _views(torch: Any, ids: NDArray[Any], lengths: NDArray[Any], width: int, pad: int) -> Any:
    """A tensor a row, all of them views of one storage."""
    if not width:
        return torch.from_numpy(ids.astype(np.int64)).split(lengths.tolist())
    filled = np.full((lengths.size, width), pad, dtype=np.int64)
    filled[np.arange(width) < lengths[:, None]] = ids
    return torch.from_numpy(filled).unbind(0)


def _file_of(lists: list[list[dict[str, Any]]], teachers: list[str]) -> dict[str, Any]:
    return {"student_inputs": lists[0], "teacher_inputs": dict(zip(teachers, lists[1:], strict=True))}


def _save(torch: Any, content: dict[str, Any], output: str) -> None:
    with files.open_output(output, files.Format("jsonl", "")) as out:  # bytes as they are
        if out.direct is None:
            raise UsageError(f"{output}: a teacher/student file needs a place on disk; give -o PATH.pt")
        with files.writing(output), open(out.direct, "wb") as stream:
            try:
                torch.save(content, stream)
            except (
                RuntimeError
            ) as error:  # its archive, which cannot be ended either: a full disk is behind it
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise MissingDependencyError("torch", "train", "the teacher/student file") from None
    return torch
