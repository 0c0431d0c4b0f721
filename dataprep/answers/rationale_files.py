"""Turn one published string into one labelled row, joined with its reference row."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from os.path import commonpath
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from dataprep.answers.quality import status_of, trim_runaway
from dataprep.answers.rationale import Parsed, Teachers, parse
from dataprep.core import io as files
from dataprep.core.errors import RowError
from dataprep.core.parallel import Operator, per_row
from dataprep.core.records import LETTERS, describe
from dataprep.datasets import registry as converters
from dataprep.datasets.converters.choices import id_of
from dataprep.datasets.source_rows import GoldRow

# Number of strings in a published file: file K of a split has the answers to rows 500·K and on.
BATCH = 500
BATCH_FILE = re.compile(r"(?P<split>[^/]+)_CoT_(?P<number>\d+)\.json(?:\.gz|\.zst)?$")
# Counted beside the rationales by teacher and status: rows whose first teacher gives the right answer, and
# rationales that were cut where they run on.
AGREES, TRIMMED = ("", "agrees"), ("", "trimmed")


UNKNOWN = "rationales"  # the source of rows if nothing tells which set they are of


class Origin(NamedTuple):
    """The set that a file belongs to, and the file's path relative to the folder of all files."""

    source: str
    file: str


def origins_of(paths: Sequence[str], source: str | None = None) -> dict[str, Origin]:
    """Return the origin of each file: of the given source, or of the dataset whose folder it is in.

    Published files are in ``DATASET/llm/``. The origin does not depend on where that folder is.
    """
    # Pipes have names such as /dev/fd/63, which are others in the next run.
    piped = {path for path in paths if path == files.STDIO or Path(path).is_fifo()}
    folders = {path: _place_of(path).parent for path in paths if path not in piped}
    shared = commonpath(folders.values()) if folders else ""
    origins = {}
    for path in paths:
        folder = folders.get(path)
        if folder is None:
            origins[path] = Origin(source or UNKNOWN, files.STDIO)
            continue
        names = map(converters.canonical, (folder.name, folder.parent.name))
        found = source or next(filter(converters.is_name, names), UNKNOWN)
        file = (folder / files.name_of(path)).relative_to(shared).as_posix()
        origins[path] = Origin(found, files.printable(file))
    return origins


def _place_of(path: str) -> Path:
    # Of a URL the bucket and the key, of which only the folders' names are of interest.
    return Path("/", *path.partition("://")[2].split("/")) if files.is_url(path) else Path(path).absolute()


class RationaleParser:
    """Make labelled rows out of published strings; ``operator`` works on blocks of them.

    ``origins`` has the origin of each path; others are found out from the path alone.
    """

    def __init__(
        self,
        teachers: Teachers,
        gold: Sequence[GoldRow] | None = None,
        trim: bool = False,
        origins: Mapping[str, Origin] | None = None,
    ) -> None:
        self.teachers = teachers
        self.origins = dict(origins or {})
        # Without references the first teacher's answer is taken as right.
        self.gold = None if gold is None else _GoldRows(gold)
        self.trim = trim
        self.counts: Counter[tuple[str, str]] = Counter()

    def operator(self) -> Operator:
        """Return the operator of ``parse-rationales``; the engine must number the rows."""
        return per_row(self, any_value=True, with_place=True, counts=self._take_counts)

    def _take_counts(self) -> Counter[tuple[str, str]]:
        taken, self.counts = self.counts, Counter()
        return taken

    def __call__(self, row: Any, path: str, number: int) -> bytes:
        """Return the labelled row of a string, or of an object ``{"text", "id"}``, as JSON."""
        text, own_id = (row, None) if type(row) is str else _text_and_id(row)
        parsed = parse(text, self.teachers)
        choices = parsed.choices
        own = LETTERS.find(parsed.answer[0]) if parsed.answer else None
        if self.gold is None:
            gold_id, place = None, own
        else:
            gold = self.gold.row_of(parsed, own_id, path, number)
            gold_id, place = gold.id, gold.place
            if own == place:
                self.counts[AGREES] += 1
        origin = self.origins.get(path) or self.origins.setdefault(path, origins_of([path])[path])
        # A first teacher may name a letter that its question does not have: then the row has no answer.
        known = place if place is not None and place < len(choices) else None
        # Before the statuses, which would otherwise all be `runaway`.
        if self.trim:
            for teacher, whole in parsed.rationales.items():
                parsed.rationales[teacher] = trim_runaway(whole)
                self.counts[TRIMMED] += len(parsed.rationales[teacher]) < len(whole)
        statuses, answers = self._judge(parsed, known, own)
        return orjson.dumps(
            {
                "id": own_id or gold_id or _content_id(parsed),
                "question": parsed.question,
                "choices": choices,
                "answer": None if known is None else _answer(choices, known),
                "rationales": parsed.rationales,
                "status": statuses,
                "teacher_answers": answers or None,  # no table can hold an object without fields
                "source": origin.source,
                "file": origin.file,
                "index": number - 1,
            }
        )

    def _judge(
        self, parsed: Parsed, gold: int | None, own: int | None
    ) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        statuses: dict[str, str] = {}
        answers: dict[str, dict[str, str]] = {}
        choices, first, counts = parsed.choices, self.teachers.first, self.counts
        for teacher, text in parsed.rationales.items():
            if teacher != first:
                status, concluded = status_of(text, choices, gold, trimmed=self.trim)
                if concluded >= 0:
                    answers[teacher] = _answer(choices, concluded)
            else:
                status, _ = status_of(text, choices, gold, own, trimmed=self.trim)
                if parsed.answer is not None:  # the first teacher answers in its sentence, or not at all
                    answers[teacher] = {"label": parsed.answer[0], "text": parsed.answer[1]}
            statuses[teacher] = status
            counts[teacher, status] += 1
        return statuses, answers


class _GoldRows:
    def __init__(self, rows: Sequence[GoldRow]) -> None:
        self._rows = rows
        self._by_id: dict[str, int] = {}
        self._twice: dict[str, tuple[int, int]] = {}
        for position, row in enumerate(rows):
            if row.id is not None and rows[first := self._by_id.setdefault(row.id, position)] != row:
                # Reported only if a string has this id: datasets do repeat ids that nobody asks for.
                self._twice.setdefault(row.id, (first, position))

    def row_of(self, parsed: Parsed, own_id: str | None, path: str, number: int) -> GoldRow:
        # Published strings have no ids: only their position says which row they belong to.
        position = self._position(path, number) if own_id is None else self._named(own_id)
        gold = self._rows[position]
        if parsed.question != gold.question or parsed.choices != gold.choices:
            name = "question" if parsed.question != gold.question else "choices"
            ours, theirs = describe(getattr(parsed, name), 200), describe(getattr(gold, name), 200)
            found = f"its {name} is {ours}, that of gold row {position + 1} {theirs}"
            raise RowError("not the gold row", f"{found}; give the reference file of the same split")
        return gold

    def _position(self, path: str, number: int) -> int:
        batch = BATCH_FILE.search(path)
        position = number - 1 + (BATCH * int(batch["number"]) if batch else 0)
        if position >= len(self._rows):
            found = f"this is row {position + 1}, and the reference file has {len(self._rows)} rows"
            raise RowError("no gold row", f"{found}; give the reference file of the same split")
        return position

    def _named(self, own_id: str) -> int:
        if own_id in self._twice:
            first, second = self._twice[own_id]
            found = f"rows {first + 1} and {second + 1} of the references have the id {own_id!r}, and differ"
            raise RowError("two gold rows", f"{found}; give each an id of its own")
        if own_id not in self._by_id:
            found = f"the reference file has no row with the id {own_id!r}"
            raise RowError("no gold row", f"{found}; give the reference file of the same split")
        return self._by_id[own_id]


def _text_and_id(row: Any) -> tuple[str, str | None]:
    if not isinstance(row, Mapping):
        raise RowError("not a rationale string", f"expected a string, found {describe(row)}")
    if type(row.get("text")) is not str:
        expected = "expected a string or {'text', 'id'}"
        raise RowError("missing field 'text'", f"{expected}, found {describe(row)}")
    return row["text"], id_of(row)


def _answer(choices: Sequence[str], place: int) -> dict[str, str]:
    return {"label": LETTERS[place], "text": choices[place]}


def _content_id(parsed: Parsed) -> str:
    # Made from question and choices, so that the strings of all teachers for one row have the same id.
    content = "\x1f".join((parsed.question, *parsed.choices)).encode("utf-8", "backslashreplace")
    return f"choice-{blake2b(content, digest_size=8).hexdigest()}"
