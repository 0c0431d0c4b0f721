"""Raw rows to chat rows or Examples: converters, templates, sampling and files brought together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import orjson

from dataprep import converters, engine, files
from dataprep.errors import InputError, RowDropped, RowError, UsageError
from dataprep.ledger import Ledger
from dataprep.records import Example
from dataprep.sampling.reservoir import Reservoir
from dataprep.templates import DEFAULT_SYSTEM, LETTER_SYSTEM, Template, chat_renderer

Progress = Callable[[int], None]
"""Called with the bytes of input that were worked off since the last call."""


@dataclass(frozen=True)
class Plan:
    """How rows are to be converted; what ``dataprep convert`` takes as flags.

    Attributes:
        dataset: the converter's name.
        split: with it, rows of other splits are left out where one file holds several.
        to: ``"chat"`` rows or ``"example"`` rows.
        template: messages (``system``, ``user``, ``assistant``) in place of the default wording.
        answer_style: what a multiple-choice answer shows: its ``"letter"``, its ``"text"``, or ``"both"``.
        with_id: add ``id`` and ``source`` to chat rows.
        sample: how many rows to keep, drawn by reservoir sampling with ``seed``.
        options: the converter's own options.
    """

    dataset: str
    split: str | None = None
    to: Literal["chat", "example"] = "chat"
    template: Mapping[str, str] = field(default_factory=dict)
    answer_style: Literal["letter", "text", "both"] | None = None
    with_id: bool = False
    sample: int | None = None
    seed: int = 42
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.to not in ("chat", "example"):
            raise UsageError(f"cannot convert to {self.to!r}: expected 'chat' or 'example'")
        if self.sample is not None and (type(self.sample) is not int or self.sample < 1):
            raise UsageError(f"a sample of {self.sample} rows: expected 1 or more")
        RowConverter(self)  # an option or template that does not fit is found before any work


class RowConverter:
    """The row operator of ``convert``: a raw row in, the bytes of a chat or Example row out."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        converter = converters.load(plan.dataset)
        self._source = converter.__name__.rpartition(".")[2]  # type: ignore[attr-defined]
        options = dict(plan.options)
        self._split_of = None
        if hasattr(converter, "split_of"):
            scheme = options.pop("split_scheme", "default")
            self._check_split(scheme, converter.SCHEMES)  # type: ignore[attr-defined]
            if plan.split is not None:
                self._split_of = partial(converter.split_of, scheme=scheme)
        elif plan.split is not None and plan.split not in converter.SOURCE.splits:
            known_splits = ", ".join(converter.SOURCE.splits)
            raise UsageError(f"{plan.dataset} has no split {plan.split!r}; its splits: {known_splits}")
        known = converters.options(converter)
        for name, value in options.items():
            if name in known and known[name] and value not in known[name]:
                choices = " or ".join(map(str, known[name]))
                raise UsageError(f"{_flag(name)} {value}: expected {choices}")
            if name not in known:
                flag = _flag(name)
                has = ", ".join(map(_flag, known)) or "none"
                raise UsageError(f"{plan.dataset} has no option {flag}; its own options: {has}")
        self._convert = partial(converter.convert, **options) if options else converter.convert
        self._render: Callable[[Example], bytes] = _render_example
        if plan.to == "chat":
            if options.get("unlabelled") == "keep":
                raise UsageError("a chat row needs an answer: use --unlabelled keep with --to example")
            template = _wording(converter, plan).with_parts(plan.template)
            self._render = chat_renderer(template, with_id=plan.with_id)

    def _check_split(self, scheme: str, schemes: Mapping[str, Mapping[str, Any]]) -> None:
        if scheme not in schemes:
            raise UsageError(f"unknown split scheme {scheme!r}: expected {' or '.join(schemes)}")
        if self.plan.split is not None and self.plan.split not in schemes[scheme]:
            known = ", ".join(schemes[scheme])
            raise UsageError(f"no split {self.plan.split!r} in scheme {scheme!r}; its splits: {known}")

    def __reduce__(self) -> tuple[Any, ...]:
        return RowConverter, (self.plan,)

    def __call__(self, row: dict[str, Any]) -> bytes:
        """The converted row as one line of JSON, without its newline.

        Raises:
            RowError: the row is not what the dataset's layout says.
            RowDropped: the options leave the row out.
        """
        if self._split_of is not None and self._split_of(row) != self.plan.split:
            raise RowDropped("in another split")
        example = self._convert(row)
        example.source = self._source
        return self._render(example)


def _flag(option: str) -> str:
    """What a converter's option is called on the command line."""
    return "--map" if option == "columns" else "--" + option.replace("_", "-")


def _wording(converter: converters.Converter, plan: Plan) -> Template:
    """The default messages of a dataset in the style that the plan asks for."""
    system, assistant = DEFAULT_SYSTEM, converter.ASSISTANT
    if plan.answer_style is not None:
        if "{choices}" not in converter.USER:
            raise UsageError(f"{plan.dataset} is no multiple-choice set: it has no --answer-style")
        if plan.answer_style == "letter":
            system, assistant = LETTER_SYSTEM, "{answer_label}"
        elif plan.answer_style == "text":
            assistant = assistant.replace("{answer}", "{answer_text}")
    return Template(system, converter.USER, assistant)


def _render_example(example: Example) -> bytes:
    example.identify()
    return orjson.dumps(example.to_json())


def convert_files(
    plan: Plan,
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    workers: int | None = 1,
    rejects: str | Path | files.Rejects | None = None,
    progress: Progress | None = None,
) -> Ledger:
    """Convert files of raw rows, one after the other, into one output.

    Args:
        plan: what to make of the rows.
        inputs: a file or several, in any format that dataprep reads; ``-`` is standard input.
        output: where the rows go, in the format of its suffix; ``-`` is standard output.
        workers: processes; ``None`` takes every core where the input is large enough to gain by it.
            The output's bytes do not depend on it.
        rejects: where bad rows go, each with its place and reason; without it the first one raises.
        progress: told how far the work is.

    Raises:
        InputError: a row, or a whole file, is not what the dataset's layout says.
        FileError: a file cannot be read or written.
    """
    paths = [str(inputs)] if isinstance(inputs, str | Path) else [str(path) for path in inputs]
    if not paths:
        raise UsageError("there is nothing to convert: give at least one file")
    if not isinstance(rejects, files.Rejects):
        files.check_distinct(rejects, [output], paths)
    for path in paths:
        files.check_input(path)
    operator, ledger = RowConverter(plan), Ledger()
    blocks = _all_blocks(paths, converters.load(plan.dataset))
    with ExitStack() as stack:
        bad = stack.enter_context(files.open_rejects(rejects))
        out = stack.enter_context(files.open_output(str(output)))
        sample = None if plan.sample is None else Reservoir[bytes](plan.sample, plan.seed)
        direct = out.direct if sample is None else None
        count = workers or _workers_for(paths)
        outcomes = engine.run(operator, blocks, workers=count, output=direct, name=out.path)
        stack.enter_context(closing(outcomes))
        rows_of = dict.fromkeys(paths, 0)
        for block, outcome in outcomes:
            rows_of[block.path] += outcome.rows_in
            ledger.rows_in += outcome.rows_in
            ledger.drop_all(outcome.dropped)
            for failure in outcome.failures:
                bad.add(block.path, block.unit, failure.line, failure.message, failure.row)
                ledger.fail(failure.reason)
            if sample is not None:
                _offer(sample, outcome)
            else:
                ledger.rows_out += outcome.rows_out
                if outcome.data is not None:
                    out.write(outcome.data)
            if progress is not None:
                progress(block.end - block.start if block.data is None else len(block.data))
        _refuse_empty(rows_of)
        if sample is not None:
            out.write(b"".join(row + b"\n" for row in sample.rows))
            ledger.rows_out += len(sample.rows)
            ledger.drop("not sampled", sample.seen - len(sample.rows))
        ledger.check()
    return ledger


def _refuse_empty(rows_of: Mapping[str, int]) -> None:
    for path, rows in rows_of.items():
        if not rows:
            raise InputError(path, "the file is empty; expected rows")


def _offer(sample: Reservoir[bytes], outcome: engine.Outcome) -> None:
    if outcome.data is not None:
        rows = outcome.data.split(b"\n")
        rows.pop()
        for row in rows:
            sample.add(row)


def _workers_for(paths: Sequence[str]) -> int:
    size = sum(Path(path).stat().st_size for path in paths if Path(path).is_file())
    return engine.available_cores() if size > engine.AUTO_WORKERS_BYTES else 1


def _all_blocks(paths: Iterable[str], converter: converters.Converter) -> Iterator[files.Block]:
    """The raw rows of all files as blocks of JSON Lines."""
    for path in paths:
        yield from _blocks(path, converter)


def _blocks(path: str, converter: converters.Converter) -> Iterator[files.Block]:
    kind = files.format_of(path).kind
    if kind == "json":
        document = files.read_document(path)
        if document is not None:
            yield from _row_blocks(path, converters.rows_of(converter, document))
            return
    elif kind != "jsonl":
        yield from _row_blocks(path, (row for _, row in files.read_rows(path)))
        return
    blocks = files.read_blocks(path)
    labels = _labels_beside(path, converter)
    yield from blocks if labels is None else _labelled(path, blocks, *labels)


def _labels_beside(path: str, converter: converters.Converter) -> tuple[str, str] | None:
    """The file with the labels of a file's rows, and the field they become; ``None`` without one."""
    if not hasattr(converter, "LABELS") or path == "-":
        return None
    pattern, field_name = converter.LABELS
    beside = Path(path).with_name(pattern.format(stem=Path(path).name.partition(".")[0]))
    return (str(beside), field_name) if beside.is_file() else None


def _labelled(path: str, blocks: Iterable[files.Block], beside: str, name: str) -> Iterator[files.Block]:
    """The same rows, each with its label from the same line of a second file."""
    labels = files.read_text(beside).split()
    used = 0
    for block in blocks:
        lines = block.read().split(b"\n")
        for number, line in enumerate(lines):
            if not line.strip():
                continue
            label = orjson.dumps(labels[used] if used < len(labels) else None)
            used += 1
            if line.rstrip().endswith(b"}"):
                fields = line.rstrip()[:-1]
                comma = b"" if fields.strip() == b"{" else b","
                lines[number] = fields + b'%b"%b":%b}' % (comma, name.encode(), label)
        yield files.Block(path, data=b"\n".join(lines), first=block.first)
    if used != len(labels):
        raise InputError(
            beside, f"found {len(labels)} labels for the {used} rows of {path}; expected as many"
        )


def _row_blocks(path: str, rows: Iterable[Any], count: int = 256) -> Iterator[files.Block]:
    """Rows of a document or table as blocks of JSON Lines, so that there is one row path only."""
    lines: list[bytes] = []
    done, first = 0, True
    try:
        for row in rows:
            lines.append(orjson.dumps(row, default=str))
            if len(lines) == count:
                yield files.Block(path, data=b"\n".join(lines), unit="row", first=first)
                lines, first = [], False
                done += count
    except RowError as error:
        raise InputError(path, str(error)) from None
    except TypeError as error:  # nested too deeply, lone surrogates, keys that are no strings
        number = done + len(lines) + 1
        raise InputError(files.place(path, "row", number), f"cannot be held by JSON: {error}") from None
    if lines:
        yield files.Block(path, data=b"\n".join(lines), unit="row", first=first)


def convert(dataset: str, rows: str | Path | Iterable[Mapping[str, Any]], **plan: Any) -> Iterator[Any]:
    r"""Convert raw rows and give them one by one; the library's ``dataprep convert``.

    Args:
        dataset: a converter's name, such as ``"gsm8k"``.
        rows: a file in any format that dataprep reads, or the raw rows themselves.
        plan: the other attributes of ``Plan``: ``split``, ``to``, ``template``, ``with_id``, ``sample``,
            ``seed``, and ``options``, such as ``options={"unanswerable": "keep"}``.

    Yields:
        chat rows ``{"messages": […]}``, or Example rows with ``to="example"``, as dictionaries.

    Raises:
        InputError: a row is not what the dataset's layout says.
        UsageError: an unknown dataset or option.

    >>> next(convert("gsm8k", [{"question": "1 + 1?", "answer": "1+1=2\n#### 2"}]))["messages"][2]
    {'role': 'assistant', 'content': '1+1=2\n\n#### 2'}
    """
    settings = Plan(dataset, **plan)
    if isinstance(rows, str | Path):
        path = str(rows)
        return _convert(settings, _all_blocks([path], converters.load(dataset)), path)
    return _convert(settings, _row_blocks("the given rows", rows))


def _convert(plan: Plan, blocks: Iterator[files.Block], path: str | None = None) -> Iterator[Any]:
    sample = None if plan.sample is None else Reservoir[bytes](plan.sample, plan.seed)
    seen = 0
    for block, outcome in engine.run(RowConverter(plan), blocks):
        seen += outcome.rows_in
        for failure in outcome.failures:
            raise InputError(files.place(block.path, block.unit, failure.line), failure.message)
        if sample is not None:
            _offer(sample, outcome)
        elif outcome.data is not None:
            yield from map(orjson.loads, outcome.data.split(b"\n")[:-1])
    if path is not None:
        _refuse_empty({path: seen})
    if sample is not None:
        yield from map(orjson.loads, sample.rows)
