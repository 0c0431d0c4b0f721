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

import pickle
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

from dataprep.answers.rationale import CUE
from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.errors import RowDropped, RowError, UsageError
from dataprep.core.io.unfinished import packed, scratch_database
from dataprep.core.ledger import Ledger
from dataprep.core.options import check_whole
from dataprep.core.records import Example
from dataprep.datasets import registry as converters
from dataprep.datasets import source_rows
from dataprep.datasets.converters.choices import CHOICE_USER
from dataprep.datasets.source_rows import KEPT
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
BETWEEN_SHOTS = "\n\n"
NO_RATIONALE = "no rationale or solution"
SHOTS_READ = 1 << 13  # worked examples that are kept in memory once they were drawn
GIVEN = "the given rows"  # the name of rows that do not come from a file, in messages

# Makes an Example of a row.
Reader = Callable[[Mapping[str, Any]], Example]


@dataclass(frozen=True)
class Shot:
    """A worked example: its id, the Example, and the rationale shown with it."""

    id: str
    example: Example
    rationale: str


def shot_of(row: Mapping[str, Any], example: Example) -> Shot | None:
    """Return the worked example in a row: its first kept rationale, else its solution, else ``None``."""
    # Without an answer the rationale may lead anywhere.
    if example.answer is None:
        return None
    statuses = row.get("status")
    statuses = statuses if isinstance(statuses, Mapping) else {}
    for teacher, rationale in (example.rationales or {}).items():
        # A rationale without a status counts as one.
        if rationale.strip() and statuses.get(teacher, "ok") in KEPT:
            return Shot(example.identify(), example, rationale.strip())
    return None if example.solution is None else Shot(example.identify(), example, example.solution)


class ShotPool:
    """Worked examples to draw from, ``count`` per request, or ``fewer`` if there are not as many.

    ``account`` describes them in an error. Memory is bounded.
    """

    def __init__(
        self, shots: Iterable[Shot], count: int, seed: int, account: str = "", *, fewer: bool = False
    ) -> None:
        self.count, self.seed, self.fewer = count, seed, fewer
        self._database = scratch_database(
            "shots (id BLOB, question BLOB, rationale BLOB, asks BLOB, shot BLOB)",
            # Numbered in the order of their ids, so that the draw does not depend on the order of the rows.
            "pool (number INTEGER PRIMARY KEY, id BLOB, asks BLOB, shot BLOB)",
        )
        self._added = 0
        self._read = lru_cache(SHOTS_READ)(self._shot)
        for shot in shots:
            self.add(shot)
        self.account = account or f"the pool has {self._added:,} worked examples"

    def add(self, shot: Shot) -> None:
        """Add a worked example; all must be added before the first draw."""
        self._added += 1
        texts = (packed(text) for text in (shot.id, shot.example.question, shot.rationale))
        values = (*texts, _asks(shot.example), pickle.dumps(shot))
        self._database.execute("INSERT INTO shots VALUES (?, ?, ?, ?, ?)", values)

    @cached_property
    def _numbered(self) -> int:
        """Number the worked examples, one for each id, and return their number."""
        # Of several with one id the last one in this order is taken.
        self._database.execute(
            "INSERT INTO pool SELECT row_number() OVER (ORDER BY id) - 1, id, asks, shot FROM (SELECT *, "
            "row_number() OVER (PARTITION BY id ORDER BY question DESC, rationale DESC, rowid DESC) AS place "
            "FROM shots) WHERE place = 1"
        )
        self._database.execute("DROP TABLE shots")
        self._database.execute("CREATE INDEX ids ON pool (id)")
        self._database.execute("CREATE INDEX contents ON pool (asks)")
        return int(self._database.execute("SELECT count(*) FROM pool").fetchone()[0])

    def for_row(self, example: Example) -> list[Shot]:
        """Return the row's shots: distinct, and never the row itself or one that asks the same."""
        if not self.count:
            return []
        row_id, size = example.identify(), self._numbered
        query = "SELECT number FROM pool WHERE asks = ? UNION SELECT number FROM pool WHERE id = ?"
        values = (_asks(example), packed(row_id))
        same = {number for (number,) in self._database.execute(query, values)}
        # Shots that ask the same are left out after the draw, so as many more are drawn.
        wanted = min(self.count + max(1, len(same)), size)
        # A generator per row: its shots depend neither on the order of the rows nor on other rows.
        drawn = random.Random(f"{self.seed}:{row_id}").sample(range(size), wanted)
        others = [number for number in drawn if number not in same][: self.count]
        if len(others) < self.count and not self.fewer:
            raise UsageError(
                f"--shots {self.count}: found {len(others)} worked examples for {row_id!r}, which cannot be "
                f"its own; {self.account}; give more with --pool, or ask for fewer shots"
            )
        return [self._read(number) for number in others]

    def _shot(self, number: int) -> Shot:
        query = "SELECT shot FROM pool WHERE number = ?"
        held = self._database.execute(query, (number,)).fetchone()[0]
        shot: Shot = pickle.loads(held)  # noqa: S301 - our own bytes
        return shot


def _asks(example: Example) -> bytes:
    """Return a digest of what an Example asks."""
    return blake2b(packed("\0".join(_content(example))), digest_size=16).digest()


def _content(example: Example) -> tuple[str, ...]:
    # Rows have other ids in other files of their dataset, so they are also compared by what they ask: without
    # regard to white space and to the order of choices.
    question, *choices = (" ".join(text.split()) for text in (example.question, *example.choices))
    return question, *sorted(choices)


class Prompter:
    """Make requests of Examples; ``prompt_file`` documents the arguments."""

    def __init__(
        self, pool: ShotPool, *, forcing: bool = True, system: str | None = None, user: str | None = None
    ) -> None:
        self.pool, self.forcing, self.system = pool, forcing, system
        wording = user or (FORCED_USER if forcing else CHOICE_USER)
        self._user = compile_text(wording, "user")
        # A question without choices has no answer label, so its wording shows the answer's text.
        self._open = compile_text(wording.replace("{answer_label}", "{answer_text}"), "user")

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
    options: dict[str, Any] = {"dataset": dataset, "pool": pool, "shots": shots, "seed": seed}
    options |= {"forcing": forcing, "system": system, "user": user, "limit": limit, "warn": warn}
    blocks, request = _requests(path, None, **options)
    ledger = Ledger()
    with files.open_rejects(rejects) as bad, files.open_output(str(output)) as out:
        engine.run_into(blocks, engine.per_row(request), out, ledger, bad, paths=[path])
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
        blocks, request = _requests(str(source), None, **options)
        return engine.rows_of(blocks, engine.per_row(request), str(source))
    blocks, request = _requests(GIVEN, list(files.row_blocks(GIVEN, source, given=True)), **options)
    return engine.rows_of(blocks, engine.per_row(request))


def _requests(
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
) -> tuple[Iterable[files.Block], Callable[[Mapping[str, Any]], bytes]]:
    """Return the blocks of rows and the function that makes a request of a row."""
    for flag, value, least in (("--shots", shots, 0), ("--limit", limit, 1)):
        if value is not None:
            check_whole(flag, value, least)
    check_whole("--seed", seed)
    # A test split without labels can be asked about, as long as no answer is to be shown.
    read = partial(source_rows.example_of, dataset=dataset, unlabelled=not forcing)
    converter = None if dataset is None else converters.load(dataset)
    blocks = source_rows.blocks(path, converter) if given is None else given
    count = (2 if forcing else 0) if shots is None else shots
    if not count:
        worked = ShotPool([], 0, seed)
    elif pool is not None:
        worked = _pool(source_rows.blocks(str(pool)), str(pool), Example.from_json, count, seed, warn)
    else:
        # They are read twice, and standard input can be read only once.
        blocks = list(blocks)
        # Many sets have no rationales: without a wish for worked examples they are asked without.
        worked = _pool(blocks, path, read, count, seed, warn, own=True, fewer=shots is None)
    prompter, made = Prompter(worked, forcing=forcing, system=system, user=user), 0

    def request(row: Mapping[str, Any]) -> bytes:
        nonlocal made
        if made == limit:
            raise RowDropped("after the last one of --limit")
        line = orjson.dumps(prompter(read(row)))
        made += 1
        return line

    return blocks, request


def _pool(
    blocks: Iterable[files.Block],
    path: str,
    read: Reader,
    count: int,
    seed: int,
    warn: Callable[[str], None] | None = None,
    *,
    fewer: bool = False,
    own: bool = False,
) -> ShotPool:
    """Return the worked examples among rows, with an account of the rows for messages.

    ``fewer`` takes as many as there are; ``own`` says that requests are made of the same rows.
    """
    worked = ShotPool((), count, seed, fewer=fewer)
    rows, usable, bad, first = 0, 0, 0, ""

    def collect(row: Mapping[str, Any]) -> bytes:
        shot = shot_of(row, read(row))
        if shot is None:
            raise RowDropped(NO_RATIONALE)
        worked.add(shot)
        return b""

    for block, outcome in engine.run_operator(engine.per_row(collect), blocks):
        rows += outcome.rows_in
        usable += outcome.rows_out
        # Bad rows are only counted. If requests are made of the same rows, they are reported there.
        bad += len(outcome.failures)
        if outcome.failures and not first:
            failure = outcome.failures[0]
            first = f" (the first is {block.unit} {failure.line}: {failure.message})"
    engine.refuse_empty({path: rows})
    name = "standard input" if path == files.STDIO else path
    account = f"the pool, {name}, has {rows:,} rows: {usable:,} with an answer and a rationale or solution"
    account += f", {rows - usable - bad:,} without"
    if bad:
        account += f", {bad:,} that are no Examples{first}"
    # A row is never its own worked example, so one more is needed than a request shows.
    few = usable <= count
    if warn is not None and few and fewer:
        shown = "no worked examples" if not usable else f"at most {usable} of {count} worked examples"
        warn(f"the requests have {shown}: {account}; give some with --pool, or say --shots {usable}")
    # With too few it is part of an error.
    elif warn is not None and bad and not few and not own:
        warn(account)
    worked.account = account
    return worked
