"""The interface of classifiers, for the small network and `transformers`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataprep.core.errors import FileError, RowDropped, RowError, first_line

if TYPE_CHECKING:
    from torch import Tensor

    from dataprep.train.objectives.soft_label.classes import Classes

# The small network's only file in its run's directory.
NETWORK_FILE = "student.safetensors"
# Values of --model. Here and not in tiny.py, which imports torch: the registry of objectives reads them.
NETWORKS = ("tiny", "wide")
PRESETS = (*NETWORKS, "bert-tiny", "bert-base")

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


class Scorer(ABC):
    """A model that scores classes, with everything that it needs to read texts."""

    def __init__(
        self, model: Any, classes: Classes, fields: Fields, context_length: int | None, pad: int
    ) -> None:
        # No fields if the model's maker did not record them; no context length if any text fits.
        self.model, self.classes, self.fields = model, classes, fields
        self.context_length, self.pad = context_length, pad

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

    def encode_within(self, texts: Sequence[str], limit: int | None, truncation: str) -> Encoded:
        """Encode a row's texts, with at most `limit` tokens."""
        if truncation == "truncate":
            return self.encode(texts, limit)
        # Encoded in full first: the message says how long the text is.
        encoded = self.encode(texts)
        if limit is None or length(encoded) <= limit:
            return encoded
        detail = f"found {length(encoded):,} tokens; expected at most {limit:,}"
        if truncation == "drop":
            raise RowDropped("too long", detail)
        raise RowError("too long", f"{detail} (or give --truncation drop or truncate)")

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
