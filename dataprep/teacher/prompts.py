"""Make requests to teachers: an Example's question, after worked examples.

With teacher forcing the prompt shows the right answer and asks only for the reasoning::

    Question: …

    Options:
    (a) …
    (b) …

    Answer: b

    Rationale: Let's think step by step.

The worked examples ("shots") have the same form, each with its rationale. Without teacher forcing the
teacher gets the plain question and must reply with a letter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from dataprep.answers.rationale import CUE
from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.errors import RowDropped, RowError
from dataprep.core.ledger import Ledger
from dataprep.core.options import check_whole
from dataprep.core.records import Example
from dataprep.datasets import registry as converters
from dataprep.datasets import source_rows
from dataprep.datasets.converters.choices import CHOICE_USER
from dataprep.datasets.templates import DEFAULT_SYSTEM, LETTER_SYSTEM, compile_text
from dataprep.teacher.shots import Reader, Shot, ShotPool, read_pool

FORCED_SYSTEM = (
    "You are a helpful teacher. You are given a question with its right answer. "
    "Explain step by step, in a few sentences, how to reach that answer."
)
FORCED_USER = f"""\
Context: {{context}}

Question: {{question}}

Options:
{{choices}}

Answer: {{answer_label}}

Rationale: {CUE}"""
BETWEEN_SHOTS = "\n\n"
GIVEN = "the given rows"  # the name of rows that do not come from a file, in messages
AFTER_LIMIT = "after the last one of --limit"


class Prompter:
    """Make requests of Examples; ``prompt_file`` documents the arguments."""

    def __init__(
        self, pool: ShotPool, *, forcing: bool = True, system: str | None = None, user: str | None = None
    ) -> None:
        self.pool, self.forcing, self.system, self.user = pool, forcing, system, user
        wording = user or (FORCED_USER if forcing else CHOICE_USER)
        self._user = compile_text(wording, "user")
        # A question without choices has no answer label, so its wording shows the answer's text.
        self._open = compile_text(wording.replace("{answer_label}", "{answer_text}"), "user")

    def __reduce__(self) -> tuple[Any, ...]:
        # Compiled templates cannot be pickled; a worker compiles them again.
        return partial(Prompter, forcing=self.forcing, system=self.system, user=self.user), (self.pool,)

    def __call__(self, example: Example) -> dict[str, Any]:
        """Return the request ``{id, messages, shots, teacher_forcing, choices, answer}``."""
        if self.forcing and example.answer is None:
            raise RowError("no gold answer", "teacher forcing shows it; use --no-teacher-forcing")
        shots = self.pool.for_row(example)
        request: dict[str, Any] = {
            "id": example.identify(),
            "messages": [*self._system(example), *self._messages(example, shots)],
            "shots": [shot.id for shot in shots],
            "teacher_forcing": self.forcing,
        }
        if example.choices:
            request["choices"] = list(example.choices)
        if example.answer is not None:
            request["answer"] = example.to_json()["answer"]
        return request

    def _system(self, example: Example) -> list[dict[str, str]]:
        default = FORCED_SYSTEM if self.forcing else LETTER_SYSTEM if example.choices else DEFAULT_SYSTEM
        system = default if self.system is None else self.system
        return [_message("system", system)] if system else []

    def _messages(self, example: Example, shots: Sequence[Shot]) -> list[dict[str, str]]:
        if self.forcing:
            parts = [f"{self._item(shot.example)} {shot.rationale}" for shot in shots]
            return [_message("user", BETWEEN_SHOTS.join([*parts, self._item(example)]))]
        turns = []
        for shot in shots:
            answer = shot.example.answer_label or shot.example.answer or ""
            turns += [_message("user", self._item(shot.example)), _message("assistant", answer)]
        return [*turns, _message("user", self._item(example))]

    def _item(self, example: Example) -> str:
        render: Callable[[Example], str | None] = self._user if example.answer_label else self._open
        text = render(example)
        if text is None:
            raise RowError("empty user message", "the example lacks the fields that the template names")
        return text


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def prompt_file(
    source: str | Path,
    output: str | Path,
    *,
    dataset: str | None = None,
    pool: str | Path | None = None,
    shots: int | None = None,
    seed: int = 42,
    forcing: bool = True,
    system: str | None = None,
    user: str | None = None,
    limit: int | None = None,
    rejects: str | Path | None = None,
    warn: Callable[[str], None] | None = None,
) -> Ledger:
    """Make requests to a teacher of a file of Examples.

    Args:
        source: Examples (of ``convert --to example`` or ``parse-rationales``), or source rows of ``dataset``.
        output: where the requests go, one JSON object per row.
        dataset: the converter that reads source rows, as in ``convert``.
        pool: Examples to draw worked examples from. Defaults to those of ``source``.
        shots: number of worked examples per request. Defaults to 2 with teacher forcing, or as many as there
            are; without it to 0.
        seed: seed of the draw.
        forcing: show the right answer and ask for the reasoning.
        system: the system prompt in place of the default one.
        user: a template in place of the default wording.
        limit: make at most so many requests, of the first rows.
        rejects: where bad rows go; without it the first one raises.
        warn: called with a message about rows in ``pool`` that are not Examples, or too few worked examples.

    Raises:
        InputError: a row is not an Example, or lacks what the prompt needs.
        UsageError: the pool has too few shots, an option is wrong, or the output would replace source rows.
        FileError: a file cannot be read or written.
    """
    path, pool = str(source), None if pool is None else str(pool)
    files.check_distinct(rejects, [output], [path] if pool is None else [path, pool])
    if dataset is not None:
        files.check_apart([output], [path])
    files.check_input(path)
    unchanged = files.Unchanged([path])  # it can be read several times
    options: dict[str, Any] = {"dataset": dataset, "pool": pool, "shots": shots, "seed": seed}
    options |= {"forcing": forcing, "system": system, "user": user, "limit": limit, "warn": warn}
    work = _work(path, None, **options)
    ledger = Ledger()
    with files.open_rejects(rejects) as bad, files.open_output(str(output)) as out:
        operator, numbered = work.operator(by_chunks=engine.by_chunks([out]))
        engine.run_into(work.rows.blocks(), operator, out, ledger, bad, paths=[path], numbered=numbered)
        unchanged.check()
        ledger.check()
    return ledger


def prompt(source: str | Path | Iterable[Mapping[str, Any]], **options: Any) -> Iterator[dict[str, Any]]:
    """Make requests to a teacher of Examples, one at a time.

    Args:
        source: a file of Examples, or the rows themselves.
        options: as of ``prompt_file``, from ``dataset`` to ``limit``, and ``warn``.

    Yields:
        Requests ``{"id", "messages", "shots", …}``, as ``prompt_file`` writes them.

    Raises:
        InputError: a row is not an Example, or lacks what the prompt needs.
        UsageError: the pool has too few shots, or an option is wrong.
    """
    if isinstance(source, str | Path):
        return _work(str(source), None, **options).requests(str(source))
    return _work(GIVEN, list(files.row_blocks(GIVEN, source, given=True)), **options).requests()


class Requests:
    """Make the request of a row, as one line of JSON; picklable.

    Args:
        read: makes an Example of the row.
        prompter: makes a request of the Example.
        limit: number of requests, after which rows are dropped.
    """

    def __init__(self, read: Reader, prompter: Prompter, limit: int | None = None) -> None:
        self._read, self._prompter = read, prompter
        self._left = limit

    def __call__(self, row: Mapping[str, Any]) -> bytes:
        """Return the request."""
        if self._left == 0:
            raise RowDropped(AFTER_LIMIT)
        line = orjson.dumps(self._prompter(self._read(row)))
        if self._left is not None:
            self._left -= 1
        return line


@dataclass(frozen=True)
class _Until:
    """Make the requests of the rows up to one; picklable."""

    make: Requests
    last: int  # the number of the row, counted from 1

    def __call__(self, row: Mapping[str, Any], _: str, number: int) -> bytes:
        if number > self.last:
            raise RowDropped(AFTER_LIMIT)
        return self.make(row)


@dataclass(frozen=True)
class _PlacesOf:
    """Make the number of each row of which a request can be made; picklable."""

    make: Requests

    def __call__(self, row: Mapping[str, Any], _: str, number: int) -> bytes:
        self.make(row)
        return b"%d" % number


class _Rows:
    """The rows that requests are made of, which can be read several times."""

    def __init__(
        self,
        read: Callable[[], Iterator[files.Block]],
        path: str,
        given: Iterable[files.Block] | None,
    ) -> None:
        self._read = read
        self._held = None if given is None else list(given)
        self._once = files.is_stream(path)

    def blocks(self, *, again: bool = False) -> Iterable[files.Block]:
        """Return the blocks; if they are to be read ``again``, those of a pipe are kept in memory."""
        if again and self._once and self._held is None:
            self._held = list(self._read())
        return self._read() if self._held is None else self._held


@dataclass(frozen=True)
class _Work:
    """The rows, and what makes requests of them.

    Attributes:
        rows: what requests are made of.
        read: makes an Example of a row.
        prompter: makes a request of an Example.
        limit: number of requests to make.
    """

    rows: _Rows
    read: Reader
    prompter: Prompter
    limit: int | None

    def operator(self, *, by_chunks: bool) -> tuple[engine.Operator, bool]:
        """Return the operator, and whether it needs numbered rows."""
        if not by_chunks:
            return engine.per_row(Requests(self.read, self.prompter, self.limit)), False
        # Workers each make a part of the requests, and none can count those of the others. So the row with
        # the last request is looked for first.
        self.prompter.pool.share()
        make = Requests(self.read, self.prompter)
        if self.limit is None:
            return engine.per_row(make), False
        return engine.per_row(_Until(make, self._last_row(make)), with_place=True), True

    def _last_row(self, make: Requests) -> int:
        left, rows = self.limit or 0, 0
        places = engine.per_row(_PlacesOf(make), with_place=True)
        with closing(engine.run_operator(places, self.rows.blocks(again=True), numbered=True)) as outcomes:
            for _, outcome in outcomes:
                if outcome.rows_out >= left:
                    return int((outcome.data or b"").split(b"\n")[left - 1])
                left -= outcome.rows_out
                rows += outcome.rows_in
        return rows

    def requests(self, path: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield the requests; a file named by ``path`` must have rows."""
        operator, numbered = self.operator(by_chunks=engine.by_chunks([]))
        return engine.rows_of(self.rows.blocks(), operator, path, numbered=numbered)


def _work(
    path: str,
    given: Iterable[files.Block] | None,
    *,
    dataset: str | None = None,
    pool: str | Path | None = None,
    shots: int | None = None,
    seed: int = 42,
    forcing: bool = True,
    system: str | None = None,
    user: str | None = None,
    limit: int | None = None,
    warn: Callable[[str], None] | None = None,
) -> _Work:
    """Return the rows and what makes requests of them."""
    for flag, value, least in (("--shots", shots, 0), ("--limit", limit, 1)):
        if value is not None:
            check_whole(flag, value, least)
    check_whole("--seed", seed)
    # A test split without labels can be asked about, as long as no answer is to be shown.
    read = partial(source_rows.example_of, dataset=dataset, unlabelled=not forcing)
    converter = None if dataset is None else converters.load(dataset)
    rows = _Rows(partial(source_rows.blocks, path, converter), path, given)
    count = (2 if forcing else 0) if shots is None else shots
    if not count:
        worked = ShotPool([], 0, seed)
    elif pool is not None:
        worked = read_pool(source_rows.blocks(str(pool)), str(pool), Example.from_json, count, seed, warn)
    else:
        # Many sets have no rationales: without a wish for worked examples they are asked without.
        worked = read_pool(
            rows.blocks(again=True), path, read, count, seed, warn, own=True, fewer=shots is None
        )
    return _Work(rows, read, Prompter(worked, forcing=forcing, system=system, user=user), limit)
