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
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from dataprep.errors import RowError, UsageError
from dataprep.rationales import CUE
from dataprep.records import Example
from dataprep.templates import DEFAULT_SYSTEM, LETTER_SYSTEM, compile_text

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
