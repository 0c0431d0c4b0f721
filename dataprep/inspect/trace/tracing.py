"""Follow a row back, one command after the other, through the manifests beside the files."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, Literal

from dataprep.core.errors import DataprepError, Location, RowError, UsageError, one_line
from dataprep.core.io import STDIO, FileBytes, exists, is_url, name_of, printable
from dataprep.core.manifests.digests import digest_of_object
from dataprep.core.records import whole_of
from dataprep.datasets.source_rows import example_of, read_located
from dataprep.inspect.steps import Step, StepFile, step_of
from dataprep.inspect.trace.answers import answers_of_row, answers_to
from dataprep.inspect.trace.operators import row_of_operator
from dataprep.inspect.trace.rows import (
    MAX_PLACES,
    Row,
    equal_rows,
    kept_row,
    lines_of,
    merged_row,
    rank_of,
    row_at,
    shown_rows,
)
from dataprep.tokens.shards.manifest import MANIFEST, sha256_of
from dataprep.tokens.shards.reading import Mixture, Shards

Kind = Literal["row", "document", "answer", "request"]
MAX_FOLLOWED = 5  # of several rows that a row can come from
_DEEPEST = 50
_READ_SOURCES = ("convert", "import", "parse-rationales")  # whose inputs, without a manifest, begin a chain


@dataclass(slots=True)
class Origin:
    """A place that a row comes from, and the places that this one comes from.

    Attributes:
        kind: a row of a file, a document of shards, a teacher's answer, or a request to a teacher.
        where: its place.
        command: the command that made it; empty if no manifest is beside its file.
        facts: what is known of it, such as the model and the tokens of an answer.
        note: why it is not followed further, or what is not certain.
        sources: what the command made it of. Several rows are equal, and each can be the one.
        is_source: whether it is in ``raw/``, where a chain begins.
    """

    kind: Kind
    where: Location
    command: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    sources: list[Origin] = field(default_factory=list)
    is_source: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the origin as a JSON object, with everything before it."""
        shown: dict[str, Any] = {
            "kind": self.kind,
            "path": printable(self.where.path),
            "document" if self.kind == "document" else self.where.unit: self.where.number,
            "command": self.command,
            "note": self.note,
            "is_source": self.is_source,
            **self.facts,
            "from": [source.to_json() for source in self.sources],
        }
        return {name: value for name, value in shown.items() if value is not False and value not in ("", [])}

    def all(self) -> Iterator[Origin]:
        """Yield this origin and everything before it."""
        yield self
        for source in self.sources:
            yield from source.all()


def trace(target: str) -> Origin:
    """Return where a row, or a document of shards, comes from.

    Every step is exact: the row at the place that a command read is compared with the row that it wrote.
    Where several rows are equal, all of them are named. Where a step cannot be followed, its note says why.

    Args:
        target: ``FILE:N``, where N is a line of JSON Lines or the number of a row of another format; or
            ``DIR:N`` for document N of token shards or of a mixture of them, counted from 0.

    Raises:
        UsageError: the target has another form.
        InputError: there is no such row.
    """
    path, colon, number = target.rpartition(":")
    if not colon or not number.isascii() or not number.isdigit() or not path or path == STDIO:
        raise UsageError(f"{target}: expected FILE:N, the path of a file and a row of it")
    if not is_url(path) and (Path(path) / MANIFEST).is_file():
        return _trace_document(Shards.open(path), int(number))
    return _trace_row(row_at(path, int(number)), 0)


def _trace_document(shards: Shards, number: int) -> Origin:
    """Return the origin of a document of shards, or of a mixture of shards."""
    path = _plain(shards.path)
    made = Origin("document", Location(path, number), "tokenize")
    try:
        if isinstance(shards, Mixture):
            made.command = "mix"
            made.sources = [_trace_document(*shards.drawn_from(number))]
            return made
        source, row = shards.source(number), shards.row(number)
    except IndexError as error:
        raise UsageError(f"{path}: no document {number}: {error}") from None
    counts = [*accumulate(file["rows"] for file in shards.manifest["inputs"])]
    place = bisect_right(counts, row)
    file = shards.manifest["inputs"][place]
    step = step_of(path)
    given = [] if step is None else step.row_files()
    if len(given) != len(shards.manifest["inputs"]):
        made.note = f"row {source.row} of {source.name}; no manifest beside {path} says where this file is"
        return made
    path = given[place].path
    if problem := _unreadable(given[place]) or _changed(path, file.get("sha256") or ""):
        made.note = problem
        return made
    rows = islice(lines_of(path), source.row - 1, None)
    made.sources = [_trace_row(each, 1) for each in islice(rows, 1)]
    return made


def _plain(folder: Path) -> str:
    """Return a path without ``..`` in its middle: a mixture names its sources as MIXTURE/../SOURCE."""
    short = os.path.normpath(folder)
    # Behind a link to a folder, `..` is elsewhere.
    return short if Path(short).exists() and Path(short).samefile(folder) else os.path.realpath(folder)


def _trace_row(row: Row, depth: int, kind: Kind = "row", reader: str = "") -> Origin:
    """Return the origin of a row that the command ``reader`` read."""
    made = Origin(kind, row.where)
    try:
        step = step_of(row.where.path)
        if step is None:
            made.is_source = reader in _READ_SOURCES or "raw" in Path(row.where.path).parts[-5:-1]
            made.note = (
                "" if made.is_source else "no manifest is beside the file: nothing tells how it was made"
            )
        elif depth >= _DEEPEST:
            made.note = f"not followed further, after {_DEEPEST} steps"
        else:
            made.command = step.command
            _follow(made, row, step, depth)
    except (DataprepError, OSError) as error:
        made.note = f"not followed further: {one_line(error)}"
    return made


def _changed(path: str, digest: str, since: str = "it was read", size: int | None = None) -> str:
    """Return what to say if a file is missing or has another content than a digest says.

    ``size`` is the number of bytes that a journal had then; lines may have been added since.
    """
    if not exists(path):
        return f"{path} is not there, so the row cannot be looked up in it"
    if digest and _digest_of(path, size) != digest:
        return f"{path} was changed since {since}: its SHA-256 is not that of the manifest"
    return ""


def _digest_of(path: str, size: int | None) -> str:
    if is_url(path):
        return digest_of_object(path)[0]
    if size is None or Path(path).stat().st_size <= size:
        return sha256_of(path)
    digest, data, step = sha256(), FileBytes(path), 1 << 20
    for begin in range(0, size, step):
        digest.update(data[begin : min(begin + step, size)])
    return digest.hexdigest()


def _unreadable(file: StepFile) -> str:
    """Return why the rows of an input cannot be looked up; empty if they can."""
    if file.is_known:
        return _changed(file.path, file.sha256)
    if file.path == STDIO:
        return "the command read standard input, of which nothing is left"
    return f"{file.path} is outside of the workspace, and its manifest does not say where"


def _follow(made: Origin, row: Row, step: Step, depth: int) -> None:
    """Add what a step made a row of."""
    own = next((file for file in step.outputs if name_of(file.path) == name_of(row.where.path)), None)
    size = own.size if own is not None and step.command == "generate" else None
    if own is not None and (problem := _changed(row.where.path, own.sha256, "it was written", size)):
        made.note = problem
        return
    if step.command in _BY_NAME:
        _BY_NAME[step.command](made, row, step, depth)
        return
    for file in step.row_files():
        if problem := _unreadable(file):
            made.note = problem
            return
    if step.command not in _BY_ROW:
        made.note = f"the rows of {step.command} cannot be followed to single rows of its inputs"
        return
    rows = _BY_ROW[step.command](row, step)
    if not rows:
        made.note = "no row of the inputs is the one that the command, run again, would make it of"
    _add_equal(made, rows, depth, step.command)


def _add_equal(made: Origin, rows: Sequence[Row], depth: int, reader: str) -> None:
    """Add rows of which each can be the one that a row is made of."""
    if len(rows) > 1:
        more = "at least " if len(rows) >= MAX_PLACES else ""
        made.note = f"{more}{len(rows)} rows are equal, and each of them can be the one"
    for number, each in enumerate(rows):
        followed = number < MAX_FOLLOWED
        made.sources.append(
            _trace_row(each, depth + 1, reader=reader) if followed else Origin("row", each.where)
        )


def _paths(step: Step) -> list[str]:
    return [file.path for file in step.row_files()]


def _of_merge(row: Row, step: Step) -> list[Row]:
    seed = step.options.get("seed", 42)
    seed = None if step.options.get("no_shuffle") else seed
    paths = _paths(step)
    # Only with rejects can there be lines that are not rows.
    check = bool(step.options.get("rejects"))
    found = merged_row(row, paths, seed, check=check)
    if found is None and len(paths) > 1:
        found = merged_row(row, sorted(paths), seed, check=check)
    return equal_rows(row.line, paths) if found is None else [found]


def _of_operator(row: Row, step: Step) -> list[Row]:
    found = row_of_operator(row, step)
    return [] if found is None else [found]


def _of_kept(row: Row, step: Step) -> list[Row]:
    return kept_row(row, _paths(step))


def _of_mix(row: Row, step: Step) -> list[Row]:
    return equal_rows(row.line, _paths(step))


def _of_strings(row: Row, step: Step) -> list[Row]:
    """Return the string of which ``parse-rationales`` made a row, which names its file and place."""
    name, index = row.value.get("file"), whole_of(row.value.get("index"))
    if not isinstance(name, str) or index is None:
        return []
    paths = [
        path for path in _paths(step) if printable(Path(path).as_posix()).endswith(f"/{name}") or path == name
    ]
    return [each for path in paths for each in islice(lines_of(path), index, index + 1)]


def _of_predicted(row: Row, step: Step) -> list[Row]:
    """Return the row that has the same number, if none was left out."""
    paths = _paths(step)
    counts = [sum(1 for _ in lines_of(path)) for path in paths]
    if sum(counts) != sum(1 for _ in lines_of(row.where.path)):
        return []
    rows = (each for path in paths for each in lines_of(path))
    rank = rank_of(row)
    return [*islice(rows, rank, rank + 1)]


_BY_ROW: dict[str, Callable[[Row, Step], list[Row]]] = {
    "merge": _of_merge,
    "convert": _of_operator,
    "import": _of_operator,
    "export": _of_operator,
    "filter": _of_kept,
    "dedup": _of_kept,
    "split": _of_kept,
    "decontaminate": _of_kept,
    "mix": _of_mix,
    "parse-rationales": _of_strings,
    "predict": _of_predicted,
}


def _id_of(row: Row) -> str:
    value = row.value.get("id") if isinstance(row.value, Mapping) else None
    if value is None:
        raise RowError("no id", "answers, requests and Examples are linked by ids, and this row has none")
    return str(value)


def _rows_with_id(path: str, identity: str, dataset: Any = None) -> list[Row]:
    """Return the Examples, requests or source rows of a file that have an id."""
    name = dataset if isinstance(dataset, str) else None
    places = set()
    for where, value in read_located(path, name):
        own = value.get("id")
        if name is None and own is not None:
            same = str(own) == identity
        else:
            try:
                same = example_of(value, name, unlabelled=True, unanswerable=True).identify() == identity
            except RowError:
                continue
        if same:
            places.add(where.number)
    return [row for row in lines_of(path) if row.where.number in places]


def _of_prompt(made: Origin, row: Row, step: Step, depth: int) -> None:
    source = _input(step, "source", 0)
    _add_equal(made, _rows_with_id(source, _id_of(row), step.options.get("dataset")), depth, "prompt")


def _of_generate(made: Origin, row: Row, step: Step, depth: int) -> None:
    requests = _input(step, "requests", 0)
    made.sources = [_trace_row(each, depth + 1, "request") for each in _rows_with_id(requests, _id_of(row))]


def _of_collect(made: Origin, row: Row, step: Step, depth: int) -> None:
    identity, options = _id_of(row), step.options
    examples = _input(step, "examples", -1)
    _add_equal(made, _rows_with_id(examples, identity, options.get("dataset")), depth, "collect")
    journals = {file.path: file for file in step.row_files() if file.is_known}
    names = [f"{each}".partition("=") for each in options.get("teacher_name") or ()]
    sample = options.get("sample")
    any_sample = sample == "all" or (sample is None and options.get("to") == "preference")
    found = answers_of_row(
        row.value,
        answers_to([(path, file.size) for path, file in journals.items()], identity),
        renamed={old: new for old, _, new in names},
        teacher=options.get("teacher"),
        sample=None if any_sample else whole_of(sample) or 0,
    )
    changed = {path for path, file in journals.items() if _changed(path, file.sha256, size=file.size)}
    for answer in found:
        journal = step_of(answer.where.path)
        each = Origin("answer", answer.where, "" if journal is None else journal.command)
        each.facts = answer.facts(_prices(journal))
        if answer.where.path in changed:
            each.note = "the journal was changed since, so this may not be the answer that was collected"
        if journal is not None:
            _follow_safely(each, row, journal, depth)
        made.sources.append(each)


def _follow_safely(made: Origin, row: Row, step: Step, depth: int) -> None:
    try:
        _of_generate(made, row, step, depth + 1)
    except (DataprepError, OSError) as error:
        made.note = made.note or f"not followed further: {one_line(error)}"


def _prices(step: Step | None) -> tuple[float, float] | None:
    if step is None:
        return None
    prices = [step.options.get(name) for name in ("price_in", "price_out")]
    if not any(type(price) in (int, float) and price for price in prices):
        return None
    return float(prices[0] or 0), float(prices[1] or 0)


def _input(step: Step, name: str, place: int) -> str:
    """Return the path of the input that an option names; else the one at a place among all inputs."""
    given = step.options.get(name)
    if isinstance(given, str):
        for file in sorted(step.inputs, key=lambda file: file.name != given):
            if file.name == given or name_of(file.path) == name_of(given):
                return file.path
    if not step.inputs:
        raise UsageError("its manifest names no input")
    return step.inputs[place].path


def _of_diff(made: Origin, row: Row, step: Step, depth: int) -> None:
    for side in ("a", "b"):
        place = row.value.get(side)
        if isinstance(place, Mapping) and (path := _input(step, side, 0 if side == "a" else -1)):
            made.note = made.note or _changed(path, next(f.sha256 for f in step.inputs if f.path == path))
            _add_equal(made, [] if made.note else shown_rows(place, path), depth, "diff")


# Commands whose rows name what they were made of.
_BY_NAME: dict[str, Callable[[Origin, Row, Step, int], None]] = {
    "diff": _of_diff,
    "prompt": _of_prompt,
    "generate": _of_generate,
    "collect": _of_collect,
}
