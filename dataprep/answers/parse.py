"""Parse files of rationale strings into labelled rows, and write labelled rows back as such files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from dataprep.answers.quality import by_teacher
from dataprep.answers.rationale import Parsed, Teachers, render
from dataprep.answers.rationale_files import (
    AGREES,
    BATCH,
    BATCH_FILE,
    TRIMMED,
    RationaleParser,
    origins_of,
)
from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.errors import FileError, InputError, RowError, UsageError, located
from dataprep.core.jsonl import MAX_LINE
from dataprep.core.ledger import Ledger
from dataprep.core.records import describe, optional_text, text_of
from dataprep.datasets.converters.choices import question_and_choices
from dataprep.datasets.source_rows import read_gold


@dataclass
class ParseReport:
    """The result of ``parse-rationales``."""

    ledger: Ledger = field(default_factory=Ledger)
    statuses: dict[str, Counter[str]] = field(default_factory=dict)  # number of rows by teacher and status
    agree: int = 0  # rows whose first teacher's answer is that of the reference
    trimmed: int = 0  # rationales that were cut where they ran on into another question


def rationale_files(inputs: Sequence[str | Path]) -> list[str]:
    """Return the files that inputs name, sorted by number; a folder stands for its ``SPLIT_CoT_K.json``."""
    paths: list[str] = []
    for given in map(str, inputs):
        if not files.is_folder(given):
            files.check_input(given)
            paths.append(given)
            continue
        found = [path for path in files.files_in(given) if BATCH_FILE.search(path)]
        if not found:
            raise FileError(given, "the folder holds no SPLIT_CoT_K.json")
        paths += sorted(found)
    if not paths:
        raise UsageError("there is nothing to parse: give at least one file or folder")
    # Also files that are given one by one: a shell's `*` puts 10 before 2.
    return [path for _, series in groupby(paths, _series) for path in sorted(series, key=_number)]


def _series(path: str) -> tuple[str, str]:
    """Return folder and split of a published file; any other file is a series by itself."""
    batch = BATCH_FILE.search(path)
    return (path[: batch.start()], batch["split"]) if batch else (path, "")


def _number(path: str) -> int:
    batch = BATCH_FILE.search(path)
    return int(batch["number"]) if batch else 0


def _check_one_split(paths: Sequence[str]) -> None:
    # References belong to one split, so the rows of another split would be joined with wrong ones.
    batches = [BATCH_FILE.search(path) for path in paths]
    if len(paths) == 1 or (all(batches) and len({match["split"] for match in batches if match}) == 1):
        return
    names = ", ".join(map(files.name_of, paths[:4]))
    folder, split = next((_series(path) for path in paths if BATCH_FILE.search(path)), ("llm/", "train"))
    raise UsageError(
        f"--gold belongs to the files of one split, and these are several ({names}, …): "
        f"give those of one, such as {folder}{split}_CoT_*.json"
    )


def _check_output(output: str | Path, inputs: Iterable[str | Path]) -> None:
    # A teacher's answers cost money: they must not be replaced by the rows made from them.
    for path in inputs if files.is_file(output) else ():
        if files.is_same_file(output, path):
            raise UsageError(f"{output}: the rows would replace an input; give them a file of their own")


def parse_rationale_files(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    gold: str | Path | None = None,
    teachers: str | Sequence[str] = (),
    trim: bool = False,
    source: str | None = None,
    workers: int | None = 1,
    rejects: str | Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> ParseReport:
    """Parse files of rationale strings into labelled rows.

    Args:
        inputs: ``.json`` files with arrays of strings, folders of them, JSON Lines of strings (or of
            ``{"text", "id"}``), or ``-``.
        output: the file for the labelled rows.
        gold: the file of references. Rows are joined by id if they have one, else by position; question and
            choices must agree. The answer of the reference is used.
        teachers: the first teacher's name, then the others as ``name`` or ``marker=name``; a list, or a text
            with commas.
        trim: cut a rationale where it runs on into another question.
        source: the set that the files belong to. Defaults to the dataset whose folder they are in.
        workers: number of processes. Defaults to 1; ``None`` takes every core for large inputs.
        rejects: receives bad rows; without it the first one is an error.
        progress: called with the bytes of input that were read since the last call.

    Raises:
        InputError: a string is not in the published format, or does not match its reference.
        FileError: a file cannot be read or written.
        UsageError: an output is one of the inputs, the references are given several splits, or a teacher's
            name is empty or given twice.
    """
    # Everything that can be wrong with the command line is checked before a file is opened.
    paths = rationale_files([inputs] if isinstance(inputs, str | Path) else inputs)
    sources = [*paths] if gold is None else [*paths, str(gold)]
    files.check_distinct(rejects, [output], sources)
    _check_output(output, sources)
    if gold is not None:
        _check_one_split(paths)
    names = _teachers(teachers)
    origins = origins_of(paths, source)
    parser = RationaleParser(names, None if gold is None else list(read_gold(str(gold))), trim, origins)
    report = ParseReport()
    with files.open_rejects(rejects) as bad, files.open_output(str(output)) as out:
        counts = engine.run_into(
            _blocks(paths),
            parser.operator(),
            out,
            report.ledger,
            bad,
            paths=paths,
            workers=engine.workers_for(paths, workers),
            numbered=True,
            progress=progress,
            expected="rationale strings",
        )
        report.agree, report.trimmed = counts.pop(AGREES, 0), counts.pop(TRIMMED, 0)
        for (teacher, status), count in counts.items():
            report.statuses.setdefault(teacher, Counter())[status] += count
        report.ledger.check()
    return report


def _teachers(given: str | Sequence[str]) -> Teachers:
    names = given.split(",") if isinstance(given, str) else given
    return Teachers.named(names) if names else Teachers()


def _blocks(paths: Iterable[str]) -> Iterator[files.Block]:
    for path in paths:
        kind = files.format_of(path).kind
        if kind == "json":
            yield files.array_block(path)
        elif kind == "jsonl":
            yield from _lines_or_array(path)
        else:
            raise UsageError(f"{path}: rationale strings are read from .json and .jsonl files")


def _lines_or_array(path: str) -> Iterator[files.Block]:
    # An array through a pipe has no suffix that would say so.
    blocks = files.read_blocks(path, arrays=not files.is_file(path))
    if files.is_file(path):
        yield from blocks
        return
    for block in blocks:
        if block.first and block.read().lstrip().startswith(b"["):  # a line with a string starts with a quote
            data = block.read() + b"".join(more.read() for more in blocks)
            if len(data) > MAX_LINE:
                expected = "expected one string a line; give the path of a file that holds an array"
                raise InputError(path, f"found an array of more than {MAX_LINE >> 20} MiB; {expected}")
            yield files.Block(path, data=data, unit="row", array=True, first=True)
        else:
            yield block


def export_rationales(
    rows: str | Path, folder: str | Path, *, split: str = "train", teachers: str | Sequence[str] = ()
) -> list[Path | str]:
    """Write labelled rows as files of 500 strings in the published format, and return their paths.

    Args:
        rows: a file of rows as ``parse_rationale_files`` writes them.
        folder: the folder for ``SPLIT_CoT_K.json``; it is made if it is missing.
        split: the split in the names of the files.
        teachers: as in ``parse_rationale_files``.

    Raises:
        InputError: the format cannot carry the fields of a row; then nothing is written.
        FileError: a file cannot be read or written, or exists already.
        UsageError: the split cannot be a part of a file's name.
    """
    names = _teachers(teachers)
    if not split or Path(split).name != split or not split.isprintable():
        raise UsageError(f"--split {split}: expected a name, such as train")
    source, target, texts = str(rows), str(folder), []
    # All rows are rendered before the first file is written: a bad row must not leave half a folder.
    for where, row in files.read_rows(source):
        with located(where):
            texts.append(render(_parsed(row, names), names))
    if not texts:
        raise InputError(source, "the file is empty; expected rows")
    batches = [texts[begin : begin + BATCH] for begin in range(0, len(texts), BATCH)]
    paths = [files.joined(target, f"{split}_CoT_{number}.json") for number in range(len(batches))]
    for path in paths:
        if files.exists(path):
            raise FileError(path, "exists already, and nothing is overwritten; give another folder")
    for path, batch in zip(paths, batches, strict=True):
        with files.writing(target):
            files.make_parent(path)
        files.write_rows(batch, path)
    return [path if files.is_url(path) else Path(path) for path in paths]


def _parsed(row: Mapping[str, Any], teachers: Teachers) -> Parsed:
    rationales = by_teacher(row, "rationales")
    if not rationales or not all(type(text) is str for text in rationales.values()):
        found = describe(row.get("rationales"))
        raise RowError("no rationales", f"expected an object of texts, found {found}")
    # The answer sentence holds the first teacher's answer; rows of other tools only have the right one.
    answer = row.get("answer")
    if "teacher_answers" in row:
        answer = by_teacher(row, "teacher_answers").get(teachers.first)
    own = None
    if isinstance(answer, Mapping):
        own = text_of(answer, "label"), optional_text(answer, "text") or ""
    question, (choices, _) = question_and_choices(row)
    ordered = {teachers.first: rationales.get(teachers.first, ""), **rationales}
    return Parsed(question, choices, own, ordered)
