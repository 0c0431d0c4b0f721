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
from dataprep.core.conversations import find_ignored
from dataprep.core.errors import InputError, RowDropped, RowError, UsageError, first_line
from dataprep.core.ledger import Ledger
from dataprep.core.parallel import Outcome, read_block, run_into, workers_for
from dataprep.core.records import Example, letter_place
from dataprep.datasets import registry as converters
from dataprep.datasets import source_rows
from dataprep.datasets.converters.choices import CHOICE_USER
from dataprep.datasets.templates import compile_text
from dataprep.tokens.options import TRUNCATIONS
from dataprep.tokens.tokenizers import loading as tokenizers
from dataprep.tokens.tokenizers.base import needed, pad_id

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataprep.tokens.tokenizers.base import Tokenizer

PADS = ("none", "max")
FIELDS = ("input_ids", "rationale_ids")
# The ids of a text column, all rows one after the other, and the number of ids of each row.
Column = tuple["NDArray[np.uint32]", "NDArray[np.uint32]"]


class Texts(NamedTuple):
    """The parts of a row that are encoded: the question with its options, a rationale for each tokenizer."""

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
    """The result of ``tokenize_pairs``."""

    ledger: Ledger  # the rows
    cut: dict[str, int]  # number of texts that were cut, by field


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

    Args:
        source: Examples, or source rows of ``dataset``.
        output: the file.
        student: the student's tokenizer, or its path.
        teachers: the same by teacher, in the order of the file.
        dataset: the converter that reads source rows.
        max_length: maximum number of tokens per text.
        truncation: what to do with longer texts: ``"truncate"`` keeps the beginning, ``"drop"`` leaves the
            row out, ``"error"`` makes it a bad row.
        pad: ``"none"``, or ``"max"`` to fill up all texts to ``max_length``.
        workers: number of processes; ``None`` takes every core if the input is large enough to gain by it.
        rejects: a file for bad rows. Without it, the first bad row raises.
        progress: called with the bytes that were read since the last call.

    Raises:
        InputError: a row is not a multiple-choice Example with its answer and a rationale.
        TokenizerError: a tokenizer is damaged.
        UsageError: there is no teacher, or an option is not valid.
        FileError: a file cannot be read or written.
        MissingDependencyError: PyTorch is not installed (extra ``train``).
    """
    _check_options(teachers, max_length, truncation, pad)
    path = str(source)
    files.check_distinct(rejects if not isinstance(rejects, files.Rejects) else None, [output], [path])
    files.check_apart([output], [path])
    files.check_input(path)
    torch = needed("torch", "the teacher/student file", extra="train")
    loaded = [
        tokenizers.load_tokenizer(item) if isinstance(item, str | Path) else item
        for item in (student, *teachers.values())
    ]
    ledger = Ledger()
    cut = dict.fromkeys(FIELDS, 0)
    blocks_of: list[list[Column]] = []
    correct: list[NDArray[np.uint8]] = []

    def take(_: files.Block, outcome: Outcome) -> None:
        if outcome.payload is None:  # a row that ended its worker
            return
        columns, answers = outcome.payload
        ledger.rows_out += outcome.rows_out
        blocks_of.append(columns)
        correct.append(answers)
        for name, count in outcome.counts.items():
            cut[name] += count

    with files.open_rejects(rejects) as bad:
        blocks = source_rows.blocks(path, None if dataset is None else converters.load(dataset))
        run_into(
            blocks,
            PairOperator(loaded, tuple(teachers), dataset, max_length, truncation),
            None,
            ledger,
            bad,
            paths=[path],
            workers=workers_for([path], workers),
            take=take,
            progress=progress,
        )
        ledger.check()
        columns = [_joined(column) for column in zip(*blocks_of, strict=True)]
        answers = np.concatenate(correct)
        pads = [pad_id(tokenizer) for tokenizer in loaded]
        # Saving takes the most memory, and needs neither the tokenizers nor the arrays of single blocks.
        del loaded
        blocks_of.clear()
        width = max_length if pad == "max" else 0
        lists = []
        # Columns are dropped as soon as their tensors exist: they are the second largest thing in memory.
        for number in pads:
            question, rationale = columns.pop(0), columns.pop(0)
            lists.append(_entries(torch, question, rationale, answers, width, max_length, number))
        content = {"student_inputs": lists[0], "teacher_inputs": dict(zip(teachers, lists[1:], strict=True))}
        _save(torch, content, str(output))
    return Paired(ledger, cut)


def _check_options(teachers: Mapping[str, Any], max_length: int, truncation: str, pad: str) -> None:
    if not teachers:
        raise UsageError("there is no teacher: give --teacher NAME=PATH, once for each")
    for flag, value, known in (("--truncation", truncation, TRUNCATIONS), ("--pad", pad, PADS)):
        if value not in known:
            raise UsageError(f"{flag} {value}: expected one of {', '.join(known)}")
    if max_length < 1:
        raise UsageError(f"--max-length {max_length}: expected 1 or more tokens")


def _joined(columns: Sequence[Column]) -> Column:
    return np.concatenate([ids for ids, _ in columns]), np.concatenate([lengths for _, lengths in columns])


@dataclass(frozen=True, slots=True)
class PairOperator:
    """Turns blocks of Examples into ids of all tokenizers; a picklable operator."""

    tokenizers: Sequence[Tokenizer]
    teachers: tuple[str, ...]
    dataset: str | None
    max_length: int
    truncation: str

    def __call__(self, block: files.Block) -> Outcome:
        """Encode the rows of a block."""
        read = read_block(block, self._read)
        rows = read.settle([self._encode(texts) for texts in read.rows])
        # For each tokenizer, one column for each of FIELDS.
        columns: list[Column] = []
        for number in range(2 * len(self.tokenizers)):
            texts = [ids[number][: self.max_length] for ids in rows]
            flat = np.array([token for ids in texts for token in ids], dtype=np.uint32)
            columns.append((flat, np.array([len(ids) for ids in texts], dtype=np.uint32)))
            read.outcome.counts[FIELDS[number % 2]] = read.outcome.counts.get(FIELDS[number % 2], 0) + sum(
                len(ids[number]) > self.max_length for ids in rows
            )
        read.outcome.payload = columns, np.array([texts.correct for texts in read.rows], dtype=np.uint8)
        return read.outcome

    def _read(self, row: dict[str, Any]) -> Texts:
        # Source rows have fields of their own; in Examples, such a field is somebody's instruction.
        for finding in find_ignored(row, learned=True) if self.dataset is None else ():
            raise RowError(*finding)
        return texts_of(source_rows.example_of(row, self.dataset), self.teachers)

    def _encode(self, texts: Texts) -> list[list[int]] | RowError:
        """Return question and rationale of a row in the ids of each tokenizer in turn, or its error."""
        try:
            ids = [
                tokenizer.encode(text)
                for tokenizer, rationale in zip(self.tokenizers, texts.rationales, strict=True)
                for text in (texts.question, rationale)
            ]
        except RowError as error:
            return error
        longest = max(map(len, ids))
        if self.truncation == "truncate" or longest <= self.max_length:
            return ids
        lengths = f"found a text of {longest:,} tokens; expected at most {self.max_length:,}"
        if self.truncation == "drop":
            return RowDropped("too long", lengths)
        return RowError(
            "too long", f"{lengths}: drop such rows or cut their texts (--truncation), or allow more"
        )


_QUESTION = compile_text(CHOICE_USER)


def texts_of(example: Example, teachers: Sequence[str]) -> Texts:
    """Return the texts of an Example, for the student and then each teacher."""
    if not example.choices:
        raise RowError("no choices", "expected a multiple-choice Example; source rows need --dataset NAME")
    if example.answer_label is None:
        raise RowError("no gold answer", "expected the answer's letter or text")
    rationales = example.rationales or {}
    # A teacher's rationale is its own if the row has one, else the gold one. The student's is the gold one,
    # else that of the first teacher that has one.
    theirs = [rationales.get(name, "").strip() for name in teachers]
    gold = example.solution or next(filter(None, theirs), None)
    if gold is None or (example.solution is None and not all(theirs)):
        lacking = [name for name, text in zip(teachers, theirs, strict=True) if not text]
        raise RowError("no rationale", f"expected a solution, or rationales of {', '.join(lacking)}")
    question = _QUESTION(example)
    assert question is not None
    return Texts(question, (gold, *(text or gold for text in theirs)), letter_place(example.answer_label))


def _entries(
    torch: Any,
    question: Column,
    rationale: Column,
    correct: NDArray[np.uint8],
    width: int,
    longest: int,
    pad: int,
) -> list[dict[str, Any]]:
    """Return the entries of one tokenizer; ``width`` is the length to fill up to, 0 for none."""
    # One tensor for each length, a view of one storage, so that masks hardly take space in the file.
    ones = torch.cat([torch.ones(longest, dtype=torch.int64), torch.zeros(width, dtype=torch.int64)])
    masks = [ones[longest - length :][: width or length] for length in range(longest + 1)]
    rows = zip(
        _tensors(torch, question, width, pad),
        question[1].tolist(),
        _tensors(torch, rationale, width, pad),
        rationale[1].tolist(),
        correct.tolist(),
        strict=True,
    )
    return [
        {
            "input_ids": ids,
            "attention_mask": masks[length],
            "rationale_ids": rationale_ids,
            "rationale_attention_mask": masks[rationale_length],
            "correct_index": index,
        }
        for ids, length, rationale_ids, rationale_length, index in rows
    ]


def _tensors(torch: Any, column: Column, width: int, pad: int) -> Any:
    """Return one tensor for each row, all of them views of one storage."""
    ids, lengths = column
    if not width:
        return torch.from_numpy(ids.astype(np.int64)).split(lengths.tolist())
    filled = np.full((lengths.size, width), pad, dtype=np.int64)
    filled[np.arange(width) < lengths[:, None]] = ids
    return torch.from_numpy(filled).unbind(0)


def _save(torch: Any, content: dict[str, Any], output: str) -> None:
    with files.open_output(output, files.Format("jsonl", "")) as out:  # bytes as they are
        if out.direct is None:
            raise UsageError(f"{output}: a teacher/student file needs a place on disk; give -o PATH.pt")
        with files.writing(output), open(out.direct, "wb") as stream:
            try:
                torch.save(content, stream)
            except RuntimeError as error:
                # On a full disk torch cannot finish its archive either, and reports that, not the cause.
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise


def read_pairs(path: str | Path) -> Iterator[Pair]:
    """Yield the rows of a teacher/student file, in the ids of the student and its teachers, without padding.

    Raises:
        FileError: the file cannot be read.
        InputError: it is not a teacher/student file, or its lists are not aligned.
        MissingDependencyError: PyTorch is not installed (extra ``train``).
    """
    torch = needed("torch", "the teacher/student file", extra="train")
    files.check_local(path, "reading a teacher/student file")
    files.check_input(str(path))
    try:
        content = torch.load(str(path))
    except Exception as error:  # noqa: BLE001 - whatever a damaged file does to its reader
        raise InputError(path, f"not a PyTorch file, or damaged: {first_line(error)}") from None
    try:
        student, teachers = content["student_inputs"], content["teacher_inputs"]
        counts = {len(student), *map(len, teachers.values())}
        if len(counts) > 1:
            raise InputError(path, f"its lists are not aligned: found {sorted(counts)} entries")
        for number, entry in enumerate(student):
            yield Pair(_ids(entry), {name: _ids(listed[number]) for name, listed in teachers.items()})
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(path, f"not a teacher/student file: it lacks {error}") from None


def _ids(entry: Mapping[str, Any]) -> Ids:
    question = entry["input_ids"][entry["attention_mask"].bool()].tolist()
    rationale = entry["rationale_ids"][entry["rationale_attention_mask"].bool()].tolist()
    return Ids(question, rationale, entry["correct_index"])
