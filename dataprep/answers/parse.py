"""Parse files of rationale strings into labelled rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from dataprep.answers.rationale import Teachers
from dataprep.answers.rationale_files import AGREES, BATCH_FILE, TRIMMED, RationaleParser
from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.errors import FileError, InputError, UsageError
from dataprep.core.jsonl import MAX_LINE
from dataprep.core.ledger import Ledger
from dataprep.datasets.source_rows import read_gold


@dataclass
class ParseReport:
    """The result of ``parse-rationales``.

    Attributes:
        ledger: rows in and out.
        statuses: number of rows by teacher and status.
        agree: number of rows whose first teacher's answer is the reference, if there are references.
        trimmed: number of rationales that were cut where they ran on into another question.
    """

    ledger: Ledger = field(default_factory=Ledger)
    statuses: dict[str, Counter[str]] = field(default_factory=dict)
    agree: int = 0
    trimmed: int = 0


def rationale_files(inputs: Sequence[str | Path]) -> list[str]:
    """Return the files that inputs name; a folder stands for its ``SPLIT_CoT_K.json``.

    The files of one folder and split are sorted by their numbers K.

    Raises:
        FileError: a file is missing, or a folder holds none.
        UsageError: there is no input.
    """
    paths: list[str] = []
    for given in map(str, inputs):
        if given == files.STDIO or not Path(given).is_dir():
            files.check_input(given)
            paths.append(given)
            continue
        found = [str(path) for path in Path(given).iterdir() if BATCH_FILE.search(str(path))]
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
    names = ", ".join(Path(path).name for path in paths[:4])
    folder, split = next((_series(path) for path in paths if BATCH_FILE.search(path)), ("llm/", "train"))
    raise UsageError(
        f"--gold belongs to the files of one split, and these are several ({names}, …): "
        f"give those of one, such as {folder}{split}_CoT_*.json"
    )


def _check_output(output: str | Path, inputs: Iterable[str | Path]) -> None:
    # A teacher's answers cost money: they must not be replaced by the rows made from them.
    if str(output) == files.STDIO or not Path(output).is_file():
        return
    for path in inputs:
        if Path(path).exists() and Path(output).samefile(path):
            raise UsageError(f"{output}: the rows would replace an input; give them a file of their own")


def parse_rationale_files(
    inputs: Sequence[str | Path],
    output: str | Path,
    *,
    gold: str | Path | None = None,
    teachers: Sequence[str] = (),
    trim: bool = False,
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
        teachers: the first teacher's name, then the others as ``name`` or ``marker=name``.
        trim: cut a rationale where it runs on into another question.
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
    paths = rationale_files(inputs)
    sources = [*paths] if gold is None else [*paths, str(gold)]
    files.check_distinct(rejects, [output], sources)
    _check_output(output, sources)
    if gold is not None:
        _check_one_split(paths)
    names = Teachers.named(teachers) if teachers else Teachers()
    parser = RationaleParser(names, None if gold is None else read_gold(str(gold)), trim=trim)
    report = ParseReport()
    with ExitStack() as stack:
        bad = stack.enter_context(files.open_rejects(rejects))
        out = stack.enter_context(files.open_output(str(output)))
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
        _count_up(report, counts)
        report.ledger.check()
    return report


def _count_up(report: ParseReport, counts: Mapping[tuple[str, str], int]) -> None:
    for (teacher, status), count in counts.items():
        if teacher:
            report.statuses.setdefault(teacher, Counter())[status] += count
    report.agree += counts.get(AGREES, 0)
    report.trimmed += counts.get(TRIMMED, 0)


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
    """Yield the blocks of lines of a file, or from a pipe the one array that a published file is."""
    blocks = files.read_blocks(path)
    if path != files.STDIO and Path(path).is_file():
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
