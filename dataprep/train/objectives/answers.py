"""Ask a student evaluation rows while it trains, and score its answers as `dataprep evaluate` does.

Rows with choices are scored by the likelihood of each choice, as with `--by likelihood`, and others by a
greedy answer. Prompts, readers and figures are those of `evaluate`, so a trained student that is evaluated on
the same rows has the figures that training printed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dataprep.core.errors import UsageError
from dataprep.core.io import temporary_folder
from dataprep.core.ledger import Ledger, advance
from dataprep.core.sampling import shuffled_order
from dataprep.evaluate import likelihood
from dataprep.evaluate.items import Item, Training, read_items
from dataprep.evaluate.local_model import answer_all, template_options
from dataprep.evaluate.metrics.scores import NAMES, Row, Tally, score
from dataprep.evaluate.settings import Settings
from dataprep.models.loading import Model
from dataprep.tokens.shards.manifest import is_shards
from dataprep.train.objective import SkippedRows, TrainContext

if TYPE_CHECKING:
    from dataprep.models.student import Student
    from dataprep.train.hardware.distributed import World

# The metrics that a reply alone decides: programs are not run while a student trains.
_SCORED = ("gsm8k", "squad", "choice")
ROWS = "measured_rows"


class Answers:
    """Evaluation rows that a student answers.

    Args:
        context: files, options and processes of the run; `measure` of its options is the number of rows.
        student: the student.
        training: how it is trained, by which it is asked and its replies are read.

    Attributes:
        warnings: what the last measurement shows besides its figures, such as one answer to nearly all rows.

    Raises:
        UsageError: no row has a metric, or the data are token shards.
    """

    def __init__(self, context: TrainContext, student: Student, training: Training) -> None:
        self._student, self._training = student, training
        self._items = _sampled(context, training)
        self._batch_size = Settings().batch_size
        self._model: Model | None = None
        self.warnings: list[str] = []

    def __len__(self) -> int:
        return len(self._items)

    def figures(self) -> tuple[str, ...]:
        """Return the names of all figures."""
        metrics = dict.fromkeys(item.reference.metric for item in self._items)
        names = {**NAMES, "choice": likelihood.NAMES}
        return tuple(_short(name) for metric in metrics for name in names[metric])

    def measure(self, processes: World | None = None) -> dict[str, Any]:
        """Return the figures by name, and the number of rows; the processes share the rows."""
        items = processes.shard(self._items) if processes else self._items
        with self._student.default_attention():
            rows = self._rows(items) if items else []
        if processes:
            rows = [row for part in processes.gather(rows) for row in part]
        tally = Tally()
        for row in rows:
            tally.add(row)
        results = tally.results()
        self.warnings = [warning for result in results for warning in result.warnings()]
        # Of a metric with rows of several datasets, the figure over all of them comes last.
        figures = {_short(figure.name): figure.value for result in results for figure in result.figures}
        return figures | _without_skill(rows) | {ROWS: len(rows)}

    def _rows(self, items: Sequence[Item]) -> list[Row]:
        """Return rows with their scores; rows that cannot be asked are left out, as `evaluate` does."""

        def on_rows(count: int) -> None:
            advance("rows answered", count, len(items))

        model, training = self._asked(), self._training
        shared: dict[str, Any] = {"training": training, "batch_size": self._batch_size, "on_rows": on_rows}
        choices = [item for item in items if item.reference.choices]
        others = [item for item in items if not item.reference.choices]
        rows = []
        if choices:
            found = likelihood.score_choices(model, choices, **shared)
            for item, chosen in zip(choices, found, strict=True):
                if isinstance(chosen, likelihood.ChoiceScores):
                    rows.append(Row(item.source, item.reference, chosen.scored(item.reference.answers[0])))
        if others:
            replies, _ = answer_all(model, others, max_tokens=Settings().max_tokens, **shared)
            for item, reply in zip(others, replies, strict=True):
                if reply.text is not None:
                    scored = score(reply.text, item.reference, training.style)
                    rows.append(Row(item.source, item.reference, scored))
        return rows

    def _asked(self) -> Model:
        """Return the student's model as `evaluate` loads it, with the tokenizer that will be saved."""
        if self._model is None:
            from transformers import AutoTokenizer

            with temporary_folder() as folder:
                self._student.save_tokenizer(folder)
                tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            weights = self._student.model
            self._model = Model(weights, tokenizer, template_options(self._training), device=weights.device)
        # Sharded weights, for example, are replaced by whole ones at the end.
        self._model.weights = self._student.model
        return self._model


def _sampled(context: TrainContext, training: Training) -> list[Item]:
    """Return rows that have a metric: as many as `--measure` says, drawn by the seed, in their order."""
    if shards := [path for path in context.eval_data if is_shards(path)]:
        raise UsageError(f"--measure: {shards[0]} has tokens; give the evaluation rows as a file of rows")
    items = [
        item
        for path in context.eval_data
        for item in read_items(path, Ledger(), SkippedRows(), training=training)
        if item.reference.metric in _SCORED
    ]
    if not items:
        raise UsageError(
            f"--measure: no row of {', '.join(context.eval_data)} has an answer that can be scored: expected "
            "questions of a known dataset or with choices; leave it out"
        )
    count = min(context.options.measure, len(items))
    context.log(f"--measure: {count:,} of {len(items):,} evaluation rows that can be scored")
    drawn = sorted(shuffled_order(len(items), context.options.seed)[:count].tolist())
    return [items[number] for number in drawn]


def _without_skill(rows: Sequence[Row]) -> dict[str, float]:
    """Return what guesses reach on rows with choices, and what the most frequent letter does."""
    choices = [row.reference for row in rows if row.reference.choices]
    if not choices:
        return {}
    chance = sum(1 / len(reference.choices) for reference in choices) / len(choices)
    ((_, most),) = Counter(reference.answers[0] for reference in choices).most_common(1)
    return {"chance": chance, "majority": most / len(choices)}


def _short(name: str) -> str:
    """Return a figure's name for flags and records.

    >>> _short("exact match (strict)")
    'exact_match_strict'
    """
    return "_".join(re.findall(r"\w+", name.lower()))
