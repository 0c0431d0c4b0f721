"""The interface of classifiers, for the small network and `transformers`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from dataprep.core.conversations import find_ignored
from dataprep.core.errors import FileError, InputError, Location, RowDropped, RowError, UsageError, first_line
from dataprep.core.io import Rejects
from dataprep.core.ledger import Ledger
from dataprep.core.records import describe
from dataprep.train.objective import Batch, check_max_length, read_with
from dataprep.train.objectives.soft_label.classes import Gold, Teacher, name_of

if TYPE_CHECKING:
    from torch import Tensor

    from dataprep.train.objectives.soft_label.classes import Classes

# The small network's only file in its run's directory.
NETWORK_FILE = "student.safetensors"
# Presets that are small networks. Not in tiny.py, which imports torch: the registry of objectives reads them.
NETWORKS = ("tiny", "wide")

Fields = tuple[str, ...]
Encoded = dict[str, list[int]]
"""One text as numbers: lists of equal length by name, the ids of its tokens first."""


def network_file(path: str) -> str | None:
    """Return the small network's file of a path, which can be its directory; `None` if it has none."""
    if path.endswith(".safetensors") and Path(path).is_file():
        return path
    file = Path(path) / NETWORK_FILE
    return str(file) if file.is_file() else None


@contextmanager
def explain_damage(path: str) -> Iterator[None]:
    """Turn any error of a damaged model's readers into a `FileError`."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - they raise all kinds
        raise FileError(path, f"the model cannot be loaded: {first_line(error)}") from None


def length(encoded: Encoded) -> int:
    """Return the number of tokens in a text."""
    return len(next(iter(encoded.values())))


def too_long(tokens: int, limit: int, truncation: str) -> RowError:
    """Return the error for a row with more tokens than its limit."""
    detail = f"found {tokens:,} tokens; expected at most {limit:,}"
    if truncation == "drop":
        return RowDropped("too long", detail)
    return RowError("too long", f"{detail} (or give --truncation drop or truncate)")


class Scorer(ABC):
    """A model that scores classes, with everything that it needs to read texts."""

    # True if each field has weights of its own.
    fixed_fields = True

    def __init__(
        self, model: Any, classes: Classes, fields: Fields, context_length: int | None, pad: int
    ) -> None:
        # No fields if the model's maker did not record them; no context length if any text fits.
        self.model, self.classes, self.fields = model, classes, fields
        self.context_length, self.pad = context_length, pad
        # The options of the run that trained it, by key; none if it is new, or no run of `train` made it.
        self.recorded: Mapping[str, Any] = {}
        # False if the order of the rows' classes is another one, which lists of probabilities can have.
        self.reads_lists = True

    @abstractmethod
    def encode(self, texts: Sequence[str], limit: int | None = None) -> Encoded:
        """Encode the texts of one row, truncated to `limit` tokens if it is given."""

    def prepare_saving(self) -> None:  # noqa: B027 - most classifiers can always be saved
        """Check before training that the classifier can be saved after it."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the model and everything that it needs into a directory."""

    def describe(self) -> dict[str, Any]:
        """Return what the run's records say about fields and classes."""
        return {"fields": list(self.fields), "classes": list(self.classes.names)}

    def limits(self, max_length: int | None, truncation: str | None) -> tuple[int | None, str]:
        """Return the maximum length and the truncation: as chosen, else those of the run that trained it."""
        limit = check_max_length(max_length or self.recorded.get("max_length"), self.context_length)
        return limit, truncation or self.recorded.get("truncation", "error")

    def encode_within(self, texts: Sequence[str], limit: int | None, truncation: str) -> Encoded:
        """Encode a row's texts, with at most `limit` tokens."""
        if truncation == "truncate":
            return self.encode(texts, limit)
        # Encoded in full first: the message says how long the text is.
        encoded = self.encode(texts)
        if limit is None or length(encoded) <= limit:
            return encoded
        raise too_long(length(encoded), limit, truncation)

    def collate(self, texts: Sequence[Encoded]) -> dict[str, Tensor]:
        """Return texts padded to the longest, `(B, T)`, and their `attention_mask`."""
        import torch

        longest = max(map(length, texts))
        padded = [text | {"attention_mask": [1] * length(text)} for text in texts]
        tensors = {}
        for name in padded[0]:
            # Only token ids have a padding value of their own.
            pad = self.pad if name == "input_ids" else 0
            rows = [text[name] + [pad] * (longest - len(text[name])) for text in padded]
            tensors[name] = torch.tensor(rows, dtype=torch.long)
        return tensors


def logits_of(model: Any, tensors: Mapping[str, Tensor]) -> Tensor:
    """Return a model's scores in float32, of shape `(B, classes)`."""
    # Float32, since softmax in bfloat16 has two or three digits.
    output = model(**tensors)
    return getattr(output, "logits", output).float()


# Prefix of a table's columns of probabilities; the class's name follows.
COLUMN = "prob_"
GOLD, SOFT, NO_GOLD = "gold", "soft", -1
# Classes that are listed in messages.
MOST_SHOWN = 20
_USUAL_FIELDS = (("text",), ("question", "answer"), ("question",))


@dataclass(frozen=True, slots=True)
class JudgedRow:
    """One row."""

    where: Location
    texts: tuple[str, ...]
    gold: Gold
    teacher: Teacher | None
    text: bytes = b""
    fields: Mapping[str, Any] | None = None  # all of them, where the caller asked for them


def check_fields(scorer: Scorer, fields: Sequence[str]) -> None:
    """Raise `UsageError` if a small network was trained on another number of fields."""
    if fields and scorer.fixed_fields and len(fields) != len(scorer.fields):
        own = ", ".join(scorer.fields)
        raise UsageError(
            f"--fields {','.join(fields)}: found {len(fields)}; the model reads {len(scorer.fields)}: {own}"
        )


def usual_fields(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the default fields of a row's text: `text`, or question and answer."""
    for fields in _USUAL_FIELDS:
        if all(field in row for field in fields):
            return fields
    advice = "expected 'text', or name the fields with --fields"
    raise RowError("no text", f"the row's fields are {_names_of(row)}; {advice}")


def _names_of(row: Mapping[str, Any]) -> str:
    return ", ".join(map(repr, row)) or "none"


def texts_of(row: Mapping[str, Any], fields: Sequence[str]) -> tuple[str, ...]:
    """Return the texts of a row."""
    texts = []
    for field in fields:
        if field not in row:
            raise RowError(f"missing field {field!r}", f"the row's fields are {_names_of(row)}")
        if type(row[field]) is not str:
            raise RowError(f"no text in {field!r}", f"found {describe(row[field])}; expected a text")
        texts.append(row[field])
    return tuple(texts)


def gold_of(row: Mapping[str, Any], field: str | None = None, known: Sequence[str] = ()) -> Gold:
    """Return the label or the score of a row; `None` if it is empty.

    A label that says that there is none is an error, unless it is one of the `known` classes.
    """
    field = field or ("label" if "label" in row else "score")
    value = row.get(field)
    if value is None or value == "":
        return None
    # Only `score` is a number on a scale; any other field names a class.
    if field != "score":
        name = name_of(value)
        # pandas writes a missing value as a text, which no other reader takes for one.
        if name not in known and (not name.strip() or name.strip().lower() in ("nan", "<na>")):
            other = ", or name the class with --classes" if name.strip() else ""
            raise RowError(
                "a label that is missing", f"found {name!r} in {field!r}; leave the field empty{other}"
            )
        return name
    try:
        score = float(value) if type(value) in (int, float, str) else math.nan
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise RowError("a score is no number", f"found {describe(value)} in 'score'; expected a number")
    return score


def teacher_of(row: Mapping[str, Any]) -> Teacher | None:
    """Return a teacher's `probs`, `scores` or columns `prob_CLASS`, if any."""
    for field in ("probs", "scores"):
        value = row.get(field)
        if type(value) is str and value.strip():  # tables have JSON in a cell
            with suppress(orjson.JSONDecodeError):
                value = orjson.loads(value)
        if value is None or value == "":
            continue
        if type(value) is list:
            return Teacher(value, logits=field == "scores")
        if type(value) is dict:
            # In Parquet every row has every class, with null where the original row had none.
            known = {name_of(name): number for name, number in value.items() if number is not None}
            if known or not value:
                return Teacher(known, logits=field == "scores")
            continue
        raise RowError(
            f"{field} of another kind",
            f"found {describe(value)} in {field!r}; expected a list in the classes' order, or an object",
        )
    filled = {
        name: value for name, value in row.items() if name.startswith(COLUMN) and value not in (None, "")
    }
    probabilities = {name_of(name.removeprefix(COLUMN)): value for name, value in filled.items()}
    return Teacher(probabilities) if probabilities else None


def judged_rows(
    paths: Sequence[str],
    fields: Sequence[str] = (),
    label: str | None = None,
    *,
    known: Sequence[str] = (),
    rejects: Rejects | None = None,
    ledger: Ledger | None = None,
    whole: bool = False,
    labelled: bool = False,
) -> Iterator[JudgedRow]:
    """Read the rows of files; the text is in `fields`, by default the usual ones of each file's first row.

    `known` are the classes if they are named, `rejects` gets bad rows, `ledger` counts rows, and with `whole`
    the rows come with all of their fields. With `labelled`, a `label` that no row has is an error.
    """
    # By each file's first row: files of one run can name their fields differently.
    used: dict[str, Sequence[str]] = {}
    first: dict[str, Any] = {}

    def read(where: Location, row: dict[str, Any], text: bytes) -> JudgedRow:
        nonlocal first
        if where.path not in used:
            used[where.path] = fields or usual_fields(row)
            first = first or row
        _check_fields(row, {*used[where.path], label})
        texts = texts_of(row, used[where.path])
        gold, teacher = gold_of(row, label, known), teacher_of(row)
        if gold is None and teacher is None:
            expected = f"a label in {label!r}" if label else "a label, a score"
            found = f"the row's fields are {_names_of(row)}; " if label else ""
            raise RowError("nothing to learn", f"{found}expected {expected} or probabilities")
        return JudgedRow(where, texts, gold, teacher, text, row if whole else None)

    any_label = not (labelled and label)
    for row in read_with(read, paths, rejects or Rejects(None), Ledger() if ledger is None else ledger):
        any_label = any_label or row.gold is not None
        yield row
    if first and not any_label:
        raise no_label(", ".join(paths), label, first)


def no_label(path: str, label: str | None, first: Mapping[str, Any]) -> InputError:
    """Return the error for rows of which none has a label; `first` is one of them."""
    field = repr(label) if label else "'label' or 'score'"
    found = f"no row has a label in {field}; the fields of the first are {_names_of(first)}"
    return InputError(path, f"{found}: name the field of the label with --label")


def _check_fields(row: Mapping[str, Any], used: set[str | None]) -> None:
    """Raise ``RowError`` for a field, such as a weight, that would have no effect on the loss."""
    others = {name: value for name, value in row.items() if name not in used and not name.startswith(COLUMN)}
    for finding in find_ignored(others, learned=True):
        raise RowError(*finding)


def _check_named(teacher: Teacher, classes: Classes) -> None:
    """Raise `RowError` for a list of probabilities, which does not say which class each is for."""
    if not isinstance(teacher.values, Mapping):
        names = ",".join(classes.names)
        raise RowError(
            f"{teacher.field} without names",
            f"the model has the classes in the order {names}: give --classes {names} if the list has this "
            "order, else an object by class",
        )


class JudgedDataset:
    """Rows as items for a classifier."""

    def __init__(
        self,
        scorer: Scorer,
        rows: Iterable[JudgedRow],
        limit: int | None = None,
        truncation: str = "error",
        *,
        rejects: Rejects | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self._scorer, classes = scorer, scorer.classes
        # Whoever reads the rows counts those that come in.
        self.ledger, rejects = ledger or Ledger(), rejects or Rejects(None)
        self._encoded: list[Encoded] = []
        self._places: list[Location] = []
        # Name and SHA-256 of each input file.
        self.files = list[dict[str, Any]]()
        gold, teacher, has_teacher = [], [], []
        # Placeholders keep the tensors rectangular; `has_teacher` masks them in the loss.
        nothing = [0.0] * len(classes.names)
        for row in rows:
            try:
                if row.teacher is not None and not scorer.reads_lists:
                    _check_named(row.teacher, classes)
                number = NO_GOLD if row.gold is None else classes.index(row.gold)
                log_probs = nothing if row.teacher is None else classes.log_probs(row.teacher)
                self._encoded.append(scorer.encode_within(row.texts, limit, truncation))
            except RowDropped as drop:
                self.ledger.drop(drop.reason)
                continue
            except RowError as error:
                rejects.add(row.where, str(error), row.text)
                self.ledger.fail(error.reason)
                continue
            gold.append(number)
            teacher.append(log_probs)
            has_teacher.append(row.teacher is not None)
            self._places.append(row.where)
        self.ledger.rows_out = len(gold)
        # By which rows of like length share a batch: all are padded to the longest.
        self.lengths = [length(encoded) for encoded in self._encoded]
        if not gold:
            raise InputError("the data", "no row is left to train on")
        # Not at the top: `predict` imports this module before it can say that torch is missing.
        import torch

        # Shape (rows,), (rows, classes) and (rows,): indices of classes or NO_GOLD, log-probabilities.
        self.gold, self.teacher = torch.tensor(gold), torch.tensor(teacher)
        self.has_teacher = torch.tensor(has_teacher)

    def __len__(self) -> int:
        return len(self._encoded)

    @property
    def tokens(self) -> int:
        """Number of tokens in all rows."""
        return sum(self.lengths)

    def batch(self, items: Sequence[int]) -> Batch:
        """Return the classifier's inputs, and `gold`, `teacher` and `has_teacher`."""
        encoded = [self._encoded[item] for item in items]
        import torch

        rows = torch.tensor(list(items))
        tensors = self._scorer.collate(encoded)
        tensors |= {"gold": self.gold[rows], "teacher": self.teacher[rows]}
        tensors["has_teacher"] = self.has_teacher[rows]
        counts = {SOFT: int(tensors["has_teacher"].sum()), GOLD: int((tensors["gold"] != NO_GOLD).sum())}
        return Batch(tensors, counts, sum(map(length, encoded)))

    def describe_classes(self) -> str:
        """Return the classes with the number of rows of each, and of rows with probabilities."""
        names = self._scorer.classes.names
        counts = [int((self.gold == number).sum()) for number in range(len(names))]
        pairs = list(zip(names, counts, strict=True))
        # The most frequent ones of many: a list of a thousand would hide what is wrong with it.
        shown = pairs if len(pairs) <= MOST_SHOWN else sorted(pairs, key=lambda pair: -pair[1])[:MOST_SHOWN]
        listed = ", ".join(f"{name!r} {count:,}" for name, count in shown)
        rest = f" and {len(names) - MOST_SHOWN:,} more" if len(names) > MOST_SHOWN else ""
        return f"rows by class: {listed}{rest}; with probabilities: {int(self.has_teacher.sum()):,}"

    def describe_item(self, item: int) -> str:
        """Return a row's place."""
        return str(self._places[item])
