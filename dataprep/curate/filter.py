"""Keep the rows for which an SQL condition holds: the library behind ``dataprep filter``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from difflib import get_close_matches
from itertools import compress
from pathlib import Path
from typing import Any

from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.errors import RowDropped, RowError, UsageError
from dataprep.core.ledger import Ledger
from dataprep.core.records import from_cell
from dataprep.curate.inputs import blocks_of, checked_inputs
from dataprep.curate.marks import SUFFIX, Marks
from dataprep.curate.sql import Term
from dataprep.curate.texts import TextOf
from dataprep.curate.where import Condition

NO_MATCH = "does not match"  # the reason for which rows are left out
_SHOWN = 40  # names of fields in a message
Encode = Callable[[str], Sequence[int]]


def filter_files(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path | None,
    *,
    where: str,
    encode: Encode | None = None,
    workers: int | None = 1,
    rejects: str | Path | files.Rejects | None = None,
    progress: engine.Progress | None = None,
) -> Ledger:
    """Write the rows for which a condition holds; they keep their bytes and their order.

    Args:
        inputs: a file or several, in any format that dataprep reads; ``-`` is standard input.
        output: file to write; ``-`` is standard output. With ``None`` the rows are only counted.
        where: a condition in SQL on the fields of a row and on derived values, for example
            ``"chars(assistant) > 100"``; `dataprep filter --help` lists them.
        encode: encodes a text as a list of tokens, for ``tokens(…)``; picklable if there are several workers.
        workers: number of processes; ``None`` decides by the input's size.
        rejects: file for bad rows, also those for which the condition cannot be evaluated. Without it the
            first one raises.
        progress: called with the bytes of input worked off since the last call.

    Returns:
        The number of rows that came in, went out, were dropped and failed.

    Raises:
        UsageError: the condition is wrong, or names a field that no row has.
        InputError: a row is bad.
    """
    operator = FilterRows(where, encode)
    paths = checked_inputs(inputs, [] if output is None else [output], rejects, "filter")
    operator.read_marks(paths)
    ledger = Ledger()

    def count_rows(_: files.Block, outcome: engine.Outcome) -> None:
        ledger.rows_out += outcome.rows_out

    def run(out: files.Output | None) -> None:
        seen = engine.run_into(
            blocks_of(paths),
            operator if out is not None else engine.without_output(operator),
            out,
            ledger,
            bad,
            paths=paths,
            workers=engine.workers_for(paths, workers),
            take=count_rows if out is None else None,
            progress=progress,
        )
        # Inside, so that a misspelled name leaves no output.
        operator.check_seen(seen)

    with files.open_rejects(rejects) as bad, ExitStack() as stack:
        run(None if output is None else stack.enter_context(files.open_output(str(output))))
    ledger.check()
    return ledger


class FilterRows:
    """Keep the lines of a block for which a condition holds: a picklable operator."""

    def __init__(
        self, where: str, encode: Encode | None = None, marks: Mapping[str, Marks] | None = None
    ) -> None:
        self.where, self._encode, self._marks = where, encode, dict(marks or {})
        self._condition = Condition(where)
        self._terms = self._condition.terms
        for term in self._terms:
            if term.kind == "tokens" and encode is None:
                raise UsageError(f"--where: {term} needs a tokenizer: name one with --tokenizer")
        self._getters = [_getter(term, encode) for term in self._terms]
        self._unseen = {term for term in self._terms if term.kind != "source"}

    def __reduce__(self) -> tuple[Any, ...]:
        # Expressions of Polars change with its version, and are compiled again in a millisecond.
        return type(self), (self.where, self._encode, self._marks)

    def read_marks(self, paths: Sequence[str]) -> None:
        """Read the marks on the rows of files, if the condition names them."""
        if any(term.kind in ("mark", "note") for term in self._terms):
            self._marks = {path: Marks(path) for path in paths}
            if any(files.exists(marks.path) for marks in self._marks.values()):
                self._unseen = {term for term in self._unseen if term.kind not in ("mark", "note")}

    def __call__(self, block: files.Block) -> engine.Outcome:
        """Return the lines that are kept."""
        read: engine.ReadRows[dict[str, Any]] = engine.read_block(block, checked=False)
        rows, lines = read.rows, read.lines
        columns: list[list[Any]] = []
        problems: dict[int, RowError] = {}
        for term, get in zip(self._terms, self._getters, strict=True):
            if term.kind in ("mark", "note", "source"):
                columns.append(self._beside(term, rows, lines, block.path))
                continue
            column: list[Any] = []
            for number, row in enumerate(rows):
                try:
                    column.append(get(row))
                except RowError as error:
                    problems.setdefault(number, error)
                    column.append(None)
            columns.append(column)
        if self._unseen:
            read.outcome.counts = dict.fromkeys(self._names_in(rows, columns), 1)
        results: list[Any] = self._condition.holds(columns, len(rows))
        for number, problem in problems.items():
            results[number] = problem
        outcome = read.outcome
        kept = list(compress(lines, results))
        if len(kept) == results.count(True):  # no errors, which would be true as well
            outcome.dropped = {NO_MATCH: len(rows) - len(kept)} if len(kept) < len(rows) else {}
            outcome.rows_out = len(kept)
        else:
            read.settle([result if result else _DROP for result in results])
            kept = read.lines
        if kept:
            outcome.put(b"\n".join(kept) + b"\n")
        return outcome

    def _beside(self, term: Term, rows: list[dict[str, Any]], lines: list[bytes], path: str) -> list[Any]:
        """Return the row's own field, or else what stands beside the rows: the file, or the marks."""
        own = [row.get(term.kind) for row in rows]
        if term.kind == "source":
            name = files.printable(path)
            return [name if value is None else value for value in own]
        marks = self._marks.get(path)
        if not marks:
            return own
        found = [marks.of(line) if value is None else None for line, value in zip(lines, own, strict=True)]
        return [
            value if mark is None else (mark.mark if term.kind == "mark" else mark.note or None)
            for value, mark in zip(own, found, strict=True)
        ]

    def _names_in(self, rows: list[dict[str, Any]], columns: list[list[Any]]) -> set[tuple[str, Any]]:
        """Return the terms that occur in rows, and the names of their fields until all terms occurred."""
        seen = set()
        for term, column in zip(self._terms, columns, strict=True):
            if term in self._unseen and (
                any(value is not None for value in column) or any(_has(row, term) for row in rows)
            ):
                seen.add(term)
        self._unseen -= seen
        names: set[tuple[str, Any]] = {("seen", term.column) for term in seen}
        if self._unseen:
            names |= {name for row in rows for name in _names_of(row)}
        return names

    def check_seen(self, names: Iterable[tuple[str, Any]]) -> None:
        """Raise ``UsageError`` for a name in the condition that no row has.

        ``names`` are the counts of the outcomes.
        """
        known: dict[str, dict[str, None]] = {"field": {}, "role": {}, "teacher": {}, "seen": {}}
        for kind, name in sorted(names, key=str):
            known[kind][name] = None
        for term in self._terms:
            if term in self._unseen and term.column not in known["seen"]:
                self._refuse(term, known)

    def _refuse(self, term: Term, known: Mapping[str, Mapping[str, None]]) -> None:
        if term.kind in ("mark", "note"):
            sides = ", ".join(f"{path}{SUFFIX}" for path in self._marks)
            hint = f"`dataprep view` writes marks to {sides}, which does not exist"
            raise UsageError(f"--where: no row has a {term.kind}: {hint}")
        wanted, kinds = term.part or "messages", {"status": ("teacher",), "field": ("field",)}
        names = dict.fromkeys(
            name for kind in kinds.get(term.kind, ("role", "field")) for name in known[kind]
        )
        if term.kind not in ("field", "status") and known["role"]:
            names |= dict.fromkeys(("messages", "question", "answer"))
        found = f"no row has {'a status of' if term.kind == 'status' else 'the field'} {wanted!r}"
        if term.kind in ("chars", "text", "tokens"):
            found = f"no row has the role or field {wanted!r}"
        if not names:
            raise UsageError(f"--where: {found}")
        nearest = get_close_matches(wanted, names, 1, cutoff=0.0)[0]
        listed = ", ".join([*names][:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
        more = "; a text is in single quotes" if term.kind == "field" else ""
        raise UsageError(f"--where: {found}; the nearest is {nearest!r}; known are {listed}{more}")


_DROP = RowDropped(NO_MATCH)


def _getter(term: Term, encode: Encode | None) -> Callable[[Mapping[str, Any]], Any]:
    """Return the function that takes a value out of a row; ``None`` stands for an absent one."""
    part = term.part
    if term.kind == "field":
        return (lambda row: _at(row, part)) if "." in part else (lambda row: row.get(part))
    if term.kind == "status":
        # Not a path: the names of many models have dots.
        return lambda row: of.get(part) if isinstance(of := from_cell(row.get("status")), dict) else None
    if term.kind == "turns":
        return _turns
    text_of = TextOf(part)
    measure: Callable[[str], Any] = str
    if term.kind == "chars":
        measure = len
    elif term.kind == "tokens":
        assert encode is not None, "a condition with tokens() has a tokenizer"
        measure = lambda text: len(encode(text))  # noqa: E731

    def value(row: Mapping[str, Any]) -> Any:
        try:
            return measure(text_of(row))
        except RowError as error:
            if error.reason.startswith("no "):  # the row has no such part
                return None
            raise

    return value


def _at(row: Mapping[str, Any], path: str) -> Any:
    value: Any = row.get(path)  # a name with a dot comes first
    if value is None:
        value = row
        for name in path.split("."):
            value = from_cell(value)  # an object, in a table's cell, is its text
            value = value.get(name) if isinstance(value, dict) else None
    return value


def _turns(row: Mapping[str, Any]) -> Any:
    own, messages = row.get("turns"), row.get("messages")
    if own is not None or not isinstance(messages, list):
        return own
    return sum(1 for message in messages if isinstance(message, dict) and message.get("role") == "user")


def _has(row: Mapping[str, Any], term: Term) -> bool:
    """Return whether a row has the key of a term, be it with a null."""
    if term.kind == "turns":
        return "messages" in row
    if term.kind == "field":
        *parents, name = term.part.split(".")
        inside = from_cell(_at(row, ".".join(parents))) if parents else row
        return term.part in row or (isinstance(inside, dict) and name in inside)
    return False


def _names_of(row: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for name, cell in row.items():
        yield "field", name
        value = from_cell(cell)
        if isinstance(value, dict):
            yield from (("teacher" if name == "status" else "field", inner) for inner in _inner(name, value))
        elif name == "messages" and isinstance(value, list):
            roles = (message.get("role") for message in value if isinstance(message, dict))
            yield from (("role", role) for role in roles if isinstance(role, str))


def _inner(name: str, value: Mapping[str, Any]) -> list[str]:
    return list(value) if name == "status" else [f"{name}.{inner}" for inner in value]
