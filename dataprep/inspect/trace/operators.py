"""Run the operator of a step again, to find which input row it made an output row of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any

from dataprep.core import io as files
from dataprep.core.options import options_of
from dataprep.core.parallel import Operator, per_row, run_operator
from dataprep.core.sampling import Reservoir
from dataprep.datasets import registry as converters
from dataprep.datasets.convert import Plan, conversion
from dataprep.datasets.converters.qa import parse_map
from dataprep.datasets.exchange import registry
from dataprep.datasets.exchange.registry import Verb
from dataprep.datasets.exchange.rewriting import Rewriter
from dataprep.inspect.steps import Step
from dataprep.inspect.trace.rows import Row, is_same, rank_of, row_made

_Work = tuple[Operator, Iterator[files.Block]]


def row_of_operator(row: Row, step: Step) -> Row | None:
    """Return the input row of which a step's operator made a row; ``None`` if it now makes another row."""
    for make, sample, seed in _works(step):
        number = rank_of(row)
        if sample is not None:
            operator, blocks = make()
            reservoir: Reservoir[int] = Reservoir(sample, seed)
            for place in range(sum(outcome.rows_out for _, outcome in run_operator(operator, blocks))):
                reservoir.add(place)
            if number >= len(reservoir.rows):
                continue
            number = reservoir.rows[number]
        made = row_made(*make(), number)
        # The row is proof that it is the same operator over the same rows.
        if made is not None and is_same(made.line, row.line):
            return made.source
    return None


def _works(step: Step) -> Iterator[tuple[Callable[[], _Work], int | None, int]]:
    """Yield each way in which the step can have run: what makes operator and blocks, sample and seed."""
    paths = [file.path for file in step.row_files()]
    if step.command == "convert":
        for plan in _plans(step.options):
            yield partial(conversion, plan, paths), plan.sample, plan.seed
        return
    reads = step.command == "import"
    verb: Verb = "read" if reads else "write"
    given = step.options.get("from" if reads else "to")
    think = bool(step.options.get("split_thinking" if reads else "think_tags"))
    # Without a format, import guessed it. The row decides, as it does for the splits of a dataset.
    for name in [given] if isinstance(given, str) else registry.names(verb):
        yield partial(_rewriting, step, paths, name, verb, think), None, 0


def _rewriting(step: Step, paths: list[str], name: str, verb: Verb, think: bool) -> _Work:
    rewriter = Rewriter(name, verb, lossy=bool(step.options.get("lossy")), think=think)
    return per_row(rewriter), chain.from_iterable(map(files.read_row_blocks, paths))


def _plans(flags: Mapping[str, Any]) -> Iterator[Plan]:
    """Yield the plans that the flags of ``convert`` can mean.

    In a workspace, without a split, each split is converted to a file of its own.
    """
    given = _plan_of(flags)
    dataset = str(flags["dataset"])
    if not converters.is_name(converters.canonical(dataset)):
        yield Plan(dataset, **given)
        return
    converter = converters.load(dataset)
    known = {*converters.options(converter), "split_scheme"}
    own = {name: flags[name] for name in known if flags.get(name) not in (None, False)}
    if "columns" in known and isinstance(flags.get("map"), str):
        own["columns"] = parse_map(flags["map"])
    split = flags.get("split")
    splits = [split] if split is not None else [None, *converter.SOURCE.splits]
    for name in splits if hasattr(converter, "split_of") else splits[:1]:
        yield Plan(dataset, split=name, options=own, **given)


def _plan_of(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a plan that are flags of their own."""
    given: dict[str, Any] = {}
    for name, option, _ in options_of(Plan):
        value = flags.get(option.key)
        if value is not None:
            given[name] = option.parse(value) if option.parse and isinstance(value, str) else value
    system = flags.get("system")
    if isinstance(system, str):
        given["template"] = {
            **given.get("template", {}),
            "system": system.replace("{", "{{").replace("}", "}}"),
        }
    return given
