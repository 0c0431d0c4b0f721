"""Join journals of answers to a file of Examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

from dataprep.collect.answers import NO_LABELS, Answers, Labels, labels_of
from dataprep.collect.conversations import Conversations, example_of_request, is_request
from dataprep.collect.judgements import Judgements
from dataprep.collect.preference import PreferenceRows
from dataprep.collect.rows import (
    Made,
    RationaleRows,
    Renderer,
    Statuses,
    TrainingRows,
    dump,
    placed,
    probs_row,
    qa_row,
)
from dataprep.collect.settings import CONVERSATIONS, FORMATS, Settings
from dataprep.core import io as files
from dataprep.core.errors import InputError, RowDropped, RowError, UsageError, located
from dataprep.core.io.tables.scratch import packed, unpacked
from dataprep.core.ledger import Ledger
from dataprep.core.records import Example, is_example
from dataprep.datasets import registry as converters
from dataprep.datasets.source_rows import example_of, read_located

__all__ = ["FORMATS", "CollectReport", "collect", "collect_files"]


@dataclass
class CollectReport:
    """The result of ``collect``."""

    ledger: Ledger = field(default_factory=Ledger)  # Examples in; with all samples, answers; pairs
    statuses: Statuses = field(default_factory=dict)  # of all teachers, or of the one of training rows
    unmatched: int = 0  # answers whose id no Example has
    unjudged: int = 0  # judgements about no Example
    thinking: int = 0  # rows' answers whose thinking is left out
    torn: list[str] = field(default_factory=list)  # incomplete last lines of journals, as `path:line`
    silent: list[str] = field(default_factory=list)  # names under which nothing but failures came


def collect_files(
    responses: Sequence[str | Path],
    examples: str | Path,
    output: str | Path,
    *,
    dataset: str | None = None,
    progress: Callable[[int], None] | None = None,
    **options: Any,
) -> CollectReport:
    """Join teachers' answers to their Examples by id.

    Args:
        responses: the journals, the earlier ones first; ``-`` is standard input.
        examples: Examples (of ``convert --to example`` or ``parse-rationales``), or rows of ``dataset``. For
            conversations also requests.
        output: the file for the rows, in the format of its suffix; ``-`` is standard output.
        dataset: the dataset of source rows.
        progress: called with the bytes of journals that were read.
        options: the fields of ``Settings``, such as ``to="chat"`` and ``teacher``.

    Raises:
        UsageError: an option is wrong, or options exclude each other.
        InputError: a line is not a response, a row is not an Example, two rows have the same id, or no answer
            belongs to one of the Examples.
        FileError: a file cannot be read or written.
    """
    # The Examples are read one by one, and what must be known of all of them is in a database on the disk.
    # A compressed journal is held whole, because its lines are looked up again.
    settings = Settings(**options)
    paths, source, teacher = [str(path) for path in responses], str(examples), settings.teacher
    # A wrong template is found before any work.
    conversations = Conversations(settings.template or {}, settings.tools)
    _check_places(paths, source, str(output), dataset, settings.judgements)
    # The journals are read before the Examples: which answer is current shows only after the last line.
    answers = Answers(
        paths, settings.names, progress, settings.run_tests, split_thinking=settings.split_thinking
    )
    report, known = CollectReport(), _Ids(source, answers)
    make = _maker(settings, answers, conversations, report.statuses)
    with files.open_output(str(output)) as out:
        for made in _made(make, known, source, dataset, requests=settings.to in CONVERSATIONS):
            report.ledger.rows_in += 1
            if isinstance(made, RowDropped):
                report.ledger.drop(made.reason)
            else:
                out.write(dump(made))
                report.ledger.rows_out += 1
        report.torn, report.silent = answers.journals.torn, answers.silent
        report.thinking = make.thinking.total()
        # Checked before the output appears: with the wrong file of Examples it would be an empty success.
        report.unmatched = known.unmatched()
        if isinstance(make, PreferenceRows) and make.judgements is not None:
            report.unjudged = make.judgements.unmatched()
        # A teacher may be in rows of Examples only, so whether the name is known shows after the last row.
        unheard = teacher is not None and teacher not in answers.teachers
        if unheard and report.statuses[teacher or ""].keys() <= {"missing"}:
            found = ", ".join(answers.teachers)
            raise UsageError(f"no answer is of the teacher {teacher!r}: the journals' teachers are {found}")
        report.ledger.check()
    return report


_Maker = RationaleRows | TrainingRows | PreferenceRows


def _maker(settings: Settings, answers: Answers, conversations: Conversations, statuses: Statuses) -> _Maker:
    if settings.to == "rationale":
        return RationaleRows(answers, settings.number or 0, statuses, settings.place)
    if settings.to == "preference":
        judgements = None
        if settings.judgements is not None:
            judgements = Judgements(str(settings.judgements), answers.teachers)
        place = partial(placed, reasoning=settings.place)
        return PreferenceRows(answers, settings, conversations, place, statuses, judgements)
    if settings.teacher is None and len(answers.teachers) > 1:
        found = ", ".join(answers.teachers)
        raise UsageError(f"several teachers answered: choose one with --teacher: {found}")
    teacher = answers.teachers[0] if settings.teacher is None else settings.teacher
    renderers: dict[str, Renderer] = {
        "qa": qa_row,
        "choice-probs": partial(probs_row, answers, teacher),
        "chat": lambda example, judged, labels: conversations.row(example, judged, labels.request),
    }
    return TrainingRows(answers, teacher, renderers[settings.to], statuses, settings)


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


def _check_places(
    paths: Sequence[str], source: str, output: str, dataset: str | None, judgements: str | Path | None
) -> None:
    if not paths:
        raise UsageError("there is nothing to collect: give at least one journal of responses")
    judged = [] if judgements is None else [str(judgements)]
    if [*paths, source, *judged].count(files.STDIO) > 1:
        raise UsageError("standard input can be read only once: give the others as files")
    if dataset is not None:
        converters.load(dataset)
    files.format_of(output)
    # Nothing else of a journal remains: unlike converted rows it cannot be made again.
    files.check_apart([output], paths, "the rows would replace a journal, and with it paid answers")
    files.check_apart([output], judged)


def _made(
    make: Callable[[Example, Labels], Iterator[Made | RowDropped]],
    known: _Ids,
    source: str,
    dataset: str | None,
    *,
    requests: bool,
) -> Iterator[Made | RowDropped]:
    where = None
    for where, row in read_located(source, dataset):
        with located(where):
            try:
                if requests and dataset is None and is_request(row):
                    example = example_of_request(row)
                    known.add(example, where.number)
                    yield from make(example, Labels({}, {}, {}, row))
                    continue
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
