"""The interface of objectives: a model, a dataset and a loss to minimise.

An objective returns *sums* over tokens (or rows), and a batch says how many tokens each sum covers. The
trainer divides by the count of the whole step, so gradient accumulation and several processes give the same
loss and gradient as one large batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from dataprep.core import io as files
from dataprep.core.errors import Location, RowError, UsageError
from dataprep.core.io import Rejects
from dataprep.core.jsonl import any_line, not_object, parse_row
from dataprep.core.ledger import Ledger, advance
from dataprep.tokens.shards.manifest import sha256_of
from dataprep.train.options import TrainOptions
from dataprep.train.run_dir import RunDir

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from dataprep.train.hardware.distributed import World

Read = TypeVar("Read")


class SkippedRows(Rejects):
    """Bad rows that another process, or another pass over the rows, writes to the file."""

    def __init__(self) -> None:
        super().__init__(None)

    @property
    def raises(self) -> bool:
        """False: bad rows never raise."""
        return False

    def add(self, where: Location, message: str, row: bytes) -> None:
        """Leave the row out."""


@dataclass(frozen=True, slots=True)
class TrainContext:
    """One call of `train`: data, options, directory, processes, and where messages and metrics go."""

    # Files of rows, or a directory of shards; `eval_data` may be empty.
    data: list[str]
    eval_data: list[str]
    # With `learning_rate` set, unless the objective chooses it.
    options: TrainOptions
    run_dir: RunDir
    world: World
    log: Callable[[str], None]
    on_metrics: Callable[[dict[str, Any]], None]
    # Where bad rows go. Without a file, the first one raises.
    rejects: Rejects = field(default_factory=lambda: Rejects(None))
    # Number of processes that tokenize; `None` takes every core for large inputs.
    workers: int | None = None


class TrainedModel(Protocol):
    """A model to train: `dataprep.models.student.Student`, or a classifier."""

    model: Any

    def describe(self) -> dict[str, Any]:
        """Return what the run's records say about it, beside its class and size."""

    def prepare_saving(self) -> None:
        """Check before training that it can be saved after it."""

    def save(self, folder: Path) -> None:
        """Write everything into a directory that loads without the run."""


@dataclass(slots=True)
class Batch:
    """Some items of a dataset, ready for the model.

    Attributes:
        tensors: what the objective reads, by name; the trainer moves them to the model's device.
        counts: the number of tokens (or rows) that each part's sum covers.
        tokens: number of tokens that the model reads, for the rate in the metrics.
    """

    tensors: dict[str, Tensor]
    counts: dict[str, int]
    tokens: int


class Dataset(Protocol):
    """Numbered items to train on: documents, packed sequences or rows.

    One whose batches are padded has an attribute `lengths`, by which items of like length share a batch.
    """

    @property
    def files(self) -> list[dict[str, Any]]:
        """Return name and SHA-256 of each input file."""

    @property
    def tokens(self) -> int:
        """Return the number of tokens in all items."""

    def __len__(self) -> int:
        """Return the number of items."""

    def batch(self, items: Sequence[int]) -> Batch:
        """Return a batch of these items; the same items give the same batch."""

    def describe_item(self, item: int) -> str:
        """Return where an item comes from, for messages: `train.jsonl row 17`."""


@dataclass(frozen=True, slots=True)
class TrainData:
    """The datasets of a run: for training, and for the evaluation loss, if any."""

    # Any, since each objective reads more of its own datasets than `Dataset` has.
    train: Any
    eval: Any = None

    def named(self) -> dict[str, Any]:
        """Return the datasets that are there, by the name that the records use."""
        return {"train": self.train} | ({} if self.eval is None else {"eval": self.eval})


class Objective(ABC):
    """One way to train: it loads a model and data, and computes the loss.

    The loss is `Σ weight · sum / count` over its parts.

    Args:
        student: what `load_model` returned.
        data: what `load_dataset` returned.
        context: options, directory and processes of the run.

    Attributes:
        weights: the weight of each part of the loss, by name.
        supports_fsdp: whether `--fsdp` can shard the model among processes.
        measures_quickly: whether `measure` takes no longer than the loss. Every evaluation then measures.
    """

    # False unless the student can load full weights: the first process gathers and saves them.
    supports_fsdp: ClassVar[bool] = False
    measures_quickly: ClassVar[bool] = False
    weights: Mapping[str, float]

    def __init__(self, student: Any, data: TrainData, context: TrainContext) -> None:
        self.student, self.data, self.context = student, data, context

    @classmethod
    @abstractmethod
    def load_model(cls, context: TrainContext) -> TrainedModel:
        """Create or load the model; torch's random generator has been seeded."""

    @classmethod
    @abstractmethod
    def load_dataset(cls, context: TrainContext, student: Any) -> TrainData:
        """Read the rows of the run's files as batches for this model."""

    @abstractmethod
    def loss_sums(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the sum of each part over a batch, each of shape `()` and differentiable.

        Parts that a batch lacks may be left out.
        """

    def figures(self) -> tuple[str, ...]:
        """Return the names of the figures of `measure` that `--keep-best` can take; higher is better."""
        return ()

    def measure(self, processes: World | None = None) -> dict[str, Any]:
        """Return figures of the student on the evaluation rows by name, and the number of rows.

        Evaluations while it trains and `results` use it, so both print the same.

        Args:
            processes: the processes that share the rows; all of them call it and get the same figures.
                Defaults to this one alone.
        """
        del processes
        return {}

    def settle(self) -> None:  # noqa: B027 - most objectives need no rows to choose their options
        """Choose options that depend on the rows and were not given, in `context`, and log them."""

    def results(self) -> dict[str, Any]:
        """Return results of the final weights beside the loss, for example metrics."""
        return {}

    def facts(self) -> dict[str, Any]:
        """Return what the run's records say about this objective's data."""
        return {}


def facts_of(objective: Objective) -> dict[str, Any]:
    """Return facts about model and data for the records; `--resume` compares `data`."""
    student, datasets = objective.student, objective.data.named()
    # The order is that of the model card.
    return {
        "model": objective.context.options.model,
        "class": type(student.model).__name__,
        "parameters": sum(weights.numel() for weights in student.model.parameters()),
        **student.describe(),
        "data": {name: dataset.files for name, dataset in datasets.items()},
        "rows": {name: len(dataset) for name, dataset in datasets.items()},
        "tokens": {name: dataset.tokens for name, dataset in datasets.items()},
        **objective.facts(),
    }


def file_facts(paths: Sequence[str]) -> list[dict[str, Any]]:
    """Return name, size in bytes and SHA-256 of files."""
    # Names without folders: a run can be resumed after its data were moved.
    return [
        {"name": files.printable(file.name), "bytes": file.stat().st_size, "sha256": sha256_of(file)}
        for file in map(Path, paths)
    ]


def read_with(
    read: Callable[[Location, dict[str, Any], bytes], Read],
    paths: Iterable[str],
    rejects: Rejects,
    ledger: Ledger,
) -> Iterator[Read]:
    """Yield `read(place, row, text)` of the rows of files; those for which it raises are bad rows.

    The text is empty unless bad rows go to a file.
    """
    for path in paths:
        for where, item in files.read_items(path):
            ledger.rows_in += 1
            try:
                row = parse_row(item) if isinstance(item, bytes) else item
                if not isinstance(row, dict):
                    raise not_object(row)
                result = read(where, row, b"" if rejects.raises else _text(item))
            except RowError as error:
                rejects.add(where, str(error), _text(item))
                ledger.fail(error.reason)
            else:
                yield result


def _text(item: Any) -> bytes:
    return item if isinstance(item, bytes) else any_line(item)


def check_max_length(max_length: int | None, context_length: int | None) -> int | None:
    """Return the maximum number of tokens in a row."""
    if max_length and context_length and max_length > context_length:
        found = f"the model's context length is {context_length:,} tokens"
        raise UsageError(f"--max-length {max_length}: {found}")
    return max_length or context_length


def mean_losses(
    loss_sums: Callable[[dict[str, Tensor]], Mapping[str, Tensor]],
    parts: Iterable[str],
    data: Any,
    batch_size: int,
    device: Any,
    processes: Any = None,
) -> dict[str, float]:
    """Return the mean of each part of the loss over all tokens (or rows) of a dataset.

    Args:
        loss_sums: returns the summed loss of each part for a batch's tensors.
        parts: the names of all parts; a part that the data lack is left out of the result.
        data: the dataset: `batch(items)` returns `tensors`, and the `counts` of each part.
        batch_size: number of items that one process works on at once.
        device: where the model is.
        processes: the processes that share the items, for example a `World`. Defaults to this one alone.
    """
    sums: dict[str, float] = dict.fromkeys(parts, 0.0)
    counts: dict[str, float] = dict.fromkeys(sums, 0.0)
    size = batch_size * (processes.size if processes else 1)
    lengths: Sequence[int] | None = getattr(data, "lengths", None)
    order = list(range(len(data))) if lengths is None else by_length(range(len(data)), lengths).tolist()
    for start in range(0, len(data), size):
        items = order[start : start + size]
        shard = processes.shard(items) if processes else items
        # The last items may not suffice for all processes. Those without any compute a batch that is not
        # counted: the others would wait forever for a process that skips a forward pass.
        batch = data.batch(shard or items[:1])
        values = loss_sums({name: tensor.to(device) for name, tensor in batch.tensors.items()})
        for name, value in values.items() if shard else ():
            sums[name] += float(value)
            counts[name] += batch.counts[name]
        advance("rows evaluated", len(items), len(data))
    if processes:
        sums, counts = processes.total(sums), processes.total(counts)
    # A part without any token has no mean: it is left out instead of being 0, which would look learned.
    return {name: sums[name] / counts[name] for name in sums if counts[name]}


def by_length(items: Sequence[int] | NDArray[np.int64], lengths: Sequence[int]) -> NDArray[np.int64]:
    """Return items in the order of their lengths; equal ones as they came."""
    import numpy as np

    found = np.asarray(items, dtype=np.int64)
    return found[np.argsort(np.asarray(lengths)[found], kind="stable")]


def weighted_loss(weights: Mapping[str, float], means: Mapping[str, float]) -> float:
    """Return the sum of the parts' means, each multiplied by its weight."""
    return sum(weights[name] * value for name, value in means.items())
