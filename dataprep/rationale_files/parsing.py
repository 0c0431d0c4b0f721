"""Files of teachers' rationales: read into labelled rows, joined with their gold rows, and written back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

from dataprep import engine, files
from dataprep.choices import id_of, question_and_choices
from dataprep.errors import FileError, InputError, RowError, UsageError
from dataprep.gold import GoldRow, read_gold
from dataprep.ledger import Ledger
from dataprep.rationale_status import status_of, trim_runaway
from dataprep.rationales import Parsed, Teachers, parse, render
from dataprep.records import LETTERS, describe, optional_text, text_of

BATCH = 500
"""Strings in one published file: file K of a split holds the gold rows from 500·K on."""

_BATCH_FILE = re.compile(r"(?P<split>[^/]+)_CoT_(?P<number>\d+)\.json(?:\.gz|\.zst)?$")


@dataclass
class ParseReport:
    """What ``parse-rationales`` found.

    Attributes:
        ledger: rows in and out.
        statuses: rows by teacher and status.
        agree: rows whose first teacher's own answer is the gold one, where there is a gold file.
    """

    ledger: Ledger = field(default_factory=Ledger)
    statuses: dict[str, Counter[str]] = field(default_factory=dict)
    agree: int = 0


class RationaleParser:
    """The row operator of ``parse-rationales``: a published string in, a labelled row out."""

    placed = True
    any_value = True

    def __init__(
        self, teachers: Teachers, gold: Sequence[GoldRow] | None = None, *, trim: bool = False
    ) -> None:
        self.teachers = teachers
        self.gold = gold
        self.trim = trim
        self.counts: Counter[tuple[str, str]] = Counter()
        self._by_id = {row.id: row for row in gold or () if row.id is not None}

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.teachers, self.gold, self.trim)

    def __call__(self, row: Any, path: str, number: int) -> bytes:
        """The labelled row as one line of JSON, without its newline.

        Raises:
            RowError: the string is not in the published layout, or is not its gold row's.
        """
        text, own_id = (row, None) if type(row) is str else _text_and_id(row)
        parsed = parse(text, self.teachers)
        gold = None if self.gold is None else self._gold_row(parsed, own_id, path, number)
        own = LETTERS.find(parsed.answer[0]) if parsed.answer else -1
        place = own if gold is None else gold.place
        known = place if 0 <= place < len(parsed.choices) else None
        statuses, answers = self._judge(parsed, known, own)
        if gold is not None and own == gold.place:
            self.counts["", "agree"] += 1
        labelled = {
            "id": own_id or (gold.id if gold is not None else None) or _content_id(parsed),
            "question": parsed.question,
            "choices": parsed.choices,
            "answer": None if known is None else _answer(parsed.choices, known),
            "rationales": parsed.rationales,
            "status": statuses,
            "teacher_answers": answers or None,  # no table can hold an object without fields
            "source": f"{path}:{number - 1}",
        }
        return orjson.dumps(labelled)

    def _judge(
        self, parsed: Parsed, gold: int | None, own: int
    ) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        """Each teacher's status, and the answer of each that names one; counts them on the way."""
        statuses: dict[str, str] = {}
        answers: dict[str, dict[str, str]] = {}
        choices, rationales, counts = parsed.choices, parsed.rationales, self.counts
        for teacher, text in rationales.items():
            if teacher == self.teachers.first:
                status, _ = status_of(text, choices, gold, own, sentence=parsed.answer is not None)
                if parsed.answer is not None:  # its answer is its sentence, or none
                    answers[teacher] = {"label": parsed.answer[0], "text": parsed.answer[1]}
            else:
                status, concluded = status_of(text, choices, gold)
                if concluded >= 0:
                    answers[teacher] = _answer(choices, concluded)
            statuses[teacher] = status
            counts[teacher, status] += 1
            if self.trim and status == "runaway":
                rationales[teacher] = trim_runaway(text)
        return statuses, answers

    def _gold_row(self, parsed: Parsed, own_id: str | None, path: str, number: int) -> GoldRow:
        assert self.gold is not None
        if own_id is not None:
            if own_id not in self._by_id:
                raise RowError("no gold row", f"the gold file has no row with the id {own_id!r}")
            gold, which = self._by_id[own_id], f"gold row {own_id!r}"
        else:
            batch = _BATCH_FILE.search(path)
            position = number - 1 + (BATCH * int(batch["number"]) if batch else 0)
            if position >= len(self.gold):
                raise RowError(
                    "no gold row", f"the gold file has {len(self.gold)} rows; this is row {position}"
                )
            gold, which = self.gold[position], f"gold row {position}"
        for name in ("question", "choices"):
            ours, theirs = getattr(parsed, name), getattr(gold, name)
            if ours != theirs:
                found = f"its {name} is {describe(ours, 200)}, that of {which} {describe(theirs, 200)}"
                raise RowError("not the gold row", found)
        return gold


def _rebuild(teachers: Teachers, gold: Sequence[GoldRow] | None, trim: bool) -> RationaleParser:
    return RationaleParser(teachers, gold, trim=trim)


def _text_and_id(row: Any) -> tuple[str, str | None]:
    """The string and the id in a JSON Lines row ``{"text", "id"}``."""
    if not isinstance(row, Mapping):
        raise RowError("not a rationale string", f"expected a string, found {describe(row)}")
    if type(row.get("text")) is not str:
        raise RowError(
            "missing field 'text'", f"expected a string or {{'text', 'id'}}, found {describe(row)}"
        )
    return row["text"], id_of(row)


def _answer(choices: Sequence[str], place: int) -> dict[str, str]:
    return {"label": LETTERS[place], "text": choices[place]}


def _content_id(parsed: Parsed) -> str:
    """An id made from question and choices: the same for all teachers' strings of one row."""
    content = "\x1f".join((parsed.question, *parsed.choices)).encode("utf-8", "backslashreplace")
    return f"choice-{blake2b(content, digest_size=8).hexdigest()}"


def rationale_files(inputs: Sequence[str | Path]) -> list[str]:
    """The files that inputs name: folders stand for their ``SPLIT_CoT_K.json``, K in numeric order.

    Raises:
        FileError: a file is missing, or a folder holds none.
    """
    paths: list[str] = []
    for given in map(str, inputs):
        if given == files.STDIO or not Path(given).is_dir():
            files.check_input(given)
            paths.append(given)
            continue
        found = [
            (match, str(path)) for path in Path(given).iterdir() if (match := _BATCH_FILE.search(str(path)))
        ]
        if not found:
            raise FileError(given, "the folder holds no SPLIT_CoT_K.json")
        found.sort(key=lambda pair: (pair[0]["split"], int(pair[0]["number"])))
        paths += [path for _, path in found]
    if not paths:
        raise UsageError("there is nothing to parse: give at least one file or folder")
    return paths


def _check_one_split(paths: Sequence[str]) -> None:
    """A gold file belongs to one split: several in one call could only be joined wrongly."""
    batches = [_BATCH_FILE.search(path) for path in paths]
    if len(paths) > 1 and (not all(batches) or len({match["split"] for match in batches if match}) > 1):
        names = ", ".join(Path(path).name for path in paths[:4])
        raise UsageError(
            f"--gold belongs to the files of one split; these are several ({names}, …): give one split's"
        )


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
        output: where the labelled rows go (``RationaleParser`` makes them).
        gold: the gold rows' file. Rows are joined by id where they have one, else by position, and
            question and choices must agree. The gold answer wins.
        teachers: the first teacher's name, then further ones as ``name`` or ``marker=name``.
        trim: cut a rationale where it runs on into another question.
        workers: processes; ``None`` takes every core for large inputs.
        rejects: where bad rows go; without it the first one raises.
        progress: called with the bytes of input that were worked off since the last call.

    Raises:
        InputError: a string is not in the published layout, or is not its gold row's.
        FileError: a file cannot be read or written.
    """
    paths = rationale_files(inputs)
    files.check_distinct(rejects, [output], paths)
    if gold is not None:
        _check_one_split(paths)
    names = Teachers.named(teachers) if teachers else Teachers()
    operator = RationaleParser(names, None if gold is None else read_gold(str(gold)), trim=trim)
    report = ParseReport()
    ledger = report.ledger
    with ExitStack() as stack:
        bad = stack.enter_context(files.open_rejects(rejects))
        out = stack.enter_context(files.open_output(str(output)))
        outcomes = engine.run(
            operator, _blocks(paths), workers=_count(workers, paths), output=out.direct, name=out.path
        )
        stack.enter_context(closing(outcomes))
        rows_of = dict.fromkeys(paths, 0)
        for block, outcome in outcomes:
            rows_of[block.path] += outcome.rows_in
            ledger.rows_in += outcome.rows_in
            ledger.rows_out += outcome.rows_out
            for failure in outcome.failures:
                bad.add(block.path, block.unit, failure.line, failure.message, failure.row)
                ledger.fail(failure.reason)
            _count_up(report, outcome.counts)
            if outcome.data is not None:
                out.write(outcome.data)
            if progress is not None:
                progress(block.end - block.start if block.data is None else len(block.data))
        for path, rows in rows_of.items():
            if not rows:
                raise InputError(path, "the file is empty; expected rationale strings")
        ledger.check()
    return report


def _count_up(report: ParseReport, counts: Mapping[tuple[str, str], int]) -> None:
    for (teacher, status), count in counts.items():
        if teacher:
            report.statuses.setdefault(teacher, Counter())[status] += count
        else:
            report.agree += count


def _count(workers: int | None, paths: Sequence[str]) -> int:
    if workers is not None:
        return workers
    size = sum(Path(path).stat().st_size for path in paths if Path(path).is_file())
    return engine.available_cores() if size > engine.AUTO_WORKERS_BYTES else 1


def _blocks(paths: Iterable[str]) -> Iterator[files.Block]:
    for path in paths:
        kind = files.format_of(path).kind
        if kind == "json":
            yield files.array_block(path)
        elif kind == "jsonl":
            yield from files.read_blocks(path)
        else:
            raise UsageError(f"{path}: rationale strings are read from .json and .jsonl files")


def export_rationales(
    rows: str | Path, folder: str | Path, *, split: str = "train", teachers: Sequence[str] = ()
) -> list[Path]:
    """Write labelled rows back as files of 500 strings in the published format; returns the files.

    Args:
        rows: a file of rows as ``parse_rationale_files`` writes them.
        folder: where ``SPLIT_CoT_K.json`` go; made where it is missing.
        split: the split in the files' names.
        teachers: as in ``parse_rationale_files``.

    Raises:
        InputError: the format cannot carry a row's fields; nothing is written after it.
        FileError: a file cannot be read or written, or exists already.
    """
    names = Teachers.named(teachers) if teachers else Teachers()
    source = str(rows)
    unit = "line" if files.format_of(source).kind == "jsonl" else "row"

    def strings() -> Iterator[str]:
        for number, row in files.read_rows(source):
            try:
                yield render(_parsed(row, names), names)
            except RowError as error:
                raise InputError(files.place(source, unit, number), str(error)) from None

    texts, target = list(strings()), Path(folder)
    if not texts:
        raise InputError(source, "the file is empty; expected rows")
    batches = [texts[begin : begin + BATCH] for begin in range(0, len(texts), BATCH)]
    paths = [target / f"{split}_CoT_{number}.json" for number in range(len(batches))]
    for path in paths:
        if path.exists():
            raise FileError(path, "exists already, and nothing is overwritten; give another folder")
    with files.writing(str(target)):
        target.mkdir(parents=True, exist_ok=True)
    for path, batch in zip(paths, batches, strict=True):
        files.write_rows(batch, str(path))
    return paths


def _parsed(row: Mapping[str, Any], teachers: Teachers) -> Parsed:
    """The fields of a labelled row; the sentence holds the first teacher's own answer, or the gold one."""
    found = row.get("rationales")
    rationales = (
        {name: text for name, text in found.items() if text is not None} if isinstance(found, dict) else {}
    )
    if not rationales or not all(type(text) is str for text in rationales.values()):
        raise RowError("no rationales", f"expected an object of texts, found {describe(found)}")
    answer = row.get("answer")
    if "teacher_answers" in row:  # a teacher that gave no answer sentence gets none
        answer = (row["teacher_answers"] or {}).get(teachers.first)
    own = None
    if isinstance(answer, Mapping):
        own = text_of(answer, "label"), optional_text(answer, "text") or ""
    question, (choices, _) = question_and_choices(row)
    ordered = {teachers.first: rationales.get(teachers.first, ""), **rationales}
    return Parsed(question, choices, own, ordered)
