"""The objectives of `dataprep train`: their names, rows, options and defaults.

This is the one place that lists them. It imports no objective and no torch, so that `--help` and errors in
the data come at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataprep.core import io as files
from dataprep.core.errors import InputError, UsageError, located
from dataprep.core.jsonl import not_object, parse_line
from dataprep.models.loading import is_preset
from dataprep.train.options import TrainOptions, flag_of

if TYPE_CHECKING:
    from dataprep.train.objective import Objective

Row = Mapping[str, Any]


def _language_model_rate(options: TrainOptions) -> float:
    if options.lora is not None:
        return 2e-4
    # New weights need large steps; large steps would destroy what a pretrained model knows.
    return 1e-3 if is_preset(options.model) else 2e-5


@dataclass(frozen=True, slots=True)
class ObjectiveSpec:
    """The registration of one objective.

    Attributes:
        name: its name for `--objective`, the records and the model card.
        target: module and class, as `sft:SftObjective`, below this package.
        rows: what its rows look like, for messages.
        matches: returns whether a row is for this objective, given the options.
        options: the fields of `TrainOptions` that only some objectives have, and this one does.
        preset: the model that is trained by default.
        learning_rate: returns the default learning rate, given the options; `None` if the objective sets it.
        variant_of: the objective that reads the same rows and is chosen where this one does not match.
    """

    name: str
    target: str
    rows: str
    matches: Callable[[Row, TrainOptions], Any]
    options: tuple[str, ...]
    preset: str = "llama-tiny"
    learning_rate: Callable[[TrainOptions], float | None] = _language_model_rate
    variant_of: str | None = None

    @property
    def kind(self) -> str:
        """The kind of its rows: all data of a run must be of one kind."""
        return self.variant_of or self.name

    def load(self) -> type[Objective]:
        """Import the objective's class, and torch with it."""
        module, _, name = self.target.partition(":")
        objective: type[Objective] = getattr(import_module(f"{__package__}.{module}"), name)
        return objective


def _is_chat(row: Row, options: TrainOptions) -> bool:
    # Only classifiers have a label to name, so --label decides even if the rows have messages too.
    return "messages" in row and options.label not in row


def _has_teacher(row: Row, options: TrainOptions) -> Any:
    return _is_chat(row, options) and (options.teacher_model or options.teacher_logits or "logprobs" in row)


def _has_rationales(row: Row, options: TrainOptions) -> bool:
    return "rationales" in row and options.label not in row


def _is_judged(row: Row, options: TrainOptions) -> Any:
    fields = {"probs", "scores", "label", "score"} & row.keys()
    return options.label in row or fields or any(name.startswith("prob_") for name in row)


_ALL = (
    # Before sft, which would match the same rows.
    ObjectiveSpec(
        name="distillation",
        target="distillation:DistillationObjective",
        rows="chat rows with 'logprobs', or chat rows and --teacher-model or --teacher-logits",
        matches=_has_teacher,
        options=("pack", "measure", "teacher_model", "teacher_logits", "teacher_share", "temperature"),
        variant_of="sft",
    ),
    ObjectiveSpec(
        name="sft",
        target="sft:SftObjective",
        rows="chat rows ({'messages': […]})",
        matches=_is_chat,
        options=("pack", "measure"),
    ),
    ObjectiveSpec(
        name="rationale",
        target="rationale:RationaleObjective",
        rows="rows with 'rationales' by teacher, as `dataprep parse-rationales` writes them",
        matches=_has_rationales,
        options=(
            "recipe",
            "measure",
            "gamma",
            "alpha",
            "beta",
            "teacher_weights",
            "keep_status",
            "cue",
            "max_target_length",
            "keep_end",
        ),
        preset="t5-tiny",
    ),
    ObjectiveSpec(
        name="soft-label",
        target="soft_label.objective:SoftLabelObjective",
        rows="rows with a text, and a label or probabilities ('probs')",
        matches=_is_judged,
        options=("alpha", "temperature", "fields", "label", "classes", "cross_fit", "fold_by"),
        preset="tiny",
        # Chosen when the rows are known.
        learning_rate=lambda _: None,
    ),
)
OBJECTIVES: dict[str, ObjectiveSpec] = {spec.name: spec for spec in _ALL}
"""All objectives by name. A row belongs to the first one that matches it."""


def choose_objective(
    paths: list[str], options: TrainOptions, eval_paths: Sequence[str] = (), *, skip_bad: bool = False
) -> ObjectiveSpec:
    """Return the objective for the first row; `--objective` and all other files must agree with it.

    With `skip_bad`, rows that no objective can read do not count.
    """
    if not paths:
        raise UsageError("expected a file of rows, or a directory of token shards")
    if options.objective not in ("auto", *OBJECTIVES):
        known = ", ".join(("auto", *OBJECTIVES))
        raise UsageError(f"--objective {options.objective}: must be one of {known}")
    specs = {path: _objective_of_file(path, options, skip_bad) for path in [*paths, *eval_paths]}
    first = specs[paths[0]]
    # --objective sft also accepts rows with a teacher: that is distillation of the same rows.
    if options.objective not in ("auto", first.name, first.kind):
        wanted = OBJECTIVES[options.objective].rows
        raise InputError(
            paths[0], f"--objective {options.objective} needs {wanted}; found {OBJECTIVES[first.kind].rows}"
        )
    # By kind: evaluation rows need no log-probabilities, even if the training rows have them.
    for path, spec in specs.items():
        if spec.kind != first.kind:
            raise InputError(
                path, f"its rows are for {spec.kind}, those of {paths[0]} for {first.kind}: train on one kind"
            )
    _check_options(first, options)
    return first


def _objective_of_file(path: str, options: TrainOptions, skip_bad: bool) -> ObjectiveSpec:
    if Path(path).is_dir():
        # Shards are made of chat rows; problems inside the directory are reported when it is opened.
        return objective_for({"messages": []}, path, options)
    failed: InputError | None = None
    for where, item in files.read_items(path):
        try:
            with located(where):
                row = parse_line(item) if isinstance(item, bytes) else item
                if not isinstance(row, dict):
                    raise not_object(row)
            return objective_for(row, where, options)
        except InputError as error:
            if not skip_bad:
                raise
            failed = failed or error
    raise failed or InputError(path, "the file is empty; expected rows to train on")


def objective_for(row: Row, where: object, options: TrainOptions) -> ObjectiveSpec:
    """Return the objective that a row is for."""
    # The first match wins, so a variant stands before the objective that it is a variant of.
    for spec in _ALL:
        if spec.matches(row, options):
            return spec
    fields = ", ".join(map(repr, row)) or "none"
    expected = "; or ".join(spec.rows for spec in _ALL if spec.variant_of is None)
    if {"Question", "Answer"} <= row.keys():
        expected += "; these rows are of `dataprep collect --to qa`: make chat rows of the same journal with"
        expected += " `dataprep collect --to chat`"
    if options.label is not None and options.label not in row:
        expected += f". --label names {options.label!r}, which the row does not have"
    raise InputError(where, f"the row's fields are {fields}; expected {expected}")


def _check_options(chosen: ObjectiveSpec, options: TrainOptions) -> None:
    """Refuse options that only other objectives have: they would do nothing."""
    defaults = TrainOptions()
    for name in dict.fromkeys(name for spec in _ALL for name in spec.options):
        if name not in chosen.options and getattr(options, name) != getattr(defaults, name):
            others = " and ".join(spec.name for spec in _ALL if name in spec.options)
            found = f"{flag_of(name)} is an option of {others}, and this is {chosen.name}"
            raise UsageError(f"{found}: leave it out")
