"""Convert source rows to chat rows or Examples: the library behind ``dataprep convert``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import orjson

from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.errors import InputError, Location, RowDropped, RowError, UsageError
from dataprep.core.ledger import Ledger
from dataprep.core.records import Example
from dataprep.core.sampling import Reservoir, counting, rows_at, rows_of_chunks
from dataprep.datasets import registry as converters
from dataprep.datasets import source_rows
from dataprep.datasets.chat_rows import ChatRows
from dataprep.datasets.choice_order import shuffle_choices
from dataprep.datasets.convert_options import ConvertOptions
from dataprep.datasets.templates import chat_renderer, wording

GIVEN = "the given rows"  # the name of rows that do not come from a file, in messages
_SHOWN = 20  # teachers that a message lists


@dataclass(frozen=True)
class Plan(ConvertOptions):
    """How to convert rows: the options of ``ConvertOptions``, checked against the dataset's converter."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _converter_of(self)  # an option or template that does not fit is found before any file is opened


class RowConverter:
    """Convert one source row to the bytes of a chat row or an Example."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        converter = converters.load(plan.dataset)
        self._source = converter.__name__.rpartition(".")[2]  # type: ignore[attr-defined]
        options = dict(plan.options)
        # MBPP publishes all splits in one file; its converter tells the split of each row.
        self._split_of = converters.split_of(plan.dataset, plan.split, options.pop("split_scheme", None))
        converters.check_options(plan.dataset, options)
        # Most runs have no options, and a partial costs something on every row.
        self._convert = partial(converter.convert, **options) if options else converter.convert
        self._converter = converter
        if plan.shuffle_choices and not plan.from_examples and converter.SOURCE.task not in ("choice", "qa"):
            raise UsageError(f"--shuffle-choices: the rows of {plan.dataset} have no choices")
        # The options that mean something for Examples too.
        self._adopting = {key: options[key] for key in options.keys() - {"columns", "answers_from"}}
        self._render: Callable[[Example], bytes] = _render_example
        if plan.to == "chat":
            if options.get("unlabelled") == "keep":
                raise UsageError("a chat row needs an answer: use --unlabelled keep with --to example")
            self._render = _chat_renderer(plan)
        self._renderer_of = lru_cache(maxsize=64)(self._make_renderer)
        self._tally: Counter[Any] = Counter()

    def __reduce__(self) -> tuple[Any, ...]:
        # Compiled templates cannot be pickled; a worker compiles them again.
        return type(self), (self.plan,)

    def __call__(self, row: dict[str, Any]) -> bytes:
        """Return the converted row as one line of JSON, without its newline."""
        if self._split_of is not None and self._split_of(row) != self.plan.split:
            raise RowDropped("in another split")
        # Two look-ups tell nearly every source row from an Example.
        if ("task" in row or "rationales" in row) and self._is_adoptable(row):
            return self._adopted(row)
        example = self._convert(row)
        example.source = self._source
        if example.choices:
            self._order(example)
        return self._render(example)

    def _order(self, example: Example) -> None:
        """Shuffle the choices if that is asked for, and count the gold label."""
        if self.plan.shuffle_choices:
            self._tally["choices", shuffle_choices(example, self.plan.seed)] += 1
        if example.answer_label is not None:
            self._tally["label", example.answer_label] += 1

    def _is_adoptable(self, row: dict[str, Any]) -> bool:
        # --map names the fields of source rows.
        return not self.plan.options.get("columns") and source_rows.is_adoptable(row, self._converter)

    def _adopted(self, row: dict[str, Any]) -> bytes:
        """Return an Example's own row as a chat row, or as it is."""
        example = source_rows.adopted(row, self.plan.dataset, self._adopting)
        if self.plan.shuffle_choices and row.get("teacher_answers"):
            raise RowError("choices with rationales", "teachers' answers name choices by their letters")
        if example.choices:
            self._order(example)
        if self.plan.to == "example":
            return orjson.dumps(source_rows.row_of(example, row))
        return self._renderer_of(example.source)(example)

    def _make_renderer(self, source: str | None) -> Callable[[Example], bytes]:
        # `qa` takes Examples of all datasets, and each has the wording of its own.
        name = converters.canonical(source or "")
        if self._source != "qa" or not converters.is_name(name):
            return self._render
        try:
            return _chat_renderer(replace(self.plan, dataset=name, split=None, options={}))
        except UsageError as error:
            raise RowError("a wording that this dataset does not have", str(error)) from None

    def take_counts(self) -> Mapping[Any, int]:
        """Return what was counted since the last call: gold labels, and how choices were shuffled."""
        tally, self._tally = self._tally, Counter()
        return tally

    def check(self, seen: Mapping[Any, int], where: str) -> None:
        """Check what was counted over all rows."""


class ExampleConverter(RowConverter):
    """Convert rows that are all Examples; with a teacher, labelled rows to its rationales."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._teachers: dict[str, int] = {}
        if plan.teacher is not None:
            # A rationale is an answer, also to a question whose gold answer is hidden.
            hidden = converters.options(self._converter).keys() & {"unlabelled", "unanswerable"}
            self._adopting |= dict.fromkeys(hidden, "keep")

    def __call__(self, row: dict[str, Any]) -> bytes:
        """Return the converted row as one line of JSON, without its newline."""
        if self._split_of is not None and self._split_of(row) != self.plan.split:
            raise RowDropped("in another split")
        if self.plan.teacher is None:
            return self._adopted(row)
        example = source_rows.adopted(row, self.plan.dataset, self._adopting)
        if len(self._teachers) < _SHOWN:
            self._teachers |= dict.fromkeys(example.rationales or (), 1)
        name, text = source_rows.rationale_of(row, example, self.plan.teacher)
        thinking = source_rows.reasoning_of(row, name)
        if self.plan.split_thinking:
            text, thinking = source_rows.split_thinking_of(text, thinking)
        text, example.reasoning = source_rows.place_thinking(text, thinking, self.plan.reasoning)
        example.rationales = {name: text}
        return self._renderer_of(example.source)(example)

    def take_counts(self) -> Mapping[Any, int]:
        """Return the teachers that occurred since the last call, and what the base class counts."""
        teachers, self._teachers = self._teachers, {}
        return {**super().take_counts(), **{("teacher", name): count for name, count in teachers.items()}}

    def check(self, seen: Mapping[Any, int], where: str) -> None:
        """Raise ``InputError`` if no row has a rationale of the teacher."""
        teachers = sorted(name for kind, name in seen if kind == "teacher")
        if self.plan.teacher is None or self.plan.teacher in teachers or (teachers and not self.plan.teacher):
            return
        found = f"the teachers are {', '.join(teachers)}" if teachers else "no row has a rationale"
        hint = "expected labelled rows, as `parse-rationales` and `collect` write them"
        teacher = f"the teacher {self.plan.teacher!r}" if self.plan.teacher else "any teacher"
        raise InputError(where, f"no rationale of {teacher}: {found}; {hint}")


class MappedRowConverter(RowConverter):
    """Convert rows whose fields ``--map`` names, and note which of these fields occur.

    A field missing from only some rows is reported for those rows. A field that no row has is a mistake in
    ``--map``, and would otherwise look like a dataset without choices or answers.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        module: Any = converters.load(plan.dataset)
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._has_field = module.has_field
        self._fields = tuple(module.mapped_fields(plan.options["columns"]))
        self._unseen = set(self._fields)
        self._first = True

    def take_counts(self) -> Counter[tuple[str, ...]]:
        """Return the mapped fields that occurred since the last call, and what the base class counts."""
        counts, self._counts = self._counts, Counter()
        return counts + Counter(super().take_counts())

    def __call__(self, row: dict[str, Any]) -> bytes:
        """Convert a row; the message about a bad row names the mapped fields that it lacks."""
        # Usually all mapped fields are in the first row, and this is over after it.
        if self._unseen:
            if self._first:
                self._counts["the first row", *row] = 1
                self._first = False
            present = {name for name in self._unseen if self._has_field(row, name)}
            self._counts.update(("mapped", name) for name in present)
            self._unseen -= present
        try:
            return super().__call__(row)
        except RowDropped:
            raise
        except RowError as error:
            lacking = [repr(name) for name in self._fields if not self._has_field(row, name)]
            if not lacking:
                raise
            hint = f"the row has no field {' or '.join(lacking)}, which --map names"
            raise RowError(error.reason, f"{error.detail}; {hint}") from None

    def check(self, seen: Mapping[Any, int], where: str) -> None:
        """Raise ``InputError`` if no row has a field that ``--map`` names."""
        missing = [repr(name) for name in self._fields if ("mapped", name) not in seen]
        if missing:
            first: list[str] = next((names for kind, *names in seen if kind == "the first row"), [])
            fields = ", ".join(map(repr, first)) or "none"
            problem = f"no row has {' or '.join(missing)}, which --map names"
            raise InputError(where, f"{problem}; the fields of the first row are {fields}")


def _converter_of(plan: Plan) -> RowConverter | ChatRows:
    if plan.from_chat:
        return ChatRows(system=plan.system_into_user, thinking=plan.split_thinking)
    if plan.from_examples or plan.teacher is not None:
        return ExampleConverter(plan)
    return (MappedRowConverter if plan.options.get("columns") else RowConverter)(plan)


def conversion(plan: Plan, paths: Sequence[str]) -> tuple[engine.Operator, Iterator[files.Block]]:
    """Return the operator of a conversion and the blocks that it runs over, to run it once more."""
    converter = _converter_of(plan)
    return engine.per_row(converter, counts=converter.take_counts), _all_blocks(paths, plan)


def _chat_renderer(plan: Plan) -> Callable[[Example], bytes]:
    parts = {} if plan.teacher is None else {"assistant": "{rationale}"}
    return chat_renderer(
        wording(plan.dataset, plan.answer_style).with_parts({**parts, **plan.template}),
        with_id=plan.with_id,
        system_into_user=plan.system_into_user,
    )


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
    progress: engine.Progress | None = None,
    tally: Counter[Any] | None = None,
) -> Ledger:
    """Convert files of source rows, one after the other, into one output.

    Args:
        plan: how to convert the rows.
        inputs: a file or several, in any format that dataprep reads; ``-`` is standard input.
        output: file to write, in the format of its suffix; ``-`` is standard output.
        workers: number of processes; ``None`` decides by the input's size. The output does not depend on it.
        rejects: file for bad rows, each with its place and reason. Without it the first bad row raises.
        progress: called with the bytes of input worked off since the last call.
        tally: takes the number of rows by gold label, as ``("label", "a")``, and by what
            ``shuffle_choices`` did, as ``("choices", "shuffled")``.

    Returns:
        The number of rows that came in, went out, were dropped and failed.

    Raises:
        InputError: a row, or a whole file, does not have its dataset's layout.
        UsageError: the output or the rejects would replace an input.
    """
    paths = [str(inputs)] if isinstance(inputs, str | Path) else [str(path) for path in inputs]
    if not paths:
        raise UsageError("there is nothing to convert: give at least one file")
    # Source rows cannot be restored from converted ones, so they are never overwritten.
    files.check_apart([output], paths)
    if not isinstance(rejects, files.Rejects):
        files.check_distinct(rejects, [output], paths)
    for path in paths:
        files.check_input(path)
    count = engine.workers_for(paths, workers)
    ledger, converter = Ledger(), _converter_of(plan)
    operator = engine.per_row(converter, counts=converter.take_counts)
    sample, unchanged = _sample_of(plan), files.Unchanged(paths)
    settings: dict[str, Any] = {"paths": paths, "workers": count, "progress": progress}
    with files.open_rejects(rejects) as bad, files.open_output(str(output)) as out:
        blocks = _all_blocks(paths, plan)
        # A sample is written at the end, so the blocks' output goes into the reservoir instead of the file.
        if sample is None:
            seen = engine.run_into(blocks, operator, out, ledger, bad, **settings)
        elif engine.by_chunks([]) and not any(map(files.is_stream, paths)):
            # Their number alone decides which rows are drawn, so the others need not come here.
            seen = engine.run_into(blocks, counting(operator), None, ledger, bad, **settings)
            rows, drawn = rows_of_chunks(seen), Reservoir[int](sample.size, plan.seed)
            for number in range(sum(rows)):
                drawn.add(number)
            sample.rows, sample.seen = (
                rows_at(drawn.rows, operator, _all_blocks(paths, plan), rows),
                drawn.seen,
            )
            unchanged.check()
        else:
            take = partial(_offer, sample)
            seen = engine.run_into(blocks, operator, None, ledger, bad, take=take, **settings)
        converter.check(seen, ", ".join(paths))
        if tally is not None:
            tally.update({key: count for key, count in seen.items() if key[0] in ("label", "choices")})
        if sample is not None:
            out.write(b"".join(row + b"\n" for row in sample.rows))
            ledger.rows_out += len(sample.rows)
            ledger.drop("not sampled", sample.seen - len(sample.rows))
        ledger.check()
    return ledger


def _sample_of(plan: Plan) -> Reservoir[bytes] | None:
    return None if plan.sample is None else Reservoir(plan.sample, plan.seed)


def _all_blocks(paths: Sequence[str], plan: Plan) -> Iterator[files.Block]:
    if plan.delimiter is not None and not any(files.format_of(path).kind in ("csv", "tsv") for path in paths):
        raise UsageError(f"--delimiter {plan.delimiter!r} is for .csv and .tsv files")
    # Examples have their answers, so no second file of labels is read.
    converter = None if plan.from_examples else converters.load(plan.dataset)
    for path in paths:
        yield from source_rows.blocks(path, converter, plan.delimiter)


def _offer(sample: Reservoir[bytes], _: files.Block, outcome: engine.Outcome) -> None:
    for row in (outcome.data or b"").split(b"\n")[:-1]:
        sample.add(row)


def convert(dataset: str, rows: str | Path | Iterable[Mapping[str, Any]], **plan: Any) -> Iterator[Any]:
    r"""Convert source rows, one at a time.

    Args:
        dataset: a converter's name, for example ``"gsm8k"``.
        rows: a file in any format that dataprep reads, or the source rows themselves.
        plan: the other attributes of ``Plan``: ``split``, ``to``, ``template``, ``with_id``, ``sample``,
            ``seed``, ``teacher``; and ``options``, for example ``options={"unanswerable": "keep"}``.

    Yields:
        Chat rows ``{"messages": […]}``, or Example rows with ``to="example"``, as dictionaries.

    Raises:
        InputError: a row does not have its dataset's layout.
        UsageError: an unknown dataset or option.

    >>> next(convert("gsm8k", [{"question": "1 + 1?", "answer": "1+1=2\n#### 2"}]))["messages"][2]
    {'role': 'assistant', 'content': '1+1=2\n\n#### 2'}
    """
    settings = Plan(dataset, **plan)
    if isinstance(rows, str | Path):
        path = str(rows)
        return _convert(settings, _all_blocks([path], settings), path)
    return _convert(settings, files.row_blocks(GIVEN, rows, given=True), GIVEN)


def _convert(plan: Plan, blocks: Iterator[files.Block], path: str) -> Iterator[Any]:
    sample, converter, rows_in = _sample_of(plan), _converter_of(plan), 0
    seen: dict[Any, int] = {}
    for block, outcome in engine.run_operator(
        engine.per_row(converter, counts=converter.take_counts), blocks
    ):
        rows_in += outcome.rows_in
        seen |= outcome.counts
        for failure in outcome.failures:
            # A library has no file of rejects: the first bad row ends the loop.
            raise InputError(Location(block.path, failure.line, block.unit), failure.message)
        if sample is not None:
            _offer(sample, block, outcome)
        elif outcome.data is not None:
            yield from map(orjson.loads, outcome.data.split(b"\n")[:-1])
    if path != GIVEN:
        engine.refuse_empty({path: rows_in})
    converter.check(seen, path)
    if sample is not None:
        yield from map(orjson.loads, sample.rows)
