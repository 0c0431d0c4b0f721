"""Requests to teachers: an Example's question, with worked examples before it.

With teacher forcing the prompt shows the gold answer and asks only for the way to it::

    Question: …

    Options:
    (a) …
    (b) …

    Answer: b

    Rationale: Let's think step by step.

The worked examples ("shots") have the same form, each with its rationale. Without teacher forcing the
teacher gets the plain question and is to reply with a letter.

Files of Examples, or of a set's raw rows, to files of requests to teachers.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from dataprep.answers.rationale import CUE
from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.errors import RowDropped, RowError, UsageError
from dataprep.core.ledger import Ledger
from dataprep.core.records import Example
from dataprep.datasets import registry as converters
from dataprep.datasets import source_rows
from dataprep.datasets.templates import DEFAULT_SYSTEM, LETTER_SYSTEM, compile_text

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
PLAIN_USER = """\
{context}

{question}

{choices}"""

BETWEEN_SHOTS = "\n\n"


@dataclass(frozen=True)
class Shot:
    """A worked example: its id, the Example, and the rationale shown with it."""

    id: str
    example: Example
    rationale: str


def shot_of(row: Mapping[str, Any], example: Example) -> Shot | None:
    """The worked example in a row: its first rationale that is ``ok``, else its solution; or ``None``.

    ``row`` is the raw row, for the ``status`` of its rationales; one without a status is taken as it is. A
    row without an answer shows no way to one.
    """
    if example.answer is None:
        return None
    statuses = row.get("status")
    statuses = statuses if isinstance(statuses, Mapping) else {}
    for teacher, rationale in (example.rationales or {}).items():
        if rationale.strip() and statuses.get(teacher, "ok") == "ok":
            return Shot(example.identify(), example, rationale.strip())
    if example.solution is not None:
        return Shot(example.identify(), example, example.solution)
    return None


class ShotPool:
    """Worked examples to choose from. The choice for a row depends on the seed and the row's id alone.

    It depends neither on the order of rows nor of shots: the pool is sorted by id, and each row has a
    generator of its own, ``random.Random(f"{seed}:{id}")``.

    Attributes:
        count: shots a row.
        seed: of the draw.
        account: what the pool's rows are, for the message where there are too few.
    """

    def __init__(self, shots: Sequence[Shot], count: int, seed: int, account: str = "") -> None:
        self.count = count
        self.seed = seed
        self.account = account or f"the pool has {len(shots):,} worked examples"
        ordered = sorted(shots, key=lambda shot: (shot.id, shot.example.question, shot.rationale))
        self._shots = list({shot.id: shot for shot in ordered}.values())
        self._ids = {shot.id for shot in self._shots}
        self._asking: dict[tuple[str, ...], set[str]] = {}
        for shot in self._shots if count else ():
            self._asking.setdefault(_content(shot.example), set()).add(shot.id)

    def for_row(self, example: Example) -> list[Shot]:
        """The row's shots: distinct, and never the row itself, neither by its id nor by what it asks.

        Raises:
            UsageError: the pool has too few others.
        """
        if not self.count:
            return []
        row_id = example.identify()
        own = self._asking.get(_content(example), set()) | ({row_id} & self._ids)
        # As many more than wanted as may be the row itself, so that these can be left out of any draw.
        wanted = min(self.count + max(1, len(own)), len(self._shots))
        drawn = random.Random(f"{self.seed}:{row_id}").sample(self._shots, wanted)
        others = [shot for shot in drawn if shot.id not in own][: self.count]
        if len(others) < self.count:
            raise UsageError(
                f"--shots {self.count}: found {len(others)} worked examples for {row_id!r}, which cannot be "
                f"its own; {self.account}; give more with --pool, or ask for fewer shots"
            )
        return others


def _content(example: Example) -> tuple[str, ...]:
    """What an example asks: its question and its choices, in any order, without regard to white space.

    A set's rows have other ids in other files of it, so that an id alone does not tell a row from itself.
    """
    question, *choices = (" ".join(text.split()) for text in (example.question, *example.choices))
    return question, *sorted(choices)


class Prompter:
    """Makes a request of an Example.

    Attributes:
        forcing: show the gold answer and ask for the way to it.
        system, user: messages in place of the default wording; ``user`` is a template over Example fields.
    """

    def __init__(
        self, pool: ShotPool, *, forcing: bool = True, system: str | None = None, user: str | None = None
    ) -> None:
        self.pool = pool
        self.forcing = forcing
        self.system = system
        wording = user or (FORCED_USER if forcing else PLAIN_USER)
        self._user = compile_text(wording, "user")
        self._open = compile_text(wording.replace("{answer_label}", "{answer_text}"), "user")

    def __call__(self, example: Example) -> dict[str, Any]:
        """The request ``{id, messages, shots, teacher_forcing, choices, answer}``.

        Raises:
            RowError: teacher forcing, and the example has no gold answer.
            UsageError: the pool has too few shots.
        """
        if self.forcing and example.answer is None:
            raise RowError("no gold answer", "teacher forcing shows it; use --no-teacher-forcing")
        row_id = example.identify()
        shots = self.pool.for_row(example)
        messages = self._forced(example, shots) if self.forcing else self._plain(example, shots)
        system = self._system(example)
        request: dict[str, Any] = {
            "id": row_id,
            "messages": [{"role": "system", "content": system}, *messages] if system else messages,
            "shots": [shot.id for shot in shots],
            "teacher_forcing": self.forcing,
        }
        if example.choices:
            request["choices"] = list(example.choices)
        if example.answer is not None:
            request["answer"] = example.to_json()["answer"]
        return request

    def _system(self, example: Example) -> str:
        if self.system is not None:
            return self.system
        if self.forcing:
            return FORCED_SYSTEM
        return LETTER_SYSTEM if example.choices else DEFAULT_SYSTEM

    def _forced(self, example: Example, shots: Sequence[Shot]) -> list[dict[str, str]]:
        parts = [f"{self._item(shot.example)} {shot.rationale}" for shot in shots]
        return [_message("user", BETWEEN_SHOTS.join([*parts, self._item(example)]))]

    def _plain(self, example: Example, shots: Sequence[Shot]) -> list[dict[str, str]]:
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


def dump(request: Mapping[str, Any]) -> bytes:
    """A request as one line of JSON, without its newline."""
    return orjson.dumps(request)


Reader = Callable[[Mapping[str, Any]], Example]
"""Makes an Example of a row."""

NO_RATIONALE = "no rationale or solution"


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
    rejects: str | Path | None = None,
    warn: Callable[[str], None] | None = None,
) -> Ledger:
    """Make requests to a teacher out of a file of Examples.

    Args:
        source: Examples (of ``convert --to example`` or ``parse-rationales``), or raw rows of ``dataset``.
        output: where the requests go, one JSON object a row.
        dataset: the converter that reads raw rows, as ``convert`` does.
        pool: Examples to draw worked examples from; without it, those of ``source``.
        shots: worked examples a request; by default 2 with teacher forcing, and none without.
        seed: of the draw.
        forcing: show the gold answer and ask for the way to it.
        system: the system prompt in place of the default one.
        user: a template in place of the default wording.
        rejects: where bad rows go; without it the first one raises.
        warn: told of rows in ``pool`` that are no Examples.

    Raises:
        InputError: a row is no Example, or lacks what the prompt needs.
        UsageError: more shots than the pool has, or an output that would replace raw rows.
        FileError: a file cannot be read or written.
    """
    path, pool = str(source), None if pool is None else str(pool)
    files.check_distinct(rejects, [output], [path] if pool is None else [path, pool])
    if dataset is not None:
        files.check_apart([output], [path])
    files.check_input(path)
    read, converter = _reader(dataset, forcing), None if dataset is None else converters.load(dataset)
    blocks: Iterable[files.Block] = source_rows.blocks(path, converter)
    count = (2 if forcing else 0) if shots is None else shots
    worked = ShotPool([], 0, seed)
    if count and pool is None:  # the rows are their own pool: a stream can be read only once
        blocks = list(blocks)
        worked = _pool(blocks, path, read, count, seed)
    elif count and pool is not None:
        worked = _pool(source_rows.blocks(pool), pool, Example.from_json, count, seed, warn)
    operator = Requests(Prompter(worked, forcing=forcing, system=system, user=user), read)
    return _write(operator, blocks, path, str(output), rejects)


def _write(
    operator: Requests,
    blocks: Iterable[files.Block],
    path: str,
    output: str,
    rejects: str | Path | None,
) -> Ledger:
    ledger = Ledger()
    with (
        files.open_rejects(rejects) as bad,
        files.open_output(output) as out,
    ):
        engine.run_into(blocks, engine.per_row(operator), out, ledger, bad, paths=[path])
        ledger.check()
    return ledger


class Requests:
    """The row operator of ``prompt``: a row in, the bytes of a request out."""

    def __init__(self, prompter: Prompter, read: Reader) -> None:
        self._prompter = prompter
        self._read = read

    def __call__(self, row: Mapping[str, Any]) -> bytes:
        """The request as one line of JSON, without its newline.

        Raises:
            RowError: the row is no Example, or lacks what the prompt needs.
            RowDropped: the converter leaves the row out.
            UsageError: the pool has too few shots.
        """
        return dump(self._prompter(self._read(row)))


class Worked:
    """The row operator that gathers worked examples; nothing comes out of it."""

    def __init__(self, read: Reader) -> None:
        self.shots: list[Shot] = []
        self._read = read

    def __call__(self, row: Mapping[str, Any]) -> bytes:
        """Keep the row's worked example.

        Raises:
            RowError: the row is no Example.
            RowDropped: it has neither rationale nor solution, or no answer.
        """
        shot = shot_of(row, self._read(row))
        if shot is None:
            raise RowDropped(NO_RATIONALE)
        self.shots.append(shot)
        return b""


def _pool(
    blocks: Iterable[files.Block],
    path: str,
    read: Reader,
    count: int,
    seed: int,
    warn: Callable[[str], None] | None = None,
) -> ShotPool:
    """The worked examples among rows, with an account of the rows for messages.

    A bad row is none. Where the rows are also those to make requests of, it is reported there.
    """
    operator, rows, bad, first = Worked(read), 0, 0, ""
    for block, outcome in engine.run(engine.per_row(operator), blocks):
        rows += outcome.rows_in
        bad += len(outcome.failures)
        if outcome.failures and not first:
            failure = outcome.failures[0]
            first = f" (the first is {block.unit} {failure.line}: {failure.message})"
    engine.refuse_empty({path: rows})
    found = len(operator.shots)
    name = "standard input" if path == files.STDIO else path
    account = f"the pool, {name}, has {rows:,} rows: {found:,} with an answer and a rationale or solution"
    account += f", {rows - found - bad:,} without"
    if bad:
        account += f", {bad:,} that are no Examples{first}"
        if warn is not None and found > count:  # otherwise it is part of an error
            warn(account)
    return ShotPool(operator.shots, count, seed, account)


def _reader(dataset: str | None, forcing: bool) -> Reader:
    """Reads Examples, or raw rows of a dataset; hidden answers are kept where none is to be shown."""
    if dataset is None:
        return Example.from_json
    converter, name = converters.load(dataset), converters.canonical(dataset)
    keep = not forcing and "unlabelled" in converters.options(converter)
    options = {"unlabelled": "keep"} if keep else {}

    def read(row: Mapping[str, Any]) -> Example:
        example = converter.convert(row, **options)
        example.source = name
        return example

    return read
