"""Read source rows, as the authors of a dataset publish them, and the Examples in them.

``convert``, ``prompt``, ``collect``, ``evaluate`` and ``tokenize`` read through this module, so a row has the
same id in all of them. Each of them also takes Examples where it takes a dataset's source rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, cast, get_args

import orjson

from dataprep.core import io as files
from dataprep.core.conversations import split_thinking
from dataprep.core.errors import InputError, Location, RowDropped, RowError, located
from dataprep.core.jsonl import parse_row
from dataprep.core.ledger import Ledger
from dataprep.core.records import LETTERS, Example, from_cell, is_example, text_of
from dataprep.datasets import registry as converters
from dataprep.datasets.converters.choices import NO_ANSWER, gold_of, id_of, place_of, question_and_choices

# The fields of an Example's row; whatever else stands there is not the Example's.
FIELDS = (
    "id", "source", "task", "question", "context", "choices", "answer", "answers", "solution", "tests",
    "rationales",
)  # fmt: skip
# Where a teacher's thinking goes: beside its text, before it, or nowhere.
Reasoning = Literal["as-reasoning", "as-rationale", "drop"]
REASONING: tuple[Reasoning, ...] = get_args(Reasoning)
# Statuses of rationales that become training rows: `ok` agrees with the right answer, `unjudged` may.
KEPT = ("ok", "unjudged")
# Statuses of rationales by which rows can be dropped; others share one reason, so that reasons stay few.
STATUSES = (
    "answer_mismatch", "contradiction", "runaway", "truncated", "no_answer", "length", "empty", "refused",
    "failed", "missing", "tool_calls",
)  # fmt: skip


def blocks(
    path: str, converter: converters.Converter | None = None, delimiter: str | None = None
) -> Iterator[files.Block]:
    """Read the source rows of a file as blocks of JSON Lines, with labels from a second file if it is there.

    The converter reads its dataset's documents and knows the name of its labels' file. Without one, a
    document is a list of rows or one row. The delimiter is that of a CSV file, if it is not a comma.
    """
    row_blocks = files.read_row_blocks(path, converters.DocumentRows(converter), delimiter)
    beside = labels_file(path, converter)
    if beside is None or not files.exists(beside):
        return row_blocks
    return _labelled(path, row_blocks, beside, converter.LABELS[1])  # type: ignore[union-attr]


def labels_file(path: str, converter: converters.Converter | None) -> str | None:
    """Return where the labels of a file's rows should be; ``None`` if they are in the rows themselves."""
    if not hasattr(converter, "LABELS") or path == files.STDIO:
        return None
    pattern, _ = converter.LABELS  # type: ignore[union-attr]
    # The stem ends at the first dot, so that train.jsonl and train.jsonl.gz have the same labels.
    return files.sibling(path, pattern.format(stem=files.name_of(path).partition(".")[0]))


def _labelled(path: str, row_blocks: Iterable[files.Block], beside: str, name: str) -> Iterator[files.Block]:
    labels = files.read_text(beside).split()
    used = 0
    # Here, in one process: the place of a label follows from the rows before it, and such sets are small.
    for block in chain.from_iterable(map(files.pieces, row_blocks)):
        lines = block.read().split(b"\n")
        for number, line in enumerate(lines):
            if not line.strip():
                continue
            label = orjson.dumps(labels[used] if used < len(labels) else None)
            used += 1
            # The label is spliced into the bytes. A line that is not an object stays as it is: it fails later
            # with its own text in the message.
            if b'"%b"' % name.encode() in line:  # a label of the row's own gives way
                line = _without(line, name)  # noqa: PLW2901
            if line.rstrip().endswith(b"}"):
                fields = line.rstrip()[:-1]
                comma = b"" if fields.strip() == b"{" else b","
                lines[number] = fields + b'%b"%b":%b}' % (comma, name.encode(), label)
        yield files.Block(path, block.start, data=b"\n".join(lines), unit=block.unit, first=block.first)
    # Only the end shows whether the two files belong together; one label too few shifts all that follow.
    if used != len(labels):
        problem = f"found {len(labels)} labels for the {used} rows of {path}; expected as many"
        raise InputError(beside, problem)


def _without(line: bytes, name: str) -> bytes:
    """Return a row without a field; a line that holds no sound row stays as it is."""
    try:
        row = parse_row(line)
    except RowError:
        return line
    row.pop(name, None)
    return orjson.dumps(row)


def missing_labels(dataset: str, paths: Iterable[str], ledger: Ledger) -> str | None:
    """Return what to do if no row came out because the labels' file was not found; else ``None``."""
    converter = converters.load(dataset)
    if ledger.rows_out or not ledger.dropped[NO_ANSWER] or not hasattr(converter, "LABELS"):
        return None
    for path in paths:
        beside = labels_file(path, converter)
        if beside is None:
            pattern = converter.LABELS[0].format(stem="NAME")
            return f"the labels are in a second file: give the path of NAME.jsonl, with {pattern} beside it"
        if not files.exists(beside):
            return f"the labels are in a second file, and there is no {beside}"
    return None


def read_located(path: str, dataset: str | None = None) -> Iterator[tuple[Location, dict[str, Any]]]:
    """Read the rows of a file, each with its place; with a dataset, those of its published documents too."""
    if dataset is None:
        yield from files.read_rows(path)
        return
    # Rows of a document are counted over its blocks; lines of JSON Lines with the blank ones.
    number = 0
    for block in blocks(path, converters.load(dataset)):
        for line in block.read().removesuffix(b"\n").split(b"\n"):
            number += 1
            if not line.strip():
                continue
            where = Location(path, number, block.unit)
            with located(where):
                row = parse_row(line)
            yield where, row


def example_of(
    row: Any, dataset: str | None = None, *, unlabelled: bool = False, unanswerable: bool = False
) -> Example:
    """Return the Example in a row: an Example's row, or with ``dataset`` a source row.

    Args:
        row: the row; one that is an Example is taken as such, also with ``dataset``.
        dataset: the converter's name.
        unlabelled: keep source rows with a hidden answer, if the dataset has such rows.
        unanswerable: keep questions that their passage does not answer, if the dataset has such questions.
    """
    if not isinstance(row, dict):
        raise RowError("not a JSON object", "expected an Example or a source row")
    if dataset is None:
        return Example.from_json(row)
    converter = converters.load(dataset)
    # Datasets without hidden answers, such as GSM8K, do not have the option.
    given = {"unlabelled": unlabelled, "unanswerable": unanswerable}
    known = converters.options(converter)
    options = {name: "keep" for name, keep in given.items() if keep and name in known}
    if is_adoptable(row, converter):
        return adopted(row, dataset, options)
    try:
        example = converter.convert(row, **options)
    except RowError as error:
        # Only `convert` has the options of a dataset, so that is where its messages must send the reader.
        choice = "--answers-from 0 or 1"
        detail = error.detail.replace(choice, f"convert the rows with `convert qa {choice}`")
        raise type(error)(error.reason, detail) from None
    example.source = converters.canonical(dataset)
    return example


def is_adoptable(row: Mapping[str, Any], converter: converters.Converter) -> bool:
    """Return whether a row in place of a source row is an Example."""
    return is_example(row) and not getattr(converter, "is_source_row", _never)(row)


def _never(_: Mapping[str, Any]) -> bool:
    return False


def adopted(row: Mapping[str, Any], dataset: str, options: Mapping[str, Any]) -> Example:
    """Return the Example in its own row, as the options of a dataset's converter leave it.

    It must be an Example of that dataset, because the wording of another one would leave out its choices or
    its tests. ``qa`` takes Examples of any dataset.
    """
    example, converter, name = Example.from_json(row), converters.load(dataset), converters.canonical(dataset)
    source = converters.canonical(example.source or name)
    if name != "qa":
        task = converter.SOURCE.task
        if source != name and converters.is_name(source):
            hint = f"give the dataset {source}; `convert examples` takes those of several datasets"
            raise RowError("an Example of another dataset", f"found the source {source!r}; {hint}")
        if example.task and example.task != task:
            found = f"found the task {example.task!r}, expected {task!r}"
            raise RowError("an Example of another task", f"{found}; read it with the name of its dataset")
    example.source = example.source or name
    if hasattr(converter, "adopt"):
        return cast(Example, converter.adopt(example, **options))
    hidden = example.answer is None and (example.solution is None or bool(example.choices))
    if hidden and options.get("unlabelled", "drop") == "drop":
        raise RowDropped(NO_ANSWER)
    return example


def row_of(example: Example, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of an Example that came in a row of its own, with everything else that stands there."""
    example.identify()
    # Labels, for example, and the file of a rationale.
    more = {name: value for name, value in row.items() if name not in FIELDS and value is not None}
    return example.to_json() | more


def reasoning_of(row: Mapping[str, Any], teacher: str) -> str | None:
    """Return a teacher's thinking in a labelled row, as ``collect`` writes it; ``None`` without any."""
    reasoning = from_cell(row.get("reasoning"))
    text = reasoning.get(teacher) if isinstance(reasoning, Mapping) else None
    return text if type(text) is str else None


def split_thinking_of(text: str, thinking: str | None) -> tuple[str, str | None]:
    """Return a rationale without the thinking that begins it, and that thinking behind what is known of it.

    It raises ``RowDropped`` if the rationale ends inside its thinking, or has nothing behind it.
    """
    if text.startswith("<think>") and "</think>" not in text:
        raise RowDropped("status: length")
    message = {"role": "assistant", "content": text}
    (message,) = split_thinking({"messages": [message]})["messages"]
    if not (said := message["content"].strip()):
        raise RowDropped("no rationale")
    return said, "\n\n".join(each for each in (thinking, message.get("reasoning_content")) if each) or None


def place_thinking(text: str, thinking: str | None, place: Reasoning) -> tuple[str, str | None]:
    """Return a teacher's text and its thinking, once the thinking is where it is to go."""
    if thinking is None or place == "as-reasoning":
        return text, thinking
    # Thinking without an answer behind it, such as what was cut off, is no rationale.
    if place == "as-rationale" and not text:
        return text, thinking
    return (text if place == "drop" else f"{thinking.strip()}\n\n{text}"), None


def rationale_of(row: Mapping[str, Any], example: Example, teacher: str) -> tuple[str, str]:
    """Return a teacher's name and rationale in a labelled row; of its only teacher if the name is empty.

    It raises ``RowDropped`` if the rationale is missing, or has another status than ``ok``.
    """
    statuses = from_cell(row.get("status"))
    statuses = statuses if isinstance(statuses, Mapping) else {}
    rationales = example.rationales or {}
    name = teacher
    if not name:
        # Tables have a column for every teacher, null in the rows that lack it.
        names = sorted({*rationales, *(key for key, status in statuses.items() if status is not None)})
        if len(names) > 1:
            raise RowError("several teachers", f"choose one with --teacher: {', '.join(names)}")
        name = names[0] if names else ""
    # A rationale without a status comes from another tool, and is taken as it is.
    status = statuses.get(name) or "ok"
    if status not in KEPT:
        raise RowDropped(f"status: {status}" if status in STATUSES else "another status")
    text = rationales.get(name, "").strip()
    if not text:
        raise RowDropped("no rationale")
    return name, text


@dataclass(frozen=True, slots=True)
class GoldRow:
    """The reference that a teacher's row must agree with."""

    id: str | None
    question: str
    choices: list[str]
    place: int  # which choice is right, counted from 0


def read_gold(path: str) -> Iterator[GoldRow]:
    """Read rows ``{id, question, choices, answer}``, Examples, or rows in a dataset's own layout.

    In CSV the choices are JSON: a list, or one of the other shapes that datasets are published in.
    """
    hint = "correct the row of the reference file, or leave it out where rows are joined by id"
    for where, row in files.read_rows(path):
        with located(where, hint):
            question, (texts, labels) = question_and_choices(row)
            if len(texts) > len(LETTERS):
                raise RowError("too many choices", f"found {len(texts)}; there are {len(LETTERS)} letters")
            answer = gold_of(row)
            # Examples write the label and the text. The label decides: the text of one choice can be the
            # letter of another.
            if type(answer) is dict:
                answer, labels = text_of(answer, "label"), labels or list(LETTERS[: len(texts)])
            yield GoldRow(id_of(row), question, texts, place_of(answer, texts, labels))
