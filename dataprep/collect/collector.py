"""Join journals of answers to a file of Examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

from dataprep.answers.quality import KEEPABLE
from dataprep.collect.answers import NO_LABELS, Answers, Labels, RunTests, labels_of
from dataprep.collect.rows import (
    Made,
    RationaleRows,
    Renderer,
    Statuses,
    TrainingRows,
    chat_renderer,
    dump,
    probs_row,
    qa_row,
)
from dataprep.core import io as files
from dataprep.core.errors import InputError, RowDropped, RowError, UsageError, located
from dataprep.core.io.unfinished import packed, unpacked
from dataprep.core.ledger import Ledger
from dataprep.core.records import Example, is_example
from dataprep.datasets import registry as converters
from dataprep.datasets.source_rows import KEPT, example_of, read_located

FORMATS = ("rationale", "chat", "qa", "choice-probs")


@dataclass
class CollectReport:
    """The result of ``collect``."""

    ledger: Ledger = field(default_factory=Ledger)  # Examples in; with all samples, answers in
    statuses: Statuses = field(default_factory=dict)  # of all teachers, or of the one of training rows
    unmatched: int = 0  # answers whose id no Example has
    thinking: int = 0  # training rows that leave out the thinking of their answer
    torn: list[str] = field(default_factory=list)  # incomplete last lines of journals, as `path:line`
    silent: list[str] = field(default_factory=list)  # names under which nothing but failures came


def collect_files(
    responses: Sequence[str | Path],
    examples: str | Path,
    output: str | Path,
    *,
    to: str = "rationale",
    keep: Sequence[str] | None = None,
    teacher: str | None = None,
    dataset: str | None = None,
    template: Mapping[str, str] | None = None,
    sample: int | str = 0,
    names: Mapping[str, str] | None = None,
    run_tests: RunTests | None = None,
    progress: Callable[[int], None] | None = None,
) -> CollectReport:
    """Join teachers' answers to their Examples by id.

    Args:
        responses: the journals, the earlier ones first; ``-`` is standard input.
        examples: Examples (of ``convert --to example`` or ``parse-rationales``), or rows of ``dataset``.
        output: the file for the rows, in the format of its suffix; ``-`` is standard output.
        to: ``"rationale"`` rows with all teachers, or one teacher's training rows: ``"chat"``, ``"qa"``,
            ``"choice-probs"``.
        keep: the statuses of answers that become training rows. Defaults to ``ok`` and ``unjudged``.
        teacher: the teacher whose answers become training rows; required if there are several.
        dataset: the dataset of source rows.
        template: the messages ``system``, ``user``, ``assistant`` of chat rows in place of the default ones.
        sample: which of several samples of an answer, or ``"all"`` of them as chat or qa rows.
        names: new names for teachers, by their names in the journals.
        run_tests: returns whether the program in a reply passes its tests. Without it code is not judged.
        progress: called with the bytes of journals that were read.

    Raises:
        UsageError: an option is wrong, or options exclude each other.
        InputError: a line is not a response, a row is not an Example, two rows have the same id, or no answer
            belongs to one of the Examples.
        FileError: a file cannot be read or written.
    """
    # The Examples are read one by one, and what must be known of all of them is in a database on the disk.
    # A compressed journal is held whole, because its lines are looked up again.
    keep = (keep,) if isinstance(keep, str) else keep
    number = _check(to, keep, teacher, template, sample)
    paths, source = [str(path) for path in responses], str(examples)
    _check_places(paths, source, str(output), dataset)
    # The journals are read before the Examples: which answer is current shows only after the last line.
    answers, report = Answers(paths, names, progress, run_tests), CollectReport()
    known = _Ids(source, answers)
    make: RationaleRows | TrainingRows = RationaleRows(answers, number or 0, report.statuses)
    if to != "rationale":
        if teacher is None and len(answers.teachers) > 1:
            found = ", ".join(answers.teachers)
            raise UsageError(f"several teachers answered: choose one with --teacher: {found}")
        chosen = answers.teachers[0] if teacher is None else teacher
        render: Renderer = qa_row if to == "qa" else partial(probs_row, answers, chosen)
        render = chat_renderer(template or {}) if to == "chat" else render
        make = TrainingRows(answers, chosen, render, report.statuses, keep or KEPT, number)
    with files.open_output(str(output)) as out:
        for made in _made(make, known, source, dataset):
            report.ledger.rows_in += 1
            if isinstance(made, RowDropped):
                report.ledger.drop(made.reason)
            else:
                out.write(dump(made))
                report.ledger.rows_out += 1
        report.torn, report.silent = answers.journals.torn, answers.silent
        if isinstance(make, TrainingRows) and "{reasoning}" not in "".join((template or {}).values()):
            report.thinking = make.thinking.total()
        # Checked before the output appears: with the wrong file of Examples it would be an empty success.
        report.unmatched = known.unmatched()
        # A teacher may be in rows of Examples only, so whether the name is known shows after the last row.
        unheard = teacher is not None and teacher not in answers.teachers
        if unheard and report.statuses[teacher or ""].keys() <= {"missing"}:
            found = ", ".join(answers.teachers)
            raise UsageError(f"no answer is of the teacher {teacher!r}: the journals' teachers are {found}")
        report.ledger.check()
    return report


def collect(
    responses: str | Path | Sequence[str | Path], examples: str | Path, **options: Any
) -> Iterator[dict[str, Any]]:
    """Join teachers' answers to their Examples, and return the rows.

    Args:
        responses: a journal or several, the earlier ones first.
        examples: Examples, or rows of a dataset.
        options: as of ``collect_files``, for example ``to="chat"`` and ``teacher``.

    Raises:
        UsageError, InputError, FileError: as ``collect_files``, before the first row.
    """
    paths = [responses] if isinstance(responses, str | Path) else responses
    # The rows are on disk first: only after the last one is it known that the files belong together.
    with files.temporary_folder() as folder:
        output = str(folder / "rows.jsonl")
        collect_files(paths, examples, output, **options)
        data = files.open_mapped(output)
    return map(orjson.loads, () if isinstance(data, bytes) else iter(data.readline, b""))


def _check(
    to: str,
    keep: Sequence[str] | None,
    teacher: str | None,
    template: Mapping[str, str] | None,
    sample: int | str,
) -> int | None:
    """Return the sample to collect, ``None`` for all; raise ``UsageError`` for a wrong combination."""
    if to not in FORMATS:
        raise UsageError(f"cannot collect to {to!r}: expected {', '.join(FORMATS)}")
    for status in keep or ():
        if status not in KEEPABLE:
            raise UsageError(f"--keep {status}: an answer with a text is one of {', '.join(KEEPABLE)}")
    for flag, given in (("--keep", keep), ("--teacher", teacher)):
        if given is not None and to == "rationale":
            raise UsageError(f"{flag} is for training rows: a rationale row holds every teacher and status")
    if to == "chat":
        chat_renderer(template or {})  # a wrong template is found before any work
    elif template:
        raise UsageError(f"--template is for --to chat: {to} rows have a wording of their own")
    if sample == "all":
        if to not in ("chat", "qa"):
            raise UsageError(f"--sample all is for --to chat and qa: {to} has one row for each Example")
        return None
    if type(sample) is not int or sample < 0:
        raise UsageError(f"--sample {sample}: expected a number from 0 on, or all")
    return sample


def _check_places(paths: Sequence[str], source: str, output: str, dataset: str | None) -> None:
    if not paths:
        raise UsageError("there is nothing to collect: give at least one journal of responses")
    if [*paths, source].count(files.STDIO) > 1:
        raise UsageError("standard input can be read only once: give the others as files")
    if dataset is not None:
        converters.load(dataset)
    files.format_of(output)
    # Nothing else of a journal remains: unlike converted rows it cannot be made again.
    files.check_apart([output], paths, "the rows would replace a journal, and with it paid answers")


def _made(
    make: Callable[[Example, Labels], Iterator[Made | RowDropped]],
    known: _Ids,
    source: str,
    dataset: str | None,
) -> Iterator[Made | RowDropped]:
    where = None
    for where, row in read_located(source, dataset):
        with located(where):
            try:
                example = example_of(row, dataset, unlabelled=True)
                known.add(example, where.number)
                labelled = dataset is None or is_example(row)
                yield from make(example, labels_of(row) if labelled else NO_LABELS)
            except RowDropped as drop:
                yield drop
    if where is None:
        raise InputError(source, "the file is empty; expected rows")


class _Ids:
    """The ids of the Examples that were read, each with its first row and a hash of its content."""

    def __init__(self, source: str, answers: Answers) -> None:
        self._source, self._answers = source, answers
        # In the database of the journals' lines, so that it can compare their ids.
        self._database = answers.current.database
        self._database.execute(
            "CREATE TABLE examples (id BLOB PRIMARY KEY, number INT, held BLOB) WITHOUT ROWID"
        )

    def add(self, example: Example, number: int) -> None:
        """Add an Example; raise ``RowError`` if an earlier row has its id and another content."""
        # Rows that differ in their rationales only are one Example, labelled by several teachers.
        fields = {**example.to_json(), "id": None, "source": None, "task": None, "rationales": None}
        held = blake2b(repr(fields).encode("utf-8", "backslashreplace"), digest_size=8).digest()
        row = (packed(example.identify()), number, held)
        if not self._database.execute("INSERT OR IGNORE INTO examples VALUES (?, ?, ?)", row).rowcount:
            query = "SELECT number, held FROM examples WHERE id = ?"
            first, same = self._database.execute(query, row[:1]).fetchone()
            if same != held:
                found = f"row {first} of the file has it too, with another question, answer or choices"
                raise RowError(f"duplicate id {example.id!r}", f"{found}; give each Example an id of its own")

    def unmatched(self) -> int:
        """Return how many answers belong to no Example; raise ``InputError`` if that is each of them."""
        self._answers.current.settle()
        query = "SELECT count(*) FROM lines LEFT JOIN examples USING (id) WHERE held IS NULL"
        count = int(self._database.execute(query).fetchone()[0])
        if count == len(self._answers.current):
            _, asked, *_ = next(iter(self._answers.current))
            first = self._database.execute("SELECT id FROM examples ORDER BY number LIMIT 1").fetchone()
            raise InputError(
                self._source,
                f"none of the {count:,} answers is to one of its Examples: the answers' ids are such as "
                f"{asked!r}, the Examples' such as {first and unpacked(first[0])!r}; give those that the "
                "requests were made of",
            )
        return count
