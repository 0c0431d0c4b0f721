"""Which objective rows are for, read off the rows themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dataprep.core import io as files
from dataprep.core.errors import InputError, Location, UsageError
from dataprep.train.options import TrainOptions, flag_of

# What a row must have for an objective, as a message says it.
EXPECTED = {
    "sft": "chat rows ({'messages': […]})",
    "rationale": "rows with 'rationales' by teacher, as `dataprep parse-rationales` writes them",
    "soft-label": "rows with a text, and a label or probabilities ('probs')",
}


# Options that say nothing but to these objectives.
_OWN = {
    "pack": ("sft", "logits"),
    "gamma": ("rationale",),
    "alpha": ("rationale", "soft-label"),
    "beta": ("rationale",),
    "teacher_weights": ("rationale",),
    "keep_status": ("rationale",),
    "temperature": ("logits", "soft-label"),
    "fields": ("soft-label",),
    "label": ("soft-label",),
    "classes": ("soft-label",),
    "teacher_share": ("logits",),
}


def refuse_foreign(objective: str, options: TrainOptions) -> None:
    """Raise ``UsageError`` for options of another objective, which would do nothing."""
    plain = TrainOptions()
    for name, own in _OWN.items():
        if objective not in own and getattr(options, name) != getattr(plain, name):
            raise UsageError(
                f"{flag_of(name)} is an option of {' and '.join(own)}, and this is {objective}: leave it out"
            )


def objective_of(paths: list[str], options: TrainOptions, held_out: Sequence[str] = ()) -> str:
    """The objective of a run: the one chosen, where the rows are for it; else what the first row says.

    Args:
        paths: what is trained on.
        options: what was chosen.
        held_out: what the loss is measured on; it must be of the same kind.

    Raises:
        UsageError: there is no data.
        InputError: the rows are of another kind, or there are none.
    """
    if not paths:
        raise UsageError("expected a file of rows, or a directory of token shards")
    kinds = {path: _kind_of_path(path, options) for path in [*paths, *held_out]}
    kind = next(iter(kinds.values()))
    if options.objective not in ("auto", kind):
        wanted, found = EXPECTED[options.objective], EXPECTED[kind]
        raise InputError(paths[0], f"--objective {options.objective} needs {wanted}; found {found}")
    for path, found in kinds.items():
        if found != kind:
            raise InputError(
                path, f"its rows are for {found}, those of {paths[0]} for {kind}: train on one kind"
            )
    if options.teacher_model is not None and kind != "sft":
        raise UsageError(f"--teacher-model goes with {EXPECTED['sft']}; these are for {kind}")
    return "logits" if kind == "sft" and (options.teacher_model or _has_stored_logits(paths[0])) else kind


def _kind_of_path(path: str, options: TrainOptions) -> str:
    if Path(path).is_dir():
        return "sft"  # shards; what is wrong with them is said when they are opened
    first = next(iter(files.read_rows(path)), None)
    if first is None:
        raise InputError(path, "the file is empty; expected rows to train on")
    if options.label is not None and options.label in first[1]:
        return "soft-label"  # no other objective has a label to be named
    return kind_of(first[1], first[0])


def kind_of(row: Mapping[str, Any], where: Location) -> str:
    """What a row is for.

    Raises:
        InputError: it is for nothing that is known here.
    """
    if "messages" in row:
        return "sft"
    if "rationales" in row:
        return "rationale"
    if {"probs", "scores", "label", "score"} & row.keys() or any(name.startswith("prob_") for name in row):
        return "soft-label"
    fields = ", ".join(map(repr, row)) or "none"
    raise InputError(where, f"the row's fields are {fields}; expected " + "; or ".join(EXPECTED.values()))


def _has_stored_logits(path: str) -> bool:
    """Whether rows bring a teacher's most likely tokens with them."""
    if Path(path).is_dir():
        return False
    first = next(iter(files.read_rows(path)), None)
    return first is not None and "logprobs" in first[1]
