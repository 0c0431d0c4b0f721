"""Chat rows as a dataset: tokenized into shards, batched without padding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dataprep.core.errors import InputError, UsageError
from dataprep.tokens.options import ShardOptions
from dataprep.tokens.shards.manifest import MANIFEST
from dataprep.tokens.shards.reading import Shards
from dataprep.tokens.tokenize import tokenize_files
from dataprep.train.objective import Batch, TrainContext, TrainData, check_max_length
from dataprep.train.run_dir import TOKENS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataprep.models.student import Student

PART = "tokens"


class Documents:
    """The documents of finished shards, or their packed sequences if they were packed."""

    def __init__(self, shards: Shards) -> None:
        self.shards = shards

    def __len__(self) -> int:
        return self.shards.sequences or self.shards.documents

    @property
    def files(self) -> list[dict[str, Any]]:
        """Name and SHA-256 of each file that the shards were made from."""
        files: list[dict[str, Any]] = self.shards.manifest["inputs"]
        return files

    @property
    def tokens(self) -> int:
        """Number of tokens in all documents."""
        return self.shards.tokens

    def batch(self, items: Sequence[int]) -> Batch:
        """Return documents as `document_batch` does."""
        return document_batch(*zip(*map(self._item, items), strict=True))

    def describe_item(self, item: int) -> str:
        """Return file and row of a document, or the index of a packed sequence."""
        if self.shards.sequences:
            return f"packed sequence {item + 1}"
        source = self.shards.source(item)
        return f"{source.name} row {source.row}"

    def _item(self, item: int) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.int64]]:
        """Return ids, loss mask and document bounds of an item."""
        if self.shards.sequences:
            packed = self.shards.sequence(item)
            end = int(packed.bounds[-1])
            return packed.ids[:end], packed.mask[:end], packed.bounds
        ids, mask = self.shards.document(item)
        # No position predicts the first token. Packed sequences leave it out of their mask already.
        mask = mask.copy()
        mask[:1] = False
        return ids, mask, np.array([0, ids.size], dtype=np.int64)


def document_batch(
    ids: Sequence[NDArray[Any]], masks: Sequence[NDArray[np.bool_]], bounds: Sequence[NDArray[np.int64]]
) -> Batch:
    """Return documents one after the other in one row.

    Args:
        ids: token ids of each item.
        masks: the loss mask of each item, false at the first token of each document.
        bounds: where the documents of each item begin, and the end of the last.

    Returns:
        Tensors `ids` of shape `(L,)`, `bounds` of shape `(documents + 1,)`; `positions` and `targets`, of
        shape `(N,)`: the positions that predict tokens in the loss, and these tokens.
    """
    row = np.concatenate(ids).astype(np.int64)
    in_loss = np.flatnonzero(np.concatenate(masks))
    offsets = np.cumsum([0, *(item.size for item in ids)])
    starts = [item[:-1] + offset for item, offset in zip(bounds, offsets[:-1], strict=True)]
    tensors = {
        "ids": torch.from_numpy(row),
        "bounds": torch.from_numpy(np.concatenate([*starts, offsets[-1:]]).astype(np.int32)),
        "positions": torch.from_numpy(in_loss - 1),
        "targets": torch.from_numpy(row[in_loss]),
    }
    return Batch(tensors, {PART: int(in_loss.size)}, int(row.size))


def is_shards(path: str) -> bool:
    """Return whether a path is a directory of finished shards."""
    # The manifest is written last: without it, the shards are not finished.
    return (Path(path) / MANIFEST).is_file()


def load_documents(context: TrainContext, student: Student) -> TrainData:
    """Tokenize a run's chat rows, or open its shards."""
    train = _documents(context, context.data, "train", student, context.options.pack)
    # Not packed: `--batch-size` then means the same rows with and without `--pack`.
    rows = context.eval_data
    return TrainData(train, _documents(context, rows, "eval", student, None) if rows else None)


def _documents(
    context: TrainContext, paths: list[str], name: str, student: Student, pack: int | None
) -> Documents:
    if any(is_shards(path) for path in paths):
        # One directory only: several would need one order of documents and one tokenizer.
        if len(paths) > 1:
            raise UsageError(f"{', '.join(paths)}: give one directory of shards, or files of rows")
        shards = Shards.open(paths[0], tokenizer=student.tokenizer)
        _check_shards(shards, context, student)
    else:
        shards = _tokenize(context, paths, context.run_dir.path / TOKENS / name, student, pack)
    documents = Documents(shards)
    if not len(documents):
        raise InputError(", ".join(paths), "has no row to train on")
    return documents


def _check_shards(shards: Shards, context: TrainContext, student: Student) -> None:
    options, context_length = context.options, student.context_length
    # If other data of the run are rows, these options are for them.
    only_shards = all(map(is_shards, [*context.data, *context.eval_data]))
    if only_shards and (options.pack or options.max_length or options.truncation != "error"):
        raise UsageError("--pack, --max-length and --truncation are for rows: shards stay as they were made")
    if context_length is not None and shards.longest > context_length:
        raise InputError(
            shards.path,
            f"found a document of {shards.longest:,} tokens; the model's context length is "
            f"{context_length:,}: make the shards again with --max-length",
        )


def _tokenize(
    context: TrainContext, paths: list[str], folder: Path, student: Student, pack: int | None
) -> Shards:
    """Tokenize rows into the run's directory; the first process does it for all."""
    options = context.options
    limit = check_max_length(options.max_length, student.context_length)
    if context.world.first:
        shard_options = ShardOptions(
            pack=pack,
            max_length=min(limit, pack) if limit and pack else limit,
            truncation=options.truncation,
            seed=options.seed,
        )
        tokenized = tokenize_files(
            paths,
            folder,
            tokenizer=student.tokenizer,
            chat_format=student.chat_format,
            options=shard_options,
            # One process for small inputs, all cores for large ones.
            workers=None,
        )
        context.log(f"{', '.join(paths)}: {tokenized.ledger}")
    context.world.wait()
    # They were written a moment ago: checking their digests would only cost time.
    return Shards.open(folder, tokenizer=student.tokenizer, verify=False)
